//! Windows of a policy, read out of a node's own log: when it starts, when another policy is coming, and
//! while it follows.

use super::cursor::{BlockCursor, last_segment_up_to};
use super::error::LogError;
use super::index_file::{IndexFiles, Next};
use super::log_start;
use super::lookup::OwnLog;
use super::windows_file;
use crate::fatal::Status;
use crate::wall_clock::wall_ns;
use catraca_core::log::Tail;
use catraca_core::policy::Policy;
use catraca_core::policy::windows::WindowsFault;
use catraca_core::rebuild::Pasts;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Work between two rests of a reading beside a node that decides.
const SLICE: Duration = Duration::from_millis(5);

/// Payments that come later than this after they happened may look further back than is read; then they are told
/// that it is not known.
const LATE_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Why windows can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// There can be no such windows.
    #[error("the policy's windows: {0}")]
    Windows(#[from] WindowsFault),
    /// The log can't be read.
    #[error("the log can't be read for the policy's windows: {0}")]
    Log(#[from] LogError),
    /// Nobody wants them any more.
    #[error("the reading was given up")]
    GivenUp,
}

impl PastError {
    /// The exit status of a node that can't start because of it.
    pub fn status(&self) -> Status {
        match self {
            Self::Windows(_) => Status::Environment,
            Self::Log(error) => error.status(),
            Self::GivenUp => Status::Failed,
        }
    }
}

/// Whether a reading leaves time to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nobody waits for anything but this.
    Full,
    /// Beside a node that decides: it rests as long as it works.
    Beside,
}

/// Where a stream is read on from.
struct Place {
    cursor: BlockCursor,
    tail: Tail,
    /// The block behind the tail, where it was looked at.
    next: Option<Next>,
}

/// A reading of all decisions of a log, in its order: of several streams whichever goes on with the block that was
/// closed first, for windows of payees count the payments of all, and older ones may find no room behind later ones.
pub struct PastReading {
    files: IndexFiles,
    pace: Pace,
    stop: Arc<AtomicBool>,
    /// Where each stream is read on from.
    places: BTreeMap<u16, Place>,
    worked_since: Instant,
    records: u64,
}

impl PastReading {
    /// Of this log, until it is told to stop.
    pub fn new(log: OwnLog, pace: Pace, stop: Arc<AtomicBool>) -> Self {
        Self {
            files: IndexFiles::new(log),
            pace,
            stop,
            places: BTreeMap::new(),
            worked_since: Instant::now(),
            records: 0,
        }
    }

    /// Windows of a policy without a payment, on a node with so many shards; `None` where the policy asks
    /// nothing of windows.
    ///
    /// # Errors
    /// [`PastError::Windows`].
    pub fn empty(&self, policy: &Policy, shards: u16) -> Result<Option<Pasts>, PastError> {
        Ok(Pasts::new(policy, shards, &self.files.log.key)?)
    }

    /// Windows of a policy that go on from their checkpoint, as far as there is one; else as [`Self::empty`] gives
    /// them. Before anything is read.
    ///
    /// # Errors
    /// [`PastError::Windows`].
    pub fn begun(&mut self, policy: &Policy, shards: u16) -> Result<Option<Pasts>, PastError> {
        assert!(self.places.is_empty(), "windows begin before anything is read");
        if policy.window_values() > 0
            && let Some((pasts, places)) = windows_file::read(&self.files.log, policy, shards)
        {
            for (stream, tail) in places {
                let Tail { segment, offset, .. } = tail;
                let cursor = BlockCursor::new(&self.files.log.data_dir, stream, segment, offset);
                let cursor = cursor.in_background();
                self.places.insert(stream, Place { cursor, tail, next: None });
            }
            return Ok(Some(pasts));
        }
        self.empty(policy, shards)
    }

    /// From now on it reads at this pace.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Reads all streams on up to these records, each the last of its block, into windows that have what was read before.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn on(
        &mut self,
        pasts: &mut Pasts,
        last_lsns: &BTreeMap<u16, u64>,
    ) -> Result<(), PastError> {
        for &stream in last_lsns.keys() {
            if !self.places.contains_key(&stream) {
                self.begin(stream, pasts)?;
            }
        }
        self.read(last_lsns.iter().map(|(&stream, &lsn)| (stream, lsn)), pasts)
    }

    /// The segment in which a stream is read on; `None` before it was begun.
    pub fn segment(&self, stream: u16) -> Option<u32> {
        self.places.get(&stream).map(|place| place.tail.segment)
    }

    /// Records up to these that are not read yet.
    pub fn left(&self, last_lsns: &BTreeMap<u16, u64>) -> u64 {
        let next = |stream| self.places.get(stream).map_or(1, |place| place.tail.next_lsn);
        last_lsns.iter().map(|(stream, last)| (last + 1).saturating_sub(next(stream))).sum()
    }

    /// Reads streams on up to these records, each and the rest of its block included; 0: not that one. Into windows
    /// that have all that was read before.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn up_to(&mut self, pasts: &mut Pasts, lsns: &[u64]) -> Result<(), PastError> {
        self.read((0..).zip(lsns.iter().copied()), pasts)
    }

    /// Records read.
    pub const fn records(&self) -> u64 {
        self.records
    }

    fn begin(&mut self, stream: u16, pasts: &mut Pasts) -> Result<(), PastError> {
        let log = &self.files.log;
        let start = log_start::read(&log.data_dir, Some(log.cluster_id), stream, Some(&log.key))?;
        pasts.begin(&start);
        let tail = self.skip(stream, start.tail, pasts)?;
        let Tail { segment, offset, .. } = tail;
        let cursor = BlockCursor::new(&self.files.log.data_dir, stream, segment, offset);
        self.places.insert(stream, Place { cursor: cursor.in_background(), tail, next: None });
        Ok(())
    }

    /// Passes over the oldest segments that no window reaches back to any more, as far as their indexes say
    /// so. Gives where reading begins.
    fn skip(&self, stream: u16, start: Tail, pasts: &mut Pasts) -> Result<Tail, PastError> {
        let looks_back_ns = pasts.looks_back_ns() + LATE_NS;
        let wanted_from_ns = wall_ns().saturating_sub(looks_back_ns);
        let data_dir = &self.files.log.data_dir;
        let in_use = last_segment_up_to(data_dir, stream, u64::MAX)?;
        let mut tail = start;
        for segment in start.segment..in_use {
            let Ok(index) = self.files.summary(stream, segment) else { break };
            if index.newest_event_ns() >= wanted_from_ns {
                break;
            }
            pasts.skip(&index);
            let (_, last) = index.last_block();
            tail = Tail { segment: segment + 1, offset: Tail::START.offset, ..last };
        }
        Ok(tail)
    }

    fn read(
        &mut self,
        up_to: impl Iterator<Item = (u16, u64)> + Clone,
        pasts: &mut Pasts,
    ) -> Result<(), PastError> {
        self.worked_since = Instant::now();
        while let Some(stream) = self.oldest(up_to.clone())? {
            let Place { cursor, tail, next } = self.places.get_mut(&stream).expect("it was begun");
            let next = next.take().expect("it was looked at");
            let block = self.files.taken(cursor, next, stream, tail)?;
            *tail = Tail::after(&block);
            self.records += u64::from(block.head.record_count.to_native());
            pasts.take(&block);
            if self.stop.load(Ordering::Relaxed) {
                return Err(PastError::GivenUp);
            }
            let worked = self.worked_since.elapsed();
            if self.pace == Pace::Beside && worked > SLICE {
                std::thread::sleep(worked);
                self.worked_since = Instant::now();
            }
        }
        Ok(())
    }

    /// Of the streams that are not read up to these records, the one whose next block was closed first.
    fn oldest(
        &mut self,
        up_to: impl Iterator<Item = (u16, u64)>,
    ) -> Result<Option<u16>, PastError> {
        let mut oldest = None;
        for (stream, last_lsn) in up_to {
            let place = self.places.get_mut(&stream).expect("a stream begins with all");
            if place.tail.next_lsn > last_lsn {
                continue;
            }
            let next = match place.next {
                Some(next) => next,
                None => *place.next.insert(Next::of(&mut place.cursor)?),
            };
            if oldest.is_none_or(|(sealed_at_ns, _)| next.sealed_at_ns < sealed_at_ns) {
                oldest = Some((next.sealed_at_ns, stream));
            }
        }
        Ok(oldest.map(|(_, stream)| stream))
    }
}
