//! The head and the table of a packed segment: a full segment without the padding of its blocks,
//! compressed. LOG.md, "Packed segments", gives every byte.
//!
//! ```text
//! 0      256                      table_offset                         end
//! | head | frame | frame | ...    | entry | entry | ... | table's sum |
//! ```

use crate::block::{BLOCK_ALIGN, Chain, MAX_BLOCK_LEN, SegmentHead};
use crate::frame::{IntoWire, layout};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// First bytes of a packed segment.
pub const PACKED_MAGIC: [u8; 8] = *b"CATRZSG\x01";
/// Version of the format of packed segments. What they hold has versions of its own.
pub const PACKED_VERSION: u16 = 1;
/// Length of the head, bytes.
pub const PACKED_HEAD_LEN: usize = 256;
/// Length of an entry of the table, bytes.
pub const PACKED_FRAME_LEN: usize = 40;
/// Length of the check sum behind the table, bytes.
pub const TABLE_SUM_LEN: usize = 4;
/// Most unpacked bytes of a frame of several blocks that is made: one record is read by unpacking one
/// frame. With four times as much a look-up takes three times as long, and the file is a tenth shorter.
/// A block that is longer is alone.
pub const FRAME_RAW_LEN: usize = 64 * 1024;
/// Most unpacked bytes of any frame.
pub const MAX_FRAME_RAW_LEN: usize = MAX_BLOCK_LEN;

const _: () = assert!(FRAME_RAW_LEN <= MAX_FRAME_RAW_LEN);
/// Most bytes of a segment for each unpacked one: the shortest block has a head and one record.
pub const MAX_PADDING_FACTOR: u64 = (BLOCK_ALIGN / 512) as u64;

layout! {
    /// The first bytes of a packed segment.
    Packed as PackedHead, 256; {
        /// [`PACKED_MAGIC`].
        magic: [u8; 8],
        /// [`PACKED_VERSION`].
        format_version: u16,
        /// Stream that the segment belongs to.
        shard: u16,
        /// Place of the segment in its stream, from 0.
        index: u32,
        /// Cluster that the log belongs to.
        cluster_id: [u8; 16],
        /// Length of the segment, bytes.
        segment_len: u64,
        /// The segment's own head.
        segment_head: [u8; 64],
        /// Number of blocks.
        block_count: u32,
        /// Number of records.
        record_count: u32,
        /// Sequence number of the first record.
        first_lsn: u64,
        /// Sequence number of the last record.
        last_lsn: u64,
        /// What the first block names as the chain value before it.
        previous_chain: Chain,
        /// Chain value of the last block.
        chain: Chain,
        /// When the first block was closed, nanoseconds since 1970 UTC.
        first_sealed_at_ns: u64,
        /// When the last block was closed, nanoseconds since 1970 UTC.
        last_sealed_at_ns: u64,
        /// Bytes of all blocks without padding.
        raw_len: u64,
        /// Where the last block ends in the segment, padding included, bytes.
        blocks_end: u64,
        /// Number of frames.
        frame_count: u32,
        /// Where the table begins in the packed file, bytes.
        table_offset: u64,
        /// 0.
        reserved: [u8; 16],
        /// CRC32C of these 256 bytes with this field zero.
        head_crc: u32,
    }
}

layout! {
    /// An entry of the table: one frame.
    PackedFrame as PackedFrameFields, 40; {
        /// Where it begins in the packed file, bytes.
        file_offset: u64,
        /// Sequence number of its first record.
        first_lsn: u64,
        /// Where its first block begins in the segment, bytes.
        block_offset: u64,
        /// Number of its blocks.
        block_count: u32,
        /// Bytes of it in the packed file.
        packed_len: u32,
        /// Bytes of its blocks without padding.
        raw_len: u32,
        /// CRC32C of it as it lies in the packed file.
        packed_crc: u32,
    }
}

impl PackedHead {
    /// A head of which the layout alone is told; its check sum is not right yet.
    pub fn empty(segment: &SegmentHead) -> Self {
        let mut head = Self::zeroed();
        head.magic = PACKED_MAGIC;
        head.format_version = PACKED_VERSION.into_wire();
        head.shard = segment.shard;
        head.index = segment.index;
        head.cluster_id = segment.cluster_id;
        head.segment_len = segment.segment_len;
        head.segment_head.copy_from_slice(bytemuck::bytes_of(segment));
        head
    }

    /// The segment's own head, as it was.
    pub fn segment_head(&self) -> &SegmentHead {
        bytemuck::from_bytes(&self.segment_head)
    }

    /// The check sum that the fields should have.
    pub fn expected_crc(&self) -> u32 {
        crc32c::crc32c(bytemuck::bytes_of(&Self { head_crc: 0.into(), ..*self }))
    }
}
