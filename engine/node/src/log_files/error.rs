//! What can go wrong with a log's files, and the exit status that belongs to it.

use super::key::KeyError;
use super::segment::{MAX_SEGMENT_LEN, MIN_SEGMENT_LEN};
use crate::fatal::{Failure, Status};
use catraca_core::log::damage::Damage;
use catraca_core::log::start::LogStartFault;
use catraca_core::rebuild::ChangesFault;
use std::io;
use std::path::{Path, PathBuf};

/// Why a log can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file or folder could not be read or written.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The disk, or the quota, is full.
    #[error("{}: no space for a segment of {needed_bytes} bytes; free some space on this filesystem", path.display())]
    NoSpace {
        /// The file that was to be made.
        path: PathBuf,
        /// How long it was to be.
        needed_bytes: u64,
    },
    /// A segment was to be made where one exists.
    #[error("{}: exists already", path.display())]
    SegmentExists {
        /// The file.
        path: PathBuf,
    },
    /// A segment's length is out of bounds.
    #[error(
        "a segment of {0} bytes: it must be a multiple of 4096 from {MIN_SEGMENT_LEN} to {MAX_SEGMENT_LEN}"
    )]
    SegmentLen(u64),
    /// There is no log.
    #[error("{}: holds no log (no folder log/shard-0000); name the data directory of a node, or a copy of it", path.display())]
    NoLog {
        /// The data directory.
        path: PathBuf,
    },
    /// A stream is damaged.
    #[error("{}: offset {}: {}. Nothing was changed; see `catraca log verify`", path.display(), damage.at.offset, damage.reason)]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// What and where.
        damage: Damage,
    },
    /// The file that says where a stream begins is unsound.
    #[error("{}: {fault}. It stands for log that was removed: bring it back from a copy, or from the other node; see LOG.md", path.display())]
    LogStart {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: LogStartFault,
    },
    /// The changes of the blacklist in segments that are to be removed make no overlay.
    #[error("{}: its oldest segments can't be removed: {fault}", path.display())]
    Overlay {
        /// The stream's folder.
        path: PathBuf,
        /// Why not.
        fault: ChangesFault,
    },
    /// The archive holds another file under the name of a segment.
    #[error("{}: the archive holds another file there; every node needs an archive of its own", path.display())]
    OtherArchive {
        /// The file.
        path: PathBuf,
    },
    /// The chain's key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl LogError {
    /// For `map_err`: an I/O error with its path.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    /// Whether there is no such file.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The exit status of a process that ends with it.
    pub fn status(&self) -> Status {
        match self {
            Self::Damaged { .. } | Self::LogStart { .. } => Status::LogDamaged,
            _ => Status::DataDirectory,
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Failure::new(error.status(), error.to_string())
    }
}
