//! Writing a snapshot.

use super::Snapshot;
use crate::whole_file;
use std::io;
use std::path::Path;

impl Snapshot {
    /// Writes the file, whole and durable. A list names people: its owner and group may read it.
    ///
    /// # Errors
    /// What the system says; the file under `path` is then what it was, or the whole new one.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        whole_file::write_durably(path, whole_file::GROUP, self.bytes())
    }
}
