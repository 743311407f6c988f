//! What an index says of its segment as a whole: all that a start, and the removal of old segments,
//! want of it.

use super::{Bucket, Head, INDEX_HEAD_LEN, INDEX_MAGIC, INDEX_VERSION};
use super::{ENTRY_LEN, IndexFault, IndexKeys, LINE_WORDS, MAX_ENTRIES};
use crate::log::Tail;
use catraca_wire::block::BLOCK_ALIGN;
use std::ops::RangeInclusive;

/// The beginning of an index: head and changes.
#[derive(Debug, Clone)]
pub struct SegmentSummary {
    pub(super) head: Head,
    /// In units of [`BLOCK_ALIGN`].
    changes: Vec<u32>,
}

impl Head {
    /// Of a file of this length, with lengths that can be believed.
    pub(super) fn view(head: &[u8; INDEX_HEAD_LEN], file_len: u64) -> Result<&Self, IndexFault> {
        let head: &Self = bytemuck::from_bytes(head);
        if head.magic != INDEX_MAGIC || head.version.to_native() != INDEX_VERSION {
            return Err(IndexFault::Head);
        }
        let counts = [head.entries, head.lines, head.buckets, head.changes];
        let [entries, lines, buckets, changes] = counts.map(|count| count.to_native() as usize);
        if [entries, lines, buckets, changes].iter().any(|&count| count > MAX_ENTRIES) {
            return Err(IndexFault::Length);
        }
        let len = head.held_len() + entries * ENTRY_LEN;
        let fits = lines > 0 && buckets > 0 && file_len == len as u64;
        if fits { Ok(head) } else { Err(IndexFault::Length) }
    }

    pub(super) fn summary_len(&self) -> usize {
        INDEX_HEAD_LEN + self.changes.to_native() as usize * size_of::<u32>()
    }

    pub(super) fn filter_len(&self) -> usize {
        self.lines.to_native() as usize * LINE_WORDS * 8
    }

    /// Everything but the entries.
    pub(super) fn held_len(&self) -> usize {
        let directory_len = self.buckets.to_native() as usize * size_of::<Bucket>();
        self.summary_len() + self.filter_len() + directory_len
    }
}

impl SegmentSummary {
    /// How many bytes at the beginning of a file [`Self::open`] takes.
    ///
    /// # Errors
    /// [`IndexFault::Head`], [`IndexFault::Length`].
    pub fn read_len(head: &[u8; INDEX_HEAD_LEN], file_len: u64) -> Result<usize, IndexFault> {
        Ok(Head::view(head, file_len)?.summary_len())
    }

    /// Of the first [`Self::read_len`] bytes of a file, which is to be the index of this segment.
    ///
    /// # Errors
    /// [`IndexFault`].
    pub fn open(
        bytes: &[u8],
        file_len: u64,
        cluster_id: [u8; 16],
        shard: u16,
        segment: u32,
        keys: &IndexKeys,
    ) -> Result<Self, IndexFault> {
        let (head, changes) =
            bytes.split_first_chunk::<INDEX_HEAD_LEN>().ok_or(IndexFault::Length)?;
        let head = *Head::view(head, file_len)?;
        if bytes.len() != head.summary_len() {
            return Err(IndexFault::Length);
        }
        if (head.cluster_id, head.shard.to_native(), head.segment.to_native())
            != (cluster_id, shard, segment)
        {
            return Err(IndexFault::OtherSegment);
        }
        let mut changes: Vec<u32> = bytemuck::pod_collect_to_vec(changes);
        if head.check != keys.check(&head, &changes) {
            return Err(IndexFault::Check);
        }
        changes.iter_mut().for_each(|page| *page = u32::from_le(*page));
        Ok(Self { head, changes })
    }

    /// The first and the last record of the segment.
    pub fn lsns(&self) -> (u64, u64) {
        (self.head.first_lsn.to_native(), self.head.last_lsn.to_native())
    }

    /// Where the segment's last block begins, bytes, and how the stream stands behind it. The log
    /// must have that block there for the index to be of it.
    pub fn last_block(&self) -> (u64, Tail) {
        let head = &self.head;
        let offset = head.last_offset.to_native();
        let tail = Tail {
            segment: head.segment.to_native(),
            offset: offset + u64::from(head.last_len.to_native()),
            next_lsn: head.last_lsn.to_native() + 1,
            previous_chain: head.last_chain,
            epoch: head.last_epoch.to_native(),
            sealed_at_ns: head.last_sealed_at_ns.to_native(),
        };
        (offset, tail)
    }

    /// Decisions in the segment.
    pub fn decisions(&self) -> u64 {
        u64::from(self.head.entries.to_native().saturating_sub(self.head.labels.to_native()))
    }

    /// The latest of the transactions' own times, nanoseconds since 1970 UTC; 0 without a decision.
    pub fn newest_event_ns(&self) -> u64 {
        self.head.newest_event_ns.to_native()
    }

    /// Between which positions the payers lie; an empty range without a decision.
    pub fn payers(&self) -> RangeInclusive<u64> {
        self.head.lowest_payer.to_native()..=self.head.highest_payer.to_native()
    }

    /// Where blocks begin, bytes, that have other records than decisions and labels, in order.
    pub fn changes(&self) -> impl Iterator<Item = u64> {
        self.changes.iter().map(|&page| u64::from(page) * BLOCK_ALIGN as u64)
    }
}
