//! The blacklist: which documents are listed, and how a data core asks.
//!
//! - [`build`] turns a [`Draft`] of entries into a [`Snapshot`]: an immutable table of 64-byte
//!   buckets, the dates of those entries that have some, one file, one content hash.
//! - [`Overlay`] holds the few documents listed, unlisted or allowed while the node runs.
//! - [`Lists`] is what a core holds: a snapshot and an overlay, asked with [`Lists::lookup`].
//! - [`synthetic`] makes valid invented documents for tests and measurements.
//!
//! A look-up takes no lock, allocates nothing and does no I/O. No network, no clock and no runtime
//! in here: times and dates are handed in.

mod bucket;
pub mod build;
mod check;
mod diff;
mod entry;
pub mod fitness;
mod format;
mod lists;
mod memory;
mod overlay;
mod snapshot;
mod span;
pub mod synthetic;

pub use build::BuildError;
pub use diff::{Diff, Named, Side};
pub use entry::{Draft, Entry, MAX_REASON_LEN, MAX_REASONS, Reasons};
pub use format::{Counts, MAX_BUCKETS, SnapshotError};
pub use lists::Lists;
pub use overlay::{MAX_ALLOW_DAYS, MAX_OVERLAY_ENTRIES, Overlay, OverlayFull};
pub use snapshot::{Line, Snapshot};

use catraca_wire::DocumentKey;
use catraca_wire::document::ORDERS_PER_ROOT;
use catraca_wire::frame::{ListSource, Scope};

/// A document was found listed: by what, and how far that entry reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The list the entry comes from; the lowest code where several lists have it.
    pub source: ListSource,
    /// [`Scope::Root`] if the company is listed whatever the branch, else [`Scope::Exact`].
    pub scope: Scope,
}

/// What is known of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listing {
    /// Not listed.
    #[default]
    Free,
    /// Listed.
    Listed(Hit),
    /// Listed, and allowed on the running node all the same.
    Allowed(Hit),
}

impl Listing {
    /// The listing that counts.
    #[inline]
    pub const fn counts(self) -> Option<Hit> {
        match self {
            Self::Listed(hit) => Some(hit),
            Self::Free | Self::Allowed(_) => None,
        }
    }

    /// Whether it is listed and allowed all the same.
    #[inline]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Set in the table key of a CNPJ root: above every key of a document (a CPF's has only bit 63 and
/// 30 low bits, a CNPJ's is below 36^12 < 2^63), so that roots and documents can't be taken for
/// each other.
const ROOT_TAG: u64 = 0b11 << 62;

/// The first branch of the company with this table key; `None` for what is no root's key.
fn first_branch(key: u64) -> Option<DocumentKey> {
    if key & ROOT_TAG == ROOT_TAG {
        DocumentKey::from_raw((key & !ROOT_TAG) * ORDERS_PER_ROOT + 1)
    } else {
        None
    }
}

/// The table key of a CNPJ's root; `None` for a CPF.
#[inline]
const fn root_key(document: DocumentKey) -> Option<u64> {
    match document.cnpj_root() {
        Some(root) => Some(ROOT_TAG | root),
        None => None,
    }
}
