//! What a start makes of the log: every stream read, torn ends repaired, the shards' state rebuilt.

use crate::data_dir::DataDir;
use crate::fatal::{Failure, Status};
use crate::log_files::cursor::last_segment_up_to;
use crate::log_files::dedupe_file::DedupeFiles;
use crate::log_files::index_file::IndexFiles;
use crate::log_files::lookup::OwnLog;
use crate::log_files::{LogError, RecoveredStream, checkpoint, log_start, recover_stream, segment};
use catraca_core::blacklist::Overlay;
use catraca_core::log::index::SegmentSummary;
use catraca_core::log::recovery::LastWrite;
use catraca_core::log::start::LogStart;
use catraca_core::log::{SoundBlock, Tail};
use catraca_core::named_lists::NamedLists;
use catraca_core::rebuild::{Builder, ChangesFault};
use catraca_core::replica::Boundaries;
use catraca_core::shard::dedupe::DedupeKey;
use catraca_wire::block::ChainKey;
use std::collections::BTreeMap;

/// Where a stream goes on.
pub struct Stream {
    /// Behind its last block.
    pub tail: Tail,
    /// Segments that exist.
    pub segments: u32,
    /// Length of the segment in use, bytes, where there is one: the setting may have changed since.
    pub segment_len: Option<u64>,
}

/// What the log told.
pub struct Rebuilt {
    /// By shard.
    pub streams: Vec<Stream>,
    /// Block boundaries of each stream on the disk, those of an earlier layout included.
    pub boundaries: Vec<Boundaries>,
    /// The overlay after all logged changes.
    pub overlay: Overlay,
    /// Named lists and exemptions after all logged changes.
    pub named: NamedLists,
    /// The dedupe tables, and the list last loaded: for a node that follows, to go on taking
    /// blocks.
    pub builder: Builder,
}

/// The log, and what lies beside its segments.
struct Files {
    index: IndexFiles,
    dedupe: DedupeFiles,
}

/// Where a stream is read from.
struct StreamStart {
    /// Where the stream begins.
    begins: LogStart,
    /// The first segment in whose place no checkpoint tells of its changes.
    changes_from: u32,
    /// Indexes of the segments before, from the first. Of these only the changes are read.
    skipped: Vec<SegmentSummary>,
    /// Those of the segments behind them whose decisions are read from dedupe files, as far as those
    /// are sound.
    kept: Vec<SegmentSummary>,
    /// At the first segment that is read whole.
    tail: Tail,
}

impl Files {
    /// Finds where a stream is to be read from, so that as many of its newest decisions as a table
    /// holds are read at least: what is older can be in no table. Only full segments with a sound
    /// index can be left out, for an index says which changes a segment has, and what is forgotten of
    /// it.
    fn start_of(&self, stream: u16) -> Result<StreamStart, LogError> {
        let log = &self.index.log;
        let begins = log_start::read(&log.data_dir, Some(log.cluster_id), stream, Some(&log.key))?;
        let first = begins.tail.segment;
        let in_use = last_segment_up_to(&log.data_dir, stream, u64::MAX)?;
        let mut skipped = Vec::new();
        for segment in first..in_use {
            match self.index.summary(stream, segment) {
                Ok(index) => skipped.push(index),
                Err(_) => break,
            }
        }
        let mut read = 0;
        // Those behind the first that lacks an index are read whatever they hold.
        for segment in first + skipped.len() as u32 + 1..in_use {
            read += self.index.summary(stream, segment).map_or(0, |index| index.decisions());
        }
        let mut old = skipped.len();
        while read < self.dedupe.entries() && old > 0 {
            old -= 1;
            read += skipped[old].decisions();
        }
        // Behind the last that has a dedupe file everything is read at once.
        let files = self.dedupe.segments(stream);
        let has_file = |place: usize| files.binary_search(&(first + place as u32)).is_ok();
        let end = (old..skipped.len()).rfind(|&place| has_file(place)).map_or(old, |last| last + 1);
        skipped.truncate(end);
        let kept = skipped.split_off(old);
        let tail = match kept.last().or(skipped.last()) {
            None => begins.tail,
            Some(index) => {
                let (_, before) = index.last_block();
                Tail { segment: before.segment + 1, offset: Tail::START.offset, ..before }
            }
        };
        let changes_from = begins.tail.segment;
        Ok(StreamStart { begins, changes_from, skipped, kept, tail })
    }

    /// Takes the changes of a full segment, up to a place in it; not of one before `from`.
    fn take_changes(
        &self,
        stream: u16,
        index: &SegmentSummary,
        (from, end): (u32, u64),
        builder: &Builder,
    ) -> Result<(), LogError> {
        let (_, last) = index.last_block();
        if last.segment < from {
            return Ok(());
        }
        for offset in index.changes().take_while(|&offset| offset < end) {
            let take = |block: &SoundBlock<'_>| builder.take_changes(block);
            self.index.with_block(stream, last.segment, offset, take)?;
        }
        Ok(())
    }

    /// Takes a full segment: its decisions from its dedupe file, as far as that is sound, and the rest
    /// from the segment itself.
    fn take_segment(
        &self,
        stream: u16,
        index: &SegmentSummary,
        changes_from: u32,
        builder: &Builder,
        seen: &mut Boundaries,
    ) -> Result<(), LogError> {
        let (_, last) = index.last_block();
        let segment = last.segment;
        let mut tail = seen.last();
        let follows = index.lsns().0 == tail.next_lsn;
        let file = if follows { self.dedupe.open(stream, segment, index) } else { Err(None) };
        let read = file.and_then(|file| {
            file.chunks(|chunk| {
                builder.take_kept(stream, &chunk);
                for boundary in chunk.boundaries(segment) {
                    seen.push(boundary);
                    tail = boundary;
                }
            })
        });
        if let Err(why) = read {
            if let Some(fault) = why {
                tracing::warn!(stream, segment, %fault, "the dedupe file of a log segment is unsound; the segment is read");
            }
            // Whoever makes these files does not read them, and makes those that are missing.
            self.dedupe.remove(stream, segment);
        }
        let end = if tail.segment == segment { tail.offset } else { 0 };
        self.take_changes(stream, index, (changes_from, end), builder)?;
        self.index.blocks_to(stream, tail, &last, |block| {
            builder.take(block);
            seen.push(Tail::after(block));
        })
    }
}

/// Reads all streams, repairs torn tails, and rebuilds the state of `shards` shards.
///
/// # Errors
/// [`Status::LogDamaged`] for a log that must not be cut, [`Status::DataDirectory`] for one that
/// can't be read.
pub fn rebuild(
    data_dir: &DataDir,
    key: &ChainKey,
    last_write: LastWrite,
    shards: u16,
    dedupe_entries: usize,
) -> Result<Rebuilt, Failure> {
    let builder = Builder::new(shards, dedupe_entries, DedupeKey::of(key));
    let fail = |e: LogError| Failure::new(e.status(), e.to_string());
    let log =
        OwnLog { data_dir: data_dir.path().to_owned(), cluster_id: data_dir.cluster_id, key: *key };
    // Before anything is made there.
    log.clear_leftovers();
    let files = Files {
        dedupe: DedupeFiles::new(log.clone(), shards, dedupe_entries as u64),
        index: IndexFiles::new(log),
    };
    let on_disk = match segment::streams(data_dir.path()) {
        Err(LogError::NoLog { .. }) => Vec::new(),
        other => other.map_err(fail)?,
    };
    // Streams of an earlier, wider layout first: their records are older than what today's shards
    // wrote.
    let dormant = on_disk.iter().copied().filter(|&stream| stream >= shards);
    let mut streams = Vec::new();
    let mut boundaries = BTreeMap::new();
    for stream in dormant.chain(0..shards) {
        let mut start = files.start_of(stream).map_err(fail)?;
        let mut seen = Boundaries::from_start(start.begins.tail);
        builder.begin(&start.begins);
        let mut checkpoint = checkpoint::read(&files.index, stream);
        if let Some(checkpoint) = &checkpoint {
            start.changes_from = start.changes_from.max(checkpoint.tail.segment);
        }
        let StreamStart { changes_from, .. } = start;
        // In its place among the changes: of a segment before it, one that has no sound dedupe file,
        // all records are taken, and the list loaded last is the one that counts.
        let mut reach = |segment: u32| {
            if let Some(checkpoint) = checkpoint.take_if(|_| segment >= changes_from) {
                builder.take_checkpoint(&checkpoint);
            }
        };
        for index in &start.skipped {
            reach(index.last_block().1.segment);
            files.take_changes(stream, index, (changes_from, u64::MAX), &builder).map_err(fail)?;
            builder.skip(index);
            seen.push(index.last_block().1);
        }
        for index in &start.kept {
            reach(index.last_block().1.segment);
            files.take_segment(stream, index, changes_from, &builder, &mut seen).map_err(fail)?;
        }
        // What is read whole from here on is read to the end, whatever lies before the checkpoint.
        reach(u32::MAX);
        let recovered = recover_stream(
            data_dir.path(),
            stream,
            data_dir.cluster_id,
            key,
            last_write,
            start.tail,
            |block| {
                builder.take(block);
                seen.push(Tail::after(block));
            },
        )
        .map_err(fail)?;
        boundaries.insert(stream, seen);
        if let Some(torn) = recovered.repaired {
            tracing::warn!(
                stream,
                segment = torn.segment,
                from = torn.from,
                what = %torn.reason,
                "the last write before the stop was not finished; it was never acknowledged and has been cleared"
            );
        }
        if stream < shards {
            streams.push(going_on(data_dir, stream, &recovered)?);
        }
    }
    let unusable =
        |e: ChangesFault| Failure::new(Status::LogDamaged, format!("the log can't be used: {e}"));
    let overlay = builder.overlay().map_err(unusable)?;
    let named = builder.named().map_err(unusable)?;
    // A standby makes the folder of a stream with its first block: one that is still empty may lie
    // below one that is not.
    let count = boundaries.last_key_value().map_or(0, |(last, _)| last + 1);
    let boundaries =
        (0..count).map(|stream| boundaries.remove(&stream).unwrap_or_default()).collect();
    Ok(Rebuilt { streams, boundaries, overlay, named, builder })
}

fn going_on(
    data_dir: &DataDir,
    stream: u16,
    recovered: &RecoveredStream,
) -> Result<Stream, Failure> {
    let path = segment::segment_path(data_dir.path(), stream, recovered.tail.segment);
    let segment_len = match std::fs::metadata(&path) {
        Ok(file) => Some(file.len()),
        // A stream without a block: its first segment is to be made.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && recovered.counts.blocks == 0 => None,
        Err(e) => {
            return Err(Failure::new(Status::DataDirectory, format!("{}: {e}", path.display())));
        }
    };
    Ok(Stream { tail: recovered.tail, segments: recovered.segments, segment_len })
}
