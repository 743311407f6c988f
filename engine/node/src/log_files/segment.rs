//! Segment files: where they lie, what they are called, and how one is made.
//!
//! A segment gets its name only when it is whole: filled, synced, then renamed. So a short segment
//! is never a crash's work.

use super::error::LogError;
use super::log_start;
use crate::whole_file::sync_dir;
use catraca_wire::block::{BLOCK_ALIGN, SegmentHead};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, retry_on_intr};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Length of a segment unless configured, bytes: some seconds of full load, and few files.
pub const DEFAULT_SEGMENT_LEN: u64 = 128 * 1024 * 1024;
/// Shortest segment, bytes: room for the head and some blocks. Below
/// [`MAX_BLOCK_LEN`](catraca_wire::block::MAX_BLOCK_LEN) the journal must bound its blocks by the
/// segment.
pub const MIN_SEGMENT_LEN: u64 = 64 * 1024;
/// Longest segment, bytes: RECORD carries a block's offset in 32 bits, and a whole segment is
/// mapped at once.
pub const MAX_SEGMENT_LEN: u64 = 1024 * 1024 * 1024;
/// Filled of a stream's first segment before the node is ready, bytes: the blocks of its first
/// thousand transactions at least. The rest is allocated, and reads as zeros.
const FIRST_LEN: u64 = 4 * 1024 * 1024;
/// Bytes written at once when a segment is filled. The log's own writes queue behind these on the
/// disk, and the flush of each of them takes these along: short ones keep its latency.
pub const FILL_LEN: usize = 64 * 1024;

/// `DIR/log`.
pub fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

/// `DIR/log/shard-0000`.
pub fn stream_dir(data_dir: &Path, shard: u16) -> PathBuf {
    log_dir(data_dir).join(format!("shard-{shard:04}"))
}

/// `DIR/log/shard-0000/00000000.seg`.
pub fn segment_path(data_dir: &Path, shard: u16, index: u32) -> PathBuf {
    stream_dir(data_dir, shard).join(segment_name(index))
}

/// `DIR/log/shard-0000/00000000.zseg`: a packed segment.
pub fn packed_path(data_dir: &Path, shard: u16, index: u32) -> PathBuf {
    stream_dir(data_dir, shard).join(packed_name(index))
}

/// The file that a segment is read from: packed or not, as it is now.
pub fn file_path(data_dir: &Path, shard: u16, index: u32) -> PathBuf {
    let (plain, packed) =
        (segment_path(data_dir, shard, index), packed_path(data_dir, shard, index));
    if !plain.exists() && packed.exists() { packed } else { plain }
}

/// `DIR/log/shard-0000/00000000.idx`: the index of a full segment.
pub fn index_path(data_dir: &Path, shard: u16, index: u32) -> PathBuf {
    stream_dir(data_dir, shard).join(format!("{index:08}.idx"))
}

/// `DIR/log/shard-0000/00000000.dedupe`: what the dedupe table needs of a full segment.
pub fn dedupe_path(data_dir: &Path, shard: u16, index: u32) -> PathBuf {
    stream_dir(data_dir, shard).join(dedupe_name(index))
}

fn dedupe_name(index: u32) -> String {
    format!("{index:08}.dedupe")
}

/// The segments of a stream that have such a file, ascending.
///
/// # Errors
/// [`LogError::Io`].
pub fn dedupe_files(data_dir: &Path, shard: u16) -> Result<Vec<u32>, LogError> {
    let dir = stream_dir(data_dir, shard);
    numbers_in(&dir, |name| number(name, "", ".dedupe", |&index: &u32| dedupe_name(index)))
}

/// `00000000.seg`.
pub fn segment_name(index: u32) -> String {
    format!("{index:08}.seg")
}

/// `00000000.zseg`.
pub(super) fn packed_name(index: u32) -> String {
    format!("{index:08}.zseg")
}

/// The number between a prefix and a suffix, if the name is exactly how that number is written.
fn number<T: std::str::FromStr>(
    name: &std::ffi::OsStr,
    prefix: &str,
    suffix: &str,
    written: impl Fn(&T) -> String,
) -> Option<T> {
    let name = name.to_str()?;
    let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
    (written(&number) == name).then_some(number)
}

fn numbers_in<T: Ord>(
    dir: &Path,
    of: impl Fn(&std::ffi::OsStr) -> Option<T>,
) -> Result<Vec<T>, LogError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io(dir, "could not list the folder"))? {
        let entry = entry.map_err(LogError::io(dir, "could not list the folder"))?;
        numbers.extend(of(&entry.file_name()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The streams of a data directory, ascending.
///
/// # Errors
/// [`LogError::NoLog`] when there is none, [`LogError::Io`].
pub fn streams(data_dir: &Path) -> Result<Vec<u16>, LogError> {
    let dir = log_dir(data_dir);
    let shards = if dir.is_dir() {
        numbers_in(&dir, |name| {
            number(name, "shard-", "", |shard: &u16| format!("shard-{shard:04}"))
        })?
    } else {
        Vec::new()
    };
    if shards.is_empty() { Err(LogError::NoLog { path: data_dir.to_owned() }) } else { Ok(shards) }
}

/// The numbers of a stream's segments, packed or not, ascending, from where the stream begins; other
/// files (a segment in the making, say) are passed over. A stream without a folder has none.
///
/// # Errors
/// [`LogError::Io`], [`LogError::LogStart`].
pub fn segments(data_dir: &Path, shard: u16) -> Result<Vec<u32>, LogError> {
    let mut numbers = segments_of(data_dir, shard, |name| {
        plain_number(name).or_else(|| number(name, "", ".zseg", |&index: &u32| packed_name(index)))
    })?;
    // Both files are there while one takes the other's place.
    numbers.dedup();
    Ok(numbers)
}

/// The numbers of a stream's segments that are not packed, ascending, from where the stream begins.
///
/// # Errors
/// [`LogError::Io`], [`LogError::LogStart`].
pub fn plain_segments(data_dir: &Path, shard: u16) -> Result<Vec<u32>, LogError> {
    segments_of(data_dir, shard, plain_number)
}

fn plain_number(name: &std::ffi::OsStr) -> Option<u32> {
    number(name, "", ".seg", |&index: &u32| segment_name(index))
}

fn segments_of(
    data_dir: &Path,
    shard: u16,
    of: impl Fn(&std::ffi::OsStr) -> Option<u32>,
) -> Result<Vec<u32>, LogError> {
    let dir = stream_dir(data_dir, shard);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut numbers = numbers_in(&dir, of)?;
    // What was cut off may not be removed yet.
    let first = log_start::tail(data_dir, shard)?.segment;
    numbers.retain(|&number| number >= first);
    Ok(numbers)
}

/// A segment to make.
#[derive(Debug, Clone, Copy)]
pub struct NewSegment {
    /// Cluster.
    pub cluster_id: [u8; 16],
    /// Stream.
    pub shard: u16,
    /// Place in the stream.
    pub index: u32,
    /// Length, bytes: a multiple of 4096 from [`MIN_SEGMENT_LEN`] to [`MAX_SEGMENT_LEN`].
    pub segment_len: u64,
    /// Wall clock, nanoseconds since 1970 UTC.
    pub created_at_ns: u64,
}

/// Makes a segment: its head, zeros to its end, all durable, and only then its name. Takes as long
/// as the disk takes to write it, so never on a data core. The stream's folder is made if it is
/// missing.
///
/// # Errors
/// [`LogError::NoSpace`] when the disk is full, [`LogError::SegmentExists`],
/// [`LogError::SegmentLen`], [`LogError::Io`]. A half-made file is removed.
pub fn create(data_dir: &Path, new: &NewSegment) -> Result<PathBuf, LogError> {
    create_paced(data_dir, new, |_| ())
}

/// The same beside a log that is being written: after each piece of the filling `pace` is told what
/// the disk took for it, and pauses for as long as it sees fit.
///
/// # Errors
/// As [`create`].
pub fn create_paced(
    data_dir: &Path,
    new: &NewSegment,
    pace: impl FnMut(Duration),
) -> Result<PathBuf, LogError> {
    make(data_dir, new, new.segment_len, pace)
}

/// Makes the first segment of a stream in a moment: only its beginning is filled, the rest is
/// allocated. A write there also writes what the filesystem knows of the file, which takes a disk
/// up to half as long again; the next segment is filled whole meanwhile.
///
/// # Errors
/// As [`create`].
pub fn create_first(data_dir: &Path, new: &NewSegment) -> Result<PathBuf, LogError> {
    make(data_dir, new, FIRST_LEN.min(new.segment_len), |_| ())
}

fn make(
    data_dir: &Path,
    new: &NewSegment,
    filled_len: u64,
    pace: impl FnMut(Duration),
) -> Result<PathBuf, LogError> {
    if !(MIN_SEGMENT_LEN..=MAX_SEGMENT_LEN).contains(&new.segment_len)
        || !new.segment_len.is_multiple_of(BLOCK_ALIGN as u64)
    {
        return Err(LogError::SegmentLen(new.segment_len));
    }
    let dir = stream_dir(data_dir, new.shard);
    make_stream_dir(data_dir, &dir)?;
    let path = dir.join(segment_name(new.index));
    if path.exists() {
        return Err(LogError::SegmentExists { path });
    }
    let making = path.with_extension("seg.new");
    let made = fill(&making, new, filled_len, pace)
        .and_then(|()| fs::rename(&making, &path))
        .and_then(|()| sync_dir(&dir));
    made.map_err(|source| {
        // The error that matters is the first; a file that stays is overwritten by the next
        // attempt.
        let _ = fs::remove_file(&making);
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                LogError::NoSpace { path: path.clone(), needed_bytes: new.segment_len }
            }
            _ => LogError::Io { path: path.clone(), action: "could not make the segment", source },
        }
    })?;
    Ok(path)
}

/// Makes a stream's folder, durably, if it is missing.
///
/// # Errors
/// [`LogError::Io`].
pub fn make_stream_dir(data_dir: &Path, dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    let log = log_dir(data_dir);
    fs::create_dir_all(dir)
        .and_then(|()| sync_dir(dir))
        .and_then(|()| sync_dir(&log))
        .and_then(|()| sync_dir(data_dir))
        .map_err(LogError::io(dir, "could not make the folder"))
}

fn fill(
    path: &Path,
    new: &NewSegment,
    filled_len: u64,
    mut pace: impl FnMut(Duration),
) -> io::Result<()> {
    // Past the page cache where the filesystem can: 128 MiB of zeros would push out what others
    // need.
    let open = |flags| {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(flags)
            .mode(0o640)
            .open(path)
    };
    let file = open(libc::O_DIRECT).or_else(|_| open(0))?;
    let mut filled_len = filled_len;
    if filled_len < new.segment_len {
        let allocate = || rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, new.segment_len);
        match retry_on_intr(allocate) {
            Ok(()) => {}
            // Such a filesystem has no unwritten space to give.
            Err(Errno::OPNOTSUPP) => filled_len = new.segment_len,
            Err(error) => return Err(error.into()),
        }
    }
    // One page more than needed, so that an aligned part of it can be chosen.
    let mut buffer = vec![0u8; FILL_LEN + BLOCK_ALIGN];
    let aligned = buffer.as_ptr().align_offset(BLOCK_ALIGN);
    let zeros = &mut buffer[aligned..aligned + FILL_LEN];
    let mut at = 0;
    while at < filled_len {
        let len = FILL_LEN.min(usize::try_from(filled_len - at).unwrap_or(FILL_LEN));
        let began = Instant::now();
        file.write_all_at(&zeros[..len], at)?;
        pace(began.elapsed());
        at += len as u64;
    }
    let head =
        SegmentHead::new(new.cluster_id, new.shard, new.index, new.segment_len, new.created_at_ns);
    zeros[..size_of::<SegmentHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    file.write_all_at(&zeros[..BLOCK_ALIGN], 0)?;
    file.sync_all()
}
