//! Documents listed or unlisted on the running node, over the snapshot.
//!
//! Each core has its own plain copy, kept equal by applying the same logged changes. Changes may come in any order and more than
//! once (recovery reads the streams of several shards): for each document and each root the highest sequence number stands.

use super::{Hit, root_key};
use crate::blacklist::bucket::mix;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::record::OverlayChange;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Most documents and roots in an overlay: what people change by hand between two lists, with room for a script gone wrong; about
/// 3 MB for each core. More belongs into a list.
pub const MAX_OVERLAY_ENTRIES: usize = 65_536;

/// The overlay holds [`MAX_OVERLAY_ENTRIES`] and the change names another document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the overlay holds {MAX_OVERLAY_ENTRIES} documents, its most: put them into a list, build it and load it")]
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

/// The listed and unlisted documents. Look-ups neither allocate nor lock; [`Overlay::apply`] may allocate.
#[derive(Clone, Default)]
pub struct Overlay {
    /// By table key: a document's, or a root's.
    changes: HashMap<u64, OverlayChange, BuildHasherDefault<KeyHasher>>,
    sequence: u64,
}

impl Overlay {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a change. One with a lower sequence number than the document's (or root's) last is without effect, so that applying
    /// changes again, or in another order, ends in the same overlay.
    ///
    /// # Errors
    /// [`OverlayFull`], and then nothing has changed.
    pub fn apply(&mut self, change: &OverlayChange) -> Result<(), OverlayFull> {
        let key = match change.scope {
            Scope::Exact => change.document.raw(),
            // A CPF has no branches: its root is itself.
            Scope::Root => root_key(change.document).unwrap_or(change.document.raw()),
        };
        let full = self.changes.len() >= MAX_OVERLAY_ENTRIES;
        match self.changes.get_mut(&key) {
            Some(last) if last.sequence >= change.sequence => {}
            Some(last) => *last = *change,
            None if full => return Err(OverlayFull),
            None => {
                self.changes.insert(key, *change);
            }
        }
        self.sequence = self.sequence.max(change.sequence);
        Ok(())
    }

    /// What the overlay says of a document: `Some(Some(_))` listed, `Some(None)` unlisted, `None` nothing. Where it speaks of the
    /// document and of its root, the later word stands.
    #[inline]
    pub fn lookup(&self, key: DocumentKey) -> Option<Option<Hit>> {
        // By far the most look-ups: nothing was changed by hand.
        if self.changes.is_empty() {
            return None;
        }
        let exact = self.changes.get(&key.raw());
        let root = root_key(key).and_then(|root| self.changes.get(&root));
        let last = match (exact, root) {
            (Some(exact), Some(root)) => {
                if exact.sequence > root.sequence {
                    exact
                } else {
                    root
                }
            }
            (exact, root) => exact.or(root)?,
        };
        let scope = if key.cnpj_root().is_none() { Scope::Exact } else { last.scope };
        Some(last.listed.then_some(Hit { source: ListSource::Overlay, scope }))
    }

    /// The highest sequence number applied; 0 without any.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Documents and roots that it speaks of.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it speaks of none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes that still stand, in order of their sequence numbers: applied to an empty overlay they make this one. For
    /// checkpoints; allocates.
    pub fn changes(&self) -> Vec<OverlayChange> {
        let mut changes: Vec<_> = self.changes.values().copied().collect();
        changes.sort_unstable_by_key(|change| change.sequence);
        changes
    }
}

/// Prints how much is in it, not whom it names.
impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay").field("len", &self.len()).field("sequence", &self.sequence).finish()
    }
}
