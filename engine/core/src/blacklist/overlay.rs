//! Documents listed, unlisted or allowed on the running node, over the snapshot.
//!
//! Each core has its own plain copy, kept equal by applying the same logged changes. For each
//! document and each company it holds the sequence number of the last change of each kind: the
//! highest stands, so that changes may come in any order and more than once (recovery reads the
//! streams of several shards). How they compose (PROTOCOL.md, "How changes compose"):
//!
//! 1. Listing counts for everybody it reaches until it is taken back.
//! 2. Unlisting takes back earlier listings of its own scope, and the snapshot's; of one document
//!    also those of its company. It never takes back a narrower listing.
//! 3. A later listing counts again.
//! 4. An allowance outranks every earlier listing and every snapshot through its last day. A later
//!    listing ends it.

use super::{Hit, first_branch, root_key};
use crate::blacklist::bucket::mix;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::record::{OverlayChange, OverlayOp};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Most documents and roots in an overlay: what people change by hand between two lists, with room
/// for a script gone wrong; about 4 MB for each core. More belongs into a list.
pub const MAX_OVERLAY_ENTRIES: usize = 65_536;
/// Days ahead that an allowance may reach, so that none is forgotten: a year, whatever year it is.
pub const MAX_ALLOW_DAYS: u16 = 366;

/// The overlay holds [`MAX_OVERLAY_ENTRIES`] and the change names another document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the overlay holds {MAX_OVERLAY_ENTRIES} documents, its most: put them into a list, build it and load it"
)]
pub struct OverlayFull;

/// Keys are mixed by the table's own function; only the operator chooses them.
#[derive(Clone, Copy, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, key: u64) {
        self.0 = mix(key);
    }
}

/// Sequence numbers of the last changes of a document, or of a company; 0 where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Last {
    listed: u64,
    unlisted: u64,
    allowed: u64,
    /// Last day of the allowance.
    until_day: u16,
}

/// The listed, unlisted and allowed documents. Look-ups neither allocate nor lock;
/// [`Overlay::apply`] may allocate.
#[derive(Clone, Default)]
pub struct Overlay {
    /// By table key: a document's, or a root's.
    last: HashMap<u64, Last, BuildHasherDefault<KeyHasher>>,
    sequence: u64,
}

/// What the overlay says of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    exact: Last,
    root: Last,
}

impl Word {
    /// The overlay's own listing, if it has one that was not taken back.
    pub(super) fn listed(&self) -> Option<Hit> {
        let hit = |scope| Some(Hit { source: ListSource::Overlay, scope });
        if self.exact.listed > self.exact.unlisted {
            hit(Scope::Exact)
        } else if self.root.listed > self.root.unlisted.max(self.exact.unlisted) {
            hit(Scope::Root)
        } else {
            None
        }
    }

    /// Whether the snapshot's entries of the document itself were not taken back.
    pub(super) const fn leaves_exact(&self) -> bool {
        self.exact.unlisted == 0
    }

    /// Whether the snapshot's entries of its company were not taken back.
    pub(super) const fn leaves_root(&self) -> bool {
        self.leaves_exact() && self.root.unlisted == 0
    }

    /// Whether the document is allowed on a day, whatever lists it.
    pub(super) fn allows(&self, day: u16) -> bool {
        let listed = self.exact.listed.max(self.root.listed);
        [self.exact, self.root].iter().any(|last| last.allowed > listed && day <= last.until_day)
    }
}

impl Overlay {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a change. One with a lower sequence number than the last of its kind is without
    /// effect, so that applying changes again, or in another order, ends in the same overlay.
    ///
    /// # Errors
    /// [`OverlayFull`], and then nothing has changed.
    pub fn apply(&mut self, change: &OverlayChange) -> Result<(), OverlayFull> {
        let key = match change.scope {
            Scope::Exact => change.document.raw(),
            // A CPF has no branches: its root is itself.
            Scope::Root => root_key(change.document).unwrap_or(change.document.raw()),
        };
        if self.last.len() >= MAX_OVERLAY_ENTRIES && !self.last.contains_key(&key) {
            return Err(OverlayFull);
        }
        let last = self.last.entry(key).or_default();
        match change.op {
            OverlayOp::List => last.listed = last.listed.max(change.sequence),
            OverlayOp::Unlist => last.unlisted = last.unlisted.max(change.sequence),
            OverlayOp::Allow { until_day } if change.sequence > last.allowed => {
                (last.allowed, last.until_day) = (change.sequence, until_day);
            }
            OverlayOp::Allow { .. } => {}
        }
        self.sequence = self.sequence.max(change.sequence);
        Ok(())
    }

    /// What the overlay says of a document; `None` if nothing.
    pub(super) fn word(&self, key: DocumentKey) -> Option<Word> {
        let exact = self.last.get(&key.raw()).copied();
        let root = root_key(key).and_then(|root| self.last.get(&root)).copied();
        (exact.is_some() || root.is_some())
            .then(|| Word { exact: exact.unwrap_or_default(), root: root.unwrap_or_default() })
    }

    /// The highest sequence number applied; 0 without any.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Documents and roots that it speaks of.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether it speaks of none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The changes that still stand, in order of their sequence numbers: applied to an empty
    /// overlay they make this one. A company is named by the first of its branches. For
    /// checkpoints; allocates.
    pub fn changes(&self) -> Vec<OverlayChange> {
        let mut changes = Vec::new();
        for (&key, last) in &self.last {
            let exact = DocumentKey::from_raw(key).map(|document| (document, Scope::Exact));
            let named = exact.or_else(|| Some((first_branch(key)?, Scope::Root)));
            // A key came out of a document, and so gives one.
            let Some((document, scope)) = named else { continue };
            let ops = [
                (OverlayOp::List, last.listed),
                (OverlayOp::Unlist, last.unlisted),
                (OverlayOp::Allow { until_day: last.until_day }, last.allowed),
            ];
            let made = ops.into_iter().filter(|(_, sequence)| *sequence > 0);
            changes.extend(made.map(|(op, sequence)| OverlayChange {
                document,
                scope,
                op,
                sequence,
            }));
        }
        changes.sort_unstable_by_key(|change| change.sequence);
        changes
    }
}

/// Prints how much is in it, not whom it names.
impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("len", &self.len())
            .field("sequence", &self.sequence)
            .finish()
    }
}
