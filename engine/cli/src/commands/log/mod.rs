//! `catraca log`: what the log holds, read from a node's files or from a copy of them.
//!
//! Everything here only reads, and may run beside a node that writes; but `synth`, which makes a log.

mod asked;
mod export;
mod head;
mod prove;
mod replay;
mod replay_report;
mod show;
mod synth;
mod truth;
pub(super) mod verify;
mod verify_proof;
mod view;

pub(super) use export::time;
pub(super) use show::{explain, tell_labels};
pub(super) use truth::{rows as score_rows, skipped as skipped_labels};
pub(super) use view::{LabelView, RecordView, document, ip, reais, utc};

use super::Outcome;
use catraca_core::log::damage::Damage;
use catraca_core::log::recovery::LastWrite;
use catraca_node::fatal::Failure;
use catraca_node::log_files::{LogError, LogReader, key};
use catraca_node::replication::state_file;
use catraca_wire::block::ChainKey;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Arguments of `catraca log`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check every block, record and link of the chain, and tell what each stream holds; or check a
    /// proof.
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Args),
    /// Print where each stream's chain ends: keep it elsewhere, and `verify --head` finds newest
    /// blocks cut off.
    #[command(after_help = head::EXAMPLES)]
    Head(head::Args),
    /// Prove that a record is in its block, to somebody who does not have the log.
    #[command(after_help = prove::EXAMPLES)]
    Prove(prove::Args),
    /// Explain every stored decision on a transaction.
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
    /// Write the records as NDJSON or CSV, stream after stream, each in the order of its sequence
    /// numbers.
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
    /// Recompute every decision and hold it to what was recorded; or see what another policy would have
    /// done.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Args),
    /// Make a data directory with an invented log of any length, to try what a node does with it.
    #[command(after_help = synth::EXAMPLES)]
    Synth(synth::Args),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Verify(args) => verify::run(&args),
        Command::Head(args) => head::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Synth(args) => synth::run(&args),
    }
}

/// The log of a data directory. What a standby left that crashed while it caught up is not damaged:
/// its place tells.
pub(super) fn open(data_dir: &Path, key: Option<ChainKey>) -> Result<LogReader, LogError> {
    // A copy may come without the file, and whoever reads a log is not to be stopped by it.
    let place = state_file::load(data_dir).ok().flatten();
    let last_write = place.map_or_else(LastWrite::default, |place| place.last_write());
    Ok(LogReader::open(data_dir, key)?.with_last_write(last_write))
}

/// The key to check the chain with: from the file named, else from the data directory, else none.
pub(super) fn chain_key(
    data_dir: &Path,
    named: Option<&PathBuf>,
) -> Result<Option<ChainKey>, Failure> {
    let beside = data_dir.join(key::KEY_FILE);
    let key = match named {
        Some(path) => Some(key::load(path)),
        None if beside.exists() => Some(key::load(&beside)),
        None => None,
    };
    key.transpose().map_err(|error| Failure::failed(error.to_string()))
}

/// The beginning of a file, one byte more than `most` at the most: so that a file too long is seen
/// to be, and never read whole.
fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    read.map(|_| bytes)
        .map_err(|error| Failure::failed(format!("{}: could not be read: {error}", path.display())))
}

/// Damage with its file, for a person.
pub(super) fn located(log: &LogReader, shard: u16, damage: &Damage) -> String {
    let path = log.segment_path(shard, damage.at.segment);
    format!("{} offset {}: {}", path.display(), damage.at.offset, damage.reason)
}

/// A progress bar over the log's bytes on standard error; invisible where that is no terminal.
pub(super) fn progress(log: &LogReader, show: bool) -> Result<ProgressBar, Failure> {
    if !show {
        return Ok(ProgressBar::hidden());
    }
    let style =
        ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    Ok(ProgressBar::new(log.total_bytes()?).with_style(style))
}
