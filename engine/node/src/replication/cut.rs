//! What a standby has and its primary has not: copied into a file of its own, then cleared from the
//! log. Never deleted: a person may want to know what was decided and never answered.

use crate::log_files::cursor::BlockCursor;
use crate::log_files::segment::segment_path;
use crate::log_files::{LogError, pack, quarantine};
use catraca_core::log::Tail;
use catraca_core::log::clearing::Clearing;
use catraca_wire::block::MAX_BLOCK_LEN;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Cuts a stream at a boundary. The file that keeps what was cut off is durable before anything is
/// cleared; the clearing goes from the back, block by block, each durable before the next: so one
/// that is interrupted, by a power cut even, leaves a shorter log whose last block may be
/// incomplete, which is what recovery knows how to end. Cleared in larger steps, a block could be
/// gone and one behind it still stand.
///
/// # Errors
/// Whatever the disk says.
pub fn cut(data_dir: &Path, shard: u16, to: &Tail, end: &Tail) -> Result<PathBuf, LogError> {
    let stem =
        format!("shard-{shard:04}-lsn-{}-{}-epoch-{}", to.next_lsn, end.next_lsn - 1, end.epoch);
    // What is cleared must be there as it was written.
    pack::unpack_from(data_dir, shard, to.segment)?;
    let (path, mut file) = quarantine::create(data_dir, &stem)?;
    let mut cursor = BlockCursor::new(data_dir, shard, to.segment, to.offset);
    let mut clearing = Clearing::default();
    while let Some(block) = cursor.next_block()? {
        file.write_all(block).map_err(LogError::io(&path, "could not write the file"))?;
        let len = block.len() as u64;
        let (segment, behind) = cursor.place();
        clearing.block(segment, behind - len, len);
    }
    let reached = cursor.place();
    if reached != (end.segment, end.offset) {
        return Err(LogError::io(&path, "could not read all that is to be cut off")(
            io::Error::other(format!(
                "the log was read up to segment {} offset {}, and ends at segment {} offset {}",
                reached.0, reached.1, end.segment, end.offset
            )),
        ));
    }
    quarantine::sync(data_dir, &path, &file)?;
    clear(data_dir, shard, clearing)?;
    Ok(path)
}

fn clear(data_dir: &Path, shard: u16, clearing: Clearing) -> Result<(), LogError> {
    let zeros = vec![0; MAX_BLOCK_LEN];
    let mut open: Option<(u32, PathBuf, File)> = None;
    for step in clearing {
        let (segment, path, file) = match open.take() {
            Some(same) if same.0 == step.segment => same,
            _ => {
                let path = segment_path(data_dir, shard, step.segment);
                let file = OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map_err(LogError::io(&path, "could not open the segment"))?;
                (step.segment, path, file)
            }
        };
        file.write_all_at(&zeros[..(step.to - step.from) as usize], step.from)
            .and_then(|()| file.sync_all())
            .map_err(LogError::io(&path, "could not clear what is in quarantine"))?;
        open = Some((segment, path, file));
    }
    Ok(())
}
