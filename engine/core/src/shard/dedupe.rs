//! The dedupe table: the last decisions of a shard, found by payer and transaction id.
//!
//! ```text
//! index  from a fingerprint's key to its slot
//! ring   64-byte entries in order of decision; the oldest is overwritten
//! ```
//!
//! A probe costs one cache line of the index, and the entry's own line when it hits. The window is
//! bounded by entries, not by time: what falls out of it raises the [`Dedupe::horizon_ns`], and a
//! transaction older than that is refused rather than decided twice.

use crate::memory::{Table, TableMemory};
use crate::slot_index::{self, SlotIndex};
use bytemuck::{Pod, Zeroable};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{AnswerFields, TransactionFields};
use catraca_wire::record::{RecordHead, blacklist_version};
use std::io;

pub use super::fingerprint::{DedupeKey, Fingerprint};

/// Most entries of a table, 8,388,608: as many as its index has slots.
pub const MAX_ENTRIES: usize = slot_index::MAX_SLOTS;
/// Fewest: above what can be pending at once, so that an entry is never overwritten before it is
/// answered.
pub const MIN_ENTRIES: usize = 2 * crate::limits::MAX_PENDING;

/// Length of an entry in the ring, bytes.
pub const ENTRY_LEN: usize = size_of::<Entry>();
/// Memory of a table for each of its entries, bytes: one of the ring, and its part of the index.
pub const LEN_PER_ENTRY: usize = ENTRY_LEN + slot_index::LEN_PER_SLOT;

/// Entries that share one time stamp; the horizon is this coarse.
const STAMP_EVERY: u64 = 1024;
/// How far ahead of the overwriting the index line of the oldest entry is fetched.
const EVICT_AHEAD: u64 = 8;

/// A decision as the table holds it: all that an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    key: u64,
    key_more: u32,
    epoch: u32,
    content: u64,
    /// Stream in the high 12 bits, log sequence number below.
    address: u64,
    blacklist_version: u64,
    matched_rules: u64,
    receipt: u64,
    policy_version: u32,
    score: u16,
    /// Of the record: [`pack_verdict`].
    verdict_and_reason: u8,
    flags: u8,
}

const _: () = assert!(ENTRY_LEN == 64, "an entry is one cache line");

const LSN_BITS: u32 = 52;

/// A verdict and its reason in one byte, the verdict in the low half: an entry has no room for two.
#[inline]
pub(crate) const fn pack_verdict(verdict: u8, reason: u8) -> u8 {
    assert!(verdict < 16 && reason < 16, "verdicts and reasons have four bits each");
    verdict | reason << 4
}

/// The verdict and the reason of that byte.
#[inline]
pub(crate) const fn unpack_verdict(packed: u8) -> (u8, u8) {
    (packed & 15, packed >> 4)
}

/// Where an entry lies: counts all entries ever inserted, so that it names one for as long as it is
/// held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// What a look-up finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Never seen, as far as the window reaches.
    New,
    /// Decided before, with the same content.
    Same(Position),
    /// The id was used before for something else.
    Other,
}

/// The table.
pub struct Dedupe {
    secret: DedupeKey,
    index: SlotIndex,
    ring: Table<Entry>,
    stamps: Box<[u64]>,
    inserted: u64,
    newest_ns: u64,
    horizon_ns: u64,
}

impl Dedupe {
    /// An empty table of `entries`, a power of two from [`MIN_ENTRIES`] to [`MAX_ENTRIES`]. Takes
    /// [`LEN_PER_ENTRY`] for each, as they come.
    pub fn new(entries: usize, secret: DedupeKey) -> Self {
        assert!(
            entries.is_power_of_two() && (MIN_ENTRIES..=MAX_ENTRIES).contains(&entries),
            "{entries} entries"
        );
        Self {
            secret,
            index: allocated(entries, SlotIndex::new(entries)),
            ring: allocated(entries, Table::zeroed(entries)),
            stamps: vec![0; entries / STAMP_EVERY as usize + 2].into_boxed_slice(),
            inserted: 0,
            newest_ns: 0,
            horizon_ns: 0,
        }
    }

    /// The hashes of a transaction, by this table's key.
    #[inline]
    pub fn fingerprint(
        &self,
        institution: u16,
        payer: DocumentKey,
        transaction: &TransactionFields,
    ) -> Fingerprint {
        self.secret.fingerprint(institution, payer, transaction)
    }

    /// Asks the processor for the index lines that [`Self::find`] may read.
    #[inline]
    pub fn prefetch(&self, fingerprint: &Fingerprint) {
        self.index.prefetch(fingerprint.key);
    }

    #[inline]
    fn slot_mask(&self) -> u64 {
        self.ring.len() as u64 - 1
    }

    fn oldest(&self) -> u64 {
        self.inserted.saturating_sub(self.ring.len() as u64)
    }

    /// Looks a transaction up.
    #[inline]
    pub fn find(&self, fingerprint: &Fingerprint) -> Found {
        let held = self.index.find(fingerprint.key, |slot| {
            let entry = &self.ring[slot];
            entry.key == fingerprint.key && entry.key_more == fingerprint.key_more
        });
        let Some(slot) = held else {
            return Found::New;
        };
        if self.ring[slot].content != fingerprint.content {
            return Found::Other;
        }
        // The slot's position is the newest insertion that lies in it.
        let newest = self.inserted - 1;
        let back = newest.wrapping_sub(slot as u64) & self.slot_mask();
        Found::Same(Position(newest - back))
    }

    /// Holds a decision as its record says, which stands in a block of this stream, epoch and
    /// receipt: the same while the shard decides, when a node starts, and on a standby. The receipt
    /// of an open block is not known yet, and is set later.
    #[inline]
    pub fn insert_record(
        &mut self,
        fingerprint: &Fingerprint,
        record: &RecordHead,
        stream: u16,
        epoch: u32,
        receipt: u64,
    ) -> Position {
        let answer = AnswerFields {
            verdict: record.verdict,
            flags: record.flags,
            score: record.score,
            policy_version: record.policy_version,
            blacklist_version: blacklist_version(
                record.snapshot_id.to_native(),
                record.overlay_sequence.to_native(),
            )
            .into(),
            matched_rules: record.matched_rules,
            epoch: epoch.into(),
            lsn: record.lsn,
            receipt: receipt.into(),
            reason: record.reason,
            ..AnswerFields::zeroed()
        };
        let event_time_ns = record.transaction.event_time_ns.to_native();
        self.insert(fingerprint, event_time_ns, stream, &answer)
    }

    /// Holds a decision that [`Self::find`] called new. The oldest falls out when the table is
    /// full. `event_time_ns` is the transaction's own time, which a resend repeats, so that the
    /// horizon tells for sure: not the server's, which may be before it.
    #[inline]
    pub fn insert(
        &mut self,
        fingerprint: &Fingerprint,
        event_time_ns: u64,
        stream: u16,
        answer: &AnswerFields,
    ) -> Position {
        let position = self.inserted;
        let slot = position & self.slot_mask();
        if position >= self.ring.len() as u64 {
            self.evict(slot);
        }
        if position.is_multiple_of(STAMP_EVERY) {
            let stamp = (position / STAMP_EVERY) as usize % self.stamps.len();
            self.stamps[stamp] = self.newest_ns.max(event_time_ns);
        }
        self.newest_ns = self.newest_ns.max(event_time_ns);
        let lsn = answer.lsn.to_native();
        assert!(lsn < 1 << LSN_BITS, "a stream has at most 2^52 records");
        self.ring[slot as usize] = Entry {
            key: fingerprint.key,
            key_more: fingerprint.key_more,
            epoch: answer.epoch.to_native(),
            content: fingerprint.content,
            address: u64::from(stream) << LSN_BITS | lsn,
            blacklist_version: answer.blacklist_version.to_native(),
            matched_rules: answer.matched_rules.to_native(),
            receipt: answer.receipt.to_native(),
            policy_version: answer.policy_version.to_native(),
            score: answer.score.to_native(),
            verdict_and_reason: pack_verdict(answer.verdict, answer.reason),
            flags: answer.flags,
        };
        self.index.insert(fingerprint.key, slot as usize);
        self.inserted += 1;
        Position(position)
    }

    /// Takes the entry in `slot`, the oldest, out of the index.
    fn evict(&mut self, slot: u64) {
        let ahead = (slot + EVICT_AHEAD) & self.slot_mask();
        self.index.prefetch(self.ring[ahead as usize].key);
        let oldest = self.inserted - self.ring.len() as u64;
        // The next stamp is no earlier than any entry before it.
        let next_stamp = (oldest / STAMP_EVERY + 1) as usize % self.stamps.len();
        self.horizon_ns = self.horizon_ns.max(self.stamps[next_stamp]);
        self.index.remove(self.ring[slot as usize].key, slot as usize);
    }

    /// The answer held at a position.
    ///
    /// # Panics
    /// When the entry has fallen out: positions are kept only for pending answers, which the table
    /// outlasts.
    #[inline]
    pub fn answer(&self, position: Position, duplicate: bool) -> AnswerFields {
        let entry = &self.ring[self.held(position)];
        let (verdict, reason) = unpack_verdict(entry.verdict_and_reason);
        AnswerFields {
            verdict,
            flags: entry.flags | if duplicate { catraca_wire::frame::VERDICT_DUPLICATE } else { 0 },
            score: entry.score.into(),
            policy_version: entry.policy_version.into(),
            blacklist_version: entry.blacklist_version.into(),
            matched_rules: entry.matched_rules.into(),
            shard: ((entry.address >> LSN_BITS) as u16).into(),
            epoch: entry.epoch.into(),
            lsn: (entry.address & ((1 << LSN_BITS) - 1)).into(),
            receipt: entry.receipt.into(),
            reason,
            reserved: 0,
        }
    }

    /// Whether the entry at a position is still held after so many more insertions.
    #[inline]
    pub fn outlasts(&self, position: Position, insertions: usize) -> bool {
        position.0 + self.ring.len() as u64 >= self.inserted + insertions as u64
    }

    /// The stream and log sequence number of the entry at a position.
    #[inline]
    pub fn address(&self, position: Position) -> (u16, u64) {
        let address = self.ring[self.held(position)].address;
        ((address >> LSN_BITS) as u16, address & ((1 << LSN_BITS) - 1))
    }

    /// Fills in the receipt, which is known once the record's block is closed.
    #[inline]
    pub fn set_receipt(&mut self, position: Position, receipt: u64) {
        let slot = self.held(position);
        self.ring[slot].receipt = receipt;
    }

    #[inline]
    fn held(&self, position: Position) -> usize {
        assert!(
            position.0 >= self.oldest() && position.0 < self.inserted,
            "an entry fell out of the table while it was needed"
        );
        (position.0 & self.slot_mask()) as usize
    }

    /// No transaction that happened up to this time is sure to be held still, nanoseconds since
    /// 1970 UTC; 0 while nothing has fallen out.
    #[inline]
    pub fn horizon_ns(&self) -> u64 {
        self.horizon_ns
    }

    /// Entries held.
    pub fn len(&self) -> u64 {
        self.inserted.min(self.ring.len() as u64)
    }

    /// Has forgotten all that happened up to this time, nanoseconds since 1970 UTC: a start that does
    /// not read old decisions says so.
    pub fn forget_up_to(&mut self, event_time_ns: u64) {
        self.horizon_ns = self.horizon_ns.max(event_time_ns);
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.inserted == 0
    }

    /// The memory of the index, which is touched at random from the first entry on, and of the ring,
    /// of which each entry touches the next 64 bytes.
    pub fn memory(&self) -> (TableMemory, TableMemory) {
        (self.index.memory(), self.ring.memory())
    }

    /// Most entries that can be held.
    pub fn capacity(&self) -> usize {
        self.ring.len()
    }
}

/// The addresses of a table; without them the node can't start, like any allocation.
fn allocated<T>(entries: usize, table: io::Result<T>) -> T {
    table.unwrap_or_else(|error| {
        panic!("no memory for {entries} entries of the dedupe table: {error}; lower dedupe_entries")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn transaction(id: u64, amount: i64) -> TransactionFields {
        let mut t = TransactionFields::zeroed();
        t.id[..8].copy_from_slice(&id.to_le_bytes());
        t.amount_centavos = amount.into();
        t
    }

    fn answer(lsn: u64) -> AnswerFields {
        AnswerFields { lsn: lsn.into(), verdict: 1, ..AnswerFields::zeroed() }
    }

    fn payer() -> DocumentKey {
        DocumentKey::parse("04933228680").expect("valid")
    }

    #[test]
    fn a_resend_is_found_and_a_reused_id_told() {
        let mut table = Dedupe::new(MIN_ENTRIES, DedupeKey([3; 16]));
        let first = transaction(1, 100);
        let print = table.fingerprint(0, payer(), &first);
        assert_eq!(table.find(&print), Found::New);
        let position = table.insert(&print, 5, 7, &answer(41));
        let mut again = first;
        again.budget_us = 9.into();
        again.trace_id = [1; 16];
        assert_eq!(table.find(&table.fingerprint(0, payer(), &again)), Found::Same(position));
        assert_eq!(table.find(&table.fingerprint(0, payer(), &transaction(1, 101))), Found::Other);
        let other_payer = DocumentKey::parse("00000000000191").expect("valid");
        assert_eq!(table.find(&table.fingerprint(0, other_payer, &first)), Found::New);
        table.set_receipt(position, 99);
        let held = table.answer(position, true);
        assert_eq!(
            (held.lsn.to_native(), held.shard.to_native(), held.receipt.to_native(), held.flags),
            (41, 7, 99, 1)
        );
    }

    /// Against a plain map, over several times the capacity: what is in the window is found at its
    /// place, what fell out is not.
    #[test]
    fn the_window_agrees_with_a_model() {
        let mut table = Dedupe::new(MIN_ENTRIES, DedupeKey([9; 16]));
        let mut model: HashMap<u64, Position> = HashMap::new();
        let total = 3 * MIN_ENTRIES as u64 + 17;
        for id in 0..total {
            let t = transaction(id, 1);
            let print = table.fingerprint(0, payer(), &t);
            assert_eq!(table.find(&print), Found::New);
            model.insert(id, table.insert(&print, 1_000 + id, 0, &answer(id + 1)));
        }
        let window = total - MIN_ENTRIES as u64..total;
        for id in (0..total).step_by(7).chain(window.start - 3..window.start + 3) {
            let expected = if window.contains(&id) { Found::Same(model[&id]) } else { Found::New };
            assert_eq!(
                table.find(&table.fingerprint(0, payer(), &transaction(id, 1))),
                expected,
                "{id}"
            );
        }
        // Nothing evicted was decided after the horizon, and the horizon is at most a stamp's width
        // ahead of that.
        let newest_evicted_ns = 1_000 + window.start - 1;
        assert!(
            table.horizon_ns() >= newest_evicted_ns
                && table.horizon_ns() <= newest_evicted_ns + STAMP_EVERY
        );
        assert_eq!(table.len(), MIN_ENTRIES as u64);
        assert_eq!(table.index.len(), MIN_ENTRIES);
    }
}
