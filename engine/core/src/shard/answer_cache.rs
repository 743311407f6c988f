//! Answers of validators that are still good, on the data core: the first level, which a decision asks before anybody
//! waits. It may lack any answer: whoever does not find one here asks beside the core.

use crate::memory::Table;
use bytemuck::{Pod, Zeroable};

/// Places; a power of two. 4 MB a shard with validators, of which only what is used is taken.
const PLACES: usize = 1 << 16;
/// Places that an answer may have, side by side: mostly one cache line and a half.
const WAYS: usize = 2;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    key: [u64; 2],
    answer: i64,
    /// Until when it is good, monotonic nanoseconds; 0 of an empty place.
    good_until_ns: u64,
    /// When it was given, monotonic nanoseconds.
    given_ns: u64,
    /// What it is an answer of: the policy's turn, and its place among the validators.
    of: u64,
}

/// The answers.
#[derive(Default)]
pub(super) struct AnswerCache {
    /// `None` until there is a validator.
    entries: Option<Table<Entry>>,
    /// How many policies with validators there were.
    turn: u64,
}

impl AnswerCache {
    /// Other validators are asked from now on: nothing is known of them.
    pub fn prepare(&mut self) {
        let table = || Table::zeroed(PLACES).expect("addresses for a cache of 4 MiB");
        self.entries.get_or_insert_with(table);
        self.turn += 1;
    }

    const fn of(&self, validator: usize) -> u64 {
        self.turn << 8 | validator as u64
    }

    /// An answer that is good still, and how old it is, nanoseconds.
    #[inline]
    pub fn find(&self, validator: usize, key: u128, now_ns: u64) -> Option<(i64, u64)> {
        let (words, of) = (words(key), self.of(validator));
        let entries = self.entries.as_ref()?;
        let is_it =
            |entry: &&Entry| entry.key == words && entry.of == of && entry.good_until_ns > now_ns;
        let entry = entries[first(key)..][..WAYS].iter().find(is_it)?;
        Some((entry.answer, now_ns.saturating_sub(entry.given_ns)))
    }

    /// An answer was given, so many nanoseconds ago, and is good until a time: in the place of that which ends first.
    pub fn fill(
        &mut self,
        validator: usize,
        key: u128,
        answer: i64,
        (given_ns, good_until_ns): (u64, u64),
    ) {
        let (words, of) = (words(key), self.of(validator));
        let Some(entries) = &mut self.entries else { return };
        let ways = &mut entries[first(key)..][..WAYS];
        let is_it = |entry: &Entry| entry.key == words && entry.of == of;
        let place = ways
            .iter()
            .position(is_it)
            .or_else(|| (0..WAYS).min_by_key(|&way| ways[way].good_until_ns))
            .expect("there are ways");
        ways[place] = Entry { key: words, answer, good_until_ns, given_ns, of };
    }
}

const fn words(key: u128) -> [u64; 2] {
    [key as u64, (key >> 64) as u64]
}

/// The first place that an answer may have.
const fn first(key: u128) -> usize {
    key as usize & (PLACES - 1) & !(WAYS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_as_long_as_it_is_good() {
        let mut cache = AnswerCache::default();
        cache.fill(0, 1, 5, (0, 100));
        assert_eq!(cache.find(0, 1, 1), None, "there is no validator");
        cache.prepare();
        cache.fill(0, 1, 5, (10, 100));
        assert_eq!(cache.find(0, 1, 99), Some((5, 89)));
        assert_eq!(cache.find(0, 1, 100), None);
        assert_eq!(cache.find(1, 1, 50), None, "another validator");
        assert_eq!(cache.find(0, 2, 50), None, "another question");
        cache.fill(0, 1, 6, (20, 200));
        assert_eq!(cache.find(0, 1, 120), Some((6, 100)));
        // Others that belong to the same places push out what ends first.
        let same = |n: u128| 1 | n << 64;
        cache.fill(0, same(1), 7, (20, 300));
        cache.fill(0, same(2), 8, (20, 400));
        assert_eq!(cache.find(0, 1, 120), None);
        assert_eq!(cache.find(0, same(1), 120), Some((7, 100)));
        assert_eq!(cache.find(0, same(2), 120), Some((8, 100)));
        cache.prepare();
        assert_eq!(cache.find(0, same(2), 120), None);
    }
}
