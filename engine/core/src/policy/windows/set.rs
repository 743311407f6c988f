//! Which different members a window saw, as bytes within a series.
//!
//! ```text
//! lost 4              newest bucket of a member that had to leave, plus 1; 0 for none
//! threshold 4         where more are estimated: members whose hash is not below it are not kept; 0: all are
//! hashes 4 each       0 where there is none
//! last seen 1 each    the low bits of the number of the last bucket with this member
//! ```
//!
//! A member counts while the bucket in which it was last seen is in the window. A window that reaches back to where
//! one was lost knows that there are at least as many; a later one is exact again. Which one a full set lets go:
//!
//! - **Where more are "at least"**: the one that was seen longest ago.
//! - **Where more are estimated**: the one of the highest hash, which becomes the threshold. Hashes are even over 32
//!   bits, so that the members below the threshold are a sample: there are about as many times more as the
//!   threshold goes into 2^32. The standard error of an estimate from `n` kept members is `1/sqrt(n)`; `n` is at
//!   most [`SET_MAX`], 64, and so the error 12.5 %, and is smaller after the number has fallen within a window. The
//!   threshold is given up once no member that was lost can be in the window.

use super::series::{get_u32, set_u32};

/// Most members that are told apart.
pub const SET_MAX: usize = 64;
/// Instead of a number up to which members are told apart: [`SET_MAX`], and beyond it they are estimated.
pub const ESTIMATED: u8 = SET_MAX as u8 + 1;

const LOST_LEN: usize = 4;
const THRESHOLD_LEN: usize = 4;
const HASH_LEN: usize = 4;
const SEEN_LEN: usize = 1;

/// Buckets that are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub first: u32,
    pub last: u32,
}

/// What a window saw of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Those that are kept.
    pub members: usize,
    /// These are all.
    pub all: bool,
    /// How many there are about, where these are not all and it can be told.
    pub estimate: Option<u64>,
}

/// Where a set stands in an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    at: usize,
    capacity: usize,
    /// Where the threshold stands.
    threshold_at: Option<usize>,
}

impl Set {
    /// Of members that are told apart up to a number, or [`ESTIMATED`] beyond; `take` gives the place of so many
    /// bytes.
    pub fn new(up_to: usize, take: &mut impl FnMut(usize) -> usize) -> Self {
        let capacity = up_to.min(SET_MAX);
        let threshold_at = (up_to > SET_MAX).then(|| take(THRESHOLD_LEN));
        let at = take(LOST_LEN + capacity * (HASH_LEN + SEEN_LEN));
        Self { at, capacity, threshold_at }
    }

    #[inline]
    fn hash(&self, entry: &[u8], place: usize) -> u32 {
        get_u32(entry, self.at + LOST_LEN + place * HASH_LEN)
    }

    /// The bucket in which a member was last seen. The ring holds far fewer than 256 buckets up to the
    /// newest, so that the low bits tell.
    #[inline]
    fn seen(&self, entry: &[u8], place: usize, newest: u32) -> u32 {
        let low = entry[self.at + LOST_LEN + self.capacity * HASH_LEN + place];
        newest.saturating_sub(u32::from((newest as u8).wrapping_sub(low)))
    }

    fn put(&self, entry: &mut [u8], place: usize, hash: u32, bucket: u32) {
        set_u32(entry, self.at + LOST_LEN + place * HASH_LEN, hash);
        entry[self.at + LOST_LEN + self.capacity * HASH_LEN + place] = bucket as u8;
    }

    fn lose(&self, entry: &mut [u8], bucket: u32) {
        let lost = get_u32(entry, self.at).max(bucket + 1);
        set_u32(entry, self.at, lost);
    }

    fn threshold(&self, entry: &[u8]) -> Option<u32> {
        self.threshold_at.map(|at| get_u32(entry, at)).filter(|threshold| *threshold > 0)
    }

    /// Adds a member of the last bucket of a window, which the ring holds; `newest` is the newest that it holds.
    pub fn add(&self, entry: &mut [u8], hash: u32, window: Window, newest: u32) {
        let bucket = window.last;
        if let Some(at) = self.threshold_at {
            if get_u32(entry, self.at) <= window.first {
                set_u32(entry, at, 0);
            }
            if self.threshold(entry).is_some_and(|threshold| hash >= threshold) {
                return self.lose(entry, bucket);
            }
        }
        let mut free = None;
        // The member that goes if all places are taken: its place, and by what.
        let mut goes = (0, None);
        for place in 0..self.capacity {
            let known = self.hash(entry, place);
            if known == 0 {
                free = free.or(Some(place));
                continue;
            }
            let seen = self.seen(entry, place, newest);
            if known == hash {
                return self.put(entry, place, hash, seen.max(bucket));
            }
            // Seen longest ago, or of the highest hash.
            let rank = if self.threshold_at.is_some() { u32::MAX - known } else { seen };
            if goes.1.is_none_or(|before| rank < before) {
                goes = (place, Some(rank));
            }
        }
        if let Some(place) = free {
            return self.put(entry, place, hash, bucket);
        }
        let place = goes.0;
        let seen = self.seen(entry, place, newest);
        match self.threshold_at {
            Some(at) => {
                let highest = self.hash(entry, place);
                set_u32(entry, at, highest.max(hash));
                if hash > highest {
                    return self.lose(entry, bucket);
                }
                self.lose(entry, seen);
                self.put(entry, place, hash, bucket);
            }
            None => {
                self.lose(entry, seen.min(bucket));
                if seen < bucket {
                    self.put(entry, place, hash, bucket);
                }
            }
        }
    }

    /// Forgets members of buckets that leave a ring of `slots` when its newest becomes `next`.
    pub fn forget(&self, entry: &mut [u8], newest: u32, next: u32, slots: u32) {
        for place in 0..self.capacity {
            if self.hash(entry, place) != 0 && self.seen(entry, place, newest) + slots <= next {
                self.put(entry, place, 0, 0);
            }
        }
    }

    /// How many members were seen in a window, and `own`, if there is one.
    pub fn count(&self, entry: &[u8], window: Window, newest: u32, own: Option<u32>) -> Counted {
        let mut all = get_u32(entry, self.at) <= window.first;
        let (mut others, mut knows_own) = (0_usize, false);
        for place in 0..self.capacity {
            let hash = self.hash(entry, place);
            if hash == 0 {
                continue;
            }
            let seen = self.seen(entry, place, newest);
            if seen > window.last {
                // It may have been seen in the window as well.
                all = false;
            } else if seen >= window.first {
                knows_own |= own == Some(hash);
                others += usize::from(own != Some(hash));
            }
        }
        let members = others + usize::from(own.is_some());
        let threshold = self.threshold(entry).filter(|_| !all);
        let estimate = threshold.map(|threshold| {
            let sample = (others + usize::from(knows_own)) as u64;
            ((sample << 32) / u64::from(threshold)).max(members as u64)
        });
        Counted { members, all, estimate }
    }
}
