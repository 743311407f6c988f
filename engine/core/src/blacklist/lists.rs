//! What a data core holds: its handle on the snapshot, and its overlay.

use super::{Listing, Overlay, OverlayFull, Snapshot};
use catraca_wire::DocumentKey;
use catraca_wire::record::OverlayChange;
use std::sync::Arc;

/// A snapshot, if one is loaded, and the overlay over it.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    snapshot: Option<Arc<Snapshot>>,
    overlay: Overlay,
}

impl Lists {
    /// Of a snapshot and an overlay.
    pub const fn new(snapshot: Option<Arc<Snapshot>>, overlay: Overlay) -> Self {
        Self { snapshot, overlay }
    }

    /// What is known of the document on a day: days since 1970-01-01. The overlay speaks first:
    /// with its own listings, then with which of the snapshot's it takes back, and last with
    /// whether it allows the document whatever lists it.
    #[inline]
    pub fn lookup(&self, key: DocumentKey, day: u16) -> Listing {
        // By far the most look-ups: nothing was changed by hand.
        if self.overlay.is_empty() {
            return self.in_snapshot(key, day);
        }
        self.lookup_changed(key, day)
    }

    #[inline]
    fn in_snapshot(&self, key: DocumentKey, day: u16) -> Listing {
        match self.snapshot.as_ref().and_then(|snapshot| snapshot.lookup(key, day)) {
            Some(hit) => Listing::Listed(hit),
            None => Listing::Free,
        }
    }

    #[inline(never)]
    fn lookup_changed(&self, key: DocumentKey, day: u16) -> Listing {
        let Some(word) = self.overlay.word(key) else { return self.in_snapshot(key, day) };
        let standing = |snapshot: &Arc<Snapshot>| {
            let exact = || snapshot.lookup_exact(key, day).filter(|_| word.leaves_exact());
            exact().or_else(|| snapshot.lookup_root(key, day).filter(|_| word.leaves_root()))
        };
        match word.listed().or_else(|| self.snapshot.as_ref().and_then(standing)) {
            None => Listing::Free,
            Some(hit) if word.allows(day) => Listing::Allowed(hit),
            Some(hit) => Listing::Listed(hit),
        }
    }

    /// Brings near what [`Self::lookup`] will read.
    #[inline]
    pub fn prefetch(&self, key: DocumentKey) {
        if let Some(snapshot) = &self.snapshot {
            snapshot.prefetch(key);
        }
    }

    /// Id of the snapshot; 0 without one.
    #[inline]
    pub fn snapshot_id(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.id())
    }

    /// Sequence number of the overlay's last change; 0 without one.
    #[inline]
    pub const fn overlay_sequence(&self) -> u64 {
        self.overlay.sequence()
    }

    /// The snapshot in use.
    pub const fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The overlay in use.
    pub const fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Takes another snapshot into use and gives back the old one, so that it is freed elsewhere:
    /// unmapping takes milliseconds.
    #[must_use = "dropping the old snapshot here would unmap it on the data core"]
    pub const fn swap(&mut self, snapshot: Option<Arc<Snapshot>>) -> Option<Arc<Snapshot>> {
        std::mem::replace(&mut self.snapshot, snapshot)
    }

    /// Takes a change into the overlay.
    ///
    /// # Errors
    /// [`OverlayFull`], and then nothing has changed.
    pub fn apply(&mut self, change: &OverlayChange) -> Result<(), OverlayFull> {
        self.overlay.apply(change)
    }
}
