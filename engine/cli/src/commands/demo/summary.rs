//! What came of the demo, in figures: for a person, for a program, and as a verdict.

use super::audit::Audit;
use super::failover::Drill;
use crate::commands::log::verify;
use catraca_loadgen::table::{duration, grouped};
use catraca_loadgen::{Answers, Report};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// The failover in figures. Serialised, it is `failover` in the JSON: names are stable.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Decisions answered until the primary was lost, and after it.
    acknowledged_before: u64,
    acknowledged_after: u64,
    /// In the worse of both logs: answers that are missing, that are there in another way, and
    /// transactions that were decided twice.
    lost: u64,
    different: u64,
    double: u64,
    /// Longest time in which the load got no answer.
    longest_gap_ms: f64,
    /// Transactions sent again because the primary died before it answered; and of these, those
    /// that the promoted node knew.
    resent: u64,
    duplicates: u64,
    /// Answered transactions asked for again after the failover.
    asked_again: u64,
    epoch_before: u32,
    epoch_after: u32,
    promoted_after_ms: f64,
    back_in_sync_after_s: f64,
    logs_sound: bool,
    heads_equal: bool,
}

impl Summary {
    /// Of what was seen and read.
    pub fn new(
        answers: &Answers,
        drill: &Drill,
        report: &Report,
        logs: &[(verify::Report, Audit)],
    ) -> Self {
        let before = answers.before_failover.unwrap_or(answers.count);
        let over = |count: fn(&Audit) -> u64| {
            logs.iter().map(|(_, audit)| count(audit)).max().unwrap_or(0)
        };
        Self {
            acknowledged_before: before,
            acknowledged_after: answers.count - before,
            lost: over(|audit| audit.lost),
            different: over(|audit| audit.different),
            double: over(|audit| audit.double),
            longest_gap_ms: report.longest_gap_ms,
            resent: report.resent_after_failover,
            duplicates: answers.recognised,
            asked_again: report.rechecked_after_failover,
            epoch_before: drill.epochs[0],
            epoch_after: drill.epochs[1],
            promoted_after_ms: drill.promoted_after.as_secs_f64() * 1e3,
            back_in_sync_after_s: drill.back_after.as_secs_f64(),
            logs_sound: logs.iter().all(|(log, _)| log.sound),
            heads_equal: logs.windows(2).all(|pair| pair[0].0.heads() == pair[1].0.heads()),
        }
    }

    /// For a person.
    pub fn table(&self) -> String {
        let yes = |is: bool| if is { "yes" } else { "NO" }.to_owned();
        let rows = [
            ("acknowledged before the kill", grouped(self.acknowledged_before)),
            ("acknowledged after it", grouped(self.acknowledged_after)),
            ("lost", grouped(self.lost)),
            ("answered otherwise than recorded", grouped(self.different)),
            ("decided twice", grouped(self.double)),
            ("longest time without an answer", duration(self.longest_gap_ms * 1e3)),
            ("of it until the promotion", duration(self.promoted_after_ms * 1e3)),
            ("resent, because the answer was lost", grouped(self.resent)),
            ("of them known to the promoted node", grouped(self.duplicates)),
            ("answered before, asked again: same", grouped(self.asked_again)),
            ("epoch before and after", format!("{} and {}", self.epoch_before, self.epoch_after)),
            ("killed node back in sync after", duration(self.back_in_sync_after_s * 1e6)),
            ("both logs sound", yes(self.logs_sound)),
            ("heads of both logs equal", yes(self.heads_equal)),
        ];
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        for (what, figure) in rows {
            table.add_row([what.to_owned(), figure]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    /// What did not come out as it should, in words.
    pub fn wrong(
        &self,
        answers: &Answers,
        report: &Report,
        logs: &[(verify::Report, Audit)],
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        wrong.extend(report.failure.clone());
        let counts = [
            (report.violations.total(), "answers broke a promise"),
            (answers.not_kept, "answers were too many to be kept, and are not in the comparison"),
            (report.errors.values().sum(), "payments were answered with an error"),
        ];
        wrong.extend(
            counts
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{count} {what}")),
        );
        for (name, (log, audit)) in ["primary", "standby"].into_iter().zip(logs) {
            let counts = [
                (audit.lost, "answers are not in it"),
                (audit.different, "answers are in it in another way"),
                (audit.double, "transactions are in it twice"),
            ];
            let found = counts.into_iter().filter(|(count, _)| *count > 0);
            wrong.extend(found.map(|(count, what)| format!("the log in {name}/: {count} {what}")));
            wrong.extend((!log.sound).then(|| format!("the log in {name}/ is damaged")));
        }
        let conditions = [
            (self.acknowledged_before == 0, "nothing was answered before the kill"),
            (self.acknowledged_after == 0, "nothing was answered after the promotion"),
            (self.epoch_after <= self.epoch_before, "the promotion began no new epoch"),
            (!self.heads_equal, "the logs end differently"),
        ];
        wrong.extend(conditions.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()));
        wrong
    }
}
