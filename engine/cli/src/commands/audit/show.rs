//! `catraca audit show`: the newest entries of the audit trail.

use super::trail::{self, Entry, Found, Source, Wanted};
use crate::commands::Outcome;
use crate::commands::output::{json, note, print};
use catraca_node::fatal::Status;
use comfy_table::{Table, presets};
use serde_json::json;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca audit show /var/lib/catraca
  catraca audit show /var/lib/catraca --client desk --from 2026-11-01 --json
  catraca audit show ./copy --refused --limit 500
  catraca audit show --addr node-a:7400 --credential-file auditor.credential --from 2026-11-27

Who asked for what besides decisions: changes of lists, policies and breakers, labels, promotions, and
look-ups, which give out personal data. Refusals that are alike are counted, one entry a second.
Times: RFC 3339, or a date or date and time in this machine's zone. --to is not included. What was
asked for before a build with an audit trail is not told; segments that were cut off are in the archive.
A running node tells whom it gave the permission `audit`, and its trail says so: one entry for each page,
of at most 128 told and some 32 MiB read. It reads its log from an hour before --from on; without --from,
all that it keeps.

Exit status: 0 all told, also where there is nothing; 1 the node does not answer, or refuses; 3 not all:
the log is damaged, or holds entries of a newer version; 11 the folder is no log.";

/// Arguments of `catraca audit show`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    wanted: Wanted,
    /// How many, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (mut entries, mut unreadable, mut older) = (VecDeque::new(), 0_u64, 0_u64);
    let is_damaged = trail::read(&args.source, &args.wanted, |found| {
        match found {
            Found::Entry(entry) if args.wanted.has(&entry) => entries.push_back(entry),
            Found::Entry(_) | Found::Silent(..) => {}
            Found::Unreadable => unreadable += 1,
        }
        if entries.len() > args.limit as usize {
            entries.pop_front();
            older += 1;
        }
        ControlFlow::Continue(())
    })?;
    if is_damaged {
        note(
            "the log is damaged: what comes behind the damage is not told; `catraca log verify` says where",
        );
    }
    if unreadable > 0 {
        note(&format!("{unreadable} of a newer version, which this one can't read"));
    }
    let is_all = !is_damaged && unreadable == 0;
    let status = if is_all { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    if args.json {
        let report = json!({
            "entries": entries,
            "older": older,
            "unreadable": unreadable,
            "damaged": is_damaged,
        });
        return print(&json(&report), status);
    }
    if older > 0 {
        note(&format!("{older} older ones are not shown: --limit, or `catraca audit export`"));
    }
    if entries.is_empty() {
        return print("nothing was asked for that is told here\n", status);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["when", "who", "from", "what", "about", "outcome"]);
    for entry in &entries {
        table.add_row(row(entry));
    }
    print(&format!("{table}\n"), status)
}

fn row(entry: &Entry) -> [String; 6] {
    let via = entry.via.as_ref().map(|via| format!("via {via}"));
    let who = [&entry.client, &entry.subject, &via].into_iter().flatten().cloned();
    let about = [&entry.target, &entry.transaction_id, &entry.document].into_iter().flatten();
    let outcome = match (entry.code, entry.count) {
        (Some(code), 1) => code.to_owned(),
        (Some(code), count) => format!("{code}, {count} times"),
        (None, 1) => entry.outcome.to_owned(),
        (None, count) => format!("{}, {count} times", entry.outcome),
    };
    [
        entry.asked_at.clone(),
        who.collect::<Vec<_>>().join("\n"),
        entry.remote.clone().unwrap_or_default(),
        entry.act.clone(),
        about.cloned().collect::<Vec<_>>().join("\n"),
        outcome,
    ]
}
