//! The log's disk: opens segments, and writes one block after the other, each durable before the next begins.

use super::core::Core;
use super::yield_to_reactor;
use crate::fatal::{Failure, Status};
use crate::log::segment;
use crate::shard::journal::BlockMemory;
use catraca_wire::block::MAX_BLOCK_LEN;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use std::path::PathBuf;
use std::rc::Rc;

/// A buffer for direct I/O, from memory that the kernel knows.
pub struct DirectBlock(DmaBuffer);

impl BlockMemory for DirectBlock {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_bytes_mut()
    }
}

/// The segment being written.
pub(super) struct Segments {
    log_dir: PathBuf,
    shard: u16,
    index: u32,
    file: DmaFile,
}

impl Segments {
    /// Opens the segment that the journal goes on in, and gives the shard its buffers.
    pub async fn open(core: &Rc<Core>, log_dir: PathBuf, index: u32) -> Result<Self, Failure> {
        let shard = core.shard_index as u16;
        let file = open(&log_dir, shard, index).await?;
        let segments = Self { log_dir, shard, index, file };
        segments.supply(core);
        Ok(segments)
    }

    fn supply(&self, core: &Rc<Core>) {
        let mut shard = core.shard.borrow_mut();
        for _ in 0..shard.buffers_wanted() {
            shard.give_buffer(DirectBlock(self.file.alloc_dma_buffer(MAX_BLOCK_LEN)));
        }
    }
}

async fn open(log_dir: &std::path::Path, shard: u16, index: u32) -> Result<DmaFile, Failure> {
    let path = segment::segment_path(log_dir, shard, index);
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DSYNC).dma_open(&path).await.map_err(|error| {
        Failure::new(Status::DiskFailed, format!("segment {} can't be opened for direct writing: {error}", path.display()))
    })
}

/// Writes blocks as the journal has them. A failed write ends the node: whether its bytes are on the disk is unknown, and a retry
/// could acknowledge what a crash then loses.
pub(super) async fn write_blocks(core: Rc<Core>, mut segments: Segments) {
    loop {
        core.journal.wait().await;
        // What else came in this turn goes into the same block.
        yield_to_reactor().await;
        loop {
            let write = core.shard.borrow_mut().next_write(core.now());
            core.after_work();
            let Some(write) = write else { break };
            if write.segment != segments.index {
                match open(&segments.log_dir, segments.shard, write.segment).await {
                    Ok(file) => segments.file = file,
                    Err(failure) => end(&failure),
                }
                segments.index = write.segment;
            }
            let mut buffer = write.buffer.0;
            buffer.trim_to_size(write.len);
            match segments.file.write_at(buffer, write.offset).await {
                Ok(len) if len == write.len => {}
                outcome => {
                    let path = segment::segment_path(&segments.log_dir, segments.shard, write.segment);
                    let why =
                        outcome.map_or_else(|e| e.to_string(), |len| format!("only {len} of {} bytes were written", write.len));
                    let message = format!(
                        "writing the log failed at {} offset {}: {why}; nothing was acknowledged after it: check the disk, then start again",
                        path.display(),
                        write.offset
                    );
                    end(&Failure::new(Status::DiskFailed, message));
                }
            }
            segments.supply(&core);
            core.shard.borrow_mut().written(core.now());
            core.after_work();
        }
    }
}

/// Ends the process at once: no destructor, no further acknowledgement.
fn end(failure: &Failure) -> ! {
    crate::fatal::end(failure)
}
