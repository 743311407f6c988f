//! Named lists and exemptions: what people put beside a policy's rules while they are in force. Pure.
//!
//! ```text
//! LIST → ListChange → log → NamedLists::apply     (control thread, recovery, standby: the same changes in the same order)
//! NamedLists, Rules → policy::lists::InForce → every core     (what the rules in force look up)
//! ```
//!
//! A list has keys of one kind, and a number for each; a key is in it until the entry's time is over. What a
//! rule looks up is the number, or missing; it is never zero because nobody knows better: a list that the
//! log does not have is *not known*.

mod exemptions;
mod table;

pub use exemptions::{Exempt, Exemptions, MAX_RULES_PER_KEY, OfRule};

use catraca_wire::extension::{ChangedEntry, ListChange, MAX_LIST_ENTRIES_AT_ONCE};
use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};
use std::collections::BTreeMap;
use std::sync::Arc;
use table::Table;

/// Most entries of all lists and exemptions together: some 100 MB, which all cores share, and 40 MB of a
/// checkpoint.
pub const MAX_ENTRIES: usize = 1 << 20;
/// Most lists.
pub const MAX_LISTS: usize = 256;

/// Who made an entry, when, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Who; empty where nobody says.
    pub author: Author,
    /// Why; empty where nobody says.
    pub reason: ListReason,
    /// When, nanoseconds since 1970 UTC.
    pub changed_at_ns: u64,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number; 0 where it was given none.
    pub value: i64,
    /// Until when it counts, nanoseconds since 1970 UTC; 0 for ever.
    pub until_ns: u64,
    /// Who made it.
    pub note: Arc<Note>,
}

impl Entry {
    /// Whether it counts at a time.
    #[inline]
    pub const fn counts(&self, now_ns: u64) -> bool {
        has_not_ended(self.until_ns, now_ns)
    }
}

/// Whether what counts until a time still does; both nanoseconds since 1970 UTC, 0 for ever.
const fn has_not_ended(until_ns: u64, now_ns: u64) -> bool {
    until_ns == 0 || now_ns < until_ns
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    kind: ListKeyKind,
    entries: Table<Entry>,
    /// Of networks: how many entries have a prefix of so many bits.
    prefixes: BTreeMap<u8, usize>,
}

impl List {
    fn new(kind: ListKeyKind) -> Self {
        Self { kind, entries: Table::default(), prefixes: BTreeMap::new() }
    }

    /// What its keys are.
    pub const fn kind(&self) -> ListKeyKind {
        self.kind
    }

    /// How many entries, those whose time is over included.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// All entries, in an order that says nothing.
    pub fn entries(&self) -> impl Iterator<Item = (ListKey, &Entry)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    /// The entry of exactly this key, whether it counts or not.
    pub fn entry(&self, key: ListKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Asks the processor for what [`Self::get`] reads first. Networks are few.
    #[inline]
    pub fn prefetch(&self, key: ListKey) {
        if self.kind != ListKeyKind::Network {
            self.entries.prefetch(key);
        }
    }

    /// The entry that counts for a key at a time: of networks the narrowest that has the address.
    #[inline]
    pub fn get(&self, key: ListKey, now_ns: u64) -> Option<&Entry> {
        let counts = |entry: &&Entry| entry.counts(now_ns);
        match self.kind {
            ListKeyKind::Network => self.prefixes.keys().rev().find_map(|&prefix_len| {
                self.entries.get(ListKey::network(key.bits, prefix_len)).filter(counts)
            }),
            _ => self.entries.get(key).filter(counts),
        }
    }

    fn set(&mut self, key: ListKey, entry: Entry) {
        let is_new = !self.entries.set(key, entry);
        if is_new && self.kind == ListKeyKind::Network {
            *self.prefixes.entry(key.prefix_len).or_default() += 1;
        }
    }

    fn remove(&mut self, key: ListKey) {
        let is_gone = self.entries.remove(key);
        if is_gone
            && self.kind == ListKeyKind::Network
            && let Some(count) = self.prefixes.get_mut(&key.prefix_len)
        {
            *count -= 1;
            if *count == 0 {
                self.prefixes.remove(&key.prefix_len);
            }
        }
    }
}

/// Why a change can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// No list has the name.
    #[error("there is no list of that name: create it first")]
    NoSuchList,
    /// Keys of another kind.
    #[error("the list has keys of another kind")]
    OtherKind,
    /// More entries than fit.
    #[error("lists and exemptions have {MAX_ENTRIES} entries, the most that they may")]
    Entries,
    /// More lists than there may be.
    #[error("there are {MAX_LISTS} lists, the most that there may be")]
    Lists,
    /// A key has been exempted from too many rules.
    #[error("the key is exempted from {MAX_RULES_PER_KEY} rules, the most that it may be")]
    Exemptions,
    /// Rules are not exempted from by such keys.
    #[error("rules are exempted from by document, company, account or device")]
    ExemptionKind,
    /// A change that has no name or number that could be right.
    #[error("it is no change of a list")]
    Nonsense,
}

/// All named lists, and all exemptions.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NamedLists {
    lists: BTreeMap<ListName, Arc<List>>,
    exemptions: Arc<Exemptions>,
    sequence: u64,
}

impl NamedLists {
    /// Takes a change. One that was taken before, as its number says, is without effect.
    ///
    /// # Errors
    /// [`ListFault`]: some of its entries may have been taken.
    pub fn apply(&mut self, change: &ListChange) -> Result<(), ListFault> {
        let count = change.entries.len().max(1) as u64;
        let before = change.sequence.checked_sub(count).ok_or(ListFault::Nonsense)?;
        if change.sequence <= self.sequence {
            return Ok(());
        }
        if before != self.sequence {
            // One between was lost.
            return Err(ListFault::Nonsense);
        }
        self.take(change)?;
        self.sequence = change.sequence;
        Ok(())
    }

    fn take(&mut self, change: &ListChange) -> Result<(), ListFault> {
        let note = Arc::new(Note {
            author: change.author,
            reason: change.reason,
            changed_at_ns: change.changed_at_ns,
        });
        match change.op {
            ListOp::Describe => return Err(ListFault::Nonsense),
            ListOp::Create => self.create(change)?,
            ListOp::Set | ListOp::Remove => self.change(change, &note)?,
            ListOp::Exempt | ListOp::Unexempt => {
                let exemptions = Arc::make_mut(&mut self.exemptions);
                for entry in &change.entries {
                    exemptions.apply(change, entry, &note)?;
                }
            }
        }
        if self.entries() > MAX_ENTRIES {
            return Err(ListFault::Entries);
        }
        Ok(())
    }

    fn create(&mut self, change: &ListChange) -> Result<(), ListFault> {
        if let Some(known) = self.lists.get(&change.name) {
            return if known.kind == change.key_kind { Ok(()) } else { Err(ListFault::OtherKind) };
        }
        if self.lists.len() == MAX_LISTS {
            return Err(ListFault::Lists);
        }
        self.lists.insert(change.name, Arc::new(List::new(change.key_kind)));
        Ok(())
    }

    fn change(&mut self, change: &ListChange, note: &Arc<Note>) -> Result<(), ListFault> {
        let list = self.lists.get_mut(&change.name).ok_or(ListFault::NoSuchList)?;
        if list.kind != change.key_kind {
            return Err(ListFault::OtherKind);
        }
        let list = Arc::make_mut(list);
        for &ChangedEntry { key, value, until_ns } in &change.entries {
            match change.op {
                ListOp::Set => list.set(key, Entry { value, until_ns, note: Arc::clone(note) }),
                _ => list.remove(key),
            }
        }
        Ok(())
    }

    /// Number of the last change; 0 without one.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Entries of all lists, and exemptions.
    pub fn entries(&self) -> usize {
        self.lists.values().map(|list| list.len()).sum::<usize>() + self.exemptions.len()
    }

    /// All lists, by name.
    pub fn lists(&self) -> impl ExactSizeIterator<Item = (&ListName, &List)> {
        self.lists.iter().map(|(name, list)| (name, &**list))
    }

    /// The list of a name, to be held on to.
    pub fn shared_list(&self, name: &ListName) -> Option<&Arc<List>> {
        self.lists.get(name)
    }

    /// All exemptions, to be held on to.
    pub fn shared_exemptions(&self) -> &Arc<Exemptions> {
        &self.exemptions
    }

    /// The list of a name.
    pub fn list(&self, name: &ListName) -> Option<&List> {
        self.lists.get(name).map(|list| &**list)
    }

    /// All exemptions, in an order that says nothing.
    pub fn exemptions(&self) -> impl Iterator<Item = Exempt<'_>> {
        self.exemptions.iter()
    }

    /// How many exemptions.
    pub fn exemptions_len(&self) -> usize {
        self.exemptions.len()
    }

    /// The exemption of a key from a rule, whether its time is over or not.
    pub fn exemption(
        &self,
        kind: ListKeyKind,
        key: ListKey,
        rule: &ListName,
    ) -> Option<Exempt<'_>> {
        self.exemptions.get(kind, key, rule)
    }

    /// Changes that make these lists out of none, each with the number of the last one: for checkpoints.
    /// [`Self::of_changes`] takes them.
    pub fn changes(&self) -> Vec<ListChange> {
        let mut changes = Vec::new();
        let mut take = |op, key_kind, name: &ListName, note: &Note, entries: &[ChangedEntry]| {
            changes.push(ListChange {
                op,
                key_kind,
                name: *name,
                sequence: self.sequence,
                changed_at_ns: note.changed_at_ns,
                author: note.author,
                reason: note.reason,
                entries: entries.to_vec(),
            });
        };
        let nobody = Note { author: Author::EMPTY, reason: ListReason::EMPTY, changed_at_ns: 0 };
        for (name, list) in &self.lists {
            take(ListOp::Create, list.kind, name, &nobody, &[]);
            let entry = |(key, entry): (ListKey, &Entry)| {
                let changed = ChangedEntry { key, value: entry.value, until_ns: entry.until_ns };
                (Arc::clone(&entry.note), changed)
            };
            for (note, entries) in by_note(list.entries().map(entry)) {
                for some in entries.chunks(MAX_LIST_ENTRIES_AT_ONCE) {
                    take(ListOp::Set, list.kind, name, &note, some);
                }
            }
        }
        let mut exempt: BTreeMap<(ListKeyKind, ListName), Vec<_>> = BTreeMap::new();
        for exemption in self.exemptions() {
            let Exempt { kind, key, rule, until_ns, note } = exemption;
            let changed = ChangedEntry { key, value: 0, until_ns };
            exempt.entry((kind, rule)).or_default().push((Arc::clone(note), changed));
        }
        for ((kind, rule), entries) in exempt {
            for (note, entries) in by_note(entries.into_iter()) {
                for some in entries.chunks(MAX_LIST_ENTRIES_AT_ONCE) {
                    take(ListOp::Exempt, kind, &rule, &note, some);
                }
            }
        }
        changes
    }

    /// The lists that changes of [`Self::changes`] make, and the number of the last change.
    ///
    /// # Errors
    /// [`ListFault`].
    pub fn of_changes(changes: &[ListChange], sequence: u64) -> Result<Self, ListFault> {
        let mut lists = Self { sequence, ..Self::default() };
        changes.iter().try_for_each(|change| lists.take(change))?;
        Ok(lists)
    }
}

/// How much is in them, not whom they name.
impl std::fmt::Debug for NamedLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedLists")
            .field("lists", &self.lists.len())
            .field("entries", &self.entries())
            .field("sequence", &self.sequence)
            .finish()
    }
}

/// Entries that were made at once, for one reason.
type OfNote = (Arc<Note>, Vec<ChangedEntry>);

/// Entries by who made them, so that few changes make many entries.
fn by_note(entries: impl Iterator<Item = (Arc<Note>, ChangedEntry)>) -> Vec<OfNote> {
    let mut groups: BTreeMap<(u64, Author, ListReason), OfNote> = BTreeMap::new();
    for (note, entry) in entries {
        let key = (note.changed_at_ns, note.author, note.reason);
        groups.entry(key).or_insert_with(|| (note, Vec::new())).1.push(entry);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.iter_mut().for_each(|(_, entries)| entries.sort_unstable_by_key(|entry| entry.key));
    groups
}
