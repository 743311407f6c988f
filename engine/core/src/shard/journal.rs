//! The journal: records go into the open block; blocks leave one at a time to be written, and come
//! back durable.
//!
//! ```text
//! append → open block ──(full, or the disk is free and nobody is waited for)──→ BlockWrite → the driver writes it → durable
//! ```
//!
//! While one block is being written the next one fills: group commit. When the next one leaves is
//! decided beside it (`gather.rs`). The journal knows where in which segment each block goes, but does no I/O; a failed write has no way back
//! in, because the node ends.

use crate::log::Tail;
use catraca_wire::block::{
    self, BLOCK_HEAD_LEN, BlockIdentity, Chain, ChainKey, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN,
    padded_len,
};
use catraca_wire::record::{EXTENSION_ALIGN, MAX_EXTENSION_LEN, RECORD_LEN, RecordHead};
use rend::unaligned::u64_ule;
use std::collections::VecDeque;

/// Memory that a block is built in: the driver's direct-I/O buffer, a plain vector in tests.
pub trait BlockMemory {
    /// The whole buffer, [`MAX_BLOCK_LEN`] bytes.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl BlockMemory for Vec<u8> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// What a journal is told when it starts.
#[derive(Debug, Clone, Copy)]
pub struct JournalSetup {
    /// Stream, epoch and cluster.
    pub identity: BlockIdentity,
    /// Key of the chain.
    pub key: ChainKey,
    /// Where it goes on: what recovery found. The next block goes behind it, if it fits there.
    pub start: Tail,
    /// Length of every segment, bytes.
    pub segment_len: u64,
    /// Segments below this number exist, zero-filled from `start` on.
    pub segments_ready: u32,
}

/// A block to write: `buffer[..len]` to `offset` of `segment`, durably.
pub struct BlockWrite<B> {
    /// The block.
    pub buffer: B,
    /// Its length, padding included, bytes.
    pub len: usize,
    /// Segment to write to.
    pub segment: u32,
    /// Where in the segment, bytes.
    pub offset: u64,
    /// Sequence number of the last record in it.
    pub last_lsn: u64,
}

/// What became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Sequence number of the block's last record.
    pub last_lsn: u64,
    /// Receipt tag of the block's records.
    pub receipt: u64,
    /// Length of the block, bytes.
    pub len: usize,
}

/// There is no memory for another record: all blocks wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalFull;

struct OpenBlock<B> {
    buffer: B,
    first_lsn: u64,
    payload_len: usize,
    record_count: u32,
}

/// The journal of one stream.
pub struct Journal<B> {
    identity: BlockIdentity,
    key: ChainKey,
    previous_chain: Chain,
    next_lsn: u64,
    segment: u32,
    offset: u64,
    segment_len: u64,
    segments_ready: u32,
    open: Option<OpenBlock<B>>,
    closed: VecDeque<OpenBlock<B>>,
    spare: Vec<B>,
    in_flight: Option<Written>,
}

impl<B: BlockMemory> Journal<B> {
    /// A journal that goes on where `setup` says, without buffers yet.
    pub fn new(setup: JournalSetup) -> Self {
        let JournalSetup { identity, key, start, segment_len, segments_ready } = setup;
        assert!(
            start.offset >= SEGMENT_HEAD_LEN as u64
                && start.offset.is_multiple_of(block::BLOCK_ALIGN as u64)
        );
        assert!(
            segment_len >= (SEGMENT_HEAD_LEN + MAX_BLOCK_LEN) as u64,
            "a segment must hold the largest block"
        );
        Self {
            identity,
            key,
            previous_chain: start.previous_chain,
            next_lsn: start.next_lsn,
            segment: start.segment,
            offset: start.offset,
            segment_len,
            segments_ready,
            open: None,
            closed: VecDeque::with_capacity(crate::limits::BLOCK_BUFFERS),
            spare: Vec::with_capacity(crate::limits::BLOCK_BUFFERS),
            in_flight: None,
        }
    }

    /// Goes on elsewhere, with the buffers that it has.
    pub fn start_over(&mut self, setup: JournalSetup) {
        assert!(self.is_idle() && self.open.is_none(), "a standby's journal was never written");
        let spare = std::mem::take(&mut self.spare);
        // Word of a segment that came ready meanwhile may have been faster than this.
        let segments_ready = self.segments_ready.max(setup.segments_ready);
        *self = Self { spare, ..Self::new(JournalSetup { segments_ready, ..setup }) };
    }

    /// Buffers that the journal would like to have more.
    pub fn buffers_wanted(&self) -> usize {
        let held = self.spare.len()
            + self.closed.len()
            + usize::from(self.open.is_some())
            + usize::from(self.in_flight.is_some());
        crate::limits::BLOCK_BUFFERS.saturating_sub(held)
    }

    /// Takes a buffer of at least [`MAX_BLOCK_LEN`] bytes.
    pub fn give_buffer(&mut self, mut buffer: B) {
        assert!(buffer.bytes_mut().len() >= MAX_BLOCK_LEN);
        self.spare.push(buffer);
    }

    /// Segments below this number are ready to be written.
    pub fn segments_ready(&mut self, count: u32) {
        self.segments_ready = self.segments_ready.max(count);
    }

    /// Segment that the next block goes into, or the one after it.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Sequence number of the last record appended; 0 before the first.
    #[inline]
    pub fn last_lsn(&self) -> u64 {
        self.next_lsn - 1
    }

    /// Stream and epoch of the records.
    #[inline]
    pub fn identity(&self) -> &BlockIdentity {
        &self.identity
    }

    /// Appends a record without an extension: `fill` writes its head, the journal its sequence
    /// number. Gives the head as it stands in the block.
    ///
    /// # Errors
    /// [`JournalFull`] when no buffer is left; nothing changed.
    #[inline]
    pub fn append(
        &mut self,
        fill: impl FnOnce(&mut RecordHead),
    ) -> Result<&RecordHead, JournalFull> {
        self.append_with(&[], fill)
    }

    /// Appends a record with an extension: a multiple of 8 bytes, at most [`MAX_EXTENSION_LEN`]. The
    /// journal writes its length into the head, too.
    ///
    /// # Errors
    /// As [`Self::append`].
    #[inline]
    pub fn append_with(
        &mut self,
        extension: &[u8],
        fill: impl FnOnce(&mut RecordHead),
    ) -> Result<&RecordHead, JournalFull> {
        assert!(
            extension.len() <= MAX_EXTENSION_LEN && extension.len().is_multiple_of(EXTENSION_ALIGN),
            "an extension of {} bytes",
            extension.len()
        );
        let len = RECORD_LEN + extension.len();
        let fits = self
            .open
            .as_ref()
            .is_some_and(|open| padded_len(open.payload_len + len) <= MAX_BLOCK_LEN);
        if !fits {
            self.open_next()?;
        }
        let Some(open) = self.open.as_mut() else { return Err(JournalFull) };
        let at = BLOCK_HEAD_LEN + open.payload_len;
        let (record, behind) = open.buffer.bytes_mut()[at..at + len].split_at_mut(RECORD_LEN);
        let head: &mut RecordHead = bytemuck::from_bytes_mut(record);
        fill(head);
        head.lsn = u64_ule::from_native(self.next_lsn);
        head.extension_len = (extension.len() as u16).into();
        behind.copy_from_slice(extension);
        open.payload_len += len;
        open.record_count += 1;
        self.next_lsn += 1;
        Ok(head)
    }

    fn open_next(&mut self) -> Result<(), JournalFull> {
        let buffer = self.spare.pop().ok_or(JournalFull)?;
        let next = OpenBlock { buffer, first_lsn: self.next_lsn, payload_len: 0, record_count: 0 };
        if let Some(full) = self.open.replace(next) {
            self.closed.push_back(full);
        }
        Ok(())
    }

    /// Whether [`Self::next_write`] has a block: nothing is being written, records wait, and there
    /// is a segment for them. Without one they wait for [`Self::segments_ready`].
    #[inline]
    pub fn wants_write(&self) -> bool {
        self.in_flight.is_none()
            && self
                .waiting_len()
                .is_some_and(|len| self.fits(len) || self.segment + 1 < self.segments_ready)
    }

    /// Records in the block that goes next.
    #[inline]
    pub fn waiting_records(&self) -> u32 {
        self.closed.front().or(self.open.as_ref()).map_or(0, |block| block.record_count)
    }

    /// Length of the block that the oldest waiting records make, if there are any.
    #[inline]
    fn waiting_len(&self) -> Option<usize> {
        let waiting =
            self.closed.front().or(self.open.as_ref()).filter(|block| block.record_count > 0);
        waiting.map(|block| padded_len(block.payload_len))
    }

    /// Whether the segment in use has room for a block.
    #[inline]
    fn fits(&self, len: usize) -> bool {
        self.offset + len as u64 <= self.segment_len
    }

    /// Whether every record appended is durable.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.waiting_len().is_none()
    }

    /// The next block to write, if the disk is free, there is one, and its segment is ready.
    pub fn next_write(&mut self, wall_ns: u64) -> Option<BlockWrite<B>> {
        if !self.wants_write() {
            return None;
        }
        let len = self.waiting_len()?;
        if !self.fits(len) {
            self.segment += 1;
            self.offset = SEGMENT_HEAD_LEN as u64;
        }
        let mut next = self.closed.pop_front().or_else(|| self.open.take())?;
        let chain = block::seal(
            next.buffer.bytes_mut(),
            next.payload_len,
            &self.identity,
            next.first_lsn,
            next.record_count,
            wall_ns,
            &self.previous_chain,
            &self.key,
        );
        let last_lsn = next.first_lsn + u64::from(next.record_count) - 1;
        let write = BlockWrite {
            buffer: next.buffer,
            len,
            segment: self.segment,
            offset: self.offset,
            last_lsn,
        };
        self.previous_chain = chain;
        self.offset += len as u64;
        self.in_flight = Some(Written { last_lsn, receipt: block::receipt(&chain), len });
        Some(write)
    }

    /// The block handed out last is durable.
    pub fn written(&mut self) -> Written {
        self.in_flight.take().expect("the driver reports one write for each block it was given")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(segments_ready: u32) -> Journal<Vec<u8>> {
        let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id: [1; 16] };
        let mut journal = Journal::new(JournalSetup {
            identity,
            key: [5; 32],
            start: Tail::START,
            segment_len: 2 << 20,
            segments_ready,
        });
        while journal.buffers_wanted() > 0 {
            journal.give_buffer(vec![0; MAX_BLOCK_LEN]);
        }
        journal
    }

    fn lsn(appended: Result<&RecordHead, JournalFull>) -> Result<u64, JournalFull> {
        appended.map(|head| head.lsn.to_native())
    }

    #[test]
    fn one_block_is_written_while_the_next_fills() {
        let mut j = journal(1);
        assert!(j.next_write(0).is_none());
        assert_eq!(lsn(j.append(|h| h.kind = 1)), Ok(1));
        let first = j.next_write(0).expect("a record waits");
        assert_eq!((first.len, first.segment, first.offset, first.last_lsn), (4096, 0, 4096, 1));
        assert_eq!(lsn(j.append(|h| h.kind = 1)), Ok(2));
        assert!(j.next_write(0).is_none(), "one write at a time");
        let written = j.written();
        assert_eq!(written.last_lsn, 1);
        let second = j.next_write(0).expect("the next block waits");
        assert_eq!(second.offset, 8192);
        let (a, b) = (
            block::sound_head(&first.buffer).expect("sealed"),
            block::sound_head(&second.buffer).expect("sealed"),
        );
        assert_eq!(b.previous_chain, a.chain);
    }

    #[test]
    fn records_come_back_with_their_extensions_however_long() {
        let mut j = journal(1_000);
        let extension = |n: usize| vec![n as u8; (n * 8) % (MAX_EXTENSION_LEN + 8)];
        let count = 3_000;
        for n in 0..count {
            assert_eq!(lsn(j.append_with(&extension(n), |h| h.kind = 1)), Ok(n as u64 + 1));
        }
        let mut n = 0;
        while let Some(write) = j.next_write(0) {
            let head = block::sound_head(&write.buffer).expect("sealed");
            let payload = &write.buffer[BLOCK_HEAD_LEN..][..head.payload_len.to_native() as usize];
            assert!(write.len <= MAX_BLOCK_LEN && write.len == head.padded_len());
            assert!(
                write.buffer[BLOCK_HEAD_LEN + payload.len()..write.len].iter().all(|b| *b == 0)
            );
            let mut in_block = 0;
            for (record, behind) in block::records(payload) {
                assert_eq!((record.lsn.to_native(), behind), (n as u64 + 1, &extension(n)[..]));
                (n, in_block) = (n + 1, in_block + 1);
            }
            assert_eq!(in_block, head.record_count.to_native());
            let buffer = write.buffer;
            j.written();
            j.give_buffer(buffer);
        }
        assert_eq!(n, count);
    }

    #[test]
    #[should_panic(expected = "an extension of 4 bytes")]
    fn an_extension_that_readers_would_refuse_is_not_written() {
        let _ = journal(1).append_with(&[1; 4], |_| ());
    }

    #[test]
    fn full_buffers_and_missing_segments_stop_it_without_loss() {
        let mut j = journal(1);
        let mut appended = 0;
        while j.append(|h| h.kind = 1).is_ok() {
            appended += 1;
        }
        assert_eq!(appended, crate::limits::BLOCK_BUFFERS as u64 * 4095);
        let mut last = 0;
        while let Some(write) = j.next_write(0) {
            last = write.last_lsn;
            j.written();
        }
        assert_eq!(last, 4095, "the second block does not fit the only segment");
        assert!(!j.wants_write(), "or the driver would ask for it for ever");
        assert!(!j.is_idle(), "records wait");
        j.segments_ready(100);
        assert!(j.wants_write());
        while let Some(write) = j.next_write(0) {
            assert!(write.offset + write.len as u64 <= 2 << 20);
            last = write.last_lsn;
            j.written();
        }
        assert_eq!(last, appended);
        assert!(j.is_idle());
    }
}
