//! Packing full segments in the background, oldest first: which one is next, and how much of the disk's
//! and the processor's time it may take.

use crate::log_files::LogError;
use crate::log_files::cursor::last_segment_up_to;
use crate::log_files::index_file::IndexFiles;
use crate::log_files::pack::{self, Packed};
use crate::log_files::segment::plain_segments;
use crate::replication::Replication;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Segments behind a packed one that have blocks, at least: what a failover may cut off, and what is
/// read most, stays as it was written.
const KEPT: u32 = 2;
/// How long a segment is left alone after the disk refused it; the ones behind it are packed meanwhile.
const RETRY: Duration = Duration::from_secs(600);
/// Rest after each piece of work, as a multiple of the time that it took: an eighth of a processor
/// and of the disk, because nobody waits for it.
const REST: u32 = 7;
/// Full segments that may wait; behind more of them the rest is shorter, or a log that grows fast for
/// long would lie unpacked.
const PATIENT_UP_TO: u32 = 16;
/// The shorter rest, a multiple as well: half of a processor.
const SHORT_REST: u32 = 1;

/// What `/metrics` shows of it.
#[derive(Debug, Default)]
pub(super) struct PackingFigures {
    /// Segments packed since the start.
    pub packed: AtomicU64,
    /// Bytes of disk that this freed.
    pub freed_len: AtomicU64,
    /// Full segments that can't be packed, because they are not what was written.
    pub unsound: AtomicU64,
}

/// The packing of a node's log.
pub(super) struct Packing {
    /// Those that can't be packed, each told once.
    unsound: BTreeSet<(u16, u32)>,
    /// Those that the disk refused to give, or to take, and when.
    refused: BTreeMap<(u16, u32), Instant>,
}

impl Packing {
    pub fn new() -> Self {
        Self { unsound: BTreeSet::new(), refused: BTreeMap::new() }
    }

    /// Packs the oldest segment that may be packed, of each stream one. `ends` has the last settled
    /// record of each stream. Gives whether there may be more.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::NoSpace`]: the first, after all streams have had their turn.
    pub fn work(
        &mut self,
        files: &IndexFiles,
        replication: &Replication,
        ends: &[u64],
        figures: &PackingFigures,
    ) -> Result<bool, LogError> {
        let (mut more, mut failed) = (false, None);
        self.refused.retain(|_, since| since.elapsed() < RETRY);
        for (stream, &end) in ends.iter().enumerate() {
            let stream = stream as u16;
            let (segment, rest) = match self.next(files, stream, end) {
                Ok(Some((segment, waiting))) => {
                    (segment, if waiting > PATIENT_UP_TO { SHORT_REST } else { REST })
                }
                Ok(None) => continue,
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            let Some(turn) = replication.turn().if_free() else { return Ok(false) };
            let goes_on = |took: Duration| {
                std::thread::sleep(took * rest);
                !replication.turn().is_wanted()
            };
            match pack::pack(files, stream, segment, goes_on) {
                Ok(Packed::Done { records, packed_len, segment_len }) => {
                    tracing::info!(stream, segment, records, packed_len, segment_len, "packed");
                    figures.packed.fetch_add(1, Ordering::Relaxed);
                    let freed_len = segment_len.saturating_sub(packed_len);
                    figures.freed_len.fetch_add(freed_len, Ordering::Relaxed);
                    more = true;
                }
                Ok(Packed::GivenUp) => return Ok(false),
                Err(error @ LogError::Damaged { .. }) => {
                    tracing::error!(stream, segment, %error, "a full log segment is not what was written; it is not packed: see `catraca log verify`");
                    self.unsound.insert((stream, segment));
                    figures.unsound.store(self.unsound.len() as u64, Ordering::Relaxed);
                    more = true;
                }
                Err(error) => {
                    self.refused.insert((stream, segment), Instant::now());
                    failed.get_or_insert(error);
                }
            }
            drop(turn);
        }
        failed.map_or(Ok(more), Err)
    }

    /// The oldest segment of a stream that may be packed, and how many may be at most.
    fn next(
        &self,
        files: &IndexFiles,
        stream: u16,
        end: u64,
    ) -> Result<Option<(u32, u32)>, LogError> {
        let data_dir = &files.log.data_dir;
        let plain = plain_segments(data_dir, stream)?;
        let wanted = |&&segment: &&u32| {
            let place = (stream, segment);
            !self.unsound.contains(&place) && !self.refused.contains_key(&place)
        };
        // What is written is among them, and what is made ahead: without more there is nothing to do.
        let Some(&oldest) = plain.iter().find(wanted).filter(|_| plain.len() > KEPT as usize)
        else {
            return Ok(None);
        };
        let in_use = last_segment_up_to(data_dir, stream, end)?;
        Ok((oldest + KEPT <= in_use).then(|| (oldest, in_use + 1 - KEPT - oldest)))
    }
}
