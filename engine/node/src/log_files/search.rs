//! Look-ups in a running node's own log, by indexes: each full segment has one in a file beside it,
//! and the segment in use has one in memory. Nothing is answered from an index: it says which blocks
//! to read, and those are held to all that recovery asks.
//!
//! Whoever owns a [`LogIndex`] reads the log behind the node that writes it, slice by slice, and so
//! makes the indexes. One that is missing or unsound is made anew from its segment. The files with
//! what the dedupe table needs are made by the way: nobody else reads all of the log.

mod all;

use super::cursor::{BlockCursor, last_segment_up_to, segment_start};
use super::dedupe_file::{DedupeFiles, Writing};
use super::error::LogError;
use super::index_file::{IndexFiles, IndexWriting, Made};
use super::log_start;
use super::lookup::{OwnLog, Query, StoredRecord, age};
use super::trail::{TrailPage, TrailReading};
use catraca_core::log::index::{IdHash, IndexBuilder, PayerHash, SegmentIndex};
use catraca_core::log::{SoundBlock, Tail};
use catraca_wire::block::SEGMENT_HEAD_LEN;
use catraca_wire::record::RecordKind;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Log read in one slice of work, bytes: look-ups wait for the slice under way, and decisions may
/// wait for the disk and the processor that it takes.
const SLICE_LEN: u64 = 256 << 10;

/// The indexes of a node's streams.
pub struct LogIndex {
    files: IndexFiles,
    dedupe: Option<DedupeFiles>,
    streams: Vec<StreamIndex>,
    /// Number of the stream that has the next turn, or as many as there are.
    next: usize,
}

/// The indexes of one stream.
struct StreamIndex {
    shard: u16,
    /// Of full segments, by their numbers: those in memory. The others are opened, or made, when
    /// there is time or need.
    full: BTreeMap<u32, SegmentIndex>,
    /// The one of them that was made last, while its file is written: a piece in each slice, so that
    /// look-ups need not wait for all of it, nor the log's writes for a burst.
    writing: Option<IndexWriting>,
    /// Segments that have a dedupe file, and of those which are known to be sound.
    dedupe_files: BTreeSet<u32>,
    sound: BTreeSet<u32>,
    /// The segment in use; `None` before the stream has a block.
    open: Option<OpenSegment>,
}

/// The segment in use, as far as it was read.
struct OpenSegment {
    segment: u32,
    cursor: BlockCursor,
    tail: Tail,
    builder: IndexBuilder,
    writing: Option<Writing>,
}

impl LogIndex {
    /// Of a log of which nothing is read yet.
    pub fn new(log: OwnLog) -> Self {
        Self { files: IndexFiles::new(log), dedupe: None, streams: Vec::new(), next: 0 }
    }

    /// Keeps these as well.
    #[must_use]
    pub fn keeping(self, dedupe: DedupeFiles) -> Self {
        Self { dedupe: Some(dedupe), ..self }
    }

    /// Knows so many streams: a standby may get one that it had not.
    fn know(&mut self, streams: usize) {
        for shard in self.streams.len()..streams {
            let shard = shard as u16;
            let found = self.dedupe.as_ref().map(|dedupe| dedupe.segments(shard));
            self.streams.push(StreamIndex {
                shard,
                full: BTreeMap::new(),
                writing: None,
                dedupe_files: found.into_iter().flatten().collect(),
                sound: BTreeSet::new(),
                open: None,
            });
        }
    }

    /// Does a slice of the work: reads on in the log, up to the last durable record of a stream, or
    /// opens or makes the index or the dedupe file of one full segment; and writes a piece of an
    /// index's file. Gives whether there is more to do. The streams take turns, also where one fails:
    /// none waits because another one's log grows faster than it is read.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Damaged`] where a durable block is not there as it was
    /// written.
    pub fn work(&mut self, ends: &[u64]) -> Result<bool, LogError> {
        self.know(ends.len());
        for _ in 0..ends.len() {
            let turn = self.next % ends.len();
            self.next = turn + 1;
            if self.streams[turn].work(&self.files, self.dedupe.as_ref(), ends[turn])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads on in the audit trail, a slice; gives the piece that is read once it is whole.
    ///
    /// # Errors
    /// As [`Self::work`].
    pub fn trail(&self, reading: &mut TrailReading) -> Result<Option<TrailPage>, LogError> {
        reading.slice(&self.files)
    }

    /// The newest decision for each query. `ends` has the last durable record of each stream:
    /// nothing behind it is read.
    ///
    /// # Errors
    /// As [`Self::work`].
    pub fn find_newest(
        &mut self,
        ends: &[u64],
        queries: &[Query],
    ) -> Result<Vec<Option<StoredRecord>>, LogError> {
        self.know(ends.len());
        let mut found: Vec<Option<StoredRecord>> = vec![None; queries.len()];
        for (stream, &end) in self.streams.iter_mut().zip(ends) {
            while stream.advance(&self.files, self.dedupe.as_ref(), end, SLICE_LEN)? {}
            for (query, found) in queries.iter().zip(&mut found) {
                let newest = stream.newest(&self.files, query)?;
                let is_newer = |record: &StoredRecord| {
                    found.as_ref().is_none_or(|held| age(&held.head) < age(&record.head))
                };
                if newest.as_ref().is_some_and(is_newer) {
                    *found = newest;
                }
            }
        }
        Ok(found)
    }
}

impl StreamIndex {
    /// Does a slice of the work on this stream; gives whether there was something to do, or is.
    fn work(
        &mut self,
        files: &IndexFiles,
        dedupe: Option<&DedupeFiles>,
        end: u64,
    ) -> Result<bool, LogError> {
        // Beside the reading, which would fall behind otherwise.
        let wrote = self.write_piece();
        if self.advance(files, dedupe, end, SLICE_LEN)? || wrote || self.writing.is_some() {
            return Ok(true);
        }
        let first = self.begin(files)?;
        if let Some(dedupe) = dedupe
            && self.keep(files, dedupe, first)?
        {
            return Ok(true);
        }
        let Some(missing) = self.missing(first) else { return Ok(false) };
        self.bring(files, missing)?;
        Ok(true)
    }

    /// Reads on up to a record, and at most about so many bytes. Gives whether there is more.
    fn advance(
        &mut self,
        files: &IndexFiles,
        dedupe: Option<&DedupeFiles>,
        end: u64,
        most_len: u64,
    ) -> Result<bool, LogError> {
        let read = self.read_on(files, dedupe, end, most_len);
        if read.is_err() {
            // Where the reading stands is not known any more: it begins anew at the segment.
            self.open = None;
        }
        read
    }

    fn read_on(
        &mut self,
        files: &IndexFiles,
        dedupe: Option<&DedupeFiles>,
        end: u64,
        most_len: u64,
    ) -> Result<bool, LogError> {
        if self.open.is_none() {
            if end == 0 {
                return Ok(false);
            }
            let segment = last_segment_up_to(&files.log.data_dir, self.shard, end)?;
            let open = OpenSegment::new(files, self.shard, segment)?;
            let writing = dedupe.map(|dedupe| dedupe.begin(self.shard, segment));
            self.open = Some(OpenSegment { writing, ..open });
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        let mut read_len = 0;
        while open.tail.next_lsn <= end {
            if read_len >= most_len {
                return Ok(true);
            }
            let block = files.next(&mut open.cursor, self.shard, &open.tail)?;
            read_len += block.head.padded_len() as u64;
            if block.place.segment != open.segment {
                let full = std::mem::take(&mut open.builder);
                let made = files.make(self.shard, open.segment, full);
                write(&mut self.writing, files, self.shard, open.segment, &made);
                self.full.insert(open.segment, made.index);
                if let (Some(dedupe), Some(writing)) = (dedupe, open.writing.take()) {
                    writing.finish(dedupe, self.shard, open.segment);
                    self.dedupe_files.insert(open.segment);
                    self.sound.insert(open.segment);
                    open.writing = Some(dedupe.begin(self.shard, block.place.segment));
                }
                open.segment = block.place.segment;
            }
            open.builder.take(&block, &files.keys);
            if let (Some(dedupe), Some(writing)) = (dedupe, &mut open.writing) {
                writing.take(&block, dedupe);
            }
            open.tail = Tail::after(&block);
        }
        Ok(false)
    }

    /// Writes the next piece of an index's file; gives whether there was one to write.
    fn write_piece(&mut self) -> bool {
        let Some(writing) = &mut self.writing else { return false };
        if !writing.piece() {
            self.writing = None;
        }
        true
    }

    /// Forgets the indexes of segments that were removed; gives the first segment of the stream.
    fn begin(&mut self, files: &IndexFiles) -> Result<u32, LogError> {
        let first = log_start::tail(&files.log.data_dir, self.shard)?.segment;
        if self.full.first_key_value().is_some_and(|(&oldest, _)| oldest < first) {
            self.full = self.full.split_off(&first);
            self.writing = self.writing.take().filter(|writing| writing.segment() >= first);
        }
        Ok(first)
    }

    /// The newest full segment whose index is not in memory.
    fn missing(&self, first: u32) -> Option<u32> {
        let open = self.open.as_ref()?;
        (first..open.segment).rev().find(|segment| !self.full.contains_key(segment))
    }

    /// Opens the index of a full segment, or makes it; gives its file's bytes if it was made.
    fn bring(
        &mut self,
        files: &IndexFiles,
        segment: u32,
    ) -> Result<Option<Arc<Vec<u8>>>, LogError> {
        match files.open(self.shard, segment) {
            Ok(index) => {
                self.full.insert(segment, index);
                Ok(None)
            }
            Err(why) => {
                if let Some(fault) = why {
                    tracing::warn!(stream = self.shard, segment, %fault, "the index of a log segment is unsound; it is made anew");
                }
                self.make(files, segment).map(Some)
            }
        }
    }

    /// Sees to the dedupe files: of the newest full segments, until those hold as many decisions as
    /// a table, each is looked at once, and made where it is missing or unsound; older ones are
    /// removed. Looks at one segment, and gives whether there may be more to do.
    fn keep(
        &mut self,
        files: &IndexFiles,
        dedupe: &DedupeFiles,
        first: u32,
    ) -> Result<bool, LogError> {
        let Some(open) = &self.open else { return Ok(false) };
        let (mut segment, mut decisions) = (open.segment, 0);
        while segment > first && decisions < dedupe.entries() {
            segment -= 1;
            let Some(index) = self.full.get(&segment) else {
                self.bring(files, segment)?;
                return Ok(true);
            };
            if !self.sound.contains(&segment) {
                if let Err(why) = dedupe.open(self.shard, segment, index.summary()) {
                    if let Some(fault) = why {
                        tracing::warn!(stream = self.shard, segment, %fault, "the dedupe file of a log segment is unsound; it is made anew");
                    }
                    let mut writing = dedupe.begin(self.shard, segment);
                    each_block(files, self.shard, segment, |block| writing.take(block, dedupe))?;
                    writing.finish(dedupe, self.shard, segment);
                }
                // One that could not be written is not tried again.
                self.dedupe_files.insert(segment);
                self.sound.insert(segment);
                return Ok(true);
            }
            decisions += index.summary().decisions();
        }
        let newer = self.dedupe_files.split_off(&segment);
        for older in std::mem::replace(&mut self.dedupe_files, newer) {
            dedupe.remove(self.shard, older);
        }
        Ok(false)
    }

    /// Makes the index of a full segment from its blocks; gives its file's bytes.
    fn make(&mut self, files: &IndexFiles, segment: u32) -> Result<Arc<Vec<u8>>, LogError> {
        let mut builder = IndexBuilder::default();
        each_block(files, self.shard, segment, |block| builder.take(block, &files.keys))?;
        let made = files.make(self.shard, segment, builder);
        write(&mut self.writing, files, self.shard, segment, &made);
        self.full.insert(segment, made.index);
        Ok(made.file)
    }

    /// The newest decision of this stream for a query.
    fn newest(
        &mut self,
        files: &IndexFiles,
        query: &Query,
    ) -> Result<Option<StoredRecord>, LogError> {
        match self.newest_kept(files, query) {
            // A segment was removed meanwhile: what is kept is asked once more.
            Err(error) if error.is_missing() => self.newest_kept(files, query),
            found => found,
        }
    }

    fn newest_kept(
        &mut self,
        files: &IndexFiles,
        query: &Query,
    ) -> Result<Option<StoredRecord>, LogError> {
        let (shard, mut newest) = (self.shard, None);
        self.each(files, query, |segment, offset| {
            newest = newest_in(files, shard, segment, offset, query)?;
            Ok(match newest {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            })
        })?;
        Ok(newest)
    }

    /// Shows where each block begins that may hold a decision on a query, or its label: segment and offset,
    /// the newest first, until told to stop.
    fn each(
        &mut self,
        files: &IndexFiles,
        query: &Query,
        mut show: impl FnMut(u32, u64) -> Result<ControlFlow<()>, LogError>,
    ) -> Result<(), LogError> {
        let first = self.begin(files)?;
        let Some(open) = &self.open else { return Ok(()) };
        let id = files.keys.id(&query.id);
        let payer = query.payer.as_ref().map(|payer| files.keys.payer(payer));
        let mut segment = open.segment;
        let mut blocks = open.builder.blocks(id, payer);
        loop {
            for &offset in &blocks {
                if show(segment, offset)?.is_break() {
                    return Ok(());
                }
            }
            if segment <= first {
                return Ok(());
            }
            segment -= 1;
            blocks = self.blocks(files, segment, id, payer)?;
        }
    }

    /// The bytes of an index's file while it is written.
    fn written(&self, segment: u32) -> Option<Arc<Vec<u8>>> {
        let writing = self.writing.as_ref().filter(|writing| writing.segment() == segment)?;
        Some(Arc::clone(writing.bytes()))
    }

    /// Where blocks of a full segment begin that may hold decisions on an id, the newest first.
    fn blocks(
        &mut self,
        files: &IndexFiles,
        segment: u32,
        id: IdHash,
        payer: Option<PayerHash>,
    ) -> Result<Vec<u64>, LogError> {
        let place = (self.shard, segment);
        let made = match self.full.contains_key(&segment) {
            true => self.written(segment),
            false => self.bring(files, segment)?,
        };
        let made = made.as_deref().map(Vec::as_slice);
        let index = &self.full[&segment];
        let Some(read) = index.look(id) else { return Ok(Vec::new()) };
        if let Some(blocks) = files.blocks(place, index, read, made, (id, payer)) {
            return Ok(blocks);
        }
        // The file is not what it was when it was opened, or could not be written. What is made now
        // is asked as it is in memory, whatever becomes of the file.
        let made = self.make(files, segment)?;
        let index = &self.full[&segment];
        let Some(read) = index.look(id) else { return Ok(Vec::new()) };
        let blocks = files.blocks(place, index, read, Some(&made), (id, payer));
        Ok(blocks.expect("an index that was just made is sound"))
    }
}

/// Begins to write the file of an index that was just made. One that is written still is brought to
/// its end before: there is one at a time, because they are held in memory.
fn write(
    writing: &mut Option<IndexWriting>,
    files: &IndexFiles,
    shard: u16,
    segment: u32,
    made: &Made,
) {
    if let Some(mut earlier) = writing.take() {
        while earlier.piece() {}
    }
    *writing = Some(files.begin(shard, segment, Arc::clone(&made.file)));
}

impl OpenSegment {
    /// At the first block of a segment.
    fn new(files: &IndexFiles, shard: u16, segment: u32) -> Result<Self, LogError> {
        let start = segment_start(&files.log.data_dir, shard, segment)?;
        let tail = start.ok_or_else(|| files.damaged(shard, segment, SEGMENT_HEAD_LEN as u64))?;
        let cursor = BlockCursor::new(&files.log.data_dir, shard, segment, SEGMENT_HEAD_LEN as u64)
            .in_background();
        Ok(Self { segment, cursor, tail, builder: IndexBuilder::default(), writing: None })
    }
}

/// Shows each block of a full segment, in order.
fn each_block(
    files: &IndexFiles,
    shard: u16,
    segment: u32,
    mut show: impl FnMut(&SoundBlock<'_>),
) -> Result<(), LogError> {
    let mut one = OpenSegment::new(files, shard, segment)?;
    let mut is_empty = true;
    loop {
        let block = files.next(&mut one.cursor, shard, &one.tail)?;
        if block.place.segment != segment {
            // A full segment has blocks: where none is found, its first one is no block any more.
            let damaged = || files.damaged(shard, segment, SEGMENT_HEAD_LEN as u64);
            return if is_empty { Err(damaged()) } else { Ok(()) };
        }
        is_empty = false;
        show(&block);
        one.tail = Tail::after(&block);
    }
}

/// The newest decision for a query in one block.
fn newest_in(
    files: &IndexFiles,
    shard: u16,
    segment: u32,
    offset: u64,
    query: &Query,
) -> Result<Option<StoredRecord>, LogError> {
    files.with_block(shard, segment, offset, |block| {
        let matches = block
            .records()
            .filter(|(head, _)| head.kind == RecordKind::Decision.to_wire() && query.is_for(head));
        matches.last().map(|(head, extension)| StoredRecord {
            place: block.place,
            head: *head,
            extension: extension.to_vec(),
        })
    })
}
