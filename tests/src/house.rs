//! What tests of the house's rules share: its sources, and what is wrong with one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A rule broken.
#[derive(Debug, PartialEq, Eq)]
pub struct Breach {
    /// The file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// The workspace's folder.
///
/// # Panics
/// Never in a workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// All files with this ending, as paths from the root, with their text.
///
/// # Panics
/// When one can't be read.
pub fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be read") {
            let path = entry.expect("readable").path();
            let name =
                path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "data" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let path = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .to_string_lossy()
                    .into_owned();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Whether a word occurs, not as a part of a longer name.
pub fn has_word(line: &str, word: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(name);
        let after =
            word.ends_with(name) && line[at + word.len()..].chars().next().is_some_and(name);
        !before && !after
    })
}

/// Whether a file is one of these, or lies below one.
pub fn below(file: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| {
        file.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Fails with all of them, by file and line.
///
/// # Panics
/// Where there is one.
pub fn assert_none(breaches: &[Breach]) {
    let report = breaches.iter().fold(String::new(), |mut text, Breach { file, line, what }| {
        let _ = writeln!(text, "{file}:{line}: {what}");
        text
    });
    assert!(breaches.is_empty(), "\n{report}");
}
