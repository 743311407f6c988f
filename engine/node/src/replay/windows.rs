//! Windows recomputed along a log: those that its policies read, to hold what was recorded to, and those of
//! another policy, whose values no record has.
//!
//! Each stream has windows of its own, as each shard had; payments of the other streams count in them where they
//! did on that shard, in the order of their times. What was paid is what is recorded: a payment that another
//! policy would have denied is in its windows all the same.

use super::History;
use super::siblings::Siblings;
use crate::log_files::LogReader;
use catraca_core::log::start::LogStart;
use catraca_core::policy::Policy;
use catraca_core::policy::replay::recorded_parties;
use catraca_core::policy::windows::{Past, WindowsFault, WindowsKey};
use catraca_core::shard::owner;
use catraca_wire::DocumentKey;
use catraca_wire::extension::WindowValue;
use catraca_wire::record::{RecordHead, RecordKind};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Different windows of a log's policies that are recomputed, the newest: each has memory of its own.
pub const MAX_WINDOW_SETS: usize = 4;

/// Windows of one policy, or of several that read the same.
struct Set {
    policy: Arc<Policy>,
    past: Option<Past>,
    values: Vec<WindowValue>,
}

/// Windows along a stream.
pub(super) struct Along {
    sets: Vec<Set>,
    /// By version of the policy: which set.
    by_version: BTreeMap<u32, usize>,
    candidate: Option<usize>,
    shards: u16,
    key: WindowsKey,
    stream: u16,
    /// What the other streams hold, where it counts.
    siblings: Option<Siblings>,
    /// The log has records of another number of shards: payments of one payer are in several streams.
    is_mixed: bool,
}

impl Along {
    /// Of a log of so many streams.
    pub fn new(
        history: &History,
        candidate: Option<&Arc<Policy>>,
        shards: u16,
        key: WindowsKey,
    ) -> Self {
        let mut along = Self {
            sets: Vec::new(),
            by_version: BTreeMap::new(),
            candidate: None,
            shards,
            key,
            stream: 0,
            siblings: None,
            is_mixed: false,
        };
        along.candidate = candidate.and_then(|policy| along.set(policy));
        let mut versions: Vec<_> = history.policies().map(|policy| policy.text.version).collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        for version in versions {
            let set = history.policy_of(version).and_then(|policy| along.set(policy));
            along.by_version.extend(set.map(|set| (version, set)));
        }
        along
    }

    /// The set that a policy reads, if it reads any and there are not too many.
    fn set(&mut self, policy: &Arc<Policy>) -> Option<usize> {
        if policy.window_values() == 0 {
            return None;
        }
        if let Some(same) = self.sets.iter().position(|set| set.policy.reads_windows_of(policy)) {
            return Some(same);
        }
        if self.sets.len() == MAX_WINDOW_SETS {
            return None;
        }
        let values = vec![WindowValue::Evicted; policy.window_values()];
        self.sets.push(Set { policy: Arc::clone(policy), past: None, values });
        Some(self.sets.len() - 1)
    }

    /// A stream begins.
    pub fn begin(
        &mut self,
        log: &LogReader,
        stream: u16,
        start: &LogStart,
    ) -> Result<(), WindowsFault> {
        self.stream = stream;
        let reads_siblings = self.sets.iter().any(|set| set.policy.reads_siblings());
        let others;
        (self.siblings, others) = siblings(log, stream, reads_siblings);
        for set in &mut self.sets {
            set.past = begun(&set.policy, self.shards, self.key, (stream, start), &others)?;
        }
        Ok(())
    }

    /// Takes the next decision of the stream: what windows say of it, and then that it was paid.
    pub fn take(&mut self, payer: DocumentKey, payee: DocumentKey, head: &RecordHead) {
        // Streams are read in their order, so that this is seen before what it would make differ.
        self.is_mixed |= owner(payer, self.shards) != self.stream;
        if let Some(siblings) = &mut self.siblings {
            siblings.before(head.decided_at_ns.to_native(), |payment| {
                for past in self.sets.iter_mut().filter_map(|set| set.past.as_mut()) {
                    past.take(payment);
                }
            });
        }
        for Set { past, values, .. } in &mut self.sets {
            let Some(past) = past.as_mut().filter(|_| head.transaction.amount_centavos > 0) else {
                values.fill(WindowValue::Evicted);
                continue;
            };
            let decided_at_ns = head.decided_at_ns.to_native();
            let event = past.event(payer, payee, &head.transaction, decided_at_ns);
            past.windows().read(&event, values);
            past.take_recorded((self.stream, self.stream), payer, head);
        }
    }

    /// Whether what was recorded of the decision taken last is what they say of it, as the policy of a version
    /// reads it; `None` where that is not recomputed.
    pub fn agree(&self, version: u32, recorded: &[WindowValue]) -> Option<Agreement> {
        let set = self.by_version.get(&version).filter(|_| !self.is_mixed)?;
        let Set { policy, values, .. } = &self.sets[*set];
        let asked = &policy.rules().windows.asked;
        if recorded.len() < asked.len() {
            return Some(Agreement::No);
        }
        let mut agreement = Agreement::Yes;
        for (asked, (recorded, recomputed)) in asked.iter().zip(recorded.iter().zip(values)) {
            if agree(*recorded, *recomputed) {
                continue;
            }
            if asked.window.subject.is_of_payer() || self.siblings.is_none() {
                return Some(Agreement::No);
            }
            agreement = Agreement::ButForSiblings;
        }
        Some(agreement)
    }

    /// As the other policy reads it.
    pub fn of_candidate(&self) -> &[WindowValue] {
        self.candidate.map_or(&[], |set| &self.sets[set].values)
    }
}

/// How what was recorded of a decision's windows compares with what is recomputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// It is the same.
    Yes,
    /// It is the same of its own shard's payments. Of payments that other shards decided at about the same
    /// moment it saw others than the order of their times comes to.
    ButForSiblings,
    /// It is another.
    No,
}

/// The other streams of a log, where they are wanted, and where they begin.
fn siblings(log: &LogReader, stream: u16, are_wanted: bool) -> (Option<Siblings>, Vec<LogStart>) {
    let are_wanted = are_wanted && log.shards().len() > 1;
    // A stream whose beginning can't be read is told when it is that one's turn.
    match are_wanted.then(|| Siblings::of(log, stream)) {
        Some(Ok((siblings, starts))) => (Some(siblings), starts),
        Some(Err(_)) | None => (None, Vec::new()),
    }
}

/// Windows of a policy where a stream begins; `None` where it reads none.
fn begun(
    policy: &Policy,
    shards: u16,
    key: WindowsKey,
    (stream, start): (u16, &LogStart),
    others: &[LogStart],
) -> Result<Option<Past>, WindowsFault> {
    let Some(past) = Past::new(policy, shards, key)? else { return Ok(None) };
    let mut past = past.of_shard(stream);
    if !start.payers.is_empty() {
        past.windows_mut().forget_up_to(start.newest_event_ns);
    }
    for other in others.iter().filter(|other| !other.payers.is_empty()) {
        past.windows_mut().forget_of_sibling_up_to(other.newest_event_ns);
    }
    Ok(Some(past))
}

/// What windows of a policy say of one stored decision: out of all that its stream has before it.
///
/// # Errors
/// In words, why that can't be told.
pub fn windows_at(
    log: &LogReader,
    policy: &Policy,
    key: WindowsKey,
    (stream, lsn): (u16, u64),
) -> Result<Vec<WindowValue>, String> {
    let streams = log.shards().len() as u16;
    let start = log.start(stream).map_err(|error| error.to_string())?;
    let (mut siblings, others) = siblings(log, stream, policy.reads_siblings());
    let past = begun(policy, streams, key, (stream, &start), &others);
    let Some(mut past) = past.map_err(|error| error.to_string())? else { return Ok(Vec::new()) };
    let mut values = vec![WindowValue::Evicted; policy.window_values()];
    log.records(stream, |head, _, _| {
        if head.lsn.to_native() > lsn {
            return ControlFlow::Break(());
        }
        if head.kind == RecordKind::Decision.to_wire()
            && let Some((payer, payee)) = recorded_parties(head)
        {
            let decided_at_ns = head.decided_at_ns.to_native();
            if let Some(siblings) = &mut siblings {
                siblings.before(decided_at_ns, |payment| past.take(payment));
            }
            if head.lsn.to_native() == lsn && head.transaction.amount_centavos > 0 {
                let (payer, payee) = (payer.document, payee.document);
                let event = past.event(payer, payee, &head.transaction, decided_at_ns);
                past.windows().read(&event, &mut values);
            }
            past.take_recorded((stream, stream), payer.document, head);
        }
        ControlFlow::Continue(())
    })
    .map_err(|error| error.to_string())?;
    Ok(values)
}

/// Whether what was recorded is what is recomputed, as far as either knows: a node that ran for longer than
/// its log reaches back knew more, or had let go of more.
fn agree(recorded: WindowValue, recomputed: WindowValue) -> bool {
    let is_known = |value| matches!(value, WindowValue::Present(_) | WindowValue::Missing);
    recorded == recomputed || !is_known(recorded) || !is_known(recomputed)
}
