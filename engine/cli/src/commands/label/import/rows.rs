//! The lines of a file of labels, and what they say. No line is read past its bound.

use crate::commands::label::{kind, source};
use crate::commands::log::time;
use catraca_wire::DocumentKey;
use catraca_wire::frame::LabelRequest;
use std::io::{self, BufRead, Read};

/// Longest line, bytes: all columns at their longest, quoted, take a fifth.
pub const MAX_LINE_LEN: usize = 1_024;

/// The columns, in the order of [`Header::at`].
const COLUMNS: [&str; 5] = ["id", "payer", "kind", "known_at", "source"];

/// The lines of a file.
pub struct Lines<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
    read_len: u64,
}

impl<R: BufRead> Lines<R> {
    /// Before the first one.
    pub fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0, read_len: 0 }
    }

    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read.
    pub fn read_len(&self) -> u64 {
        self.read_len
    }

    /// The next line without its end, or what is wrong with it; `None` behind the last.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn next(&mut self) -> io::Result<Option<Result<&str, String>>> {
        self.line.clear();
        let mut bounded = self.from.by_ref().take(MAX_LINE_LEN as u64 + 2);
        let len = bounded.read_until(b'\n', &mut self.line)?;
        if len == 0 {
            return Ok(None);
        }
        (self.number, self.read_len) = (self.number + 1, self.read_len + len as u64);
        // Behind the longest line there is room for its end.
        if self.line.last() != Some(&b'\n') && len > MAX_LINE_LEN {
            self.skip()?;
        }
        let line = std::str::from_utf8(&self.line).map_err(|_| "it is no UTF-8".to_owned());
        let line = line.map(|line| line.trim_end_matches(['\n', '\r']));
        Ok(Some(line.and_then(|line| match line.len() {
            0..=MAX_LINE_LEN => Ok(line),
            _ => Err(format!("longer than {MAX_LINE_LEN} bytes")),
        })))
    }

    /// Passes over the rest of a line.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            let held = self.from.fill_buf()?;
            if held.is_empty() {
                return Ok(());
            }
            let end = held.iter().position(|&byte| byte == b'\n');
            let len = end.map_or(held.len(), |end| end + 1);
            self.from.consume(len);
            self.read_len += len as u64;
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

/// Where the columns stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    delimiter: u8,
    count: usize,
    at: [usize; 5],
}

impl Header {
    /// From the first line.
    ///
    /// # Errors
    /// When a column is missing, or there twice; a sentence.
    pub fn read(line: &str) -> Result<Self, String> {
        let line = line.trim_start_matches('\u{feff}');
        let delimiter = if line.contains(';') { b';' } else { b',' };
        let names = fields(line, delimiter)?;
        let mut at = [0; 5];
        for (place, column) in at.iter_mut().zip(COLUMNS) {
            let mut found = (0..names.len()).filter(|&number| names[number].trim() == column);
            *place = found.next().ok_or_else(|| {
                format!("no column {column}: the header is {}", COLUMNS.join(","))
            })?;
            if found.next().is_some() {
                return Err(format!("the column {column} is there twice"));
            }
        }
        Ok(Self { delimiter, count: names.len(), at })
    }

    /// What a line says.
    ///
    /// # Errors
    /// What is wrong with it, without its text: a document may stand anywhere.
    pub fn request(&self, line: &str) -> Result<LabelRequest, String> {
        let fields = fields(line, self.delimiter)?;
        if fields.len() != self.count {
            return Err(format!("{} columns, where the header has {}", fields.len(), self.count));
        }
        let [id, payer, kind_name, known_at, who] = self.at.map(|at| fields[at].trim());
        let payer = match payer {
            "" => None,
            payer => Some(DocumentKey::parse(payer).map_err(|error| format!("payer: {error}"))?),
        };
        let kind = kind(kind_name).map_err(|why| format!("kind: {why}"))?;
        let known_at_ns = time(known_at).map_err(|why| format!("known_at: {why}"))?;
        let source = source(who).map_err(|why| format!("source: {why}"))?;
        LabelRequest::new(id, payer, kind, known_at_ns, &source)
            .map_err(|error| format!("id: {error}"))
    }
}

/// The fields of one line.
fn fields(line: &str, delimiter: u8) -> Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        .from_reader(line.as_bytes());
    let record = reader.records().next().unwrap_or_else(|| Ok(csv::StringRecord::new()));
    let record = record.map_err(|_| "it is no CSV".to_owned())?;
    Ok(record.iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::LabelKind;

    #[test]
    fn lines_are_bounded_and_numbered() {
        let long = "x".repeat(MAX_LINE_LEN + 1);
        let longest = "y".repeat(MAX_LINE_LEN);
        let text = format!("a\r\n\n{long}\n{longest}\n{}\nend", "z".repeat(100_000));
        // A small buffer, so that a line goes over its end.
        let mut lines = Lines::new(io::BufReader::with_capacity(7, text.as_bytes()));
        let mut seen = Vec::new();
        while let Some(line) = lines.next().expect("readable") {
            let line = line.map(str::to_owned).map_err(drop);
            seen.push((lines.number(), line));
        }
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            seen,
            [
                (1, ok("a")),
                (2, ok("")),
                (3, Err(())),
                (4, ok(&longest)),
                (5, Err(())),
                (6, ok("end"))
            ]
        );
        assert_eq!(lines.read_len(), text.len() as u64);
        let mut lines = Lines::new(&b"\xff\n"[..]);
        assert_eq!(lines.next().expect("readable"), Some(Err("it is no UTF-8".to_owned())));
    }

    #[test]
    fn a_line_says_what_its_columns_say() {
        for header in ["id,payer,kind,known_at,source", "\u{feff}id,payer,kind,known_at,source"] {
            let header = Header::read(header).expect("sound");
            let request = header
                .request(
                    "order-1,049.332.286-80,chargeback,2027-02-01T00:00:00Z,\"visa, disputes\"",
                )
                .expect("sound");
            assert_eq!((request.label, request.source_len), (LabelKind::Chargeback.to_wire(), 14));
            assert_eq!(request.known_at_ns, 1_801_440_000_000_000_000);
            assert_eq!(&request.payer, b"04933228680\0\0\0");
        }
        let header = Header::read("note;source;known_at;kind;payer;id").expect("sound");
        let request = header.request("x;med;2027-02-01;MED-accepted;;E1");
        assert!(request.is_err_and(|why| why.starts_with("kind: ")));
        let request = header.request("x;med;2027-02-01; med-accepted;;E1").expect("sound");
        assert_eq!((request.payer, request.label), ([0; 14], 1));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_without_its_text() {
        let header = Header::read("id,payer,kind,known_at,source").expect("sound");
        for (line, what) in [
            ("a,b", "2 columns"),
            ("a,12345678901,chargeback,2027-02-01,visa", "payer: "),
            ("a,,52998224725,2027-02-01,visa", "kind: "),
            ("a,,chargeback,52998224725,visa", "known_at: "),
            ("a,,chargeback,2027-02-01,", "source: "),
            (",,chargeback,2027-02-01,visa", "id: "),
        ] {
            let why = header.request(line).expect_err(line);
            assert!(why.starts_with(what) && !why.contains("52998224725"), "{line}: {why}");
        }
        for header in ["id,payer,kind,known_at", "", "id,id,payer,kind,known_at,source"] {
            assert!(Header::read(header).is_err(), "{header}");
        }
    }
}
