//! Decided payments between the cores of a node, through queues that are short, so that they are full at times;
//! and what must hold of windows that count them.

use super::Broken;
use super::checks::Checks;
use super::event::Wake;
use super::node::Process;
use super::world::{MS, Sim};
use catraca_core::policy::Policy;
use catraca_core::policy::replay::recorded_parties;
use catraca_core::policy::windows::{Asked, Function, Past, Subject, Value};
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::{TRANSACTION_ID_LEN, TransactionFields};
use catraca_wire::record::RecordHead;
use std::collections::BTreeMap;

/// Room of a queue between two cores.
const ROOM: usize = 8;

/// When a transaction was first sent by its client, and when that one first had a verdict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    payee: [u8; DOCUMENT_LEN],
    sent_ns: u64,
    answered_ns: Option<u64>,
}

/// By payer and id: of every transaction that a client has sent.
pub(super) type SentTimes = BTreeMap<([u8; DOCUMENT_LEN], [u8; TRANSACTION_ID_LEN]), Times>;

impl Checks {
    /// A client sends a transaction.
    pub(super) fn sent(&mut self, transaction: &TransactionFields, now_ns: u64) {
        let times = Times { payee: transaction.payee, sent_ns: now_ns, answered_ns: None };
        self.times.entry((transaction.payer, transaction.id)).or_insert(times);
    }

    /// A client has a verdict on a transaction.
    pub(super) fn answered_at(&mut self, transaction: &TransactionFields, now_ns: u64) {
        if let Some(times) = self.times.get_mut(&(transaction.payer, transaction.id)) {
            times.answered_ns.get_or_insert(now_ns);
        }
    }

    /// Payments of a payee that a payment may have seen: at least those that were answered before it was first
    /// sent, at most those that were sent before it was answered.
    fn seen_of_payee(&self, transaction: &TransactionFields) -> Option<(i64, i64)> {
        let own = (transaction.payer, transaction.id);
        let Times { sent_ns, answered_ns, .. } = *self.times.get(&own)?;
        let others = self
            .times
            .iter()
            .filter(|(other, times)| **other != own && times.payee == transaction.payee);
        let (mut least, mut most) = (0, 0);
        for (_, other) in others {
            least += i64::from(other.answered_ns.is_some_and(|at| at < sent_ns));
            most += i64::from(answered_ns.is_none_or(|at| other.sent_ns < at));
        }
        Some((least, most))
    }
}

/// Whether a value counts all payments to a payee, over longer than any clock is wrong.
fn counts_payee(asked: &Asked) -> bool {
    asked.window.subject == Subject::Payee && asked.function == Function::Count && !asked.including
}

impl Sim {
    /// A core takes what its siblings have decided: behind what came, and before its shard has that.
    pub(super) fn take_broadcasts(&mut self, node: usize, core: usize) {
        if !self.broken(Broken::BroadcastNotTaken) {
            self.take_all_broadcasts(node, core);
        }
    }

    /// A core does so at its tick, too.
    pub(super) fn take_all_broadcasts(&mut self, node: usize, core: usize) {
        let Process { cores, broadcast, .. } = self.process(node);
        let mut taken = 0;
        for queue in &mut broadcast[core] {
            let before = queue.len();
            cores[core].mover.take_broadcasts(queue);
            taken += before - queue.len();
        }
        for _ in 0..taken {
            self.checks.count("payments taken from siblings");
        }
    }

    /// Puts what a core has decided into its siblings' queues.
    pub(super) fn deliver_broadcasts(&mut self, node: usize, core: usize) {
        let loses = self.broken(Broken::BroadcastLost);
        let Process { cores, broadcast, .. } = self.process(node);
        let (mut is_full, mut is_half_full) = (false, false);
        for (to, queues) in broadcast.iter_mut().enumerate().filter(|(to, _)| *to != core) {
            let (to, queue) = (to as u16, &mut queues[core]);
            let mover = &mut cores[core].mover;
            mover.deliver(to, queue, ROOM);
            while loses && mover.shard.next_broadcast(to).is_some() {
                mover.shard.broadcast_sent(to);
            }
            is_full |= mover.shard.next_broadcast(to).is_some();
            is_half_full |= queue.len() >= ROOM / 2;
        }
        if is_full {
            self.checks.count("a queue to a sibling is full");
        }
        if is_half_full {
            let time = self.rng.between(1_000, MS);
            self.wake_in(node, time, Wake::Mesh);
        }
    }

    /// What was recorded of a payee's payments lies between what must have been seen and what may have.
    pub(super) fn compare_shared(
        &self,
        policy: &Policy,
        head: &RecordHead,
        seen: &[Value],
    ) -> Result<(), String> {
        let asked = &policy.rules().windows.asked;
        let Some(place) = asked.iter().position(counts_payee) else { return Ok(()) };
        let Some((least, most)) = self.checks.seen_of_payee(&head.transaction) else {
            return Ok(());
        };
        match seen[place] {
            Value::Present(count) if (least..=most).contains(&count) => Ok(()),
            other => Err(format!(
                "it saw {other:?} payments of its payee: {least} were answered before it was sent, {most} were sent before it was answered"
            )),
        }
    }
}

/// Windows in which payments of several shards count come to the same in any order of them: all that the
/// transactions of a log see of them is compared.
pub(super) fn same_values(
    policy: &Policy,
    held: &Past,
    expected: &mut Past,
    decisions: &[RecordHead],
) -> Result<(), String> {
    let newest_ns = decisions.iter().map(|head| head.decided_at_ns.to_native()).max().unwrap_or(0);
    for head in decisions {
        let (payer, payee) = recorded_parties(head).ok_or("documents that are none")?;
        let transaction = TransactionFields { event_time_ns: newest_ns.into(), ..head.transaction };
        let event = expected.event(payer.document, payee.document, &transaction, newest_ns);
        let read = |past: &Past| {
            let mut values = vec![Value::Evicted; policy.window_values()];
            past.windows().read(&event, &mut values);
            values
        };
        let (held, expected) = (read(held), read(expected));
        if held != expected {
            return Err(format!("they say {held:?}, the log comes to {expected:?}"));
        }
    }
    Ok(())
}
