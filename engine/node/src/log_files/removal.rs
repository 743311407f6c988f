//! Removing a stream's oldest segments: what they amount to is durable first, in `log.start`; with an
//! archive, so is a copy of each. A removal that is interrupted is finished by the next one, for what
//! lies before `log.start` is no part of the log.

use super::error::LogError;
use super::index_file::IndexFiles;
use super::log_start;
use super::segment::{make_stream_dir, packed_name, packed_path, segments, stream_dir};
use crate::whole_file::{GROUP, WholeFile, sync_dir};
use catraca_core::cut_off::CutOff;
use catraca_core::log::index::SegmentSummary;
use catraca_core::log::start::LogStart;
use rustix::fs::Advice;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes copied and compared at once.
const PIECE_LEN: usize = 1 << 20;

/// What a stream's oldest segments amount to: `indexes` are of the first ones, in order.
///
/// # Errors
/// [`LogError::Io`], [`LogError::Damaged`], [`LogError::LogStart`], [`LogError::Overlay`].
pub fn summarize(
    files: &IndexFiles,
    shard: u16,
    indexes: &[SegmentSummary],
    now_ns: u64,
) -> Result<LogStart, LogError> {
    let log = &files.log;
    let start = log_start::read(&log.data_dir, Some(log.cluster_id), shard, Some(&log.key))?;
    let taken = take(files, shard, CutOff::new(start), indexes)?;
    taken
        .finish(now_ns)
        .map_err(|fault| LogError::Overlay { path: stream_dir(&log.data_dir, shard), fault })
}

/// Shows the changes of segments, and the segments themselves.
pub(super) fn take(
    files: &IndexFiles,
    shard: u16,
    mut cut_off: CutOff,
    indexes: &[SegmentSummary],
) -> Result<CutOff, LogError> {
    for index in indexes {
        let (_, behind) = index.last_block();
        for offset in index.changes() {
            files.with_block(shard, behind.segment, offset, |block| {
                block.records().for_each(|(head, extension)| cut_off.change(head, extension));
            })?;
        }
        cut_off.segment(index);
    }
    Ok(cut_off)
}

/// Lets a stream begin at `start` from now on, and removes what lies before. Gives the bytes freed.
///
/// # Errors
/// [`LogError::Io`].
pub fn begin_at(files: &IndexFiles, shard: u16, start: &LogStart) -> Result<u64, LogError> {
    let log = &files.log;
    log_start::write(&log.data_dir, log.cluster_id, shard, &log.key, start)?;
    finish(&log.data_dir, shard)
}

/// Removes what lies before the beginning of a stream. Gives the bytes freed.
///
/// # Errors
/// [`LogError::Io`], [`LogError::LogStart`].
pub fn finish(data_dir: &Path, shard: u16) -> Result<u64, LogError> {
    let first = log_start::tail(data_dir, shard)?.segment;
    let dir = stream_dir(data_dir, shard);
    if first == 0 {
        return Ok(0);
    }
    let listing = || LogError::io(&dir, "could not list the folder");
    let mut old = Vec::new();
    for entry in fs::read_dir(&dir).map_err(listing())? {
        let entry = entry.map_err(listing())?;
        if segment_of(&entry.file_name()).is_some_and(|segment| segment < first) {
            old.push(entry.path());
        }
    }
    // The oldest first: whatever is left has no gap.
    old.sort_unstable();
    let mut freed_len = 0;
    for path in &old {
        let removed =
            fs::metadata(path).and_then(|file| fs::remove_file(path).map(|()| file.len()));
        match removed {
            Ok(len) => freed_len += len,
            // Another thread finishes the same removal.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(LogError::io(path, "could not remove the file")(error)),
        }
    }
    if !old.is_empty() {
        sync_dir(&dir).map_err(LogError::io(&dir, "could not sync the folder"))?;
    }
    Ok(freed_len)
}

/// The segment that a file of a stream's folder is of, whatever the file holds: `00000007.zseg`,
/// `00000007.idx`.
fn segment_of(name: &std::ffi::OsStr) -> Option<u32> {
    let (number, _) = name.to_str()?.split_once('.')?;
    let is_number = number.len() >= 8 && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| number.parse().ok()).flatten()
}

/// Copies a packed segment into an archive, which lies as a data directory does, so that `catraca log`
/// reads it; where it is there already, it must be the same. The archive's folder must exist: where it
/// is to be mounted and is not, nothing may be written in its place.
///
/// # Errors
/// [`LogError::Io`], [`LogError::NoSpace`], [`LogError::OtherArchive`].
pub fn archive(
    data_dir: &Path,
    shard: u16,
    segment: u32,
    archive_dir: &Path,
) -> Result<(), LogError> {
    let source = packed_path(data_dir, shard, segment);
    let folder = stream_dir(archive_dir, shard);
    let target = folder.join(packed_name(segment));
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::NoSpace {
            path: target.clone(),
            needed_bytes: fs::metadata(&source).map_or(0, |file| file.len()),
        },
        _ => LogError::io(&target, "could not archive the segment")(error),
    };
    if !archive_dir.is_dir() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    make_stream_dir(archive_dir, &folder)?;
    // What was cut off before there was an archive is not in it: its stream begins here, too.
    let (here, there) = (log_start::path(data_dir, shard), log_start::path(archive_dir, shard));
    if here.exists() && !there.exists() && segments(archive_dir, shard)?.is_empty() {
        copy(&here, &there).map_err(failed)?;
    }
    if !target.exists() {
        copy(&source, &target).map_err(failed)?;
    }
    if same(&source, &target).map_err(failed)? {
        Ok(())
    } else {
        Err(LogError::OtherArchive { path: target })
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut out = WholeFile::create(to, GROUP)?;
    let mut piece = vec![0; PIECE_LEN];
    loop {
        match source.read(&mut piece)? {
            0 => return out.finish_durably(),
            len => out.write_all(&piece[..len])?,
        }
    }
}

/// Whether two files hold the same, as far as it can be had read from the disks.
fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let open = |path: &Path| -> io::Result<File> {
        let file = File::open(path)?;
        // Where it can't be dropped from memory it is compared there.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(file)
    };
    let (mut a, mut b) = (open(a)?, open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let mut pieces = [vec![0; PIECE_LEN], vec![0; PIECE_LEN]];
    loop {
        let len = a.read(&mut pieces[0])?;
        if len == 0 {
            return Ok(true);
        }
        b.read_exact(&mut pieces[1][..len])?;
        if pieces[0][..len] != pieces[1][..len] {
            return Ok(false);
        }
    }
}
