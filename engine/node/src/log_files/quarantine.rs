//! What a node has in quarantine of its log (`quarantine/`): making such a file, and reading it.
//! Blocks lie in it one behind the other, as they lay in the log; where they were cut off by a
//! hole, the hole as well.

use super::error::LogError;
use crate::whole_file::{GROUP, sync_dir};
use catraca_core::log::damage::DamageReason;
use catraca_core::log::{BlockFault, SoundBlock, Tail, received_block};
use catraca_wire::block::{
    BLOCK_ALIGN, BLOCK_HEAD_LEN, BlockHead, ChainKey, MAX_BLOCK_LEN, sound_head,
};
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Folder of a data directory.
pub const QUARANTINE_DIR: &str = "quarantine";

/// A new file of the quarantine, whose name begins with `stem`.
///
/// # Errors
/// [`LogError::Io`].
pub fn create(data_dir: &Path, stem: &str) -> Result<(PathBuf, File), LogError> {
    let dir = data_dir.join(QUARANTINE_DIR);
    let path = free_name(&dir, stem);
    let mut options = OpenOptions::new();
    let made = fs::create_dir_all(&dir)
        .and_then(|()| options.write(true).create_new(true).mode(GROUP).open(&path));
    let file = made.map_err(LogError::io(&path, "could not make the file"))?;
    Ok((path, file))
}

/// Makes a new file durable, with its name.
///
/// # Errors
/// [`LogError::Io`].
pub fn sync(data_dir: &Path, path: &Path, file: &File) -> Result<(), LogError> {
    file.sync_all()
        .and_then(|()| sync_dir(&data_dir.join(QUARANTINE_DIR)))
        .and_then(|()| sync_dir(data_dir))
        .map_err(LogError::io(path, "could not sync the file"))
}

fn free_name(dir: &Path, stem: &str) -> PathBuf {
    let first = dir.join(format!("{stem}.blocks"));
    let mut others = (2u32..).map(|count| dir.join(format!("{stem}-{count}.blocks")));
    if first.exists() { others.find(|path| !path.exists()).unwrap_or(first) } else { first }
}

/// Shows each sound block of a file to the visitor, in order; a block's offset is that in the file.
/// Gives each place where there is none or one that does not follow, and why; it is looked for the
/// next one behind it.
///
/// # Errors
/// [`LogError::Io`].
pub fn blocks(
    path: &Path,
    key: &ChainKey,
    mut visitor: impl FnMut(&SoundBlock<'_>) -> ControlFlow<()>,
) -> Result<Vec<(u64, BlockFault)>, LogError> {
    let io = |error| LogError::io(path, "could not read the file")(error);
    let mut file = BufReader::with_capacity(MAX_BLOCK_LEN, File::open(path).map_err(io)?);
    let mut buffer = Vec::with_capacity(MAX_BLOCK_LEN);
    let (mut tail, mut offset, mut faults) = (None, 0, Vec::new());
    loop {
        buffer.clear();
        (&mut file).take(BLOCK_HEAD_LEN as u64).read_to_end(&mut buffer).map_err(io)?;
        if buffer.is_empty() {
            return Ok(faults);
        }
        let len = sound_head(&buffer).map_or(BLOCK_HEAD_LEN, BlockHead::padded_len);
        (&mut file).take((len - BLOCK_HEAD_LEN) as u64).read_to_end(&mut buffer).map_err(io)?;
        let block = if buffer.len() < len {
            Err(BlockFault::Incomplete)
        } else {
            sound(&buffer, tail.as_ref(), key, offset)
        };
        let fault = match block {
            Ok(block) if visitor(&block).is_break() => return Ok(faults),
            Ok(block) => {
                (tail, offset) = (Some(Tail::after(&block)), offset + len as u64);
                continue;
            }
            Err(fault) => fault,
        };
        // Of a hole the first place is enough.
        if tail.is_some() || faults.is_empty() {
            faults.push((offset, fault));
        }
        (tail, offset) = (None, offset + BLOCK_ALIGN as u64);
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
    }
}

/// The block, if it is sound and follows the one before it; the first one says itself where it was.
fn sound<'b>(
    bytes: &'b [u8],
    before: Option<&Tail>,
    key: &ChainKey,
    offset: u64,
) -> Result<SoundBlock<'b>, BlockFault> {
    let head = sound_head(bytes).ok_or(BlockFault::Damaged(DamageReason::BlockHead))?;
    let first = Tail {
        next_lsn: head.first_lsn.to_native(),
        previous_chain: head.previous_chain,
        epoch: head.epoch.to_native(),
        ..Tail::START
    };
    received_block(
        bytes,
        head.cluster_id,
        head.shard.to_native(),
        before.unwrap_or(&first),
        key,
        0,
        offset,
    )
}
