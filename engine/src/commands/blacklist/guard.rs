//! Refuses a list that lost most of its documents against the last one: mostly a failed download, not an amnesty.

use crate::blacklist::{Snapshot, SnapshotError};
use crate::commands::output::note;
use crate::fatal::Failure;
use std::path::{Path, PathBuf};

/// The snapshot that a new one is held against.
pub(super) struct Previous {
    path: PathBuf,
    documents: u64,
}

impl Previous {
    /// The file named, or else the one that is about to be replaced, if there is one.
    pub(super) fn open(named: Option<&Path>, out: &Path) -> Result<Option<Self>, Failure> {
        let path = match named {
            Some(path) => path,
            None if out.exists() => out,
            None => return Ok(None),
        };
        match Snapshot::open(path) {
            Ok(snapshot) => Ok(Some(Self { path: path.to_path_buf(), documents: snapshot.counts().documents })),
            // This is the build that the error asks for.
            Err(SnapshotError::Version { found, .. }) => {
                note(&format!("{}: of format version {found}, so that the new list is not held against it", path.display()));
                Ok(None)
            }
            Err(error) => {
                let why = format!("the new list can't be held against the last one ({error}), or --force to go without");
                Err(Failure::failed(why))
            }
        }
    }

    /// Documents in it.
    pub(super) const fn documents(&self) -> u64 {
        self.documents
    }

    /// Refuses a new list with too few documents left.
    pub(super) fn hold_against(&self, documents: u64, max_loss_percent: u8) -> Result<(), Failure> {
        let lost = self.documents.saturating_sub(documents);
        if u128::from(lost) * 100 > u128::from(self.documents) * u128::from(max_loss_percent) {
            let percent = lost as f64 * 100.0 / self.documents as f64;
            return Err(Failure::failed(format!(
                "the new list has {documents} documents where {} has {}: it would lose {percent:.1} %, more than {max_loss_percent} %; \
                 check the sources, or --force if it is right",
                self.path.display(),
                self.documents
            )));
        }
        Ok(())
    }
}
