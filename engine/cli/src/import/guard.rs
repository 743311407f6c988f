//! Tells files that are no list, and lists that were cut, from whole ones.

use super::quotes::Quotes;
use super::{ImportError, MAX_ROW_LEN};
use catraca_wire::frame::ListSource;
use csv::ByteRecord;
use std::io::{self, Read};

/// Bytes looked at to tell what a file is.
pub(super) const SNIFF_LEN: usize = 64 * 1024;
/// Appended to the file as a last row of its own. If it doesn't come out as a row, a quote before
/// it was never closed. (The CSV reader alone takes the end of the file for the closing quote.)
const END_MARKER: &[u8] = b"\ncatraca: end of list\n";

/// Whether a row is the end marker.
pub(super) fn is_end_marker(record: &ByteRecord) -> bool {
    record.len() == 1 && record.get(0).is_some_and(|field| field == END_MARKER.trim_ascii())
}

/// Refuses what is plainly something else, saying what it is where that helps.
pub(super) fn refuse_other_formats(start: &[u8]) -> Result<(), ImportError> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let what = if text.is_empty() {
        "an empty file; download or export it again"
    } else if start.starts_with(b"PK\x03\x04") {
        "a ZIP archive or a spreadsheet: unpack it, or save it as CSV"
    } else if start.starts_with(b"\x1f\x8b") {
        "a gzip archive: unpack it"
    } else if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        "text in UTF-16: save it as CSV in UTF-8"
    } else if start.starts_with(b"%PDF") {
        "a PDF: export the list as CSV"
    } else if text.starts_with(b"<") {
        "a web page or XML: the download may have failed"
    } else if text.starts_with(b"{") || text.starts_with(b"[") {
        "JSON: export the list as CSV"
    } else if start.contains(&0) {
        "binary data"
    } else {
        return Ok(());
    };
    Err(ImportError::NotAList(what))
}

/// The published lists part fields with `;`. A plain list has `,`, but a Brazilian spreadsheet
/// writes `;`: whichever the header has.
pub(super) fn delimiter(start: &[u8], source: ListSource) -> u8 {
    let header = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if source == ListSource::Plain && !header.contains(&b';') { b',' } else { b';' }
}

/// Whether the header's line ends with CR LF, as all lines then do.
pub(super) fn ends_lines_with_crlf(start: &[u8]) -> bool {
    start.iter().position(|&byte| byte == b'\n').is_some_and(|end| start[..end].ends_with(b"\r"))
}

/// Passes a file on, with the end marker behind it; stops a row that grows past its bound, and a
/// quote where none can be.
pub(super) struct Guard<R> {
    input: R,
    quotes: Quotes,
    /// Line of the row with such a quote.
    misquoted: Option<u64>,
    /// Bytes of the marker already given; `None` before the file's end.
    marker: Option<usize>,
    /// Bytes given since the row began. The CSV reader reads ahead, so that this also counts up to
    /// a buffer of other rows.
    since_row: u64,
    too_long: bool,
    last_byte: u8,
}

impl<R> Guard<R> {
    pub(super) const fn new(input: R, delimiter: u8) -> Self {
        let quotes = Quotes::new(delimiter);
        Self {
            input,
            quotes,
            misquoted: None,
            marker: None,
            since_row: 0,
            too_long: false,
            last_byte: b'\n',
        }
    }

    /// The next bytes belong to a new row.
    pub(super) const fn begin_row(&mut self) {
        self.since_row = 0;
    }

    /// Whether the last error is a row past its bound.
    pub(super) const fn row_too_long(&self) -> bool {
        self.too_long
    }

    /// The line of a row with a quote missing or too many, if that is the last error.
    pub(super) const fn misquoted(&self) -> Option<u64> {
        self.misquoted
    }

    /// The last byte of the file that was given.
    pub(super) const fn last_byte(&self) -> u8 {
        self.last_byte
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row > MAX_ROW_LEN {
            self.too_long = true;
            return Err(io::Error::other("row too long"));
        }
        let mut given = self.marker;
        if given.is_none() {
            let len = self.input.read(buffer)?;
            if len > 0 {
                self.since_row += len as u64;
                self.last_byte = buffer[len - 1];
                self.misquoted = self.quotes.misplaced(&buffer[..len]);
                if self.misquoted.is_some() {
                    return Err(io::Error::other("text behind a closing quote"));
                }
                return Ok(len);
            }
            given = Some(0);
        }
        let at = given.unwrap_or_default();
        let rest = &END_MARKER[at..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.marker = Some(at + len);
        Ok(len)
    }
}
