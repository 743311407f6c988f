//! `catraca blacklist inspect`: what is in a snapshot file.

use super::{open, snapshot_json, snapshot_lines};
use crate::commands::Outcome;
use crate::commands::output::{json, lines, print};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  catraca blacklist inspect list.catraca")]
pub(super) struct Args {
    /// Snapshot file, as `blacklist build` made it; all of it is checked
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let snapshot = open(&args.file)?;
    let text =
        if args.json { json(&snapshot_json(&snapshot)) } else { lines(&snapshot_lines(&snapshot)) };
    print(&text, ExitCode::SUCCESS)
}
