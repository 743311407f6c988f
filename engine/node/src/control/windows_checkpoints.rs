//! Making the checkpoint of windows: when the log has gone on by some segments, the state before the one in use is read
//! on from the last checkpoint, or from the beginning, beside everything else, and written anew.

use crate::available_memory;
use crate::log_files::cursor::{last_segment_up_to, segment_start};
use crate::log_files::index_file::IndexFiles;
use crate::log_files::past::{Pace, PastError, PastReading};
use crate::log_files::{LogError, checkpoint, log_start, segment, windows_file};
use crate::policy_file;
use catraca_core::log::Tail;
use catraca_core::policy::Policy;
use catraca_core::rebuild::Pasts;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A checkpoint is made when so many segments have become full since the last one, of all streams: a start reads as
/// many, some seconds.
const EVERY: u32 = 8;

/// The checkpoint of a node's windows.
pub(super) struct WindowsCheckpoints {
    shards: u16,
    /// Segments that were full when the last one was made, of all streams; `None` before the first look.
    made: Option<u32>,
    under_way: Option<Box<UnderWay>>,
}

/// One being made.
struct UnderWay {
    policy: Arc<Policy>,
    reading: PastReading,
    pasts: Pasts,
    /// What it is to have: the beginning of a segment of each stream.
    places: BTreeMap<u16, Tail>,
    /// By stream: the segment up to which it was told to read.
    told: BTreeMap<u16, u32>,
}

impl WindowsCheckpoints {
    /// Of a node with so many shards.
    pub const fn new(shards: u16) -> Self {
        Self { shards, made: None, under_way: None }
    }

    /// Goes on with the checkpoint that is being made, a segment of each stream further, or begins one that is due.
    /// `ends` has the last settled record of each stream. Gives whether there is more to do.
    ///
    /// # Errors
    /// [`LogError`]. Then it begins anew, later.
    pub fn work(&mut self, files: &IndexFiles, ends: &[u64]) -> Result<bool, LogError> {
        if self.under_way.is_none() && !self.begin(files, ends)? {
            return Ok(false);
        }
        let Some(mut under_way) = self.under_way.take() else { return Ok(false) };
        if !under_way.go_on(files)? {
            self.under_way = Some(under_way);
            return Ok(true);
        }
        let UnderWay { policy, pasts, places, reading, .. } = *under_way;
        windows_file::write(&files.log, &policy, &pasts, &places)?;
        tracing::info!(records = reading.records(), "the checkpoint of windows is made");
        Ok(false)
    }

    fn begin(&mut self, files: &IndexFiles, ends: &[u64]) -> Result<bool, LogError> {
        let log = &files.log;
        let mut places = BTreeMap::new();
        for (stream, &end) in (0..self.shards).zip(ends) {
            let in_use = last_segment_up_to(&log.data_dir, stream, end)?;
            // Before its first block nobody knows what is before it.
            let Some(place) = segment_start(&log.data_dir, stream, in_use)? else {
                return Ok(false);
            };
            places.insert(stream, place);
        }
        let full = places.values().map(|place| place.segment).sum::<u32>();
        let made = match self.made {
            Some(made) => made,
            None => windows_file::segments(log, self.shards).unwrap_or(0),
        };
        let is_due = full >= made + EVERY;
        // Streams of an earlier, wider layout are read first, and once.
        if !is_due || segment::streams(&log.data_dir)?.len() != places.len() {
            return Ok(false);
        }
        // The policy that was in force before the last checkpoint of the changes.
        let Some(before) = checkpoint::read(files, 0) else { return Ok(false) };
        self.made = Some(full);
        let Ok(policy) = policy_file::in_force(before.policy.as_ref()) else { return Ok(false) };
        if policy.window_values() == 0
            || available_memory::lacks_memory(&policy, self.shards).is_some()
        {
            return Ok(false);
        }
        let mut reading = PastReading::new(log.clone(), Pace::Beside, Arc::default());
        let Some(pasts) = reading.begun(&policy, self.shards).map_err(of_log)? else {
            return Ok(false);
        };
        let mut told = BTreeMap::new();
        for &stream in places.keys() {
            let begins = log_start::tail(&log.data_dir, stream)?.segment;
            told.insert(stream, reading.segment(stream).unwrap_or(begins));
        }
        self.under_way = Some(Box::new(UnderWay { policy, reading, pasts, places, told }));
        Ok(true)
    }
}

impl UnderWay {
    /// Reads each stream on by a segment at most; gives whether all is read.
    fn go_on(&mut self, files: &IndexFiles) -> Result<bool, LogError> {
        let mut up_to = BTreeMap::new();
        let mut is_last = true;
        for (&stream, place) in &self.places {
            let told = self.told.get_mut(&stream).expect("each stream was begun");
            *told += 1;
            let next = *told;
            let end = if next >= place.segment {
                Some(place.next_lsn)
            } else {
                is_last = false;
                segment_start(&files.log.data_dir, stream, next)?.map(|start| start.next_lsn)
            };
            up_to.insert(stream, end.map_or(0, |next_lsn| next_lsn - 1));
        }
        self.reading.on(&mut self.pasts, &up_to).map_err(of_log)?;
        Ok(is_last)
    }
}

/// Windows that are asked for by a policy in force can be.
fn of_log(error: PastError) -> LogError {
    match error {
        PastError::Log(error) => error,
        other => unreachable!("the windows of a policy in force: {other}"),
    }
}
