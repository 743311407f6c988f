//! One 64-byte bucket, and where a key may live: the part of the snapshot that a look-up runs.
//!
//! Bucketised two-choice cuckoo hashing: a key lives in one of two buckets of seven. Each bucket
//! also keeps eight bits that tell which of the keys that would rather be here had to go to their
//! second bucket, so that nearly every miss reads one cache line.

use crate::memory::prefetch;
use bytemuck::{Pod, Zeroable};
use rend::u64_le;

/// Keys in a bucket: seven of 8 bytes, their seven source bytes and the overflow byte fill one
/// cache line.
pub(super) const BUCKET_SLOTS: usize = 7;
/// Size of a bucket: a cache line.
pub(super) const BUCKET_LEN: usize = 64;

/// In a slot's byte: bit `n - 1` for each list with code `n` that names the key without dates.
pub(super) const SOURCES: u8 = 0b1111;
/// In a slot's byte: the key has lines with dates, among the spans.
pub(super) const DATED: u8 = 1 << 4;
/// In a slot's byte, from this bit on: the number of the undated plain line's reason, if it is one
/// of the most frequent; else 0.
pub(super) const REASON_SHIFT: u32 = 5;
/// Reasons that fit the byte.
pub(super) const INLINE_REASONS: u16 = 7;

/// A cache line of the table, in memory as in the file.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// Table keys, filled from the front; 0 is a free slot (no document has key 0).
    pub(super) keys: [u64_le; BUCKET_SLOTS],
    /// For each key its lines in a byte: [`SOURCES`], [`DATED`], and from [`REASON_SHIFT`] on the
    /// reason.
    pub(super) sources: [u8; BUCKET_SLOTS],
    /// Bit [`BucketPair::overflow_bit`] of each key whose first choice is this bucket and that
    /// lives in its second.
    pub(super) overflow: u8,
}

const _: () = assert!(size_of::<Bucket>() == BUCKET_LEN && align_of::<Bucket>() == BUCKET_LEN);

impl Bucket {
    /// The source byte of `key`, if it is here.
    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<u8> {
        // All seven are compared without a branch: which slot matches is random, so branches on it
        // would be mispredicted.
        let mut matches = 0u32;
        for (slot, stored) in self.keys.iter().enumerate() {
            matches |= u32::from(stored.to_native() == key) << slot;
        }
        if matches == 0 {
            None
        } else {
            self.sources.get(matches.trailing_zeros() as usize).copied()
        }
    }

    /// Puts a key into the first free slot; `false` if there is none.
    pub(super) fn push(&mut self, key: u64, sources: u8) -> bool {
        match self.keys.iter().position(|stored| stored.to_native() == 0) {
            Some(slot) => {
                self.set(slot, key, sources);
                true
            }
            None => false,
        }
    }

    /// Whether a slot is free.
    pub(super) fn has_room(&self) -> bool {
        self.keys[BUCKET_SLOTS - 1].to_native() == 0
    }

    /// Overwrites a slot.
    pub(super) fn set(&mut self, slot: usize, key: u64, sources: u8) {
        self.keys[slot] = u64_le::from_native(key);
        self.sources[slot] = sources;
    }
}

/// Where a key may live, before the size of the table is known.
#[derive(Clone, Copy)]
pub(super) struct BucketPair(u64);

impl BucketPair {
    /// Of a key, under a table's seed.
    #[inline]
    pub(super) fn of(key: u64, seed: u64) -> Self {
        Self(mix(key ^ seed))
    }

    /// The bucket a key would rather be in. `buckets` is at most [`super::MAX_BUCKETS`], which 32
    /// bits of hash resolve.
    #[inline]
    pub(super) fn first(self, buckets: usize) -> usize {
        scale(self.0 as u32, buckets)
    }

    /// The bucket it lives in otherwise; may be the same.
    #[inline]
    pub(super) fn second(self, buckets: usize) -> usize {
        scale((self.0 >> 32) as u32, buckets)
    }

    /// Which bit of the first bucket's overflow byte stands for it. The low bits of the hash have
    /// next to no part in `first`.
    #[inline]
    pub(super) fn overflow_bit(self) -> u8 {
        1 << (self.0 & 7)
    }
}

/// Maps 32 random bits to `0..buckets` evenly and without a division.
#[inline]
fn scale(hash: u32, buckets: usize) -> usize {
    ((u64::from(hash) * buckets as u64) >> 32) as usize
}

/// Mixes 64 bits: two rounds of 128-bit multiply and fold. Every key of a table differs from every
/// other, so this only has to spread.
#[inline]
pub(super) fn mix(value: u64) -> u64 {
    fold(fold(value, 0x9e37_79b9_7f4a_7c15) ^ value.rotate_left(32), 0xd6e8_feb8_6659_fd93)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A table over a mapped snapshot.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    /// Its buckets.
    pub(super) buckets: &'a [Bucket],
    /// The seed of [`BucketPair::of`].
    pub(super) seed: u64,
}

impl<'a> Table<'a> {
    /// Its keys, in no order that means anything.
    pub(super) fn keys(self) -> impl Iterator<Item = u64> + 'a {
        self.buckets
            .iter()
            .flat_map(|bucket| bucket.keys)
            .map(u64_le::to_native)
            .filter(|&key| key != 0)
    }

    /// The source byte of `key`, if it is listed. Reads one bucket, two at most.
    #[inline]
    pub(super) fn find(self, key: u64) -> Option<u8> {
        let place = BucketPair::of(key, self.seed);
        // `get` fails only on an empty table: an index is always below the number of buckets.
        let first = self.buckets.get(place.first(self.buckets.len()))?;
        let found = first.find(key);
        if found.is_some() || first.overflow & place.overflow_bit() == 0 {
            return found;
        }
        self.buckets.get(place.second(self.buckets.len()))?.find(key)
    }

    /// Brings both buckets of `key` near. The second is read only now and then, and then costs as
    /// much as all else of the look-up.
    #[inline]
    pub(super) fn prefetch(self, key: u64) {
        let place = BucketPair::of(key, self.seed);
        for at in [place.first(self.buckets.len()), place.second(self.buckets.len())] {
            if let Some(bucket) = self.buckets.get(at) {
                prefetch(bucket);
            }
        }
    }
}
