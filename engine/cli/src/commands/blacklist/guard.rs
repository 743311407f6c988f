//! Refuses a list that lost most of its entries, or most of those of one source, against the last
//! one: mostly a failed download, not an amnesty.

use crate::commands::output::note;
use catraca_core::blacklist::fitness::{self, Counting};
use catraca_core::blacklist::{Snapshot, SnapshotError};
use catraca_core::calendar::day_number;
use catraca_node::fatal::Failure;
use catraca_node::list_files;
use jiff::civil::Date;
use std::path::{Path, PathBuf};

/// The snapshot that a new one is held against.
pub(super) struct Previous {
    path: PathBuf,
    documents: u64,
    /// Its entries on the day that the new one is for.
    counting: Counting,
    as_of: Date,
}

impl Previous {
    /// The file named, or else the one that is about to be replaced, if there is one.
    pub(super) fn open(
        named: Option<&Path>,
        out: &Path,
        as_of: Date,
    ) -> Result<Option<Self>, Failure> {
        let path = match named {
            Some(path) => path,
            None if out.exists() => out,
            None => return Ok(None),
        };
        match list_files::open(path) {
            Ok(snapshot) => Ok(Some(Self {
                path: path.to_path_buf(),
                documents: snapshot.counts().documents,
                counting: snapshot.entries_on(day_number(as_of)),
                as_of,
            })),
            // This is the build that the error asks for.
            Err(SnapshotError::Version { found, .. }) => {
                note(&format!(
                    "{}: of format version {found}, so that the new list is not held against it",
                    path.display()
                ));
                Ok(None)
            }
            Err(error) => {
                let why = format!(
                    "the new list can't be held against the last one ({error}), or --force to go without"
                );
                Err(Failure::failed(why))
            }
        }
    }

    /// Documents in it.
    pub(super) const fn documents(&self) -> u64 {
        self.documents
    }

    /// Refuses a new list with too little left.
    pub(super) fn hold_against(&self, new: &Snapshot, max_loss_percent: u8) -> Result<(), Failure> {
        let day = day_number(self.as_of);
        fitness::hold_counts(&self.counting, &new.entries_on(day), day, max_loss_percent.into()).map_err(|unfit| {
            Failure::failed(format!(
                "the new list against {}: {unfit}; check the sources, or --force if it is right",
                self.path.display()
            ))
        })
    }
}
