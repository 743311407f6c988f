//! Files of lists: reading and writing one, and those that a node keeps in its data directory: each
//! that was ever in use, by its id.

use crate::whole_file;
use catraca_core::blacklist::{Snapshot, SnapshotError};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Folder of a data directory.
pub const LISTS_DIR: &str = "lists";

/// Where a snapshot in use is kept.
pub fn kept_path(lists_dir: &Path, id: u64) -> PathBuf {
    lists_dir.join(format!("{id:016x}.snap"))
}

/// Reads a snapshot file and checks all of it.
///
/// # Errors
/// What [`SnapshotError`] lists.
pub fn open(path: &Path) -> Result<Snapshot, SnapshotError> {
    let io_error = |source| SnapshotError::Io { path: path.to_path_buf(), source };
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(io_error)?.is_file() {
        return Err(SnapshotError::NotASnapshot { path: path.to_path_buf() });
    }
    let file = File::open(path).map_err(io_error)?;
    let found = file.metadata().map_err(io_error)?.len();
    Snapshot::read(path, found, file)
}

/// Writes a snapshot file, whole and durable. A list names people: its owner and group may read it.
///
/// # Errors
/// What the system says; the file under `path` is then what it was, or the whole new one.
pub fn save(snapshot: &Snapshot, path: &Path) -> io::Result<()> {
    whole_file::write_durably(path, whole_file::GROUP, snapshot.bytes())
}

/// Checks a snapshot file and keeps a copy in the data directory, so that a restart finds it
/// whatever became of the original.
///
/// A copy of an earlier build of the same list gives way, so that a list that was loaded again is
/// as new as that; a damaged one too.
///
/// # Errors
/// Why it can't be used, or kept.
pub fn take_in(path: &Path, lists_dir: &Path) -> Result<Snapshot, String> {
    let original = open(path).map_err(|e| e.to_string())?;
    let kept = kept_path(lists_dir, original.id());
    if let Ok(copy) = open(&kept)
        && copy.id() == original.id()
        && copy.built_at_ns() >= original.built_at_ns()
    {
        return Ok(copy);
    }
    save(&original, &kept)
        .map_err(|e| format!("a copy can't be kept at {}: {e}", kept.display()))?;
    // What is used is the copy: the original may be overwritten in place.
    open(&kept).map_err(|e| e.to_string())
}
