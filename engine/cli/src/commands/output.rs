//! What commands print. No output path may panic, and none may hide that something was not written.

use super::Outcome;
use catraca_node::fatal::Failure;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Whether somebody still reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Everything was taken.
    Reads,
    /// The pipe was closed: the reader has seen enough. That is no failure, and nothing more need
    /// be written.
    Gone,
}

/// Writes to standard output, all of it and at once.
///
/// # Errors
/// One sentence when it can't be written: a full disk, for example. A closed pipe is none.
pub fn write(text: &str) -> Result<Reader, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(failure(&error)),
    }
}

/// That standard output could not be written.
pub fn failure(error: &io::Error) -> Failure {
    Failure::failed(format!("the result could not be written to standard output: {error}"))
}

/// Prints a result and ends with `status`, also where the reader has seen enough.
///
/// # Errors
/// As [`write()`].
pub fn print(text: &str, status: ExitCode) -> Outcome {
    write(text).map(|_| status)
}

/// A result as indented JSON and a newline.
pub fn json(result: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(result)
        .expect("results have string keys and finite numbers only");
    text.push('\n');
    text
}

/// Lines of a name and a value, the values in one column.
pub fn lines(lines: &[(String, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Whether a request changed anything: the first line of what became of it. Where nothing was to be changed, there is
/// no such line.
pub fn changed(is_changed: bool) -> (String, String) {
    let text = if is_changed { "yes" } else { "no: it was so already" };
    ("changed".to_owned(), text.to_owned())
}

/// So many of something.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

/// Says something beside the result, on standard error. Whether anybody hears it changes nothing.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "catraca: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_all_others_are_many() {
        assert_eq!(counted(1_usize, "policy", "policies"), "1 policy");
        assert_eq!(counted(0_u64, "policy", "policies"), "0 policies");
        assert_eq!(counted(21_u32, "policy", "policies"), "21 policies");
    }
}
