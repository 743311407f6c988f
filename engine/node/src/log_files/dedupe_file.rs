//! The files with what the dedupe table needs of full segments: making them beside the log, and
//! reading them at a start.

use super::lookup::OwnLog;
use super::segment::{dedupe_files, dedupe_path};
use crate::whole_file::{self, WholeFile};
use catraca_core::log::SoundBlock;
use catraca_core::log::index::SegmentSummary;
use catraca_core::rebuild::dedupe_file::{
    Chunk, ChunkRead, DedupeFile, DedupeFileBuilder, DedupeFileFault, DedupeFileKeys, FOOT_LEN,
    SegmentName,
};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

/// Chunks that are read and checked ahead of the one that is taken.
const CHUNKS_AHEAD: usize = 4;

/// The dedupe files of a log.
pub struct DedupeFiles {
    log: OwnLog,
    keys: DedupeFileKeys,
    /// Shards of the node.
    shards: u16,
    /// Decisions that each stream's files must hold: as many as a table.
    entries: u64,
}

impl DedupeFiles {
    /// Of this log, for a node with so many shards, whose tables have `entries`.
    pub fn new(log: OwnLog, shards: u16, entries: u64) -> Self {
        let keys = DedupeFileKeys::new(&log.key);
        Self { log, keys, shards, entries }
    }

    /// How many of a stream's newest decisions are of use.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The segments of a stream that have a file, sound or not, ascending.
    pub fn segments(&self, shard: u16) -> Vec<u32> {
        // A folder that can't be listed has none for now.
        dedupe_files(&self.log.data_dir, shard).unwrap_or_default()
    }

    /// The file of a full segment, if there is one of what the log has there.
    ///
    /// # Errors
    /// What is wrong with it; `None` where there is none, or none that can be read.
    pub fn open(
        &self,
        shard: u16,
        segment: u32,
        index: &SegmentSummary,
    ) -> Result<KeptSegment<'_>, Option<DedupeFileFault>> {
        let read = || -> io::Result<Result<KeptSegment<'_>, DedupeFileFault>> {
            let file = File::open(dedupe_path(&self.log.data_dir, shard, segment))?;
            let len = file.metadata()?.len();
            let Some(foot_at) = len.checked_sub(FOOT_LEN as u64) else {
                return Ok(Err(DedupeFileFault::Length));
            };
            let mut foot = [0; FOOT_LEN];
            file.read_exact_at(&mut foot, foot_at)?;
            let end_len = match DedupeFile::end_len(&foot, len) {
                Ok(end_len) => end_len,
                Err(fault) => return Ok(Err(fault)),
            };
            let mut end = vec![0; end_len];
            file.read_exact_at(&mut end, len - end_len as u64)?;
            let OwnLog { cluster_id, .. } = self.log;
            let name = SegmentName { cluster_id, shard, segment, shards: self.shards };
            Ok(DedupeFile::open(&end, len, &name, index, &self.keys).map(|kept| KeptSegment {
                file,
                kept,
                keys: &self.keys,
            }))
        };
        read().map_err(|_| None)?.map_err(Some)
    }

    /// Removes a file: it is of no use any more, or unsound. One that stays is found again.
    pub fn remove(&self, shard: u16, segment: u32) {
        let _ = fs::remove_file(dedupe_path(&self.log.data_dir, shard, segment));
    }

    /// Begins the file of a segment.
    pub fn begin(&self, shard: u16, segment: u32) -> Writing {
        let path = dedupe_path(&self.log.data_dir, shard, segment);
        let file = unless_failed(WholeFile::create(&path, whole_file::GROUP), &path);
        Writing { path, file, builder: DedupeFileBuilder::new(self.shards) }
    }
}

/// A file in the making. One that can't be written is given up until the next start: it helps, and
/// nothing depends on it.
pub struct Writing {
    path: PathBuf,
    /// `None` once it was given up.
    file: Option<WholeFile>,
    builder: DedupeFileBuilder,
}

impl Writing {
    /// Takes the segment's next block.
    pub fn take(&mut self, block: &SoundBlock<'_>, files: &DedupeFiles) {
        let Some(mut file) = self.file.take() else { return };
        let written = match self.builder.take(block, &files.keys) {
            Some(bytes) => file.write_in_pieces(&bytes),
            None => Ok(()),
        };
        self.file = unless_failed(written.map(|()| file), &self.path);
    }

    /// Gives the file its name: of this segment of a stream.
    pub fn finish(self, files: &DedupeFiles, shard: u16, segment: u32) {
        let Self { path, file, builder } = self;
        let Some(mut file) = file else { return };
        let rest = builder.finish(files.log.cluster_id, shard, segment, &files.keys);
        unless_failed(file.write_in_pieces(&rest).and_then(|()| file.finish()), &path);
    }
}

fn unless_failed<T>(result: io::Result<T>, path: &Path) -> Option<T> {
    let tell = |error: &io::Error| {
        tracing::warn!(file = %path.display(), %error, "what the dedupe table needs of a log segment can't be written; a start reads the segment");
    };
    result.inspect_err(tell).ok()
}

/// The file of a segment, opened to be read.
pub struct KeptSegment<'f> {
    file: File,
    kept: DedupeFile,
    keys: &'f DedupeFileKeys,
}

impl KeptSegment<'_> {
    /// Shows each sound chunk, in order. Another thread reads and checks what comes next meanwhile.
    ///
    /// # Errors
    /// What is wrong with the first that is not sound; `None` for one that can't be read. What was
    /// shown before it is of the segment all the same.
    pub fn chunks(&self, mut show: impl FnMut(Chunk)) -> Result<(), Option<DedupeFileFault>> {
        let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut first_lsn = self.kept.first_lsn();
                for read in self.kept.chunks() {
                    let chunk = self.chunk(read, first_lsn);
                    // Behind one that is unsound nothing is of use.
                    let next_lsn = chunk.as_ref().ok().map(Chunk::next_lsn);
                    let (Ok(()), Some(next_lsn)) = (sender.send(chunk), next_lsn) else { break };
                    first_lsn = next_lsn;
                }
            });
            for chunk in chunks {
                show(chunk?);
            }
            Ok(())
        })
    }

    fn chunk(&self, read: ChunkRead, first_lsn: u64) -> Result<Chunk, Option<DedupeFileFault>> {
        let mut bytes = vec![0; read.len];
        self.file.read_exact_at(&mut bytes, read.offset).map_err(|_| None)?;
        self.kept.chunk(read, bytes, first_lsn, self.keys).map_err(Some)
    }
}
