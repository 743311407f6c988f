//! Exemptions: rules that are not applied to payments with some key, until a time.

use super::table::Table;
use super::{ListFault, Note, has_not_ended};
use catraca_wire::extension::{ChangedEntry, ListChange};
use catraca_wire::list::{ListKey, ListKeyKind, ListName, ListOp};
use std::sync::Arc;

/// Most rules that a key is exempted from: all rules of a policy.
pub const MAX_RULES_PER_KEY: usize = 256;

/// A rule that a key is exempted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfRule {
    /// The rule.
    pub rule: ListName,
    /// Until when, nanoseconds since 1970 UTC; 0 for ever.
    pub until_ns: u64,
    /// Who made it.
    pub note: Arc<Note>,
}

impl OfRule {
    /// Whether it counts at a time.
    #[inline]
    pub const fn counts(&self, now_ns: u64) -> bool {
        has_not_ended(self.until_ns, now_ns)
    }
}

/// An exemption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exempt<'l> {
    /// What the key is.
    pub kind: ListKeyKind,
    /// Whose payments the rule is not applied to.
    pub key: ListKey,
    /// The rule.
    pub rule: ListName,
    /// Until when, nanoseconds since 1970 UTC; 0 for ever.
    pub until_ns: u64,
    /// Who made it.
    pub note: &'l Arc<Note>,
}

impl Exempt<'_> {
    /// Whether it counts at a time.
    pub const fn counts(&self, now_ns: u64) -> bool {
        has_not_ended(self.until_ns, now_ns)
    }
}

type Rules = Arc<[OfRule]>;

/// Kinds of keys that rules are exempted from by.
const KINDS: [ListKeyKind; 4] =
    [ListKeyKind::Document, ListKeyKind::Company, ListKeyKind::Account, ListKeyKind::Device];

fn place(kind: ListKeyKind) -> Option<usize> {
    KINDS.iter().position(|known| *known == kind)
}

/// All exemptions: by key, which of some kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemptions {
    by_kind: [Table<Rules>; KINDS.len()],
    len: usize,
}

impl Exemptions {
    /// Takes an entry of a change.
    pub(super) fn apply(
        &mut self,
        change: &ListChange,
        entry: &ChangedEntry,
        note: &Arc<Note>,
    ) -> Result<(), ListFault> {
        let table = place(change.key_kind).ok_or(ListFault::ExemptionKind)?;
        let table = &mut self.by_kind[table];
        let before: &[OfRule] = table.get(entry.key).map_or(&[], |rules| rules);
        let mut rules: Vec<_> =
            before.iter().filter(|of| of.rule != change.name).cloned().collect();
        self.len -= before.len() - rules.len();
        if change.op == ListOp::Exempt {
            if rules.len() == MAX_RULES_PER_KEY {
                return Err(ListFault::Exemptions);
            }
            let (rule, until_ns, note) = (change.name, entry.until_ns, Arc::clone(note));
            rules.push(OfRule { rule, until_ns, note });
            rules.sort_unstable_by_key(|of| of.rule);
            self.len += 1;
        }
        if rules.is_empty() {
            table.remove(entry.key);
        } else {
            table.set(entry.key, rules.into());
        }
        Ok(())
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rules that a key is exempted from.
    #[inline]
    pub fn rules(&self, kind: ListKeyKind, key: ListKey) -> &[OfRule] {
        let table = place(kind).map(|place| &self.by_kind[place]);
        table.and_then(|table| table.get(key)).map_or(&[], |rules| rules)
    }

    /// Whether there is any of a kind.
    #[inline]
    pub fn has(&self, kind: ListKeyKind) -> bool {
        place(kind).is_some_and(|place| self.by_kind[place].len() > 0)
    }

    pub(super) fn get(
        &self,
        kind: ListKeyKind,
        key: ListKey,
        rule: &ListName,
    ) -> Option<Exempt<'_>> {
        let of = self.rules(kind, key).iter().find(|of| of.rule == *rule)?;
        Some(Exempt { kind, key, rule: of.rule, until_ns: of.until_ns, note: &of.note })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Exempt<'_>> {
        KINDS.into_iter().zip(&self.by_kind).flat_map(|(kind, table)| {
            table.iter().flat_map(move |(key, rules)| {
                let key = *key;
                rules.iter().map(move |of| {
                    let OfRule { rule, until_ns, ref note } = *of;
                    Exempt { kind, key, rule, until_ns, note }
                })
            })
        })
    }
}
