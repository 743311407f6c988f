//! Packing a full segment, and unpacking one that is to be written to again.
//!
//! A packed segment takes its place only after it was read back and unpacked to the same bytes; so
//! whatever is not exactly a head, sound blocks and zeros stays as it is. Both files are there for a
//! moment, and after a crash in between: then `.seg` counts.

use super::cursor::{BlockCursor, segment_start};
use super::error::LogError;
use super::index_file::IndexFiles;
use super::packed::PackedFile;
use super::segment::{packed_path, segment_path, segments};
use super::segment_file::{Access, SegmentFile};
use crate::pages::Pages;
use crate::whole_file::{GROUP, WholeFile, sync_dir};
use catraca_core::log::damage::{Damage, DamageReason, PackFault, Spot};
use catraca_core::log::packed::Packing;
use catraca_core::log::{SoundBlock, Tail, segment_head};
use catraca_wire::block::SEGMENT_HEAD_LEN;
use catraca_wire::packed::{PACKED_HEAD_LEN, PackedHead};
use rustix::fs::Advice;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// How hard zstd tries: what higher levels save on records of 256 bytes is a few percent.
const LEVEL: i32 = 3;
/// Bytes compared at once, and written before they are synced: the log's own writes wait behind a
/// longer reading or flush.
const PIECE_LEN: usize = 256 << 10;

/// What came of a packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    /// The segment is packed now.
    Done {
        /// Records in it.
        records: u64,
        /// Length of the packed file, bytes.
        packed_len: u64,
        /// Length of the segment, bytes.
        segment_len: u64,
    },
    /// It was told to give up; nothing has changed.
    GivenUp,
}

/// Packs a full segment behind which the stream has gone on. `goes_on` is asked after each piece of
/// work, with the time that it took: it may rest, and says whether to go on.
///
/// # Errors
/// [`LogError::Damaged`] where the segment is anything but sound blocks and zeros, [`LogError::Io`]. The
/// segment stays as it is.
pub fn pack(
    files: &IndexFiles,
    shard: u16,
    index: u32,
    mut goes_on: impl FnMut(Duration) -> bool,
) -> Result<Packed, LogError> {
    let data_dir = &files.log.data_dir;
    let path = packed_path(data_dir, shard, index);
    let failed = |action| LogError::io(&path, action);
    let writing = "could not write the packed segment";
    let mut out = WholeFile::create(&path, GROUP).map_err(failed(writing))?;
    let mut work = || -> Result<Packed, LogError> {
        out.write_all(&[0; PACKED_HEAD_LEN]).map_err(failed(writing))?;
        let Some((head, table)) = write_frames(files, shard, index, &mut out, &mut goes_on)? else {
            return Ok(Packed::GivenUp);
        };
        out.write_all(&table)
            .and_then(|()| out.write_at_start(bytemuck::bytes_of(&head)))
            .and_then(|()| out.sync())
            .map_err(failed(writing))?;
        let file = File::open(out.making()).map_err(failed("could not read the packed segment"))?;
        // What is compared is to come from the disk. Where it does not, it comes from memory.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        let packed_len = file.metadata().map_err(failed("could not look at the file"))?.len();
        let mut packed = PackedFile::new(out.making().to_owned(), file, shard, index)?;
        if !compare(data_dir, shard, index, &mut packed, &mut goes_on)? {
            return Ok(Packed::GivenUp);
        }
        let records = u64::from(head.record_count.to_native());
        Ok(Packed::Done { records, packed_len, segment_len: packed.segment_len() })
    };
    let outcome = work()?;
    if outcome != Packed::GivenUp {
        out.finish_durably().map_err(failed(writing))?;
        remove(&segment_path(data_dir, shard, index))?;
    }
    Ok(outcome)
}

/// Writes the frames of a segment, and gives head and table; `None` where it was told to give up.
fn write_frames(
    files: &IndexFiles,
    shard: u16,
    index: u32,
    out: &mut WholeFile,
    goes_on: &mut impl FnMut(Duration) -> bool,
) -> Result<Option<(PackedHead, Vec<u8>)>, LogError> {
    let data_dir = &files.log.data_dir;
    let path = packed_path(data_dir, shard, index);
    let failed = || LogError::io(&path, "could not write the packed segment");
    let mut page = [0; SEGMENT_HEAD_LEN];
    let plain = segment_path(data_dir, shard, index);
    SegmentFile::open(data_dir, shard, index, Access::Cached)?.read_at(&mut page, 0)?;
    let head = segment_head(&page, Some(files.log.cluster_id), shard, index)
        .map_err(|reason| LogError::Damaged { path: plain, damage: damage(index, 0, reason) })?;
    let start = segment_start(data_dir, shard, index)?;
    let mut tail = start.ok_or_else(|| files.damaged(shard, index, SEGMENT_HEAD_LEN as u64))?;
    let mut cursor =
        BlockCursor::new(data_dir, shard, index, SEGMENT_HEAD_LEN as u64).in_background();
    let mut packer = Packer::new(Packing::new(head)).map_err(failed())?;
    let mut began = Instant::now();
    let mut unsynced = 0;
    loop {
        let block = files.next(&mut cursor, shard, &tail)?;
        let is_of_next = block.place.segment != index;
        if is_of_next || packer.packing.is_full_for(&block) {
            unsynced += packer.frame(out).map_err(failed())?;
            if unsynced >= PIECE_LEN {
                out.sync().map_err(failed())?;
                unsynced = 0;
            }
            if !goes_on(began.elapsed()) {
                return Ok(None);
            }
            began = Instant::now();
        }
        if is_of_next {
            return Ok(Some(packer.packing.finish()));
        }
        packer.take(&block, &mut tail);
    }
}

/// A packed segment in the making, with what compresses it.
struct Packer {
    packing: Packing,
    zstd: Compressor<'static>,
}

impl Packer {
    fn new(packing: Packing) -> io::Result<Self> {
        let mut zstd = Compressor::new(LEVEL)?;
        zstd.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self { packing, zstd })
    }

    fn take(&mut self, block: &SoundBlock<'_>, tail: &mut Tail) {
        self.packing.take(block);
        *tail = Tail::after(block);
    }

    /// Compresses and writes the frame in the making; gives its length, bytes.
    fn frame(&mut self, out: &mut WholeFile) -> io::Result<usize> {
        let packed = self.zstd.compress(&self.packing.content())?;
        out.write_all(&packed)?;
        self.packing.packed(&packed);
        Ok(packed.len())
    }
}

/// Holds what was packed to the segment, bit for bit. Gives whether it went to the end.
fn compare(
    data_dir: &Path,
    shard: u16,
    index: u32,
    packed: &mut PackedFile,
    goes_on: &mut impl FnMut(Duration) -> bool,
) -> Result<bool, LogError> {
    let mut plain = SegmentFile::open(data_dir, shard, index, Access::Direct)?;
    let len = plain.segment_len()?;
    let differs = |offset| LogError::Damaged {
        path: segment_path(data_dir, shard, index),
        damage: damage(index, offset, DamageReason::Packed(PackFault::NotWhole)),
    };
    if len != packed.segment_len() {
        return Err(differs(len.min(packed.segment_len())));
    }
    let mut pages = Pages::new(PIECE_LEN);
    let mut unpacked = vec![0; PIECE_LEN];
    let mut offset = 0;
    while offset < len {
        let began = Instant::now();
        let have = plain.read_at(pages.bytes_mut(), offset)?;
        if have == 0 {
            return Err(differs(offset));
        }
        let mut at = 0;
        while at < have {
            let from = offset + at as u64;
            let part = packed.read_at(&mut unpacked[..have - at], from)?;
            if part == 0 || pages.bytes()[at..at + part] != unpacked[..part] {
                return Err(differs(from));
            }
            at += part;
        }
        offset += have as u64;
        if !goes_on(began.elapsed()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Unpacks the packed segments of a stream from this one on: they are to be written to. Where both
/// files are there the packed one is removed.
///
/// # Errors
/// [`LogError::NoSpace`], [`LogError::Damaged`] where a packed one is unsound, [`LogError::Io`].
pub fn unpack_from(data_dir: &Path, shard: u16, first: u32) -> Result<(), LogError> {
    for index in segments(data_dir, shard)?.into_iter().filter(|&index| index >= first) {
        let packed = packed_path(data_dir, shard, index);
        if !packed.exists() {
            continue;
        }
        if !segment_path(data_dir, shard, index).exists() {
            unpack(data_dir, shard, index)?;
        }
        remove(&packed)?;
    }
    Ok(())
}

fn unpack(data_dir: &Path, shard: u16, index: u32) -> Result<(), LogError> {
    let path = segment_path(data_dir, shard, index);
    let mut packed = SegmentFile::open(data_dir, shard, index, Access::Cached)?;
    let len = packed.segment_len()?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            LogError::NoSpace { path: path.clone(), needed_bytes: len }
        }
        _ => LogError::io(&path, "could not unpack the segment")(source),
    };
    let mut out = WholeFile::create(&path, GROUP).map_err(failed)?;
    let mut piece = vec![0; PIECE_LEN];
    let mut offset = 0;
    while offset < len {
        let have = packed.read_at(&mut piece, offset)?;
        assert!(have > 0, "a packed segment has as many bytes as its head says");
        out.write_all(&piece[..have]).map_err(failed)?;
        offset += have as u64;
    }
    out.finish_durably().map_err(failed)
}

/// Removes the file that another one took the place of, durably.
fn remove(path: &Path) -> Result<(), LogError> {
    let folder = path.parent().expect("a segment lies in its stream's folder");
    fs::remove_file(path)
        .and_then(|()| sync_dir(folder))
        .map_err(LogError::io(path, "could not remove the file"))
}

fn damage(segment: u32, offset: u64, reason: DamageReason) -> Damage {
    Damage { at: Spot { segment, offset }, reason }
}
