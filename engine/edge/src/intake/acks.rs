//! Which deliveries of one queue are acknowledged, with as few words as that takes.
//!
//! RabbitMQ takes each by itself, so those at the front go with one frame, and those behind one that waits by a frame
//! each once they are many. Kafka keeps one offset for a partition, so only those at the front go.

use std::collections::BTreeSet;

/// One acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The delivery's tag.
    pub tag: u64,
    /// Everything before it too.
    pub multiple: bool,
}

/// What is known of deliveries that are answered, behind one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// They are acknowledged by themselves, from so many on: else one payment that waits for its budget would hold
    /// the whole prefetch back.
    Held(usize),
    /// They are never acknowledged by themselves.
    Never,
}

/// The deliveries of one queue over one connection. Their tags grow, with gaps or without.
#[derive(Debug)]
pub(super) struct Acks {
    behind: Behind,
    /// Taken, and not answered.
    open: BTreeSet<u64>,
    /// Answered, and not acknowledged. Empty where they are never acknowledged by themselves.
    done: BTreeSet<u64>,
    /// The last one that was taken.
    last: Option<u64>,
    /// Where only those at the front are acknowledged: the last one that was.
    told: Option<u64>,
}

impl Acks {
    /// Without a delivery.
    pub(super) fn new(behind: Behind) -> Self {
        Self { behind, open: BTreeSet::new(), done: BTreeSet::new(), last: None, told: None }
    }

    /// The last one that was taken.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// It was delivered.
    ///
    /// # Panics
    /// When its tag is not behind all that were taken before.
    pub(super) fn taken(&mut self, tag: u64) {
        assert!(self.last < Some(tag), "the tag {tag} comes after {:?}", self.last);
        if self.last.is_none() {
            self.told = tag.checked_sub(1);
        }
        self.last = Some(tag);
        self.open.insert(tag);
    }

    /// It was answered, and the broker has the reply.
    pub(super) fn done(&mut self, tag: u64) {
        let is_known = self.open.remove(&tag);
        if is_known && self.behind != Behind::Never {
            self.done.insert(tag);
        }
    }

    /// What is to be acknowledged now. `all`: nothing is held back that can go by itself.
    pub(super) fn take(&mut self, all: bool) -> Vec<Ack> {
        let mut acks = Vec::new();
        let Behind::Held(most_held) = self.behind else {
            // All before the first one that is open.
            let front = self.open.first().map_or(self.last, |&tag| tag.checked_sub(1));
            if front > self.told {
                self.told = front;
                acks.extend(front.map(|tag| Ack { tag, multiple: true }));
            }
            return acks;
        };
        let behind = match self.open.first() {
            Some(front) => self.done.split_off(front),
            None => BTreeSet::new(),
        };
        let front = std::mem::replace(&mut self.done, behind);
        acks.extend(front.last().map(|&tag| Ack { tag, multiple: true }));
        if all || self.done.len() > most_held {
            let held = std::mem::take(&mut self.done);
            acks.extend(held.into_iter().map(|tag| Ack { tag, multiple: false }));
        }
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(behind: Behind, tags: impl IntoIterator<Item = u64>) -> Acks {
        let mut acks = Acks::new(behind);
        tags.into_iter().for_each(|tag| acks.taken(tag));
        acks
    }

    #[test]
    fn the_front_goes_at_once_and_what_is_behind_it_when_it_is_much() {
        let mut acks = taken(Behind::Held(2), 1..=6);
        acks.done(2);
        assert_eq!(acks.take(false), []);
        acks.done(1);
        assert_eq!(acks.take(false), [Ack { tag: 2, multiple: true }]);
        for tag in [4, 5, 6] {
            acks.done(tag);
        }
        let each = [4, 5, 6].map(|tag| Ack { tag, multiple: false });
        assert_eq!(acks.take(false), each);
        acks.done(3);
        assert_eq!(acks.take(false), [Ack { tag: 3, multiple: true }]);
        assert_eq!(acks.take(true), []);
    }

    #[test]
    fn of_a_partition_only_the_front_goes_whatever_its_offsets_are() {
        let mut acks = taken(Behind::Never, [0, 1, 5, 9]);
        for (done, front) in [(5, None), (0, Some(0)), (1, Some(8)), (9, Some(9))] {
            acks.done(done);
            let expected: Vec<Ack> =
                front.map(|tag| Ack { tag, multiple: true }).into_iter().collect();
            assert_eq!(acks.take(true), expected, "after {done}");
            assert_eq!(acks.take(true), []);
        }
        let mut acks = taken(Behind::Never, [500]);
        assert_eq!(acks.take(true), [], "nothing is new before the first is done");
        acks.done(500);
        assert_eq!(acks.take(true), [Ack { tag: 500, multiple: true }]);
    }

    #[test]
    fn one_that_waits_for_long_costs_no_memory() {
        for behind in [Behind::Held(4), Behind::Never] {
            let mut acks = taken(behind, [1]);
            for tag in 2..10_000 {
                acks.taken(tag);
                acks.done(tag);
                acks.take(false);
                assert!(acks.open.len() <= 2 && acks.done.len() <= 5);
            }
        }
    }

    proptest! {
        /// Whatever the order: each is acknowledged once, none before it is done, and `multiple` reaches none that is not.
        #[test]
        fn each_is_acknowledged_once_and_when_it_is_done(
            order in Just((1..=200u64).collect::<Vec<_>>()).prop_shuffle(),
            flush_each in 1usize..40,
            most_held in prop::option::of(1usize..80),
        ) {
            let behind = most_held.map_or(Behind::Never, Behind::Held);
            let mut acks = taken(behind, 1..=200);
            let (mut done, mut open) = (BTreeSet::new(), (1..=200).collect::<BTreeSet<u64>>());
            for (at, tag) in order.into_iter().enumerate() {
                acks.done(tag);
                done.insert(tag);
                if at % flush_each != 0 && at != 199 {
                    continue;
                }
                for ack in acks.take(at == 199) {
                    prop_assert!(open.contains(&ack.tag), "the broker closes the channel for {ack:?}");
                    let reached: Vec<u64> = match ack.multiple {
                        true => open.range(..=ack.tag).copied().collect(),
                        false => vec![ack.tag],
                    };
                    for tag in reached {
                        prop_assert!(done.contains(&tag));
                        open.remove(&tag);
                    }
                }
                let held = done.intersection(&open).count();
                prop_assert!(held <= most_held.unwrap_or(usize::MAX));
            }
            prop_assert!(open.is_empty());
        }
    }
}
