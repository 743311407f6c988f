//! Packed segments: what is in such a file, judged and laid out. LOG.md, "Packed segments", is the
//! specification. Pure: who compresses, and who reads and writes files, is the node.
//!
//! Nothing is believed before its check sum was verified, and no length beyond the bounds of
//! [`packed`](catraca_wire::packed) even then.

use super::check::{self, SoundBlock};
use super::damage::{DamageReason, PackFault};
use catraca_wire::block::{
    BLOCK_ALIGN, BLOCK_HEAD_LEN, BlockHead, MAX_SEGMENT_LEN, SEGMENT_HEAD_LEN, SegmentHead,
    sound_head,
};
use catraca_wire::packed::{
    FRAME_RAW_LEN, MAX_FRAME_RAW_LEN, MAX_PADDING_FACTOR, PACKED_FRAME_LEN, PACKED_HEAD_LEN,
    PACKED_MAGIC, PACKED_VERSION, PackedFrame, PackedFrameFields, PackedHead, TABLE_SUM_LEN,
};
use catraca_wire::record::{RECORD_LEN, RecordHead};

/// Length of what is put into columns, heads of blocks and of records alike, bytes.
const ROW_LEN: usize = 256;
const _: () = assert!(BLOCK_HEAD_LEN == ROW_LEN && RECORD_LEN == ROW_LEN);

/// Most bytes that packing adds to a frame which can't be compressed: more than zstd's own bound.
const fn most_packed_len(raw_len: u64) -> u64 {
    raw_len + raw_len / 128 + 1024
}

/// The head of a packed file of `file_len` bytes, of which these are the first, if it is sound and
/// that of the segment expected.
///
/// # Errors
/// What is wrong with it.
pub fn head(
    bytes: &[u8],
    file_len: u64,
    shard: u16,
    index: u32,
) -> Result<PackedHead, DamageReason> {
    let fault = |fault| Err(DamageReason::Packed(fault));
    let Some(bytes) = bytes.get(..PACKED_HEAD_LEN) else {
        return fault(PackFault::Length { have: file_len, want: PACKED_HEAD_LEN as u64 });
    };
    let head: PackedHead = *bytemuck::from_bytes(bytes);
    if head.magic != PACKED_MAGIC || head.head_crc.to_native() != head.expected_crc() {
        return fault(PackFault::Head);
    }
    if head.format_version.to_native() != PACKED_VERSION {
        return fault(PackFault::Version(head.format_version.to_native()));
    }
    if head.shard.to_native() != shard {
        return Err(DamageReason::SegmentShard(head.shard.to_native()));
    }
    if head.index.to_native() != index {
        return Err(DamageReason::SegmentIndex(head.index.to_native()));
    }
    let segment = check::segment_head(&head.segment_head, Some(head.cluster_id), shard, index)?;
    if !is_plausible(&head, segment) {
        return fault(PackFault::Head);
    }
    let want = table_range(&head).map(|(from, len)| from + len as u64);
    match want {
        Some(want) if want == file_len => Ok(head),
        Some(want) => fault(PackFault::Length { have: file_len, want }),
        None => fault(PackFault::Head),
    }
}

/// Whether the numbers of a head, whose check sum is right, can be those of a segment.
fn is_plausible(head: &PackedHead, segment: &SegmentHead) -> bool {
    let (raw_len, blocks_end) = (head.raw_len.to_native(), head.blocks_end.to_native());
    let segment_len = head.segment_len.to_native();
    let blocks = u64::from(head.block_count.to_native());
    let records = u64::from(head.record_count.to_native());
    let frames = u64::from(head.frame_count.to_native());
    let padded_len = blocks_end.saturating_sub(SEGMENT_HEAD_LEN as u64);
    let first_lsn = head.first_lsn.to_native();
    segment_len == segment.segment_len.to_native()
        && segment_len <= MAX_SEGMENT_LEN
        && blocks_end.is_multiple_of(BLOCK_ALIGN as u64)
        && blocks_end <= segment_len
        && frames > 0
        && blocks >= frames
        && blocks <= padded_len / BLOCK_ALIGN as u64
        && records >= blocks
        && fits(raw_len, padded_len)
        && first_lsn > 0
        && first_lsn.checked_add(records - 1) == Some(head.last_lsn.to_native())
        && head.table_offset.to_native() >= PACKED_HEAD_LEN as u64
        && head.reserved == [0; 16]
}

/// Whether blocks of `raw_len` bytes can take so many with their padding.
fn fits(raw_len: u64, padded_len: u64) -> bool {
    raw_len > 0 && raw_len <= padded_len && padded_len <= raw_len.saturating_mul(MAX_PADDING_FACTOR)
}

/// Where the table lies in the file, and how long it is with its check sum, bytes.
pub fn table_range(head: &PackedHead) -> Option<(u64, usize)> {
    let len = head.frame_count.to_native() as usize * PACKED_FRAME_LEN + TABLE_SUM_LEN;
    let offset = head.table_offset.to_native();
    offset.checked_add(len as u64).map(|_| (offset, len))
}

/// One frame of a packed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// As the table has it.
    pub entry: PackedFrame,
    /// Where the frame's last block ends in the segment, bytes.
    pub end_offset: u64,
}

impl Frame {
    /// Bytes of the segment that its blocks take.
    pub fn padded_len(&self) -> usize {
        (self.end_offset - self.entry.block_offset) as usize
    }

    /// Whether these are its bytes in the packed file.
    pub fn has_sum(&self, packed: &[u8]) -> bool {
        crc32c::crc32c(packed) == self.entry.packed_crc
    }
}

/// The frames, in order, out of the table's bytes with their check sum behind them.
///
/// # Errors
/// [`PackFault::Table`].
pub fn frames(head: &PackedHead, bytes: &[u8]) -> Result<Vec<Frame>, PackFault> {
    let (entries, sum) = bytes.split_last_chunk::<TABLE_SUM_LEN>().ok_or(PackFault::Table)?;
    let count = head.frame_count.to_native() as usize;
    if entries.len() != count * PACKED_FRAME_LEN
        || crc32c::crc32c(entries) != u32::from_le_bytes(*sum)
    {
        return Err(PackFault::Table);
    }
    let entries: &[PackedFrameFields] = bytemuck::cast_slice(entries);
    let entries: Vec<PackedFrame> = entries.iter().map(PackedFrame::from).collect();
    let mut frames = Vec::with_capacity(count);
    let mut file_offset = PACKED_HEAD_LEN as u64;
    let (mut blocks, mut raw_len) = (0, 0);
    for (place, entry) in entries.iter().enumerate() {
        let next = entries.get(place + 1);
        let end_offset = next.map_or(head.blocks_end.to_native(), |next| next.block_offset);
        let last_lsn =
            next.map_or(head.last_lsn.to_native(), |next| next.first_lsn.wrapping_sub(1));
        let starts = place > 0
            || (entry.block_offset == SEGMENT_HEAD_LEN as u64
                && entry.first_lsn == head.first_lsn.to_native());
        let (entry_raw, block_count) = (u64::from(entry.raw_len), u64::from(entry.block_count));
        let padded_len = end_offset.saturating_sub(entry.block_offset);
        let is_sound = starts
            && entry.file_offset == file_offset
            && entry.block_offset.is_multiple_of(BLOCK_ALIGN as u64)
            && fits(entry_raw, padded_len)
            && entry_raw <= MAX_FRAME_RAW_LEN as u64
            && (1..=padded_len / BLOCK_ALIGN as u64).contains(&block_count)
            && u64::from(entry.packed_len) <= most_packed_len(entry_raw)
            && last_lsn >= entry.first_lsn
            && end_offset <= head.blocks_end.to_native();
        if !is_sound {
            return Err(PackFault::Table);
        }
        file_offset += u64::from(entry.packed_len);
        blocks += block_count;
        raw_len += entry_raw;
        frames.push(Frame { entry: *entry, end_offset });
    }
    let is_whole = file_offset == head.table_offset.to_native()
        && blocks == u64::from(head.block_count.to_native())
        && raw_len == head.raw_len.to_native();
    if is_whole { Ok(frames) } else { Err(PackFault::Table) }
}

/// Puts the blocks of a frame to their places: `content` is the frame unpacked, `padded` are the
/// bytes of the segment that the frame's blocks take ([`Frame::padded_len`]), whatever they held;
/// `scratch` is room that is used again and again.
///
/// # Errors
/// [`PackFault::Blocks`]: they are not what head and table announce.
pub fn pad(
    head: &PackedHead,
    frame: &Frame,
    content: &[u8],
    scratch: &mut Vec<u8>,
    padded: &mut [u8],
) -> Result<(), PackFault> {
    let mut parts = Parts::split(frame, content, scratch).ok_or(PackFault::Blocks)?;
    let mut room = padded;
    let mut next_lsn = frame.entry.first_lsn;
    let mut last: Option<&BlockHead> = None;
    while let Some(bytes) = parts.head() {
        let block = sound_head(bytes).ok_or(PackFault::Blocks)?;
        let len = BLOCK_HEAD_LEN + block.payload_len.to_native() as usize;
        let is_expected = block.first_lsn.to_native() == next_lsn
            && block.padded_len() <= room.len()
            && last.is_none_or(|before| before.chain == block.previous_chain);
        let is_first = last.is_none() && frame.entry.block_offset == SEGMENT_HEAD_LEN as u64;
        let begins = !is_first
            || (block.previous_chain == head.previous_chain
                && block.sealed_at_ns == head.first_sealed_at_ns);
        if !is_expected || !begins {
            return Err(PackFault::Blocks);
        }
        let (here, behind) = room.split_at_mut(block.padded_len());
        let (taken, padding) = here.split_at_mut(len);
        let (head_room, payload) = taken.split_at_mut(BLOCK_HEAD_LEN);
        head_room.copy_from_slice(bytes);
        parts.records(block.record_count.to_native(), payload).ok_or(PackFault::Blocks)?;
        padding.fill(0);
        room = behind;
        next_lsn = next_lsn
            .checked_add(u64::from(block.record_count.to_native()))
            .ok_or(PackFault::Blocks)?;
        last = Some(block);
    }
    let is_last = frame.end_offset == head.blocks_end.to_native();
    let ends = last.is_some_and(|last| {
        !is_last
            || (last.chain == head.chain
                && last.sealed_at_ns == head.last_sealed_at_ns
                && next_lsn - 1 == head.last_lsn.to_native())
    });
    if ends && room.is_empty() && parts.is_empty() { Ok(()) } else { Err(PackFault::Blocks) }
}

/// What is left of a frame's heads, records and extensions.
struct Parts<'p> {
    heads: &'p [u8],
    records: &'p [u8],
    extensions: &'p [u8],
}

impl<'p> Parts<'p> {
    /// Of a frame unpacked; `None` where it has not the length that its heads need.
    fn split(frame: &Frame, content: &'p [u8], scratch: &'p mut Vec<u8>) -> Option<Self> {
        let heads_len = frame.entry.block_count as usize * BLOCK_HEAD_LEN;
        let (heads, rest) = content.split_at_checked(heads_len)?;
        scratch.clear();
        scratch.resize(content.len(), 0);
        let (heads_room, records_room) = scratch.split_at_mut(heads_len);
        to_rows(heads, heads_room);
        let counts = heads_room.chunks_exact(BLOCK_HEAD_LEN).map(|head| {
            let head: &BlockHead = bytemuck::from_bytes(head);
            u64::from(head.record_count.to_native())
        });
        let records_len = counts.sum::<u64>().checked_mul(RECORD_LEN as u64)?;
        let (records, extensions) = rest.split_at_checked(usize::try_from(records_len).ok()?)?;
        let records_room = &mut records_room[..records.len()];
        to_rows(records, records_room);
        Some(Self { heads: heads_room, records: records_room, extensions })
    }

    /// The next block's head.
    fn head(&mut self) -> Option<&'p [u8]> {
        let (head, rest) = self.heads.split_at_checked(BLOCK_HEAD_LEN)?;
        self.heads = rest;
        Some(head)
    }

    /// Puts the next so many records with their extensions one behind the other, which is all of
    /// `payload`.
    fn records(&mut self, count: u32, payload: &mut [u8]) -> Option<()> {
        let mut room = payload;
        for _ in 0..count {
            let (record, records) = self.records.split_at_checked(RECORD_LEN)?;
            let head: &RecordHead = bytemuck::from_bytes(record);
            let len = usize::from(head.extension_len.to_native());
            let (extension, extensions) = self.extensions.split_at_checked(len)?;
            let (here, behind) = room.split_at_mut_checked(RECORD_LEN + len)?;
            here[..RECORD_LEN].copy_from_slice(record);
            here[RECORD_LEN..].copy_from_slice(extension);
            (self.records, self.extensions, room) = (records, extensions, behind);
        }
        room.is_empty().then_some(())
    }

    fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.records.is_empty() && self.extensions.is_empty()
    }
}

/// Rows of 256 bytes to columns: the first byte of each row, then the second of each, and so on.
fn to_columns(rows: &[u8], columns: &mut Vec<u8>) {
    for column in 0..ROW_LEN {
        columns.extend(rows.iter().skip(column).step_by(ROW_LEN));
    }
}

/// Columns to rows of 256 bytes.
fn to_rows(columns: &[u8], rows: &mut [u8]) {
    let count = columns.len() / ROW_LEN;
    if count == 0 {
        return;
    }
    for (place, column) in columns.chunks_exact(count).enumerate() {
        for (row, &byte) in rows.chunks_exact_mut(ROW_LEN).zip(column) {
            row[place] = byte;
        }
    }
}

/// A packed segment in the making: takes the segment's blocks in order, says when a frame is full,
/// and gives head and table at the end.
#[derive(Debug)]
pub struct Packing {
    head: PackedHead,
    entries: Vec<PackedFrameFields>,
    /// Of the frame in the making: heads of blocks, heads of records, and extensions.
    heads: Vec<u8>,
    records: Vec<u8>,
    extensions: Vec<u8>,
    /// The frame in the making: its first record, its first block's place, how many blocks.
    frame: (u64, u64, u32),
    /// Where the next frame goes in the packed file.
    file_offset: u64,
    /// Where the last block ends in the segment.
    end_offset: u64,
}

impl Packing {
    /// Of the segment with this head.
    pub fn new(segment: &SegmentHead) -> Self {
        Self {
            head: PackedHead::empty(segment),
            entries: Vec::new(),
            heads: Vec::new(),
            records: Vec::new(),
            extensions: Vec::new(),
            frame: (0, 0, 0),
            file_offset: PACKED_HEAD_LEN as u64,
            end_offset: SEGMENT_HEAD_LEN as u64,
        }
    }

    /// Whether the frame in the making must be packed before this block is taken.
    pub fn is_full_for(&self, block: &SoundBlock<'_>) -> bool {
        let raw_len = self.raw_len();
        raw_len > 0 && raw_len + BLOCK_HEAD_LEN + block.payload.len() > FRAME_RAW_LEN
    }

    /// Takes the next block.
    ///
    /// # Panics
    /// When it does not lie behind the one before, or [`Self::is_full_for`] it.
    pub fn take(&mut self, block: &SoundBlock<'_>) {
        assert!(!self.is_full_for(block), "the frame was to be packed");
        assert_eq!(block.place.block_offset, self.end_offset, "blocks lie one behind the other");
        let (head, first_lsn) = (block.head, block.head.first_lsn.to_native());
        if self.head.block_count.to_native() == 0 {
            self.head.first_lsn = first_lsn.into();
            self.head.previous_chain = head.previous_chain;
            self.head.first_sealed_at_ns = head.sealed_at_ns;
        }
        if self.raw_len() == 0 {
            self.frame = (first_lsn, block.place.block_offset, 0);
        }
        self.heads.extend_from_slice(bytemuck::bytes_of(head));
        for (record, extension) in block.records() {
            self.records.extend_from_slice(bytemuck::bytes_of(record));
            self.extensions.extend_from_slice(extension);
        }
        self.frame.2 += 1;
        self.end_offset += head.padded_len() as u64;
        self.head.chain = head.chain;
        self.head.last_sealed_at_ns = head.sealed_at_ns;
        self.head.last_lsn = block.last_lsn().into();
        self.head.block_count = (self.head.block_count.to_native() + 1).into();
        let records = self.head.record_count.to_native() + head.record_count.to_native();
        self.head.record_count = records.into();
    }

    /// Bytes of the blocks of the frame in the making, without padding.
    fn raw_len(&self) -> usize {
        self.heads.len() + self.records.len() + self.extensions.len()
    }

    /// The bytes of the frame in the making, to be compressed; empty before its first block.
    pub fn content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.raw_len());
        to_columns(&self.heads, &mut content);
        to_columns(&self.records, &mut content);
        content.extend_from_slice(&self.extensions);
        content
    }

    /// The frame was compressed to these bytes, which go behind the one before: begins the next one.
    pub fn packed(&mut self, packed: &[u8]) {
        let (first_lsn, block_offset, block_count) = self.frame;
        let entry = PackedFrame {
            file_offset: self.file_offset,
            first_lsn,
            block_offset,
            block_count,
            packed_len: packed.len() as u32,
            raw_len: self.raw_len() as u32,
            packed_crc: crc32c::crc32c(packed),
        };
        self.entries.push(PackedFrameFields::from(&entry));
        self.file_offset += packed.len() as u64;
        self.head.raw_len = (self.head.raw_len.to_native() + self.raw_len() as u64).into();
        self.heads.clear();
        self.records.clear();
        self.extensions.clear();
    }

    /// Where the last block taken ends in the segment, bytes.
    pub fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// Head, and table with its check sum, of a segment whose last frame was packed.
    ///
    /// # Panics
    /// When blocks were taken that are in no frame yet, or none at all.
    pub fn finish(self) -> (PackedHead, Vec<u8>) {
        assert!(self.raw_len() == 0 && !self.entries.is_empty(), "every block is in a frame");
        let mut head = self.head;
        head.blocks_end = self.end_offset.into();
        head.frame_count = (self.entries.len() as u32).into();
        head.table_offset = self.file_offset.into();
        head.head_crc = head.expected_crc().into();
        let mut table = bytemuck::cast_slice::<_, u8>(&self.entries).to_vec();
        table.extend_from_slice(&crc32c::crc32c(&table).to_le_bytes());
        (head, table)
    }
}
