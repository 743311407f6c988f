//! A table of keys that never changes under a reader: whoever changes it gets another one, which has most of
//! its pages in common with the one before.
//!
//! So data cores share one table and look things up in it without a lock, while the control thread makes the
//! next one; a change costs a copy of the page that it is in and of the pointers to all pages.

use catraca_wire::list::ListKey;
use std::sync::Arc;

/// Entries of a page on the average, at most: then the table gets twice as many pages. Few enough that a
/// look-up reads a cache line or two.
const PAGE_LEN: usize = 8;
/// Pages of the smallest table.
const MIN_PAGES: usize = 16;

type Page<V> = Arc<[(ListKey, V)]>;

/// Values by key.
#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    /// A power of two; each is in the order of its keys.
    pages: Vec<Page<V>>,
    len: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

/// Spreads keys over pages. Only an operator chooses them.
#[inline]
const fn spread(key: ListKey) -> u64 {
    let folded =
        (key.bits as u64) ^ (key.bits >> 64) as u64 ^ (key.prefix_len as u64).rotate_left(56);
    // The finisher of MurmurHash3 (Austin Appleby, public domain).
    let mixed = (folded ^ (folded >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

impl<V: Clone> Table<V> {
    #[inline]
    fn page_of(&self, key: ListKey) -> usize {
        spread(key) as usize & (self.pages.len() - 1)
    }

    /// The value of a key.
    #[inline]
    pub fn get(&self, key: ListKey) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        self.pages[self.page_of(key)]
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, value)| value)
    }

    /// How many keys.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Sets the value of a key. Gives whether there was one before.
    pub fn set(&mut self, key: ListKey, value: V) -> bool {
        if self.len >= self.pages.len() * PAGE_LEN {
            self.grow();
        }
        let page = self.page_of(key);
        let page = &mut self.pages[page];
        match page.iter().position(|(known, _)| *known == key) {
            Some(at) => {
                Arc::make_mut(page)[at].1 = value;
                true
            }
            None => {
                let at = page.partition_point(|(known, _)| *known < key);
                let mut entries = Vec::with_capacity(page.len() + 1);
                entries.extend_from_slice(&page[..at]);
                entries.push((key, value));
                entries.extend_from_slice(&page[at..]);
                *page = entries.into();
                self.len += 1;
                false
            }
        }
    }

    /// Takes a key out. Gives whether it was there.
    pub fn remove(&mut self, key: ListKey) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let page = self.page_of(key);
        let page = &mut self.pages[page];
        *page = page.iter().filter(|(known, _)| *known != key).cloned().collect();
        self.len -= 1;
        true
    }

    /// All of them, in an order that says nothing.
    pub fn iter(&self) -> impl Iterator<Item = &(ListKey, V)> {
        self.pages.iter().flat_map(|page| page.iter())
    }

    fn grow(&mut self) {
        let pages = (self.pages.len() * 2).max(MIN_PAGES);
        let mut entries: Vec<Vec<(ListKey, V)>> = vec![Vec::new(); pages];
        for (key, value) in self.iter() {
            entries[spread(*key) as usize & (pages - 1)].push((*key, value.clone()));
        }
        // A page's entries come out of one page in its order, so they are in order.
        self.pages = entries.into_iter().map(Into::into).collect();
    }
}

/// Tables are the same where they have the same values, whatever their pages.
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
            let key = ListKey::of(u128::from(number >> 54));
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
            }
        }
        assert!(map.len() > 400, "most of the keys that there can be");
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
