//! The lists that a node keeps in its data directory: each that was ever in use, by its id.

use crate::blacklist::Snapshot;
use std::path::{Path, PathBuf};

/// Folder of a data directory.
pub const LISTS_DIR: &str = "lists";

/// Where a snapshot in use is kept.
pub fn kept_path(lists_dir: &Path, id: u64) -> PathBuf {
    lists_dir.join(format!("{id:016x}.snap"))
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
    let original = Snapshot::open(path).map_err(|e| e.to_string())?;
    let kept = kept_path(lists_dir, original.id());
    if let Ok(copy) = Snapshot::open(&kept)
        && copy.id() == original.id()
        && copy.built_at_ns() >= original.built_at_ns()
    {
        return Ok(copy);
    }
    original.save(&kept).map_err(|e| format!("a copy can't be kept at {}: {e}", kept.display()))?;
    // What is used is the copy: the original may be overwritten in place.
    Snapshot::open(&kept).map_err(|e| e.to_string())
}
