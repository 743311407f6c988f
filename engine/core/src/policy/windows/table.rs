//! The keys of one subject, with the state of each.
//!
//! ```text
//! index    from a key to its slot
//! entries  of one length, in slots in the order in which they came
//! used     a bit for each slot, set when its key is added to again
//! free     slots of keys that were let go, the next one to be taken last
//! ```
//!
//! A full table lets some keys go for the next new ones, all at once, so that in between nobody goes and
//! payments can be judged together: a hand goes round over the slots, takes the bit of each that
//! was used since it last came by, and stops at the first that was not. So whoever goes was not added to for
//! one round of the hand, and the newest payment that was ever let go, the horizon, is as old as that.

use super::layout::{self, Layout};
use super::spec::{MAX_KEYS, MIN_KEYS, WindowsFault};
use crate::memory::{Table, TableMemory, prefetch};
use crate::slot_index::{self, SlotIndex};

/// Keys that a full table lets go at once: more than are judged together, unless it is small.
pub(super) const fn keys_let_go(capacity: usize) -> usize {
    let (most, share) = (64, capacity / 16);
    if share < most { share } else { most }
}

/// Memory of a key besides its entry, bytes. Its bit is an eighth more.
pub(super) const INDEX_LEN_PER_KEY: usize = slot_index::LEN_PER_SLOT;

/// The keys of one subject.
pub(super) struct KeyTable {
    index: SlotIndex,
    pub(super) entries: Table<u64>,
    /// Length of an entry, words.
    pub(super) words: usize,
    pub(super) used: Box<[u64]>,
    /// Slots that were ever taken.
    pub(super) slots: usize,
    pub(super) free: Vec<u32>,
    pub(super) hand: usize,
    pub(super) horizon_s: u32,
    pub(super) evicted: u64,
}

impl KeyTable {
    /// An empty table of `keys`, a power of two.
    pub fn new(layout: &Layout, keys: usize) -> Result<Self, WindowsFault> {
        if !keys.is_power_of_two() || !(MIN_KEYS..=MAX_KEYS).contains(&keys) {
            return Err(WindowsFault::Keys { keys });
        }
        let no_memory = |_| WindowsFault::Memory { keys };
        Ok(Self {
            index: SlotIndex::new(keys).map_err(no_memory)?,
            entries: Table::zeroed(keys * layout.words()).map_err(no_memory)?,
            words: layout.words(),
            used: vec![0; keys / 64].into_boxed_slice(),
            slots: 0,
            free: Vec::with_capacity(keys_let_go(keys)),
            hand: 0,
            horizon_s: 0,
            evicted: 0,
        })
    }

    /// Most keys.
    pub fn capacity(&self) -> usize {
        self.used.len() * 64
    }

    /// Keys that it holds.
    pub fn len(&self) -> usize {
        self.slots - self.free.len()
    }

    /// New keys that it takes before any goes.
    pub fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Asks the processor for the index line of a key.
    #[inline]
    pub fn prefetch(&self, key: u64) {
        self.index.prefetch(key);
    }

    /// Asks the processor for an entry's first lines.
    #[inline]
    pub fn prefetch_entry(&self, slot: usize) {
        let entry = self.entry_words(slot);
        // A line has eight words; the processor fetches those behind a few by itself.
        entry.iter().step_by(8).take(4).for_each(prefetch);
    }

    /// The memory of the index, for the thread that takes it ahead.
    pub fn index_memory(&self) -> TableMemory {
        self.index.memory()
    }

    /// The slot of a key.
    #[inline]
    pub fn find(&self, key: u64) -> Option<usize> {
        self.index.find(key, |slot| layout::key(self.entry_words(slot)) == key)
    }

    #[inline]
    pub(super) fn entry_words(&self, slot: usize) -> &[u64] {
        &self.entries[slot * self.words..][..self.words]
    }

    #[inline]
    fn entry_words_mut(&mut self, slot: usize) -> &mut [u64] {
        &mut self.entries[slot * self.words..][..self.words]
    }

    /// The entry in a slot.
    #[inline]
    pub fn entry(&self, slot: usize) -> &[u8] {
        bytemuck::cast_slice(self.entry_words(slot))
    }

    /// The entry in a slot, to change it.
    #[inline]
    pub fn entry_mut(&mut self, slot: usize) -> &mut [u8] {
        bytemuck::cast_slice_mut(self.entry_words_mut(slot))
    }

    /// The slot of a key that is added to again.
    pub fn again(&mut self, key: u64, slot: usize) -> usize {
        assert_eq!(layout::key(self.entry_words(slot)), key, "a key stays while it is in use");
        self.used[slot / 64] |= 1 << (slot % 64);
        slot
    }

    /// The slot of a key that is added to: its own, or a new one.
    pub fn take(&mut self, key: u64) -> usize {
        if let Some(slot) = self.find(key) {
            return self.again(key, slot);
        }
        if self.room() == 0 {
            (0..keys_let_go(self.capacity())).for_each(|_| self.evict());
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                let slot = slot as usize;
                self.used[slot / 64] &= !(1 << (slot % 64));
                slot
            }
            None => {
                self.slots += 1;
                self.slots - 1
            }
        };
        let known_from_s = self.horizon_s;
        layout::begin(self.entry_words_mut(slot), key, known_from_s);
        self.link(key, slot);
        slot
    }

    /// Puts a key that is not there into the index.
    pub(super) fn link(&mut self, key: u64, slot: usize) {
        self.index.insert(key, slot);
    }

    /// What happened up to a time may be missing from every key.
    pub fn forget_up_to(&mut self, time_s: u32) {
        self.horizon_s = self.horizon_s.max(time_s);
        // Slots that are free are begun anew when they are taken.
        for slot in 0..self.slots {
            layout::forget_up_to(self.entry_mut(slot), time_s);
        }
    }

    /// Lets the key go to which the hand comes.
    fn evict(&mut self) {
        let slot = self.pass();
        self.evicted += 1;
        self.horizon_s = self.horizon_s.max(layout::newest_s(self.entry(slot)));
        self.index.remove(layout::key(self.entry_words(slot)), slot);
        self.free.push(slot as u32);
        // So that the hand passes it, should it come by again before it is taken.
        self.used[slot / 64] |= 1 << (slot % 64);
    }

    /// Moves the hand past the first slot that was not used, 64 at a time.
    fn pass(&mut self) -> usize {
        // The second time round no bit is left.
        for _ in 0..=2 * self.used.len() {
            let (word, bit) = (self.hand / 64, self.hand % 64);
            let unused = !self.used[word] & (u64::MAX << bit);
            if unused != 0 {
                let found = unused.trailing_zeros() as usize;
                let passed = (u64::MAX << bit) & !(u64::MAX << found);
                self.used[word] &= !passed;
                let slot = word * 64 + found;
                self.hand = (slot + 1) % self.capacity();
                return slot;
            }
            self.used[word] &= !(u64::MAX << bit);
            self.hand = (word + 1) * 64 % self.capacity();
        }
        unreachable!("the hand takes the bits that it passes")
    }
}
