//! The lines of a CSV file that somebody hands to a command, one record in each, and the columns that it has. No
//! line is read past its bound. An import reads them one after the other, tells which it refused, and goes on.

use super::output::{counted, note};
use catraca_node::fatal::{Failure, Status};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Longest line, bytes: all columns at their longest, quoted, take a fifth.
const MAX_LINE_LEN: usize = 1_024;

/// Refused lines that standard error tells, one by one: a column that is wrong in every line is seen in these.
const MAX_TOLD: u64 = 20;
/// Refused lines that the JSON has.
const MAX_SHOWN: usize = 1_000;

/// A file whose lines a node is to take.
pub struct Import {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
    bar: ProgressBar,
    refused: RefusedLines,
}

/// Lines that were refused, as a report has them.
#[derive(Debug, Default, Serialize)]
pub struct RefusedLines {
    refused: u64,
    /// The first of these.
    first_refused: Vec<RefusedLine>,
}

#[derive(Debug, Serialize)]
struct RefusedLine {
    line: u64,
    reason: String,
}

impl Import {
    /// Opens a file, whose first line `read_header` reads.
    ///
    /// # Errors
    /// When the file can't be read, or something is wrong with its header.
    pub fn open<H>(
        path: &Path,
        read_header: impl FnOnce(&str) -> Result<H, String>,
    ) -> Result<(Self, H), Failure> {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let len = file.metadata().map_err(|error| unreadable(path, &error))?.len();
        let mut lines = Lines::new(BufReader::new(file));
        let header = match lines.next().map_err(|error| unreadable(path, &error))? {
            Some(Ok(line)) => read_header(line),
            Some(Err(why)) => Err(why),
            None => Err("the file is empty".to_owned()),
        };
        let header = header.map_err(|why| {
            Failure::new(Status::Usage, format!("{}, line 1: {why}", path.display()))
        })?;
        let (path, refused) = (path.to_owned(), RefusedLines::default());
        Ok((Self { path, lines, bar: progress(len), refused }, header))
    }

    /// What the next line says, with its number; `None` behind the last. Empty lines say nothing, and what `read`
    /// refuses is told and passed over.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn next<T>(
        &mut self,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<(u64, T)>, Failure> {
        loop {
            let line = self.lines.next().map_err(|error| unreadable(&self.path, &error))?;
            let said = match line {
                None => return Ok(None),
                Some(Ok(line)) if line.trim().is_empty() => continue,
                Some(line) => line.and_then(&read),
            };
            let number = self.lines.number;
            self.bar.set_position(self.lines.read_len);
            match said {
                Ok(said) => return Ok(Some((number, said))),
                Err(why) => self.refuse(number, why),
            }
        }
    }

    /// A line is refused; the rest goes on.
    pub fn refuse(&mut self, line: u64, reason: String) {
        self.refused.refused += 1;
        if self.refused.refused <= MAX_TOLD {
            let place = self.path.display();
            self.bar.suspend(|| note(&format!("{place}, line {line}: refused: {reason}")));
        }
        if self.refused.first_refused.len() < MAX_SHOWN {
            self.refused.first_refused.push(RefusedLine { line, reason });
        }
    }

    /// What ends the import at a line.
    pub fn failure(&self, line: u64, why: impl Display) -> Failure {
        self.tell_more();
        Failure::failed(format!("{}, line {line}: {why}", self.path.display()))
    }

    /// Behind the last line: what was refused.
    pub fn end(self) -> RefusedLines {
        self.bar.finish_and_clear();
        self.tell_more();
        self.refused
    }

    /// How many lines were refused beside those that were told.
    fn tell_more(&self) {
        let more = self.refused.more();
        if more > 0 {
            let lines = counted(more, "more line was", "more lines were");
            let first = format!("with --json the first {MAX_SHOWN} are told");
            note(&format!("{}: {lines} refused; {first}", self.path.display()));
        }
    }
}

impl RefusedLines {
    /// How many there are.
    pub const fn count(&self) -> u64 {
        self.refused
    }

    /// How many are not told one by one.
    const fn more(&self) -> u64 {
        self.refused.saturating_sub(MAX_TOLD)
    }

    /// How an import ends that refused these.
    pub fn status(&self) -> ExitCode {
        match self.refused {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(Status::Found as u8),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

/// The lines of a file.
struct Lines<R> {
    from: R,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    number: u64,
    /// Bytes read.
    read_len: u64,
}

impl<R: BufRead> Lines<R> {
    /// Before the first one.
    fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0, read_len: 0 }
    }

    /// The next line without its end, or what is wrong with it; `None` behind the last.
    fn next(&mut self) -> io::Result<Option<Result<&str, String>>> {
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

/// Where columns stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Columns<const N: usize> {
    delimiter: u8,
    count: usize,
    at: [Option<usize>; N],
}

impl<const N: usize> Columns<N> {
    /// From the first line: the columns of these names, of which the first so many must be there.
    ///
    /// # Errors
    /// When one of these is missing, or one is there twice; a sentence.
    pub fn read(line: &str, columns: [&str; N], needed: usize) -> Result<Self, String> {
        let line = line.trim_start_matches('\u{feff}');
        let delimiter = if line.contains(';') { b';' } else { b',' };
        let names = fields(line, delimiter)?;
        let mut at = [None; N];
        for (number, (place, column)) in at.iter_mut().zip(columns).enumerate() {
            let mut found = (0..names.len()).filter(|&number| names[number].trim() == column);
            *place = found.next();
            if place.is_none() && number < needed {
                return Err(format!("no column {column}: the header is {}", columns.join(",")));
            }
            if found.next().is_some() {
                return Err(format!("the column {column} is there twice"));
            }
        }
        Ok(Self { delimiter, count: names.len(), at })
    }

    /// What a line has in each of the columns, without spaces around; nothing in one that is not there.
    ///
    /// # Errors
    /// What is wrong with it, without its text: a document may stand anywhere.
    pub fn of(&self, line: &str) -> Result<[String; N], String> {
        let fields = fields(line, self.delimiter)?;
        if fields.len() != self.count {
            let columns = counted(fields.len(), "column", "columns");
            return Err(format!("{columns}, where the header has {}", self.count));
        }
        let text = |at: Option<usize>| at.map_or("", |at| fields[at].trim()).to_owned();
        Ok(self.at.map(text))
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

/// A bar over the file's bytes on standard error; invisible where that is no terminal.
fn progress(len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            seen.push((lines.number, line));
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
        assert_eq!(lines.read_len, text.len() as u64);
        let mut lines = Lines::new(&b"\xff\n"[..]);
        assert_eq!(lines.next().expect("readable"), Some(Err("it is no UTF-8".to_owned())));
    }

    #[test]
    fn an_import_goes_on_behind_what_it_refuses() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("numbers.csv");
        let numbers = (0..MAX_SHOWN + 5).map(|_| "x\n").collect::<String>();
        std::fs::write(&file, format!("n\n1\n\n  \n{numbers}2\n3")).expect("written");
        let read = |line: &str| line.parse::<u64>().map_err(|_| "no number".to_owned());
        let (mut import, columns) =
            Import::open(&file, |line| Columns::read(line, ["n"], 1)).expect("sound");
        assert_eq!(columns.of("7"), Ok(["7".to_owned()]));
        assert_eq!(import.next(read).expect("readable"), Some((2, 1)));
        let last = MAX_SHOWN as u64 + 10;
        assert_eq!(import.next(read).expect("readable"), Some((last, 2)));
        assert!(import.failure(last, "gone").message.ends_with(&format!("line {last}: gone")));
        assert_eq!(import.next(read).expect("readable"), Some((last + 1, 3)));
        assert_eq!(import.next(read).expect("readable"), None);
        import.refuse(last, "a node says so".to_owned());
        let refused = import.end();
        assert_eq!(refused.count(), MAX_SHOWN as u64 + 6);
        assert_eq!(refused.more(), refused.count() - 20);
        assert_eq!(refused.first_refused.len(), MAX_SHOWN);
        assert_eq!(refused.first_refused[0].line, 5);
        assert_eq!(format!("{:?}", refused.status()), format!("{:?}", ExitCode::from(3)));
        for (text, why) in [("", "the file is empty"), ("m\n1\n", "no column n")] {
            std::fs::write(&file, text).expect("written");
            let opened = Import::open(&file, |line| Columns::read(line, ["n"], 1).map(drop));
            let failure = opened.err().expect("refused");
            assert_eq!(failure.status, Status::Usage);
            assert!(failure.message.contains(&format!("line 1: {why}")), "{}", failure.message);
        }
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let columns = Columns::read("b;other;a", ["a", "b", "c"], 1).expect("sound");
        assert_eq!(columns.of("1; x;2 "), Ok(["2".to_owned(), "1".to_owned(), String::new()]));
        assert!(columns.of("1;2").is_err_and(|why| why.starts_with("2 columns")));
        for (header, why) in [("b,c", "no column a"), ("a,a", "the column a is there twice")] {
            let told = Columns::read(header, ["a", "b", "c"], 1).expect_err(header);
            assert!(told.starts_with(why), "{told}");
        }
    }
}
