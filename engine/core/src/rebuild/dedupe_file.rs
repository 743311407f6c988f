//! The dedupe file of one full segment: what the dedupe table takes of each of its decisions, in the
//! order of the log, so that a start need not read the segment itself. Made from the segment's
//! blocks, kept beside it, and made anew whenever it is missing or unsound: then the segment is read.
//!
//! ```text
//! chunk │ chunk │ … │ table, 32 bytes a chunk │ foot 128 bytes
//! chunk: runs, 80 bytes each │ decisions, 40 bytes each
//! ```
//!
//! A run is of decisions that lie one behind the other in a block and have the owner and the lists
//! in common; a block without a decision has an empty one, so that the runs tell of every block of
//! the segment where it ends. A chunk has whole blocks. It is read, and checked, on its own: by the
//! table, which the foot checks, which names the segment's last block. So a chunk that was found
//! sound is of this very segment, whatever comes behind it.
//!
//! It holds no personal data: of payer, id and content there are keyed hashes. All keys are derived
//! from the chain's: who may not write the log may not make a table that forgets a decision either.

mod build;

pub use build::DedupeFileBuilder;

use crate::log::Tail;
use crate::log::index::SegmentSummary;
use crate::shard::dedupe::{DedupeKey, Fingerprint, unpack_verdict};
use bytemuck::{Pod, Zeroable};
use catraca_wire::block::{BLOCK_ALIGN, Chain, ChainKey, receipt};
use catraca_wire::frame::AnswerFields;
use rend::unaligned::{u16_ule, u32_ule, u64_ule};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// First bytes of the foot.
pub const DEDUPE_FILE_MAGIC: [u8; 8] = *b"CATRDDUP";
/// Version of the layout, and of the hashes in it.
pub const DEDUPE_FILE_VERSION: u16 = 2;
/// Length of the foot, bytes.
pub const FOOT_LEN: usize = 128;

/// A chunk is closed when it is this long, bytes: short enough that reading, checking and inserting
/// go on beside each other, long enough for a disk.
const CHUNK_LEN: usize = 256 * 1024;
/// Longest chunk, bytes: it was shorter than [`CHUNK_LEN`] before its last block, which has at most
/// 4095 decisions, at worst each in a run of its own.
const MAX_CHUNK_LEN: usize = 1024 * 1024;
/// Most chunks of a file: a segment of 1 GiB has at most 4 million decisions.
const MAX_CHUNKS: usize = 4096;
/// What the keys are derived for.
const FOOT_CONTEXT: &str = "catraca 2026 dedupe file, foot";
const CHUNK_CONTEXT: &str = "catraca 2026 dedupe file, chunks";
const MASK_CONTEXT: &str = "catraca 2026 dedupe file, masks";

/// Decisions of one block, one behind the other, that have all of this in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Run {
    /// Of the block.
    chain: Chain,
    first_lsn: u64_ule,
    sealed_at_ns: u64_ule,
    epoch: u32_ule,
    /// Where the block ends in the segment, in units of [`BLOCK_ALIGN`].
    end_page: u32_ule,
    /// Records of the block.
    records: u16_ule,
    /// Records of the block before the first of the run.
    first: u16_ule,
    decisions: u16_ule,
    /// The shard that owns the payers.
    owner: u16_ule,
    policy_version: u32_ule,
    reserved: [u8; 4],
    blacklist_version: u64_ule,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Kept {
    key: u64_ule,
    key_more: u32_ule,
    /// In the file it is masked: it is no keyed hash in the strict sense.
    content: u64_ule,
    event_time_ns: u64_ule,
    matched_rules: u64_ule,
    score: u16_ule,
    /// As an entry of the table has it.
    verdict_and_reason: u8,
    flags: u8,
}

const RUN_LEN: usize = size_of::<Run>();
const KEPT_LEN: usize = size_of::<Kept>();

/// A chunk, as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct ChunkEntry {
    /// Bytes.
    len: u32_ule,
    runs: u32_ule,
    /// First bytes of the keyed BLAKE3 of its bytes.
    check: [u8; 24],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Foot {
    magic: [u8; 8],
    version: u16_ule,
    shard: u16_ule,
    segment: u32_ule,
    cluster_id: [u8; 16],
    first_lsn: u64_ule,
    last_lsn: u64_ule,
    /// Chain value of the segment's last block.
    last_chain: Chain,
    chunks: u32_ule,
    /// Of the node that made it: the owners are among so many.
    shards: u16_ule,
    reserved: [u8; 10],
    /// Keyed BLAKE3 of all bytes before it, and of the table.
    check: [u8; 32],
}

const _: () = assert!(
    RUN_LEN == 80
        && KEPT_LEN == 40
        && size_of::<ChunkEntry>() == 32
        && size_of::<Foot>() == FOOT_LEN
);

/// Why a dedupe file can't be used. The segment is read in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DedupeFileFault {
    /// Shorter or longer than it says.
    #[error("its length is wrong")]
    Length,
    /// Another file, or another version.
    #[error("it is no dedupe file of version {DEDUPE_FILE_VERSION}")]
    Foot,
    /// Of another stream, segment or cluster, or of other blocks than the segment has now.
    #[error("it is of another segment")]
    OtherSegment,
    /// Made for another number of shards.
    #[error("it was made for a node with {0} shards")]
    OtherShards(u16),
    /// Not what was written.
    #[error("its check sum is wrong")]
    Check,
    /// Checked, and yet impossible.
    #[error("what it holds can't be")]
    Content,
}

/// The keys of a cluster's dedupe files, and of the hashes in them.
#[derive(Clone)]
pub struct DedupeFileKeys {
    foot: [u8; 32],
    chunk: [u8; 32],
    mask: [u8; 16],
    dedupe: DedupeKey,
}

impl DedupeFileKeys {
    /// Of the cluster with this key of the chain.
    pub fn new(key: &ChainKey) -> Self {
        let mut mask = [0; 16];
        mask.copy_from_slice(&blake3::derive_key(MASK_CONTEXT, key)[..16]);
        Self {
            foot: blake3::derive_key(FOOT_CONTEXT, key),
            chunk: blake3::derive_key(CHUNK_CONTEXT, key),
            mask,
            dedupe: DedupeKey::of(key),
        }
    }

    fn foot_check(&self, foot: &Foot, table: &[ChunkEntry]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.foot);
        hasher.update(&bytemuck::bytes_of(foot)[..FOOT_LEN - 32]);
        hasher.update(bytemuck::cast_slice(table));
        *hasher.finalize().as_bytes()
    }

    fn chunk_check(&self, bytes: &[u8]) -> [u8; 24] {
        let mut check = [0; 24];
        check.copy_from_slice(&blake3::keyed_hash(&self.chunk, bytes).as_bytes()[..24]);
        check
    }

    /// Masks the content's hash, or takes the mask off: XXH3 hides its seed from nobody who knows
    /// what was hashed, so it must not lie on a disk as it is.
    fn mask(&self, kept: &mut Kept) {
        let mut hasher = SipHasher13::new_with_key(&self.mask);
        hasher.write_u64(kept.key.to_native());
        hasher.write_u32(kept.key_more.to_native());
        kept.content = (kept.content.to_native() ^ hasher.finish()).into();
    }
}

/// A segment of a cluster's stream, and for how many shards its file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentName {
    /// Cluster.
    pub cluster_id: [u8; 16],
    /// Stream.
    pub shard: u16,
    /// Number of the segment.
    pub segment: u32,
    /// Shards of the node.
    pub shards: u16,
}

/// What is held of a dedupe file while it is read: where its chunks lie.
#[derive(Debug, Clone)]
pub struct DedupeFile {
    table: Vec<ChunkEntry>,
    first_lsn: u64,
    shards: u16,
}

/// A chunk to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRead {
    number: usize,
    /// Where it begins in the file, bytes.
    pub offset: u64,
    /// Its length, bytes.
    pub len: usize,
}

impl DedupeFile {
    /// How many bytes at the end of a file with this foot [`Self::open`] takes.
    ///
    /// # Errors
    /// [`DedupeFileFault::Foot`], [`DedupeFileFault::Length`].
    pub fn end_len(foot: &[u8; FOOT_LEN], file_len: u64) -> Result<usize, DedupeFileFault> {
        let foot: &Foot = bytemuck::from_bytes(foot);
        if foot.magic != DEDUPE_FILE_MAGIC || foot.version.to_native() != DEDUPE_FILE_VERSION {
            return Err(DedupeFileFault::Foot);
        }
        let chunks = foot.chunks.to_native() as usize;
        let len = chunks.min(MAX_CHUNKS) * size_of::<ChunkEntry>() + FOOT_LEN;
        let fits = chunks <= MAX_CHUNKS && len as u64 <= file_len;
        if fits { Ok(len) } else { Err(DedupeFileFault::Length) }
    }

    /// Of the last [`Self::end_len`] bytes of a file, which is to be that of this segment, of which
    /// `index` is the index.
    ///
    /// # Errors
    /// [`DedupeFileFault`].
    pub fn open(
        end: &[u8],
        file_len: u64,
        name: &SegmentName,
        index: &SegmentSummary,
        keys: &DedupeFileKeys,
    ) -> Result<Self, DedupeFileFault> {
        let (table, foot) = end.split_last_chunk::<FOOT_LEN>().ok_or(DedupeFileFault::Length)?;
        if end.len() != Self::end_len(foot, file_len)? {
            return Err(DedupeFileFault::Length);
        }
        let foot: Foot = *bytemuck::from_bytes(foot);
        let table: Vec<ChunkEntry> = bytemuck::pod_collect_to_vec(table);
        if foot.check != keys.foot_check(&foot, &table) {
            return Err(DedupeFileFault::Check);
        }
        let (_, last) = index.last_block();
        let names = (foot.cluster_id, foot.shard.to_native(), foot.segment.to_native());
        let lsns = (foot.first_lsn.to_native(), foot.last_lsn.to_native());
        if names != (name.cluster_id, name.shard, name.segment)
            || lsns != index.lsns()
            || foot.last_chain != last.previous_chain
        {
            return Err(DedupeFileFault::OtherSegment);
        }
        if foot.shards.to_native() != name.shards {
            return Err(DedupeFileFault::OtherShards(foot.shards.to_native()));
        }
        let mut chunks_len = 0;
        for entry in &table {
            let [len, runs] = [entry.len, entry.runs].map(|n| n.to_native() as usize);
            if len > MAX_CHUNK_LEN || runs == 0 || len < runs.saturating_mul(RUN_LEN) {
                return Err(DedupeFileFault::Content);
            }
            chunks_len += len as u64;
        }
        if chunks_len + end.len() as u64 != file_len {
            return Err(DedupeFileFault::Length);
        }
        Ok(Self { table, first_lsn: lsns.0, shards: name.shards })
    }

    /// The chunks to read, in order.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkRead> {
        self.table.iter().enumerate().scan(0, |end, (number, entry)| {
            let (offset, len) = (*end, entry.len.to_native() as usize);
            *end += len as u64;
            Some(ChunkRead { number, offset, len })
        })
    }

    /// The first record of the segment.
    pub fn first_lsn(&self) -> u64 {
        self.first_lsn
    }

    /// The chunk that was read, whose first record must be this one.
    ///
    /// # Errors
    /// [`DedupeFileFault::Check`], [`DedupeFileFault::Content`].
    pub fn chunk(
        &self,
        read: ChunkRead,
        bytes: Vec<u8>,
        first_lsn: u64,
        keys: &DedupeFileKeys,
    ) -> Result<Chunk, DedupeFileFault> {
        let entry = &self.table[read.number];
        if bytes.len() != read.len || keys.chunk_check(&bytes) != entry.check {
            return Err(DedupeFileFault::Check);
        }
        let runs_len = entry.runs.to_native() as usize * RUN_LEN;
        let mut chunk = Chunk { bytes, runs_len };
        if chunk.runs()[0].first_lsn != first_lsn || !chunk.is_possible(self.shards) {
            return Err(DedupeFileFault::Content);
        }
        let kept: &mut [Kept] = bytemuck::cast_slice_mut(&mut chunk.bytes[runs_len..]);
        kept.iter_mut().for_each(|kept| keys.mask(kept));
        Ok(chunk)
    }
}

/// A chunk that was found sound.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    runs_len: usize,
}

impl Chunk {
    fn runs(&self) -> &[Run] {
        bytemuck::cast_slice(&self.bytes[..self.runs_len])
    }

    /// Blocks lie one behind the other, runs in them too, and of decisions there are as many as the
    /// runs say.
    fn is_possible(&self, shards: u16) -> bool {
        if !(self.bytes.len() - self.runs_len).is_multiple_of(KEPT_LEN) {
            return false;
        }
        let mut decisions = 0;
        let mut before: Option<&Run> = None;
        for run in self.runs() {
            let follows = before.is_none_or(|before| {
                if run.is_of_block(before) {
                    run.first.to_native() >= before.end()
                } else {
                    before.next_lsn() == Some(run.first_lsn.to_native())
                }
            });
            if !follows
                || run.next_lsn().is_none()
                || run.end() > run.records.to_native()
                || run.owner.to_native() >= shards
            {
                return false;
            }
            decisions += usize::from(run.decisions.to_native());
            before = Some(run);
        }
        decisions == (self.bytes.len() - self.runs_len) / KEPT_LEN
    }

    /// The first record behind its last block.
    pub fn next_lsn(&self) -> u64 {
        self.runs().last().and_then(Run::next_lsn).unwrap_or(u64::MAX)
    }

    /// How the stream stands behind each of its blocks, which are of this segment.
    pub fn boundaries(&self, segment: u32) -> impl Iterator<Item = Tail> {
        self.blocks().map(move |run| Tail {
            segment,
            offset: u64::from(run.end_page.to_native()) * BLOCK_ALIGN as u64,
            next_lsn: run.next_lsn().unwrap_or(u64::MAX),
            previous_chain: run.chain,
            epoch: run.epoch.to_native(),
            sealed_at_ns: run.sealed_at_ns.to_native(),
        })
    }

    /// Records of its blocks.
    pub fn records(&self) -> u64 {
        self.blocks().map(|run| u64::from(run.records.to_native())).sum()
    }

    /// The first run of each block.
    fn blocks(&self) -> impl Iterator<Item = &Run> {
        self.runs().chunk_by(Run::is_of_block).filter_map(<[Run]>::first)
    }

    /// Its runs, each with the shard that owns its payers.
    pub(super) fn decisions(&self) -> impl Iterator<Item = (u16, Decisions<'_>)> {
        let kept: &[Kept] = bytemuck::cast_slice(&self.bytes[self.runs_len..]);
        self.runs().iter().scan(0, move |at, run| {
            let from = *at;
            *at += usize::from(run.decisions.to_native());
            Some((run.owner.to_native(), Decisions { run, kept: &kept[from..], len: *at - from }))
        })
    }
}

impl Run {
    /// Records of the block up to the last of the run.
    fn end(&self) -> u16 {
        self.first.to_native().saturating_add(self.decisions.to_native())
    }

    fn next_lsn(&self) -> Option<u64> {
        self.first_lsn.to_native().checked_add(u64::from(self.records.to_native()))
    }

    fn is_of_block(&self, other: &Self) -> bool {
        self.first_lsn == other.first_lsn
    }
}

/// The decisions of a run.
pub(super) struct Decisions<'c> {
    run: &'c Run,
    /// They, and all that follow in the chunk.
    kept: &'c [Kept],
    pub len: usize,
}

impl Decisions<'_> {
    /// The hashes of a decision of the run, or of one so far behind it in the chunk.
    pub fn fingerprint(&self, at: usize) -> Option<Fingerprint> {
        self.kept.get(at).map(|kept| Fingerprint {
            key: kept.key.to_native(),
            key_more: kept.key_more.to_native(),
            content: kept.content.to_native(),
        })
    }

    /// The transaction's own time of a decision of the run, nanoseconds since 1970 UTC, and its
    /// answer.
    pub fn answer(&self, at: usize) -> (u64, AnswerFields) {
        let (run, kept) = (self.run, &self.kept[at]);
        let lsn = run.first_lsn.to_native() + u64::from(run.first.to_native()) + at as u64;
        let (verdict, reason) = unpack_verdict(kept.verdict_and_reason);
        let answer = AnswerFields {
            verdict,
            flags: kept.flags,
            score: kept.score,
            policy_version: run.policy_version,
            blacklist_version: run.blacklist_version,
            matched_rules: kept.matched_rules,
            epoch: run.epoch,
            lsn: lsn.into(),
            receipt: receipt(&run.chain).into(),
            reason,
            ..AnswerFields::zeroed()
        };
        (kept.event_time_ns.to_native(), answer)
    }
}

#[cfg(test)]
mod tests;
