//! The file that says where a stream begins whose oldest segments were removed: reading and writing it.
//! What it must be is judged by [`start`].

use super::error::LogError;
use super::segment::stream_dir;
use crate::whole_file::{GROUP, write_durably};
use catraca_core::log::Tail;
use catraca_core::log::start::{self, LogStart, LogStartFault, MAX_LOG_START_LEN, Purpose};
use catraca_wire::block::ChainKey;
use catraca_wire::log_start::LOG_START_LEN;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// `DIR/log/shard-0000/log.start`.
pub fn path(data_dir: &Path, shard: u16) -> PathBuf {
    stream_dir(data_dir, shard).join("log.start")
}

/// Where a stream begins. Of the file only the head is read: [`read`] checks all of it.
///
/// # Errors
/// [`LogError::LogStart`] where it is unsound, [`LogError::Io`].
pub fn tail(data_dir: &Path, shard: u16) -> Result<Tail, LogError> {
    let path = path(data_dir, shard);
    let mut bytes = Vec::new();
    if !read_up_to(&path, LOG_START_LEN, &mut bytes)? {
        return Ok(Tail::START);
    }
    let have = bytes.len() as u64;
    let short = LogStartFault::Length { have, want: LOG_START_LEN as u64 };
    let head = bytes
        .first_chunk()
        .ok_or(short)
        .and_then(|head| start::head(Purpose::Start, head, None, shard));
    head.map(|head| start::tail(&head)).map_err(|fault| LogError::LogStart { path, fault })
}

/// Where a stream begins, and what was cut off amounts to. Without a key the file's keyed hash is not
/// checked.
///
/// # Errors
/// As [`tail`].
pub fn read(
    data_dir: &Path,
    cluster_id: Option<[u8; 16]>,
    shard: u16,
    key: Option<&ChainKey>,
) -> Result<LogStart, LogError> {
    let path = path(data_dir, shard);
    let mut bytes = Vec::new();
    // One byte more, so that a longer one is seen to be wrong.
    if !read_up_to(&path, MAX_LOG_START_LEN + 1, &mut bytes)? {
        return Ok(LogStart::of_whole_stream());
    }
    LogStart::parse(Purpose::Start, &bytes, cluster_id, shard, key)
        .map_err(|fault| LogError::LogStart { path, fault })
}

/// Writes it, durably.
///
/// # Errors
/// [`LogError::Io`].
pub fn write(
    data_dir: &Path,
    cluster_id: [u8; 16],
    shard: u16,
    key: &ChainKey,
    start: &LogStart,
) -> Result<(), LogError> {
    let path = path(data_dir, shard);
    write_durably(&path, GROUP, &start.to_bytes(Purpose::Start, cluster_id, shard, key))
        .map_err(LogError::io(&path, "could not write where the log begins"))
}

/// Reads a file's first bytes; `false` where there is no such file.
pub(super) fn read_up_to(path: &Path, most: usize, bytes: &mut Vec<u8>) -> Result<bool, LogError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(LogError::io(path, "could not read where the log begins")(error)),
    };
    file.take(most as u64)
        .read_to_end(bytes)
        .map_err(LogError::io(path, "could not read where the log begins"))?;
    Ok(true)
}
