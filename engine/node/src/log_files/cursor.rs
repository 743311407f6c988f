//! Reading a stream's blocks one after the other as they are on disk, to send them on: raw bytes,
//! of which only the heads are looked at, because whoever receives them holds them to all that
//! recovery asks.

use super::error::LogError;
use super::log_start;
use super::segment;
use super::segment_file::{Access, SegmentFile, first_block_head};
use catraca_core::log::Tail;
use catraca_wire::block::{
    BLOCK_ALIGN, BlockHead, Chain, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN, payload_is_sound, sound_head,
};
use std::path::{Path, PathBuf};

/// Most bytes read at once: several of the largest blocks.
const READ_LEN: usize = 4 * MAX_BLOCK_LEN;
/// Most that work in the background reads at once, if no block is longer: a disk that does one thing
/// after the other makes a write of the log wait until the reading before it is done.
const BACKGROUND_READ_LEN: usize = 256 * 1024;
/// Bytes read at first, and again after nothing was found: at the end of a log what lies behind is
/// unwritten, and there are logs of a few blocks. Each further reading doubles it.
const FIRST_READ_LEN: usize = 64 * 1024;

/// A place in a stream, with the bytes that follow it.
pub struct BlockCursor {
    data_dir: PathBuf,
    shard: u16,
    segment: u32,
    /// Where the next block begins, bytes.
    offset: u64,
    file: Option<SegmentFile>,
    buffer: Vec<u8>,
    /// Where in the segment the buffered bytes begin, and how many there are.
    buffered_at: u64,
    buffered_len: usize,
    /// Bytes that the next reading asks for.
    read_len: usize,
    /// Bytes that a reading asks for at most, if no block is longer.
    most_len: usize,
    /// Bytes read so far, whatever became of them.
    total_len: u64,
}

impl BlockCursor {
    /// At a place of a stream: a block begins there, or will.
    pub fn new(data_dir: &Path, shard: u16, segment: u32, offset: u64) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            shard,
            segment,
            offset,
            file: None,
            buffer: Vec::new(),
            buffered_at: 0,
            buffered_len: 0,
            read_len: FIRST_READ_LEN,
            most_len: READ_LEN,
            total_len: 0,
        }
    }

    /// The same for work in the background: it reads little at once, so that the log's own writes
    /// need not wait long.
    pub(super) fn in_background(self) -> Self {
        Self { most_len: BACKGROUND_READ_LEN, ..self }
    }

    /// The same, which reads so many bytes at first.
    pub(super) fn reading(self, len: usize) -> Self {
        Self { read_len: len, ..self }
    }

    /// Where the next block begins: segment and offset. Where a segment's rest is unused, the next
    /// block is in the segment after it.
    pub fn place(&self) -> (u32, u64) {
        (self.segment, self.offset)
    }

    /// Bytes that were read so far for what was given, heads of segments ahead not counted.
    pub fn read_bytes(&self) -> u64 {
        self.total_len
    }

    /// The next block, if there is one yet: whole, with its padding.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn next_block(&mut self) -> Result<Option<&[u8]>, LogError> {
        loop {
            if let Some(len) = self.ready()? {
                let start = self.buffer_start() + (self.offset - self.buffered_at) as usize;
                self.offset += len as u64;
                return Ok(Some(&self.buffer[start..start + len]));
            }
            // The rest of a segment is used up only when the next one has a block.
            if first_block_head(&self.data_dir, self.shard, self.segment + 1)?.is_none() {
                return Ok(None);
            }
            if self.ready()?.is_some() {
                // It came while we looked ahead.
                continue;
            }
            self.segment += 1;
            self.offset = SEGMENT_HEAD_LEN as u64;
            (self.file, self.buffered_len) = (None, 0);
        }
    }

    /// The next block, which is known to be durable by now. What is read goes far past what was
    /// durable then, so a block may have come into the buffer while it was written: then it is read
    /// once more.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn next_durable(&mut self) -> Result<Option<&[u8]>, LogError> {
        let Some((len, sound)) =
            self.next_block()?.map(|block| (block.len(), payload_is_sound(block)))
        else {
            return Ok(None);
        };
        self.offset -= len as u64;
        if !sound {
            self.buffered_len = 0;
        }
        self.next_block()
    }

    /// The block given last once more, whose length was `len`.
    pub fn given(&self, len: usize) -> &[u8] {
        let start = self.buffer_start() + (self.offset - self.buffered_at) as usize;
        &self.buffer[start - len..start]
    }

    /// Goes over a block of this length without reading it; `segment_len` is the length of the
    /// stream's segments.
    pub fn pass(&mut self, len: u64, segment_len: u64) {
        if self.offset + len > segment_len {
            self.segment += 1;
            self.offset = SEGMENT_HEAD_LEN as u64;
            (self.file, self.buffered_len) = (None, 0);
        }
        self.offset += len;
    }

    fn buffer_start(&self) -> usize {
        self.buffer.as_ptr().align_offset(BLOCK_ALIGN)
    }

    fn buffered(&self) -> &[u8] {
        let Some(skip) = self.offset.checked_sub(self.buffered_at) else { return &[] };
        let start = self.buffer_start();
        self.buffer
            .get(start..start + self.buffered_len)
            .and_then(|bytes| bytes.get(skip as usize..))
            .unwrap_or(&[])
    }

    /// The length of the block at the place, once all of it is in the buffer.
    fn ready(&mut self) -> Result<Option<usize>, LogError> {
        let whole = |bytes: &[u8]| {
            sound_head(bytes).map(BlockHead::padded_len).filter(|&len| len <= bytes.len())
        };
        if let Some(len) = whole(self.buffered()) {
            return Ok(Some(len));
        }
        self.fill()?;
        if whole(self.buffered()).is_none() && sound_head(self.buffered()).is_some() {
            // Longer than what was read.
            self.fill()?;
        }
        let found = whole(self.buffered());
        self.read_len =
            if found.is_some() { (2 * self.read_len).min(self.most_len) } else { FIRST_READ_LEN };
        Ok(found)
    }

    /// Reads behind what is buffered of a block at the place. Without a block's head nothing is kept:
    /// what was unwritten may be written by now.
    fn fill(&mut self) -> Result<(), LogError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => SegmentFile::open(&self.data_dir, self.shard, self.segment, Access::Direct)?,
        };
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_LEN + BLOCK_ALIGN];
        }
        let have = self.buffered();
        let (kept, least) = match sound_head(have).map(BlockHead::padded_len) {
            // Whole pages, because a direct reading can begin only behind one.
            Some(len) if len > have.len() => {
                let kept = have.len() - have.len() % BLOCK_ALIGN;
                (kept, len - kept)
            }
            _ => (0, FIRST_READ_LEN),
        };
        let start = self.buffer_start();
        if kept > 0 {
            let from = start + (self.offset - self.buffered_at) as usize;
            self.buffer.copy_within(from..from + kept, start);
        }
        // Nothing, should the reading fail: the old bytes are of another place.
        (self.buffered_at, self.buffered_len) = (self.offset, 0);
        // What is kept is less than the longest block, so there is room for the rest of that.
        let len = self.read_len.max(least).min(READ_LEN - kept);
        let at = start + kept;
        let read_len = file.read_at(&mut self.buffer[at..at + len], self.offset + kept as u64)?;
        self.buffered_len = kept + read_len;
        self.total_len += read_len as u64;
        self.file = Some(file);
        Ok(())
    }
}

/// The last segment of a stream that begins at or before a record; the first one where none does.
///
/// # Errors
/// [`LogError::Io`].
pub fn last_segment_up_to(data_dir: &Path, shard: u16, lsn: u64) -> Result<u32, LogError> {
    let segments = segment::segments(data_dir, shard)?;
    let (mut low, mut high) = (0, segments.len());
    while high > low + 1 {
        let middle = usize::midpoint(low, high);
        let head = first_block_head(data_dir, shard, segments[middle])?;
        let is_early = |head: &BlockHead| head.first_lsn.to_native() <= lsn;
        if head.as_ref().and_then(|head| sound_head(head)).is_some_and(is_early) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(segments.get(low).copied().unwrap_or(0))
}

/// The segment of a stream before the first one whose first block is late; the last one where none is. All are looked at
/// in their order: times go back where a clock was set.
///
/// # Errors
/// [`LogError::Io`].
pub fn segment_before(
    data_dir: &Path,
    shard: u16,
    is_late: impl Fn(&BlockHead) -> bool,
) -> Result<u32, LogError> {
    let mut before = 0;
    for (number, &segment) in segment::segments(data_dir, shard)?.iter().enumerate() {
        let head = first_block_head(data_dir, shard, segment)?;
        // One without a block has nothing before it that is not earlier.
        let Some(head) = head.as_ref().and_then(|head| sound_head(head)) else { break };
        if number == 0 || !is_late(head) {
            before = segment;
        }
        if is_late(head) {
            break;
        }
    }
    Ok(before)
}

/// Before the first block of a segment, as that block says of what is before it; `None` where there
/// is no block.
///
/// # Errors
/// [`LogError::Io`].
pub fn segment_start(data_dir: &Path, shard: u16, segment: u32) -> Result<Option<Tail>, LogError> {
    let start = log_start::tail(data_dir, shard)?;
    if segment == start.segment {
        return Ok(Some(start));
    }
    let mut cursor = BlockCursor::new(data_dir, shard, segment, SEGMENT_HEAD_LEN as u64);
    let head = cursor.next_durable()?.and_then(sound_head);
    Ok(head.map(|head| Tail {
        segment,
        next_lsn: head.first_lsn.to_native(),
        previous_chain: head.previous_chain,
        ..Tail::START
    }))
}

/// A block boundary of a stream, and where the next block begins.
pub struct FoundBoundary {
    /// Chain value of the block before it; zeros at the start of a whole stream.
    pub chain: Chain,
    /// At the boundary.
    pub cursor: BlockCursor,
}

/// Finds the boundary behind a record; `None` when the record ends no block of the stream. Reads
/// one segment at most.
///
/// # Errors
/// [`LogError::Io`].
pub fn find_boundary(
    data_dir: &Path,
    shard: u16,
    lsn: u64,
) -> Result<Option<FoundBoundary>, LogError> {
    let start = log_start::tail(data_dir, shard)?;
    if lsn + 1 == start.next_lsn {
        let cursor = BlockCursor::new(data_dir, shard, start.segment, start.offset);
        return Ok(Some(FoundBoundary { chain: start.previous_chain, cursor }));
    }
    if lsn < start.next_lsn {
        return Ok(None);
    }
    if segment::segments(data_dir, shard)?.is_empty() {
        return Ok(None);
    }
    let segment = last_segment_up_to(data_dir, shard, lsn)?;
    let mut cursor = BlockCursor::new(data_dir, shard, segment, SEGMENT_HEAD_LEN as u64);
    loop {
        let Some(head) = cursor.next_block()?.and_then(sound_head) else { return Ok(None) };
        let last = head.first_lsn.to_native() + u64::from(head.record_count.to_native()) - 1;
        if last >= lsn {
            let chain = head.chain;
            return Ok((last == lsn).then_some(FoundBoundary { chain, cursor }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_testkit::log::TestLog;

    /// Records of 256 bytes whose block takes 200 KiB with its head and padding.
    const RECORDS: usize = 796;
    const BLOCK_LEN: usize = 200 * 1024;

    fn written(blocks: usize, dir: &Path) -> TestLog {
        let mut log = TestLog::new(SEGMENT_HEAD_LEN + blocks * BLOCK_LEN);
        (0..blocks).for_each(|_| assert_eq!(log.plain(RECORDS).len, BLOCK_LEN));
        assert_eq!(log.segments.len(), 1);
        log.write(dir);
        log
    }

    #[test]
    fn a_block_that_did_not_fit_into_what_was_read_is_read_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = written(40, dir.path());
        let begin = || BlockCursor::new(dir.path(), 0, 0, SEGMENT_HEAD_LEN as u64);
        for mut cursor in [begin().in_background(), begin()] {
            for block in &log.blocks {
                let bytes = cursor.next_durable().expect("readable").expect("there");
                assert!(bytes == log.bytes_of(block), "block at {}", block.offset);
                assert!(cursor.given(block.len) == log.bytes_of(block));
            }
            let (read_len, most) = (cursor.read_bytes(), log.segment_len + BACKGROUND_READ_LEN);
            assert!(read_len <= most as u64, "{read_len} bytes of {}", log.segment_len);
        }
    }

    #[test]
    fn a_block_whose_beginning_was_read_while_it_was_written_is_given_as_it_is_in_the_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = written(12, dir.path());
        let mut cursor =
            BlockCursor::new(dir.path(), 0, 0, SEGMENT_HEAD_LEN as u64).in_background();
        for (i, block) in log.blocks.iter().enumerate() {
            // Of the blocks behind this one only the first pages are on the disk.
            let mut torn = log.clone();
            for block in &log.blocks[i + 1..] {
                torn.segments[0][block.offset + BLOCK_ALIGN..block.offset + block.len].fill(0);
            }
            torn.write(dir.path());
            let bytes = cursor.next_durable().expect("readable").expect("there");
            assert!(bytes == log.bytes_of(block), "block at {}", block.offset);
        }
        log.write(dir.path());
        assert!(cursor.next_durable().expect("readable").is_none());
    }
}
