//! What `catraca log replay` says of labels: how much fraud the recorded verdicts found, and how much another
//! policy would have found.

use super::view::utc;
use crate::commands::output::counted;
use catraca_node::replay::{MATURE_AFTER_DAYS, Score, Scores, Truth};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The rows: whose verdicts, and which of them count as taking a payment for fraud.
pub fn rows(truth: &Truth, has_candidate: bool) -> Vec<(&'static str, Score)> {
    let of = |names: [&'static str; 2], scores: Scores| {
        let Scores { reviewed_or_denied, denied } = scores;
        [(names[0], reviewed_or_denied), (names[1], denied)]
    };
    let mut rows =
        of(["recorded: reviewed or denied", "recorded: denied"], truth.recorded).to_vec();
    if has_candidate {
        let names = ["candidate: reviewed or denied", "candidate: denied"];
        rows.extend(of(names, truth.candidate));
    }
    rows
}

/// For a program.
pub fn json_of(truth: &Truth, has_candidate: bool) -> Value {
    let score = |score: &Score| {
        json!({
            "true_positives": score.true_positives,
            "false_positives": score.false_positives,
            "false_negatives": score.false_negatives,
            "true_negatives": score.true_negatives,
            "unknown_taken": score.unknown_taken,
            "unknown_passed": score.unknown_passed,
            "precision_permille": score.precision_permille(),
            "recall_permille": score.recall_permille(),
        })
    };
    let scores = |of: &Scores| {
        json!({
            "reviewed_or_denied": score(&of.reviewed_or_denied),
            "denied": score(&of.denied),
        })
    };
    let skipped = truth.skipped.named().map(|(why, count)| (why.to_owned(), json!(count)));
    json!({
        "as_of": utc(truth.as_of_ns),
        "as_of_ns": truth.as_of_ns,
        "mature_after_days": MATURE_AFTER_DAYS,
        "labels": truth.labels,
        "counted": truth.counted,
        "skipped": skipped.into_iter().collect::<serde_json::Map<_, _>>(),
        "recorded": scores(&truth.recorded),
        "candidate": has_candidate.then(|| scores(&truth.candidate)),
    })
}

/// Labels that do not count, by the reason: `1 superseded`.
pub fn skipped(truth: &Truth) -> Vec<String> {
    let reasons = truth.skipped.named().into_iter().filter(|(_, count)| *count > 0);
    reasons.map(|(why, count)| format!("{count} {}", why.replace('_', " "))).collect()
}

/// For a person.
pub fn text_of(truth: &Truth, has_candidate: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "taken for fraud",
        "TP",
        "FP",
        "FN",
        "TN",
        "unknown, taken",
        "unknown, passed",
        "precision",
        "recall",
    ]);
    let share = |share: Option<u64>| share.map_or("none".to_owned(), |share| format!("{share} ‰"));
    for (name, score) in rows(truth, has_candidate) {
        table.add_row([
            name.to_owned(),
            score.true_positives.to_string(),
            score.false_positives.to_string(),
            score.false_negatives.to_string(),
            score.true_negatives.to_string(),
            score.unknown_taken.to_string(),
            score.unknown_passed.to_string(),
            share(score.precision_permille()),
            share(score.recall_permille()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let skipped = skipped(truth);
    let mut text = format!(
        "\nwhat became known, as of {}, of decisions at least {MATURE_AFTER_DAYS} days old:\n{table}\n{} of {}",
        utc(truth.as_of_ns),
        truth.counted,
        counted(truth.labels, "label counts", "labels count"),
    );
    if !skipped.is_empty() {
        write!(text, "; skipped: {}", skipped.join(", ")).expect("a string");
    }
    text.push('\n');
    text
}
