//! Answers of validators that are still good, on the data core: the first level, which a decision asks before anybody
//! waits. It may lack any answer: whoever does not find one here asks beside the core.

use crate::memory::Table;
use crate::validate::{HOT_HITS, REFRESH_PERCENT};
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
    /// When it was given, monotonic nanoseconds, wrapped around where it is older than that clock.
    given_ns: u64,
    /// What it is an answer of: the policy's turn, and its place among the validators; then how often it was taken, up
    /// to [`HOT_HITS`], or [`ASKED_FOR`]: 8 bits.
    of: u64,
}

const HITS: u64 = 0xff;
/// It has been asked for anew.
const ASKED_FOR: u64 = HITS;

/// An answer that is good still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub answer: i64,
    pub age_ns: u64,
    /// It is hot, and ends soon: it is to be asked for anew. That is said once.
    pub is_ending: bool,
}

impl Entry {
    /// It is taken.
    #[inline]
    const fn take(&mut self, now_ns: u64, may_ask: bool) -> Kept {
        let Self { answer, good_until_ns, given_ns, of, .. } = *self;
        let hits = of & HITS;
        let is_counted = hits < HOT_HITS as u64;
        let left_ns = good_until_ns.saturating_sub(now_ns);
        let life_ns = good_until_ns.wrapping_sub(given_ns);
        let is_ending =
            may_ask && hits == HOT_HITS as u64 && left_ns <= life_ns / 100 * REFRESH_PERCENT;
        if is_counted {
            self.of += 1;
        } else if is_ending {
            self.of |= ASKED_FOR;
        }
        Kept { answer, age_ns: now_ns.wrapping_sub(given_ns), is_ending }
    }
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
        (self.turn << 8 | validator as u64) << HITS.count_ones()
    }

    /// Takes an answer that is good still. Whether one that is about to end may be asked for anew is said by the caller:
    /// then it is marked.
    #[inline]
    pub fn take(
        &mut self,
        validator: usize,
        key: u128,
        now_ns: u64,
        may_ask: bool,
    ) -> Option<Kept> {
        let (words, of) = (words(key), self.of(validator));
        let entries = self.entries.as_mut()?;
        let is_it = |entry: &&mut Entry| {
            entry.key == words && entry.of & !HITS == of && entry.good_until_ns > now_ns
        };
        let entry = entries[first(key)..][..WAYS].iter_mut().find(is_it)?;
        Some(entry.take(now_ns, may_ask))
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
        let is_it = |entry: &Entry| entry.key == words && entry.of & !HITS == of;
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

    fn find(cache: &mut AnswerCache, validator: usize, key: u128, now: u64) -> Option<(i64, u64)> {
        cache.take(validator, key, now, true).map(|kept| (kept.answer, kept.age_ns))
    }

    #[test]
    fn an_answer_is_found_as_long_as_it_is_good() {
        let mut cache = AnswerCache::default();
        cache.fill(0, 1, 5, (0, 100));
        assert_eq!(find(&mut cache, 0, 1, 1), None, "there is no validator");
        cache.prepare();
        cache.fill(0, 1, 5, (10, 100));
        assert_eq!(find(&mut cache, 0, 1, 99), Some((5, 89)));
        assert_eq!(find(&mut cache, 0, 1, 100), None);
        assert_eq!(find(&mut cache, 1, 1, 50), None, "another validator");
        assert_eq!(find(&mut cache, 0, 2, 50), None, "another question");
        cache.fill(0, 1, 6, (20, 200));
        assert_eq!(find(&mut cache, 0, 1, 120), Some((6, 100)));
        // Others that belong to the same places push out what ends first.
        let same = |n: u128| 1 | n << 64;
        cache.fill(0, same(1), 7, (20, 300));
        cache.fill(0, same(2), 8, (20, 400));
        assert_eq!(find(&mut cache, 0, 1, 120), None);
        assert_eq!(find(&mut cache, 0, same(1), 120), Some((7, 100)));
        assert_eq!(find(&mut cache, 0, same(2), 120), Some((8, 100)));
        cache.prepare();
        assert_eq!(find(&mut cache, 0, same(2), 120), None);
    }

    #[test]
    fn an_answer_may_be_older_than_the_clock() {
        let mut cache = AnswerCache::default();
        cache.prepare();
        cache.fill(0, 1, 5, (100_u64.wrapping_sub(4_000), 900));
        assert_eq!(find(&mut cache, 0, 1, 150), Some((5, 4_050)));
        assert_eq!(find(&mut cache, 0, 1, 900), None);
    }

    #[test]
    fn a_hot_answer_that_ends_soon_is_asked_for_once() {
        let mut cache = AnswerCache::default();
        cache.prepare();
        let mut endings = |hits: usize, at_ns: u64, may_ask: bool| {
            cache.fill(0, 1, 5, (1_000, 2_000));
            for _ in 0..hits {
                assert!(!cache.take(0, 1, 1_500, true).expect("it is good").is_ending);
            }
            (0..3)
                .filter(|_| cache.take(0, 1, at_ns, may_ask).expect("it is good").is_ending)
                .count()
        };
        let hot = HOT_HITS as usize;
        assert_eq!(endings(hot, 1_899, true), 0, "it is good for long yet");
        assert_eq!(endings(hot, 1_900, true), 1);
        assert_eq!(endings(hot, 1_900, false), 0, "there is no room to ask");
        assert_eq!(endings(100, 1_999, true), 1);
        assert_eq!(endings(0, 1_950, true), 0, "it becomes hot by the last one only");
    }
}
