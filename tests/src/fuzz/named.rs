//! Changes of named lists and exemptions, as a log has them, sound and spoilt: what is read is written again as
//! the same bytes, and the lists are what a plain map says. Keys, as people write them.

use super::input::{Input, spoil};
use catraca_core::named_lists::NamedLists;
use catraca_wire::extension::{ChangedEntry, ListChange};
use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};
use std::collections::BTreeMap;

/// Most changes of an input.
const MAX_CHANGES: usize = 256;
const NAMES: [&str; 3] = ["a", "b-2", "night-limit"];
/// Steps that spoil a section, as many bytes of the input.
const SPOILING: usize = 12;

/// What lists come to, told otherwise: numbers and ends by name and key, of lists and of exemptions.
#[derive(Default)]
struct Model {
    lists: BTreeMap<ListName, ListKeyKind>,
    entries: BTreeMap<(ListName, ListKey), (i64, u64)>,
    exempt: BTreeMap<(ListKeyKind, ListKey, ListName), u64>,
}

impl Model {
    fn take(&mut self, change: &ListChange) {
        for entry in &change.entries {
            let listed = (change.name, entry.key);
            let exempt = (change.key_kind, entry.key, change.name);
            match change.op {
                ListOp::Set => drop(self.entries.insert(listed, (entry.value, entry.until_ns))),
                ListOp::Remove => drop(self.entries.remove(&listed)),
                ListOp::Exempt => drop(self.exempt.insert(exempt, entry.until_ns)),
                _ => drop(self.exempt.remove(&exempt)),
            }
        }
        if change.op == ListOp::Create {
            self.lists.insert(change.name, change.key_kind);
        }
    }

    fn assert_is(&self, named: &NamedLists) {
        let lists: BTreeMap<_, _> =
            named.lists().map(|(name, list)| (*name, list.kind())).collect();
        assert_eq!(lists, self.lists);
        assert_eq!(named.entries(), self.entries.len() + self.exempt.len());
        for ((name, key), expected) in &self.entries {
            let entry = named.list(name).and_then(|list| list.entry(*key)).expect("it was set");
            assert_eq!((entry.value, entry.until_ns), *expected);
        }
        for ((kind, key, rule), until_ns) in &self.exempt {
            let exempt = named.exemption(*kind, *key, rule).expect("it was made");
            assert_eq!(exempt.until_ns, *until_ns);
        }
    }
}

fn entry(input: &mut Input<'_>, kind: ListKeyKind) -> ChangedEntry {
    let number = u128::from(input.byte() % 40) + 1;
    let key = match kind {
        ListKeyKind::Network => ListKey { bits: number << 100, prefix_len: input.byte() % 160 },
        // Companies and documents have numbers as well; few of these have eight letters.
        ListKeyKind::Institution => {
            ListKey::of(u128::from(u64::from_be_bytes(*b"12345600")) + number)
        }
        _ => ListKey::of(number),
    };
    ChangedEntry { key, value: input.number() as i64 - 1_000, until_ns: input.number() }
}

fn change(input: &mut Input<'_>, sequence: u64) -> ListChange {
    let op = ListOp::ALL[1 + usize::from(input.byte()) % (ListOp::ALL.len() - 1)];
    let kinds = ListKeyKind::ALL;
    let key_kind = kinds[usize::from(input.byte()) % kinds.len()];
    let count = if op == ListOp::Create { 0 } else { usize::from(input.byte() % 4) + 1 };
    let entries: Vec<_> = (0..count).map(|_| entry(input, key_kind)).collect();
    // Now and then one of before, or one too far.
    let sequence = match input.byte() {
        0 => sequence,
        1 => sequence + count as u64 + 2,
        _ => sequence + count.max(1) as u64,
    };
    ListChange {
        op,
        key_kind,
        name: ListName::parse(NAMES[usize::from(input.byte()) % NAMES.len()]).expect("a name"),
        sequence,
        changed_at_ns: input.number(),
        author: Author::EMPTY,
        reason: ListReason::parse(["", "por quê"][usize::from(input.byte() % 2)]).expect("short"),
        entries,
    }
}

pub(super) fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let text =
        String::from_utf8_lossy(input.piece(usize::from(data.first().copied().unwrap_or(0) % 64)))
            .into_owned();
    for &kind in ListKeyKind::ALL {
        let Ok(key) = ListKey::parse(kind, &text) else { continue };
        assert!(key.is_of(kind), "{kind}");
        assert_eq!(ListKey::parse(kind, &key.in_full(kind)), Ok(key), "{kind}");
        let is_person = kind == ListKeyKind::Document && key.in_full(kind).len() == 11;
        assert!(!is_person || key.masked(kind).contains("***"), "a person is masked");
    }
    let (mut named, mut model) = (NamedLists::default(), Model::default());
    for _ in 0..MAX_CHANGES {
        if input.is_empty() {
            break;
        }
        let mut section = change(&mut input, named.sequence()).to_section();
        if input.byte().is_multiple_of(4) {
            spoil(&mut section, &mut Input::new(input.piece(SPOILING)));
        }
        let Some(read) = ListChange::read(&section) else { continue };
        assert_eq!(
            read.to_section()[..],
            section[..read.to_section().len()],
            "one way to write it"
        );
        let mut next = named.clone();
        let before = named.sequence();
        if next.apply(&read).is_err() {
            continue;
        }
        if next.sequence() > before {
            model.take(&read);
        }
        named = next;
        model.assert_is(&named);
    }
    let again = NamedLists::of_changes(&named.changes(), named.sequence());
    assert_eq!(again.as_ref(), Ok(&named), "a checkpoint holds all of it");
}
