//! `catraca label list`: the labels of a log, each with what was decided.

use super::kind;
use crate::commands::Outcome;
use crate::commands::log::{LabelView, chain_key, open, time, utc};
use crate::commands::output::{counted, json, note, print};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::read::End;
use catraca_node::replay::{Labels, MAX_LABELS};
use catraca_wire::frame::{LabelKind, Verdict, transaction_id};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca label list --log /var/lib/catraca
  catraca label list --log ./copy --kind chargeback --from 2027-01-01 --to 2027-02-01 --json
  catraca label list --log ./archive --id E1234567820261123120000000000001 --key-file chain.key

Labels stand in the order in which they were logged. --from and --to are about when they became known; --to is not included. Times: RFC 3339,
or a date or date and time in this machine's zone. Labels in segments that were cut off are in the archive only; a decision that was cut off
has no verdict here. Documents are masked unless --unmask is given.

Exit status: 0 all told, also where there are none; 3 the log is damaged, and only what comes before the damage is told.";

/// Arguments of `catraca label list`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, a copy of it, or an archive
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// Only those of this transaction
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only those of this kind
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<LabelKind>,
    /// Only those that became known at this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<u64>,
    /// Only those that became known before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<u64>,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print documents in full
    #[arg(long)]
    unmask: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A label, and what was decided.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    label: LabelView,
    /// None where the decision is not in the log any more.
    verdict: Option<&'static str>,
    decided_at: Option<String>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let usage = |message: &str| Failure::new(Status::Usage, message);
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    if from > to {
        return Err(usage("--from lies after --to"));
    }
    let id = args.id.as_deref().map(|id| {
        transaction_id(id).ok_or_else(|| {
            usage("--id: an id has 1 to 32 printable ASCII characters without spaces")
        })
    });
    let id = id.transpose()?;
    let log = open(&args.log, chain_key(&args.log, args.key_file.as_ref())?)?;
    let (labels, read) = Labels::read(&log, |stored| {
        id.is_none_or(|id| stored.id == id)
            && args.kind.is_none_or(|kind| stored.label.kind == kind)
            && (from..to).contains(&stored.label.known_at_ns)
    })?;
    let decisions = labels.decisions(&log)?;
    let is_damaged = read.is_some_and(|read| matches!(read.end, End::Damaged(_)));
    if is_damaged {
        note(
            "the log is damaged: labels behind the damage are not told; `catraca log verify` says where",
        );
    }
    if labels.not_kept > 0 {
        note(&format!(
            "{} not told, past the first {MAX_LABELS}: narrow it with --from, --to or --kind",
            counted(labels.not_kept, "more label is", "more labels are")
        ));
    }
    if labels.unreadable > 0 {
        note(&format!(
            "{} of a newer version, which this one can't read",
            counted(labels.unreadable, "label is", "labels are")
        ));
    }
    let listed: Vec<Listed> = labels
        .kept
        .iter()
        .map(|stored| {
            let decision = decisions.of(stored);
            Listed {
                label: LabelView::new(stored, args.unmask),
                verdict: decision.map(|decision| {
                    Verdict::from_wire(decision.verdict).map_or("unknown", Verdict::name)
                }),
                decided_at: decision.map(|decision| utc(decision.decided_at_ns)),
            }
        })
        .collect();
    let status = if is_damaged { ExitCode::from(Status::Found as u8) } else { ExitCode::SUCCESS };
    let text = if args.json {
        json(&serde_json::json!({
            "labels": listed,
            "not_told": labels.not_kept,
            "unreadable": labels.unreadable,
            "damaged": is_damaged,
        }))
    } else {
        table(&listed)
    };
    print(&text, status)
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "there are no such labels\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "transaction",
        "payer",
        "verdict",
        "label",
        "source",
        "known at",
        "decided at",
    ]);
    for Listed { label, verdict, decided_at } in listed {
        table.add_row([
            &label.transaction_id,
            label.payer.as_deref().unwrap_or("unknown"),
            verdict.unwrap_or("not in this log"),
            label.label,
            &label.source,
            &label.known_at,
            decided_at.as_deref().unwrap_or(""),
        ]);
    }
    format!("{table}\n")
}
