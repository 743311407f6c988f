//! A disk that keeps its promises as a disk does: a write that was reported is there after a power
//! cut, one that was not may be there in any of its sectors.

use catraca_core::shard::journal::BlockWrite;
use catraca_wire::block::{SECTOR_LEN, SegmentHead};

/// What comes of the write under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error of the device (EIO): the bytes may be there or not.
    Io,
    /// No space (ENOSPC): nothing was written.
    NoSpace,
}

/// Which sectors of the write under way survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// None: the cut came first.
    None,
    /// The first so many.
    First(usize),
    /// Each as the bits of this seed say.
    Random(u64),
    /// All: only the report was lost.
    All,
}

/// A write under way.
#[derive(Debug, Clone)]
struct UnderWay {
    segment: usize,
    offset: usize,
    buffer: Vec<u8>,
    len: usize,
    last_lsn: u64,
}

/// The disk of one stream: what would be found after a power cut, and the write under way.
#[derive(Debug, Clone)]
pub struct Disk {
    segments: Vec<Vec<u8>>,
    under_way: Option<UnderWay>,
    /// The next write ends so.
    pub fault: Option<Fault>,
    /// Highest sequence number that was reported durable.
    pub durable_lsn: u64,
    /// Writes completed.
    pub writes: usize,
}

impl Disk {
    /// A disk with so many empty segments.
    pub fn new(
        cluster_id: [u8; 16],
        shard: u16,
        segments: u32,
        segment_len: usize,
        created_at_ns: u64,
    ) -> Self {
        let segments = (0..segments)
            .map(|index| {
                let mut bytes = vec![0; segment_len];
                let head =
                    SegmentHead::new(cluster_id, shard, index, segment_len as u64, created_at_ns);
                bytes[..size_of::<SegmentHead>()].copy_from_slice(bytemuck::bytes_of(&head));
                bytes
            })
            .collect();
        Self { segments, under_way: None, fault: None, durable_lsn: 0, writes: 0 }
    }

    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes a block; it is safe once [`Self::finish`] has said so.
    pub fn begin(&mut self, write: BlockWrite<Vec<u8>>) {
        assert!(self.under_way.is_none(), "the shard writes one block at a time");
        let BlockWrite { buffer, len, segment, offset, last_lsn } = write;
        let (segment, offset) = (segment as usize, offset as usize);
        let place = &self.segments[segment][offset..offset + len];
        assert!(place.iter().all(|&byte| byte == 0), "a block is written where nothing was");
        assert!(
            offset.is_multiple_of(4096) && len.is_multiple_of(4096),
            "direct I/O takes whole pages"
        );
        self.under_way = Some(UnderWay { segment, offset, buffer, len, last_lsn });
    }

    /// Ends the write under way: with success, which gives its buffer back, or with the fault that
    /// was set.
    pub fn finish(&mut self) -> Result<Vec<u8>, Fault> {
        let write = self.under_way.take().expect("a write is under way");
        match self.fault {
            Some(fault) => {
                if fault == Fault::Io {
                    self.keep(&write, Tear::Random(0x5555_5555_5555_5555));
                }
                Err(fault)
            }
            None => {
                self.keep(&write, Tear::All);
                self.durable_lsn = write.last_lsn;
                self.writes += 1;
                Ok(write.buffer)
            }
        }
    }

    /// The power goes: what is left of the write under way is up to `tear`.
    pub fn cut_power(&mut self, tear: Tear) {
        if let Some(write) = self.under_way.take() {
            self.keep(&write, tear);
        }
    }

    fn keep(&mut self, write: &UnderWay, tear: Tear) {
        let place = &mut self.segments[write.segment][write.offset..write.offset + write.len];
        for (index, (to, from)) in
            place.chunks_mut(SECTOR_LEN).zip(write.buffer.chunks(SECTOR_LEN)).enumerate()
        {
            let kept = match tear {
                Tear::None => false,
                Tear::First(count) => index < count,
                Tear::Random(seed) => seed.rotate_right(index as u32 % 64) & 1 == 1,
                Tear::All => true,
            };
            if kept {
                to.copy_from_slice(from);
            }
        }
    }

    /// What a reader finds.
    pub fn segments(&self) -> &[Vec<u8>] {
        &self.segments
    }

    /// Zeroes bytes, as the repair of a torn tail does.
    pub fn zero(&mut self, segment: u32, from: u64, to: u64) {
        self.segments[segment as usize][from as usize..to as usize].fill(0);
    }
}
