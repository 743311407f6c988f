//! `catraca validators history`: the breakers that were forced, out of a log.

use crate::commands::Outcome;
use crate::commands::log::{chain_key, open, utc};
use crate::commands::output::{json, note, print};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::LogReader;
use catraca_node::log_files::read::End;
use catraca_wire::extension::ForcedBreaker;
use catraca_wire::record::RecordKind;
use comfy_table::{Table, presets};
use serde_json::json;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca validators history /var/lib/catraca
  catraca validators history ./copy --json | jq '.forced[] | select(.force != \"auto\")'

Each as it was logged, in that order. What was forced also ends with its node's run, or with its
policy, which is not told here: `catraca validators` shows how a breaker stands. Records in segments
that were cut off are in the archive only.

Exit status: 0 all told, also where there are none; 3 not all: the log is damaged, and only what comes
before the damage is told, or it holds records of a newer version, or more than can be told; 11 the
folder is no log.";

/// Stream that has the records.
const FORCED_SHARD: u16 = 0;
/// Most that are told, the newest: nobody forces so many breakers.
const MAX_TOLD: usize = 65_536;

/// Arguments of `catraca validators history`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    data_dir: PathBuf,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a log says of forced breakers.
#[derive(Default)]
struct History {
    /// Each with the sequence number of its record.
    told: VecDeque<(u64, ForcedBreaker)>,
    not_told: u64,
    unreadable: u64,
    is_damaged: bool,
}

impl History {
    fn read(log: &LogReader) -> Result<Self, Failure> {
        let mut history = Self::default();
        if !log.shards().contains(&FORCED_SHARD) {
            return Ok(history);
        }
        let read = log.records(FORCED_SHARD, |head, extension, _| {
            if head.kind == RecordKind::ValidatorForced.to_wire() {
                match ForcedBreaker::from_record(head, extension) {
                    Some(forced) => history.told.push_back((head.lsn.to_native(), forced)),
                    None => history.unreadable += 1,
                }
                if history.told.len() > MAX_TOLD {
                    history.told.pop_front();
                    history.not_told += 1;
                }
            }
            ControlFlow::Continue(())
        })?;
        history.is_damaged = matches!(read.end, End::Damaged(_));
        Ok(history)
    }
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let log = open(&args.data_dir, chain_key(&args.data_dir, args.key_file.as_ref())?)?;
    let History { told, not_told, unreadable, is_damaged } = History::read(&log)?;
    if is_damaged {
        note(
            "the log is damaged: what comes behind the damage is not told; `catraca log verify` says where",
        );
    }
    if unreadable > 0 {
        note(&format!("{unreadable} of a newer version, which this one can't read"));
    }
    if not_told > 0 {
        note(&format!("{not_told} older ones are not told"));
    }
    let is_all = !is_damaged && unreadable == 0 && not_told == 0;
    let status = if is_all { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    if args.json {
        let forced: Vec<_> = told
            .iter()
            .map(|(lsn, forced)| {
                json!({
                    "validator": forced.validator.as_str(),
                    "force": forced.force.name(),
                    "author": forced.author.as_str(),
                    "reason": forced.reason.as_str(),
                    "forced_at": utc(forced.forced_at_ns),
                    "forced_at_ns": forced.forced_at_ns,
                    "lsn": lsn,
                })
            })
            .collect();
        let report = json!({
            "forced": forced,
            "not_told": not_told,
            "unreadable": unreadable,
            "damaged": is_damaged,
        });
        return print(&json(&report), status);
    }
    if told.is_empty() {
        return print("no breaker was ever forced\n", status);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["when", "validator", "forced", "by", "why"]);
    for (_, forced) in &told {
        table.add_row([
            &utc(forced.forced_at_ns),
            forced.validator.as_str(),
            forced.force.name(),
            forced.author.as_str(),
            forced.reason.as_str(),
        ]);
    }
    print(&format!("{table}\n"), status)
}
