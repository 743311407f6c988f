//! Reading streams from their files: sound blocks in order, then how the stream ends.
//!
//! Works on a running node's files as on copies. What a node is writing looks torn, or even
//! damaged, for a moment (a segment was looked at before its last block came, the next one after):
//! so what lies behind the last sound block is looked at again before it is judged.

use super::bytes::SegmentBytes;
use super::error::LogError;
use super::log_start;
use super::segment;
use super::segment_file::{Access, SegmentFile, first_block_head};
use catraca_core::log::damage::{Damage, DamageReason, Spot, Torn};
use catraca_core::log::recovery::{Counts, LastWrite, Recovery, Visitor};
use catraca_core::log::start::LogStart;
use catraca_core::log::{BlockLocation, SoundBlock, Tail};
use catraca_wire::block::{self, ChainKey, SEGMENT_HEAD_LEN};
use catraca_wire::record::RecordHead;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often an end that is not clean is looked at again without the log having moved.
const LOOKS: u32 = 3;
/// Time between two looks: many times what one block takes to be written.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Zeros behind the last block.
    Clean,
    /// The rest of a write that never finished, or that is being made.
    Torn(Torn),
    /// Can't be read further.
    Damaged(Damage),
    /// The visitor had enough.
    Stopped,
}

/// What was read of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRead {
    /// How it ends.
    pub end: End,
    /// Where it stands behind the last sound block; reading can go on from there.
    pub tail: Tail,
    /// What was read.
    pub counts: Counts,
    /// Segment files looked at, those prepared ahead included, counted from the stream's first.
    pub segments: u32,
}

/// The log of a data directory, for reading.
#[derive(Debug, Clone)]
pub struct LogReader {
    data_dir: PathBuf,
    shards: Vec<u16>,
    key: Option<ChainKey>,
    cluster_id: Option<[u8; 16]>,
    last_write: LastWrite,
}

impl LogReader {
    /// Finds the streams. Without a key the chain's channels are checked, its values are not.
    ///
    /// # Errors
    /// [`LogError::NoLog`], [`LogError::Io`].
    pub fn open(data_dir: &Path, key: Option<ChainKey>) -> Result<Self, LogError> {
        let shards = segment::streams(data_dir)?;
        // All streams must be of one cluster: that of the first readable head.
        let mut cluster_id = None;
        for &shard in &shards {
            let mut page = [0; SEGMENT_HEAD_LEN];
            // Where nobody knows where a stream begins, whoever reads it is told.
            let Ok(Some(first)) =
                segment::segments(data_dir, shard).map(|segments| segments.first().copied())
            else {
                continue;
            };
            let file = SegmentFile::open(data_dir, shard, first, Access::Cached);
            if file.and_then(|mut file| file.read_at(&mut page, 0)).is_ok()
                && let Ok(head) = catraca_core::log::segment_head(&page, None, shard, first)
            {
                cluster_id = Some(head.cluster_id);
                break;
            }
        }
        Ok(Self {
            data_dir: data_dir.to_owned(),
            shards,
            key,
            cluster_id,
            last_write: LastWrite::Block,
        })
    }

    /// With another last write than one block.
    #[must_use]
    pub fn with_last_write(self, last_write: LastWrite) -> Self {
        Self { last_write, ..self }
    }

    /// The streams, ascending.
    pub fn shards(&self) -> &[u16] {
        &self.shards
    }

    /// Where a stream begins, and what was cut off before amounts to.
    ///
    /// # Errors
    /// [`LogError::LogStart`] where the file that says so is unsound, [`LogError::Io`].
    pub fn start(&self, shard: u16) -> Result<LogStart, LogError> {
        log_start::read(&self.data_dir, self.cluster_id, shard, self.key.as_ref())
    }

    /// The cluster, if any stream's first segment is readable.
    pub fn cluster_id(&self) -> Option<[u8; 16]> {
        self.cluster_id
    }

    /// The path of the file that a segment is read from, packed or not.
    pub fn segment_path(&self, shard: u16, index: u32) -> PathBuf {
        segment::file_path(&self.data_dir, shard, index)
    }

    /// Length of all segments of all streams, unpacked, bytes: what reading everything goes over at
    /// most. A packed one whose head is unsound counts nothing.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn total_bytes(&self) -> Result<u64, LogError> {
        let mut total = 0;
        for &shard in &self.shards {
            let segments = match segment::segments(&self.data_dir, shard) {
                Err(LogError::LogStart { .. }) => continue,
                segments => segments?,
            };
            for index in segments {
                match SegmentFile::open(&self.data_dir, shard, index, Access::Cached) {
                    Ok(segment) => total += segment.segment_len()?,
                    // Its reading tells; one that was removed since is not read.
                    Err(LogError::Damaged { .. }) => {}
                    Err(error) if error.is_missing() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(total)
    }

    /// The key that its chain is held to, where there is one.
    pub const fn key(&self) -> Option<&ChainKey> {
        self.key.as_ref()
    }

    /// Shows each sound block of a stream from `from` on (the [`start`](Self::start)'s tail for all) to
    /// the visitor, in order.
    ///
    /// # Errors
    /// [`LogError::Io`]; damage is no error here but an [`End`].
    pub fn blocks(
        &self,
        shard: u16,
        from: Tail,
        mut visitor: impl FnMut(&SoundBlock<'_>) -> ControlFlow<()>,
    ) -> Result<StreamRead, LogError> {
        let mut recovery = Recovery::resume(self.cluster_id, shard, self.key.as_ref(), from)
            .with_last_write(self.last_write);
        let mut looks = 0;
        loop {
            let before = *recovery.tail();
            let end = match pass(&self.data_dir, shard, &mut recovery, &mut visitor) {
                Err(error) if error.is_missing() => {
                    let at = Spot { segment: recovery.tail().segment, offset: 0 };
                    End::Damaged(Damage { at, reason: DamageReason::SegmentMissing })
                }
                end => end?,
            };
            let is_missing = |damage: &Damage| damage.reason == DamageReason::SegmentMissing;
            if matches!(&end, End::Damaged(damage) if is_missing(damage)) {
                // A running node may have removed it since.
                let start = self.start(shard)?.tail;
                if recovery.tail().next_lsn < start.next_lsn {
                    recovery.go_on_at(start);
                    continue;
                }
            }
            looks = if *recovery.tail() == before { looks + 1 } else { 1 };
            if matches!(end, End::Clean | End::Stopped) || looks == LOOKS {
                return Ok(StreamRead {
                    end,
                    tail: *recovery.tail(),
                    counts: recovery.counts(),
                    segments: recovery.segments(),
                });
            }
            std::thread::sleep(LOOK_PAUSE);
            recovery.look_again();
        }
    }

    /// Where reading a stream may begin, from the newest place to the oldest: at each segment that
    /// begins with a block, as that block's head says, and at last at the stream's start. What lies
    /// before such a place is not read, so not checked either.
    ///
    /// # Errors
    /// [`LogError::Io`], for the folder; a segment whose first block can't be read is no place to
    /// begin.
    pub fn starts(&self, shard: u16) -> Result<impl Iterator<Item = Tail>, LogError> {
        let segments = segment::segments(&self.data_dir, shard)?;
        let start = self.start(shard)?.tail;
        let later = segments.into_iter().rev().filter(move |&segment| segment > start.segment);
        Ok(later.filter_map(move |segment| self.start_at(shard, segment)).chain([start]))
    }

    fn start_at(&self, shard: u16, segment: u32) -> Option<Tail> {
        let bytes = first_block_head(&self.data_dir, shard, segment).ok()??;
        let head = block::sound_head(&bytes)?;
        let tail = Tail {
            segment,
            next_lsn: head.first_lsn.to_native(),
            previous_chain: head.previous_chain,
            epoch: head.epoch.to_native(),
            ..Tail::START
        };
        (head.shard.to_native() == shard && Some(head.cluster_id) == self.cluster_id)
            .then_some(tail)
    }

    /// Shows each record of a stream to the visitor, in order: head, extension, place.
    ///
    /// # Errors
    /// As [`LogReader::blocks`].
    pub fn records(
        &self,
        shard: u16,
        mut visitor: impl FnMut(&RecordHead, &[u8], &BlockLocation) -> ControlFlow<()>,
    ) -> Result<StreamRead, LogError> {
        self.blocks(shard, self.start(shard)?.tail, |block| {
            block
                .records()
                .try_for_each(|(record, extension)| visitor(record, extension, &block.place))
        })
    }
}

/// Feeds the segments of a stream to a recovery, from the one where it stands.
pub(super) fn pass(
    data_dir: &Path,
    shard: u16,
    recovery: &mut Recovery<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<End, LogError> {
    let first = recovery.tail().segment;
    let mut file = SegmentBytes::default();
    let indexes = segment::segments(data_dir, shard)?;
    for &index in indexes.iter().filter(|&&index| index >= first) {
        let bytes = match file.read(data_dir, shard, index) {
            Ok(bytes) => bytes,
            Err(LogError::Damaged { damage, .. }) => return Ok(End::Damaged(damage)),
            Err(error) => return Err(error),
        };
        match recovery.feed(index, bytes, visitor) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(End::Stopped),
            Err(damage) => return Ok(End::Damaged(damage)),
        }
    }
    Ok(recovery.torn().map_or(End::Clean, End::Torn))
}
