//! The log's block: what is written at once, made durable at once, chained to the block before, and
//! streamed to a standby.
//!
//! ```text
//! 0      256                        256 + payload_len          multiple of 4096
//! | head | record | record | ...    | zeros                    |
//! ```
//!
//! Two check sums, because a torn write and bit rot must be told apart (LOG.md, "Recovery"):
//! `header_crc` covers the head, which lies in one 512-byte sector and so is written whole or not
//! at all; `payload_crc` covers the records. The chain value is a keyed hash over both and over the
//! chain value before, so that no block can be altered, dropped or reordered by who lacks the key.

use crate::frame::{IntoWire, layout};
use crate::record::{RECORD_LEN, RecordHead};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Blocks begin at multiples of this and are padded with zeros to one, bytes. The largest sector of
/// disks in use.
pub const BLOCK_ALIGN: usize = 4096;
/// What a disk writes whole or not at all, bytes: the assumption that recovery rests on.
pub const SECTOR_LEN: usize = 512;
/// Length of a block's head, bytes.
pub const BLOCK_HEAD_LEN: usize = 256;
/// Largest block, head and padding included, bytes: 4095 plain records. Past this a longer block
/// gains nothing, and a torn one costs more.
pub const MAX_BLOCK_LEN: usize = 1024 * 1024;
/// Version of the log's format.
pub const FORMAT_VERSION: u16 = 1;
/// Length of the head of a segment file, bytes.
pub const SEGMENT_HEAD_LEN: usize = BLOCK_ALIGN;
/// Longest segment, bytes: RECORD carries a block's offset in 32 bits, and a whole segment is held in
/// memory while it is judged.
pub const MAX_SEGMENT_LEN: u64 = 1024 * 1024 * 1024;
/// First bytes of a block.
pub const BLOCK_MAGIC: [u8; 8] = *b"CATRBLK\x01";
/// First bytes of a segment file.
pub const SEGMENT_MAGIC: [u8; 8] = *b"CATRSEG\x01";

/// A chain value.
pub type Chain = [u8; 32];
/// The key of the chain.
pub type ChainKey = [u8; 32];

const _: () = assert!(BLOCK_HEAD_LEN <= SECTOR_LEN, "the head must lie in one sector");
const _: () = assert!(MAX_BLOCK_LEN.is_multiple_of(BLOCK_ALIGN));

layout! {
    /// The head of a block.
    Block as BlockHead, 256; {
        /// [`BLOCK_MAGIC`].
        magic: [u8; 8],
        /// [`FORMAT_VERSION`].
        format_version: u16,
        /// Stream that the block belongs to.
        shard: u16,
        /// Epoch in which it was written.
        epoch: u32,
        /// Cluster that the log belongs to.
        cluster_id: [u8; 16],
        /// Sequence number of the first record.
        first_lsn: u64,
        /// Number of records.
        record_count: u32,
        /// Bytes of records behind the head.
        payload_len: u32,
        /// Wall clock when the block was closed, nanoseconds since 1970 UTC.
        sealed_at_ns: u64,
        /// Chain value of the block before; zeros in a stream's first.
        previous_chain: Chain,
        /// Keyed BLAKE3 over the head, with this field and both check sums zero, and the payload.
        chain: Chain,
        /// CRC32C of the payload.
        payload_crc: u32,
        /// How many 512-byte sectors of head and payload hold only zeros, as sealed. More of them
        /// on disk mean that some were never written: a torn write, and no bit rot.
        zero_sectors: u32,
        /// 0.
        reserved: [u8; 124],
        /// CRC32C of the head with this field zero.
        header_crc: u32,
    }
}

layout! {
    /// The first bytes of a segment file; zeros to [`SEGMENT_HEAD_LEN`] follow.
    Segment as SegmentHead, 64; {
        /// [`SEGMENT_MAGIC`].
        magic: [u8; 8],
        /// [`FORMAT_VERSION`].
        format_version: u16,
        /// Stream that the segment belongs to.
        shard: u16,
        /// Place of the segment in its stream, from 0.
        index: u32,
        /// Cluster that the log belongs to.
        cluster_id: [u8; 16],
        /// Length of the file, bytes.
        segment_len: u64,
        /// Wall clock when it was made, nanoseconds since 1970 UTC.
        created_at_ns: u64,
        /// 0.
        reserved: [u8; 12],
        /// CRC32C of these 64 bytes with this field zero.
        header_crc: u32,
    }
}

impl SegmentHead {
    /// The head of a new segment.
    pub fn new(
        cluster_id: [u8; 16],
        shard: u16,
        index: u32,
        segment_len: u64,
        created_at_ns: u64,
    ) -> Self {
        let mut head = Self::zeroed();
        head.magic = SEGMENT_MAGIC;
        head.format_version = FORMAT_VERSION.into_wire();
        head.shard = shard.into_wire();
        head.index = index.into_wire();
        head.cluster_id = cluster_id;
        head.segment_len = segment_len.into_wire();
        head.created_at_ns = created_at_ns.into_wire();
        head.header_crc = head.expected_crc().into_wire();
        head
    }

    /// The check sum that the fields should have.
    pub fn expected_crc(&self) -> u32 {
        crc32c::crc32c(bytemuck::bytes_of(&Self { header_crc: 0.into(), ..*self }))
    }
}

/// What a block says besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockIdentity {
    /// Stream.
    pub shard: u16,
    /// Epoch.
    pub epoch: u32,
    /// Cluster.
    pub cluster_id: [u8; 16],
}

/// How many sectors of these bytes, which begin at one, hold only zeros; the last may be cut short.
pub fn zero_sectors(bytes: &[u8]) -> usize {
    bytes.chunks(SECTOR_LEN).filter(|sector| **sector == [0; SECTOR_LEN][..sector.len()]).count()
}

/// The length on disk of a block with this many bytes of payload: head and padding included.
#[inline]
pub const fn padded_len(payload_len: usize) -> usize {
    (BLOCK_HEAD_LEN + payload_len).next_multiple_of(BLOCK_ALIGN)
}

/// Closes a block in place: `buffer` holds room for the head, then `payload_len` bytes of records.
/// Writes head and padding, and gives the block's chain value. The block is
/// `buffer[..padded_len(payload_len)]`.
///
/// # Panics
/// When the buffer is too short, or there is no record: the journal's mistake, never a client's.
#[allow(
    clippy::too_many_arguments,
    reason = "each is a field of the head; a struct would be built once, here"
)]
pub fn seal(
    buffer: &mut [u8],
    payload_len: usize,
    identity: &BlockIdentity,
    first_lsn: u64,
    record_count: u32,
    sealed_at_ns: u64,
    previous_chain: &Chain,
    key: &ChainKey,
) -> Chain {
    let end = BLOCK_HEAD_LEN + payload_len;
    let len = padded_len(payload_len);
    assert!(
        record_count > 0
            && payload_len >= RECORD_LEN * record_count as usize
            && len <= buffer.len()
    );
    let mut head = BlockHead::zeroed();
    head.magic = BLOCK_MAGIC;
    head.format_version = FORMAT_VERSION.into_wire();
    head.shard = identity.shard.into_wire();
    head.epoch = identity.epoch.into_wire();
    head.cluster_id = identity.cluster_id;
    head.first_lsn = first_lsn.into_wire();
    head.record_count = record_count.into_wire();
    head.payload_len = (payload_len as u32).into_wire();
    head.sealed_at_ns = sealed_at_ns.into_wire();
    head.previous_chain = *previous_chain;
    // The head is not zero, so its sector doesn't count whatever it holds at this moment.
    head.zero_sectors = (zero_sectors(&buffer[SECTOR_LEN.min(end)..end]) as u32).into_wire();
    buffer[..BLOCK_HEAD_LEN].copy_from_slice(bytemuck::bytes_of(&head));
    buffer[end..len].fill(0);
    let chain: Chain = *blake3::keyed_hash(key, &buffer[..end]).as_bytes();
    head.chain = chain;
    head.payload_crc = crc32c::crc32c(&buffer[BLOCK_HEAD_LEN..end]).into_wire();
    head.header_crc = crc32c::crc32c(bytemuck::bytes_of(&head)).into_wire();
    buffer[..BLOCK_HEAD_LEN].copy_from_slice(bytemuck::bytes_of(&head));
    chain
}

/// Reads the head at the start of `bytes`, if its magic, check sum, version and lengths are right.
/// Says nothing of the payload.
pub fn sound_head(bytes: &[u8]) -> Option<&BlockHead> {
    let head: &BlockHead = bytemuck::try_from_bytes(bytes.get(..BLOCK_HEAD_LEN)?).ok()?;
    let lengths_fit = || {
        let payload_len = head.payload_len.to_native() as usize;
        let records = head.record_count.to_native() as usize;
        payload_len <= MAX_BLOCK_LEN - BLOCK_HEAD_LEN
            && records > 0
            && records.checked_mul(RECORD_LEN).is_some_and(|least| least <= payload_len)
    };
    (head.magic == BLOCK_MAGIC
        && head.header_crc.to_native() == head.expected_header_crc()
        && head.format_version.to_native() == FORMAT_VERSION
        && lengths_fit())
    .then_some(head)
}

/// Whether a whole block's records are those that its head has the check sum of.
pub fn payload_is_sound(block: &[u8]) -> bool {
    let records = |head: &BlockHead| {
        block.get(BLOCK_HEAD_LEN..BLOCK_HEAD_LEN + head.payload_len.to_native() as usize)
    };
    sound_head(block).is_some_and(|head| {
        records(head).is_some_and(|records| crc32c::crc32c(records) == head.payload_crc.to_native())
    })
}

impl BlockHead {
    /// The check sum that the head should have.
    pub fn expected_header_crc(&self) -> u32 {
        crc32c::crc32c(bytemuck::bytes_of(&Self { header_crc: 0.into(), ..*self }))
    }

    /// Length of the block on disk, bytes.
    pub fn padded_len(&self) -> usize {
        padded_len(self.payload_len.to_native() as usize)
    }

    /// The chain value that this head and payload should have.
    pub fn expected_chain(&self, payload: &[u8], key: &ChainKey) -> Chain {
        let mut head = *self;
        head.chain = [0; 32];
        head.payload_crc = 0.into();
        head.header_crc = 0.into();
        // BLAKE3 works on several 1024-byte chunks at once only where they lie together: worth a
        // copy for the many small blocks.
        let mut small = [0; BLOCK_ALIGN];
        if let Some(together) = small.get_mut(..BLOCK_HEAD_LEN + payload.len()) {
            together[..BLOCK_HEAD_LEN].copy_from_slice(bytemuck::bytes_of(&head));
            together[BLOCK_HEAD_LEN..].copy_from_slice(payload);
            return *blake3::keyed_hash(key, together).as_bytes();
        }
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(bytemuck::bytes_of(&head));
        hasher.update(payload);
        *hasher.finalize().as_bytes()
    }
}

/// The receipt tag of records in a block: the first 8 bytes of its chain value.
#[inline]
pub fn receipt(chain: &Chain) -> u64 {
    u64::from_le_bytes([
        chain[0], chain[1], chain[2], chain[3], chain[4], chain[5], chain[6], chain[7],
    ])
}

/// The records of a payload: each head with its extension. Ends early where the payload is
/// malformed; count what comes out.
pub fn records(payload: &[u8]) -> impl Iterator<Item = (&RecordHead, &[u8])> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let head: &RecordHead = bytemuck::try_from_bytes(rest.get(..RECORD_LEN)?).ok()?;
        let end = RECORD_LEN + usize::from(head.extension_len.to_native());
        let extension = rest.get(RECORD_LEN..end)?;
        rest = &rest[end..];
        Some((head, extension))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_block_reads_back() {
        let key = [7; 32];
        let identity = BlockIdentity { shard: 3, epoch: 9, cluster_id: [1; 16] };
        let mut buffer = vec![0xee; 8192];
        let mut record = RecordHead::zeroed();
        record.kind = 1;
        buffer[256..512].copy_from_slice(bytemuck::bytes_of(&record));
        let chain = seal(&mut buffer, 256, &identity, 41, 1, 5, &[2; 32], &key);
        let head = sound_head(&buffer).expect("just sealed");
        assert_eq!(head.padded_len(), 4096);
        assert_eq!(head.chain, chain);
        assert_eq!(head.expected_chain(&buffer[256..512], &key), chain);
        assert_ne!(head.expected_chain(&buffer[256..512], &[8; 32]), chain);
        assert_eq!(records(&buffer[256..512]).count(), 1);
        assert!(buffer[512..4096].iter().all(|&b| b == 0));
        for bit in 0..BLOCK_HEAD_LEN * 8 {
            let mut flipped = buffer.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(sound_head(&flipped).is_none(), "bit {bit}");
        }
    }
}
