//! Asking validators on the path of a decision: what the core's cache does not answer is asked beside the core, and
//! the payment waits for it, parked, until all has come or its time is over.
//!
//! ```text
//! batch → who is asked about whom → cached: judged at once
//!                                 → else parked ── Ask → … ToShard::Answered, or its time is over → judged alone
//! ```
//!
//! One budget is divided: a payment waits for validators until a part of it is left, which is the log's and the
//! standby's.

use super::Shard;
use super::answer_cache::Kept;
use super::answers::UNCONFIRMED;
use super::dedupe::Found;
use super::journal::BlockMemory;
use super::messages::{Admission, Ask, Now};
use super::outbox::Origin;
use super::parked::{Came, ParkedPayment, Waiting};
use super::submit::{Parties, Prepared, Received};
use crate::limits::DECISION_BATCH;
use crate::policy::validators::{AnswerState, MAX_VALIDATORS};
use crate::policy::{Policy, RowSet};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{AnswerSource, AskedValidator, MAX_ASKED_VALIDATORS, NoAnswer};
use catraca_wire::frame::TransactionFields;
use std::collections::VecDeque;

/// Most of a budget that is left for the log and the standby; a quarter of shorter ones.
const RESERVE_NS: u64 = 250_000_000;
/// Questions that wait on their core for room in the queue to where they are asked; beyond that payments do not wait.
/// Twice that queue, so that none is old when it comes there.
const MAX_ASKS_OUT: usize = 2 * crate::limits::ASK_QUEUE_LEN;
/// Resends that join one payment; a client needs one or two.
const MAX_JOINED: u32 = 64;
/// How much sooner than its budget ends a resend is told that nothing is known: a tick, and a step of the wheel.
const JOINED_RESERVE_NS: u64 = 20_000_000;
/// Payments that a tick decides on whose time is over, or whose policy is no longer in force: some milliseconds.
const DECIDED_AT_ONCE: usize = 4096;

/// Who was asked about what is judged together: row by row.
pub(super) struct Asked {
    rows: Vec<u8>,
    validators: Vec<AskedValidator>,
}

impl Asked {
    /// Room for a batch.
    pub fn new() -> Self {
        let most = DECISION_BATCH * MAX_ASKED_VALIDATORS;
        Self { rows: Vec::with_capacity(most), validators: Vec::with_capacity(most) }
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.validators.clear();
    }

    fn push(&mut self, row: usize, asked: AskedValidator) {
        self.rows.push(row as u8);
        self.validators.push(asked);
    }

    /// Those that were asked about a row.
    #[inline]
    pub fn about(&self, row: usize) -> &[AskedValidator] {
        if self.rows.is_empty() {
            return &[];
        }
        let from = self.rows.partition_point(|&of| usize::from(of) < row);
        let count = self.rows[from..].iter().take_while(|&&of| usize::from(of) == row).count();
        &self.validators[from..][..count]
    }
}

/// A transaction of the batch that is judged next, by its row.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'t> {
    pub origin: Origin,
    pub transaction: &'t TransactionFields,
    pub prepared: &'t Prepared,
    pub received: Received,
    /// What came of validators while it waited, and of which of them that is known, a bit each.
    pub came: Option<(&'t [Came; MAX_VALIDATORS], u8)>,
}

impl<B: BlockMemory> Shard<B> {
    /// Questions for validators: whoever moves the shard takes them from the front, and may leave some.
    pub fn asks_out(&mut self) -> &mut VecDeque<Ask> {
        &mut self.asks_out
    }

    /// Finds out what validators say of the batch. Gives the rows that wait for answers, or for the decision on a
    /// payment that does: these are not to be decided on now.
    #[inline]
    pub(super) fn ask_validators<'t>(
        &mut self,
        batch: impl Iterator<Item = Candidate<'t>>,
        now: Now,
    ) -> RowSet {
        self.asked.clear();
        if self.policy.rules().validators.is_empty() && self.parked.is_empty() {
            return 0;
        }
        self.ask_batch(batch, now)
    }

    #[inline(never)]
    fn ask_batch<'t>(&mut self, batch: impl Iterator<Item = Candidate<'t>>, now: Now) -> RowSet {
        let policy = std::sync::Arc::clone(&self.policy);
        let mut asks: [RowSet; MAX_VALIDATORS] = [0; MAX_VALIDATORS];
        for (asks, validator) in asks.iter_mut().zip(&policy.rules().validators) {
            *asks = self.batch.asks(validator);
        }
        let mut waits = 0;
        for (row, candidate) in batch.enumerate() {
            let bits = asks.iter().enumerate();
            let bits = bits.fold(0, |bits, (at, asks)| bits | ((asks >> row & 1) as u8) << at);
            let fingerprint = &candidate.prepared.fingerprint;
            let parked = self.parked.find(fingerprint);
            // Most payments are none of a validator's business: these are not looked for.
            let concerns = bits != 0 || parked.is_some();
            if !concerns || !matches!(self.dedupe.find(fingerprint), Found::New) {
                continue;
            }
            if let Some(payment) = parked {
                waits |= 1 << row;
                self.join(payment, &candidate, now);
            } else if self.ask_about((row, bits), &candidate, &policy, now) {
                waits |= 1 << row;
            }
        }
        waits
    }

    /// Asks validators, a bit each, about a new transaction. Gives whether it waits for one.
    fn ask_about(
        &mut self,
        (row, bits): (usize, u8),
        candidate: &Candidate<'_>,
        policy: &Policy,
        now: Now,
    ) -> bool {
        let Candidate { transaction, prepared, received, .. } = *candidate;
        let rules = policy.rules();
        let shard = self.settings.shard;
        let question = |payment, (at, key), until_ns| Ask {
            shard,
            payment,
            policy_version: policy.version(),
            validator: at as u8,
            key,
            until_ns,
            payer: prepared.payer,
            payee: prepared.payee,
            transaction: *transaction,
        };
        let mut all = [Came::nothing(NoAnswer::Timeout, 0); MAX_VALIDATORS];
        let mut keys = [0_u128; MAX_VALIDATORS];
        let (mut owed, mut wait_ms) = (0_u8, 0);
        for (at, validator) in rules.validators.iter().enumerate() {
            if bits >> at & 1 == 0 {
                continue;
            }
            keys[at] = self.named.question(validator, transaction, prepared.payer, prepared.payee);
            // Its windows may ask for a validator that they did not ask for before it waited.
            let came = candidate.came.filter(|(_, known)| known >> at & 1 == 1);
            if let Some((came, _)) = came {
                all[at] = came[at];
                continue;
            }
            // Half of the room is for those that wait.
            let may_ask = self.asks_out.len() < MAX_ASKS_OUT / 2;
            let kept = self.answer_cache.take(at, keys[at], now.mono_ns, may_ask);
            let Some(Kept { answer, age_ns, is_ending }) = kept else {
                owed |= 1 << at;
                wait_ms = wait_ms.max(validator.wait_ms);
                continue;
            };
            self.counters.validators_cached += 1;
            if is_ending {
                self.asks_out.push_back(question(None, (at, keys[at]), now.mono_ns));
            }
            let state = AnswerState::Cached;
            let age_ms = u32::try_from(age_ns / 1_000_000).unwrap_or(u32::MAX);
            let nothing = Came::nothing(NoAnswer::Answered, 0);
            all[at] = Came { answer, state, age_ms, source: AnswerSource::Core, ..nothing };
        }
        if owed != 0 {
            let budget_ns = received.deadline_ns.saturating_sub(received.received_ns);
            let latest_ns = received.deadline_ns.saturating_sub(RESERVE_NS.min(budget_ns / 4));
            let until_ns = latest_ns.min(now.mono_ns + u64::from(wait_ms) * 1_000_000);
            let refused = if self.parked.is_full() || self.asks_out.len() >= MAX_ASKS_OUT {
                Some(NoAnswer::TooManyParked)
            } else if until_ns <= now.mono_ns || self.admission != Admission::Open {
                Some(NoAnswer::NoTime)
            } else {
                None
            };
            let Some(why) = refused else {
                let waiting = self.waiting(candidate, until_ns, now);
                let known = candidate.came.map_or(0, |(came, known)| {
                    // What it was told of those that are not asked for now may be of use again.
                    for at in (0..MAX_VALIDATORS).filter(|at| (known & !bits) >> at & 1 == 1) {
                        all[at] = came[at];
                    }
                    known
                });
                let payment = self.parked.park(waiting, (owed, known | bits), &all);
                self.counters.validators_parked += 1;
                for at in (0..rules.validators.len()).filter(|at| owed >> at & 1 == 1) {
                    let wait_ns = u64::from(rules.validators[at].wait_ms) * 1_000_000;
                    let until_ns = until_ns.min(now.mono_ns + wait_ns);
                    self.asks_out.push_back(question(Some(payment), (at, keys[at]), until_ns));
                }
                return true;
            };
            if why == NoAnswer::TooManyParked {
                self.counters.validators_not_parked += 1;
            }
            for at in (0..rules.validators.len()).filter(|at| owed >> at & 1 == 1) {
                all[at] = Came::nothing(why, 0);
            }
        }
        for at in (0..rules.validators.len()).filter(|at| bits >> at & 1 == 1) {
            let came = &all[at];
            self.batch.answer(rules, row, at, came.answered());
            self.counters.validators_no_answer += u64::from(came.state == AnswerState::NoAnswer);
            self.asked.push(row, recorded(at, came, keys[at]));
        }
        false
    }

    fn waiting(&self, candidate: &Candidate<'_>, until_ns: u64, now: Now) -> Waiting {
        let Candidate { origin, transaction, prepared, received, .. } = *candidate;
        Waiting {
            origin,
            transaction: *transaction,
            submitter: prepared.submitter,
            fingerprint: prepared.fingerprint,
            policy_version: self.policy.version(),
            received_ns: received.received_ns,
            deadline_ns: received.deadline_ns,
            until_ns,
            since_ns: now.mono_ns,
        }
    }

    /// A resend of a payment that waits waits for its decision, until its own budget is over.
    fn join(&mut self, payment: u32, candidate: &Candidate<'_>, now: Now) {
        if self.parked.is_full() || self.parked.joined_to(payment) >= MAX_JOINED {
            let refusal = self.overloaded();
            return self.reply(candidate.origin, Err(refusal));
        }
        let until_ns = candidate.received.deadline_ns.saturating_sub(JOINED_RESERVE_NS);
        let waiting = self.waiting(candidate, until_ns, now);
        self.parked.join(payment, waiting);
    }

    /// A validator has come to something about a payment.
    pub(super) fn validator_came(
        &mut self,
        payment: ParkedPayment,
        validator: usize,
        came: Came,
        now: Now,
    ) {
        if self.parked.answered(payment, validator, came) {
            self.decide_parked(payment.slot, now);
        }
    }

    /// Decides on a payment that waits no more, and then on those that joined it.
    fn decide_parked(&mut self, slot: u32, now: Now) {
        let (waiting, (mut came, mut known), mut joined) = self.parked.take(slot, now.mono_ns);
        if waiting.policy_version != self.policy.version() {
            // Another policy asks others: of these it is too late to ask.
            let waited_us = came.iter().map(|came| came.waited_us).max().unwrap_or(0);
            came = [Came::nothing(NoAnswer::PolicyChanged, waited_us); MAX_VALIDATORS];
            known = u8::MAX;
        }
        self.decide_again(&waiting, Some((&came, known)), now);
        while let Some(resend) = self.parked.take_joined(&mut joined) {
            self.decide_again(&resend, None, now);
        }
    }

    fn decide_again(
        &mut self,
        waiting: &Waiting,
        came: Option<(&[Came; MAX_VALIDATORS], u8)>,
        now: Now,
    ) {
        let Waiting { origin, transaction, submitter, received_ns, deadline_ns, .. } = waiting;
        let documents = DocumentKey::from_wire(&transaction.payer)
            .and_then(|payer| Ok((payer, DocumentKey::from_wire(&transaction.payee)?)));
        let (payer, payee) = documents.expect("its documents were checked before it was parked");
        let parties = Parties { payer, payee, submitter: *submitter };
        let received = Received { received_ns: *received_ns, deadline_ns: *deadline_ns, row: 0 };
        self.decide_alone(*origin, transaction, parties, received, came, now);
    }

    /// What is decided now finds room: else it is decided with the next tick, which its budget allows.
    fn has_room(&self) -> bool {
        self.admission == Admission::Stopping
            || !(self.outbox.is_full() || self.broadcast.is_full())
    }

    /// Decides on those whose time is over, and on those that were parked by an earlier policy, or before the node
    /// began to stop: once a tick.
    pub(super) fn expire_parked(&mut self, now: Now) {
        if self.parked.is_empty() {
            return;
        }
        let mut left = DECIDED_AT_ONCE;
        let is_stopping = self.admission == Admission::Stopping;
        let than = (!is_stopping).then(|| self.policy.version());
        if is_stopping {
            self.parked_by_others = Some(0);
        }
        while let Some(from) = self.parked_by_others.filter(|_| left > 0 && self.has_room()) {
            let slot = self.parked.next_of_others(from, than);
            self.parked_by_others = slot.map(|slot| slot + 1);
            if let Some(slot) = slot {
                left -= 1;
                self.decide_parked(slot, now);
            }
        }
        while left > 0
            && self.has_room()
            && let Some(over) = self.parked.next_over(now.mono_ns)
        {
            left -= 1;
            match over {
                Ok(slot) => self.decide_parked(slot, now),
                // What it resends is not decided yet, and may be recorded later.
                Err(resend) => {
                    self.counters.deadlines_missed += 1;
                    self.reply(resend.origin, Err(UNCONFIRMED));
                }
            }
        }
    }
}

/// As it is recorded.
const fn recorded(validator: usize, came: &Came, key: u128) -> AskedValidator {
    AskedValidator {
        validator: validator as u8,
        source: came.source,
        no_answer: came.no_answer,
        breaker: came.breaker,
        attempts: came.attempts,
        waited_us: came.waited_us,
        age_ms: came.age_ms,
        key: key.to_le_bytes(),
    }
}
