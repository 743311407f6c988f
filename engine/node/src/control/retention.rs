//! Cutting off the oldest segments: those that are old enough, or in the way of free space, as far as
//! nobody needs them.

use crate::log_files::cursor::last_segment_up_to;
use crate::log_files::index_file::IndexFiles;
use crate::log_files::segment::{packed_path, segment_path};
use crate::log_files::{LogError, log_start, removal};
use crate::replication::Replication;
use catraca_core::log::index::SegmentSummary;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Segments of one stream cut off at once.
const BATCH: usize = 64;
/// For so long after the other node was connected nothing is cut off that it had not: it restarts, or its
/// network is back in a moment.
const COMES_BACK: Duration = Duration::from_secs(3600);

/// How long the log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Segments whose last block is older are cut off; `None` keeps them.
    pub keep: Option<Duration>,
    /// Oldest segments are cut off while less of the filesystem is free, percent; 0 keeps them.
    pub min_free_percent: u64,
    /// Where a copy of each goes before.
    pub archive_dir: Option<PathBuf>,
    /// Decisions that a shard's dedupe table holds: as many of each stream's newest are kept.
    pub dedupe_entries: u64,
}

/// What `/metrics` shows of it.
#[derive(Debug, Default)]
pub(super) struct RetentionFigures {
    /// Segments removed since the start.
    pub removed: AtomicU64,
    /// Segments copied into the archive since the start.
    pub archived: AtomicU64,
}

/// What is known of a full segment, once its index was read.
#[derive(Debug, Clone, Copy)]
struct Facts {
    sealed_at_ns: u64,
    decisions: u64,
    last_lsn: u64,
}

impl Facts {
    fn of(index: &SegmentSummary) -> Self {
        let (_, behind) = index.last_block();
        Self {
            sealed_at_ns: behind.sealed_at_ns,
            decisions: index.decisions(),
            last_lsn: behind.next_lsn - 1,
        }
    }
}

/// The retention of a node's log.
pub(super) struct Retention {
    settings: RetentionSettings,
    /// By stream and segment.
    facts: BTreeMap<(u16, u32), Facts>,
    /// When the other node was connected last, and what it had of each stream.
    connected: Option<(Instant, Vec<u64>)>,
}

impl Retention {
    pub fn new(settings: RetentionSettings) -> Self {
        Self { settings, facts: BTreeMap::new(), connected: None }
    }

    /// Whether anything is ever to be cut off.
    pub fn is_wanted(&self) -> bool {
        self.settings.keep.is_some() || self.settings.min_free_percent > 0
    }

    /// Cuts off what is due, of each stream [`BATCH`] segments at most. `ends` has the last settled
    /// record of each stream. Gives whether there may be more.
    ///
    /// # Errors
    /// The first [`LogError`], after all streams have had their turn; what could not be archived stays.
    pub fn work(
        &mut self,
        files: &IndexFiles,
        replication: &Replication,
        ends: &[u64],
        now_ns: u64,
        figures: &RetentionFigures,
    ) -> Result<bool, LogError> {
        let ends = self.kept_for_the_standby(replication, ends.to_vec());
        let (mut more, mut failed) = (false, None);
        for (stream, &end) in ends.iter().enumerate() {
            match self.cut_off(files, replication, stream as u16, end, now_ns, figures) {
                Ok(cut) => more |= cut,
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(more), Err)
    }

    /// What the other node has, also for some time after it was there last: it comes back, and needs
    /// what follows.
    fn kept_for_the_standby(&mut self, replication: &Replication, mut ends: Vec<u64>) -> Vec<u64> {
        if replication.status().connected {
            self.connected = Some((Instant::now(), ends.clone()));
        } else if let Some((_, had)) =
            self.connected.as_ref().filter(|(since, _)| since.elapsed() < COMES_BACK)
        {
            ends.iter_mut().zip(had).for_each(|(end, &had)| *end = had.min(*end));
        }
        ends
    }

    /// Cuts off what is due of a stream; gives whether there may be more.
    fn cut_off(
        &mut self,
        files: &IndexFiles,
        replication: &Replication,
        stream: u16,
        end: u64,
        now_ns: u64,
        figures: &RetentionFigures,
    ) -> Result<bool, LogError> {
        let mut due = self.due(files, stream, end, now_ns)?;
        if due.is_empty() {
            return Ok(false);
        }
        if let Some(archive_dir) = &self.settings.archive_dir {
            for index in &due {
                let (_, behind) = index.last_block();
                removal::archive(&files.log.data_dir, stream, behind.segment, archive_dir)?;
            }
        }
        let Some(_turn) = replication.turn().if_free() else { return Ok(false) };
        // Copying takes time: the other node may have come meanwhile, and need what was nobody's.
        let Some(ends) = replication.settled_ends() else { return Ok(false) };
        let settled = ends.get(usize::from(stream)).copied().unwrap_or(0);
        due.retain(|index| index.last_block().1.next_lsn <= settled + 1);
        if due.is_empty() {
            return Ok(false);
        }
        let start = removal::summarize(files, stream, &due, now_ns)?;
        let freed_len = removal::begin_at(files, stream, &start)?;
        let first = start.tail.segment;
        self.facts.retain(|&(of, segment), _| of != stream || segment >= first);
        let cut = due.len() as u64;
        figures.removed.fetch_add(cut, Ordering::Relaxed);
        if self.settings.archive_dir.is_some() {
            figures.archived.fetch_add(cut, Ordering::Relaxed);
        }
        tracing::info!(
            stream,
            segments = cut,
            freed_len,
            begins_behind_lsn = start.last_lsn(),
            "the oldest log segments were cut off"
        );
        Ok(true)
    }

    /// The indexes of the segments of a stream that are to be cut off now.
    fn due(
        &mut self,
        files: &IndexFiles,
        stream: u16,
        end: u64,
        now_ns: u64,
    ) -> Result<Vec<SegmentSummary>, LogError> {
        let data_dir = &files.log.data_dir;
        let first = log_start::tail(data_dir, stream)?.segment;
        let in_use = last_segment_up_to(data_dir, stream, end)?;
        let (mut free_len, min_free_len) = self.space(files)?;
        let mut due = Vec::new();
        let mut newest_cut = None;
        for segment in first..in_use {
            let packed = packed_path(data_dir, stream, segment);
            // One that is not packed yet may be written to again.
            let Ok(file) = fs::metadata(&packed) else { break };
            if due.len() == BATCH || segment_path(data_dir, stream, segment).exists() {
                break;
            }
            let Some(facts) = self.facts(files, stream, segment) else { break };
            let too_old = self.settings.keep.is_some_and(|keep| {
                u128::from(facts.sealed_at_ns) + keep.as_nanos() < u128::from(now_ns)
            });
            if facts.last_lsn > end || !(too_old || free_len < min_free_len) {
                break;
            }
            let newest_cut = match newest_cut {
                Some(newest) => newest,
                None => *newest_cut.insert(self.newest_not_needed(files, stream, first, in_use)),
            };
            if newest_cut.is_none_or(|newest| segment > newest) {
                break;
            }
            let Ok(index) = files.summary(stream, segment) else { break };
            due.push(index);
            free_len = free_len.saturating_add(file.len());
        }
        Ok(due)
    }

    /// The newest segment that the dedupe table needs nothing of: as many decisions as it holds lie in
    /// the full segments behind.
    fn newest_not_needed(
        &mut self,
        files: &IndexFiles,
        stream: u16,
        first: u32,
        in_use: u32,
    ) -> Option<u32> {
        let mut decisions = 0;
        for segment in (first..in_use).rev() {
            if decisions >= self.settings.dedupe_entries {
                return Some(segment);
            }
            decisions += self.facts(files, stream, segment)?.decisions;
        }
        None
    }

    /// What is known of a full segment; `None` while it has no sound index.
    fn facts(&mut self, files: &IndexFiles, stream: u16, segment: u32) -> Option<Facts> {
        if let Some(facts) = self.facts.get(&(stream, segment)) {
            return Some(*facts);
        }
        let facts = files.summary(stream, segment).ok().map(|index| Facts::of(&index))?;
        self.facts.insert((stream, segment), facts);
        Some(facts)
    }

    /// Free bytes of the filesystem, and how many are to be.
    fn space(&self, files: &IndexFiles) -> Result<(u64, u64), LogError> {
        let data_dir = &files.log.data_dir;
        let stat = rustix::fs::statvfs(data_dir).map_err(|error| {
            LogError::io(data_dir, "could not read the free space")(error.into())
        })?;
        let size_len = u128::from(stat.f_blocks) * u128::from(stat.f_frsize);
        let wanted = size_len * u128::from(self.settings.min_free_percent) / 100;
        Ok((stat.f_bavail * stat.f_frsize, wanted as u64))
    }
}
