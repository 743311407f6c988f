//! Segment files as bytes in memory, read past the page cache.
//!
//! A node writes its log with `O_DIRECT`, so at its next start no byte of it is cached, and filling
//! the cache first costs more than the disk itself: recovery of 1 GB on a virtual disk took 15 s
//! through a mapping and takes 2 s so. A copy in memory also needs no proof of what a writer beside
//! it may do to the bytes meanwhile, as a mapping would.

use super::segment::MAX_SEGMENT_LEN;
use catraca_wire::block::BLOCK_ALIGN;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes asked for at once: enough for the kernel to keep the disk's queue full.
const READ_LEN: usize = 8 * 1024 * 1024;

/// Room for one segment, used for one after the other: at most [`MAX_SEGMENT_LEN`] and a page.
#[derive(Debug, Default)]
pub(super) struct SegmentBytes {
    buffer: Vec<u8>,
}

impl SegmentBytes {
    /// Reads a file whole. Of one longer than any segment only so much that its length is seen to
    /// be wrong.
    pub fn read(&mut self, path: &Path) -> io::Result<&[u8]> {
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
        // Not every filesystem has O_DIRECT; a missing file fails again here, with the same error.
        let file = direct.or_else(|_| File::open(path))?;
        let len = file.metadata()?.len().min(MAX_SEGMENT_LEN + BLOCK_ALIGN as u64);
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let room = len.next_multiple_of(BLOCK_ALIGN);
        if self.buffer.len() < room + BLOCK_ALIGN {
            // A new one rather than a grown one: nothing of the old is needed, and fresh zeros cost
            // nothing.
            self.buffer = vec![0; room + BLOCK_ALIGN];
        }
        let aligned = self.buffer.as_ptr().align_offset(BLOCK_ALIGN);
        let bytes = &mut self.buffer[aligned..aligned + room];
        let mut at = 0;
        while at < len && at.is_multiple_of(BLOCK_ALIGN) {
            let end = (at + READ_LEN).min(room);
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
        Ok(&bytes[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_are_read_whole() {
        let dir =
            tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary folder on a disk");
        let path = dir.path().join("file");
        let mut segment = SegmentBytes::default();
        for len in [0, 1, 511, 512, 4095, 4096, 4097, 100_000, 65_536, 3] {
            let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &content).expect("own");
            assert_eq!(segment.read(&path).expect("readable"), content);
        }
        std::fs::remove_file(&path).expect("own");
        assert_eq!(segment.read(&path).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_without_end_is_not_read_without_end() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("sparse");
        let mut segment = SegmentBytes::default();
        assert_eq!(
            segment.read(&path).expect("readable").len() as u64,
            MAX_SEGMENT_LEN + BLOCK_ALIGN as u64
        );
    }
}
