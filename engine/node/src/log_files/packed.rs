//! A packed segment read from its file: the bytes of the segment, frame by frame. What they must be is
//! judged by [`packed`].

use super::error::LogError;
use catraca_core::log::damage::{Damage, DamageReason, PackFault, Spot};
use catraca_core::log::packed::{self, Frame};
use catraca_wire::block::{Chain, SEGMENT_HEAD_LEN, SegmentHead};
use catraca_wire::packed::{PACKED_HEAD_LEN, PackedHead};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use zstd::bulk::Decompressor;

/// An open packed segment. Holds its table (40 bytes for 64 KiB of log, without padding) and one frame.
pub struct PackedFile {
    path: PathBuf,
    file: File,
    segment: u32,
    head: PackedHead,
    frames: Vec<Frame>,
    unpacker: Unpacker,
    /// Number of the frame that `image` holds.
    held: Option<usize>,
    image: Vec<u8>,
}

/// What unpacking needs, used again and again.
struct Unpacker {
    zstd: Decompressor<'static>,
    packed: Vec<u8>,
    content: Vec<u8>,
    rows: Vec<u8>,
}

impl PackedFile {
    /// Reads head and table of a packed segment.
    ///
    /// # Errors
    /// [`LogError::Damaged`] where they are unsound, [`LogError::Io`].
    pub fn new(path: PathBuf, file: File, shard: u16, segment: u32) -> Result<Self, LogError> {
        let io = LogError::io(&path, "could not read the packed segment");
        let read = || {
            let len = file.metadata()?.len();
            let mut head = [0; PACKED_HEAD_LEN];
            let have = len.min(PACKED_HEAD_LEN as u64) as usize;
            file.read_exact_at(&mut head[..have], 0)?;
            let head = match packed::head(&head[..have], len, shard, segment) {
                Ok(head) => head,
                Err(reason) => return Ok(Err((0, reason))),
            };
            // A sound head is of a file of exactly its length, so the table is no longer than it.
            let Some((offset, len)) = packed::table_range(&head) else {
                return Ok(Err((0, DamageReason::Packed(PackFault::Head))));
            };
            let mut table = vec![0; len];
            file.read_exact_at(&mut table, offset)?;
            let frames = packed::frames(&head, &table);
            let frames = frames.map_err(|fault| (offset, DamageReason::Packed(fault)));
            Ok(frames.map(|frames| (head, frames)))
        };
        let (head, frames) = read().map_err(io)?.map_err(|(offset, reason)| LogError::Damaged {
            path: path.clone(),
            damage: Damage { at: Spot { segment, offset }, reason },
        })?;
        let zstd = Decompressor::new()
            .map_err(LogError::io(&path, "could not prepare to unpack the segment"))?;
        let unpacker = Unpacker { zstd, packed: Vec::new(), content: Vec::new(), rows: Vec::new() };
        Ok(Self { path, file, segment, head, frames, unpacker, held: None, image: Vec::new() })
    }

    /// Length of the segment, bytes.
    pub fn segment_len(&self) -> u64 {
        self.head.segment_len.to_native()
    }

    /// Where the last block ends in the segment, and its chain value.
    pub fn end(&self) -> (u64, Chain) {
        (self.head.blocks_end.to_native(), self.head.chain)
    }

    /// Reads bytes of the segment from an offset on, at most to the end of a frame. Gives how many;
    /// none at the segment's end.
    ///
    /// # Errors
    /// [`LogError::Damaged`] where a frame is unsound, [`LogError::Io`].
    pub fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> Result<usize, LogError> {
        let (blocks_end, segment_len) = (self.head.blocks_end.to_native(), self.segment_len());
        let (from, source): (u64, Option<&[u8]>) = if offset < SEGMENT_HEAD_LEN as u64 {
            self.image.clear();
            self.image.resize(SEGMENT_HEAD_LEN, 0);
            self.image[..size_of::<SegmentHead>()].copy_from_slice(&self.head.segment_head);
            self.held = None;
            (0, Some(&self.image))
        } else if offset < blocks_end {
            let number = self.frames.partition_point(|frame| frame.end_offset <= offset);
            self.hold(number)?;
            (self.frames[number].entry.block_offset, Some(&self.image))
        } else {
            (blocks_end, None)
        };
        let skipped = (offset - from) as usize;
        let have = source
            .map_or(segment_len.saturating_sub(offset), |source| (source.len() - skipped) as u64);
        let len = usize::try_from(have).unwrap_or(usize::MAX).min(bytes.len());
        match source {
            Some(source) => bytes[..len].copy_from_slice(&source[skipped..skipped + len]),
            None => bytes[..len].fill(0),
        }
        Ok(len)
    }

    /// Puts the whole segment into `image`, which has its length.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    pub fn read_all(&mut self, image: &mut [u8]) -> Result<(), LogError> {
        assert_eq!(image.len() as u64, self.segment_len(), "room for the segment");
        image[..SEGMENT_HEAD_LEN].fill(0);
        image[..size_of::<SegmentHead>()].copy_from_slice(&self.head.segment_head);
        image[self.head.blocks_end.to_native() as usize..].fill(0);
        for frame in &self.frames {
            let from = frame.entry.block_offset as usize;
            let room = &mut image[from..from + frame.padded_len()];
            self.unpacker
                .unpack(&self.file, &self.head, frame, room)
                .map_err(|fault| fault.of(&self.path, self.segment, frame))?;
        }
        Ok(())
    }

    fn hold(&mut self, number: usize) -> Result<(), LogError> {
        if self.held == Some(number) {
            return Ok(());
        }
        let frame = &self.frames[number];
        // Nothing, should the unpacking fail: the old bytes are of another frame.
        self.held = None;
        self.image.resize(frame.padded_len(), 0);
        self.unpacker
            .unpack(&self.file, &self.head, frame, &mut self.image)
            .map_err(|fault| fault.of(&self.path, self.segment, frame))?;
        self.held = Some(number);
        Ok(())
    }
}

/// Why a frame gives no blocks.
enum FrameFault {
    Unsound(PackFault),
    Io(std::io::Error),
}

impl FrameFault {
    fn of(self, path: &std::path::Path, segment: u32, frame: &Frame) -> LogError {
        match self {
            Self::Unsound(fault) => LogError::Damaged {
                path: path.to_owned(),
                damage: Damage {
                    at: Spot { segment, offset: frame.entry.file_offset },
                    reason: DamageReason::Packed(fault),
                },
            },
            Self::Io(error) => LogError::io(path, "could not read the packed segment")(error),
        }
    }
}

impl Unpacker {
    /// Unpacks a frame into the bytes that its blocks take in the segment.
    fn unpack(
        &mut self,
        file: &File,
        head: &PackedHead,
        frame: &Frame,
        padded: &mut [u8],
    ) -> Result<(), FrameFault> {
        self.packed.resize(frame.entry.packed_len as usize, 0);
        file.read_exact_at(&mut self.packed, frame.entry.file_offset).map_err(FrameFault::Io)?;
        if !frame.has_sum(&self.packed) {
            return Err(FrameFault::Unsound(PackFault::Frame));
        }
        let raw_len = frame.entry.raw_len as usize;
        self.content.resize(raw_len, 0);
        match self.zstd.decompress_to_buffer(&self.packed, &mut self.content[..]) {
            Ok(len) if len == raw_len => {}
            _ => return Err(FrameFault::Unsound(PackFault::Unpacking)),
        }
        packed::pad(head, frame, &self.content, &mut self.rows, padded).map_err(FrameFault::Unsound)
    }
}
