//! `catraca log head`: where each stream's chain ends, to be kept where the log is not; and what a
//! kept head says of a log.

use super::open;
use super::view::utc;
use crate::commands::Outcome;
use crate::commands::output::{json, print};
use catraca_core::log::start::LogStart;
use catraca_core::log::{BlockLocation, SoundBlock};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::LogReader;
use catraca_node::log_files::read::{End, StreamRead};
use catraca_wire::block::{Chain, receipt};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca log head /var/lib/catraca
  catraca log head /var/lib/catraca --json > head-$(date +%F).json      # keep it on another machine
  catraca log verify /var/lib/catraca --head head-2026-11-23.json       # later: does the log still hold it?

Reads from the last segment in use on, beside a running node too; `catraca log verify` reads all. Exit status: 0, or 3 if a
stream's end is damaged; its head is then that of what comes before the damage.";

/// What a file of heads calls itself.
const FORMAT: &str = "catraca-head-1";
/// Longest file of heads, bytes: some 400 for each of up to 64 streams, and for those of earlier
/// layouts.
const MAX_HEAD_LEN: usize = 1024 * 1024;

/// Arguments of `catraca log head`.
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

#[derive(Serialize)]
struct Report {
    format: &'static str,
    data_dir: String,
    cluster_id: Option<String>,
    chain_values_checked: bool,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    shard: u16,
    epoch: u32,
    /// 0 for a stream without a block.
    last_lsn: u64,
    chain: String,
    receipt: String,
    sealed_at: Option<String>,
    file: Option<String>,
    block_offset: Option<u64>,
    damage: Option<String>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let key = super::chain_key(&args.data_dir, args.key_file.as_ref())?;
    let log = open(&args.data_dir, key)?;
    let streams = log
        .shards()
        .iter()
        .map(|&shard| stream(&log, shard))
        .collect::<Result<Vec<_>, Failure>>()?;
    let damaged = streams.iter().any(|stream| stream.damage.is_some());
    let report = Report {
        format: FORMAT,
        data_dir: args.data_dir.display().to_string(),
        cluster_id: log.cluster_id().map(hex::encode),
        chain_values_checked: key.is_some(),
        streams,
    };
    let status = if damaged { ExitCode::from(Status::Found as u8) } else { ExitCode::SUCCESS };
    print(&if args.json { json(&report) } else { text(&report) }, status)
}

/// The head of one stream.
fn stream(log: &LogReader, shard: u16) -> Result<Stream, Failure> {
    let (read, place) = end(log, shard)?;
    Ok(Stream {
        shard,
        epoch: read.tail.epoch,
        last_lsn: read.tail.next_lsn - 1,
        chain: hex::encode(read.tail.previous_chain),
        receipt: format!("{:016x}", receipt(&read.tail.previous_chain)),
        sealed_at: place.map(|_| utc(read.tail.sealed_at_ns)),
        file: place.map(|place| log.segment_path(shard, place.segment).display().to_string()),
        block_offset: place.map(|place| place.block_offset),
        damage: match read.end {
            End::Damaged(damage) => Some(super::located(log, shard, &damage)),
            _ => None,
        },
    })
}

/// Reads the end of a stream: from the last segment that holds a sound block, else from the
/// stream's start.
fn end(log: &LogReader, shard: u16) -> Result<(StreamRead, Option<BlockLocation>), Failure> {
    let mut latest = None;
    for start in log.starts(shard)? {
        let mut place = None;
        let read = log.blocks(shard, start, |block| {
            place = Some(block.place);
            ControlFlow::Continue(())
        })?;
        if place.is_some() {
            return Ok((read, place));
        }
        latest = Some(read);
    }
    Ok((latest.expect("a stream's start is always one of the places to begin"), None))
}

fn text(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["stream", "epoch", "last lsn", "sealed at", "receipt", "block"]);
    for stream in &report.streams {
        let block = match (&stream.file, stream.block_offset) {
            (Some(file), Some(offset)) => format!("{file} offset {offset}"),
            _ => "none".to_owned(),
        };
        table.add_row([
            stream.shard.to_string(),
            stream.epoch.to_string(),
            stream.last_lsn.to_string(),
            stream.sealed_at.clone().unwrap_or_default(),
            stream.receipt.clone(),
            block,
        ]);
    }
    let mut text = format!("{table}\n");
    let mut line = |line: String| writeln!(text, "{line}").expect("writing to a string can't fail");
    for stream in &report.streams {
        line(format!("stream {}: chain value {}", stream.shard, stream.chain));
    }
    for damage in report.streams.iter().filter_map(|stream| stream.damage.as_ref()) {
        line(format!("DAMAGED: {damage}. The head above is that of what comes before."));
    }
    if !report.chain_values_checked {
        line("note: without the chain's key the chain values were not checked; name the key with --key-file.".to_owned());
    }
    text
}

/// A head that was kept: what `catraca log head --json` printed, as far as it matters later.
#[derive(Deserialize)]
pub struct Kept {
    format: String,
    cluster_id: Option<String>,
    streams: Vec<KeptStream>,
}

/// The end of a stream, as it was.
#[derive(Deserialize)]
pub struct KeptStream {
    pub shard: u16,
    epoch: u32,
    pub last_lsn: u64,
    chain: String,
}

impl Kept {
    /// Reads a file of heads.
    ///
    /// # Errors
    /// With status 1: it can't be read, or is something else.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            Failure::failed(format!(
                "{}: {what}; keep what `catraca log head --json` prints",
                path.display()
            ))
        };
        let bytes = super::read_bounded(path, MAX_HEAD_LEN)?;
        if bytes.len() > MAX_HEAD_LEN {
            return Err(wrong("is too long for a file of heads"));
        }
        let kept: Self = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(&format!("is no file of heads ({error})")))?;
        if kept.format != FORMAT {
            return Err(wrong("is of a format that this build does not know"));
        }
        // Nothing to hold a log to would pass for a log that holds it.
        if kept.streams.is_empty() {
            return Err(wrong("names no stream"));
        }
        Ok(kept)
    }

    /// The kept end of a stream.
    pub fn stream(&self, shard: u16) -> Option<&KeptStream> {
        self.streams.iter().find(|stream| stream.shard == shard)
    }

    /// Every kept end.
    pub fn streams(&self) -> &[KeptStream] {
        &self.streams
    }

    /// Whether it is of this cluster; a log without a readable segment has none.
    pub fn is_of(&self, cluster_id: Option<&[u8; 16]>) -> bool {
        self.cluster_id == cluster_id.map(hex::encode)
    }

    /// What speaks against a block being the kept head of its stream.
    pub fn against_block(
        &self,
        cluster_id: &[u8; 16],
        shard: u16,
        last_lsn: u64,
        chain: &Chain,
    ) -> Option<String> {
        if !self.is_of(Some(cluster_id)) {
            return Some("the head kept is of another cluster".to_owned());
        }
        let Some(kept) = self.stream(shard) else {
            return Some(format!("the head kept says nothing of stream {shard}"));
        };
        if kept.last_lsn != last_lsn {
            let other = kept.last_lsn;
            return Some(format!(
                "the block ends with record {last_lsn}, the head kept with record {other}: it is another block"
            ));
        }
        (kept.chain != hex::encode(chain))
            .then(|| "the head kept has another chain value for this block".to_owned())
    }
}

/// What a log still has of one kept stream; told each block of it.
pub struct Search<'a> {
    kept: &'a KeptStream,
    found: Option<Result<(), String>>,
}

impl<'a> Search<'a> {
    /// For the kept end of a stream.
    pub fn new(kept: &'a KeptStream) -> Self {
        // An empty stream is contained in every log.
        Self { kept, found: (kept.last_lsn == 0).then_some(Ok(())) }
    }

    /// The stream begins here: what was removed can be compared no more, but for its last block.
    pub fn begins(&mut self, start: &LogStart) {
        let (last_lsn, kept_lsn) = (start.last_lsn(), self.kept.last_lsn);
        if self.found.is_some() || kept_lsn > last_lsn {
            return;
        }
        let chain = hex::encode(start.tail.previous_chain);
        self.found = Some(if kept_lsn < last_lsn {
            Err(format!(
                "the log begins behind record {last_lsn}, and the head kept ends with record {kept_lsn}: it is older than what was removed; \
                 compare it with the archive, and keep a newer one"
            ))
        } else if self.kept.chain == chain {
            Ok(())
        } else {
            Err(format!(
                "the log begins behind record {last_lsn} with another chain value than the head kept"
            ))
        });
    }

    /// A block of the stream was read.
    pub fn block(&mut self, block: &SoundBlock<'_>) {
        let (last_lsn, BlockLocation { epoch, chain, .. }) = (block.last_lsn(), block.place);
        if self.found.is_some() || last_lsn < self.kept.last_lsn {
            return;
        }
        let KeptStream { last_lsn: kept_lsn, epoch: kept_epoch, chain: kept_chain, .. } = self.kept;
        self.found = Some(if last_lsn > *kept_lsn {
            Err(format!("no block ends with record {kept_lsn}, the last of the head kept"))
        } else if *kept_chain != hex::encode(chain) {
            Err(format!(
                "the block that ends with record {kept_lsn} has another chain value than the head kept"
            ))
        } else if *kept_epoch != epoch {
            Err(format!(
                "the block that ends with record {kept_lsn} is of epoch {epoch}, the head kept of {kept_epoch}"
            ))
        } else {
            Ok(())
        });
    }

    /// Why the log does not contain the head, once all that can be read was: up to record
    /// `last_lsn`.
    pub fn missing(self, last_lsn: u64) -> Option<String> {
        let (shard, kept_lsn) = (self.kept.shard, self.kept.last_lsn);
        match self.found {
            Some(Ok(())) => None,
            Some(Err(what)) => Some(format!("stream {shard}: {what}")),
            None => Some(format!(
                "stream {shard}: the head kept ends with record {kept_lsn}, what can be read of the log with record {last_lsn}: \
                 newest blocks are missing"
            )),
        }
    }
}
