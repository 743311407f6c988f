//! The scenarios of a report as a person reads them on a terminal.

use super::tally::{Detection, ScenarioReport};
use crate::table::{grouped, new_table};
use comfy_table::{CellAlignment, Table};

/// By scenario, and below it how well fraud was found.
pub(crate) fn tables(report: &ScenarioReport) -> [Table; 2] {
    let mut scenarios = new_table();
    scenarios.set_header([
        "scenario",
        "truth",
        "payments",
        "approved",
        "reviewed",
        "denied",
        "no verdict",
    ]);
    for row in &report.rows {
        scenarios.add_row([
            row.scenario.to_owned(),
            if row.is_fraud { "fraud" } else { "honest" }.to_owned(),
            grouped(row.payments),
            grouped(row.approved),
            grouped(row.reviewed),
            grouped(row.denied),
            grouped(row.no_verdict),
        ]);
    }
    let mut detection = new_table();
    detection.set_header([
        "taken for fraud",
        "fraud found",
        "false alarms",
        "fraud missed",
        "honest passed",
        "precision",
        "recall",
    ]);
    for (name, found) in [("reviewed or denied", &report.flagged), ("denied", &report.denied)] {
        detection.add_row(cells(name, found));
    }
    for (table, texts) in [(&mut scenarios, 2), (&mut detection, 1)] {
        for column in table.column_iter_mut().skip(texts) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    [scenarios, detection]
}

fn cells(name: &str, found: &Detection) -> [String; 7] {
    let permille =
        |share: Option<u64>| share.map_or_else(|| "none".to_owned(), |share| format!("{share} ‰"));
    [
        name.to_owned(),
        grouped(found.true_positives),
        grouped(found.false_positives),
        grouped(found.false_negatives),
        grouped(found.true_negatives),
        permille(found.precision_permille),
        permille(found.recall_permille),
    ]
}
