//! Named lists and exemptions that are changed on the primary, through whatever else happens, as the control
//! thread does it: logged first, then brought to every core. And what must hold of them in the end.

use super::Broken;
use super::client::{DOCUMENTS_SEED, PAYERS};
use super::event::Event;
use super::setup::KEY;
use super::world::{MS, Sim};
use catraca_core::blacklist::synthetic::document;
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::Policy;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::replay::{facts, recorded_parties, recorded_values};
use catraca_core::policy::share::ShareKey;
use catraca_core::shard::messages::{ControlRecord, ToControl, ToShard};
use catraca_wire::extension::{
    ChangedEntry, ListChange, MAX_WINDOW_VALUES, RulesSeen, WindowValue,
};
use catraca_wire::frame::Role;
use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};
use catraca_wire::record::RecordHead;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shard whose stream keeps changes.
const CHANGES: usize = 0;
/// The lists, all of documents.
const LISTS: [&str; 2] = ["vip", "limits"];
/// Rules that somebody is exempted from; the policies of the simulator have the first two.
const RULES: [&str; 3] = ["some", "few", "no-such-rule"];

/// Rules that read both lists.
pub(super) const RULES_OF_LISTS: &str = "\
[[rule]]\nid = \"vip\"\nwhen = 'payer.document in list(\"vip\") && !(payee.document in list(\"vip\"))'\nscore = -60\n\
[[rule]]\nid = \"limit\"\nwhen = 'payer.document in list(\"limits\") && tx.amount > list(\"limits\")[payer.document]'\nverdict = \"review\"\n";

/// What a process knows of its lists, and the change that is made.
pub(super) struct ProcessLists {
    pub named: NamedLists,
    under_way: Option<UnderWay>,
}

/// A change: logged, then handed to every core.
struct UnderWay {
    change: ListChange,
    next: NamedLists,
    /// Cores that have it.
    handed: Option<usize>,
}

impl ProcessLists {
    pub const fn new(named: NamedLists) -> Self {
        Self { named, under_way: None }
    }

    /// Whether there are the lists that rules read.
    pub fn are_there(&self) -> bool {
        LISTS.iter().all(|list| self.named.list(&name(list)).is_some())
    }

    pub const fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }
}

fn name(text: &str) -> ListName {
    ListName::parse(text).expect("a name")
}

/// Lists of a process that takes over or starts, as its log has them.
pub(super) fn of_log(named: NamedLists, broken: Option<Broken>) -> NamedLists {
    if broken == Some(Broken::ListsForgotten) { NamedLists::default() } else { named }
}

impl Sim {
    /// Somebody wants a list changed.
    pub(super) fn list_wanted(&mut self) {
        let pause = self.list_rng.between(20, 200) * MS;
        self.after(pause, Event::List);
        if self.operator.helping {
            return;
        }
        let Some(leader) = self.leader() else { return };
        if self.policy_under_way(leader) {
            return;
        }
        let number = self.list_rng.bits();
        let now_ns = self.clock(leader).wall_ns;
        let host = &mut self.nodes[leader];
        let Some(process) = host.process.as_mut().filter(|_| !host.paused) else { return };
        let decides = process.deciding_epoch.is_some() && process.state().role == Role::Primary;
        if !decides || process.lists.is_busy() {
            return;
        }
        let change = change(&process.lists.named, number, now_ns);
        let mut next = process.lists.named.clone();
        // Some change nothing, or can't be made.
        if next.apply(&change).is_err() {
            return;
        }
        let record = ControlRecord { head: change.to_record(), extension: change.to_section() };
        process.lists.under_way = Some(UnderWay { change, next, handed: None });
        self.mail(leader, CHANGES, ToShard::AppendRecord(Box::new(record)));
    }

    /// What a core says of the change under way; gives it back where none is.
    pub(super) fn list_told(&mut self, node: usize, told: ToControl) -> Option<ToControl> {
        let shards = usize::from(self.plan.shards);
        let process = self.process(node);
        let Some(UnderWay { next, handed, .. }) = &mut process.lists.under_way else {
            return Some(told);
        };
        match (told, &mut *handed) {
            (ToControl::RecordDurable, None) => {
                *handed = Some(0);
                let next = next.clone();
                self.hand_lists(node, &next);
            }
            (ToControl::RecordRefused, None) => process.lists.under_way = None,
            (ToControl::NamedReleased(_), Some(handed)) => {
                *handed += 1;
                if *handed == shards
                    && let Some(UnderWay { change, next, .. }) = process.lists.under_way.take()
                {
                    process.lists.named = next;
                    self.note(format_args!(
                        "node {node}: list change {} ({}) is in force",
                        change.sequence, change.op
                    ));
                    self.checks.count("list changes in force");
                }
            }
            (told, _) => return Some(told),
        }
        None
    }

    fn hand_lists(&mut self, node: usize, next: &NamedLists) {
        let one_only = self.broken(Broken::ListOnOneShard);
        // Of the shard that logged the change: another one may not have taken over yet.
        let rules = self.process(node).cores[CHANGES].mover.shard.policy().rules();
        let shared = Arc::new(InForce::new(next, rules, ShareKey::of(&KEY)));
        for core in 0..usize::from(self.plan.shards) {
            let shard = &self.process(node).cores[core].mover.shard;
            // The broken variant counts a shard that was never told.
            let in_force = match one_only && core > 0 {
                true => Arc::clone(shard.named()),
                false => Arc::clone(&shared),
            };
            self.mail(node, core, ToShard::SwapNamed(in_force, None));
        }
    }

    /// Both nodes have the lists that the log says, and every core of the primary decides with them.
    pub(super) fn compare_lists(&self, leader: usize, logged: &NamedLists) -> Result<(), String> {
        for node in [leader, 1 - leader] {
            let Some(process) = &self.nodes[node].process else { continue };
            let held = match &process.builder {
                Some(builder) => builder.named().map_err(|error| error.to_string())?,
                None => process.lists.named.clone(),
            };
            if held != *logged {
                return Err(format!("node {node} has {held:?}, the log says {logged:?}"));
            }
        }
        for (core, of) in self.nodes[leader].process.iter().flat_map(|p| p.cores.iter()).enumerate()
        {
            let decides_with = of.mover.shard.named().sequence();
            if decides_with != logged.sequence() {
                return Err(format!(
                    "shard {core} decides with list change {decides_with}, the log says {}",
                    logged.sequence()
                ));
            }
        }
        Ok(())
    }
}

/// A change by a number.
fn change(named: &NamedLists, number: u64, now_ns: u64) -> ListChange {
    let pick = |bits: u32, of: usize| (number >> bits) as usize % of;
    let entry = |n: usize| ChangedEntry {
        key: ListKey::of(document(DOCUMENTS_SEED, (pick(16, 40) + n) as u64 % PAYERS).raw().into()),
        value: pick(24, 5_000) as i64,
        // Some end while the run goes on.
        until_ns: if pick(36, 3) == 0 { now_ns + pick(40, 2_000) as u64 * MS } else { 0 },
    };
    let (op, of) = match number % 8 {
        _ if named.lists().len() < LISTS.len() => (ListOp::Create, LISTS[named.lists().len()]),
        0..=3 => (ListOp::Set, LISTS[pick(4, 2)]),
        4 => (ListOp::Remove, LISTS[pick(4, 2)]),
        5..=6 => (ListOp::Exempt, RULES[pick(4, 3)]),
        _ => (ListOp::Unexempt, RULES[pick(4, 3)]),
    };
    let count = if op == ListOp::Create { 0 } else { pick(8, 3) + 1 };
    let entries: Vec<_> = (0..count).map(entry).collect();
    ListChange {
        op,
        key_kind: ListKeyKind::Document,
        name: name(of),
        sequence: named.sequence() + entries.len().max(1) as u64,
        changed_at_ns: now_ns,
        author: Author::EMPTY,
        reason: ListReason::EMPTY,
        entries,
    }
}

/// What the lists of a log were, by the number of the last change.
pub(super) struct ListsThen(BTreeMap<u64, NamedLists>);

impl ListsThen {
    pub fn new() -> Self {
        Self(BTreeMap::from([(0, NamedLists::default())]))
    }

    /// Takes the next change of the log.
    pub fn take(&mut self, change: &ListChange) -> Result<(), String> {
        let mut named = self.last().clone();
        named.apply(change).map_err(|fault| format!("list change {}: {fault}", change.sequence))?;
        self.0.insert(named.sequence(), named);
        Ok(())
    }

    /// As they are at the end.
    pub fn last(&self) -> &NamedLists {
        self.0.values().next_back().expect("it begins with none")
    }

    /// What was recorded of lists and exemptions is what they came to then.
    pub fn compare(
        &self,
        policy: &Policy,
        head: &RecordHead,
        extension: &[u8],
    ) -> Result<(), String> {
        let sequence = head.list_sequence.to_native();
        let named =
            self.0.get(&sequence).ok_or_else(|| format!("list change {sequence} is not logged"))?;
        let in_force = InForce::new(named, policy.rules(), ShareKey::of(&KEY));
        let parties = recorded_parties(head).ok_or("documents that are none")?;
        let facts = facts(head, 0, parties);
        let mut values = vec![WindowValue::Evicted; in_force.values()];
        in_force.look_up(&facts, &mut values);
        let mut recorded = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        let recorded = recorded_values(policy, extension, &mut recorded);
        let seen = &recorded[policy.window_values()..policy.rules().answers_from()];
        if *seen != values {
            return Err(format!("lists said {seen:?}, not {values:?}"));
        }
        let mut exempt = in_force.exempt(&facts).unwrap_or_default();
        let (matched, seen) = RulesSeen::read(extension)
            .map_or_else(Default::default, |seen| (seen.matched, seen.exempt));
        exempt.iter_mut().zip(matched).for_each(|(exempt, matched)| *exempt &= matched);
        if policy.version() > 0 && seen != exempt {
            return Err(format!("exempt from {seen:?}, not {exempt:?}"));
        }
        Ok(())
    }
}
