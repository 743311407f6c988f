//! A policy's file, and what is wrong with it: each fault with its place and what to write instead.

use crate::commands::output::counted;
use catraca_core::log::policies::MAX_POLICY_LEN;
use catraca_node::fatal::{Failure, Status};
use catraca_node::policy_file::{self, PolicyFault, PolicyFile};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The text of a policy's file.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    // Reading it says by how much it is too long.
    read_up_to(path, MAX_POLICY_LEN as u64)
}

/// A text file, one byte more than `most` of it at the most.
pub(super) fn read_up_to(path: &Path, most: u64) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|e| Failure::failed(format!("{}: could not be read: {e}", path.display())))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::failed(format!("{}: byte {at} is no UTF-8: save it as UTF-8", path.display()))
    })
}

/// A sound policy; else all that is wrong with it, as a failure.
pub(in crate::commands) fn sound(path: &Path) -> Result<PolicyFile, Failure> {
    policy_file::parse(&read(path)?)
        .map_err(|faults| Failure::new(Status::Found, faults_text(path, &faults).trim_end()))
}

pub(super) fn faults_text(path: &Path, faults: &[PolicyFault]) -> String {
    let mut text = String::new();
    for fault in faults {
        let PolicyFault { line, column, width, text: source, message, help } = fault;
        // Tabs stay, so that the mark stands below its place.
        let indent: String =
            source.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let margin = line.to_string().len();
        writeln!(
            text,
            "{}:{line}:{column}: {message}\n{line} | {source}\n{:margin$} | {indent}{}\n{:margin$} = {help}\n",
            path.display(),
            "",
            "^".repeat(*width),
            "",
        )
        .expect("writing to a string can't fail");
    }
    let faults = counted(faults.len(), "fault", "faults");
    writeln!(text, "{}: refused, {faults}", path.display())
        .expect("writing to a string can't fail");
    text
}
