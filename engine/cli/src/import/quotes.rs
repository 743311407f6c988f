//! Finds quotes that are missing or too many. One of them makes the CSV reader take the rows behind
//! it for the text of a field, and whoever they name would be free without a trace: nobody can tell
//! how many, so that such a list is refused as a whole.

use super::columns::Columns;
use super::text::{decoded, meant};
use catraca_wire::DocumentKey;
use csv::ByteRecord;

/// A row with this many times the header's fields is several rows.
const ROWS_IN_ONE: usize = 2;

/// Where in a row a byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BucketPair {
    /// Before a row's first byte.
    RowStart,
    /// Before a field's first byte.
    FieldStart,
    /// In a field without quotes, where a quote is a character as any other.
    Bare,
    /// Between a field's quotes.
    Quoted,
    /// Behind a quote that closes the field, unless another one follows.
    MaybeClosed,
    /// Behind a closing quote and a space.
    Closed,
}

/// Follows the quotes of a list, byte for byte as the file has them: the CSV reader takes text
/// behind a closing quote without a word.
#[derive(Debug)]
pub(super) struct Quotes {
    delimiter: u8,
    place: BucketPair,
    line: u64,
    row_line: u64,
}

impl Quotes {
    pub(super) const fn new(delimiter: u8) -> Self {
        Self { delimiter, place: BucketPair::RowStart, line: 1, row_line: 1 }
    }

    /// Looks at the next bytes; the line where the row begins that has text between a closing quote
    /// and the field's end.
    pub(super) fn misplaced(&mut self, bytes: &[u8]) -> Option<u64> {
        for &byte in bytes {
            if byte == b'\n' {
                self.line += 1;
            }
            let ends_row = matches!(byte, b'\r' | b'\n');
            self.place = match (self.place, byte) {
                (BucketPair::Quoted, b'"') => BucketPair::MaybeClosed,
                (BucketPair::Quoted, _) | (BucketPair::MaybeClosed, b'"') => BucketPair::Quoted,
                (_, _) if ends_row => {
                    self.row_line = self.line;
                    BucketPair::RowStart
                }
                (_, byte) if byte == self.delimiter => BucketPair::FieldStart,
                (BucketPair::MaybeClosed | BucketPair::Closed, b' ' | b'\t') => BucketPair::Closed,
                (BucketPair::MaybeClosed | BucketPair::Closed, _) => return Some(self.row_line),
                (BucketPair::RowStart | BucketPair::FieldStart, b'"') => BucketPair::Quoted,
                // What some programs put before the first character of a file.
                (BucketPair::RowStart, 0xef | 0xbb | 0xbf) if self.line == 1 => {
                    BucketPair::RowStart
                }
                _ => BucketPair::Bare,
            };
        }
        None
    }
}

/// Whether a row holds others: in a field a line that has a sound document where a row has one, or
/// far more fields than the header. Fields without text at the end of a row are a spreadsheet's.
pub(super) fn swallowed_rows(record: &ByteRecord, columns: &Columns, delimiter: u8) -> bool {
    let fields =
        record.iter().rposition(|field| !field.trim_ascii().is_empty()).map_or(0, |last| last + 1);
    fields >= ROWS_IN_ONE * columns.width
        || record.iter().enumerate().any(|(place, field)| {
            let mut lines = field.split(|byte| matches!(byte, b'\r' | b'\n')).skip(1).peekable();
            std::iter::from_fn(|| lines.next().map(|line| (line, lines.peek().is_none()))).any(
                |(line, last)| is_row(line, columns, delimiter, last && place + 1 < record.len()),
            )
        })
}

/// Whether a line has a sound document where a row has one, with another field behind it or none to
/// come.
fn is_row(line: &[u8], columns: &Columns, delimiter: u8, field_follows: bool) -> bool {
    columns.documents.iter().any(|column| {
        let mut fields = line.split(|&byte| byte == delimiter).skip(column.at);
        let Some(field) = fields.next() else { return false };
        let ends_well = field_follows || column.at + 1 == columns.width || fields.next().is_some();
        ends_well && DocumentKey::parse(meant(decoded(field).trim_matches('"'))).is_ok()
    })
}
