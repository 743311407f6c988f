//! The windows of a node that follows: the blocks of each stream are added as they come.

use super::Pasts;
use super::past::Decisions;
use crate::log::{SoundBlock, Tail};
use crate::policy::Policy;
use crate::policy::windows::Past;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;

/// Windows of one policy, by shard.
struct Held {
    shards: Vec<Mutex<Box<Past>>>,
    /// Payments of all shards' payers are in each.
    are_shared: bool,
}

impl From<Pasts> for Held {
    fn from(pasts: Pasts) -> Self {
        let shards = pasts.into_shards();
        let are_shared = shards.iter().any(|past| past.is_shared());
        Self { shards: shards.into_iter().map(Mutex::new).collect(), are_shared }
    }
}

/// Windows, and how far each stream is in them.
#[derive(Default)]
pub struct LivePasts {
    /// Written while no block is taken.
    held: RwLock<Option<Held>>,
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
        *self.held.write() = pasts.map(Held::from);
    }

    /// Takes the next block of a stream.
    pub fn take(&self, block: &SoundBlock<'_>) {
        let held = self.held.read();
        self.next_lsns.lock().insert(block.place.shard, Tail::after(block).next_lsn);
        let Some(Held { shards, are_shared }) = &*held else { return };
        let decisions = Decisions::of(block, shards.len() as u16);
        for (shard, past) in (0..).zip(shards) {
            if decisions.concern(shard, *are_shared) {
                decisions.take(shard, &mut past.lock());
            }
        }
    }

    /// Whether a policy in force reads windows that are not these.
    pub fn lacks(&self, policy: &Policy) -> bool {
        let held = self.held.read();
        let is_of = |held: &Held| held.shards.iter().all(|past| past.lock().is_of(policy));
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
        *held = Some(pasts.into());
        Ok(())
    }

    /// Lets the windows go: the policy in force reads none. Gives whether there were any.
    pub fn let_go(&self) -> bool {
        let held = self.held.write().take();
        held.is_some()
    }

    /// Shows the windows of each shard in turn; none where nothing is held.
    pub fn each(&self, mut show: impl FnMut(&mut Past)) {
        let held = self.held.read();
        let shards = held.iter().flat_map(|held| &held.shards);
        shards.for_each(|past| show(&mut past.lock()));
    }

    /// The windows, if they are those of a policy.
    pub fn into_pasts_of(self, policy: &Policy) -> Option<Pasts> {
        if policy.window_values() == 0 || self.lacks(policy) {
            return None;
        }
        let held = self.held.into_inner()?;
        Some(held.shards.into_iter().map(Mutex::into_inner).collect())
    }
}
