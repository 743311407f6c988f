//! `catraca blacklist diff`: who came onto a list, and who went.

use super::{line_json, line_text, open};
use crate::commands::Outcome;
use crate::commands::output::{json, print};
use catraca_core::blacklist::{Diff, Line, Named, Side, Snapshot};
use catraca_core::calendar::day_number;
use catraca_node::fatal::Status;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Names of each kind that are shown: what a person reads.
const SHOWN: usize = 100;
/// Most names of each kind that can be asked for: they are held, sorted, while both lists are read.
const MAX_SHOWN: u64 = 10_000;

/// Arguments.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Compares entries: documents, and companies listed with every branch. Who went because the entry had ended before the day of B is
counted apart. Changed are those whose lists, dates or reasons are others. Documents are printed masked. Exit status: 0 no difference,
3 there are some, 1 the comparison failed.

Examples:
  catraca blacklist diff yesterday.catraca today.catraca
  catraca blacklist diff yesterday.catraca today.catraca --limit 0 --json")]
pub(super) struct Args {
    /// Snapshot file, the earlier one
    #[arg(value_name = "A")]
    before: PathBuf,
    /// Snapshot file, the later one
    #[arg(value_name = "B")]
    after: PathBuf,
    /// Names of each kind to print, sorted; all are counted
    #[arg(long, value_name = "N", default_value_t = SHOWN as u64, value_parser = clap::value_parser!(u64).range(..=MAX_SHOWN))]
    limit: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (before, after) = (open(&args.before)?, open(&args.after)?);
    let diff = Diff::between(&before, &after, args.limit as usize);
    let text = if args.json {
        json(&diff_json(&before, &after, &diff))
    } else {
        diff_text(&before, &after, &diff)
    };
    print(
        &text,
        if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) },
    )
}

fn diff_json(before: &Snapshot, after: &Snapshot, diff: &Diff) -> Value {
    let snapshot = |snapshot: &Snapshot| {
        json!({
            "id": format!("{:016x}", snapshot.id()),
            "as_of": snapshot.as_of().to_string(),
            "entries": snapshot.entries(),
        })
    };
    let lines = |of: &Snapshot, named: Named| {
        let day = day_number(of.as_of());
        of.lines_naming(named).iter().map(|line| line_json(line, day)).collect::<Vec<_>>()
    };
    let side = |side: &Side| {
        let entry = |&named: &Named| {
            json!({
                "document": named.document.to_string(),
                "scope": named.scope.name(),
                "before": lines(before, named),
                "after": lines(after, named),
            })
        };
        json!({ "count": side.count, "first": side.first.iter().map(entry).collect::<Vec<_>>() })
    };
    let mut value = json!({
        "before": snapshot(before),
        "after": snapshot(after),
        "came": side(&diff.came),
        "went": side(&diff.went),
        "changed": side(&diff.changed),
    });
    value["went"]["ended"] = json!(diff.ended);
    value
}

fn diff_text(before: &Snapshot, after: &Snapshot, diff: &Diff) -> String {
    let mut text = String::new();
    let mut add = |name: &str, side: &Side, note: String, show: &dyn Fn(Named) -> String| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name:8} {}{note}", side.count);
        for &named in &side.first {
            let _ = writeln!(text, "  {}  {}", named.document, show(named));
        }
        let more = side.count - side.first.len() as u64;
        if more > 0 && !side.first.is_empty() {
            let _ = writeln!(text, "  and {more} more");
        }
    };
    let lines = |of: &Snapshot, named| {
        of.lines_naming(named)
            .iter()
            .map(|line: &Line<'_>| line_text(line))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let ended =
        if diff.ended > 0 { format!(", {} of them had ended", diff.ended) } else { String::new() };
    add("came", &diff.came, String::new(), &|named| lines(after, named));
    add("went", &diff.went, ended, &|named| lines(before, named));
    add("changed", &diff.changed, String::new(), &|named| {
        format!("{} -> {}", lines(before, named), lines(after, named))
    });
    text
}
