//! The checkpoint of a stream: what all segments before one amount to for the lists, so that a start
//! need not look for their changes. No part of the log: it is checked against what the log has there,
//! left out where it is unsound, and may be removed.

use super::cursor::segment_start;
use super::error::LogError;
use super::index_file::IndexFiles;
use super::log_start::{self, read_up_to};
use super::removal;
use super::segment::stream_dir;
use crate::whole_file::{self, GROUP};
use catraca_core::cut_off::CutOff;
use catraca_core::log::index::SegmentSummary;
use catraca_core::log::start::{LogStart, MAX_LOG_START_LEN, Purpose};
use std::path::{Path, PathBuf};

/// `DIR/log/shard-0000/checkpoint`.
pub fn path(data_dir: &Path, shard: u16) -> PathBuf {
    stream_dir(data_dir, shard).join("checkpoint")
}

/// The checkpoint of a stream, if there is one that is of what the log has there.
pub fn read(files: &IndexFiles, shard: u16) -> Option<LogStart> {
    let log = &files.log;
    let path = path(&log.data_dir, shard);
    let mut bytes = Vec::new();
    // One that can't be read is as good as none.
    if !read_up_to(&path, MAX_LOG_START_LEN + 1, &mut bytes).ok()? {
        return None;
    }
    let parsed =
        LogStart::parse(Purpose::Checkpoint, &bytes, Some(log.cluster_id), shard, Some(&log.key));
    let checkpoint = parsed
        .inspect_err(|fault| {
            tracing::warn!(stream = shard, %fault, "the checkpoint is unsound; a start looks for changes in all segments, and it is made anew");
        })
        .ok()?;
    // One from before what was removed knows less than `log.start`.
    if checkpoint.tail.segment < log_start::tail(&log.data_dir, shard).ok()?.segment {
        return None;
    }
    let there = segment_start(&log.data_dir, shard, checkpoint.tail.segment).ok()??;
    let is_of_log = there.next_lsn == checkpoint.tail.next_lsn
        && there.previous_chain == checkpoint.tail.previous_chain;
    is_of_log.then_some(checkpoint)
}

/// Makes the checkpoint before the first segment that `indexes` are not of: they are of those behind
/// the last checkpoint, or behind the stream's beginning, in order.
///
/// # Errors
/// As [`removal::summarize`].
pub fn write(
    files: &IndexFiles,
    shard: u16,
    last: Option<LogStart>,
    indexes: &[SegmentSummary],
    now_ns: u64,
) -> Result<(), LogError> {
    let log = &files.log;
    let before = match last {
        Some(last) => last,
        None => log_start::read(&log.data_dir, Some(log.cluster_id), shard, Some(&log.key))?,
    };
    let taken = removal::take(files, shard, CutOff::new(before), indexes)?;
    let checkpoint = taken
        .checkpoint(now_ns)
        .map_err(|fault| LogError::Overlay { path: stream_dir(&log.data_dir, shard), fault })?;
    let bytes = checkpoint.to_bytes(Purpose::Checkpoint, log.cluster_id, shard, &log.key);
    let path = path(&log.data_dir, shard);
    // It need not survive a power cut.
    whole_file::write(&path, GROUP, &bytes)
        .map_err(LogError::io(&path, "could not write the checkpoint"))
}
