//! Rebuilding the shards' state from the log: dedupe tables, overlay, the list last loaded.
//!
//! The number of shards may have changed since the log was written: every stream is read, and each decision goes to the shard
//! that owns its payer now.

use crate::blacklist::Overlay;
use crate::data_dir::DataDir;
use crate::fatal::{Failure, Status};
use crate::log::startup::{RecoveredStream, recover_stream};
use crate::log::{SoundBlock, segment};
use crate::shard::dedupe::{Dedupe, DedupeKey};
use crate::shard::owner;
use bytemuck::Zeroable;
use catraca_wire::DocumentKey;
use catraca_wire::block::{ChainKey, receipt};
use catraca_wire::frame::AnswerFields;
use catraca_wire::record::{OverlayChange, RecordHead, RecordKind, blacklist_version};

/// Where a stream goes on.
pub struct Stream {
    /// Sequence number of the next record.
    pub next_lsn: u64,
    /// Chain value of the last block.
    pub previous_chain: [u8; 32],
    /// Epoch of the last block; 0 in a new stream.
    pub epoch: u32,
    /// Segment of the next block.
    pub segment: u32,
    /// Where in it, bytes.
    pub offset: u64,
    /// Segments that exist.
    pub segments: u32,
    /// Length of the segment in use, bytes, where there is one: the setting may have changed since.
    pub segment_len: Option<u64>,
}

/// What the log told.
pub struct Rebuilt {
    /// By shard.
    pub dedupes: Vec<Dedupe>,
    /// By shard.
    pub streams: Vec<Stream>,
    /// The overlay after all logged changes.
    pub overlay: Overlay,
    /// Id of the snapshot last loaded on a running node; 0 none.
    pub snapshot_id: u64,
    /// Records read.
    pub records: u64,
}

/// Takes the blocks of all streams, one stream after the other, and holds the state that they amount to. Pure.
pub struct Builder {
    shards: u16,
    dedupes: Vec<Dedupe>,
    changes: Vec<OverlayChange>,
    loaded: (u64, u64),
    records: u64,
}

impl Builder {
    /// Of a node with so many shards now, whose dedupe tables have `dedupe_entries` and this secret.
    pub fn new(shards: u16, dedupe_entries: usize, secret: [u8; 16]) -> Self {
        let dedupes = (0..shards).map(|_| Dedupe::new(dedupe_entries, DedupeKey(secret))).collect();
        Self { shards, dedupes, changes: Vec::new(), loaded: (0, 0), records: 0 }
    }

    /// The dedupe tables, by shard.
    pub fn into_dedupes(self) -> Vec<Dedupe> {
        self.dedupes
    }

    /// Takes the next block of a stream.
    pub fn take(&mut self, block: &SoundBlock<'_>) {
        for (head, _) in block.records() {
            self.records += 1;
            match RecordKind::from_wire(head.kind) {
                Some(RecordKind::Decision) => self.decision(head, block),
                Some(RecordKind::OverlayChange) => self.changes.extend(OverlayChange::from_record(head)),
                Some(RecordKind::SnapshotLoaded) => {
                    self.loaded = self.loaded.max((head.decided_at_ns.to_native(), head.snapshot_id.to_native()));
                }
                None => {}
            }
        }
    }

    fn decision(&mut self, head: &RecordHead, block: &SoundBlock<'_>) {
        let Ok(payer) = DocumentKey::from_wire(&head.transaction.payer) else { return };
        let dedupe = &mut self.dedupes[usize::from(owner(payer, self.shards))];
        let answer = AnswerFields {
            verdict: head.verdict,
            flags: head.flags,
            score: head.score,
            policy_version: head.policy_version,
            blacklist_version: blacklist_version(head.snapshot_id.to_native(), head.overlay_sequence.to_native()).into(),
            matched_rules: head.matched_rules,
            epoch: block.place.epoch.into(),
            lsn: head.lsn,
            receipt: receipt(&block.place.chain).into(),
            ..AnswerFields::zeroed()
        };
        let fingerprint = dedupe.fingerprint(payer, &head.transaction);
        dedupe.insert(&fingerprint, head.transaction.event_time_ns.to_native(), block.place.shard, &answer);
    }
}

/// Reads all streams, repairs torn tails, and rebuilds the state of `shards` shards.
///
/// # Errors
/// [`Status::LogDamaged`] for a log that must not be cut, [`Status::DataDirectory`] for one that can't be read.
pub fn from_log(data_dir: &DataDir, key: &ChainKey, shards: u16, dedupe_entries: usize) -> Result<Rebuilt, Failure> {
    let mut builder = Builder::new(shards, dedupe_entries, crate::random::bytes());
    let fail = |e: crate::log::LogError| Failure::new(e.status(), e.to_string());
    let on_disk = match segment::streams(data_dir.path()) {
        Err(crate::log::LogError::NoLog { .. }) => Vec::new(),
        other => other.map_err(fail)?,
    };
    // Streams of an earlier, wider layout first: their records are older than what today's shards wrote.
    let dormant = on_disk.iter().copied().filter(|&stream| stream >= shards);
    let mut streams = Vec::new();
    for stream in dormant.chain(0..shards) {
        let recovered =
            recover_stream(data_dir.path(), stream, data_dir.cluster_id, key, |block| builder.take(block)).map_err(fail)?;
        if let Some(torn) = recovered.repaired {
            tracing::warn!(
                stream,
                segment = torn.segment,
                from = torn.from,
                "the last write before the stop was not finished; it was never acknowledged and has been cleared"
            );
        }
        if stream < shards {
            streams.push(going_on(data_dir, stream, &recovered)?);
        }
    }
    builder.changes.sort_unstable_by_key(|change| change.sequence);
    let mut overlay = Overlay::new();
    for change in &builder.changes {
        overlay
            .apply(change)
            .map_err(|e| Failure::new(Status::LogDamaged, format!("the log holds more overlay changes than fit: {e}")))?;
    }
    Ok(Rebuilt { dedupes: builder.dedupes, streams, overlay, snapshot_id: builder.loaded.1, records: builder.records })
}

fn going_on(data_dir: &DataDir, stream: u16, recovered: &RecoveredStream) -> Result<Stream, Failure> {
    let segment_len = if recovered.segments == 0 {
        None
    } else {
        let path = segment::segment_path(data_dir.path(), stream, recovered.segment);
        let len =
            std::fs::metadata(&path).map_err(|e| Failure::new(Status::DataDirectory, format!("{}: {e}", path.display())))?.len();
        Some(len)
    };
    Ok(Stream {
        next_lsn: recovered.next_lsn,
        previous_chain: recovered.previous_chain,
        epoch: recovered.epoch,
        segment: recovered.segment,
        offset: recovered.offset,
        segments: recovered.segments,
        segment_len,
    })
}
