//! A policy that is tried: beside the one in force it sees every payment that is decided, and decides nothing. Off
//! the way of the answer: what was decided waits here, and is judged when the core has nothing better to do.

use crate::calendar::LocalOffset;
use crate::policy::lists::InForce;
use crate::policy::windows::{DecidedPayment, Past};
use crate::policy::{Batch, Cell, Facts, Party, Policy, Totals};
use catraca_wire::extension::{MAX_WINDOW_VALUES, WindowValue};
use catraca_wire::frame::{TransactionFields, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;

/// Decided payments that wait at most: some milliseconds of a core with all that it can do. What comes beyond
/// is left out, and counted. 1 MB.
const MAX_WAITING: usize = 4096;
/// Payments that are judged at once: others of the core have their turn some 10 µs later.
const JUDGED_AT_ONCE: usize = 32;

/// A payment that was decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided {
    pub transaction: TransactionFields,
    pub payer: Party,
    pub payee: Party,
    pub decided_at_ns: u64,
    pub verdict: Verdict,
}

/// What a candidate is told, in its order.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// A payment that it judges.
    Decided(Decided),
    /// One that it only counts in its windows: a sibling has it judged.
    OfSibling(DecidedPayment),
}

/// What came of a candidate so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CandidateTotals {
    /// Of the payments that it saw.
    pub totals: Totals,
    /// Payments that were left out because too many waited.
    pub left_out: Cell,
}

impl CandidateTotals {
    /// Of a policy with so many rules.
    pub fn new(rules: usize) -> Self {
        Self { totals: Totals::new(rules), left_out: Cell::default() }
    }

    /// Those of another shard more, of the same policy.
    pub fn join(&mut self, other: &Self) {
        self.totals.join(&other.totals);
        self.left_out.join(&other.left_out);
    }
}

/// A policy that is tried on a shard.
pub struct Candidate {
    policy: Arc<Policy>,
    /// What it needs of the named lists.
    named: Arc<InForce>,
    past: Option<Box<Past>>,
    offset: LocalOffset,
    /// Payments decided from then on are not looked at, nanoseconds since 1970 UTC.
    until_ns: u64,
    waiting: VecDeque<Told>,
    batch: Batch,
    values: Box<[WindowValue; MAX_WINDOW_VALUES]>,
    came: CandidateTotals,
}

impl Candidate {
    /// Of a policy, with what it needs of the named lists, until a time, nanoseconds since 1970 UTC. Its windows
    /// come later where it reads any.
    pub fn new(policy: Arc<Policy>, named: Arc<InForce>, until_ns: u64) -> Self {
        let came = CandidateTotals::new(policy.rules().rules.len());
        Self {
            policy,
            named,
            past: None,
            offset: LocalOffset::default(),
            until_ns,
            waiting: VecDeque::with_capacity(MAX_WAITING),
            batch: Batch::new(),
            values: Box::new([WindowValue::Evicted; MAX_WINDOW_VALUES]),
            came,
        }
    }

    /// The policy.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// What came of it so far. What waits is not in it.
    pub const fn came(&self) -> &CandidateTotals {
        &self.came
    }

    /// Its windows, which have every payment before the next one.
    pub(super) fn set_past(&mut self, past: Option<Box<Past>>) {
        self.past = past;
    }

    /// Named lists have changed. Gives what was used so far.
    pub(super) fn swap_named(&mut self, named: Arc<InForce>) -> Arc<InForce> {
        assert_eq!(named.values(), self.named.values(), "the look-ups of the policy that is tried");
        std::mem::replace(&mut self.named, named)
    }

    /// A payment was decided.
    #[inline]
    pub(super) fn take(&mut self, decided: &Decided) {
        if decided.decided_at_ns >= self.until_ns {
            return;
        }
        if self.waiting.len() < MAX_WAITING {
            return self.waiting.push_back(Told::Decided(*decided));
        }
        // It is in the windows all the same; those that wait see it too early.
        self.came.left_out.add(decided.transaction.amount_centavos.to_native());
        if let Some(past) = &mut self.past {
            let event = past.event(
                decided.payer.document,
                decided.payee.document,
                &decided.transaction,
                decided.decided_at_ns,
            );
            past.windows_mut().add(&event, decided.verdict);
        }
    }

    /// A sibling has decided on a payment.
    pub(super) fn sibling_decided(&mut self, payment: &DecidedPayment) {
        let Some(past) = self.past.as_mut().filter(|past| past.is_shared()) else { return };
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Told::OfSibling(*payment));
        } else {
            // Those that wait see it too early.
            add_of_sibling(past, payment);
        }
    }

    /// Whether payments wait.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Judges some of what waits.
    pub(super) fn judge(&mut self) {
        let count = self.waiting.len().min(JUDGED_AT_ONCE);
        self.batch.clear();
        for told in self.waiting.iter().take(count) {
            let Decided { transaction, payer, payee, decided_at_ns, verdict } = match told {
                Told::Decided(decided) => *decided,
                Told::OfSibling(payment) => {
                    if let Some(past) = &mut self.past {
                        add_of_sibling(past, payment);
                    }
                    continue;
                }
            };
            let asked = self.policy.window_values();
            if let Some(past) = &mut self.past {
                let event = past.event(payer.document, payee.document, &transaction, decided_at_ns);
                past.windows().read(&event, &mut self.values[..asked]);
                past.windows_mut().add(&event, verdict);
            }
            let event_time_ns = transaction.event_time_ns.to_native();
            if !self.offset.holds(event_time_ns) {
                self.offset = self.policy.zone().offset_at(event_time_ns);
            }
            let offset_minutes = self.offset.minutes;
            let facts =
                Facts { transaction: &transaction, payer, payee, decided_at_ns, offset_minutes };
            let values = &mut self.values[..self.policy.values()];
            let looked_up = self.named.values();
            self.named.look_up(&facts, &mut values[asked..][..looked_up]);
            self.policy.rules().ask_nobody(values);
            self.batch.push(&facts, true, values);
            if let Some(exempt) = self.named.exempt(&facts) {
                self.batch.exempt(&exempt);
            }
        }
        self.policy.judge(&mut self.batch);
        let decided = self.waiting.drain(..count).filter_map(|told| match told {
            Told::Decided(decided) => Some(decided),
            Told::OfSibling(_) => None,
        });
        for (row, decided) in decided.enumerate() {
            let centavos = decided.transaction.amount_centavos.to_native();
            self.came.totals.add(decided.verdict, self.batch.judgement(row), centavos);
        }
    }
}

/// Adds a payment of a sibling, of which each is told once. Not by its record, as [`Past::take`] does: where too many
/// wait a later one is added before those.
fn add_of_sibling(past: &mut Past, payment: &DecidedPayment) {
    let &DecidedPayment { payer, payee, decided_at_ns, verdict, .. } = payment;
    let event = past.event(payer, payee, &payment.transaction, decided_at_ns);
    past.windows_mut().add_of_sibling(&event, verdict);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;
    use crate::policy::language::{Asking, compile_into};
    use crate::policy::share::ShareKey;
    use crate::policy::windows::WindowsKey;
    use crate::policy::{
        EVERY_DAY, EVERY_PAYER, Rule, RuleEffect, RuleVerdict, Rules, WindowsAsked,
    };
    use catraca_wire::DocumentKey;

    const DECIDED_AT_NS: u64 = 1_800_000_001 * 1_000_000_000;

    /// Denies who is paid more often than so within an hour.
    fn candidate(more_than: usize) -> Candidate {
        let mut asking = Asking::default();
        let when = format!("payee.count('1h') > {more_than}");
        let rule = Rule {
            id: "often".to_owned(),
            when: compile_into(&when, &mut asking).expect("sound"),
            effect: RuleEffect { score: 0, verdict: Some(RuleVerdict::Deny), shadow: false },
            days: EVERY_DAY,
            share_permille: EVERY_PAYER,
        };
        let windows = WindowsAsked { asked: asking.asked().into(), keys: 64 };
        let rules = Rules { rules: [rule].into(), windows, ..Rules::default() };
        let policy: Arc<Policy> = Policy::new(1, Zone::default(), rules).into();
        let named = InForce::new(&Default::default(), policy.rules(), ShareKey::unknown());
        let past = Past::new(&policy, 2, WindowsKey::without_secret()).expect("sound");
        let past = past.expect("it reads windows").of_shard(0);
        let mut candidate = Candidate::new(policy, named.into(), u64::MAX);
        candidate.set_past(Some(Box::new(past)));
        candidate
    }

    fn parties() -> (DocumentKey, DocumentKey) {
        let document = |text| DocumentKey::parse(text).expect("valid");
        (document("52998224725"), document("11222333000181"))
    }

    fn transaction() -> TransactionFields {
        let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
        (transaction.amount_centavos, transaction.event_time_ns) = (1.into(), DECIDED_AT_NS.into());
        transaction
    }

    fn told_of(candidate: &mut Candidate, payments: usize) {
        let (payer, payee) = parties();
        for lsn in 1..=payments as u64 {
            candidate.sibling_decided(&DecidedPayment {
                stream: 1,
                lsn,
                payer,
                payee,
                transaction: transaction(),
                decided_at_ns: DECIDED_AT_NS,
                verdict: Verdict::Approve,
            });
        }
    }

    /// How many payments it would have denied, after one more of its own.
    fn denies(candidate: &mut Candidate) -> u64 {
        let (payer, payee) = parties();
        let party = |document| Party { document, listed: None, is_allowed: false };
        candidate.take(&Decided {
            transaction: transaction(),
            payer: party(payer),
            payee: party(payee),
            decided_at_ns: DECIDED_AT_NS,
            verdict: Verdict::Approve,
        });
        while candidate.waits() {
            candidate.judge();
        }
        candidate.came().totals.matrix[0][2].count
    }

    #[test]
    fn what_siblings_decide_counts_also_where_nothing_else_came() {
        let mut candidate = candidate(39);
        // More than are judged at once, so that some of these are siblings' alone.
        told_of(&mut candidate, 40);
        while candidate.waits() {
            candidate.judge();
        }
        assert_eq!(denies(&mut candidate), 1);
    }

    #[test]
    fn what_siblings_decide_counts_also_where_too_many_wait() {
        let payments = MAX_WAITING + 1;
        let mut candidate = candidate(payments - 1);
        told_of(&mut candidate, payments);
        while candidate.waits() {
            candidate.judge();
        }
        assert_eq!(denies(&mut candidate), 1, "none of them is lost");
    }
}
