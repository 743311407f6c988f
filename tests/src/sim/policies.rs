//! Policies that come into force on the primary, through whatever else happens: as the control thread does
//! it, by the activation that ships. And what must hold of them in the end.

use super::Broken;
use super::candidates::Tried;
use super::event::Event;
use super::found::read_log;
use super::lists::{ListsThen, RULES_OF_LISTS};
use super::node::Process;
use super::setup::KEY;
use super::validators::{RULES_OF_VALIDATORS, compare_answers};
use super::windows::{self, Bringing};
use super::world::{MS, Sim};
use catraca_core::log::policies::{PolicyId, PolicyInLog, PolicyText};
use catraca_core::policy::lists::InForce;
use catraca_core::policy::replay::{differences, push, recorded_parties, recorded_values};
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::{Batch, Policy};
use catraca_core::shard::activation::{Activation, ActivationStep};
use catraca_core::shard::messages::{ToControl, ToShard};
use catraca_node::policy_file;
use catraca_wire::extension::{ActivatedBy, ListChange, MAX_WINDOW_VALUES, RulesSeen, WindowValue};
use catraca_wire::frame::Role;
use catraca_wire::record::{RecordHead, RecordKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shard whose stream keeps changes.
const CHANGES: usize = 0;

/// What a process knows of its policies, and the one that comes into force.
#[derive(Default)]
pub(super) struct Policies {
    pub logged: PolicyInLog,
    /// The policy that is tried.
    pub tried: Option<Tried>,
    under_way: Option<UnderWay>,
    /// The next step is one of the control thread's, after a pause.
    again: bool,
    /// Cores that are to say yet that they tell their siblings, or no more.
    settling: u16,
}

/// A policy on its way.
struct UnderWay {
    /// Its windows, before anything else.
    bringing: Option<Bringing>,
    goal: Goal,
}

/// What a policy is wanted for.
pub(super) enum Goal {
    /// To come into force.
    Decide { activation: Activation, text: PolicyText },
    /// To be tried, or nothing is any more; so many cores are to say that they do.
    Try { tried: Option<Tried>, left: u16 },
}

impl Policies {
    /// A policy is on its way.
    pub fn begin(&mut self, bringing: Option<Bringing>, goal: Goal) {
        assert!(self.under_way.is_none(), "one after the other");
        self.under_way = Some(UnderWay { bringing, goal });
    }

    /// What the policy under way is wanted for.
    pub fn goal(&mut self) -> Option<&mut Goal> {
        self.under_way.as_mut().map(|under_way| &mut under_way.goal)
    }

    /// What is under way is not.
    pub fn give_up(&mut self) {
        self.under_way = None;
    }
}

/// A policy's text: its rules are its number's.
pub(super) fn text(number: u64, with_lists: bool, with_validators: bool) -> String {
    // Several policies read the same windows, and some none.
    let windows = match number / 16 % 4 {
        0 => String::new(),
        kind => format!(
            "[windows]\nkeys = 64\n\
             [[rule]]\nid = \"often\"\nwhen = 'payer.count(\"{kind}m\") > 3'\nscore = 500\n\
             [[rule]]\nid = \"much\"\nwhen = 'payer.sum(\"today\", \"approved\", \"incl\") > reais(20000)'\nverdict = \"review\"\n\
             [[rule]]\nid = \"known\"\nwhen = 'has(payer_to_payee.seconds_since_first(\"30d\")) && payer.distinct_payees(\"1h\") < 4'\nscore = -100\n"
        ),
    };
    let shared = if (number / 256).is_multiple_of(2) {
        "[[rule]]\nid = \"crowd\"\nwhen = 'payee.count(\"7d\") > 20 && payee.distinct_payers(\"7d\") > 9'\nscore = 150\n"
    } else {
        ""
    };
    let windows = if windows.is_empty() { windows } else { windows + shared };
    let validators =
        if with_validators && (number / 1024).is_multiple_of(3) { RULES_OF_VALIDATORS } else { "" };
    let lists = if with_lists && (number / 64).is_multiple_of(2) { RULES_OF_LISTS } else { "" };
    format!(
        "thresholds = {{ review = 400, deny = 900 }}\n\
         # A text of several parts: {}\n\
         [[rule]]\nid = \"some\"\nwhen = \"tx.amount % {} == 0\"\nscore = 450\nshare = {}\n\
         [[rule]]\nid = \"few\"\nwhen = \"tx.amount % {} == 1\"\nverdict = \"deny\"\n\
         [[rule]]\nid = \"dark\"\nwhen = \"tx.amount % 5 == 0\"\nverdict = \"deny\"\nshadow = true\n{windows}{lists}{validators}",
        "x".repeat(number as usize % 3 * 5_000),
        number % 4 + 2,
        [1_000, 1_000, 350][number as usize % 3],
        number % 7 + 3,
    )
}

/// The policy that a log says is in force.
pub(super) fn in_force(logged: &PolicyInLog, broken: Option<Broken>) -> Arc<Policy> {
    if broken == Some(Broken::PolicyForgotten) {
        return Policy::blacklist_only().into();
    }
    policy_file::in_force_of(logged).expect("the texts of the simulator are sound")
}

impl Sim {
    /// Somebody wants another policy.
    pub(super) fn policy_wanted(&mut self) {
        let pause = self.policy_rng.between(80, 900) * MS;
        self.after(pause, Event::Policy);
        if self.operator.helping {
            return;
        }
        let number = self.policy_rng.bits();
        let Some(leader) = self.leader() else { return };
        let (now, shards) = (self.clock(leader), usize::from(self.plan.shards));
        let host = &mut self.nodes[leader];
        let Some(process) = host.process.as_mut().filter(|_| !host.paused) else { return };
        let decides = process.deciding_epoch.is_some() && process.state().role == Role::Primary;
        let policies = &process.policies;
        let is_busy = policies.under_way.is_some() || policies.settling > 0;
        if !decides || is_busy || process.lists.is_busy() {
            return;
        }
        if self.candidate_wanted(leader, number) {
            return;
        }
        let process = self.process(leader);
        let in_force = process.policies.logged.in_force().ok().flatten();
        let version = in_force.map_or(0, |policy| policy.version) + 1;
        let text = text(number, process.lists.are_there(), true);
        let text = PolicyText {
            version,
            activated_at_ns: now.wall_ns,
            id: PolicyId::of(text.as_bytes()),
            text: text.into_bytes().into(),
        };
        let policy = policy_file::in_force(Some(&text)).expect("sound");
        let before = policies_in_force(&process.policies);
        let reads_others = policy.window_values() > 0 && !policy.reads_windows_of(&before);
        let bringing = reads_others.then(|| Bringing::new(&policy, shards as u16));
        let activation = Activation::new(&text, &ActivatedBy::default(), policy, shards);
        process.policies.begin(bringing, Goal::Decide { activation, text });
        self.note(format_args!("node {leader} is to take policy {version} into force"));
        self.windows_again(leader);
    }

    /// Brings the windows of the policy under way on; once all are there it is logged.
    pub(super) fn windows_again(&mut self, node: usize) {
        let policies = &mut self.process(node).policies;
        let Some(under_way) = policies.under_way.as_mut() else { return };
        let step = match &under_way.goal {
            Goal::Decide { activation, .. } => Some(activation.begin()),
            Goal::Try { .. } => None,
        };
        if let Some(mut bringing) = under_way.bringing.take()
            && !self.windows_step(node, &mut bringing)
        {
            if let Some(under_way) = &mut self.process(node).policies.under_way {
                under_way.bringing = Some(bringing);
            }
            return;
        }
        match step {
            Some(step) => self.policy_step(node, step),
            None => self.set_candidate(node),
        }
    }

    fn policy_step(&mut self, node: usize, step: ActivationStep) {
        match step {
            ActivationStep::Log(record) => {
                self.mail(node, CHANGES, ToShard::AppendRecord(record));
            }
            ActivationStep::Swap(policy) => {
                let one_only = self.broken(Broken::PolicyOnOneShard);
                for core in 0..usize::from(self.plan.shards) {
                    // The broken variant counts a shard that was never told.
                    let policy = if one_only && core > 0 {
                        Policy::clone(self.process(node).cores[core].mover.shard.policy()).into()
                    } else {
                        Arc::clone(&policy)
                    };
                    let named = &self.process(node).lists.named;
                    let named = Arc::new(InForce::new(named, policy.rules(), ShareKey::of(&KEY)));
                    self.mail(node, core, ToShard::SwapPolicy(policy, named));
                }
            }
            ActivationStep::Wait => {}
            ActivationStep::Done => {
                let under_way = self.process(node).policies.under_way.take();
                let Some(UnderWay { goal: Goal::Decide { text, .. }, .. }) = under_way else {
                    return;
                };
                self.note(format_args!("node {node}: policy {} is in force", text.version));
                self.checks.count("policies in force");
                self.process(node).policies.logged.begin(Some(text), None, None);
                self.broadcast_what_is_read(node);
            }
        }
    }

    /// The cores tell each other of payments as long as the policy in force reads that.
    pub(super) fn broadcast_what_is_read(&mut self, node: usize) {
        let shards = self.plan.shards;
        let policies = &mut self.process(node).policies;
        policies.settling = shards;
        let is_tried = policies.tried.as_ref().is_some_and(Tried::reads_siblings);
        let is_on = is_tried || policies_in_force(policies).reads_siblings();
        for core in 0..usize::from(shards) {
            self.mail(node, core, ToShard::Broadcast(is_on));
        }
    }

    /// What a core says of the policy under way.
    pub(super) fn policy_told(&mut self, node: usize, told: ToControl) {
        let Some(told) = self.list_told(node, told) else { return };
        let policies = &mut self.process(node).policies;
        let Some(UnderWay { bringing, goal }) = policies.under_way.as_mut() else {
            policies.settling -= u16::from(matches!(told, ToControl::Broadcasts(..)));
            return;
        };
        if let Some(bringing) = bringing {
            if windows::told(bringing, told) {
                self.windows_again(node);
            }
            return;
        }
        let activation = match goal {
            Goal::Decide { activation, .. } => activation,
            Goal::Try { tried, left } => {
                *left -= u16::from(matches!(told, ToControl::CandidateReleased(_)));
                if *left == 0 {
                    policies.tried = tried.take();
                    policies.under_way = None;
                    self.checks.count("policies tried or ended");
                    self.broadcast_what_is_read(node);
                }
                return;
            }
        };
        let step = match told {
            ToControl::RecordDurable => activation.logged(),
            // The control thread waits before it asks again.
            ToControl::RecordRefused => {
                policies.again = true;
                let pause = self.policy_rng.between(10, 60) * MS;
                return self.wake_in(node, pause, super::event::Wake::PolicyAgain);
            }
            ToControl::PolicyReleased(..) => activation.swapped(),
            _ => return,
        };
        self.policy_step(node, step);
    }

    /// A record that could not be appended is tried again.
    pub(super) fn policy_again(&mut self, node: usize) {
        let policies = &mut self.process(node).policies;
        let Some(under_way) = policies.under_way.as_ref().filter(|_| policies.again) else {
            return;
        };
        let Goal::Decide { activation, .. } = &under_way.goal else { return };
        let step = activation.refused();
        policies.again = false;
        self.policy_step(node, step);
    }

    /// Whether a policy is on its way into force on a node, or a list is changed.
    pub(super) fn policy_under_way(&self, node: usize) -> bool {
        let is_busy = |process: &Process| {
            let policies = &process.policies;
            policies.under_way.is_some() || policies.settling > 0 || process.lists.is_busy()
        };
        self.nodes[node].process.as_ref().is_some_and(is_busy)
    }

    /// Every shard of the primary decides by the policy that the log says is in force; every decision is
    /// what its record's policy makes of it; and in no stream a policy gives way to an older one.
    pub(super) fn compare_policies(&self, leader: usize) -> Result<(), String> {
        // What force lost may hold the text of a policy that decided.
        if self.checks.forced {
            return Ok(());
        }
        let (mut logged, mut policies) = (PolicyInLog::default(), BTreeMap::new());
        policies.insert(0, Policy::blacklist_only().into());
        let mut decisions: Vec<(u16, RecordHead, Vec<u8>)> = Vec::new();
        let (mut lists, mut list_fault) = (ListsThen::new(), None);
        read_log(&self.nodes[leader].disk, |stream, block| {
            for (head, extension) in block.records() {
                match RecordKind::from_wire(head.kind) {
                    Some(RecordKind::Decision) => {
                        decisions.push((stream, *head, extension.to_vec()));
                    }
                    Some(RecordKind::ListChange) => {
                        let change = ListChange::from_record(head, extension);
                        let taken = change.ok_or("a list change is unreadable".to_owned());
                        list_fault = list_fault.take().or(taken.and_then(|c| lists.take(&c)).err());
                    }
                    Some(kind) => {
                        logged.take(kind, head, extension);
                        let in_force = logged.in_force().ok().flatten();
                        if kind == RecordKind::PolicyActivated
                            && let Some(text) = in_force
                        {
                            policies.insert(text.version, in_force_policy(text));
                        }
                    }
                    None => {}
                }
            }
        })?;
        list_fault.map_or(Ok(()), Err)?;
        self.compare_lists(leader, lists.last())?;
        let version =
            logged.in_force().map_err(|error| error.to_string())?.map_or(0, |p| p.version);
        for (core, of) in self.nodes[leader].process.iter().flat_map(|p| p.cores.iter()).enumerate()
        {
            let decides_by = of.mover.shard.policy().version();
            if decides_by != version {
                return Err(format!(
                    "shard {core} decides by policy {decides_by}, the log says {version}"
                ));
            }
        }
        let heads: Vec<_> = decisions.iter().map(|(_, head, _)| *head).collect();
        self.compare_windows(leader, &policies[&version], &heads)?;
        let mut last: BTreeMap<u16, u32> = BTreeMap::new();
        let mut batch = Batch::new();
        let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        let mut pasts = BTreeMap::new();
        for (stream, head, extension) in &decisions {
            let version = head.policy_version.to_native();
            let before = last.insert(*stream, version).unwrap_or(0);
            let place = || format!("stream {stream} lsn {}", head.lsn);
            if version < before {
                return Err(format!("{}: policy {version} after policy {before}", place()));
            }
            let policy = policies
                .get(&version)
                .ok_or_else(|| format!("{}: policy {version} is not in the log", place()))?;
            self.compare_seen(&mut pasts, &policies, (*stream, head, extension))
                .map_err(|what| format!("{}: {what}", place()))?;
            lists
                .compare(policy, head, extension)
                .map_err(|what| format!("{}: {what}", place()))?;
            let parties = recorded_parties(head).ok_or_else(place)?;
            let (offset_minutes, exempt) = RulesSeen::read(extension)
                .map_or_else(Default::default, |seen| (seen.offset_minutes, seen.exempt));
            batch.clear();
            let seen = recorded_values(policy, extension, &mut values);
            push(&mut batch, policy, head, offset_minutes, parties, seen, &exempt);
            policy.judge(&mut batch);
            compare_answers(policy, &mut batch, seen, extension)
                .map_err(|what| format!("{}: {what}", place()))?;
            let differing = differences(policy, batch.judgement(0), head, extension);
            if !differing.is_empty() {
                return Err(format!("{}: recomputed it differs in {differing:?}", place()));
            }
        }
        Ok(())
    }
}

fn policies_in_force(policies: &Policies) -> Arc<Policy> {
    policy_file::in_force_of(&policies.logged).expect("the texts of the simulator are sound")
}

fn in_force_policy(text: &PolicyText) -> Arc<Policy> {
    policy_file::in_force(Some(text)).expect("the texts of the simulator are sound")
}
