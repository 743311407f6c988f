//! Reading what a node has put aside of its log (`quarantine/`): blocks one behind the other, each held to all that recovery asks of it.

use super::check::{BlockFault, SoundBlock, Tail, received_block};
use super::damage::DamageReason;
use super::error::LogError;
use catraca_wire::block::{BLOCK_HEAD_LEN, ChainKey, MAX_BLOCK_LEN, sound_head};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

/// Shows each block of a file to the visitor, in order; a block's offset is that in the file. Gives where and why the file can't be read
/// further, if it can't.
///
/// # Errors
/// [`LogError::Io`].
pub fn blocks(
    path: &Path,
    key: &ChainKey,
    mut visitor: impl FnMut(&SoundBlock<'_>) -> ControlFlow<()>,
) -> Result<Option<(u64, BlockFault)>, LogError> {
    let io = |error| LogError::io(path, "could not read the file")(error);
    let mut file = BufReader::with_capacity(MAX_BLOCK_LEN, File::open(path).map_err(io)?);
    let mut buffer = vec![0; MAX_BLOCK_LEN];
    let mut tail = None;
    let mut offset = 0;
    loop {
        match read_full(&mut file, &mut buffer[..BLOCK_HEAD_LEN]).map_err(io)? {
            0 => return Ok(None),
            BLOCK_HEAD_LEN => {}
            _ => return Ok(Some((offset, BlockFault::Incomplete))),
        }
        let Some(head) = sound_head(&buffer[..BLOCK_HEAD_LEN]).copied() else {
            return Ok(Some((offset, BlockFault::Damaged(DamageReason::BlockHead))));
        };
        let len = head.padded_len();
        if read_full(&mut file, &mut buffer[BLOCK_HEAD_LEN..len]).map_err(io)? < len - BLOCK_HEAD_LEN {
            return Ok(Some((offset, BlockFault::Incomplete)));
        }
        // The first one says where it was; the others must follow it.
        let before = tail.unwrap_or(Tail {
            next_lsn: head.first_lsn.to_native(),
            previous_chain: head.previous_chain,
            epoch: head.epoch.to_native(),
            ..Tail::START
        });
        match received_block(&buffer[..len], head.cluster_id, head.shard.to_native(), &before, key, 0, offset) {
            Ok(block) if visitor(&block).is_break() => return Ok(None),
            Ok(block) => tail = Some(Tail::after(&block)),
            Err(fault) => return Ok(Some((offset, fault))),
        }
        offset += len as u64;
    }
}

/// Fills as much as there is: how much.
fn read_full(file: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
