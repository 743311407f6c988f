//! Reports that have their name only when they are whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Writes a file beside its place, then renames it over it. A device or a pipe is written as it is.
///
/// # Errors
/// What the system says; what was under the name is there still.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return fs::write(path, text);
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let making = PathBuf::from(format!("{}.{}.tmp", path.display(), std::process::id()));
    fs::write(&making, text).and_then(|()| fs::rename(&making, &path)).inspect_err(|_| {
        // Best effort: the error at hand is the one that matters.
        let _ = fs::remove_file(&making);
    })
}
