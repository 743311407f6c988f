//! Where a table's keys lie: an index from a hash to the slot of its entry.
//!
//! ```text
//! word   [hash 40 | slot 24]  slots counted from 1, so that no word in use is 0
//! words  open addressing, linear probing, at most half full, deletion by shifting back
//! ```
//!
//! A probe mostly costs one cache line. The entries are the table's own: the index asks it whether an
//! entry is the one that is looked for, since 40 bits of a hash may be alike.

use crate::memory::{Table, TableMemory, prefetch};
use std::io;

const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
/// Words for each slot: the index is at most half full.
const WORDS_PER_SLOT: usize = 2;
/// How far a probe goes on from its home, mostly, in words: one in three or four reads a second line.
const PROBED: usize = 3;

/// Most slots: a word gives a slot 24 bits, and their number is a power of two.
pub const MAX_SLOTS: usize = 1 << (SLOT_BITS - 1);
/// Memory of an index for each of its slots, bytes.
pub const LEN_PER_SLOT: usize = WORDS_PER_SLOT * size_of::<u64>();

/// The index of a table.
pub struct SlotIndex {
    words: Table<u64>,
    /// Shift that takes a hash to its home.
    home_shift: u32,
}

impl SlotIndex {
    /// An empty index of so many slots, a power of two up to [`MAX_SLOTS`].
    ///
    /// # Errors
    /// When the system has no addresses for it.
    pub fn new(slots: usize) -> io::Result<Self> {
        assert!(slots.is_power_of_two() && slots <= MAX_SLOTS, "{slots} slots");
        let len = slots * WORDS_PER_SLOT;
        Ok(Self { words: Table::zeroed(len)?, home_shift: 64 - len.trailing_zeros() })
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> self.home_shift) as usize
    }

    #[inline]
    fn mask(&self) -> usize {
        self.words.len() - 1
    }

    #[inline]
    const fn word(hash: u64, slot: usize) -> u64 {
        (hash & !SLOT_MASK) | (slot as u64 + 1)
    }

    /// Asks the processor for the lines that a probe for a hash may read.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let home = self.home(hash);
        prefetch(&self.words[home]);
        // Mostly the same line.
        prefetch(&self.words[(home + PROBED) & self.mask()]);
    }

    /// The slot with this hash that `is` the one.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mut place = self.home(hash);
        loop {
            let word = self.words[place];
            if word == 0 {
                return None;
            }
            if (word ^ hash) & !SLOT_MASK == 0 {
                let slot = (word & SLOT_MASK) as usize - 1;
                if is(slot) {
                    return Some(slot);
                }
            }
            place = (place + 1) & self.mask();
        }
    }

    /// Puts a slot in that is not there.
    #[inline]
    pub fn insert(&mut self, hash: u64, slot: usize) {
        assert!(slot < self.words.len() / WORDS_PER_SLOT, "slot {slot} is none of this index");
        let mut place = self.home(hash);
        while self.words[place] != 0 {
            place = (place + 1) & self.mask();
        }
        self.words[place] = Self::word(hash, slot);
    }

    /// Takes a slot out.
    ///
    /// # Panics
    /// When it is not there: the index and its table do not agree.
    #[inline]
    pub fn remove(&mut self, hash: u64, slot: usize) {
        let mask = self.mask();
        let word = Self::word(hash, slot);
        let mut hole = self.home(hash);
        while self.words[hole] != word {
            assert!(self.words[hole] != 0, "an entry of the table is missing from its index");
            hole = (hole + 1) & mask;
        }
        // Shift back what would no longer be found past the hole.
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let moved = self.words[place];
            if moved == 0 {
                break;
            }
            // The home is in the high bits, which the slot leaves alone.
            let home = self.home(moved);
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.words[hole] = moved;
                hole = place;
            }
        }
        self.words[hole] = 0;
    }

    /// Slots that are in.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.words.iter().filter(|word| **word != 0).count()
    }

    /// The memory of the index, which is touched at random from the first entry on.
    pub fn memory(&self) -> TableMemory {
        self.words.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Hashes with few homes, and with some bits alike, in every order of coming and going.
    #[test]
    fn what_is_in_is_found_and_what_left_is_not() {
        const SLOTS: usize = 64;
        let mut index = SlotIndex::new(SLOTS).expect("memory");
        let mut held: HashMap<usize, u64> = HashMap::new();
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = (random >> 33) as usize % SLOTS;
            // Four homes, the last one at the end of the index, so that probes go round it.
            let hash = (random >> 60 & 3).wrapping_sub(1) << 57 | (random >> 40 & 3) << 24;
            match held.remove(&slot) {
                Some(hash) => index.remove(hash, slot),
                None => {
                    index.insert(hash, slot);
                    held.insert(slot, hash);
                }
            }
            for slot in 0..SLOTS {
                let hash = held.get(&slot).copied();
                let found = index.find(hash.unwrap_or(1 << 24), |other| other == slot);
                assert_eq!(found.is_some(), hash.is_some(), "slot {slot}");
            }
        }
        held.drain().for_each(|(slot, hash)| index.remove(hash, slot));
        assert_eq!(index.len(), 0);
    }

    #[test]
    #[should_panic(expected = "missing from its index")]
    fn a_slot_that_is_not_there_is_told() {
        SlotIndex::new(64).expect("memory").remove(7 << 30, 3);
    }
}
