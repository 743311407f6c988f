//! The files of the segments' indexes, and reading the blocks that they point to.

use super::cursor::BlockCursor;
use super::error::LogError;
use super::lookup::OwnLog;
use super::segment::{file_path, index_path};
use super::segment_file::{Access, SegmentFile};
use crate::whole_file::{self, PIECE_LEN, WholeFile};
use catraca_core::log::damage::{Damage, DamageReason, Spot};
use catraca_core::log::index::{
    BucketRead, INDEX_HEAD_LEN, IdHash, IndexBuilder, IndexFault, IndexKeys, PayerHash,
    SegmentIndex, SegmentSummary,
};
use catraca_core::log::{BlockFault, SoundBlock, Tail, received_block};
use catraca_wire::block::sound_head;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at first for one block: most are shorter, and a second reading costs as much again.
const POINT_READ_LEN: usize = 256 * 1024;

/// The indexes of a log, as files beside its segments.
pub struct IndexFiles {
    /// The log.
    pub log: OwnLog,
    /// The keys of its indexes.
    pub keys: IndexKeys,
}

/// An index that was just made, and its file's bytes, which are not written yet.
pub(super) struct Made {
    pub index: SegmentIndex,
    pub file: Arc<Vec<u8>>,
}

/// The file of an index in the making, written piece by piece. One that can't be written is made
/// again the next time it is needed: it helps, and nothing depends on it.
pub(super) struct IndexWriting {
    segment: u32,
    path: PathBuf,
    bytes: Arc<Vec<u8>>,
    /// Bytes that were written.
    written_len: usize,
    /// `None` once it has its name, or was given up.
    file: Option<WholeFile>,
}

/// The next block of a cursor, before it is held to anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    /// 0 where there is none.
    len: usize,
    /// When it says that it was closed, nanoseconds since 1970 UTC.
    pub sealed_at_ns: u64,
}

impl Next {
    /// Takes the cursor behind it.
    pub fn of(cursor: &mut BlockCursor) -> Result<Self, LogError> {
        let block = cursor.next_durable()?.unwrap_or_default();
        let sealed_at_ns = sound_head(block).map_or(0, |head| head.sealed_at_ns.to_native());
        Ok(Self { len: block.len(), sealed_at_ns })
    }
}

impl IndexFiles {
    /// Of this log.
    pub fn new(log: OwnLog) -> Self {
        let keys = IndexKeys::new(&log.key);
        Self { log, keys }
    }

    /// The index of a full segment, if there is a sound one that is of what the log has there.
    ///
    /// # Errors
    /// What is wrong with it; `None` where there is none, or none that can be read.
    pub fn open(&self, shard: u16, segment: u32) -> Result<SegmentIndex, Option<IndexFault>> {
        let (bytes, len) = self.beginning(shard, segment, SegmentIndex::held_len)?;
        let index = self.of_held(&bytes, len, shard, segment)?;
        self.is_of_log(shard, index.summary())?;
        Ok(index)
    }

    /// Only what the index of a full segment says of it as a whole.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn summary(&self, shard: u16, segment: u32) -> Result<SegmentSummary, Option<IndexFault>> {
        let (bytes, len) = self.beginning(shard, segment, SegmentSummary::read_len)?;
        let OwnLog { cluster_id, .. } = self.log;
        let summary = SegmentSummary::open(&bytes, len, cluster_id, shard, segment, &self.keys)?;
        self.is_of_log(shard, &summary)?;
        Ok(summary)
    }

    /// As many bytes of a file as its head says by `wanted`, and the file's length.
    fn beginning(
        &self,
        shard: u16,
        segment: u32,
        wanted: impl Fn(&[u8; INDEX_HEAD_LEN], u64) -> Result<usize, IndexFault>,
    ) -> Result<(Vec<u8>, u64), Option<IndexFault>> {
        let read = || -> io::Result<Result<(Vec<u8>, u64), IndexFault>> {
            let file = File::open(index_path(&self.log.data_dir, shard, segment))?;
            let len = file.metadata()?.len();
            let mut head = [0; INDEX_HEAD_LEN];
            if len < INDEX_HEAD_LEN as u64 {
                return Ok(Err(IndexFault::Length));
            }
            file.read_exact_at(&mut head, 0)?;
            let wanted = match wanted(&head, len) {
                Ok(wanted) => wanted,
                Err(fault) => return Ok(Err(fault)),
            };
            let mut bytes = vec![0; wanted];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(Ok((bytes, len)))
        };
        // One that can't be read is made anew, like one that is not there.
        read().map_err(|_| None)?.map_err(Some)
    }

    /// Whether an index is of what the log has there now.
    fn is_of_log(&self, shard: u16, summary: &SegmentSummary) -> Result<(), IndexFault> {
        let (offset, tail) = summary.last_block();
        let ends = SegmentFile::open(&self.log.data_dir, shard, tail.segment, Access::Cached)
            .and_then(|mut file| file.ends_with(offset, tail.offset, &tail.previous_chain));
        // Where the segment can't be read, whoever reads it says why.
        if matches!(ends, Ok(true)) { Ok(()) } else { Err(IndexFault::OtherBlock) }
    }

    /// Makes the index of a full segment, in memory.
    pub(super) fn make(&self, shard: u16, segment: u32, builder: IndexBuilder) -> Made {
        let file = builder.finish(self.log.cluster_id, shard, segment, &self.keys);
        let len = file.len() as u64;
        let head = file.first_chunk().expect("it has a head");
        let held = SegmentIndex::held_len(head, len).expect("it was just made");
        let index = self.of_held(&file[..held], len, shard, segment).expect("it was just made");
        Made { index, file: Arc::new(file) }
    }

    /// Begins to write what was made.
    pub(super) fn begin(&self, shard: u16, segment: u32, bytes: Arc<Vec<u8>>) -> IndexWriting {
        let path = index_path(&self.log.data_dir, shard, segment);
        let file = unless_failed(WholeFile::create(&path, whole_file::GROUP), &path);
        IndexWriting { segment, path, bytes, written_len: 0, file }
    }

    fn of_held(
        &self,
        held: &[u8],
        file_len: u64,
        shard: u16,
        segment: u32,
    ) -> Result<SegmentIndex, IndexFault> {
        SegmentIndex::open(held, file_len, self.log.cluster_id, shard, segment, &self.keys)
    }

    /// Reads what an index wants read of its file, and gives where blocks begin that may hold
    /// decisions on an id, the newest first. `None` where the file is not what it was.
    pub(super) fn blocks(
        &self,
        (shard, segment): (u16, u32),
        index: &SegmentIndex,
        read: BucketRead,
        made: Option<&[u8]>,
        (id, payer): (IdHash, Option<PayerHash>),
    ) -> Option<Vec<u64>> {
        let mut bytes = vec![0; read.len];
        match made {
            Some(file) => {
                let from = read.offset as usize;
                bytes.copy_from_slice(&file[from..from + read.len]);
            }
            None => File::open(index_path(&self.log.data_dir, shard, segment))
                .and_then(|file| file.read_exact_at(&mut bytes, read.offset))
                .ok()?,
        }
        index.blocks(read, &bytes, id, payer, &self.keys).ok()
    }

    /// Reads the block that begins at this offset of a segment, and shows it, verified.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Damaged`] where there is no block that this cluster wrote.
    pub fn with_block<T>(
        &self,
        shard: u16,
        segment: u32,
        offset: u64,
        show: impl FnOnce(&SoundBlock<'_>) -> T,
    ) -> Result<T, LogError> {
        let mut cursor =
            BlockCursor::new(&self.log.data_dir, shard, segment, offset).reading(POINT_READ_LEN);
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
            .ok_or_else(|| self.damaged(shard, segment, offset))?;
        // Where there is no block any more, the cursor has gone to the segment behind.
        if cursor.place() != (segment, offset + len as u64) {
            return Err(self.damaged(shard, segment, offset));
        }
        self.judged(&cursor, len, shard, &before).map(|block| show(&block))
    }

    /// The next block of a cursor, which is durable and continues `tail`.
    pub(super) fn next<'c>(
        &self,
        cursor: &'c mut BlockCursor,
        shard: u16,
        tail: &Tail,
    ) -> Result<SoundBlock<'c>, LogError> {
        let Next { len, .. } = Next::of(cursor)?;
        self.judged(cursor, len, shard, tail)
    }

    /// The block that [`Next::of`] looked at, which continues `tail`.
    pub(super) fn taken<'c>(
        &self,
        cursor: &'c BlockCursor,
        next: Next,
        shard: u16,
        tail: &Tail,
    ) -> Result<SoundBlock<'c>, LogError> {
        self.judged(cursor, next.len, shard, tail)
    }

    /// Shows each block of a full segment behind `tail`, in order, up to where the stream stands
    /// behind the segment's last one.
    ///
    /// # Errors
    /// As [`Self::with_block`].
    pub fn blocks_to(
        &self,
        shard: u16,
        mut tail: Tail,
        last: &Tail,
        mut show: impl FnMut(&SoundBlock<'_>),
    ) -> Result<(), LogError> {
        let at = if tail.segment == last.segment { tail.offset } else { Tail::START.offset };
        let mut cursor = BlockCursor::new(&self.log.data_dir, shard, last.segment, at);
        while tail.next_lsn < last.next_lsn {
            let block = self.next(&mut cursor, shard, &tail)?;
            tail = Tail::after(&block);
            show(&block);
        }
        Ok(())
    }

    /// The block that a cursor gave last, of this length, held to all that recovery asks; 0 for
    /// none.
    fn judged<'c>(
        &self,
        cursor: &'c BlockCursor,
        len: usize,
        shard: u16,
        tail: &Tail,
    ) -> Result<SoundBlock<'c>, LogError> {
        // A block that is the first of its segment has taken the cursor there.
        let (segment, behind) = cursor.place();
        let offset = behind - len as u64;
        if len == 0 {
            return Err(self.damaged(shard, segment, offset));
        }
        let (bytes, log) = (cursor.given(len), &self.log);
        received_block(bytes, log.cluster_id, shard, tail, &log.key, segment, offset).map_err(
            |fault| {
                let mut error = self.damaged(shard, segment, offset);
                if let (LogError::Damaged { damage, .. }, BlockFault::Damaged(reason)) =
                    (&mut error, fault)
                {
                    damage.reason = reason;
                }
                error
            },
        )
    }

    pub(super) fn damaged(&self, shard: u16, segment: u32, offset: u64) -> LogError {
        LogError::Damaged {
            path: file_path(&self.log.data_dir, shard, segment),
            damage: Damage { at: Spot { segment, offset }, reason: DamageReason::BlockHead },
        }
    }
}

impl IndexWriting {
    /// The segment whose index it is.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// All of the file's bytes, written or not.
    pub fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    /// Writes and syncs the next piece, and behind the last one gives the file its name. Gives
    /// whether there is more to write.
    pub fn piece(&mut self) -> bool {
        let Some(mut file) = self.file.take() else { return false };
        let until = (self.written_len + PIECE_LEN).min(self.bytes.len());
        let written = file.write_in_pieces(&self.bytes[self.written_len..until]);
        self.written_len = until;
        if until < self.bytes.len() {
            self.file = unless_failed(written.map(|()| file), &self.path);
        } else {
            unless_failed(written.and_then(|()| file.finish()), &self.path);
        }
        self.file.is_some()
    }
}

fn unless_failed<T>(result: io::Result<T>, path: &Path) -> Option<T> {
    let tell = |error: &io::Error| {
        tracing::warn!(index = %path.display(), %error, "the index of a log segment can't be written; look-ups there take longer");
    };
    result.inspect_err(tell).ok()
}
