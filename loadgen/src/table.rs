//! The report as a person reads it on a terminal.

use crate::report::{Percentiles, Report};
use crate::scenario;
use catraca_wire::frame::ErrorCode;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};
use std::fmt::Write as _;

/// One late send in this many is remarked on.
const MANY_LATE_SENDS: u64 = 100;

/// The whole report as text, lines ended, without colours.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String does not fail: results of `writeln!` are dropped throughout.
    let _ = writeln!(text, "{}: {}", report.target, report.shape_text());
    let scenarios = report.scenarios.iter().flat_map(scenario::table::tables);
    for table in [summary(report), percentiles(report)].into_iter().chain(scenarios) {
        // Without the padding of the last column, which would wrap on a narrow terminal.
        for line in table.to_string().lines() {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    for line in remarks(report) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// An empty table in the style of all of them.
pub(crate) fn new_table() -> Table {
    let mut table = Table::new();
    let style = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn summary(report: &Report) -> Table {
    let mut table = new_table();
    table.add_row([
        "throughput".to_owned(),
        format!("{} decisions/s", grouped(report.throughput_per_s.round() as u64)),
    ]);
    let measured = format!(
        "{}, after {} of warm-up",
        duration(report.seconds * 1e6),
        duration(report.warmup_seconds * 1e6)
    );
    table.add_row(["measured".to_owned(), measured]);
    let intended = report
        .intended
        .map_or_else(String::new, |intended| format!("{} intended, ", grouped(intended)));
    let unsent = if report.unsent > 0 {
        format!("{} never sent, ", grouped(report.unsent))
    } else {
        String::new()
    };
    let answered = format!(
        "{intended}{} sent, {unsent}{} answered",
        grouped(report.sent),
        grouped(report.answered)
    );
    let resent = if report.resent > 0 {
        format!(", {} sent again", grouped(report.resent))
    } else {
        String::new()
    };
    table.add_row(["transactions".to_owned(), answered + &resent]);
    table.add_row(["verdicts".to_owned(), counts(&report.verdicts)]);
    table.add_row([
        "errors".to_owned(),
        if report.errors.is_empty() { "none".to_owned() } else { counts(&report.errors) },
    ]);
    if report.rate.is_some() {
        let threshold = duration(report.late_threshold_us);
        let late = format!(
            "{} over {threshold}, the latest by {}",
            grouped(report.late_sends),
            duration(report.max_lateness_us)
        );
        table.add_row(["late sends".to_owned(), late]);
    }
    if report.failovers > 0 || report.resent_after_failover > 0 {
        let gap = duration(report.longest_gap_ms * 1e3);
        let mut text = format!(
            "{}, {} sent again, {gap} without an answer",
            report.failovers,
            grouped(report.resent_after_failover)
        );
        if report.duplicates > 0 {
            let _ = write!(text, "; {} had been decided before", grouped(report.duplicates));
        }
        if report.rechecked_after_failover > 0 {
            let _ = write!(
                text,
                "; {} answers asked for again",
                grouped(report.rechecked_after_failover)
            );
        }
        table.add_row(["failovers".to_owned(), text]);
    }
    if report.verified {
        let violations = report.violations.total();
        let outcome = match violations {
            0 => format!(
                "every verdict agrees with the list ({} documents)",
                grouped(report.listed_documents as u64)
            ),
            _ => format!("{} VIOLATIONS", grouped(violations)),
        };
        table.add_row(["verified".to_owned(), outcome]);
    }
    table
}

fn counts(counts: &std::collections::BTreeMap<&'static str, u64>) -> String {
    counts
        .iter()
        .map(|(name, &count)| format!("{name} {}", grouped(count)))
        .collect::<Vec<_>>()
        .join("   ")
}

fn percentiles(report: &Report) -> Table {
    let mut table = new_table();
    let latency = rows(&report.latency_us);
    if report.rate.is_some() {
        table.set_header(["", "latency", "service"]);
        for ((name, latency), (_, service)) in latency.into_iter().zip(rows(&report.service_us)) {
            table.add_row([name.to_owned(), duration(latency), duration(service)]);
        }
    } else {
        table.set_header(["", "latency"]);
        for (name, latency) in latency {
            table.add_row([name.to_owned(), duration(latency)]);
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn rows(p: &Percentiles) -> [(&'static str, f64); 7] {
    [
        ("p50", p.p50),
        ("p90", p.p90),
        ("p99", p.p99),
        ("p99.9", p.p99_9),
        ("p99.99", p.p99_99),
        ("max", p.max),
        ("mean", p.mean),
    ]
}

fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    if report.rate.is_some() {
        remarks
            .push("Latency counts from the intended send, service from the actual one.".to_owned());
    }
    if report.unsent > 0 {
        let unsent = grouped(report.unsent);
        remarks.push(format!("The node did not keep up: {unsent} planned transactions were never sent. Latencies are too good."));
    } else if report.late_sends * MANY_LATE_SENDS > report.sent {
        remarks.push(
            "Many sends were late: this core was busy with something else, or the node's in-flight limit was reached.".to_owned(),
        );
    }
    if report.refused_list_rows > 0 {
        remarks.push(format!(
            "{} rows of the list hold no readable document.",
            grouped(report.refused_list_rows)
        ));
    }
    if report.violations.total() > 0 {
        let v = &report.violations;
        let kinds = [
            ("wrong verdicts", v.wrong_verdict),
            ("answered twice", v.answered_twice),
            ("unknown correlations", v.unknown_correlation),
            ("wrong duplicate flags", v.wrong_duplicate_flag),
            ("changed answers", v.changed_answer),
            ("unknown verdict codes", v.unknown_verdict),
        ];
        let found: Vec<String> = kinds
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(kind, n)| format!("{} {kind}", grouped(*n)))
            .collect();
        remarks.push(format!("Violations: {}.", found.join(", ")));
        remarks.extend(report.violation_examples.iter().map(|example| format!("  {example}")));
    }
    if let (Some(scenarios), Some(&refused)) =
        (&report.scenarios, report.errors.get(ErrorCode::BadField.name()))
    {
        remarks.push(format!(
            "{} payments were refused as BAD_FIELD. They begin at {}: does the node's event_max_age_s reach back so far?",
            grouped(refused),
            scenarios.start
        ));
    }
    if report.interrupted {
        remarks.push("Interrupted: the figures cover the time until then.".to_owned());
    }
    remarks
}

/// A duration in the unit that a person reads, three significant digits; below 1 µs to the
/// hundredth, nothing as `0`.
pub fn duration(us: f64) -> String {
    if us == 0.0 {
        return "0".to_owned();
    }
    let (value, unit) = match us {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// A number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What became of each scenario, and how well fraud was found.
pub fn scenarios(report: &scenario::ScenarioReport) -> String {
    scenario::table::tables(report).map(|table| format!("{table}\n")).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let pairs = [
            (9.994, "9.99 µs"),
            (716.2, "716 µs"),
            (999.6, "1.00 ms"),
            (12_345.0, "12.3 ms"),
            (2e6, "2.00 s"),
        ];
        for (us, text) in pairs {
            assert_eq!(duration(us), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (2_612_065, "2,612,065")] {
            assert_eq!(grouped(number), text);
        }
    }
}
