//! Segments as bytes in memory, read past the page cache.
//!
//! A node writes its log with `O_DIRECT`, so at its next start no byte of it is cached, and filling
//! the cache first costs more than the disk itself: recovery of 1 GB on a virtual disk took 15 s
//! through a mapping and takes 2 s so. A copy in memory also needs no proof of what a writer beside
//! it may do to the bytes meanwhile, as a mapping would.

use super::error::LogError;
use super::segment::MAX_SEGMENT_LEN;
use super::segment_file::{Access, SegmentFile};
use catraca_wire::block::BLOCK_ALIGN;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes asked for at once: enough for the kernel to keep the disk's queue full.
const READ_LEN: usize = 8 * 1024 * 1024;

/// Room for one segment, used for one after the other: at most [`MAX_SEGMENT_LEN`] and a page.
#[derive(Debug, Default)]
pub(super) struct SegmentBytes {
    buffer: Vec<u8>,
}

impl SegmentBytes {
    /// Reads a segment whole, whichever file it is in. Of a file that is longer than any segment only
    /// so much that its length is seen to be wrong.
    ///
    /// # Errors
    /// As [`SegmentFile::open`] and [`SegmentFile::read_at`].
    pub fn read(&mut self, data_dir: &Path, shard: u16, index: u32) -> Result<&[u8], LogError> {
        let mut segment = SegmentFile::open(data_dir, shard, index, Access::Direct)?;
        let len = segment.segment_len()?.min(MAX_SEGMENT_LEN + BLOCK_ALIGN as u64);
        let bytes = self.room(len as usize);
        match &mut segment {
            SegmentFile::Plain { path, file } => read_plain(path, file, bytes, len as usize)
                .map_err(LogError::io(path, "could not read the segment"))?,
            SegmentFile::Packed(packed) => packed.read_all(&mut bytes[..len as usize])?,
        }
        Ok(&bytes[..len as usize])
    }

    /// Whole pages for so many bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let room = len.next_multiple_of(BLOCK_ALIGN);
        if self.buffer.len() < room + BLOCK_ALIGN {
            // A new one rather than a grown one: nothing of the old is needed, and fresh zeros cost
            // nothing.
            self.buffer = vec![0; room + BLOCK_ALIGN];
        }
        let aligned = self.buffer.as_ptr().align_offset(BLOCK_ALIGN);
        &mut self.buffer[aligned..aligned + room]
    }
}

/// Reads `len` bytes of a file that was opened for direct reading, if it could be.
fn read_plain(path: &Path, file: &File, bytes: &mut [u8], len: usize) -> io::Result<()> {
    let mut at = 0;
    while at < len && at.is_multiple_of(BLOCK_ALIGN) {
        let end = (at + READ_LEN).min(bytes.len());
        match file.read_at(&mut bytes[at..end], at as u64) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Some filesystems take the flag and refuse the read.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
    }
    if at < len {
        // What could not be read directly: behind an end that is no multiple of a page, say.
        File::open(path)?.read_exact_at(&mut bytes[at..len], at as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_files::segment::{segment_path, stream_dir};

    #[test]
    fn files_of_any_length_are_read_whole() {
        let dir =
            tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary folder on a disk");
        std::fs::create_dir_all(stream_dir(dir.path(), 0)).expect("own");
        let path = segment_path(dir.path(), 0, 0);
        let mut segment = SegmentBytes::default();
        for len in [0, 1, 511, 512, 4095, 4096, 4097, 100_000, 65_536, 3] {
            let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &content).expect("own");
            assert_eq!(segment.read(dir.path(), 0, 0).expect("readable"), content);
        }
        std::fs::remove_file(&path).expect("own");
        assert!(segment.read(dir.path(), 0, 0).expect_err("gone").is_missing());
    }

    #[test]
    fn a_file_without_end_is_not_read_without_end() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(stream_dir(dir.path(), 0)).expect("own");
        let path = segment_path(dir.path(), 0, 0);
        File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("sparse");
        let mut segment = SegmentBytes::default();
        assert_eq!(
            segment.read(dir.path(), 0, 0).expect("readable").len() as u64,
            MAX_SEGMENT_LEN + BLOCK_ALIGN as u64
        );
    }
}
