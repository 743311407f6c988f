//! A segment's bytes, whichever file has them: `.seg` as they were written, or `.zseg` packed.
//!
//! A segment is packed by a rename and then a removal, and unpacked likewise, so at every moment one of
//! the files is there whole. Where both are, `.seg` counts.

use super::error::LogError;
use super::packed::PackedFile;
use super::segment::{packed_path, segment_path};
use catraca_wire::block::{BLOCK_HEAD_LEN, Chain, SEGMENT_HEAD_LEN, sound_head};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open segment.
pub enum SegmentFile {
    /// As it was written.
    Plain {
        /// Where it lies.
        path: PathBuf,
        /// The file.
        file: File,
    },
    /// Packed.
    Packed(Box<PackedFile>),
}

/// How a plain segment is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Past the page cache, where the filesystem can: reads must be aligned.
    Direct,
    /// Through the page cache: single blocks' heads.
    Cached,
}

impl SegmentFile {
    /// Opens a segment.
    ///
    /// # Errors
    /// [`LogError::Io`] naming `.seg` where there is neither file, [`LogError::Damaged`] for a packed
    /// one whose head or table is unsound.
    pub fn open(data_dir: &Path, shard: u16, index: u32, how: Access) -> Result<Self, LogError> {
        let plain = segment_path(data_dir, shard, index);
        let mut looks = 0;
        loop {
            match open_plain(&plain, how) {
                Ok(file) => return Ok(Self::Plain { path: plain, file }),
                // It may be unpacked between the two looks.
                Err(error) if error.kind() != io::ErrorKind::NotFound || looks == 2 => {
                    return Err(LogError::io(&plain, "could not read the segment")(error));
                }
                Err(_) => looks += 1,
            }
            let path = packed_path(data_dir, shard, index);
            match File::open(&path) {
                Ok(file) => {
                    let packed = PackedFile::new(path, file, shard, index)?;
                    return Ok(Self::Packed(Box::new(packed)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(LogError::io(&path, "could not read the packed segment")(error));
                }
            }
        }
    }

    /// Length of the segment, unpacked, bytes.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn segment_len(&self) -> Result<u64, LogError> {
        match self {
            Self::Plain { path, file } => {
                Ok(file.metadata().map_err(LogError::io(path, "could not look at the file"))?.len())
            }
            Self::Packed(packed) => Ok(packed.segment_len()),
        }
    }

    /// Reads bytes of the segment from an offset on. Gives how many: of a packed segment at most to
    /// the end of a frame, so never to the middle of a block that fits into `bytes`.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::Damaged`] where a packed segment is unsound.
    pub fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> Result<usize, LogError> {
        match self {
            Self::Plain { path, file } => file
                .read_at(bytes, offset)
                .map_err(LogError::io(path, "could not read the segment")),
            Self::Packed(packed) => packed.read_at(bytes, offset),
        }
    }

    /// The bytes of a block's head, where one begins at this offset. Needs [`Access::Cached`].
    ///
    /// # Errors
    /// As [`Self::read_at`].
    pub fn block_head(&mut self, offset: u64) -> Result<Option<[u8; BLOCK_HEAD_LEN]>, LogError> {
        let mut head = [0; BLOCK_HEAD_LEN];
        let mut have = 0;
        while have < head.len() {
            match self.read_at(&mut head[have..], offset + have as u64)? {
                0 => return Ok(None),
                len => have += len,
            }
        }
        Ok(sound_head(&head).is_some().then_some(head))
    }

    /// Whether the segment's last block ends at this offset with this chain value. Needs
    /// [`Access::Cached`].
    ///
    /// # Errors
    /// As [`Self::read_at`].
    pub fn ends_with(
        &mut self,
        last_offset: u64,
        end: u64,
        chain: &Chain,
    ) -> Result<bool, LogError> {
        if let Self::Packed(packed) = self {
            return Ok(packed.end() == (end, *chain));
        }
        let last = self.block_head(last_offset)?;
        let is_there = last
            .as_ref()
            .and_then(|head| sound_head(head))
            .is_some_and(|head| head.chain == *chain);
        // A log that was cut back to that very block may have gone on behind it in the segment.
        Ok(is_there && self.block_head(end)?.is_none())
    }
}

fn open_plain(path: &Path, how: Access) -> io::Result<File> {
    match how {
        Access::Cached => File::open(path),
        // Not every filesystem has O_DIRECT; a missing file fails again here, with the same error.
        Access::Direct => OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .or_else(|_| File::open(path)),
    }
}

/// The head of a segment's first block; `None` where the segment holds no block, or is not there.
///
/// # Errors
/// As [`SegmentFile::open`].
pub fn first_block_head(
    data_dir: &Path,
    shard: u16,
    index: u32,
) -> Result<Option<[u8; BLOCK_HEAD_LEN]>, LogError> {
    match SegmentFile::open(data_dir, shard, index, Access::Cached) {
        Ok(mut segment) => segment.block_head(SEGMENT_HEAD_LEN as u64),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}
