//! Which deliveries of one queue are acknowledged, with as few frames as that takes: the ones that are done at the
//! front by one frame, and those behind one that waits by a frame each once they are many.

use std::collections::BTreeSet;

/// One acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The delivery's tag.
    pub tag: u64,
    /// Everything before it too.
    pub multiple: bool,
}

/// The deliveries of one queue over one connection. Their tags count from 1.
#[derive(Debug)]
pub(super) struct Acks {
    /// All tags before it are acknowledged.
    front: u64,
    /// Done behind the front, and not acknowledged.
    done: BTreeSet<u64>,
    /// Acknowledged behind the front.
    gone: BTreeSet<u64>,
    /// From so many on, those that are done don't wait for the front any more: else one payment that waits for its
    /// budget would hold the whole prefetch back.
    most_held: usize,
}

impl Acks {
    /// Of a queue of which so many are delivered at once.
    pub(super) fn new(prefetch: u16) -> Self {
        let most_held = usize::from(prefetch / 4);
        Self { front: 1, done: BTreeSet::new(), gone: BTreeSet::new(), most_held }
    }

    /// It was answered, and the broker has the reply.
    pub(super) fn done(&mut self, tag: u64) {
        self.done.insert(tag);
    }

    /// What is to be acknowledged now. `all`: nothing is held back.
    pub(super) fn take(&mut self, all: bool) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut last = None;
        loop {
            if self.done.remove(&self.front) {
                last = Some(self.front);
            } else if !self.gone.remove(&self.front) {
                break;
            }
            self.front += 1;
        }
        if let Some(tag) = last {
            acks.push(Ack { tag, multiple: true });
        }
        if all || self.done.len() > self.most_held {
            let held = std::mem::take(&mut self.done);
            acks.extend(held.iter().map(|&tag| Ack { tag, multiple: false }));
            self.gone.extend(held);
        }
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_front_goes_at_once_and_what_is_behind_it_when_it_is_much() {
        let mut acks = Acks::new(8);
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
        assert_eq!(acks.front, 7);
    }

    proptest! {
        /// Whatever the order: each is acknowledged once, none before it is done, and `multiple` reaches none that is not.
        #[test]
        fn each_is_acknowledged_once_and_when_it_is_done(
            order in Just((1..=200u64).collect::<Vec<_>>()).prop_shuffle(),
            flush_each in 1usize..40,
            prefetch in 1u16..300,
        ) {
            let mut acks = Acks::new(prefetch);
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
                prop_assert!(held <= usize::from(prefetch / 4));
            }
            prop_assert!(open.is_empty());
        }
    }
}
