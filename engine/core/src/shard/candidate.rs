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
            past.take(payment);
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
                        past.take(payment);
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
            self.named.look_up(&facts, &mut values[asked..]);
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
