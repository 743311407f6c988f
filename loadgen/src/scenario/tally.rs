//! What the node made of each scenario, and how well it told fraud from honest payments.

use super::rhythm::SECOND_NS;
use super::{Label, Scenario, TrafficPlan};
use catraca_wire::frame::Verdict;
use serde::Serialize;

/// Counts of a run.
#[derive(Debug, Clone)]
pub struct Tally {
    plan: TrafficPlan,
    counts: [Counts; Scenario::ALL.len()],
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    payments: u64,
    approved: u64,
    reviewed: u64,
    denied: u64,
}

/// One scenario of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ScenarioRow {
    /// Its name.
    pub scenario: &'static str,
    /// Whether its payments are fraud.
    pub is_fraud: bool,
    /// Payments sent.
    pub payments: u64,
    /// Of these, approved.
    pub approved: u64,
    /// Of these, held for a review.
    pub reviewed: u64,
    /// Of these, denied.
    pub denied: u64,
    /// Of these, answered with an error, or not at all: in no figure of [`Detection`].
    pub no_verdict: u64,
}

/// How well fraud was told from honest payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Detection {
    /// Frauds that were found.
    pub true_positives: u64,
    /// Honest payments that were taken for fraud.
    pub false_positives: u64,
    /// Frauds that were missed.
    pub false_negatives: u64,
    /// Honest payments that were let through.
    pub true_negatives: u64,
    /// Of a thousand payments taken for fraud, how many were, rounded down; `None` where none was
    /// taken for it.
    pub precision_permille: Option<u64>,
    /// Of a thousand frauds, how many were found, rounded down; `None` where there was none.
    pub recall_permille: Option<u64>,
}

/// What became of the scenarios of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioReport {
    /// Days that the payments were spread over.
    pub days: u32,
    /// From when on they were.
    pub start: String,
    /// When they ended.
    pub end: String,
    /// Each scenario that was asked for.
    pub rows: Vec<ScenarioRow>,
    /// Where a review and a denial both count as finding a fraud.
    pub flagged: Detection,
    /// Where only a denial does.
    pub denied: Detection,
}

impl Tally {
    /// Nothing yet, of a plan.
    pub fn new(plan: TrafficPlan) -> Self {
        Self { plan, counts: [Counts::default(); Scenario::ALL.len()] }
    }

    /// Counts a payment that is sent.
    #[inline]
    pub fn sent(&mut self, label: Label) {
        self.counts[label.scenario as usize].payments += 1;
    }

    /// Counts its verdict.
    #[inline]
    pub fn verdict(&mut self, label: Label, verdict: Verdict) {
        let counts = &mut self.counts[label.scenario as usize];
        match verdict {
            Verdict::Approve => counts.approved += 1,
            Verdict::Review => counts.reviewed += 1,
            Verdict::Deny => counts.denied += 1,
        }
    }

    /// What the counts come to.
    pub fn report(&self) -> ScenarioReport {
        let asked_for = |scenario: &Scenario| self.plan.scenarios.contains(*scenario);
        let row = |scenario: Scenario| {
            let Counts { payments, approved, reviewed, denied } = self.counts[scenario as usize];
            ScenarioRow {
                scenario: scenario.name(),
                is_fraud: scenario.is_fraud(),
                payments,
                approved,
                reviewed,
                denied,
                no_verdict: payments.saturating_sub(approved + reviewed + denied),
            }
        };
        let rows: Vec<ScenarioRow> = Scenario::ALL.into_iter().filter(asked_for).map(row).collect();
        ScenarioReport {
            days: self.plan.days,
            start: time_text(self.plan.start_ns()),
            end: time_text(self.plan.end_ns),
            flagged: Detection::of(&rows, |row| row.reviewed + row.denied),
            denied: Detection::of(&rows, |row| row.denied),
            rows,
        }
    }
}

impl Detection {
    /// Where so many payments of a row count as taken for fraud.
    fn of(rows: &[ScenarioRow], taken: impl Fn(&ScenarioRow) -> u64) -> Self {
        let sum = |is_fraud: bool, count: &dyn Fn(&ScenarioRow) -> u64| -> u64 {
            rows.iter().filter(|row| row.is_fraud == is_fraud).map(count).sum()
        };
        let left = |row: &ScenarioRow| row.payments - row.no_verdict - taken(row);
        let (true_positives, false_positives) = (sum(true, &taken), sum(false, &taken));
        let (false_negatives, true_negatives) = (sum(true, &left), sum(false, &left));
        Self {
            true_positives,
            false_positives,
            false_negatives,
            true_negatives,
            precision_permille: permille(true_positives, true_positives + false_positives),
            recall_permille: permille(true_positives, true_positives + false_negatives),
        }
    }
}

/// A time for a person, to the second.
fn time_text(time_ns: u64) -> String {
    let time = jiff::Timestamp::from_second((time_ns / SECOND_NS) as i64);
    time.map_or_else(|error| error.to_string(), |time| time.to_string())
}

fn permille(part: u64, whole: u64) -> Option<u64> {
    (part * 1_000).checked_div(whole)
}

#[cfg(test)]
mod tests {
    use super::super::Scenarios;
    use super::*;

    fn tally(scenarios: &str) -> Tally {
        let scenarios: Scenarios = scenarios.parse().expect("names");
        let end_ns = 1_795_705_445 * SECOND_NS;
        Tally::new(TrafficPlan { seed: 1, payments: 1_000, days: 2, end_ns, scenarios })
    }

    #[test]
    fn the_arithmetic_is_that_of_the_books() {
        let mut tally = tally("households,shops,structuring,new-device");
        let mut count = |scenario, verdicts: [u64; 3], no_verdict: u64| {
            let label = Label { scenario, is_hard: false };
            (0..verdicts.iter().sum::<u64>() + no_verdict).for_each(|_| tally.sent(label));
            for (verdict, times) in
                [Verdict::Approve, Verdict::Review, Verdict::Deny].into_iter().zip(verdicts)
            {
                (0..times).for_each(|_| tally.verdict(label, verdict));
            }
        };
        count(Scenario::Households, [80, 9, 1], 10);
        count(Scenario::Shops, [50, 0, 0], 0);
        count(Scenario::Structuring, [3, 4, 1], 0);
        count(Scenario::NewDevice, [1, 0, 2], 1);
        let report = tally.report();
        assert_eq!((report.days, report.end.as_str()), (2, "2026-11-26T15:04:05Z"));
        let names: Vec<_> = report.rows.iter().map(|row| (row.scenario, row.is_fraud)).collect();
        assert_eq!(
            names,
            [("households", false), ("shops", false), ("new-device", true), ("structuring", true)]
        );
        assert_eq!((report.rows[0].payments, report.rows[0].no_verdict), (100, 10));
        // 7 of the 17 that were flagged are frauds, and 7 of the 11 frauds were flagged.
        let flagged = Detection {
            true_positives: 7,
            false_positives: 10,
            false_negatives: 4,
            true_negatives: 130,
            precision_permille: Some(411),
            recall_permille: Some(636),
        };
        assert_eq!(report.flagged, flagged);
        let denied = Detection {
            true_positives: 3,
            false_positives: 1,
            false_negatives: 8,
            true_negatives: 139,
            precision_permille: Some(750),
            recall_permille: Some(272),
        };
        assert_eq!(report.denied, denied);
    }

    #[test]
    fn what_can_not_be_divided_is_not_there() {
        let report = tally("shops").report();
        assert_eq!(report.flagged.precision_permille, None);
        assert_eq!(report.flagged.recall_permille, None);
    }
}
