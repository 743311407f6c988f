//! The outbox: decisions that wait for their record to be committed, in the order of the log.

use super::dedupe::Position;
use super::messages::{ConnectionId, PendingForward};
use std::collections::VecDeque;

/// Whom an answer goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A connection of this shard.
    Local { connection: ConnectionId, correlation: u64 },
    /// A forward of another shard.
    Remote { shard: u16, pending: PendingForward },
}

/// What waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiting {
    /// A decision in the dedupe table; a duplicate waits for the record of the first.
    Decision { origin: Origin, position: Position, duplicate: bool },
    /// The control thread's record.
    Control,
    /// Already answered as unconfirmed.
    Expired { position: Option<Position> },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    /// Answered once this record is committed.
    pub lsn: u64,
    /// When its bytes came, monotonic nanoseconds.
    pub received_ns: u64,
    /// When its record was appended, monotonic nanoseconds.
    pub appended_ns: u64,
    /// When its budget is over, monotonic nanoseconds.
    pub deadline_ns: u64,
    pub waiting: Waiting,
}

/// The queue. Sequence numbers never fall from front to back.
pub(super) struct Outbox {
    queue: VecDeque<Pending>,
    /// No pending answer's budget ends before this.
    earliest_deadline_ns: u64,
}

impl Outbox {
    pub fn new() -> Self {
        Self {
            queue: VecDeque::with_capacity(crate::limits::MAX_PENDING),
            earliest_deadline_ns: u64::MAX,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.queue.len() >= crate::limits::MAX_PENDING
    }

    #[inline]
    pub fn push(&mut self, pending: Pending) {
        debug_assert!(self.queue.back().is_none_or(|last| last.lsn <= pending.lsn));
        assert!(!self.is_full(), "admission checks for room");
        self.earliest_deadline_ns = self.earliest_deadline_ns.min(pending.deadline_ns);
        self.queue.push_back(pending);
    }

    /// The next answer whose record is committed.
    #[inline]
    pub fn pop(&mut self, committed: u64) -> Option<Pending> {
        if self.queue.front()?.lsn > committed {
            return None;
        }
        self.queue.pop_front()
    }

    /// Takes the recipients of answers whose budget is over; their records stay pending. Looks
    /// through the queue only when one may be.
    pub fn expire(&mut self, now_ns: u64, mut expired: impl FnMut(Origin)) {
        if now_ns < self.earliest_deadline_ns {
            return;
        }
        self.earliest_deadline_ns = u64::MAX;
        for pending in &mut self.queue {
            let Waiting::Decision { origin, position, duplicate } = pending.waiting else {
                continue;
            };
            if pending.deadline_ns <= now_ns {
                expired(origin);
                pending.waiting = Waiting::Expired { position: (!duplicate).then_some(position) };
            } else {
                self.earliest_deadline_ns = self.earliest_deadline_ns.min(pending.deadline_ns);
            }
        }
    }
}
