//! What another policy would have done with the payments of a log: verdicts from and to, in number and
//! centavos, by rule, and whom it would have met.

use super::{Row, place};
use crate::policy_file::PolicyFile;
use catraca_core::calendar::LocalOffset;
use catraca_core::policy::replay;
use catraca_core::policy::{Batch, Policy};
use catraca_wire::extension::WindowValue;
use catraca_wire::frame::{Verdict, text_of};
use std::collections::HashSet;
use std::sync::Arc;

/// Payments and what they amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// Payments.
    pub count: u64,
    /// What they amount to, centavos. Amounts are bounded by 64 bits each, their sum is not.
    pub centavos: i128,
}

impl Cell {
    fn add(&mut self, centavos: i64) {
        self.count += 1;
        self.centavos += i128::from(centavos);
    }
}

/// By the verdict that was recorded, and the one that the other policy gives: approve, review, deny.
pub type Matrix = [[Cell; 3]; 3];

/// What came of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTotals {
    /// Its id.
    pub id: String,
    /// Payments that it matches.
    pub matched: Cell,
    /// Of these, payments that get another verdict than was recorded.
    pub changed: Cell,
    /// Payments whose verdict it settles.
    pub settled: u64,
    /// Payments of which its condition has no result.
    pub without_result: u64,
}

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
    /// Verdicts from and to.
    pub matrix: Matrix,
    /// By rule, in the policy's order.
    pub rules: Vec<RuleTotals>,
    /// The first payments that get another verdict.
    pub examples: Vec<Changed>,
    /// Payments whose recorded verdict is none.
    pub unreadable: u64,
    payers: HashSet<u64>,
    offset: LocalOffset,
}

impl WhatIf {
    /// Of this policy.
    pub fn new(file: &PolicyFile) -> Self {
        let totals = |id: &String| RuleTotals {
            id: id.clone(),
            matched: Cell::default(),
            changed: Cell::default(),
            settled: 0,
            without_result: 0,
        };
        Self {
            policy: Policy::new(u32::MAX, file.zone.clone(), file.rules.clone()).into(),
            matrix: Matrix::default(),
            rules: file.rules.rules.iter().map(|rule| totals(&rule.id)).collect(),
            examples: Vec::new(),
            unreadable: 0,
            payers: HashSet::new(),
            offset: LocalOffset::default(),
        }
    }

    /// Why it can't be held against a log of so many streams; `None` where it can.
    pub fn needs_one_stream(&self, streams: u16) -> Option<String> {
        crate::policy_windows::needs_one_shard(&self.policy, streams)
    }

    /// The other policy.
    pub(super) const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Payers of payments that get another verdict.
    pub fn payers_affected(&self) -> usize {
        self.payers.len()
    }

    /// All payments.
    pub fn decisions(&self) -> u64 {
        self.matrix.iter().flatten().map(|cell| cell.count).sum()
    }

    /// Payments that get another verdict.
    pub fn changed(&self) -> u64 {
        let same: u64 = (0..3).map(|at| self.matrix[at][at].count).sum();
        self.decisions() - same
    }

    pub(super) fn judge(
        &mut self,
        batch: &mut Batch,
        together: &[Row<'_>],
        windows: &[WindowValue],
    ) {
        let policy = Arc::clone(&self.policy);
        batch.clear();
        let values = policy.window_values();
        for (row, Row { head, parties, .. }) in together.iter().enumerate() {
            // Its zone may be another one than that of the policy that decided.
            let event_time_ns = head.transaction.event_time_ns.to_native();
            if !self.offset.holds(event_time_ns) {
                self.offset = policy.zone().offset_at(event_time_ns);
            }
            let seen = &windows[row * values..][..values];
            replay::push(batch, &policy, head, self.offset.minutes, *parties, seen);
        }
        policy.judge(batch);
        for (row, Row { head, parties: (payer, _), .. }) in together.iter().enumerate() {
            let judged = batch.judgement(row);
            let Some(from) = Verdict::from_wire(head.verdict) else {
                self.unreadable += 1;
                continue;
            };
            let to = judged.decision.verdict;
            let centavos = head.transaction.amount_centavos.to_native();
            self.matrix[place(from)][place(to)].add(centavos);
            let is_changed = from != to;
            let mut matched = Vec::new();
            for (number, rule) in self.rules.iter_mut().enumerate() {
                let is_in = |words: &[u64]| words[number / 64] >> (number % 64) & 1 == 1;
                rule.without_result += u64::from(is_in(&judged.rules.failed));
                if is_in(&judged.rules.matched) {
                    rule.matched.add(centavos);
                    matched.push(number);
                    if is_changed {
                        rule.changed.add(centavos);
                    }
                }
            }
            if let Some(rule) = judged.rules.settled_by {
                self.rules[usize::from(rule)].settled += 1;
            }
            if is_changed {
                self.payers.insert(payer.document.raw());
                if self.examples.len() < MAX_EXAMPLES {
                    self.examples.push(Changed {
                        transaction_id: text_of(&head.transaction.id).to_owned(),
                        amount_centavos: centavos,
                        from,
                        to,
                        rules: matched
                            .iter()
                            .map(|&number| self.rules[number].id.clone())
                            .collect(),
                    });
                }
            }
        }
    }
}
