//! A disk that keeps the promises that the log rests on, and no more: what it reported is there after a power cut; of what it did not
//! report any 512-byte sectors may be there.

use super::rng::Rng;
use catraca_engine::replica::ReplicaState;
use catraca_wire::block::{SECTOR_LEN, SEGMENT_HEAD_LEN, SegmentHead};
use std::rc::Rc;

/// What a write meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// An error of the device (EIO): some of the bytes may be there.
    Io,
    /// No space (ENOSPC): nothing was written.
    NoSpace,
}

/// What is under way.
#[derive(Debug, Clone)]
struct UnderWay {
    id: u64,
    segment: usize,
    offset: usize,
    /// None zeroes.
    bytes: Option<Rc<[u8]>>,
    len: usize,
}

/// The disk's part that holds one stream of the log: what would be found after a power cut, and the one write under way.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamDisk {
    pub segments: Vec<Vec<u8>>,
    under_way: Option<UnderWay>,
}

impl StreamDisk {
    /// Makes a segment: filled with zeros and synced before it has its name, so there is no half-made one to be found.
    pub fn add_segment(&mut self, cluster_id: [u8; 16], stream: u16, segment_len: usize, reuse: bool) {
        let index = self.segments.len() as u32;
        // The broken variant takes an old file as it is.
        let old = if reuse { self.segments.last() } else { None };
        let mut bytes = old.map_or_else(|| vec![0; segment_len], Clone::clone);
        let head = SegmentHead::new(cluster_id, stream, index, segment_len as u64, 0);
        bytes[..size_of::<SegmentHead>()].copy_from_slice(bytemuck::bytes_of(&head));
        self.segments.push(bytes);
    }

    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes a block.
    pub fn begin(&mut self, id: u64, segment: u32, offset: u64, bytes: Rc<[u8]>, reused: bool) {
        assert!(self.under_way.is_none(), "a stream's blocks are written one at a time");
        let (segment, offset, len) = (segment as usize, offset as usize, bytes.len());
        assert!(offset >= SEGMENT_HEAD_LEN && offset.is_multiple_of(4096) && len.is_multiple_of(4096), "direct I/O takes pages");
        let place = &self.segments[segment][offset..offset + len];
        assert!(reused || place.iter().all(|&byte| byte == 0), "a block is written where nothing was");
        self.under_way = Some(UnderWay { id, segment, offset, bytes: Some(bytes), len });
    }

    /// Zeroes bytes.
    pub fn begin_zero(&mut self, id: u64, segment: u32, from: u64, to: u64) {
        assert!(self.under_way.is_none(), "one thing at a time");
        let len = (to - from) as usize;
        self.under_way = Some(UnderWay { id, segment: segment as usize, offset: from as usize, bytes: None, len });
    }

    /// Ends the zeroing under way, if there is one.
    pub fn finish_zero(&mut self) {
        self.keep(|_| true);
    }

    /// Ends what is under way under this number, well or with a fault; `None` when it was given up before.
    pub fn finish(&mut self, id: u64, fault: Option<DiskFault>, rng: &mut Rng) -> Option<Result<(), DiskFault>> {
        self.under_way.as_ref().filter(|write| write.id == id)?;
        match fault {
            None => self.keep(|_| true),
            Some(DiskFault::Io) => self.cut_power(rng),
            Some(DiskFault::NoSpace) => self.under_way = None,
        }
        Some(fault.map_or(Ok(()), Err))
    }

    /// The power goes, or the process: any sectors of what is under way are there.
    pub fn cut_power(&mut self, rng: &mut Rng) {
        let kind = rng.between(0, 5);
        let sectors = self.under_way.as_ref().map_or(1, |write| write.len / SECTOR_LEN);
        let some = rng.index(sectors + 1);
        match kind {
            0 => self.keep(|_| false),
            1 => self.keep(|_| true),
            2 => self.keep(|sector| sector < some),
            3 => self.keep(|sector| sector >= some),
            // Of small blocks only the first sectors are not zero; a cut between those is what matters.
            4 => self.keep(|sector| sector == some % 3),
            _ => {
                let bits = rng.bits();
                self.keep(|sector| bits.rotate_right(sector as u32 % 64) & 1 == 1);
            }
        }
    }

    fn keep(&mut self, kept: impl Fn(usize) -> bool) {
        let Some(write) = self.under_way.take() else { return };
        let place = &mut self.segments[write.segment][write.offset..write.offset + write.len];
        for (sector, to) in place.chunks_mut(SECTOR_LEN).enumerate().filter(|(sector, _)| kept(*sector)) {
            match &write.bytes {
                Some(bytes) => to.copy_from_slice(&bytes[sector * SECTOR_LEN..(sector + 1) * SECTOR_LEN]),
                None => to.fill(0),
            }
        }
    }
}

/// Everything durable of a node.
#[derive(Debug, Clone)]
pub(super) struct NodeDisk {
    pub node_id: [u8; 16],
    pub state: ReplicaState,
    pub streams: Vec<StreamDisk>,
    /// Blocks that were cut off: stream and bytes.
    pub quarantine: Vec<(u16, Vec<u8>)>,
    /// Segments that there is room for, over all streams.
    pub capacity: usize,
    /// The next write ends so.
    pub fault: Option<DiskFault>,
    /// A write takes up to this long, nanoseconds.
    pub slowest_ns: u64,
}

impl NodeDisk {
    pub fn new(node_id: [u8; 16], state: ReplicaState, shards: u16) -> Self {
        let streams = vec![StreamDisk::default(); usize::from(shards)];
        Self { node_id, state, streams, quarantine: Vec::new(), capacity: usize::MAX, fault: None, slowest_ns: 2_000_000 }
    }

    /// Whether another segment has room.
    pub fn has_room(&self) -> bool {
        self.streams.iter().map(|stream| stream.segments.len()).sum::<usize>() < self.capacity
    }
}
