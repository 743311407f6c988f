//! What a start makes of the log: every stream read, torn ends repaired, the shards' state rebuilt.

use crate::data_dir::DataDir;
use crate::fatal::{Failure, Status};
use crate::log_files::{LogError, RecoveredStream, recover_stream, segment};
use catraca_core::blacklist::Overlay;
use catraca_core::log::Tail;
use catraca_core::log::recovery::LastWrite;
use catraca_core::rebuild::Builder;
use catraca_core::replica::Boundaries;
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
    /// The dedupe tables, and the list last loaded: for a node that follows, to go on taking
    /// blocks.
    pub builder: Builder,
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
    let builder = Builder::new(shards, dedupe_entries, crate::random::bytes());
    let fail = |e: LogError| Failure::new(e.status(), e.to_string());
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
        let mut seen = Boundaries::default();
        let recovered = recover_stream(
            data_dir.path(),
            stream,
            data_dir.cluster_id,
            key,
            last_write,
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
    let overlay = builder
        .overlay()
        .map_err(|e| Failure::new(Status::LogDamaged, format!("the log can't be used: {e}")))?;
    // A standby makes the folder of a stream with its first block: one that is still empty may lie
    // below one that is not.
    let count = boundaries.last_key_value().map_or(0, |(last, _)| last + 1);
    let boundaries =
        (0..count).map(|stream| boundaries.remove(&stream).unwrap_or_default()).collect();
    Ok(Rebuilt { streams, boundaries, overlay, builder })
}

fn going_on(
    data_dir: &DataDir,
    stream: u16,
    recovered: &RecoveredStream,
) -> Result<Stream, Failure> {
    let segment_len = if recovered.segments == 0 {
        None
    } else {
        let path = segment::segment_path(data_dir.path(), stream, recovered.tail.segment);
        let len = std::fs::metadata(&path)
            .map_err(|e| Failure::new(Status::DataDirectory, format!("{}: {e}", path.display())))?
            .len();
        Some(len)
    };
    Ok(Stream { tail: recovered.tail, segments: recovered.segments, segment_len })
}
