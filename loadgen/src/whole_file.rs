//! Files that have their name only when they are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a file beside its place, then renames it over it. A device or a pipe is written as it is.
///
/// # Errors
/// What the system says; what was under the name is there still.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    write_with(path, |file| file.write_all(text.as_bytes()))
}

/// The same of a text that is made piece by piece.
///
/// # Errors
/// What the system or `fill` says; what was under the name is there still.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let write_to = |place: &Path| {
        let mut file = BufWriter::new(File::create(place)?);
        fill(&mut file)?;
        file.flush()
    };
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return write_to(path);
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let making = PathBuf::from(format!("{}.{}.tmp", path.display(), std::process::id()));
    write_to(&making).and_then(|()| fs::rename(&making, &path)).inspect_err(|_| {
        // Best effort: the error at hand is the one that matters.
        let _ = fs::remove_file(&making);
    })
}
