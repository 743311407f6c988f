//! Writing the log: past the page cache, each write durable when it returns, from memory that is
//! aligned for it. A disk that fails ends the node: whether the bytes are there is unknown, and a
//! second attempt could acknowledge what a crash then loses.

use crate::descriptors::{Exhaustible, wait_for};
use crate::fatal::{self, Failure, Status};
use crate::log_files::segment::segment_path;
use crate::pages::Pages;
use catraca_core::shard::journal::BlockMemory;
use catraca_wire::block::MAX_BLOCK_LEN;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// A block's memory, aligned for direct I/O. Made once, and used again and again.
pub struct DirectBlock(Pages);

impl DirectBlock {
    /// Room for the largest block, zeroed.
    pub fn new() -> Self {
        Self(Pages::new(MAX_BLOCK_LEN))
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Default for DirectBlock {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockMemory for DirectBlock {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

/// The segment of a stream that is written at the time.
pub struct BlockFile {
    data_dir: PathBuf,
    stream: u16,
    /// None before the first block: a standby's shard writes nothing until it takes over.
    open: Option<(u32, File)>,
}

impl BlockFile {
    /// Of a stream of which no segment is open yet.
    pub const fn new(data_dir: PathBuf, stream: u16) -> Self {
        Self { data_dir, stream, open: None }
    }

    /// Whether this segment is open.
    pub fn is_open(&self, segment: u32) -> bool {
        self.open.as_ref().is_some_and(|(open, _)| *open == segment)
    }

    /// Opens a segment, in place of the one that is open. Where there is no descriptor for it, it
    /// waits for one as long as `goes_on` says so.
    ///
    /// # Errors
    /// No descriptor was left in all that time.
    pub fn open(&mut self, segment: u32, goes_on: impl Fn() -> bool) -> io::Result<()> {
        if self.is_open(segment) {
            return Ok(());
        }
        // The old one first: its descriptor may be the one that is wanting.
        self.open = None;
        let path = segment_path(&self.data_dir, self.stream, segment);
        let open = || {
            OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(&path)
        };
        match wait_for("the log", goes_on, open) {
            Ok(file) => self.open = Some((segment, file)),
            Err(error) if error.is_exhaustion() => return Err(error),
            Err(error) => fatal::end(&Failure::new(
                Status::DiskFailed,
                format!("segment {} can't be opened for direct writing: {error}", path.display()),
            )),
        }
        Ok(())
    }

    /// Writes blocks to their place in the open segment, durably.
    pub fn write(&self, segment: u32, offset: u64, bytes: &[u8]) {
        let Some((open, file)) = &self.open else { unreachable!("it was opened") };
        assert_eq!(*open, segment, "the segment that was opened is the one to write");
        let why = match file.write_at(bytes, offset) {
            Ok(len) if len == bytes.len() => return,
            Ok(len) => format!("only {len} of {} bytes were written", bytes.len()),
            Err(error) => error.to_string(),
        };
        let path = segment_path(&self.data_dir, self.stream, segment);
        let message = format!(
            "writing the log failed at {} offset {offset}: {why}; nothing was acknowledged after \
             it: check the disk, then start again",
            path.display()
        );
        fatal::end(&Failure::new(Status::DiskFailed, message));
    }
}
