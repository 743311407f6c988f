//! The index of one full segment: where the decisions on a transaction id, and their labels, lie. Made from the
//! segment's blocks, kept in a file beside it, and made anew whenever it is missing or unsound: the
//! log says what was decided, an index only where to look.
//!
//! ```text
//! head 232 bytes │ changes, 4 bytes each │ filter, lines of 64 bytes │ directory, 16 bytes a bucket │ entries, 10 bytes each
//! ```
//!
//! Changes are the blocks with records other than decisions and labels: a start reads them, and of the decisions
//! only as many as its tables hold. For this it opens head and changes alone, the [`SegmentSummary`],
//! which have a check of their own: a history of any length has few of those. Look-ups hold everything
//! but the entries in memory, some 1.4 bytes a decision. So an id that is not in the segment costs one cache line, except for one in a hundred;
//! one that is costs a single read of a bucket. Ids are hashed with a key that clients do not know, so that nobody fills one bucket on
//! purpose. All of it is checked with keys derived from the chain's: who may not write the log may
//! not make an index that hides a record either.

mod build;
mod summary;

pub use build::IndexBuilder;
pub use summary::SegmentSummary;

use bytemuck::{Pod, Zeroable};
use catraca_wire::block::{BLOCK_ALIGN, Chain, ChainKey};
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::TRANSACTION_ID_LEN;
use rend::unaligned::{u16_ule, u32_ule, u64_ule};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// First bytes of an index file.
pub const INDEX_MAGIC: [u8; 8] = *b"CATRINDX";
/// Version of the layout below.
pub const INDEX_VERSION: u16 = 3;
/// Length of the head, bytes.
pub const INDEX_HEAD_LEN: usize = 232;
/// Length of an entry, bytes.
pub const ENTRY_LEN: usize = 10;
/// Most decisions and labels of one segment: 1 GiB of records.
pub const MAX_ENTRIES: usize = 4 << 20;

/// Entries of a bucket on average: a bucket is then read in one page or two.
const BUCKET_ENTRIES: usize = 256;
/// Bits of the filter for each entry. With [`FILTER_PROBES`] in one line of 512, one id in a hundred
/// that is not there seems to be.
const FILTER_BITS: usize = 10;
const FILTER_PROBES: u32 = 7;
/// Words of a line of the filter: one cache line.
const LINE_WORDS: usize = 8;
/// What the keys are derived for.
const CHECK_CONTEXT: &str = "catraca 2026 segment index, checks";
const HASH_CONTEXT: &str = "catraca 2026 segment index, hashes of ids";

/// The head of an index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    version: u16_ule,
    shard: u16_ule,
    segment: u32_ule,
    cluster_id: [u8; 16],
    first_lsn: u64_ule,
    last_lsn: u64_ule,
    /// Of the last block: its chain value, and where it begins in the segment, bytes.
    last_chain: Chain,
    last_offset: u64_ule,
    /// Wall clock of the earliest and of the latest decision, nanoseconds since 1970 UTC.
    oldest_ns: u64_ule,
    newest_ns: u64_ule,
    entries: u32_ule,
    lines: u32_ule,
    buckets: u32_ule,
    changes: u32_ule,
    /// Of the last block: its length, its epoch, and when it was sealed.
    last_len: u32_ule,
    last_epoch: u32_ule,
    last_sealed_at_ns: u64_ule,
    /// The latest of the transactions' own times, nanoseconds since 1970 UTC.
    newest_event_ns: u64_ule,
    /// The payers' positions ([`crate::owner`]) lie from here to here, rounded.
    lowest_payer: u64_ule,
    highest_payer: u64_ule,
    /// Entries that are labels; the others are decisions.
    labels: u32_ule,
    reserved: [u8; 4],
    /// Keyed BLAKE3 of filter and directory.
    look_check: [u8; 32],
    /// Keyed BLAKE3 of all bytes before it, and of the changes.
    check: [u8; 32],
}

const _: () = assert!(size_of::<Head>() == INDEX_HEAD_LEN);

/// A bucket: entries whose hashes have the same highest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Bucket {
    /// Number of its first entry; it ends where the next one begins.
    first: u32_ule,
    reserved: [u8; 4],
    /// First bytes of the keyed BLAKE3 of its entries.
    check: [u8; 8],
}

/// An entry: a decision on an id, or its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    /// Low half of the id's hash.
    hash: u32_ule,
    /// Where its block begins in the segment, in units of [`BLOCK_ALIGN`].
    page: u32_ule,
    /// Of the payer's hash.
    payer: u16_ule,
}

const _: () = assert!(size_of::<Entry>() == ENTRY_LEN && size_of::<Bucket>() == 16);

/// Why an index can't be used. It is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// Shorter or longer than it says.
    #[error("its length is wrong")]
    Length,
    /// Another file, or another version.
    #[error("it is no index of version {INDEX_VERSION}")]
    Head,
    /// Of another stream, segment or cluster.
    #[error("it is of another segment")]
    OtherSegment,
    /// Not what was written.
    #[error("its check sum is wrong")]
    Check,
    /// The log has another block there now.
    #[error("the segment's last block is another one")]
    OtherBlock,
}

/// The keys of a cluster's indexes.
#[derive(Clone)]
pub struct IndexKeys {
    check: [u8; 32],
    hash: [u8; 16],
}

impl IndexKeys {
    /// Of the cluster with this key of the chain.
    pub fn new(key: &ChainKey) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::derive_key(HASH_CONTEXT, key)[..16]);
        Self { check: blake3::derive_key(CHECK_CONTEXT, key), hash }
    }

    /// The hash of a transaction's id.
    pub fn id(&self, id: &[u8; TRANSACTION_ID_LEN]) -> IdHash {
        IdHash(self.hashed(id))
    }

    /// The hash of a payer.
    pub fn payer(&self, payer: &[u8; DOCUMENT_LEN]) -> PayerHash {
        PayerHash(self.hashed(payer) as u16)
    }

    fn hashed(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.hash);
        hasher.write(bytes);
        hasher.finish()
    }

    fn bucket_check(&self, entries: &[u8]) -> [u8; 8] {
        let mut check = [0; 8];
        check.copy_from_slice(&blake3::keyed_hash(&self.check, entries).as_bytes()[..8]);
        check
    }

    fn check(&self, head: &Head, changes: &[u32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.check);
        hasher.update(&bytemuck::bytes_of(head)[..INDEX_HEAD_LEN - size_of_val(&head.check)]);
        hasher.update(bytemuck::cast_slice(changes));
        *hasher.finalize().as_bytes()
    }

    fn look_check(&self, filter: &[u64], directory: &[Bucket]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.check);
        hasher.update(bytemuck::cast_slice(filter));
        hasher.update(bytemuck::cast_slice(directory));
        *hasher.finalize().as_bytes()
    }
}

/// The hash of a transaction's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdHash(u64);

/// Part of the hash of a payer: it tells most payers of one id apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayerHash(u16);

/// One of `count` equal parts of all hashes, by the highest bits.
fn part(hash: u64, count: usize) -> usize {
    ((u128::from(hash) * count as u128) >> 64) as usize
}

/// The bits of a filter's line that an id sets.
fn bits_of(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    // The highest bits choose the line; a multiplication brings the low ones to where 9 bits each
    // are taken from.
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..FILTER_PROBES).map(move |probe| {
        let bit = (mixed >> (probe * 9)) & 511;
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

/// What is held of an index in memory: everything but its entries.
#[derive(Debug, Clone)]
pub struct SegmentIndex {
    summary: SegmentSummary,
    filter: Vec<u64>,
    directory: Vec<Bucket>,
}

/// Entries of an index file to read: all that may be of one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketRead {
    bucket: usize,
    /// Where they begin in the file, bytes.
    pub offset: u64,
    /// Their length, bytes.
    pub len: usize,
}

impl SegmentIndex {
    /// How many bytes of a file of this beginning are held in memory.
    ///
    /// # Errors
    /// [`IndexFault::Head`], [`IndexFault::Length`].
    pub fn held_len(head: &[u8; INDEX_HEAD_LEN], file_len: u64) -> Result<usize, IndexFault> {
        Ok(Head::view(head, file_len)?.held_len())
    }

    /// Of the first [`Self::held_len`] bytes of a file, which is to be the index of this segment.
    ///
    /// # Errors
    /// [`IndexFault`].
    pub fn open(
        held: &[u8],
        file_len: u64,
        cluster_id: [u8; 16],
        shard: u16,
        segment: u32,
        keys: &IndexKeys,
    ) -> Result<Self, IndexFault> {
        let head = held.first_chunk::<INDEX_HEAD_LEN>().ok_or(IndexFault::Length)?;
        let head = Head::view(head, file_len)?;
        if held.len() != head.held_len() {
            return Err(IndexFault::Length);
        }
        let (summary, rest) = held.split_at(head.summary_len());
        let summary = SegmentSummary::open(summary, file_len, cluster_id, shard, segment, keys)?;
        let (filter, directory) = rest.split_at(head.filter_len());
        let mut filter: Vec<u64> = bytemuck::pod_collect_to_vec(filter);
        let directory: Vec<Bucket> = bytemuck::pod_collect_to_vec(directory);
        if head.look_check != keys.look_check(&filter, &directory) {
            return Err(IndexFault::Check);
        }
        filter.iter_mut().for_each(|word| *word = u64::from_le(*word));
        Ok(Self { summary, filter, directory })
    }

    /// What it says of the segment as a whole.
    pub fn summary(&self) -> &SegmentSummary {
        &self.summary
    }

    /// Bytes of memory that it takes.
    pub fn memory_len(&self) -> usize {
        self.summary.head.held_len() - INDEX_HEAD_LEN
    }

    /// The entries to read for an id; `None` when the segment surely has no decision on it, and no label.
    pub fn look(&self, id: IdHash) -> Option<BucketRead> {
        let line = part(id.0, self.filter.len() / LINE_WORDS) * LINE_WORDS;
        if !bits_of(id.0).all(|(word, bit)| self.filter[line + word] & bit != 0) {
            return None;
        }
        let bucket = part(id.0, self.directory.len());
        let first = self.directory[bucket].first.to_native() as usize;
        let end =
            self.directory.get(bucket + 1).map_or(self.summary.head.entries, |next| next.first);
        // The directory was checked, so its numbers rise.
        let len = (end.to_native() as usize - first) * ENTRY_LEN;
        let held = self.summary.head.held_len();
        Some(BucketRead { bucket, offset: (held + first * ENTRY_LEN) as u64, len })
    }

    /// Where blocks begin in the segment, bytes, that may hold decisions on an id (of a payer), or their labels: the
    /// newest first, each once. `bytes` are what was asked for.
    ///
    /// # Errors
    /// [`IndexFault::Check`].
    pub fn blocks(
        &self,
        read: BucketRead,
        bytes: &[u8],
        id: IdHash,
        payer: Option<PayerHash>,
        keys: &IndexKeys,
    ) -> Result<Vec<u64>, IndexFault> {
        if bytes.len() != read.len || keys.bucket_check(bytes) != self.directory[read.bucket].check
        {
            return Err(IndexFault::Check);
        }
        let entries = bytes.chunks_exact(ENTRY_LEN).map(bytemuck::from_bytes::<Entry>);
        let mut pages: Vec<u32> = entries
            .filter(|entry| entry.hash.to_native() == id.0 as u32)
            .filter(|entry| payer.is_none_or(|payer| entry.payer.to_native() == payer.0))
            .map(|entry| entry.page.to_native())
            .collect();
        pages.sort_unstable_by_key(|&page| std::cmp::Reverse(page));
        pages.dedup();
        Ok(pages.into_iter().map(|page| u64::from(page) * BLOCK_ALIGN as u64).collect())
    }
}

#[cfg(test)]
mod tests;
