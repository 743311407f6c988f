//! Judges one place of a segment: a sound block that continues the log, or the exact reason why
//! there is none.
//!
//! Pure: bytes in, verdict out. Allocates nothing, and believes no length before its check sum has
//! been verified. What follows from a verdict for the log as a whole is decided in `recovery`.

use super::damage::{DamageReason, RecordFault, Stale};
use catraca_wire::block::{
    self, BLOCK_ALIGN, BLOCK_HEAD_LEN, BLOCK_MAGIC, BlockHead, Chain, ChainKey, FORMAT_VERSION,
    SECTOR_LEN, SEGMENT_HEAD_LEN, SEGMENT_MAGIC, SegmentHead,
};
use catraca_wire::record::{
    EXTENSION_ALIGN, MAX_EXTENSION_LEN, RECORD_LEN, RECORD_VERSION, RecordHead, RecordKind,
};

/// Where a stream stands between two blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Segment of the last sound block; 0 before the first.
    pub segment: u32,
    /// Where that block ends in its segment, bytes: a multiple of 4096.
    pub offset: u64,
    /// Sequence number that comes next, from 1.
    pub next_lsn: u64,
    /// Chain value of the last block; zeros before the first.
    pub previous_chain: Chain,
    /// Epoch of the last block; 0 before the first.
    pub epoch: u32,
    /// When the last block was sealed, nanoseconds since 1970 UTC; 0 before the first.
    pub sealed_at_ns: u64,
}

impl Tail {
    /// Before the first block of a stream.
    pub const START: Self = Self {
        segment: 0,
        offset: SEGMENT_HEAD_LEN as u64,
        next_lsn: 1,
        previous_chain: [0; 32],
        epoch: 0,
        sealed_at_ns: 0,
    };

    /// Behind a block.
    pub fn after(block: &SoundBlock<'_>) -> Self {
        Self {
            segment: block.place.segment,
            offset: block.place.block_offset + block.head.padded_len() as u64,
            next_lsn: block.head.first_lsn.to_native()
                + u64::from(block.head.record_count.to_native()),
            previous_chain: block.head.chain,
            epoch: block.head.epoch.to_native(),
            sealed_at_ns: block.head.sealed_at_ns.to_native(),
        }
    }
}

/// Where a record lies, and what its block says of all its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLocation {
    /// Stream.
    pub shard: u16,
    /// Index of the segment.
    pub segment: u32,
    /// Where the block begins in the segment, bytes.
    pub block_offset: u64,
    /// Epoch of the block.
    pub epoch: u32,
    /// Chain value of the block.
    pub chain: Chain,
}

/// A block that was found sound, in place.
#[derive(Debug, Clone, Copy)]
pub struct SoundBlock<'a> {
    /// Its head.
    pub head: &'a BlockHead,
    /// Its records, checked: [`SoundBlock::records`] gives them.
    pub payload: &'a [u8],
    /// Where it lies.
    pub place: BlockLocation,
}

impl<'a> SoundBlock<'a> {
    /// Its records, each with its extension, in order.
    pub fn records(&self) -> impl Iterator<Item = (&'a RecordHead, &'a [u8])> + use<'a> {
        block::records(self.payload)
    }

    /// Sequence number of its last record.
    pub fn last_lsn(&self) -> u64 {
        // At least one record, and the check went through their numbers without an overflow.
        self.head.first_lsn.to_native() + u64::from(self.head.record_count.to_native()) - 1
    }
}

/// Why a place holds no sound block that continues the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The segment ends here.
    Full,
    /// The sector where a head would be is zero, or missing.
    ZeroHead,
    /// A block of `len` bytes begins here, of which sectors were never written or are missing.
    Incomplete {
        /// Bytes that the block would take, as far as they are known.
        len: usize,
    },
    /// A sound head, but of no block of this log's future.
    Stale(Stale),
    /// Neither continues the log nor may be dropped.
    Damaged(DamageReason),
}

/// Why bytes that came from the primary are not the next block of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// Not all of it is there.
    #[error("the block is incomplete")]
    Incomplete,
    /// A sound block, but not one that can come next.
    #[error("a block {0}")]
    Stale(Stale),
    /// Anything else.
    #[error(transparent)]
    Damaged(DamageReason),
}

/// A block that came from elsewhere, held to all that recovery asks of one on disk: `bytes` are the
/// whole block, which is to go to `offset` of `segment`.
///
/// # Errors
/// [`BlockFault`].
pub fn received_block<'a>(
    bytes: &'a [u8],
    cluster_id: [u8; 16],
    shard: u16,
    tail: &Tail,
    key: &ChainKey,
    segment: u32,
    offset: u64,
) -> Result<SoundBlock<'a>, BlockFault> {
    let identity = Identity { cluster_id, shard };
    let block =
        block_at(bytes, bytes.len(), 0, segment, &identity, tail, Some(key)).map_err(|stop| {
            match stop {
                Stop::Full | Stop::ZeroHead | Stop::Incomplete { .. } => BlockFault::Incomplete,
                Stop::Stale(stale) => BlockFault::Stale(stale),
                Stop::Damaged(reason) => BlockFault::Damaged(reason),
            }
        })?;
    if block.head.padded_len() != bytes.len() {
        return Err(BlockFault::Damaged(DamageReason::BlockPadding));
    }
    Ok(SoundBlock { place: BlockLocation { block_offset: offset, ..block.place }, ..block })
}

/// Who a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub cluster_id: [u8; 16],
    pub shard: u16,
}

/// Whether all bytes are zero. By comparison with a page of zeros, which is `memcmp` and so fast in
/// every build.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK_ALIGN] = [0; BLOCK_ALIGN];
    bytes.chunks(BLOCK_ALIGN).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// The head of a segment file, if it is the one expected. `cluster_id` `None` takes any.
///
/// # Errors
/// What is wrong with it.
pub fn segment_head(
    bytes: &[u8],
    cluster_id: Option<[u8; 16]>,
    shard: u16,
    index: u32,
) -> Result<&SegmentHead, DamageReason> {
    let head: &SegmentHead = match bytes.get(..size_of::<SegmentHead>()) {
        None if bytes.is_empty() => return Err(DamageReason::SegmentEmpty),
        None => {
            return Err(DamageReason::SegmentLength {
                have: bytes.len() as u64,
                want: SEGMENT_HEAD_LEN as u64,
            });
        }
        Some(head) => bytemuck::from_bytes(head),
    };
    let length = head.segment_len.to_native();
    if head.magic != SEGMENT_MAGIC || head.header_crc.to_native() != head.expected_crc() {
        return Err(DamageReason::SegmentHead);
    }
    if head.format_version.to_native() != FORMAT_VERSION {
        return Err(DamageReason::SegmentVersion(head.format_version.to_native()));
    }
    if head.reserved != [0; 12]
        || length < SEGMENT_HEAD_LEN as u64
        || !length.is_multiple_of(BLOCK_ALIGN as u64)
    {
        return Err(DamageReason::SegmentHead);
    }
    if cluster_id.is_some_and(|cluster_id| cluster_id != head.cluster_id) {
        return Err(DamageReason::SegmentCluster);
    }
    if head.shard.to_native() != shard {
        return Err(DamageReason::SegmentShard(head.shard.to_native()));
    }
    if head.index.to_native() != index {
        return Err(DamageReason::SegmentIndex(head.index.to_native()));
    }
    let padding = &bytes[size_of::<SegmentHead>()..bytes.len().min(SEGMENT_HEAD_LEN)];
    if !is_zero(padding) {
        return Err(DamageReason::SegmentPadding);
    }
    Ok(head)
}

/// The block at `offset` of a segment, if it is sound and continues `tail`. Bytes that `bytes`
/// lacks up to `segment_len` count as never written. Without a key the chain's channels are
/// checked, its values are not.
pub(super) fn block_at<'a>(
    bytes: &'a [u8],
    segment_len: usize,
    offset: usize,
    segment: u32,
    identity: &Identity,
    tail: &Tail,
    key: Option<&ChainKey>,
) -> Result<SoundBlock<'a>, Stop> {
    if offset + BLOCK_ALIGN > segment_len {
        return Err(Stop::Full);
    }
    let rest = bytes.get(offset..).unwrap_or(&[]);
    let sector = &rest[..rest.len().min(SECTOR_LEN)];
    if is_zero(sector) {
        return Err(Stop::ZeroHead);
    }
    let Some(head) = sector.get(..BLOCK_HEAD_LEN) else {
        return Err(Stop::Incomplete { len: BLOCK_ALIGN });
    };
    let head: &BlockHead = bytemuck::from_bytes(head);
    if head.magic != BLOCK_MAGIC || head.header_crc.to_native() != head.expected_header_crc() {
        return Err(Stop::Damaged(DamageReason::BlockHead));
    }
    if head.format_version.to_native() != FORMAT_VERSION {
        return Err(Stop::Damaged(DamageReason::BlockVersion(head.format_version.to_native())));
    }
    if block::sound_head(sector).is_none() || !is_zero(&head.reserved) {
        return Err(Stop::Damaged(DamageReason::BlockHead));
    }
    continues(head, identity, tail)?;

    // From here on the lengths can be believed: the head is sound and its block is the one
    // expected.
    let len = head.padded_len();
    let end = BLOCK_HEAD_LEN + head.payload_len.to_native() as usize;
    if offset + len > segment_len {
        return Err(Stop::Damaged(DamageReason::BlockSpansSegments));
    }
    let Some(payload) = rest.get(BLOCK_HEAD_LEN..end) else { return Err(Stop::Incomplete { len }) };
    if crc32c::crc32c(payload) != head.payload_crc.to_native() {
        let never_written =
            block::zero_sectors(&rest[..end]) > head.zero_sectors.to_native() as usize;
        return Err(if never_written {
            Stop::Incomplete { len }
        } else {
            Stop::Damaged(DamageReason::PayloadRot)
        });
    }
    if key.is_some_and(|key| head.expected_chain(payload, key) != head.chain) {
        return Err(Stop::Damaged(DamageReason::ChainValue));
    }
    check_records(head, payload).map_err(Stop::Damaged)?;
    if !is_zero(&rest[end..rest.len().min(len)]) {
        return Err(Stop::Damaged(DamageReason::BlockPadding));
    }
    let place = BlockLocation {
        shard: identity.shard,
        segment,
        block_offset: offset as u64,
        epoch: head.epoch.to_native(),
        chain: head.chain,
    };
    Ok(SoundBlock { head, payload, place })
}

/// Whether a sound head is the one that comes next.
fn continues(head: &BlockHead, identity: &Identity, tail: &Tail) -> Result<(), Stop> {
    let first_lsn = head.first_lsn.to_native();
    let epoch = head.epoch.to_native();
    if head.cluster_id != identity.cluster_id {
        return Err(Stop::Stale(Stale::Cluster));
    }
    if head.shard.to_native() != identity.shard {
        return Err(Stop::Stale(Stale::Shard(head.shard.to_native())));
    }
    if first_lsn < tail.next_lsn {
        return Err(Stop::Stale(Stale::Lsn(first_lsn)));
    }
    if first_lsn > tail.next_lsn {
        return Err(Stop::Damaged(DamageReason::Gap { expected: tail.next_lsn, found: first_lsn }));
    }
    if epoch < tail.epoch {
        return Err(Stop::Damaged(DamageReason::EpochWentBack {
            before: tail.epoch,
            found: epoch,
        }));
    }
    if head.previous_chain != tail.previous_chain {
        return Err(Stop::Damaged(DamageReason::ChainLink));
    }
    Ok(())
}

/// Whether the payload is exactly the records that its head announces.
fn check_records(head: &BlockHead, payload: &[u8]) -> Result<(), DamageReason> {
    let mut lsn = head.first_lsn.to_native();
    let mut at = 0;
    for _ in 0..head.record_count.to_native() {
        let fault = |what| Err(DamageReason::Record { lsn, what });
        let Some(record) = payload.get(at..at + RECORD_LEN) else {
            return fault(RecordFault::Length);
        };
        let record: &RecordHead = bytemuck::from_bytes(record);
        if RecordKind::from_wire(record.kind).is_none() {
            return fault(RecordFault::Kind(record.kind));
        }
        if record.version != RECORD_VERSION {
            return fault(RecordFault::Version(record.version));
        }
        let extension_len = record.extension_len.to_native();
        if usize::from(extension_len) > MAX_EXTENSION_LEN
            || !extension_len.is_multiple_of(EXTENSION_ALIGN as u16)
        {
            return fault(RecordFault::Extension(extension_len));
        }
        if record.lsn.to_native() != lsn {
            return fault(RecordFault::Lsn(record.lsn.to_native()));
        }
        at += RECORD_LEN + usize::from(extension_len);
        match lsn.checked_add(1) {
            Some(next) => lsn = next,
            None => return fault(RecordFault::Lsn(lsn)),
        }
    }
    if at == payload.len() {
        Ok(())
    } else {
        Err(DamageReason::Record { lsn, what: RecordFault::Length })
    }
}

/// Where, from `from` on, a head stands that the log can only have if it went on: of this stream,
/// numbered `next_lsn` or later. A head of an unknown format counts, because nothing says that it
/// is not one.
pub(super) fn continuation(
    bytes: &[u8],
    from: usize,
    identity: &Identity,
    next_lsn: u64,
) -> Option<u64> {
    let claims = |offset: &usize| {
        let Some(head) = bytes.get(*offset..*offset + BLOCK_HEAD_LEN) else { return false };
        let head: &BlockHead = bytemuck::from_bytes(head);
        head.magic == BLOCK_MAGIC
            && head.header_crc.to_native() == head.expected_header_crc()
            && (head.format_version.to_native() != FORMAT_VERSION
                || (head.cluster_id == identity.cluster_id
                    && head.shard.to_native() == identity.shard
                    && head.first_lsn.to_native() >= next_lsn))
    };
    (from..bytes.len()).step_by(BLOCK_ALIGN).find(claims).map(|offset| offset as u64)
}

/// Where the non-zero bytes from `from` on end, rounded up to a multiple of 4096; `None` if there
/// are none.
pub(super) fn end_of_remains(bytes: &[u8], from: usize) -> Option<u64> {
    let rest = bytes.get(from..)?;
    let last = rest.chunks(BLOCK_ALIGN).rposition(|chunk| !is_zero(chunk))?;
    Some((from + (last + 1) * BLOCK_ALIGN) as u64)
}

/// Where the first non-zero page from `from` on begins.
pub(super) fn first_remains(bytes: &[u8], from: usize) -> Option<u64> {
    let rest = bytes.get(from..)?;
    let first = rest.chunks(BLOCK_ALIGN).position(|chunk| !is_zero(chunk))?;
    Some((from + first * BLOCK_ALIGN) as u64)
}
