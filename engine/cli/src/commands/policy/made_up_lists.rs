//! Named lists that somebody made up, for `explain` and `test`.

use catraca_core::named_lists::NamedLists;
use catraca_core::policy::Rules;
use catraca_wire::extension::{ChangedEntry, ListChange};
use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is in lists, by their names.
pub(super) type MadeUpLists = BTreeMap<String, Entries>;

/// What is in a list: keys, or keys with numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Entries {
    Keys(Vec<String>),
    Numbers(BTreeMap<String, i64>),
}

impl Entries {
    fn pairs(&self) -> Vec<(&str, i64)> {
        match self {
            Self::Keys(keys) => keys.iter().map(|key| (key.as_str(), 0)).collect(),
            Self::Numbers(numbers) => {
                numbers.iter().map(|(key, number)| (key.as_str(), *number)).collect()
            }
        }
    }
}

/// The lists that a policy looks things up in, where some are said of one payment and others of all.
///
/// # Errors
/// Nothing is said of a list, or a key in it makes no sense.
pub(super) fn lists(
    rules: &Rules,
    of_payment: &MadeUpLists,
    of_all: &MadeUpLists,
) -> Result<NamedLists, String> {
    let mut named = NamedLists::default();
    for asked in &rules.lists {
        if named.list(&asked.list).is_some() {
            continue;
        }
        let (name, kind) = (asked.list, asked.key.kind());
        let said = of_payment.get(name.as_str()).or_else(|| of_all.get(name.as_str()));
        let said = said.ok_or_else(|| {
            format!("lists: the policy looks things up in {name}, and nothing is said of it: lists = {{ {name} = [] }}")
        })?;
        change(&mut named, ListOp::Create, name, kind, None)?;
        for (key, value) in said.pairs() {
            let key = ListKey::parse(kind, key).map_err(|why| format!("lists.{name}: {why}"))?;
            let entry = ChangedEntry { key, value, until_ns: 0 };
            change(&mut named, ListOp::Set, name, kind, Some(entry))?;
        }
    }
    Ok(named)
}

fn change(
    named: &mut NamedLists,
    op: ListOp,
    name: ListName,
    key_kind: ListKeyKind,
    entry: Option<ChangedEntry>,
) -> Result<(), String> {
    let change = ListChange {
        op,
        key_kind,
        name,
        sequence: named.sequence() + 1,
        changed_at_ns: 0,
        author: Author::EMPTY,
        reason: ListReason::EMPTY,
        entries: entry.into_iter().collect(),
    };
    named.apply(&change).map_err(|fault| format!("lists.{name}: {fault}"))
}
