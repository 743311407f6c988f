//! A stream made ready for writing: recovered, and its torn tail zeroed.
//!
//! Only for who holds the lock of the data directory: it writes.

use super::error::LogError;
use super::read::{End, pass};
use super::segment;
use super::{pack, quarantine};
use catraca_core::log::damage::{Torn, TornReason};
use catraca_core::log::recovery::{Counts, LastWrite, Recovery};
use catraca_core::log::{SoundBlock, Tail};
use catraca_wire::block::{ChainKey, MAX_BLOCK_LEN};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What recovery made of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveredStream {
    /// Behind its last block. The next one goes there; where it does not fit, to the start of the
    /// next segment.
    pub tail: Tail,
    /// Segment files that exist: indexes 0 up to this, exclusive. 0 for a stream that was never
    /// written.
    pub segments: u32,
    /// Blocks, records and bytes read.
    pub counts: Counts,
    /// What was zeroed, if the last write before the stop was torn.
    pub repaired: Option<Torn>,
}

/// Recovers a stream from `from` on: shows each of its blocks to the visitor, zeroes a torn tail and makes that
/// durable. A stream without a folder or segments is a new one.
///
/// # Errors
/// [`LogError::Damaged`] when the end can't be trusted (nothing is changed then), [`LogError::Io`].
pub fn recover_stream(
    data_dir: &Path,
    shard: u16,
    cluster_id: [u8; 16],
    key: &ChainKey,
    last_write: LastWrite,
    from: Tail,
    mut visitor: impl FnMut(&SoundBlock<'_>),
) -> Result<RecoveredStream, LogError> {
    let mut recovery =
        Recovery::resume(Some(cluster_id), shard, Some(key), from).with_last_write(last_write);
    let end = pass(data_dir, shard, &mut recovery, &mut |block| {
        visitor(block);
        ControlFlow::Continue(())
    })?;
    if !matches!(end, End::Damaged(_)) {
        // What is written to must be there as it was written.
        pack::unpack_from(data_dir, shard, recovery.tail().segment)?;
    }
    let repaired = match end {
        End::Clean | End::Stopped => None,
        End::Torn(torn) => {
            let path = segment::segment_path(data_dir, shard, torn.segment);
            if torn.reason == TornReason::BlocksNotWritten {
                keep(data_dir, shard, &path, &torn)?;
            }
            zero(&path, &torn)
                .map_err(LogError::io(&path, "could not clear the rest of an unfinished write"))?;
            Some(torn)
        }
        End::Damaged(damage) => {
            let path = segment::file_path(data_dir, shard, damage.at.segment);
            return Err(LogError::Damaged { path, damage });
        }
    };
    Ok(RecoveredStream {
        tail: *recovery.tail(),
        segments: recovery.segments(),
        counts: recovery.counts(),
        repaired,
    })
}

/// Puts into quarantine what is to be zeroed: whole blocks may be in it, and should the primary be
/// lost as well, nobody else has them.
fn keep(data_dir: &Path, shard: u16, path: &Path, torn: &Torn) -> Result<(), LogError> {
    // A file that is shorter was refused before.
    let mut bytes = vec![0; (torn.to - torn.from) as usize];
    let segment = File::open(path).and_then(|segment| segment.read_exact_at(&mut bytes, torn.from));
    segment.map_err(LogError::io(path, "could not read the rest of an unfinished write"))?;
    let stem = format!("shard-{shard:04}-segment-{:08}-offset-{}-torn", torn.segment, torn.from);
    let (path, mut file) = quarantine::create(data_dir, &stem)?;
    file.write_all(&bytes).map_err(LogError::io(&path, "could not write the file"))?;
    quarantine::sync(data_dir, &path, &file)?;
    tracing::warn!(stream = shard, quarantine = %path.display(), "what lay behind a hole in the log is in quarantine; it comes from the primary again");
    Ok(())
}

/// Zeroes torn bytes, durably, from the back: should this be cut off too, what is left is again the
/// rest of one write at `from`.
fn zero(path: &Path, torn: &Torn) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    // A file that is shorter was refused before; this keeps it from growing all the same.
    let end = torn.to.min(file.metadata()?.len());
    let zeros = vec![0; MAX_BLOCK_LEN];
    let mut to = end;
    while to > torn.from {
        let len = (to - torn.from).min(MAX_BLOCK_LEN as u64);
        to -= len;
        file.write_all_at(&zeros[..len as usize], to)?;
        file.sync_all()?;
    }
    Ok(())
}
