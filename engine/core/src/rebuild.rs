//! Rebuilding the shards' state from the log's blocks: dedupe tables, overlay, the list last loaded, the
//! policy in force.
//!
//! The number of shards may have changed since the log was written: every stream is read, and each
//! decision goes to the shard that owns its payer now.

pub mod dedupe_file;
mod live;
mod past;

pub use live::LivePasts;
pub use past::Pasts;

use crate::blacklist::{Overlay, OverlayFull};
use crate::log::index::SegmentSummary;
use crate::log::policies::{ComingPolicy, PolicyInLog, PolicyText, PolicyUnreadable};
use crate::log::start::LogStart;
use crate::log::{BlockLocation, SoundBlock};
use crate::memory::TableMemory;
use crate::named_lists::NamedLists;
use crate::owner::{owner, owner_of_position};
use crate::shard::dedupe::{Dedupe, DedupeKey, Fingerprint};
use catraca_wire::DocumentKey;
use catraca_wire::block::receipt;
use catraca_wire::extension::ListChange;
use catraca_wire::record::{OverlayChange, RecordHead, RecordKind};
use dedupe_file::Chunk;
use parking_lot::{Mutex, MutexGuard};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why the logged changes can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangesFault {
    /// More than fit.
    #[error(transparent)]
    Full(OverlayFull),
    /// One is of a kind that this program does not know.
    #[error(
        "it holds a change of the blacklist that this program can't read: use the program that wrote it, or a newer one"
    )]
    Unreadable,
    /// The policy in force is not whole.
    #[error(transparent)]
    Policy(#[from] PolicyUnreadable),
    /// A change of named lists can't be read.
    #[error(
        "it holds a change of named lists that this program can't read: use the program that wrote it, or a newer one"
    )]
    Lists,
}

/// Decisions hashed, and their places in the table fetched, before the first of them goes in. Long
/// enough to hide a cache miss behind the others, short enough that what was fetched is still in
/// the first-level cache.
const BATCH: usize = 16;

/// Takes the blocks of all streams and holds the state that they amount to: while a node starts one
/// stream after the other, while it follows a primary all streams at once, each from a thread of
/// its own. Knows no I/O.
pub struct Builder {
    shards: u16,
    /// One holder at a time, and each stream mostly of its own shard: never waited for while
    /// following.
    dedupes: Vec<Mutex<Dedupe>>,
    changes: Mutex<LoggedChanges>,
    pasts: LivePasts,
    records: AtomicU64,
}

/// What the log's changes of the blacklist and of the policy amount to.
#[derive(Debug, Default)]
pub struct LoggedChanges {
    overlay: Overlay,
    /// More changes than fit.
    full: bool,
    /// A change that this program does not understand: it may list somebody.
    unreadable: bool,
    /// Id of the list last loaded; 0 none.
    loaded: u64,
    policy: PolicyInLog,
    named: NamedLists,
    /// A change of named lists that this program does not understand, or that makes no sense.
    lists_unreadable: bool,
}

impl LoggedChanges {
    /// A stream begins here: takes what was cut off before.
    pub fn begin(&mut self, start: &LogStart) {
        for change in &start.changes {
            self.full |= self.overlay.apply(change).is_err();
        }
        if start.snapshot_id != 0 {
            self.loaded = start.snapshot_id;
        }
        // Those of other streams have none.
        if start.named.sequence() > self.named.sequence() {
            self.named = start.named.clone();
        }
        let LogStart { policy, previous_policy, coming_policy, .. } = start.clone();
        self.policy.begin(policy, previous_policy, coming_policy);
    }

    /// Takes the next record; a decision changes nothing.
    pub fn take(&mut self, head: &RecordHead, extension: &[u8]) {
        match RecordKind::from_wire(head.kind) {
            Some(RecordKind::OverlayChange) => match OverlayChange::from_record(head) {
                Some(change) => self.full |= self.overlay.apply(&change).is_err(),
                None => self.unreadable = true,
            },
            // All of these are in one stream, so the last one counts, whatever the clocks of two
            // nodes said.
            Some(RecordKind::SnapshotLoaded) => self.loaded = head.snapshot_id.to_native(),
            Some(kind @ (RecordKind::PolicyText | RecordKind::PolicyActivated)) => {
                self.policy.take(kind, head, extension);
            }
            Some(RecordKind::ListChange) => {
                let change = ListChange::from_record(head, extension);
                let taken = change.is_some_and(|change| self.named.apply(&change).is_ok());
                self.lists_unreadable |= !taken;
            }
            // What became known of a decision changes none that comes, and a breaker is forced for as long as its
            // node runs.
            Some(
                RecordKind::Decision
                | RecordKind::Label
                | RecordKind::ValidatorForced
                | RecordKind::Audit,
            )
            | None => {}
        }
    }

    /// The policy in force; `None` where none ever was.
    ///
    /// # Errors
    /// Where the log does not hold it whole.
    pub fn policy(&self) -> Result<Option<&PolicyText>, PolicyUnreadable> {
        self.policy.in_force()
    }

    /// The policy that was in force before.
    pub fn previous_policy(&self) -> Option<&PolicyText> {
        self.policy.previous()
    }

    /// The policy of which not all parts have come.
    pub fn coming_policy(&self) -> Option<&ComingPolicy> {
        self.policy.coming()
    }

    /// Id of the list last loaded; 0 none.
    pub fn loaded(&self) -> u64 {
        self.loaded
    }

    /// The named lists after all changes.
    ///
    /// # Errors
    /// When there is one that can't be read: without it a rule could let through whom it should not.
    pub fn named(&self) -> Result<&NamedLists, ChangesFault> {
        if self.lists_unreadable { Err(ChangesFault::Lists) } else { Ok(&self.named) }
    }

    /// The overlay after all changes.
    ///
    /// # Errors
    /// When there are more than fit, or one that can't be read: without it somebody listed could be
    /// free.
    pub fn overlay(&self) -> Result<&Overlay, ChangesFault> {
        match (self.full, self.unreadable) {
            (true, _) => Err(ChangesFault::Full(OverlayFull)),
            (_, true) => Err(ChangesFault::Unreadable),
            (false, false) => Ok(&self.overlay),
        }
    }
}

impl Builder {
    /// Of a node with so many shards now, whose dedupe tables have `dedupe_entries` and this
    /// secret.
    pub fn new(shards: u16, dedupe_entries: usize, secret: DedupeKey) -> Self {
        let dedupes =
            (0..shards).map(|_| Mutex::new(Dedupe::new(dedupe_entries, secret))).collect();
        let (changes, pasts) = (Mutex::default(), LivePasts::default());
        Self { shards, dedupes, changes, pasts, records: AtomicU64::new(0) }
    }

    /// The memory of each shard's dedupe table, to be taken ahead: index and ring.
    pub fn memory(&self) -> Vec<(TableMemory, TableMemory)> {
        self.dedupes.iter().map(|dedupe| dedupe.lock().memory()).collect()
    }

    /// The dedupe tables, by shard, and the windows.
    pub fn into_tables(self) -> (Vec<Dedupe>, LivePasts) {
        (self.dedupes.into_iter().map(|dedupe| dedupe.into_inner()).collect(), self.pasts)
    }

    /// The dedupe tables, by shard.
    pub fn into_dedupes(self) -> Vec<Dedupe> {
        self.into_tables().0
    }

    /// The windows, if any are held.
    pub const fn pasts(&self) -> &LivePasts {
        &self.pasts
    }

    /// Takes the next block of a stream.
    pub fn take(&self, block: &SoundBlock<'_>) {
        // A block's decisions are of one shard, unless there were other shards when it was written.
        let mut held: Option<(u16, MutexGuard<'_, Dedupe>)> = None;
        let mut ahead = Ahead::default();
        let mut records = 0;
        for (head, extension) in block.records() {
            records += 1;
            match RecordKind::from_wire(head.kind) {
                Some(RecordKind::Decision) => {
                    let Ok(payer) = DocumentKey::from_wire(&head.transaction.payer) else {
                        continue;
                    };
                    let shard = owner(payer, self.shards);
                    let (_, dedupe) = match held.take() {
                        Some(same) if same.0 == shard => held.insert(same),
                        before => {
                            // The one held is let go first, so that no two threads wait for each
                            // other's.
                            if let Some((_, mut dedupe)) = before {
                                ahead.finish(&mut dedupe, block);
                            }
                            held.insert((shard, self.dedupes[usize::from(shard)].lock()))
                        }
                    };
                    ahead.decision(dedupe, payer, head, block);
                }
                Some(_) => self.change(head, extension),
                None => {}
            }
        }
        if let Some((_, mut dedupe)) = held {
            ahead.finish(&mut dedupe, block);
        }
        self.records.fetch_add(records, Ordering::Relaxed);
        self.pasts.take(block);
    }

    /// Takes the next blocks of a stream, as their dedupe file has them: all but their changes, for
    /// which there is [`Self::take_changes`].
    pub fn take_kept(&self, stream: u16, chunk: &Chunk) {
        let mut held: Option<(u16, MutexGuard<'_, Dedupe>)> = None;
        for (shard, decisions) in chunk.decisions() {
            if held.as_ref().is_none_or(|held| held.0 != shard) {
                // The one held is let go first.
                drop(held.take());
                held = Some((shard, self.dedupes[usize::from(shard)].lock()));
            }
            let Some((_, dedupe)) = &mut held else { continue };
            for at in 0..decisions.len {
                if let Some(ahead) = decisions.fingerprint(at + BATCH) {
                    dedupe.prefetch(&ahead);
                }
                if let Some(fingerprint) = decisions.fingerprint(at) {
                    let (event_time_ns, answer) = decisions.answer(at);
                    dedupe.insert(&fingerprint, event_time_ns, stream, &answer);
                }
            }
        }
        self.records.fetch_add(chunk.records(), Ordering::Relaxed);
    }

    fn change(&self, head: &RecordHead, extension: &[u8]) {
        self.changes.lock().take(head, extension);
    }

    /// Takes a block of a segment that is not read: its decisions are too old for the tables, its
    /// changes count.
    pub fn take_changes(&self, block: &SoundBlock<'_>) {
        block.records().for_each(|(head, extension)| self.change(head, extension));
    }

    /// A segment is not read but for its changes. What the tables of its payers might hold of it is
    /// forgotten.
    pub fn skip(&self, index: &SegmentSummary) {
        let (first, last) = index.lsns();
        self.records.fetch_add(last + 1 - first, Ordering::Relaxed);
        self.forget(index.payers(), index.newest_event_ns());
    }

    /// A stream begins here: takes what was cut off before.
    pub fn begin(&self, start: &LogStart) {
        self.changes.lock().begin(start);
        self.forget(start.payers.clone(), start.newest_event_ns);
    }

    /// Takes what a checkpoint says of the changes in the segments before it.
    pub fn take_checkpoint(&self, checkpoint: &LogStart) {
        self.changes.lock().begin(checkpoint);
    }

    /// The tables of payers at these positions know nothing of transactions up to a time.
    fn forget(&self, payers: RangeInclusive<u64>, newest_event_ns: u64) {
        if payers.is_empty() {
            return;
        }
        let [from, to] =
            [payers.start(), payers.end()].map(|&at| owner_of_position(at, self.shards));
        for dedupe in &self.dedupes[usize::from(from)..=usize::from(to)] {
            dedupe.lock().forget_up_to(newest_event_ns);
        }
    }

    /// Records taken, and those of segments that were not read.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Id of the list last loaded on a running node; 0 none.
    pub fn snapshot_id(&self) -> u64 {
        self.changes.lock().loaded()
    }

    /// The policy in force, and the one before.
    pub fn policies(&self) -> PolicyInLog {
        self.changes.lock().policy.clone()
    }

    /// The named lists after all changes.
    ///
    /// # Errors
    /// As [`LoggedChanges::named`].
    pub fn named(&self) -> Result<NamedLists, ChangesFault> {
        self.changes.lock().named().cloned()
    }

    /// The overlay after all changes.
    ///
    /// # Errors
    /// When there are more than fit, or one that can't be read: without it somebody listed could be
    /// free.
    pub fn overlay(&self) -> Result<Overlay, ChangesFault> {
        self.changes.lock().overlay().cloned()
    }
}

/// Decisions on their way into one shard's table, oldest first: hashed, and their places fetched,
/// so that the cache misses of several overlap.
#[derive(Default)]
struct Ahead<'b> {
    waiting: [Option<(Fingerprint, &'b RecordHead)>; BATCH],
    next: usize,
}

impl<'b> Ahead<'b> {
    fn decision(
        &mut self,
        dedupe: &mut Dedupe,
        payer: DocumentKey,
        head: &'b RecordHead,
        block: &SoundBlock<'_>,
    ) {
        let institution = head.submitter.institution.to_native();
        let fingerprint = dedupe.fingerprint(institution, payer, &head.transaction);
        dedupe.prefetch(&fingerprint);
        let oldest = self.waiting[self.next].replace((fingerprint, head));
        self.next = (self.next + 1) % BATCH;
        insert(dedupe, oldest, block);
    }

    fn finish(&mut self, dedupe: &mut Dedupe, block: &SoundBlock<'_>) {
        for step in 0..BATCH {
            insert(dedupe, self.waiting[(self.next + step) % BATCH].take(), block);
        }
    }
}

fn insert(
    dedupe: &mut Dedupe,
    decision: Option<(Fingerprint, &RecordHead)>,
    block: &SoundBlock<'_>,
) {
    let Some((fingerprint, head)) = decision else { return };
    let BlockLocation { shard, epoch, chain, .. } = block.place;
    dedupe.insert_record(&fingerprint, head, shard, epoch, receipt(&chain));
}
