//! A table of keys that never changes under a reader: whoever changes it gets another one, which has all of its
//! groups but one in common with the one before.
//!
//! So data cores share one table and look things up in it without a lock, while the control thread makes the
//! next one; a change costs a copy of the group that it is in, and of the pointers to all groups.

use crate::memory::prefetch;
use catraca_wire::list::ListKey;
use std::sync::Arc;

/// Places of a group: open addressing with linear probing, so that a look-up reads a cache line or two.
const GROUP_LEN: usize = 256;
/// Entries of a group on the average, at most: then the table gets twice as many groups.
const MEAN_LEN: usize = GROUP_LEN / 2;
/// Entries of one group at most: likewise. So there is always a free place, where a search ends.
const MOST_LEN: usize = GROUP_LEN - 16;

type Slot<V> = Option<(ListKey, V)>;
type Group<V> = Arc<[Slot<V>]>;

/// Values by key.
#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    /// None, or a power of two.
    groups: Vec<Group<V>>,
    len: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { groups: Vec::new(), len: 0 }
    }
}

/// Spreads keys over groups and their places. Only an operator chooses them.
#[inline]
const fn spread(key: ListKey) -> u64 {
    let folded =
        (key.bits as u64) ^ (key.bits >> 64) as u64 ^ (key.prefix_len as u64).rotate_left(56);
    // The finisher of MurmurHash3 (Austin Appleby, public domain).
    let mixed = (folded ^ (folded >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Where the search for a key begins in its group.
#[inline]
const fn home(key: ListKey) -> usize {
    (spread(key) >> 56) as usize % GROUP_LEN
}

/// The place of a key in its group, or the free one where its search ends.
#[inline]
fn find<V>(group: &[Slot<V>], key: ListKey) -> Result<usize, usize> {
    let mut place = home(key);
    loop {
        match &group[place] {
            Some((known, _)) if *known == key => return Ok(place),
            Some(_) => place = (place + 1) % GROUP_LEN,
            None => return Err(place),
        }
    }
}

impl<V: Clone> Table<V> {
    #[inline]
    fn group_of(&self, key: ListKey) -> usize {
        spread(key) as usize & (self.groups.len() - 1)
    }

    /// The value of a key.
    #[inline]
    pub fn get(&self, key: ListKey) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        let group = &self.groups[self.group_of(key)];
        let place = find(group, key).ok()?;
        group[place].as_ref().map(|(_, value)| value)
    }

    /// Asks the processor for what [`Self::get`] reads first.
    #[inline]
    pub fn prefetch(&self, key: ListKey) {
        if self.len > 0 {
            prefetch(&self.groups[self.group_of(key)][home(key)]);
        }
    }

    /// How many keys.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Sets the value of a key. Gives whether there was one before.
    pub fn set(&mut self, key: ListKey, value: V) -> bool {
        if self.groups.is_empty() {
            self.grow();
        }
        loop {
            // Only a new key needs room.
            let has_room = self.len < self.groups.len() * MEAN_LEN;
            let group = self.group_of(key);
            let group = &mut self.groups[group];
            match find(group, key) {
                Ok(place) => {
                    Arc::make_mut(group)[place] = Some((key, value));
                    return true;
                }
                Err(place) if has_room && group.iter().flatten().count() < MOST_LEN => {
                    Arc::make_mut(group)[place] = Some((key, value));
                    self.len += 1;
                    return false;
                }
                Err(_) => self.grow(),
            }
        }
    }

    /// Takes a key out. Gives whether it was there.
    pub fn remove(&mut self, key: ListKey) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let group = self.group_of(key);
        let group = Arc::make_mut(&mut self.groups[group]);
        let Ok(mut free) = find(group, key) else { return false };
        group[free] = None;
        // Whoever lies behind and would be looked for at the free place moves there.
        let mut place = (free + 1) % GROUP_LEN;
        while let Some((other, _)) = &group[place] {
            let from_home = |at: usize| (at + GROUP_LEN - home(*other)) % GROUP_LEN;
            if from_home(free) < from_home(place) {
                group.swap(free, place);
                free = place;
            }
            place = (place + 1) % GROUP_LEN;
        }
        self.len -= 1;
        true
    }

    /// All of them, in an order that says nothing.
    pub fn iter(&self) -> impl Iterator<Item = &(ListKey, V)> {
        self.groups.iter().flat_map(|group| group.iter().flatten())
    }

    /// Gets twice as many groups.
    fn grow(&mut self) {
        let mut count = (self.groups.len() * 2).max(1);
        'sizes: loop {
            let mut groups = vec![vec![None; GROUP_LEN]; count];
            let mut lens = vec![0; count];
            for (key, value) in self.iter() {
                let number = spread(*key) as usize & (count - 1);
                if lens[number] == MOST_LEN {
                    count *= 2;
                    continue 'sizes;
                }
                let Err(place) = find(&groups[number], *key) else { continue };
                groups[number][place] = Some((*key, value.clone()));
                lens[number] += 1;
            }
            self.groups = groups.into_iter().map(Into::into).collect();
            return;
        }
    }
}

/// Tables are the same where they have the same values, whatever their groups.
impl<V: Clone + PartialEq> PartialEq for Table<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().all(|(key, value)| other.get(*key) == Some(value))
    }
}

impl<V: Clone + Eq> Eq for Table<V> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_a_map_holds_and_a_copy_never_changes() {
        let mut table = Table::default();
        let mut map = BTreeMap::new();
        let mut number = 1_u64;
        for step in 0..20_000_u64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Many, and some of them in one group of a large table.
            let key = ListKey::of(u128::from(number >> if number & 4 == 0 { 54 } else { 50 }));
            let (before, copy) = (map.clone(), (step % 1_000 == 0).then(|| table.clone()));
            if number & 3 == 0 {
                assert_eq!(table.remove(key), map.remove(&key).is_some());
            } else {
                assert_eq!(table.set(key, step), map.insert(key, step).is_some());
            }
            assert_eq!(table.get(key), map.get(&key));
            let Some(copy) = copy else { continue };
            for (table, map) in [(&copy, &before), (&table, &map)] {
                let held: BTreeMap<_, _> = table.iter().copied().collect();
                assert_eq!((&held, table.len()), (map, map.len()));
                map.iter().for_each(|(key, value)| assert_eq!(table.get(*key), Some(value)));
            }
        }
        assert!(map.len() > 5_000, "{}", map.len());
    }

    #[test]
    fn tables_are_the_same_whatever_way_they_came_about() {
        let mut one = Table::default();
        for n in 1..100_u128 {
            one.set(ListKey::of(n), n);
        }
        (50..100_u128).for_each(|n| assert!(one.remove(ListKey::of(n))));
        let mut other = Table::default();
        for n in (1..50_u128).rev() {
            other.set(ListKey::of(n), n);
        }
        assert_eq!(one, other);
        other.set(ListKey::of(7), 8);
        assert_ne!(one, other);
    }
}
