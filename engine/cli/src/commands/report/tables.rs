//! The tables of the page.

use super::escape::{Escaped, Shown};
use super::words::{Change, count, moment, payments, share};
use super::{Examples, Report, Rule};
use crate::commands::log::{score_rows, skipped_labels};
use crate::commands::totals::{NAMES, money};
use catraca_core::policy::Cell;
use catraca_node::replay::{Changed, MATURE_AFTER_DAYS, Truth};
use catraca_wire::frame::Verdict;
use std::fmt::{self, Write};
use std::ops::RangeInclusive;

/// Verdicts from and to.
pub fn matrix(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let all = report.totals.payments();
    let heads = NAMES.map(|name| format!("would be: {name}"));
    let [approve, review, deny] = &heads;
    head(
        out,
        "Payments by verdict, before and after",
        &[report.was.heading(), approve, review, deny],
        1..=3,
    )?;
    for (from, row) in report.totals.matrix.iter().enumerate() {
        write!(out, "<tr><th scope=\"row\">{}</th>", NAMES[from])?;
        for (to, cell) in row.iter().enumerate() {
            let change = match cell.count {
                0 => Change::None,
                _ => Change::of(from, to),
            };
            let mark = match (cell.count, from == to) {
                (0, _) => "",
                (_, true) => Change::None.marked(),
                (_, false) => change.marked(),
            };
            let class = if change == Change::None { "number" } else { change.name() };
            write!(
                out,
                "<td class=\"{class}\"><b>{}</b> ({})<br/>{}<br/><small>{mark}</small></td>",
                count(cell.count),
                share(cell.count, all),
                Escaped(&money(cell)),
            )?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody></table></div>\n")
}

/// By rule, in the policy's order.
pub fn rules(out: &mut String, report: &Report<'_>) -> fmt::Result {
    head(
        out,
        "Rules, in the policy's order",
        &["Rule", "Does", "Matches", "Of these change", "Settles the verdict of", "No result for"],
        2..=5,
    )?;
    for rule in &report.rules {
        let Rule { id, description, effect, totals } = rule;
        write!(out, "<tr><th scope=\"row\">{}", Shown(id))?;
        if !description.trim().is_empty() {
            write!(out, "<br/><small>{}</small>", Shown(description.trim()))?;
        }
        let cell = |cell: &Cell| format!("{}<br/>{}", count(cell.count), Escaped(&money(cell)));
        writeln!(
            out,
            "</th><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            Escaped(effect),
            cell(&totals.matched),
            cell(&totals.changed),
            count(totals.settled),
            count(totals.without_result),
        )?;
    }
    out.write_str("</tbody></table></div>\n")
}

/// Payments that get another verdict.
pub fn examples(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let shown = match report.examples {
        Examples::First(shown) if !shown.is_empty() => shown,
        Examples::First(_) => return out.write_str("<p>There are none.</p>\n"),
        Examples::NotKept => {
            return out.write_str(
                "<p>A running node counts payments and keeps none. A replay of its log has examples.</p>\n",
            );
        }
    };
    let caption = format!(
        "The first {} of {} that would change, in the order of the log",
        count(shown.len() as u64),
        payments(report.totals.changed()),
    );
    head(out, &caption, &["Payment", "Amount", "Verdict", "Rules that match"], 1..=1)?;
    for Changed { transaction_id, amount_centavos, from, to, rules } in shown {
        let cell = Cell { count: 1, centavos: i128::from(*amount_centavos) };
        let change = Change::of(place(*from), place(*to)).marked();
        let rules = if rules.is_empty() { "none".to_owned() } else { rules.join(", ") };
        writeln!(
            out,
            "<tr><th scope=\"row\"><code>{}</code></th><td class=\"number\">{}</td><td class=\"change\">{from} → {to}<br/><small>{change}</small></td><td>{}</td></tr>",
            Shown(transaction_id),
            Escaped(&money(&cell)),
            Shown(&rules),
        )?;
    }
    out.write_str("</tbody></table></div>\n")
}

fn place(verdict: Verdict) -> usize {
    catraca_core::policy::place(verdict)
}

/// Verdicts held to what became known.
pub fn truth(out: &mut String, truth: &Truth) -> fmt::Result {
    let caption = format!(
        "Verdicts held to what was known on {}, of decisions at least {MATURE_AFTER_DAYS} days old then",
        moment(truth.as_of_ns)
    );
    head(
        out,
        &caption,
        &[
            "Taken for fraud",
            "Precision",
            "Recall",
            "Fraud, taken",
            "Good, taken",
            "Fraud, passed",
            "Good, passed",
            "Not labelled, taken",
            "Not labelled, passed",
        ],
        1..=8,
    )?;
    for (name, score) in score_rows(truth, true) {
        write!(out, "<tr><th scope=\"row\">{}</th>", Escaped(name))?;
        for permille in [score.precision_permille(), score.recall_permille()] {
            write!(out, "<td class=\"number\"><b>{}</b></td>", percent(permille))?;
        }
        let counts = [
            score.true_positives,
            score.false_positives,
            score.false_negatives,
            score.true_negatives,
            score.unknown_taken,
            score.unknown_passed,
        ];
        for number in counts {
            write!(out, "<td class=\"number\">{}</td>", count(number))?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody></table></div>\n")?;
    let skipped = match skipped_labels(truth) {
        skipped if skipped.is_empty() => String::new(),
        skipped => format!("; skipped: {}", skipped.join(", ")),
    };
    let labels = if truth.labels == 1 { "label counts" } else { "labels count" };
    writeln!(
        out,
        "<p>{} of {} {labels}{skipped}. Precision: of the labelled payments that were taken for fraud, the share that was. \
         Recall: of the labelled fraud, the share that was taken for it. What was blocked and has no label is unknown: nobody knows \
         what would have become of it, so recall is only of fraud that was noticed. Of what the policy would take for fraud, and \
         passed without a label, most was good: its precision is no higher than the figure.</p>",
        count(truth.counted),
        count(truth.labels),
    )
}

/// Per mille as percent.
fn percent(permille: Option<u64>) -> String {
    permille.map_or_else(|| "none".to_owned(), |part| format!("{}.{} %", part / 10, part % 10))
}

/// A table that is begun, up to its first row; the columns that hold numbers stand to the right. It scrolls by
/// itself where it is wider than the screen.
fn head(
    out: &mut String,
    caption: &str,
    columns: &[&str],
    numbers: RangeInclusive<usize>,
) -> fmt::Result {
    write!(out, "<div class=\"wide\"><table><caption>{}</caption><thead><tr>", Escaped(caption))?;
    for (at, column) in columns.iter().enumerate() {
        let class = if numbers.contains(&at) { " class=\"number\"" } else { "" };
        write!(out, "<th scope=\"col\"{class}>{}</th>", Escaped(column))?;
    }
    out.write_str("</tr></thead><tbody>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::testing::with_report;

    #[test]
    fn a_share_is_percent_with_a_tenth() {
        assert_eq!(
            [Some(0), Some(7), Some(666), Some(1000), None].map(percent),
            ["0.0 %", "0.7 %", "66.6 %", "100.0 %", "none"]
        );
    }

    #[test]
    fn rules_come_in_the_policy_s_order() {
        with_report(|report| {
            let mut out = String::new();
            rules(&mut out, report).expect("a string");
            let at = ["few", "none", "most"].map(|id| out.find(&format!("\"row\">{id}")));
            assert!(at[0].is_some() && at.is_sorted(), "{out}");
        });
    }

    #[test]
    fn what_is_empty_says_so() {
        with_report(|report| {
            let table = |report: &Report<'_>| {
                let mut out = String::new();
                examples(&mut out, report).expect("a string");
                out
            };
            report.examples = Examples::First(&[]);
            assert_eq!(table(report), "<p>There are none.</p>\n");
            report.examples = Examples::NotKept;
            assert!(table(report).contains("keeps none"));
        });
    }
}
