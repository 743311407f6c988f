//! Which different members a window saw, as bytes within a series.
//!
//! ```text
//! lost 4              newest bucket of a member that had to leave, plus 1; 0 for none
//! hashes 4 each       0 where there is none
//! last seen 1 each    the low bits of the number of the last bucket with this member
//! ```
//!
//! A member counts while the bucket in which it was last seen is in the window. A full set lets the one go
//! that was seen longest ago. A window that reaches back to where that was knows that there are at least as
//! many; a later one is exact again.

use super::series::{get_u32, set_u32};

/// Most members that are told apart.
pub const SET_MAX: usize = 64;

const LOST_LEN: usize = 4;
const HASH_LEN: usize = 4;
const SEEN_LEN: usize = 1;

/// Buckets that are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub first: u32,
    pub last: u32,
}

/// Where a set stands in an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    pub at: usize,
    pub capacity: usize,
}

impl Set {
    /// Length of a set, bytes.
    pub const fn len(capacity: usize) -> usize {
        LOST_LEN + capacity * (HASH_LEN + SEEN_LEN)
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

    /// Adds a member of a bucket that the ring holds; `newest` is the newest that it holds.
    pub fn add(&self, entry: &mut [u8], hash: u32, bucket: u32, newest: u32) {
        let mut free = None;
        // The member that was seen longest ago: its place, and when.
        let mut oldest = (0, u32::MAX);
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
            if seen < oldest.1 {
                oldest = (place, seen);
            }
        }
        if let Some(place) = free {
            return self.put(entry, place, hash, bucket);
        }
        let (place, seen) = oldest;
        let lost = get_u32(entry, self.at).max(seen.min(bucket) + 1);
        set_u32(entry, self.at, lost);
        if seen < bucket {
            self.put(entry, place, hash, bucket);
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

    /// How many members were seen in a window, and `own`, if there is one; and whether these are all.
    pub fn count(
        &self,
        entry: &[u8],
        window: Window,
        newest: u32,
        own: Option<u32>,
    ) -> (usize, bool) {
        let mut all = get_u32(entry, self.at) <= window.first;
        let mut members = usize::from(own.is_some());
        for place in 0..self.capacity {
            let hash = self.hash(entry, place);
            if hash == 0 {
                continue;
            }
            let seen = self.seen(entry, place, newest);
            if seen > window.last {
                // It may have been seen in the window as well.
                all = false;
            } else if seen >= window.first && own != Some(hash) {
                members += 1;
            }
        }
        (members, all)
    }
}
