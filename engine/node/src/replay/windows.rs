//! Windows recomputed along a log: those that its policies read, to hold what was recorded to, and those of
//! another policy, whose values no record has.
//!
//! Each stream has windows of its own, as each shard had; payments of the other streams count in them where they
//! did on that shard, in the order of their times. What was paid is what is recorded: a payment that another
//! policy would have denied is in its windows all the same.

use super::History;
use super::siblings::Siblings;
use crate::log_files::{LogError, LogReader};
use catraca_core::log::start::LogStart;
use catraca_core::policy::Policy;
use catraca_core::policy::replay::recorded_parties;
use catraca_core::policy::windows::{Function, Past, WindowsFault, WindowsKey};
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
    /// One for each of [`LAGS_NS`] where other streams' payments count, else one.
    pasts: Vec<Past>,
    /// What each says of the decision taken last.
    values: Vec<Vec<WindowValue>>,
}

/// How far the payments of other streams are ahead of a decision in its windows, nanoseconds: none are; and for what
/// it must at least and may at most have seen, they are a second behind or ahead. A core tells its siblings of a
/// payment at once, and they take it before they decide: a second is far more than lies between their clocks'
/// readings.
const LAGS_NS: [i64; 3] = [0, -1_000_000_000, 1_000_000_000];

/// Windows along a stream.
pub(super) struct Along {
    sets: Vec<Set>,
    /// By version of the policy: which set.
    by_version: BTreeMap<u32, usize>,
    candidate: Option<usize>,
    shards: u16,
    key: WindowsKey,
    stream: u16,
    /// What the other streams hold, where it counts: for each of [`LAGS_NS`].
    siblings: Vec<Siblings>,
    /// Where a stream begins that counts could not be read.
    lacks_siblings: bool,
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
            siblings: Vec::new(),
            lacks_siblings: false,
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
        self.sets.push(Set { policy: Arc::clone(policy), pasts: Vec::new(), values: Vec::new() });
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
        let (mut others, lags) = (Vec::new(), if reads_siblings { LAGS_NS.len() } else { 0 });
        self.siblings.clear();
        for _ in 0..lags {
            // Whoever reads such a stream for itself is told what is wrong with it.
            match siblings(log, stream) {
                Ok(Some((siblings, starts))) => {
                    self.siblings.push(siblings);
                    others = starts;
                }
                Ok(None) => {}
                Err(_) => self.lacks_siblings = true,
            }
        }
        for Set { policy, pasts, values } in &mut self.sets {
            let count = if policy.reads_siblings() { self.siblings.len().max(1) } else { 1 };
            let begun = || begun(policy, self.shards, self.key, (stream, start), &others);
            let all = (0..count).map(|_| begun()).collect::<Result<Vec<_>, _>>()?;
            *pasts = all.into_iter().flatten().collect();
            *values = vec![vec![WindowValue::Evicted; policy.window_values()]; count];
        }
        Ok(())
    }

    /// Takes the next decision of the stream: what windows say of it, and then that it was paid.
    pub fn take(&mut self, payer: DocumentKey, payee: DocumentKey, head: &RecordHead) {
        // Streams are read in their order, so that this is seen before what it would make differ.
        self.is_mixed |= owner(payer, self.shards) != self.stream;
        let decided_at_ns = head.decided_at_ns.to_native();
        for (at, (siblings, lag_ns)) in self.siblings.iter_mut().zip(LAGS_NS).enumerate() {
            siblings.before(decided_at_ns.saturating_add_signed(lag_ns), |payment| {
                for past in self.sets.iter_mut().filter_map(|set| set.pasts.get_mut(at)) {
                    past.take(payment);
                }
            });
        }
        for Set { pasts, values, .. } in &mut self.sets {
            for (past, values) in pasts.iter_mut().zip(values) {
                if head.transaction.amount_centavos.to_native() <= 0 {
                    values.fill(WindowValue::Evicted);
                    continue;
                }
                let event = past.event(payer, payee, &head.transaction, decided_at_ns);
                past.windows().read(&event, values);
                past.take_recorded((self.stream, self.stream), payer, head);
            }
        }
    }

    /// Whether what was recorded of the decision taken last is what they say of it, as the policy of a version
    /// reads it; `None` where that is not recomputed.
    pub fn agree(&self, version: u32, recorded: &[WindowValue]) -> Option<Agreement> {
        let set = self.by_version.get(&version).filter(|_| !self.is_mixed)?;
        let Set { policy, values, .. } = &self.sets[*set];
        let is_whole = !self.lacks_siblings && self.siblings.iter().all(|of| of.failed().is_none());
        if policy.reads_siblings() && !is_whole {
            return None;
        }
        let [values, more @ ..] = &values[..] else { return None };
        let asked = &policy.rules().windows.asked;
        if recorded.len() < asked.len() {
            return Some(Agreement::No);
        }
        let mut agreement = Agreement::Yes;
        let values = recorded.iter().zip(values).enumerate();
        for (asked, (place, (recorded, recomputed))) in asked.iter().zip(values) {
            if agree(*recorded, *recomputed) {
                continue;
            }
            let may_be = match more {
                [least, most] if !asked.window.subject.is_of_payer() => {
                    may_be(asked.function, *recorded, (least[place], most[place]))
                }
                _ => false,
            };
            if !may_be {
                return Some(Agreement::No);
            }
            agreement = Agreement::ButForSiblings;
        }
        Some(agreement)
    }

    /// As the other policy reads it.
    pub fn of_candidate(&self) -> &[WindowValue] {
        self.candidate.and_then(|set| self.sets[set].values.first()).map_or(&[], |values| values)
    }
}

/// How what was recorded of a decision's windows compares with what is recomputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// It is the same.
    Yes,
    /// It is the same of its own shard's payments. Of payments that other shards decided within a second of it, it
    /// saw others than the order of their times comes to.
    ButForSiblings,
    /// It is another.
    No,
}

/// Whether a value may be one that was recorded, where it depends on payments of about the same moment: between what
/// it is with the least of them and with the most.
fn may_be(
    function: Function,
    recorded: WindowValue,
    (least, most): (WindowValue, WindowValue),
) -> bool {
    match (recorded, least, most) {
        // An average goes either way.
        _ if least != most && function == Function::Avg => true,
        (
            WindowValue::Present(recorded),
            WindowValue::Present(one),
            WindowValue::Present(other),
        ) => (one.min(other)..=one.max(other)).contains(&recorded),
        _ => least != most,
    }
}

/// The other streams of a log, and where they begin; `None` where there are none.
fn siblings(log: &LogReader, stream: u16) -> Result<Option<(Siblings, Vec<LogStart>)>, LogError> {
    if log.shards().len() > 1 { Siblings::of(log, stream).map(Some) } else { Ok(None) }
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
    let (mut siblings, others) = match policy.reads_siblings() {
        true => siblings(log, stream).map_err(|error| error.to_string())?.unzip(),
        false => (None, None),
    };
    let others = others.unwrap_or_default();
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
    match siblings.as_ref().and_then(Siblings::failed) {
        Some(why) => Err(why.to_owned()),
        None => Ok(values),
    }
}

/// Whether what was recorded is what is recomputed, as far as either knows: a node that ran for longer than
/// its log reaches back knew more, or had let go of more.
fn agree(recorded: WindowValue, recomputed: WindowValue) -> bool {
    let is_known = |value| matches!(value, WindowValue::Present(_) | WindowValue::Missing);
    recorded == recomputed || !is_known(recorded) || !is_known(recomputed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use WindowValue::{Evicted, Missing, Present};

    #[test]
    fn only_what_payments_of_about_the_same_moment_allow_may_have_been_recorded() {
        for (function, recorded, least, most, expected) in [
            (Function::Count, Present(3), Present(2), Present(4), true),
            (Function::Count, Present(2), Present(2), Present(4), true),
            (Function::Count, Present(5), Present(2), Present(4), false),
            (Function::Count, Present(1), Present(2), Present(4), false),
            (Function::Count, Present(3), Present(2), Present(2), false),
            (Function::Min, Present(7), Present(9), Present(5), true),
            (Function::Min, Present(4), Present(9), Present(5), false),
            (Function::SecondsSinceLast, Missing, Missing, Present(0), true),
            (Function::SecondsSinceLast, Missing, Present(1), Present(1), false),
            (Function::Avg, Present(100), Present(7), Present(8), true),
            (Function::Avg, Present(100), Present(7), Present(7), false),
            (Function::Max, Present(1), Evicted, Present(5), true),
        ] {
            let may_be = may_be(function, recorded, (least, most));
            assert_eq!(may_be, expected, "{function:?} {recorded:?} of {least:?} to {most:?}");
        }
    }
}
