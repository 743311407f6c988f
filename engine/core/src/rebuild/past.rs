//! Windows rebuilt from the log: every decision of every stream, added in the order of the log to the
//! windows of the shard that its payer has now.
//!
//! Streams are read one after the other. So after the number of shards has changed, payments from before of
//! a payer whose stream is another one now may be added behind later ones: windows take them as payments that
//! come late.

use crate::log::SoundBlock;
use crate::log::index::SegmentSummary;
use crate::log::start::LogStart;
use crate::owner::{owner, owner_of_position};
use crate::policy::Policy;
use crate::policy::windows::{Past, WindowsFault, WindowsKey};
use catraca_wire::DocumentKey;
use catraca_wire::block::ChainKey;
use catraca_wire::record::RecordKind;
use std::ops::RangeInclusive;

/// Windows of each shard.
pub struct Pasts {
    shards: Vec<Past>,
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
                Some(past) => pasts.push(past),
                None => return Ok(None),
            }
        }
        Ok(Some(Self { shards: pasts }))
    }

    /// How many shards.
    pub fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// Whether a policy reads them as they are.
    pub fn is_of(&self, policy: &Policy) -> bool {
        self.shards.iter().all(|past| past.is_of(policy))
    }

    /// How far back they look, nanoseconds.
    pub fn looks_back_ns(&self) -> u64 {
        self.shards.first().map_or(0, Past::looks_back_ns)
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
        let [from, to] = [payers.start(), payers.end()]
            .map(|&position| usize::from(owner_of_position(position, shards)));
        for past in &mut self.shards[from..=to] {
            past.windows_mut().forget_up_to(newest_event_ns);
        }
    }

    /// Takes the next block of a stream.
    pub fn take(&mut self, block: &SoundBlock<'_>) {
        let shards = self.shards();
        for (head, _) in block.records() {
            if head.kind != RecordKind::Decision.to_wire() {
                continue;
            }
            let Ok(payer) = DocumentKey::from_wire(&head.transaction.payer) else { continue };
            self.shards[usize::from(owner(payer, shards))].add_recorded(payer, head);
        }
    }

    /// Takes the next block of a shard's own stream into its windows, which have all up to a record.
    pub fn take_one(past: &mut Past, has_lsn: u64, block: &SoundBlock<'_>) {
        for (head, _) in block.records() {
            if head.lsn.to_native() > has_lsn
                && head.kind == RecordKind::Decision.to_wire()
                && let Ok(payer) = DocumentKey::from_wire(&head.transaction.payer)
            {
                past.add_recorded(payer, head);
            }
        }
    }

    /// Those of one shard.
    pub fn shard(&self, shard: u16) -> &Past {
        &self.shards[usize::from(shard)]
    }

    /// By shard.
    pub fn into_shards(self) -> Vec<Past> {
        self.shards
    }
}

impl From<Vec<Past>> for Pasts {
    fn from(shards: Vec<Past>) -> Self {
        Self { shards }
    }
}
