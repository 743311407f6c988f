//! What another policy makes of payments that were decided: verdicts from and to, and by rule.

use super::Judgement;
use catraca_wire::frame::Verdict;

/// Payments and what they amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// Payments.
    pub count: u64,
    /// What they amount to, centavos. Amounts are bounded by 64 bits each, their sum is not.
    pub centavos: i128,
}

impl Cell {
    /// One payment more.
    pub fn add(&mut self, centavos: i64) {
        self.count += 1;
        self.centavos += i128::from(centavos);
    }

    /// Those of another one more.
    pub fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.centavos += other.centavos;
    }
}

/// By the verdict that was given, and the one that the other policy gives: approve, review, deny.
pub type Matrix = [[Cell; 3]; 3];

/// What came of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleTotals {
    /// Payments that it matches.
    pub matched: Cell,
    /// Of these, payments that get another verdict than was given.
    pub changed: Cell,
    /// Payments whose verdict it settles.
    pub settled: u64,
    /// Payments of which its condition has no result.
    pub without_result: u64,
}

/// What came of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Verdicts from and to.
    pub matrix: Matrix,
    /// By rule, in the policy's order.
    pub rules: Vec<RuleTotals>,
}

/// The place of a verdict in a matrix.
pub const fn place(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Approve => 0,
        Verdict::Review => 1,
        Verdict::Deny => 2,
    }
}

impl Totals {
    /// Of a policy with so many rules.
    pub fn new(rules: usize) -> Self {
        Self { matrix: Matrix::default(), rules: vec![RuleTotals::default(); rules] }
    }

    /// One payment more, with the verdict that was given. Gives whether it gets another one.
    pub fn add(&mut self, from: Verdict, judged: &Judgement, centavos: i64) -> bool {
        let to = judged.decision.verdict;
        self.matrix[place(from)][place(to)].add(centavos);
        let is_changed = from != to;
        let words = judged.rules.matched.iter().zip(&judged.rules.failed).enumerate();
        for (word, (&matched, &failed)) in words {
            // What was not applied changed nothing.
            let matched = matched & !judged.rules.exempt[word];
            let mut touched = matched | failed;
            while touched != 0 {
                let bit = touched & touched.wrapping_neg();
                let rule = &mut self.rules[word * 64 + touched.trailing_zeros() as usize];
                touched &= touched - 1;
                rule.without_result += u64::from(failed & bit != 0);
                if matched & bit != 0 {
                    rule.matched.add(centavos);
                    if is_changed {
                        rule.changed.add(centavos);
                    }
                }
            }
        }
        if let Some(rule) = judged.rules.settled_by {
            self.rules[usize::from(rule)].settled += 1;
        }
        is_changed
    }

    /// Those of another one more, of the same policy.
    pub fn join(&mut self, other: &Self) {
        assert_eq!(self.rules.len(), other.rules.len(), "totals of one policy");
        for (row, others) in self.matrix.iter_mut().zip(&other.matrix) {
            row.iter_mut().zip(others).for_each(|(cell, other)| cell.join(other));
        }
        for (rule, other) in self.rules.iter_mut().zip(&other.rules) {
            rule.matched.join(&other.matched);
            rule.changed.join(&other.changed);
            rule.settled += other.settled;
            rule.without_result += other.without_result;
        }
    }

    /// All payments.
    pub fn payments(&self) -> u64 {
        self.matrix.iter().flatten().map(|cell| cell.count).sum()
    }

    /// Payments that get another verdict.
    pub fn changed(&self) -> u64 {
        let same: u64 = (0..3).map(|at| self.matrix[at][at].count).sum();
        self.payments() - same
    }
}
