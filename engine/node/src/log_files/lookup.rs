//! The stored decisions on a transaction id. [`find`] scans every stream of a folder to its end,
//! and says where one is damaged: for a person who asks; [`indexed`](super::indexed) asks the indexes
//! beside the segments first. A running node looks in its own streams by their indexes
//! ([`search`](super::search)).

use super::error::LogError;
use super::read::{LogReader, StreamRead};
use super::segment;
use crate::whole_file;
use catraca_core::log::{BlockLocation, SoundBlock};
use catraca_wire::block::ChainKey;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::TRANSACTION_ID_LEN;
use catraca_wire::record::{RecordHead, RecordKind};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Most records that a look-up gives back: ids repeat only between payers, and a person reads the
/// answer.
pub const MAX_FOUND: usize = 256;

/// A record out of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it lies.
    pub place: BlockLocation,
    /// Its head.
    pub head: RecordHead,
    /// Its extension, at most [`MAX_EXTENSION_LEN`](catraca_wire::record::MAX_EXTENSION_LEN) bytes.
    pub extension: Vec<u8>,
}

/// What a look-up found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The newest decisions with that id, newest first.
    pub records: Vec<StoredRecord>,
    /// How many there are; more than `records` holds when the limit cut some off.
    pub matches: u64,
    /// How each stream's reading ended. Where that is damage, decisions behind it were not seen.
    pub streams: Vec<(u16, StreamRead)>,
}

impl Found {
    /// Takes what a block has of decisions on a query; keeps `limit` and some, the newest.
    pub(super) fn take(&mut self, block: &SoundBlock<'_>, query: &Query, limit: usize) {
        for (head, extension) in block.records() {
            let transaction = &head.transaction;
            if head.kind != RecordKind::Decision.to_wire()
                || transaction.id != query.id
                || query.payer.is_some_and(|payer| transaction.payer != payer)
            {
                continue;
            }
            self.matches += 1;
            self.records.push(StoredRecord {
                place: block.place,
                head: *head,
                extension: extension.to_vec(),
            });
            if self.records.len() >= 2 * limit {
                self.keep_newest(limit);
            }
        }
    }

    /// Keeps so many, the newest, in order.
    pub(super) fn keep_newest(&mut self, limit: usize) {
        self.records.sort_by_key(|record| std::cmp::Reverse(age(&record.head)));
        self.records.truncate(limit);
    }
}

/// Finds the decisions on a query by reading all of the log.
///
/// # Errors
/// [`LogError::Io`].
pub fn find(log: &LogReader, query: &Query, limit: usize) -> Result<Found, LogError> {
    let limit = limit.clamp(1, MAX_FOUND);
    let mut found = Found::default();
    for &shard in log.shards() {
        let read = log.blocks(shard, log.start(shard)?.tail, |block| {
            found.take(block, query, limit);
            ControlFlow::Continue(())
        })?;
        found.streams.push((shard, read));
    }
    found.keep_newest(limit);
    Ok(found)
}

/// A running node's own log.
#[derive(Debug, Clone)]
pub struct OwnLog {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The cluster that every block names.
    pub cluster_id: [u8; 16],
    /// Key of the chain.
    pub key: ChainKey,
}

impl OwnLog {
    /// Removes what an earlier run left half-made beside the segments. For a start, before anything is
    /// made there.
    pub fn clear_leftovers(&self) {
        for shard in segment::streams(&self.data_dir).unwrap_or_default() {
            whole_file::clear_leftovers(&segment::stream_dir(&self.data_dir, shard));
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The transaction's id.
    pub id: [u8; TRANSACTION_ID_LEN],
    /// Its payer; `None` for any.
    pub payer: Option<[u8; DOCUMENT_LEN]>,
}

/// What orders records by their age, also those of different streams.
pub(super) fn age(head: &RecordHead) -> (u64, u64) {
    (head.decided_at_ns.to_native(), head.lsn.to_native())
}
