//! Numbers, times and sentences that page and picture have in common.

use super::{Report, Was};
use crate::commands::totals::{NAMES, money, percent_changed};
use catraca_core::policy::{Cell, Matrix};
use jiff::Timestamp;

/// Between groups of digits: narrow, and never broken. A point would read as the decimal one of a share.
const GROUP_SEPARATOR: char = '\u{202f}';

/// A count, its digits in groups of three.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(GROUP_SEPARATOR);
        }
        grouped.push(digit);
    }
    grouped
}

/// So many payments.
pub fn payments(number: u64) -> String {
    format!("{} payment{}", count(number), if number == 1 { "" } else { "s" })
}

/// A share, percent.
pub fn share(part: u64, whole: u64) -> String {
    format!("{:.2} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Nanoseconds since 1970 as a date and a time of day, UTC.
pub fn moment(ns: u64) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(ns))
        .expect("64 bits of nanoseconds end in 2554, far inside the calendar");
    timestamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What becomes of a payment between two verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The same verdict.
    None,
    /// Towards deny.
    Stricter,
    /// Towards approve.
    Looser,
}

impl Change {
    /// Between two places of a matrix.
    pub const fn of(from: usize, to: usize) -> Self {
        if from == to {
            Self::None
        } else if to > from {
            Self::Stricter
        } else {
            Self::Looser
        }
    }

    /// Its name, also in style sheets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "unchanged",
            Self::Stricter => "stricter",
            Self::Looser => "looser",
        }
    }

    /// The name with its mark: nothing is told by colour alone.
    pub const fn marked(self) -> &'static str {
        match self {
            Self::None => "unchanged",
            Self::Stricter => "▲ stricter",
            Self::Looser => "▼ looser",
        }
    }
}

/// Payments that go from one verdict to another one.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Place in the matrix of the verdict that was given.
    pub from: usize,
    /// Place of the one that the policy gives.
    pub to: usize,
    /// How many, and what they amount to.
    pub cell: Cell,
}

impl Flow {
    /// In which direction.
    pub const fn change(&self) -> Change {
        Change::of(self.from, self.to)
    }

    /// `approve → deny`.
    pub fn name(&self) -> String {
        format!("{} → {}", NAMES[self.from], NAMES[self.to])
    }
}

/// All that is not empty, in the order of the matrix.
pub fn flows(matrix: &Matrix) -> Vec<Flow> {
    let places = (0..3).flat_map(|from| (0..3).map(move |to| (from, to)));
    let flows = places.map(|(from, to)| Flow { from, to, cell: matrix[from][to] });
    flows.filter(|flow| flow.cell.count > 0).collect()
}

/// What changes, the most first.
pub fn changes(matrix: &Matrix) -> Vec<Flow> {
    let mut changes = flows(matrix);
    changes.retain(|flow| flow.change() != Change::None);
    changes.sort_by_key(|flow| std::cmp::Reverse(flow.cell.count));
    changes
}

/// The sum of those that are wanted.
pub fn sum(matrix: &Matrix, wanted: impl Fn(usize, usize) -> bool) -> Cell {
    let mut sum = Cell::default();
    for flow in flows(matrix).iter().filter(|flow| wanted(flow.from, flow.to)) {
        sum.join(&flow.cell);
    }
    sum
}

impl Was {
    /// Head of what was before.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Recorded => "Recorded verdict",
            Self::InForce => "Verdict in force",
        }
    }

    const fn verdict(self) -> &'static str {
        match self {
            Self::Recorded => "the verdict that was recorded",
            Self::InForce => "the verdict that the policy in force gave",
        }
    }
}

/// What came of it, in a few sentences.
pub fn summary(report: &Report<'_>) -> String {
    let totals = report.totals;
    let (all, changed) = (totals.payments(), totals.changed());
    let worth = |cell: &Cell| format!("{} ({})", payments(cell.count), money(cell));
    let everything = worth(&sum(&totals.matrix, |_, _| true));
    if all == 0 {
        return "No payment was compared.".to_owned();
    }
    if changed == 0 {
        return format!(
            "Of {everything} each would get {}: nothing would change.",
            report.was.verdict()
        );
    }
    let changing = sum(&totals.matrix, |from, to| from != to);
    let mut text = format!(
        "Of {everything} the policy would give another verdict to {} ({}), which is {:.2} %",
        count(changed),
        money(&changing),
        percent_changed(totals),
    );
    if let Some(payers) = report.payers_affected {
        let payers_name = if payers == 1 { "payer" } else { "payers" };
        text.push_str(&format!("; they are of {} {payers_name}", count(payers as u64)));
    }
    text.push('.');
    let of = |cell: Cell, what: &str| match cell.count {
        0 => String::new(),
        _ => format!(" {what}: {}.", worth(&cell)),
    };
    text.push_str(&of(
        sum(&totals.matrix, |from, to| from == 0 && to > 0),
        "Approved until now, then reviewed or denied",
    ));
    text.push_str(&of(
        sum(&totals.matrix, |from, to| from > 0 && to == 0),
        "Reviewed or denied until now, then approved",
    ));
    text.push_str(&of(
        sum(&totals.matrix, |from, to| from != to && from > 0 && to > 0),
        "From review to deny, or back",
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::testing::{NOON_NS, totals, with_report, with_report_of};

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!([0, 999, 1_000].map(count), ["0", "999", "1\u{202f}000"]);
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((payments(1), payments(2)), ("1 payment".into(), "2 payments".into()));
        assert_eq!((share(1, 3), share(0, 0)), ("33.33 %".into(), "0.00 %".into()));
        assert_eq!(moment(NOON_NS), "2026-11-23 12:00:00 UTC");
        assert!(moment(u64::MAX).starts_with("2554-"));
    }

    #[test]
    fn the_summary_says_what_changes_and_which_way() {
        with_report(|report| {
            assert_eq!(
                summary(report),
                "Of 1\u{202f}040 payments (R$ 10.435,00) the policy would give another verdict to 40 \
                 (R$ 435,00), which is 3.85 %; they are of 31 payers. Approved until now, then \
                 reviewed or denied: 33 payments (R$ 330,00). Reviewed or denied until now, then \
                 approved: 5 payments (R$ 100,00). From review to deny, or back: 2 payments (R$ 5,00)."
            );
        });
        let mut same = totals().matrix;
        for (from, row) in same.iter_mut().enumerate() {
            for (to, cell) in row.iter_mut().enumerate() {
                if from != to {
                    *cell = Cell::default();
                }
            }
        }
        with_report_of(&same, |report| {
            assert!(summary(report).ends_with("recorded: nothing would change."));
        });
        with_report_of(&Matrix::default(), |report| {
            assert_eq!(summary(report), "No payment was compared.");
        });
    }

    #[test]
    fn changes_come_with_the_most_first() {
        let names: Vec<_> = changes(&totals().matrix).iter().map(Flow::name).collect();
        assert_eq!(
            names,
            ["approve → review", "deny → approve", "approve → deny", "review → deny"]
        );
        assert_eq!(Change::of(2, 0).marked(), "▼ looser");
    }
}
