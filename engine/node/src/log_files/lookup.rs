//! The stored decisions on a transaction id. [`find`] scans every stream of a folder to its end,
//! and says where one is damaged: for a person who asks. A running node looks in its own streams by
//! their indexes ([`search`](super::search)).

use super::error::LogError;
use super::read::{LogReader, StreamRead};
use super::segment;
use crate::whole_file;
use catraca_core::log::BlockLocation;
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
#[derive(Debug, Clone)]
pub struct Found {
    /// The newest decisions with that id, newest first.
    pub records: Vec<StoredRecord>,
    /// How many there are; more than `records` holds when the limit cut some off.
    pub matches: u64,
    /// How each stream's reading ended. Where that is damage, decisions behind it were not seen.
    pub streams: Vec<(u16, StreamRead)>,
}

/// Finds the decisions on a transaction id, of one payer or of all.
///
/// # Errors
/// [`LogError::Io`].
pub fn find(
    log: &LogReader,
    id: &[u8; TRANSACTION_ID_LEN],
    payer: Option<&[u8; DOCUMENT_LEN]>,
    limit: usize,
) -> Result<Found, LogError> {
    let limit = limit.clamp(1, MAX_FOUND);
    let mut found = Found { records: Vec::new(), matches: 0, streams: Vec::new() };
    for &shard in log.shards() {
        let read = log.records(shard, |head, extension, place| {
            let transaction = &head.transaction;
            if head.kind == RecordKind::Decision.to_wire()
                && transaction.id == *id
                && payer.is_none_or(|payer| transaction.payer == *payer)
            {
                found.matches += 1;
                found.records.push(StoredRecord {
                    place: *place,
                    head: *head,
                    extension: extension.to_vec(),
                });
                if found.records.len() >= 2 * limit {
                    keep_newest(&mut found.records, limit);
                }
            }
            ControlFlow::Continue(())
        })?;
        found.streams.push((shard, read));
    }
    keep_newest(&mut found.records, limit);
    Ok(found)
}

fn keep_newest(records: &mut Vec<StoredRecord>, limit: usize) {
    records.sort_by_key(|record| std::cmp::Reverse(age(&record.head)));
    records.truncate(limit);
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
