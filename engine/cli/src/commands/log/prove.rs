//! `catraca log prove`: the proof that one record is in its block, for somebody who does not have
//! the log.

use super::open;
use crate::commands::Outcome;
use crate::commands::output::{note, print};
use catraca_core::log::proof::Proof;
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::read::End;
use catraca_node::log_files::{LogError, LogReader};
use catraca_node::whole_file;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca log prove /var/lib/catraca --lsn 4711 --out order-1.proof.json
  catraca log prove ./copy --stream 2 --lsn 4711 --key-file ~/keys/chain.key | less
  catraca log verify --proof order-1.proof.json --key-file ~/keys/chain.key

`catraca lookup` and `catraca log show` tell the stream (shard) and the sequence number (lsn) of a decision. A proof holds the
record in full, documents included, and the few that lie in the same 1024 bytes of the block or beside its head: how many is told
on standard error. Pass it on as what it is, personal data. Exit status: 0 proved, 1 no such record.";

/// Arguments of `catraca log prove`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    data_dir: PathBuf,
    /// The record's sequence number
    #[arg(long, value_name = "N")]
    lsn: u64,
    /// The record's stream [default: the only one; needed where there are several]
    #[arg(long, value_name = "S")]
    stream: Option<u16>,
    /// The chain's key [default: chain.key in the data directory]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File to write, readable by its owner only [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let Some(key) = super::chain_key(&args.data_dir, args.key_file.as_ref())? else {
        return Err(Failure::failed(format!(
            "{}: there is no chain.key, and a proof takes the chain's key; name it with --key-file",
            args.data_dir.display()
        )));
    };
    let log = open(&args.data_dir, Some(key))?;
    let stream = stream(&log, args.stream)?;
    let start = log.starts(stream)?.find(|start| start.next_lsn <= args.lsn);
    let Some(start) = start else {
        return Err(Failure::new(Status::Usage, "--lsn: sequence numbers begin with 1"));
    };
    let mut proof = None;
    let read = log.blocks(stream, start, |block| {
        if block.last_lsn() < args.lsn {
            return ControlFlow::Continue(());
        }
        proof = Proof::of(block.head, block.payload, args.lsn, &key);
        ControlFlow::Break(())
    })?;
    let Some(proof) = proof else {
        return Err(match read.end {
            End::Damaged(damage) => {
                let path = log.segment_path(stream, damage.at.segment);
                LogError::Damaged { path, damage }.into()
            }
            _ => {
                let last = read.tail.next_lsn - 1;
                Failure::failed(format!(
                    "stream {stream} has no record {}: its last one is record {last}",
                    args.lsn
                ))
            }
        });
    };
    // A proof that its own check refuses must not leave the house.
    proof.verify(&key).map_err(|error| {
        Failure::failed(format!("the proof made does not hold: {error}; report this"))
    })?;
    let others = proof.disclosed_records() - 1;
    note(&format!(
        "the proof holds record {} in full, and {others} other records of its block in full or in part",
        args.lsn
    ));
    let text = proof.to_text();
    match &args.out {
        None => print(&text, ExitCode::SUCCESS),
        // For its owner's eyes only.
        Some(out) => whole_file::write(out, whole_file::PRIVATE, text.as_bytes())
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| {
                Failure::failed(format!("{}: could not write the proof: {error}", out.display()))
            }),
    }
}

/// The stream asked for, or the only one there is.
fn stream(log: &LogReader, asked: Option<u16>) -> Result<u16, Failure> {
    let wrong = |what: String| {
        let streams: Vec<String> = log.shards().iter().map(u16::to_string).collect();
        Err(Failure::new(
            Status::Usage,
            format!("--stream: {what}; the log has the streams {}", streams.join(", ")),
        ))
    };
    match (asked, log.shards()) {
        (Some(stream), all) if !all.contains(&stream) => {
            wrong(format!("there is no stream {stream}"))
        }
        (Some(stream), _) => Ok(stream),
        (None, [only]) => Ok(*only),
        (None, _) => wrong("which one must be said".to_owned()),
    }
}
