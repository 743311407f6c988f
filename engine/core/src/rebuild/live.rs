//! The windows of a node that follows: the blocks of each stream are added as they come.

use super::Pasts;
use crate::log::{SoundBlock, Tail};
use crate::owner::owner;
use crate::policy::Policy;
use crate::policy::windows::{Digest, Past};
use catraca_wire::DocumentKey;
use catraca_wire::record::RecordKind;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::BTreeMap;

/// Windows, and how far each stream is in them.
#[derive(Default)]
pub struct LivePasts {
    /// Those of one policy, by shard. Written while no block is taken.
    held: RwLock<Option<Vec<Mutex<Past>>>>,
    /// By stream: the record behind the last block that was taken.
    next_lsns: Mutex<BTreeMap<u16, u64>>,
}

impl LivePasts {
    /// All records of a stream before this one have been taken, one way or another.
    pub fn begin(&self, stream: u16, next_lsn: u64) {
        self.next_lsns.lock().insert(stream, next_lsn);
    }

    /// Holds these windows: before the first block is taken.
    pub fn hold(&self, pasts: Option<Pasts>) {
        let shards = pasts.map(|pasts| pasts.into_shards().into_iter().map(Mutex::new).collect());
        *self.held.write() = shards;
    }

    /// Takes the next block of a stream.
    pub fn take(&self, block: &SoundBlock<'_>) {
        let held = self.held.read();
        self.next_lsns.lock().insert(block.place.shard, Tail::after(block).next_lsn);
        let Some(shards) = &*held else { return };
        let mut past: Option<(u16, MutexGuard<'_, Past>)> = None;
        for (head, _) in block.records() {
            if head.kind != RecordKind::Decision.to_wire() {
                continue;
            }
            let Ok(payer) = DocumentKey::from_wire(&head.transaction.payer) else { continue };
            let shard = owner(payer, shards.len() as u16);
            if past.as_ref().is_none_or(|(of, _)| *of != shard) {
                // The one held is let go first, so that no two threads wait for each other's.
                drop(past.take());
                past = Some((shard, shards[usize::from(shard)].lock()));
            }
            if let Some((_, past)) = &mut past {
                past.add_recorded(payer, head);
            }
        }
    }

    /// Whether a policy in force reads windows that are not these.
    pub fn lacks(&self, policy: &Policy) -> bool {
        let held = self.held.read();
        let is_of = |shards: &Vec<Mutex<Past>>| shards.iter().all(|past| past.lock().is_of(policy));
        policy.window_values() > 0 && !held.as_ref().is_some_and(is_of)
    }

    /// By stream: the last record that was taken.
    pub fn last_lsns(&self) -> BTreeMap<u16, u64> {
        self.next_lsns.lock().iter().map(|(&stream, next)| (stream, next - 1)).collect()
    }

    /// Replaces the windows by those that `read` gives, while no block is taken: they must hold all up to
    /// these records, the last that were taken by stream, and no more.
    ///
    /// # Errors
    /// What `read` gives; then nothing has changed.
    pub fn replace<E>(
        &self,
        read: impl FnOnce(&BTreeMap<u16, u64>) -> Result<Pasts, E>,
    ) -> Result<(), E> {
        let mut held = self.held.write();
        let pasts = read(&self.last_lsns())?;
        *held = Some(pasts.into_shards().into_iter().map(Mutex::new).collect());
        Ok(())
    }

    /// Lets the windows go: the policy in force reads none. Gives whether there were any.
    pub fn let_go(&self) -> bool {
        let held = self.held.write().take();
        held.is_some()
    }

    /// A digest of each shard's windows; empty where nothing is held.
    pub fn digests(&self) -> Vec<Digest> {
        let held = self.held.read();
        let shards = held.iter().flatten();
        shards.map(|past| past.lock().windows().digest()).collect()
    }

    /// The windows, if they are those of a policy.
    pub fn into_pasts_of(self, policy: &Policy) -> Option<Vec<Past>> {
        if policy.window_values() == 0 || self.lacks(policy) {
            return None;
        }
        let shards = self.held.into_inner()?;
        Some(shards.into_iter().map(Mutex::into_inner).collect())
    }
}
