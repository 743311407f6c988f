//! The stored decisions on a transaction id, and their labels. [`find`] scans every stream of a folder to its end,
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
use catraca_wire::extension::Label;
use catraca_wire::frame::TRANSACTION_ID_LEN;
use catraca_wire::record::{RecordHead, RecordKind};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Most records that a look-up gives back: ids repeat only between payers, and a person reads the
/// answer.
pub const MAX_FOUND: usize = 256;

/// Most labels that a look-up gives back, and that one decision may have: a person reads them, and what can be
/// said of a payment is soon said.
pub const MAX_LABELS_FOUND: usize = 256;

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

/// A label out of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLabel {
    /// What it says, and of which decision.
    pub label: Label,
    /// Sequence number of its own record, in stream 0.
    pub lsn: u64,
    /// When it was recorded, nanoseconds since 1970 UTC.
    pub logged_at_ns: u64,
    /// Id of the labelled transaction.
    pub id: [u8; TRANSACTION_ID_LEN],
    /// Payer of the labelled transaction.
    pub payer: [u8; DOCUMENT_LEN],
}

impl StoredLabel {
    /// Out of a record; `None` if it is none, or an unsound one.
    pub fn from_record(head: &RecordHead, extension: &[u8]) -> Option<Self> {
        Some(Self {
            label: Label::from_record(head, extension)?,
            lsn: head.lsn.to_native(),
            logged_at_ns: head.decided_at_ns.to_native(),
            id: head.transaction.id,
            payer: head.transaction.payer,
        })
    }

    /// What orders the labels of a decision: the last one counts.
    pub const fn age(&self) -> (u64, u64) {
        (self.label.known_at_ns, self.lsn)
    }

    /// Whether it is of this decision, which has that place in the log.
    pub fn is_of(&self, shard: u16, decision: &RecordHead) -> bool {
        (self.label.shard, self.label.lsn) == (shard, decision.lsn.to_native())
            && self.id == decision.transaction.id
            && self.payer == decision.transaction.payer
    }
}

/// A label that a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLabel {
    /// What it says.
    pub stored: StoredLabel,
    /// Its record.
    pub record: StoredRecord,
}

/// What a look-up found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The newest decisions with that id, newest first.
    pub records: Vec<StoredRecord>,
    /// How many there are; more than `records` holds when the limit cut some off.
    pub matches: u64,
    /// Labels of decisions with that id, in the order of the log; of more than [`MAX_LABELS_FOUND`] the newest.
    pub labels: Vec<FoundLabel>,
    /// How each stream's reading ended. Where that is damage, decisions behind it were not seen.
    pub streams: Vec<(u16, StreamRead)>,
}

impl Found {
    /// Takes what a block has of decisions on a query, and of their labels; keeps `limit` of the decisions and
    /// some, the newest.
    pub(super) fn take(&mut self, block: &SoundBlock<'_>, query: &Query, limit: usize) {
        for (head, extension) in block.records() {
            let kind = RecordKind::from_wire(head.kind);
            let wanted = match kind {
                // A label has the institution of what it is said of.
                Some(RecordKind::Decision | RecordKind::Label) => query.is_for(head),
                _ => false,
            };
            if !wanted {
                continue;
            }
            let record =
                || StoredRecord { place: block.place, head: *head, extension: extension.to_vec() };
            if kind == Some(RecordKind::Label) {
                let stored = StoredLabel::from_record(head, extension);
                self.labels.extend(stored.map(|stored| FoundLabel { stored, record: record() }));
                if self.labels.len() >= 2 * MAX_LABELS_FOUND {
                    self.keep_newest(limit);
                }
                continue;
            }
            self.matches += 1;
            self.records.push(record());
            if self.records.len() >= 2 * limit {
                self.keep_newest(limit);
            }
        }
    }

    /// The labels of one of the decisions.
    pub fn labels_of<'f>(
        &'f self,
        decision: &'f StoredRecord,
    ) -> impl Iterator<Item = &'f FoundLabel> {
        let is_of = |label: &&FoundLabel| label.stored.is_of(decision.place.shard, &decision.head);
        self.labels.iter().filter(is_of)
    }

    /// Keeps so many decisions, the newest, in order; and of the labels the newest.
    pub(super) fn keep_newest(&mut self, limit: usize) {
        self.labels.sort_by_key(|label| label.stored.lsn);
        let older = self.labels.len().saturating_sub(MAX_LABELS_FOUND);
        self.labels.drain(..older);
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
        whole_file::clear_leftovers(&segment::log_dir(&self.data_dir));
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
    /// The institution whose it is; `None` for any.
    pub institution: Option<u16>,
}

impl Query {
    /// Whether it asks for this decision, or this label of one.
    pub fn is_for(&self, head: &RecordHead) -> bool {
        let institution = head.submitter.institution.to_native();
        head.transaction.id == self.id
            && self.payer.is_none_or(|payer| head.transaction.payer == payer)
            && self.institution.is_none_or(|wanted| wanted == institution)
    }
}

/// What orders records by their age, also those of different streams.
pub(super) fn age(head: &RecordHead) -> (u64, u64) {
    (head.decided_at_ns.to_native(), head.lsn.to_native())
}
