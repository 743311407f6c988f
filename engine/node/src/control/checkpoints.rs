//! Making checkpoints: when a stream has gone on by some segments, so that a start looks for changes in
//! those behind the last one only.

use crate::log_files::cursor::last_segment_up_to;
use crate::log_files::index_file::IndexFiles;
use crate::log_files::{LogError, checkpoint, log_start};
use crate::wall_clock::wall_ns;
use std::collections::BTreeMap;

/// A checkpoint is made when so many segments have become full since the last one: a start reads a
/// block of each change in them.
const EVERY: u32 = 4;
/// Segments taken at once.
const BATCH: u32 = 64;

/// The checkpoints of a node's streams.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// By stream: the segment before which the last one was made.
    made: BTreeMap<u16, u32>,
}

impl Checkpoints {
    /// Makes the checkpoints that are due. `ends` has the last settled record of each stream. Gives
    /// whether there may be more.
    ///
    /// # Errors
    /// The first [`LogError`], after all streams have had their turn.
    pub fn work(&mut self, files: &IndexFiles, ends: &[u64]) -> Result<bool, LogError> {
        let (mut more, mut failed) = (false, None);
        for (stream, &end) in ends.iter().enumerate() {
            match self.make(files, stream as u16, end) {
                Ok(made) => more |= made,
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(more), Err)
    }

    fn make(&mut self, files: &IndexFiles, stream: u16, end: u64) -> Result<bool, LogError> {
        let data_dir = &files.log.data_dir;
        let in_use = last_segment_up_to(data_dir, stream, end)?;
        let made = self.made.get(&stream).copied();
        // One of a log that was cut back since is made anew after the restart that a cut is.
        if made.is_some_and(|made| in_use < made + EVERY) {
            return Ok(false);
        }
        let first = log_start::tail(data_dir, stream)?.segment;
        let last = checkpoint::read(files, stream).filter(|last| last.tail.segment >= first);
        let from = last.as_ref().map_or(first, |last| last.tail.segment);
        self.made.insert(stream, from);
        if in_use < from + EVERY {
            return Ok(false);
        }
        let until = in_use.min(from + BATCH);
        let indexes = (from..until).map(|segment| files.summary(stream, segment).ok());
        // Those of which there is none yet are made by whoever looks decisions up.
        let Some(indexes) = indexes.collect::<Option<Vec<_>>>() else { return Ok(false) };
        checkpoint::write(files, stream, last, &indexes, wall_ns())?;
        self.made.insert(stream, until);
        Ok(until < in_use)
    }
}
