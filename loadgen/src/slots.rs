//! What is unanswered on one connection. A correlation names a slot and which use of it, so that an
//! answer is matched, and a second or an invented one told apart, without a map.

use crate::transactions::Planned;

/// One transaction that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// What was sent.
    pub transaction: Planned,
    /// When it should have gone out, nanoseconds since the run's start.
    pub intended_ns: u64,
    /// When it was handed to the socket, nanoseconds since the run's start.
    pub sent_ns: u64,
    /// Whether it counts in the figures.
    pub measured: bool,
    /// Whether it went out more than once, because its answer was lost or said nothing: the node
    /// may have decided on it before.
    pub again: bool,
}

/// Why an answer matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// It was answered before.
    Twice,
    /// It was never sent.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    sent: Sent,
    /// Counts the uses, from 1; never 0, so that no correlation is 0, which servers use for what
    /// concerns no request.
    generation: u32,
    busy: bool,
}

/// The slots of one connection: their number is its limit of unanswered transactions.
#[derive(Debug)]
pub struct Slots {
    slots: Box<[Slot]>,
    free: Vec<u32>,
}

impl Slots {
    /// For `in_flight` unanswered transactions.
    pub fn new(in_flight: u32) -> Self {
        let empty = Sent {
            transaction: Planned::NONE,
            intended_ns: 0,
            sent_ns: 0,
            measured: false,
            again: false,
        };
        let slot = Slot { sent: empty, generation: 0, busy: false };
        Self {
            slots: vec![slot; in_flight as usize].into_boxed_slice(),
            free: (0..in_flight).rev().collect(),
        }
    }

    /// How many more may be sent.
    #[inline]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// How many are unanswered.
    #[inline]
    pub fn unanswered(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// When the oldest unanswered one was sent, nanoseconds since the run's start. Looks at every
    /// slot.
    pub fn oldest_sent_ns(&self) -> Option<u64> {
        self.slots.iter().filter(|slot| slot.busy).map(|slot| slot.sent.sent_ns).min()
    }

    /// Keeps what is sent; gives its correlation, or `None` when all slots are in use.
    #[inline]
    pub fn occupy(&mut self, sent: Sent) -> Option<u64> {
        let index = self.free.pop()?;
        let slot = &mut self.slots[index as usize];
        slot.sent = sent;
        slot.busy = true;
        slot.generation = slot.generation.wrapping_add(1).max(1);
        Some(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// The slot of something unanswered.
    pub fn get_mut(&mut self, correlation: u64) -> Option<&mut Sent> {
        let slot = self.slots.get_mut(correlation as u32 as usize)?;
        (slot.busy && u64::from(slot.generation) == correlation >> 32).then_some(&mut slot.sent)
    }

    /// The correlations of everything unanswered, in the order of first sending.
    pub fn correlations(&self) -> Vec<u64> {
        let busy = self.slots.iter().enumerate().filter(|(_, slot)| slot.busy);
        let mut found: Vec<_> = busy
            .map(|(index, slot)| {
                (slot.sent.transaction.number, u64::from(slot.generation) << 32 | index as u64)
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, correlation)| correlation).collect()
    }

    /// Takes back what this correlation was given for.
    #[inline]
    pub fn release(&mut self, correlation: u64) -> Result<Sent, Mismatch> {
        let index = correlation as u32;
        let generation = (correlation >> 32) as u32;
        let slot = self.slots.get_mut(index as usize).ok_or(Mismatch::Unknown)?;
        if slot.busy && slot.generation == generation {
            slot.busy = false;
            self.free.push(index);
            Ok(slot.sent)
        } else if generation != 0 && generation <= slot.generation {
            Err(Mismatch::Twice)
        } else {
            Err(Mismatch::Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_correlation_is_answered_once() {
        let sent = Sent {
            transaction: Planned::NONE,
            intended_ns: 1,
            sent_ns: 2,
            measured: true,
            again: false,
        };
        let mut slots = Slots::new(2);
        let first = slots.occupy(sent).expect("free");
        let second = slots.occupy(sent).expect("free");
        assert!(slots.occupy(sent).is_none());
        assert_ne!(first, second);
        assert_eq!(slots.release(first).expect("sent").sent_ns, 2);
        assert_eq!(slots.release(first).expect_err("again"), Mismatch::Twice);
        let third = slots.occupy(sent).expect("free again");
        assert_ne!(third, first);
        assert_eq!(slots.release(first).expect_err("an old use of the slot"), Mismatch::Twice);
        for unknown in [0, 2, third + (1 << 32), u64::MAX] {
            assert_eq!(slots.release(unknown).expect_err("never sent"), Mismatch::Unknown);
        }
        assert_eq!(slots.unanswered(), 2);
        assert!(slots.get_mut(first).is_none() && slots.get_mut(third + (1 << 32)).is_none());
        slots.get_mut(third).expect("unanswered").transaction.number = 9;
        slots.get_mut(second).expect("unanswered").transaction.number = 5;
        assert_eq!(slots.correlations(), [second, third]);
    }
}
