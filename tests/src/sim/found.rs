//! What a start finds on a node's disk, by the recovery that ships.

use super::disk::{NodeDisk, StreamDisk};
use super::setup::{CLUSTER, KEY};
use catraca_core::log::damage::{Damage, Torn};
use catraca_core::log::recovery::{LastWrite, Recovery};
use catraca_core::log::{SoundBlock, Tail};
use catraca_wire::block::SEGMENT_HEAD_LEN;
use std::ops::ControlFlow;

/// What recovery found of one stream.
pub(super) struct Found {
    pub tail: Tail,
    pub torn: Option<Torn>,
    pub damage: Option<Damage>,
}

/// Recovers a stream, and shows its blocks.
pub(super) fn recover(
    stream: u16,
    disk: &StreamDisk,
    last_write: LastWrite,
    visit: &mut dyn FnMut(&SoundBlock<'_>),
) -> Found {
    let mut recovery = Recovery::new(Some(CLUSTER), stream, Some(&KEY)).with_last_write(last_write);
    let mut damage = None;
    for (index, bytes) in disk.segments.iter().enumerate() {
        let fed = recovery.feed(index as u32, bytes, &mut |block| {
            visit(block);
            ControlFlow::Continue(())
        });
        if let Err(found) = fed {
            damage = Some(found);
            break;
        }
    }
    Found { tail: *recovery.tail(), torn: recovery.torn(), damage }
}

/// Whether nothing stands behind the last sound block of a stream.
pub(super) fn ends_clean(stream: u16, disk: &StreamDisk) -> bool {
    let found = recover(stream, disk, LastWrite::Block, &mut |_| {});
    found.torn.is_none() && found.damage.is_none()
}

/// The last record of each stream on a disk.
pub(super) fn disk_tails(disk: &NodeDisk) -> Vec<u64> {
    let (streams, last_write) = (disk.streams.iter().enumerate(), disk.state.last_write());
    streams
        .map(|(stream, on_disk)| {
            recover(stream as u16, on_disk, last_write, &mut |_| {}).tail.next_lsn - 1
        })
        .collect()
}

/// The records that a reader of a disk finds, each with its stream, epoch and receipt.
pub(super) fn read_log(
    disk: &NodeDisk,
    mut visit: impl FnMut(u16, &SoundBlock<'_>),
) -> Result<(), String> {
    for (stream, on_disk) in disk.streams.iter().enumerate() {
        let found = recover(stream as u16, on_disk, disk.state.last_write(), &mut |block| {
            visit(stream as u16, block)
        });
        if let Some(damage) = found.damage {
            return Err(format!("stream {stream} is damaged at {}: {}", damage.at, damage.reason));
        }
    }
    Ok(())
}

/// What the broken variant does with damage: drops everything behind it.
pub(super) fn truncate(segments: &mut [Vec<u8>], tail: &Tail) {
    for (index, bytes) in segments.iter_mut().enumerate().skip(tail.segment as usize) {
        let from =
            if index == tail.segment as usize { tail.offset as usize } else { SEGMENT_HEAD_LEN };
        bytes[from..].fill(0);
    }
}
