//! A disk that keeps the promises that the log rests on, and no more: what it reported is there
//! after a power cut; of what it did not report any 512-byte sectors may be there. On request it
//! breaks them, too: it says that a write is done which it put elsewhere, or never did.

use super::rng::Rng;
use catraca_core::replica::ReplicaState;
use catraca_wire::block::{BLOCK_ALIGN, SECTOR_LEN, SEGMENT_HEAD_LEN, SegmentHead};
use std::rc::Rc;

/// What a write meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// An error of the device (EIO): some of the bytes may be there.
    Io,
    /// No space (ENOSPC): nothing was written.
    NoSpace,
    /// Reported done, and not: what was there before is still there. Until the next write it may
    /// yet come.
    Lost,
    /// Reported done, and written to another place.
    Misdirected,
}

impl DiskFault {
    /// Whether the disk says that all is well.
    pub fn lies(self) -> bool {
        matches!(self, Self::Lost | Self::Misdirected)
    }
}

/// What became of a write that nobody was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Dropped,
    Torn,
    Kept,
    /// Zeroing, left off somewhere.
    Zeroing,
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

/// The disk's part that holds one stream of the log: what would be found after a power cut, and the
/// one write under way.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamDisk {
    pub segments: Vec<Vec<u8>>,
    under_way: Option<UnderWay>,
    /// A write that was reported and is not there. Behind it nothing has been written, so that it
    /// is told from one that came late by nobody: it still may.
    late: Option<UnderWay>,
    /// Something is wrong in the middle of what is written: no start may succeed.
    pub hole: bool,
    /// Another stream's bytes lie somewhere in it: a start may find damage.
    pub soiled: bool,
}

impl StreamDisk {
    /// Makes a segment: filled with zeros and synced before it has its name, so there is no
    /// half-made one to be found.
    pub fn add_segment(
        &mut self,
        cluster_id: [u8; 16],
        stream: u16,
        segment_len: usize,
        reuse: bool,
    ) {
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

    /// Whether what is at rest may not be what was written.
    pub fn is_rotten(&self) -> bool {
        self.hole || self.soiled || self.late.is_some()
    }

    /// Takes a block.
    pub fn begin(&mut self, id: u64, segment: u32, offset: u64, bytes: Rc<[u8]>, reused: bool) {
        assert!(self.under_way.is_none(), "a stream's blocks are written one at a time");
        let (segment, offset, len) = (segment as usize, offset as usize, bytes.len());
        assert!(
            offset >= SEGMENT_HEAD_LEN
                && offset.is_multiple_of(BLOCK_ALIGN)
                && len.is_multiple_of(BLOCK_ALIGN),
            "direct I/O takes pages"
        );
        let excused = reused || self.is_rotten();
        assert!(
            excused || self.is_unused(segment, offset, len),
            "a block is written where nothing was"
        );
        self.under_way = Some(UnderWay { id, segment, offset, bytes: Some(bytes), len });
    }

    fn is_unused(&self, segment: usize, offset: usize, len: usize) -> bool {
        let place = self.segments.get(segment).and_then(|bytes| bytes.get(offset..offset + len));
        place.is_some_and(|place| place.iter().all(|&byte| byte == 0))
    }

    /// Zeroes bytes.
    pub fn begin_zero(&mut self, id: u64, segment: u32, from: u64, to: u64) {
        assert!(self.under_way.is_none(), "one thing at a time");
        let len = (to - from) as usize;
        self.under_way = Some(UnderWay {
            id,
            segment: segment as usize,
            offset: from as usize,
            bytes: None,
            len,
        });
    }

    /// Ends the zeroing under way, if there is one.
    pub fn finish_zero(&mut self) {
        self.keep(|_| true);
    }

    /// Whether this is what is under way; otherwise it was given up before.
    pub fn is_under_way(&self, id: u64) -> bool {
        self.under_way.as_ref().is_some_and(|write| write.id == id)
    }

    /// Ends the write under way, well or with an error.
    pub fn finish(&mut self, fault: Option<DiskFault>, rng: &mut Rng) -> Result<(), DiskFault> {
        match fault {
            Some(DiskFault::Io) => drop(self.cut(rng)),
            Some(DiskFault::NoSpace) => self.under_way = None,
            Some(DiskFault::Lost) if self.late.is_none() => self.late = self.under_way.take(),
            _ => {
                // Once something lies behind it, what was lost can't come any more.
                self.hole |= self.late.take().is_some();
                self.keep(|_| true);
            }
        }
        fault.filter(|fault| !fault.lies()).map_or(Ok(()), Err)
    }

    /// Ends the write under way in another place of the stream: where a block of it began, or ahead
    /// of it. Whether there was such a place.
    pub fn misdirect(&mut self, blocks: &[(u32, u64)], rng: &mut Rng) -> bool {
        let Some(write) = &self.under_way else { return false };
        let (segment, offset, len) = (write.segment, write.offset, write.len);
        let before = |&(of, at): &(u32, u64)| {
            (of as usize, at as usize + len) <= (segment, offset) && of as usize == segment
        };
        let older: Vec<usize> =
            blocks.iter().filter(|place| before(place)).map(|(_, at)| *at as usize).collect();
        let ahead = offset + len + rng.index(4) * BLOCK_ALIGN;
        let to = if !older.is_empty() && rng.permille(500) {
            older[rng.index(older.len())]
        } else {
            ahead
        };
        if to == ahead && !self.is_unused(segment, to, len) {
            return false;
        }
        if let Some(write) = &mut self.under_way {
            write.offset = to;
        }
        self.keep(|_| true);
        self.hole = true;
        true
    }

    /// Another stream's write comes here, where nothing was written yet. Whether it did.
    pub fn take_stray(&mut self, (segment, offset, bytes): (usize, usize, Rc<[u8]>)) -> bool {
        if self.under_way.is_some() || !self.is_unused(segment, offset, bytes.len()) {
            return false;
        }
        self.segments[segment][offset..offset + bytes.len()].copy_from_slice(&bytes);
        self.soiled = true;
        true
    }

    /// Where the write under way goes, and its bytes.
    pub fn write_under_way(&self) -> Option<(usize, usize, Rc<[u8]>)> {
        self.under_way
            .as_ref()
            .and_then(|write| Some((write.segment, write.offset, write.bytes.clone()?)))
    }

    /// The power goes, or the process: any sectors of what is under way are there.
    pub fn cut(&mut self, rng: &mut Rng) -> Option<Cut> {
        if let Some(late) = self.late.take() {
            // It comes at last.
            let last = self.under_way.replace(late);
            self.keep(|_| true);
            self.under_way = last;
        }
        let kind = rng.between(0, 5);
        let write = self.under_way.as_ref()?;
        let sectors = write.len / SECTOR_LEN;
        let zeroing = write.bytes.is_none();
        let some = rng.index(sectors + 1);
        let bits = rng.bits();
        let kept = |sector: usize| match kind {
            0 => false,
            1 => true,
            2 => sector < some,
            3 => sector >= some,
            // Of small blocks only the first sectors are not zero; a cut between those is what
            // matters.
            4 => sector == some % 3,
            _ => bits.rotate_right(sector as u32 % 64) & 1 == 1,
        };
        let count = (0..sectors).filter(|sector| kept(*sector)).count();
        self.keep(kept);
        Some(match count {
            _ if zeroing => Cut::Zeroing,
            0 => Cut::Dropped,
            all if all == sectors => Cut::Kept,
            _ => Cut::Torn,
        })
    }

    fn keep(&mut self, kept: impl Fn(usize) -> bool) {
        let Some(write) = self.under_way.take() else { return };
        let place = &mut self.segments[write.segment][write.offset..write.offset + write.len];
        for (sector, to) in
            place.chunks_mut(SECTOR_LEN).enumerate().filter(|(sector, _)| kept(*sector))
        {
            match &write.bytes {
                Some(bytes) => {
                    to.copy_from_slice(&bytes[sector * SECTOR_LEN..(sector + 1) * SECTOR_LEN])
                }
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
    /// A write of the node's state takes up to this long, nanoseconds.
    pub slowest_state_ns: u64,
}

impl NodeDisk {
    pub fn new(node_id: [u8; 16], state: ReplicaState, shards: u16) -> Self {
        let streams = vec![StreamDisk::default(); usize::from(shards)];
        Self {
            node_id,
            state,
            streams,
            quarantine: Vec::new(),
            capacity: usize::MAX,
            fault: None,
            slowest_ns: USUAL_NS,
            slowest_state_ns: USUAL_STATE_NS,
        }
    }

    /// It is as fast as usual again.
    pub fn mend_speed(&mut self) {
        (self.slowest_ns, self.slowest_state_ns) = (USUAL_NS, USUAL_STATE_NS);
    }

    /// Whether a stream has no segment, and there is no room to make one.
    pub fn lacks_first_segment(&self) -> bool {
        !self.has_room() && self.streams.iter().any(|stream| stream.segments.is_empty())
    }

    /// Whether another segment has room.
    pub fn has_room(&self) -> bool {
        self.streams.iter().map(|stream| stream.segments.len()).sum::<usize>() < self.capacity
    }

    /// Whether what is at rest may not be what was written.
    pub fn is_rotten(&self) -> bool {
        self.streams.iter().any(StreamDisk::is_rotten)
    }
}

/// A write of a disk that is well takes up to this long, nanoseconds.
pub(super) const USUAL_NS: u64 = 2_000_000;
/// A healthy disk writes a node's state within this time: two writes and a rename.
pub(super) const USUAL_STATE_NS: u64 = 4_000_000;
