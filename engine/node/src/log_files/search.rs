//! Look-ups in a running node's own log, by indexes: each full segment has one in a file beside it,
//! and the segment in use has one in memory. Nothing is answered from an index: it says which blocks
//! to read, and those are held to all that recovery asks.
//!
//! Whoever owns a [`LogIndex`] reads the log behind the node that writes it, slice by slice, and so
//! makes the indexes. One that is missing or unsound is made anew from its segment.

use super::cursor::{BlockCursor, last_segment_up_to, segment_start};
use super::error::LogError;
use super::lookup::{OwnLog, Query, StoredRecord, age};
use super::segment::{index_path, segment_path, stream_dir};
use crate::whole_file;
use catraca_core::log::damage::{Damage, DamageReason, Spot};
use catraca_core::log::index::{
    INDEX_HEAD_LEN, IdHash, IndexBuilder, IndexFault, IndexKeys, PayerHash, SegmentIndex,
};
use catraca_core::log::{BlockFault, SoundBlock, Tail, received_block};
use catraca_wire::block::{BLOCK_HEAD_LEN, SEGMENT_HEAD_LEN, sound_head};
use catraca_wire::record::RecordKind;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Log read in one slice of work, bytes: look-ups wait for the slice under way.
const SLICE_LEN: u64 = 16 << 20;

/// The indexes of a node's streams.
pub struct LogIndex {
    log: OwnLog,
    keys: IndexKeys,
    streams: Vec<StreamIndex>,
}

/// The indexes of one stream.
struct StreamIndex {
    shard: u16,
    /// Of full segments, by their numbers: those in memory. The others are opened, or made, when
    /// there is time or need.
    full: BTreeMap<u32, SegmentIndex>,
    /// The segment in use; `None` before the stream has a block.
    open: Option<OpenSegment>,
}

/// The segment in use, as far as it was read.
struct OpenSegment {
    segment: u32,
    cursor: BlockCursor,
    tail: Tail,
    builder: IndexBuilder,
}

/// A full segment's index, and its file's bytes where they were just made.
struct Made {
    index: SegmentIndex,
    file: Vec<u8>,
}

impl LogIndex {
    /// Of a log of which nothing is read yet.
    pub fn new(log: OwnLog) -> Self {
        let keys = IndexKeys::new(&log.key);
        Self { log, keys, streams: Vec::new() }
    }

    /// Knows so many streams: a standby may get one that it had not.
    fn know(&mut self, streams: usize) {
        for shard in self.streams.len()..streams {
            let shard = shard as u16;
            whole_file::clear_leftovers(&stream_dir(&self.log.data_dir, shard));
            self.streams.push(StreamIndex { shard, full: BTreeMap::new(), open: None });
        }
    }

    /// Does a slice of the work: reads on in the log, up to the last durable record of each stream,
    /// or opens or makes the index of one full segment. Gives whether there is more to do.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Damaged`] where a durable block is not there as it was
    /// written.
    pub fn work(&mut self, ends: &[u64]) -> Result<bool, LogError> {
        self.know(ends.len());
        for (stream, &end) in self.streams.iter_mut().zip(ends) {
            if stream.advance(&self.log, &self.keys, end, SLICE_LEN)? {
                return Ok(true);
            }
            if let Some(missing) = stream.missing() {
                stream.bring(&self.log, &self.keys, missing)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The newest decision for each query. `ends` has the last durable record of each stream:
    /// nothing behind it is read.
    ///
    /// # Errors
    /// As [`Self::work`].
    pub fn find_newest(
        &mut self,
        ends: &[u64],
        queries: &[Query],
    ) -> Result<Vec<Option<StoredRecord>>, LogError> {
        self.know(ends.len());
        let mut found: Vec<Option<StoredRecord>> = vec![None; queries.len()];
        for (stream, &end) in self.streams.iter_mut().zip(ends) {
            while stream.advance(&self.log, &self.keys, end, SLICE_LEN)? {}
            for (query, found) in queries.iter().zip(&mut found) {
                let newest = stream.newest(&self.log, &self.keys, query)?;
                let is_newer = |record: &StoredRecord| {
                    found.as_ref().is_none_or(|held| age(&held.head) < age(&record.head))
                };
                if newest.as_ref().is_some_and(is_newer) {
                    *found = newest;
                }
            }
        }
        Ok(found)
    }
}

impl StreamIndex {
    /// Reads on up to a record, and at most about so many bytes. Gives whether there is more.
    fn advance(
        &mut self,
        log: &OwnLog,
        keys: &IndexKeys,
        end: u64,
        most_len: u64,
    ) -> Result<bool, LogError> {
        if self.open.is_none() {
            if end == 0 {
                return Ok(false);
            }
            let segment = last_segment_up_to(&log.data_dir, self.shard, end)?;
            self.open = Some(OpenSegment::new(log, self.shard, segment)?);
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        let mut read_len = 0;
        while open.tail.next_lsn <= end {
            if read_len >= most_len {
                return Ok(true);
            }
            let block = next(&mut open.cursor, log, self.shard, &open.tail)?;
            read_len += block.head.padded_len() as u64;
            if block.place.segment != open.segment {
                let full = std::mem::take(&mut open.builder);
                let made = write(log, keys, self.shard, open.segment, full);
                self.full.insert(open.segment, made.index);
                open.segment = block.place.segment;
            }
            open.builder.take(&block, keys);
            open.tail = Tail::after(&block);
        }
        Ok(false)
    }

    /// The newest full segment whose index is not in memory.
    fn missing(&self) -> Option<u32> {
        let open = self.open.as_ref()?;
        (0..open.segment).rev().find(|segment| !self.full.contains_key(segment))
    }

    /// Opens the index of a full segment, or makes it; gives its file's bytes if it was made.
    fn bring(
        &mut self,
        log: &OwnLog,
        keys: &IndexKeys,
        segment: u32,
    ) -> Result<Option<Vec<u8>>, LogError> {
        match open_index(log, keys, self.shard, segment) {
            Ok(index) => {
                self.full.insert(segment, index);
                Ok(None)
            }
            Err(why) => {
                if let Some(fault) = why {
                    tracing::warn!(stream = self.shard, segment, %fault, "the index of a log segment is unsound; it is made anew");
                }
                let mut one = OpenSegment::new(log, self.shard, segment)?;
                loop {
                    let block = next(&mut one.cursor, log, self.shard, &one.tail)?;
                    if block.place.segment != segment {
                        break;
                    }
                    one.builder.take(&block, keys);
                    one.tail = Tail::after(&block);
                }
                let made = write(log, keys, self.shard, segment, one.builder);
                self.full.insert(segment, made.index);
                Ok(Some(made.file))
            }
        }
    }

    /// The newest decision of this stream for a query.
    fn newest(
        &mut self,
        log: &OwnLog,
        keys: &IndexKeys,
        query: &Query,
    ) -> Result<Option<StoredRecord>, LogError> {
        let Some(open) = &self.open else { return Ok(None) };
        let id = keys.id(&query.id);
        let payer = query.payer.as_ref().map(|payer| keys.payer(payer));
        let mut segment = open.segment;
        let mut blocks = open.builder.blocks(id, payer);
        loop {
            for &offset in &blocks {
                if let Some(record) = newest_in(log, self.shard, segment, offset, query)? {
                    return Ok(Some(record));
                }
            }
            if segment == 0 {
                return Ok(None);
            }
            segment -= 1;
            blocks = self.blocks(log, keys, segment, id, payer)?;
        }
    }

    /// Where blocks of a full segment begin that may hold decisions on an id, the newest first.
    fn blocks(
        &mut self,
        log: &OwnLog,
        keys: &IndexKeys,
        segment: u32,
        id: IdHash,
        payer: Option<PayerHash>,
    ) -> Result<Vec<u64>, LogError> {
        let path = index_path(&log.data_dir, self.shard, segment);
        // What was just made, where it could not be written. Where a file was unsound, the second
        // turn has what was made in its place.
        let mut made = None;
        for _ in 0..2 {
            if !self.full.contains_key(&segment) {
                made = self.bring(log, keys, segment)?;
            }
            let index = &self.full[&segment];
            let Some(read) = index.look(id) else { return Ok(Vec::new()) };
            let mut bytes = vec![0; read.len];
            let got = match &made {
                Some(file) => {
                    let from = read.offset as usize;
                    bytes.copy_from_slice(&file[from..from + read.len]);
                    Ok(())
                }
                None => {
                    File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, read.offset))
                }
            };
            match got.map(|()| index.blocks(read, &bytes, id, payer, keys)) {
                Ok(Ok(blocks)) => return Ok(blocks),
                // It was there when it was opened. It is not believed again.
                Ok(Err(_)) | Err(_) => {
                    self.full.remove(&segment);
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        unreachable!("an index that was just made is sound")
    }
}

impl OpenSegment {
    /// At the first block of a segment.
    fn new(log: &OwnLog, shard: u16, segment: u32) -> Result<Self, LogError> {
        let start = segment_start(&log.data_dir, shard, segment)?;
        let tail = start.ok_or_else(|| damaged(log, shard, segment, SEGMENT_HEAD_LEN as u64))?;
        let cursor = BlockCursor::new(&log.data_dir, shard, segment, SEGMENT_HEAD_LEN as u64);
        Ok(Self { segment, cursor, tail, builder: IndexBuilder::default() })
    }
}

fn damaged(log: &OwnLog, shard: u16, segment: u32, offset: u64) -> LogError {
    LogError::Damaged {
        path: segment_path(&log.data_dir, shard, segment),
        damage: Damage { at: Spot { segment, offset }, reason: DamageReason::BlockHead },
    }
}

/// The next block, which is durable and continues `tail`.
fn next<'c>(
    cursor: &'c mut BlockCursor,
    log: &OwnLog,
    shard: u16,
    tail: &Tail,
) -> Result<SoundBlock<'c>, LogError> {
    let len = cursor.next_durable()?.map_or(0, <[u8]>::len);
    judged(cursor, len, log, shard, tail)
}

/// The block that a cursor gave last, of this length, held to all that recovery asks; 0 for none.
fn judged<'c>(
    cursor: &'c BlockCursor,
    len: usize,
    log: &OwnLog,
    shard: u16,
    tail: &Tail,
) -> Result<SoundBlock<'c>, LogError> {
    // A block that is the first of its segment has taken the cursor there.
    let (segment, behind) = cursor.place();
    let offset = behind - len as u64;
    if len == 0 {
        return Err(damaged(log, shard, segment, offset));
    }
    let bytes = cursor.given(len);
    received_block(bytes, log.cluster_id, shard, tail, &log.key, segment, offset).map_err(|fault| {
        let mut error = damaged(log, shard, segment, offset);
        if let (LogError::Damaged { damage, .. }, BlockFault::Damaged(reason)) = (&mut error, fault)
        {
            damage.reason = reason;
        }
        error
    })
}

/// The newest decision for a query in one block.
fn newest_in(
    log: &OwnLog,
    shard: u16,
    segment: u32,
    offset: u64,
    query: &Query,
) -> Result<Option<StoredRecord>, LogError> {
    let mut cursor = BlockCursor::new(&log.data_dir, shard, segment, offset);
    let head = cursor.next_durable()?.and_then(sound_head);
    // What it continues is its own word; that the cluster wrote it is told by its chain value.
    let (before, len) = head
        .map(|head| {
            let before = Tail {
                segment,
                offset,
                next_lsn: head.first_lsn.to_native(),
                previous_chain: head.previous_chain,
                ..Tail::START
            };
            (before, head.padded_len())
        })
        .ok_or_else(|| damaged(log, shard, segment, offset))?;
    let block = judged(&cursor, len, log, shard, &before)?;
    let matches = block.records().filter(|(head, _)| {
        head.kind == RecordKind::Decision.to_wire()
            && head.transaction.id == query.id
            && query.payer.is_none_or(|payer| payer == head.transaction.payer)
    });
    Ok(matches.last().map(|(head, extension)| StoredRecord {
        place: block.place,
        head: *head,
        extension: extension.to_vec(),
    }))
}

/// Writes the index of a full segment. One that can't be written is made again the next time it is
/// needed: it helps, and nothing depends on it.
fn write(log: &OwnLog, keys: &IndexKeys, shard: u16, segment: u32, builder: IndexBuilder) -> Made {
    let file = builder.finish(log.cluster_id, shard, segment, keys);
    let path = index_path(&log.data_dir, shard, segment);
    if let Err(error) = whole_file::write(&path, whole_file::GROUP, &file) {
        tracing::warn!(index = %path.display(), %error, "the index of a log segment can't be written; look-ups there take longer");
    }
    let index = of_file(&file, log, keys, shard, segment).expect("it was just made");
    Made { index, file }
}

fn of_file(
    file: &[u8],
    log: &OwnLog,
    keys: &IndexKeys,
    shard: u16,
    segment: u32,
) -> Result<SegmentIndex, IndexFault> {
    let len = file.len() as u64;
    let head = file.first_chunk::<INDEX_HEAD_LEN>().ok_or(IndexFault::Length)?;
    let held = SegmentIndex::held_len(head, len)?;
    SegmentIndex::open(&file[..held], len, log.cluster_id, shard, segment, keys)
}

/// The index of a full segment from its file, if there is a sound one that is of what the log has
/// there; else why not, `None` where there is none.
fn open_index(
    log: &OwnLog,
    keys: &IndexKeys,
    shard: u16,
    segment: u32,
) -> Result<SegmentIndex, Option<IndexFault>> {
    let read = || -> io::Result<Result<SegmentIndex, IndexFault>> {
        let file = File::open(index_path(&log.data_dir, shard, segment))?;
        let len = file.metadata()?.len();
        let mut head = [0; INDEX_HEAD_LEN];
        if len < INDEX_HEAD_LEN as u64 {
            return Ok(Err(IndexFault::Length));
        }
        file.read_exact_at(&mut head, 0)?;
        let held = match SegmentIndex::held_len(&head, len) {
            Ok(held) => held,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut bytes = vec![0; held];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(SegmentIndex::open(&bytes, len, log.cluster_id, shard, segment, keys))
    };
    // One that can't be read is made anew, like one that is not there.
    let index = read().map_err(|_| None)?.map_err(Some)?;
    let (offset, chain) = index.last_block();
    let is_there = block_chain(&segment_path(&log.data_dir, shard, segment), offset)
        .is_some_and(|found| found == chain);
    if is_there { Ok(index) } else { Err(Some(IndexFault::OtherBlock)) }
}

/// The chain value of the block that begins at this offset of a segment.
fn block_chain(segment: &Path, offset: u64) -> Option<[u8; 32]> {
    let mut head = [0; BLOCK_HEAD_LEN];
    File::open(segment).and_then(|file| file.read_exact_at(&mut head, offset)).ok()?;
    sound_head(&head).map(|head| head.chain)
}
