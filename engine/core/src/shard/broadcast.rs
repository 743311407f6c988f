//! Decided payments on their way to the other shards, whose windows of payees, devices and accounts count them
//! too. In the order of the stream, each to each sibling once, and none is left out.
//!
//! ```text
//! append → waiting → into each sibling's queue → then only the block goes to the disk → answer
//! ```
//!
//! So when a payment is answered it is in every sibling's queue. A shard empties its queues behind whatever it
//! has received and before it decides on it ([`Shard::siblings_decided`]): it sees
//! every payment that was answered before its own was sent. Payments under way at the same time on two shards
//! may miss each other.

use super::Shard;
use super::journal::BlockMemory;
use crate::limits::{BROADCAST_QUEUE_LEN, DECISION_BATCH};
use crate::policy::windows::DecidedPayment;
use catraca_wire::frame::Role;
use std::collections::VecDeque;

/// Payments on their way to the siblings.
pub(super) struct Broadcast {
    shard: u16,
    is_on: bool,
    waiting: VecDeque<DecidedPayment>,
    /// How many have left to all siblings.
    gone: u64,
    /// By shard: how many have left to it.
    sent: Box<[u64]>,
}

impl Broadcast {
    /// Of one of so many shards.
    pub fn new(shard: u16, shards: u16) -> Self {
        let room = if shards > 1 { BROADCAST_QUEUE_LEN } else { 0 };
        Self {
            shard,
            is_on: false,
            waiting: VecDeque::with_capacity(room),
            gone: 0,
            sent: vec![0; usize::from(shards)].into(),
        }
    }

    /// From now on siblings are told of what is decided, or no more.
    pub fn switch(&mut self, is_on: bool) {
        self.is_on = is_on && self.sent.len() > 1;
    }

    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether all have left.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether no more may be decided until some have left.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= BROADCAST_QUEUE_LEN
    }

    /// A payment was decided, while there was room.
    pub fn push(&mut self, payment: DecidedPayment) {
        if self.is_on {
            assert!(!self.is_full(), "a payment is decided while there is room for it here");
            self.waiting.push_back(payment);
        }
    }

    /// The next one for a sibling.
    pub fn next(&self, to: u16) -> Option<&DecidedPayment> {
        assert_ne!(to, self.shard, "a shard tells its siblings");
        self.waiting.get((self.sent[usize::from(to)] - self.gone) as usize)
    }

    /// It is in the sibling's queue.
    pub fn sent(&mut self, to: u16) {
        self.sent[usize::from(to)] += 1;
        if self.sent[usize::from(to)] > self.gone + 1 {
            // Another sibling lacks the oldest still, or this one did not have it last.
            return;
        }
        let siblings = self.sent.iter().zip(0..).filter(|(_, shard)| *shard != self.shard);
        let gone = siblings.map(|(sent, _)| *sent).min().expect("there are siblings");
        while self.gone < gone {
            let left = self.waiting.pop_front();
            assert!(left.is_some(), "a payment left that never waited");
            self.gone += 1;
        }
    }
}

impl<B: BlockMemory> Shard<B> {
    /// The next payment that a sibling is to be told of; once it is in that one's queue,
    /// [`Self::broadcast_sent`] follows. No block goes to the disk before all are.
    ///
    /// # Panics
    /// If that is this shard itself.
    #[inline]
    pub fn next_broadcast(&self, to: u16) -> Option<&DecidedPayment> {
        self.broadcast.next(to)
    }

    /// The payment that [`Self::next_broadcast`] gave is in the sibling's queue.
    #[inline]
    pub fn broadcast_sent(&mut self, to: u16) {
        self.broadcast.sent(to);
    }

    /// Whether siblings are to be told of any payment.
    #[inline]
    pub fn has_broadcasts(&self) -> bool {
        !self.broadcast.is_empty()
    }

    /// Whether it takes what siblings decided: not before it has its windows. They wait in their queues.
    #[inline]
    pub fn takes_broadcasts(&self) -> bool {
        self.role == Role::Primary
    }

    /// Siblings have decided on payments, at most [`DECISION_BATCH`] at once. Whoever moves the shard empties the
    /// siblings' queues behind what it has received, bytes or a message, and before it hands that to the shard.
    ///
    /// # Panics
    /// If the shard does not take any ([`Self::takes_broadcasts`]), or these are more.
    pub fn siblings_decided(&mut self, payments: &[DecidedPayment]) {
        assert!(self.takes_broadcasts(), "a standby's shard leaves what siblings decide");
        assert!(payments.len() <= DECISION_BATCH, "what is prefetched stays in the cache");
        self.payments.siblings_decided(payments);
        self.counters.window_from_siblings += payments.len() as u64;
        if let Some(candidate) = &mut self.candidate {
            payments.iter().for_each(|payment| candidate.sibling_decided(payment));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::DocumentKey;
    use catraca_wire::frame::Verdict;

    fn payment(lsn: u64) -> DecidedPayment {
        let document = DocumentKey::parse("52998224725").expect("valid");
        DecidedPayment {
            stream: 1,
            lsn,
            payer: document,
            payee: document,
            transaction: bytemuck::Zeroable::zeroed(),
            decided_at_ns: 0,
            verdict: Verdict::Approve,
        }
    }

    fn next(broadcast: &mut Broadcast, to: u16) -> Option<u64> {
        let lsn = broadcast.next(to)?.lsn;
        broadcast.sent(to);
        Some(lsn)
    }

    #[test]
    fn each_sibling_gets_each_payment_once_and_in_order() {
        let mut broadcast = Broadcast::new(1, 3);
        broadcast.switch(true);
        (1..=3).for_each(|lsn| broadcast.push(payment(lsn)));
        assert_eq!(next(&mut broadcast, 0), Some(1));
        assert_eq!(next(&mut broadcast, 0), Some(2));
        assert!(!broadcast.is_empty());
        let to_two: Vec<_> = std::iter::from_fn(|| next(&mut broadcast, 2)).collect();
        assert_eq!(to_two, [1, 2, 3]);
        broadcast.push(payment(4));
        assert_eq!(next(&mut broadcast, 2), Some(4));
        assert!(!broadcast.is_empty(), "one of them still lacks two");
        let to_zero: Vec<_> = std::iter::from_fn(|| next(&mut broadcast, 0)).collect();
        assert_eq!(to_zero, [3, 4]);
        assert!(broadcast.is_empty());
    }

    #[test]
    fn it_is_full_before_it_takes_more_memory_and_a_lone_shard_tells_nobody() {
        let mut broadcast = Broadcast::new(1, 2);
        broadcast.switch(true);
        let mut lsn = 0;
        while !broadcast.is_full() {
            lsn += 1;
            broadcast.push(payment(lsn));
        }
        assert_eq!(lsn as usize, BROADCAST_QUEUE_LEN);
        assert_eq!(next(&mut broadcast, 0), Some(1));
        assert!(!broadcast.is_full());
        let mut lone = Broadcast::new(0, 1);
        lone.switch(true);
        assert!(!lone.is_on() && lone.is_empty());
    }
}
