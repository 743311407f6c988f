//! A bounded map of what is kept until a time: what ends first goes first.

use std::collections::{BTreeMap, BTreeSet};

/// Ended entries that one call throws away at most, so that none takes long. More than one comes in by a call.
const THROWN_AT_ONCE: usize = 8;

/// Values by their keys, each with its end. In a tree, as its order is the same in every run of a simulation.
#[derive(Debug)]
pub(super) struct Kept<T> {
    entries: BTreeMap<u128, (u64, T)>,
    by_end: BTreeSet<(u64, u128)>,
    most: usize,
}

impl<T> Kept<T> {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        assert!(most > 0);
        Self { entries: BTreeMap::new(), by_end: BTreeSet::new(), most }
    }

    /// How many there are, some of which may have ended.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// One that has not ended.
    pub fn get(&self, key: u128, now_ns: u64) -> Option<&T> {
        self.entries.get(&key).filter(|(end_ns, _)| *end_ns > now_ns).map(|(_, value)| value)
    }

    /// Likewise, to change it.
    pub fn get_mut(&mut self, key: u128, now_ns: u64) -> Option<&mut T> {
        self.entries.get_mut(&key).filter(|(end_ns, _)| *end_ns > now_ns).map(|(_, value)| value)
    }

    /// Keeps one, instead of an earlier one of the key. Where there is no room, the one goes that ends first,
    /// which is an ended one if there is any.
    pub fn put(&mut self, key: u128, end_ns: u64, value: T, now_ns: u64) {
        self.remove(key);
        self.throw_ended(now_ns);
        if self.entries.len() >= self.most {
            let (_, first) = *self.by_end.first().expect("a full map has a first entry");
            self.remove(first);
        }
        self.entries.insert(key, (end_ns, value));
        self.by_end.insert((end_ns, key));
        assert!(self.entries.len() <= self.most && self.entries.len() == self.by_end.len());
    }

    /// Takes one out.
    pub fn remove(&mut self, key: u128) {
        if let Some((end_ns, _)) = self.entries.remove(&key) {
            self.by_end.remove(&(end_ns, key));
        }
    }

    fn throw_ended(&mut self, now_ns: u64) {
        for _ in 0..THROWN_AT_ONCE {
            match self.by_end.first() {
                Some(&(end_ns, key)) if end_ns <= now_ns => self.remove(key),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the list of all that was ever put in, of which the `most` stay that end last.
        #[test]
        fn what_ends_first_goes_first(
            steps in prop::collection::vec((0..12u128, 1..50u64, 0..5u64), 1..80),
        ) {
            const MOST: usize = 4;
            let mut all: Vec<(u128, u64, usize)> = Vec::new();
            let (mut kept, mut now_ns) = (Kept::new(MOST), 0);
            for (step, (key, good_ns, on_ns)) in steps.into_iter().enumerate() {
                now_ns += on_ns;
                let end_ns = now_ns + good_ns;
                kept.put(key, end_ns, step, now_ns);
                all.retain(|(of, ..)| *of != key);
                all.retain(|(_, end_ns, _)| *end_ns > now_ns);
                if all.len() == MOST {
                    let first = all.iter().enumerate().min_by_key(|(_, one)| (one.1, one.0));
                    let first = first.unwrap().0;
                    all.remove(first);
                }
                all.push((key, end_ns, step));
                prop_assert!(kept.len() <= MOST);
                for key in 0..12 {
                    let found = all.iter().find(|(of, ..)| *of == key).map(|(.., step)| step);
                    prop_assert_eq!(kept.get(key, now_ns), found);
                }
            }
        }
    }
}
