//! `catraca audit verify`: whether the audit trail is whole.

use super::trail::{self, Files, Found};
use crate::commands::Outcome;
use crate::commands::output::{json, print};
use catraca_node::fatal::Status;
use serde_json::json;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca audit verify /var/lib/catraca
  catraca audit verify ./copy --key-file chain.key --json

Reads the stream that holds the trail, with every link of its chain, and looks whether each change says
who asked for it. Changes of before the first entry are of a build without a trail. Newest blocks that
were cut off are found with a head that was kept: `catraca log verify --head`.

Exit status: 0 whole; 3 the log is damaged, a change is silent, or an entry is of a newer version; 11 the
folder is no log.";

/// Silent changes that are named.
const MAX_NAMED: usize = 16;

/// Arguments of `catraca audit verify`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (mut entries, mut unreadable, mut before) = (0_u64, 0_u64, 0_u64);
    let (mut silent, mut named) = (0_u64, Vec::new());
    let read = trail::read_files(&args.files, false, |found| {
        match found {
            Found::Entry(_) => entries += 1,
            Found::Unreadable => unreadable += 1,
            Found::Silent(..) if entries == 0 => before += 1,
            Found::Silent(kind, lsn) => {
                silent += 1;
                if named.len() < MAX_NAMED {
                    named.push(format!("{kind} at lsn {lsn}"));
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    let is_whole = !read.is_damaged && silent == 0 && unreadable == 0;
    let status = if is_whole { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    if args.json {
        let report = json!({
            "whole": is_whole,
            "entries": entries,
            "silent": silent,
            "silent_named": named,
            "before_the_first_entry": before,
            "unreadable": unreadable,
            "damaged": read.is_damaged,
            "chain_checked": read.has_key,
            "records": read.records,
        });
        return print(&json(&report), status);
    }
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    say(format!("{entries} entries in {} records of stream 0", read.records));
    if before > 0 {
        say(format!("{before} changes of before the first entry, by a build without a trail"));
    }
    if silent > 0 {
        say(format!("{silent} changes do not say who asked for them: {}", named.join(", ")));
    }
    if unreadable > 0 {
        say(format!("{unreadable} entries of a newer version, which this one can't read"));
    }
    if !read.has_key {
        say("without the chain's key only check sums were looked at: --key-file".to_owned());
    }
    if read.is_damaged {
        say("the log is damaged; `catraca log verify` says where".to_owned());
    }
    say(if is_whole { "the audit trail is whole" } else { "the audit trail is NOT whole" }
        .to_owned());
    print(&text, status)
}
