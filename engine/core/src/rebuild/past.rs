//! Windows rebuilt from the log: every decision of every stream, added in the order of the log to the
//! windows of the shard that its payer has now, and where windows are of more than the payer, to every shard's.
//!
//! Streams are read one after the other. So after the number of shards has changed, payments from before of
//! a payer whose stream is another one now may be added behind later ones: windows take them as payments that
//! come late.

use crate::log::SoundBlock;
use crate::log::index::SegmentSummary;
use crate::log::start::LogStart;
use crate::owner::{owner, owner_of_position};
use crate::policy::Policy;
use crate::policy::windows::{CheckpointFault, Past, WindowsFault, WindowsKey};
use catraca_wire::DocumentKey;
use catraca_wire::block::ChainKey;
use catraca_wire::record::{RecordHead, RecordKind};
use std::ops::RangeInclusive;

/// Windows of each shard.
pub struct Pasts {
    /// `None`: they are with the shard.
    shards: Vec<Option<Box<Past>>>,
}

impl Pasts {
    /// Before the first payment, of a policy, on a node with so many shards; `None` where it asks nothing of
    /// windows.
    ///
    /// # Errors
    /// What it asks can't be, or needs too much.
    pub fn new(policy: &Policy, shards: u16, key: &ChainKey) -> Result<Option<Self>, WindowsFault> {
        let key = WindowsKey::of(key);
        let mut pasts = Vec::with_capacity(usize::from(shards));
        for _ in 0..shards {
            match Past::new(policy, shards, key)? {
                Some(past) => pasts.push(Some(Box::new(past.of_shard(pasts.len() as u16)))),
                None => return Ok(None),
            }
        }
        Ok(Some(Self { shards: pasts }))
    }

    /// How many shards.
    pub fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// How far back they look, nanoseconds.
    pub fn looks_back_ns(&self) -> u64 {
        self.shards.iter().flatten().next().map_or(0, |past| past.looks_back_ns())
    }

    /// A stream begins here: what was cut off before is not known of its payers.
    pub fn begin(&mut self, start: &LogStart) {
        self.forget(&start.payers, start.newest_event_ns);
    }

    /// A segment is not read: what it has of its payers is not known.
    pub fn skip(&mut self, index: &SegmentSummary) {
        self.forget(&index.payers(), index.newest_event_ns());
    }

    fn forget(&mut self, payers: &RangeInclusive<u64>, newest_event_ns: u64) {
        if payers.is_empty() {
            return;
        }
        let shards = self.shards();
        let [from, to] =
            [payers.start(), payers.end()].map(|&position| owner_of_position(position, shards));
        for past in self.shards.iter_mut().flatten() {
            past.forget_up_to(&(from..=to), newest_event_ns);
        }
    }

    /// Takes the next block of a stream.
    pub fn take(&mut self, block: &SoundBlock<'_>) {
        let decisions = Decisions::of(block, self.shards());
        for (shard, past) in (0..).zip(&mut self.shards) {
            if let Some(past) = past {
                decisions.take(shard, past);
            }
        }
    }

    /// Those of one shard go on from a checkpoint: see [`Past::restore`].
    ///
    /// # Errors
    /// The bytes are not of such windows.
    pub fn restore(
        &mut self,
        shard: u16,
        bytes: &[u8],
        last_lsns: &[u64],
    ) -> Result<(), CheckpointFault> {
        let shards = self.shards();
        let past = self.shards[usize::from(shard)].as_mut().expect("all are here");
        past.restore(shards, bytes, last_lsns)
    }

    /// Those of one shard, where they are here.
    pub fn shard(&self, shard: u16) -> Option<&Past> {
        self.shards[usize::from(shard)].as_deref()
    }

    /// Those of one shard, for the shard.
    pub fn take_out(&mut self, shard: u16) -> Option<Box<Past>> {
        self.shards[usize::from(shard)].take()
    }

    /// Those of one shard, which it could not use yet.
    pub fn put_back(&mut self, shard: u16, past: Box<Past>) {
        let before = self.shards[usize::from(shard)].replace(past);
        assert!(before.is_none(), "windows come back to where they were taken out");
    }

    /// By shard, where all are here.
    pub fn into_shards(self) -> Vec<Box<Past>> {
        let here = |past: Option<Box<Past>>| past.expect("no shard has its windows yet");
        self.shards.into_iter().map(here).collect()
    }
}

/// The decisions of a block, with who owns their payers now.
pub struct Decisions<'b> {
    stream: u16,
    decisions: Vec<(u16, DocumentKey, &'b RecordHead)>,
}

impl<'b> Decisions<'b> {
    /// Of a block of a node that has so many shards now.
    pub fn of(block: &SoundBlock<'b>, shards: u16) -> Self {
        let decisions = block.records().filter_map(|(head, _)| {
            let is_decision = head.kind == RecordKind::Decision.to_wire();
            let payer = DocumentKey::from_wire(&head.transaction.payer).ok()?;
            is_decision.then(|| (owner(payer, shards), payer, head))
        });
        Self { stream: block.place.shard, decisions: decisions.collect() }
    }

    /// Whether the windows of a shard take any of them.
    pub fn concern(&self, shard: u16, is_shared: bool) -> bool {
        is_shared || self.decisions.iter().any(|(owner, ..)| *owner == shard)
    }

    /// Gives a shard's windows what they lack of them.
    pub fn take(&self, shard: u16, past: &mut Past) {
        if !self.concern(shard, past.is_shared()) {
            return;
        }
        for &(owner, payer, head) in &self.decisions {
            past.take_recorded((self.stream, owner), payer, head);
        }
    }
}

impl FromIterator<Box<Past>> for Pasts {
    /// By shard.
    fn from_iter<T: IntoIterator<Item = Box<Past>>>(shards: T) -> Self {
        Self { shards: shards.into_iter().map(Some).collect() }
    }
}
