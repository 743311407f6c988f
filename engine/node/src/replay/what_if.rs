//! What another policy would have done with the payments of a log: verdicts from and to, in number and
//! centavos, by rule, and whom it would have met.

use super::named::NamedThen;
use super::{History, Row};
use crate::policy_file::PolicyFile;
use catraca_core::calendar::LocalOffset;
use catraca_core::policy::replay;
use catraca_core::policy::validators::{AnswerState, Answered, VALUES_EACH};
use catraca_core::policy::{Batch, Policy, Totals};
use catraca_wire::extension::{MAX_WINDOW_VALUES, WindowValue};
use catraca_wire::frame::{Verdict, text_of};
use catraca_wire::list::ListName;
use catraca_wire::record::RecordHead;
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A payment that gets another verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Id of its transaction.
    pub transaction_id: String,
    /// Centavos.
    pub amount_centavos: i64,
    /// The verdict that was recorded.
    pub from: Verdict,
    /// The one that it gets.
    pub to: Verdict,
    /// Ids of the rules that match.
    pub rules: Vec<String>,
}

/// Changed payments that are kept to be shown.
const MAX_EXAMPLES: usize = 10;

/// Another policy, and what it would have done.
pub struct WhatIf {
    policy: Arc<Policy>,
    /// Verdicts from and to, from those that were recorded, and by rule.
    pub totals: Totals,
    /// The first payments that get another verdict.
    pub examples: Vec<Changed>,
    /// Payments whose recorded verdict is none.
    pub unreadable: u64,
    /// Payments whose verdicts are compared, by the version of the policy that decided.
    pub by_version: BTreeMap<u32, u64>,
    /// From the first of these decisions to the last, nanoseconds since 1970 UTC; `None` where there is none.
    pub decided_at_ns: Option<RangeInclusive<u64>>,
    /// Lists that the policy names, with the decisions at which the log did not have them: what its rules look up
    /// there is not known, and they count against the payment.
    pub lists_not_known: BTreeMap<ListName, u64>,
    /// Questions for validators that it would ask and nobody had asked: they count as having no answer.
    pub answers_not_known: u64,
    payers: HashSet<u64>,
    offset: LocalOffset,
    named: NamedThen,
}

impl WhatIf {
    /// Of this policy.
    pub fn new(file: &PolicyFile) -> Self {
        Self {
            policy: Policy::new(u32::MAX, file.zone.clone(), file.rules.clone()).into(),
            totals: Totals::new(file.rules.rules.len()),
            examples: Vec::new(),
            unreadable: 0,
            by_version: BTreeMap::new(),
            decided_at_ns: None,
            lists_not_known: BTreeMap::new(),
            answers_not_known: 0,
            payers: HashSet::new(),
            offset: LocalOffset::default(),
            named: NamedThen::default(),
        }
    }

    /// The other policy.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Payers of payments that get another verdict.
    pub fn payers_affected(&self) -> usize {
        self.payers.len()
    }

    pub(super) fn judge(
        &mut self,
        batch: &mut Batch,
        together: &[Row<'_>],
        windows: &[WindowValue],
        history: &History,
    ) {
        let policy = Arc::clone(&self.policy);
        batch.clear();
        let values = policy.window_values();
        let mut seen = vec![WindowValue::Evicted; policy.values()];
        for (row, Row { head, extension, parties, .. }) in together.iter().enumerate() {
            // Its zone may be another one than that of the policy that decided.
            let event_time_ns = head.transaction.event_time_ns.to_native();
            if !self.offset.holds(event_time_ns) {
                self.offset = policy.zone().offset_at(event_time_ns);
            }
            let (own, others) = seen.split_at_mut(values);
            let looked_up = &mut others[..policy.rules().lists.len()];
            own.copy_from_slice(&windows[row * values..][..values]);
            let (exempt, _) = self.named.see(history, &policy, head, *parties, looked_up);
            take_answers(&policy, history, head, extension, &mut seen);
            for list in self.named.lacking() {
                *self.lists_not_known.entry(*list).or_default() += 1;
            }
            replay::push(batch, &policy, head, self.offset.minutes, *parties, &seen, &exempt);
        }
        self.answers_not_known += ask_as_it_would(&policy, batch);
        policy.judge(batch);
        for (row, Row { head, parties: (payer, _), .. }) in together.iter().enumerate() {
            let judged = batch.judgement(row);
            let Some(from) = Verdict::from_wire(head.verdict) else {
                self.unreadable += 1;
                continue;
            };
            *self.by_version.entry(head.policy_version.to_native()).or_default() += 1;
            let at_ns = head.decided_at_ns.to_native();
            // Streams come one behind the other, and clocks may step back.
            self.decided_at_ns = Some(self.decided_at_ns.take().map_or(at_ns..=at_ns, |times| {
                at_ns.min(*times.start())..=at_ns.max(*times.end())
            }));
            let to = judged.decision.verdict;
            let centavos = head.transaction.amount_centavos.to_native();
            let is_changed = self.totals.add(from, judged, centavos);
            if is_changed {
                self.payers.insert(payer.document.raw());
                if self.examples.len() < MAX_EXAMPLES {
                    self.examples.push(Changed {
                        transaction_id: text_of(&head.transaction.id).to_owned(),
                        amount_centavos: centavos,
                        from,
                        to,
                        rules: policy
                            .rules()
                            .rules
                            .iter()
                            .enumerate()
                            .filter(|(n, _)| judged.rules.matched[n / 64] >> (n % 64) & 1 == 1)
                            .map(|(_, rule)| rule.id.clone())
                            .collect(),
                    });
                }
            }
        }
    }
}

/// What validators are taken to have answered: nobody is asked again, so it is what was recorded of validators of
/// the same names.
pub fn take_answers(
    policy: &Policy,
    history: &History,
    head: &RecordHead,
    extension: &[u8],
    seen: &mut [WindowValue],
) {
    if policy.rules().validators.is_empty() {
        return;
    }
    let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
    match history.policy_of(head.policy_version.to_native()) {
        Some(decided_by) => {
            let recorded = replay::recorded_values(decided_by, extension, &mut values);
            policy.rules().take_answers(seen, decided_by.rules(), recorded);
        }
        None => policy.rules().ask_nobody(seen),
    }
}

/// Brings what validators are taken to have answered in line with whom the policy would ask: what was not asked then has
/// no answer, and what it would not ask it does not see. Gives how many answers nobody knows.
fn ask_as_it_would(policy: &Policy, batch: &mut Batch) -> u64 {
    let rules = policy.rules();
    let mut not_known = 0;
    for (number, validator) in rules.validators.iter().enumerate() {
        let asks = batch.asks(validator);
        let first = rules.answers_from() + VALUES_EACH * number;
        for row in 0..batch.len() {
            let told = Answered::of(&batch.seen(row)[first..][..VALUES_EACH]);
            let was_asked = told.is_some_and(|told| told.state != AnswerState::NotAsked);
            match (asks >> row & 1 == 1, was_asked) {
                (true, false) => {
                    batch.answer(rules, row, number, Answered::NONE);
                    not_known += 1;
                }
                (false, true) => batch.answer(rules, row, number, Answered::NOT_ASKED),
                (true, true) | (false, false) => {}
            }
        }
    }
    not_known
}
