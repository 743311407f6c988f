//! A policy that is tried beside the one in force: set on every core of the primary once its windows are level,
//! ended by a person or with the process; and what must have come of it.

use super::found::read_log;
use super::policies::{Goal, text};
use super::setup::KEY;
use super::windows::Bringing;
use super::world::Sim;
use catraca_core::log::policies::{PolicyId, PolicyText};
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::replay::{facts, push, recorded_parties};
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::windows::{Past, WindowsKey};
use catraca_core::policy::{Batch, Policy};
use catraca_core::shard::candidate::{Candidate, CandidateTotals};
use catraca_core::shard::messages::ToShard;
use catraca_node::policy_file;
use catraca_wire::extension::WindowValue;
use catraca_wire::frame::Verdict;
use catraca_wire::record::{RecordHead, RecordKind};
use std::sync::Arc;

/// Of a thousand policies that somebody wants, those that are to be tried.
const TRIED_PERMILLE: u64 = 250;
/// Of a thousand times that somebody wants a policy, those at which one that is tried is ended.
const ENDED_PERMILLE: u64 = 300;

/// A policy that the cores of a process try.
pub(super) struct Tried {
    policy: Arc<Policy>,
    /// By core: how many decisions the process had made when it was set.
    decided_before: Vec<u64>,
}

impl Tried {
    pub fn new(policy: Arc<Policy>, shards: u16) -> Self {
        Self { policy, decided_before: vec![0; shards.into()] }
    }

    /// Whether it counts what other cores decide.
    pub fn reads_siblings(&self) -> bool {
        self.policy.reads_siblings()
    }
}

impl Sim {
    /// Whether somebody wants a policy tried now, or one that is tried ended, and not one in force. It is begun.
    pub(super) fn candidate_wanted(&mut self, node: usize, number: u64) -> bool {
        let shards = self.plan.shards;
        let is_tried = self.process(node).policies.tried.is_some();
        let permille = if is_tried { ENDED_PERMILLE } else { TRIED_PERMILLE };
        if !self.policy_rng.permille(permille) {
            return false;
        }
        if is_tried {
            self.process(node).policies.tried = None;
            self.process(node).policies.begin(None, Goal::Try { tried: None, left: shards });
            self.set_candidate(node);
            return true;
        }
        // Lists change beside it: what comes of those is not what the log says.
        let text = text(number, false, false);
        let text = PolicyText {
            version: u32::MAX,
            activated_at_ns: 0,
            id: PolicyId::of(text.as_bytes()),
            text: text.into_bytes().into(),
        };
        let policy = policy_file::in_force(Some(&text)).expect("sound");
        assert!(policy.rules().lists.is_empty());
        let bringing = (policy.window_values() > 0).then(|| Bringing::new(&policy, shards));
        let tried = Some(Tried::new(policy, shards));
        self.process(node).policies.begin(bringing, Goal::Try { tried, left: shards });
        self.note(format_args!("node {node} is to try a policy"));
        self.windows_again(node);
        true
    }

    /// Hands the policy that is to be tried to every core, or takes it from them.
    pub(super) fn set_candidate(&mut self, node: usize) {
        let Some(Goal::Try { tried, .. }) = self.process(node).policies.goal() else { return };
        let policy = tried.as_ref().map(|tried| Arc::clone(&tried.policy));
        for core in 0..usize::from(self.plan.shards) {
            let candidate = policy.as_ref().map(|policy| {
                let named = in_force(policy).into();
                Box::new(Candidate::new(Arc::clone(policy), named, u64::MAX))
            });
            self.mail(node, core, ToShard::SetCandidate(candidate));
        }
    }

    /// A core has the policy that is tried from now on.
    pub(super) fn candidate_is_set(&mut self, node: usize, core: usize) {
        let decided = self.decisions_of(node, core);
        if let Some(Goal::Try { tried: Some(tried), .. }) = self.process(node).policies.goal() {
            tried.decided_before[core] = decided;
        }
    }

    fn decisions_of(&self, node: usize, core: usize) -> u64 {
        let process = self.nodes[node].process.as_ref().expect("it runs");
        let counters = process.cores[core].mover.shard.counters();
        counters.approved + counters.reviewed + counters.denied
    }

    /// What waits for the policy that is tried is judged.
    pub(super) fn settle_candidate(&mut self, node: usize) {
        for core in 0..usize::from(self.plan.shards) {
            let mover = &mut self.process(node).cores[core].mover;
            while mover.shard.candidate_waits() {
                mover.try_candidate();
            }
        }
    }

    /// What came of the policy that is tried is what the log says of the decisions that were made meanwhile.
    pub(super) fn compare_candidate(&self, leader: usize) -> Result<(), String> {
        let Some(process) = &self.nodes[leader].process else { return Ok(()) };
        let Some(Tried { policy, decided_before }) = &process.policies.tried else { return Ok(()) };
        let mut decisions: Vec<Vec<RecordHead>> = vec![Vec::new(); decided_before.len()];
        read_log(&self.nodes[leader].disk, |stream, block| {
            let kind = RecordKind::Decision.to_wire();
            let heads = block.records().map(|(head, _)| *head).filter(|head| head.kind == kind);
            decisions[usize::from(stream)].extend(heads);
        })?;
        for (core, (decisions, before)) in decisions.iter().zip(decided_before).enumerate() {
            let seen = (self.decisions_of(leader, core) - before) as usize;
            let expected = self.totals_of(policy, core as u16, decisions, seen)?;
            let mut came = CandidateTotals::new(policy.rules().rules.len());
            let shard = &process.cores[core].mover.shard;
            came.join(shard.candidate().ok_or("a core tries no policy")?);
            // Other cores' payments came to it in an order that the log does not hold.
            let is_exact = !policy.reads_siblings() || self.plan.shards == 1;
            let is_same = match is_exact {
                true => came == expected,
                false => came.totals.payments() == expected.totals.payments(),
            };
            if !is_same {
                return Err(format!(
                    "core {core}: a policy was tried on {seen} decisions, and came to {:?}, not {:?}",
                    came.totals.matrix, expected.totals.matrix
                ));
            }
        }
        Ok(())
    }

    /// What a policy makes of the last so many decisions of a stream.
    fn totals_of(
        &self,
        policy: &Policy,
        stream: u16,
        decisions: &[RecordHead],
        seen: usize,
    ) -> Result<CandidateTotals, String> {
        let past = Past::new(policy, self.plan.shards, WindowsKey::of(&KEY)).expect("sound");
        let mut past = past.map(|past| past.of_shard(stream));
        let named = in_force(policy);
        let mut came = CandidateTotals::new(policy.rules().rules.len());
        let mut batch = Batch::new();
        let from =
            decisions.len().checked_sub(seen).ok_or("more was decided than is in the log")?;
        for (number, head) in decisions.iter().enumerate() {
            let parties = recorded_parties(head).ok_or("documents that are none")?;
            let (payer, payee) = (parties.0.document, parties.1.document);
            let mut values = vec![WindowValue::Evicted; policy.window_values()];
            if let Some(past) = &mut past {
                let decided_at_ns = head.decided_at_ns.to_native();
                let event = past.event(payer, payee, &head.transaction, decided_at_ns);
                past.windows().read(&event, &mut values);
                past.take_recorded((stream, stream), payer, head);
            }
            if number < from {
                continue;
            }
            let exempt = named.exempt(&facts(head, 0, parties)).unwrap_or_default();
            let event_time_ns = head.transaction.event_time_ns.to_native();
            let offset = policy.zone().offset_at(event_time_ns).minutes;
            batch.clear();
            push(&mut batch, policy, head, offset, parties, &values, &exempt);
            policy.judge(&mut batch);
            let from = Verdict::from_wire(head.verdict).ok_or("a verdict that is none")?;
            let centavos = head.transaction.amount_centavos.to_native();
            came.totals.add(from, batch.judgement(0), centavos);
        }
        Ok(came)
    }
}

fn in_force(policy: &Policy) -> InForce {
    InForce::new(&NamedLists::default(), policy.rules(), ShareKey::of(&KEY))
}
