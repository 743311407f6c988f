//! `catraca audit export`: the audit trail for other programs, in bounded memory.

use super::trail::{self, Found, Source, Wanted};
use crate::commands::Outcome;
use crate::commands::target::{Target, cannot_write, written};
use catraca_node::fatal::{Failure, Status};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca audit export /var/lib/catraca | jq 'select(.outcome == \"told\")'
  catraca audit export /var/lib/catraca --from 2026-11-01 --to 2026-12-01 --out november.ndjson
  catraca audit export --addr node-a:7400 --credential-file auditor.credential --from 2026-11-27

One JSON object a line, in the order of the log. Documents are masked unless --unmask is given. The file
named by --out appears when it is complete. A running node tells whom it gave the permission `audit`.

Exit status: 0 all written; 1 the node does not answer, or refuses; 3 the log is damaged and only what comes before the damage was written, or it
holds entries of a newer version; 11 the folder is no log.";

/// Arguments of `catraca audit export`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    wanted: Wanted,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let out = args.out.as_deref();
    let mut target = Target::open(args.out.as_ref()).map_err(|error| cannot_write(out, &error))?;
    let (mut unreadable, mut outcome) = (0_u64, Ok(()));
    let is_damaged = trail::read(&args.source, &args.wanted, |found| {
        match found {
            Found::Entry(entry) if args.wanted.has(&entry) => {
                outcome = line(&mut target, &entry);
            }
            Found::Entry(_) | Found::Silent(..) => {}
            Found::Unreadable => unreadable += 1,
        }
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written(out, outcome.and_then(|()| target.finish()))?;
    if is_damaged || unreadable > 0 {
        let why = if is_damaged {
            "the log is damaged: what comes behind the damage is not written"
        } else {
            "it holds entries of a newer version"
        };
        return Err(Failure::new(Status::Found, why));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(target: &mut Target, entry: &trail::Entry) -> io::Result<()> {
    serde_json::to_writer(&mut *target, entry).map_err(io::Error::from)?;
    target.write_all(b"\n")
}
