//! Questions of this shard that others are to answer: bounded per sibling, so that no queue between
//! shards is ever found full.

use super::messages::{ConnectionId, PendingForward};
use crate::limits::MESH_QUEUE_LEN;

/// What to do with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub connection: ConnectionId,
    pub correlation: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    generation: u32,
    shard: u16,
    deadline_ns: u64,
    /// None once the client was answered, or while the slot is free.
    asked: Option<Asked>,
}

/// The table of pending forwards.
pub(super) struct Forwards {
    slots: Vec<Slot>,
    free: Vec<u32>,
    open_per_shard: Vec<usize>,
    earliest_deadline_ns: u64,
}

impl Forwards {
    pub fn new(shards: usize) -> Self {
        let capacity = MESH_QUEUE_LEN * (shards - 1);
        let empty = Slot { generation: 0, shard: 0, deadline_ns: 0, asked: None };
        Self {
            slots: vec![empty; capacity],
            free: (0..capacity as u32).rev().collect(),
            open_per_shard: vec![0; shards],
            earliest_deadline_ns: u64::MAX,
        }
    }

    /// Opens a forward to `shard`; `None` when it has as many as it may.
    pub fn open(&mut self, shard: u16, asked: Asked, deadline_ns: u64) -> Option<PendingForward> {
        if self.open_per_shard[usize::from(shard)] >= MESH_QUEUE_LEN {
            return None;
        }
        let index = self.free.pop()?;
        let slot = &mut self.slots[index as usize];
        *slot = Slot {
            generation: slot.generation.wrapping_add(1),
            shard,
            deadline_ns,
            asked: Some(asked),
        };
        self.open_per_shard[usize::from(shard)] += 1;
        self.earliest_deadline_ns = self.earliest_deadline_ns.min(deadline_ns);
        Some(PendingForward { slot: index, generation: slot.generation })
    }

    /// Closes a forward; gives whom to answer and until when, or `None` if that was done when the
    /// budget ended.
    pub fn close(&mut self, pending: PendingForward) -> Option<(Asked, u64)> {
        let slot = &mut self.slots[pending.slot as usize];
        assert_eq!(slot.generation, pending.generation, "each forward gets one reply");
        self.open_per_shard[usize::from(slot.shard)] -= 1;
        self.free.push(pending.slot);
        Some((slot.asked.take()?, slot.deadline_ns))
    }

    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Takes the askers whose budget is over; the forwards stay pending until their replies come.
    pub fn expire(&mut self, now_ns: u64, mut expired: impl FnMut(Asked)) {
        if now_ns < self.earliest_deadline_ns {
            return;
        }
        self.earliest_deadline_ns = u64::MAX;
        for slot in &mut self.slots {
            let Some(asked) = slot.asked else { continue };
            if slot.deadline_ns <= now_ns {
                expired(asked);
                slot.asked = None;
            } else {
                self.earliest_deadline_ns = self.earliest_deadline_ns.min(slot.deadline_ns);
            }
        }
    }
}
