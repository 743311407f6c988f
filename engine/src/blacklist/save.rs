//! Writing a snapshot so that its name holds, at every moment and after any crash, the old file or the whole new one.

use super::Snapshot;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A list names people: readable by its owner and group only.
const FILE_MODE: u32 = 0o640;

impl Snapshot {
    /// Writes the file: beside its place under another name, synced, then renamed over it, then the folder synced.
    ///
    /// # Errors
    /// What the system says; the file under `path` is then what it was.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        let temporary = folder.join(temporary_name(name));
        let written = write_synced(&temporary, self.bytes()).and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            // Best effort: the error that matters is the one at hand.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        File::open(folder)?.sync_all()
    }
}

/// `.NAME.PID.tmp`: hidden, and of this process alone.
fn temporary_name(name: &std::ffi::OsStr) -> PathBuf {
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    temporary.into()
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left by a killed process that had our number; `create_new` refuses to follow a link that somebody put there.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
