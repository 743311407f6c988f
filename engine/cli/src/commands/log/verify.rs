//! `catraca log verify`: every block, record and link, stream by stream; and whether a head that
//! was kept is still there.

use super::head::{Kept, Search};
use super::open;
use super::verify_proof::{self, Question, parse_receipt};
use super::view::{local_and_utc, utc};
use crate::commands::Outcome;
use crate::commands::output::{self, counted, print};
use catraca_core::log::BlockLocation;
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::read::End;
use catraca_node::log_files::{LogError, LogReader};
use catraca_wire::record::RecordHead;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca log verify /var/lib/catraca
  catraca log verify ./copy --key-file ~/keys/chain.key --json
  catraca log verify ./copy --head head-2026-11-23.json           # printed by `catraca log head --json`, and kept elsewhere
  catraca log verify --proof order-1.proof.json --key-file ~/keys/chain.key --receipt 69e9c1a5d1c3f3e0

With --head: also whether each stream still holds the block that the head names, so that newest blocks cut off are found; with
--proof: whether that block is the proof's. A receipt is what VERDICT gave, and `catraca lookup` prints. Documents of a proof's
record are masked unless --unmask is given. Exit status: 0 sound (the rest of an unfinished write at the end is told, and no
fault), or the proof holds; 3 damaged, the head is not there, or the proof does not hold.

Where oldest segments were removed (`retention_days`) it is told behind which record the log begins, and the first block kept must continue
the last one removed. An archive is verified like a data directory, with --key-file.";

/// Arguments of `catraca log verify`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    #[arg(required_unless_present = "proof", conflicts_with = "proof")]
    data_dir: Option<PathBuf>,
    /// Check this proof, made by `catraca log prove`, instead of a log
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A head that was kept, which must still be there
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// The receipt that the proof's block must have, 16 hexadecimal digits
    #[arg(long, value_name = "RECEIPT", value_parser = parse_receipt, requires = "proof", conflicts_with = "data_dir")]
    receipt: Option<u64>,
    /// Print the proof's record with documents in full, and the IP address
    #[arg(long, requires = "proof", conflicts_with = "data_dir")]
    unmask: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found, in all streams together and in each.
#[derive(Debug, Serialize)]
pub struct Report {
    data_dir: String,
    cluster_id: Option<String>,
    /// Nothing is damaged.
    pub sound: bool,
    chain_values_checked: bool,
    /// Where a kept head was named: what of it the log does not hold.
    head_missing: Option<Vec<String>>,
    blocks: u64,
    /// Records that could be read.
    pub records: u64,
    streams: Vec<Stream>,
}

#[derive(Debug, Serialize)]
struct Stream {
    shard: u16,
    state: &'static str,
    segments: u32,
    blocks: u64,
    records: u64,
    bytes: u64,
    last_lsn: u64,
    epoch: u32,
    first_record_at: Option<String>,
    last_record_at: Option<String>,
    #[serde(skip)]
    times_ns: Option<(u64, u64)>,
    /// Chain value of the last sound block.
    chain_head: String,
    /// Where the stream begins, if its oldest segments were removed.
    begins: Option<Begins>,
    problem: Option<Problem>,
}

/// What was cut off from the beginning of a stream.
#[derive(Debug, Serialize)]
struct Begins {
    /// The last record that was removed; the first one kept follows it.
    behind_lsn: u64,
    /// Chain value of the last block that was removed, which the first one kept continues.
    behind_chain: String,
    /// The first segment kept.
    segment: u32,
    cut_off_at: String,
    #[serde(skip)]
    cut_off_at_ns: u64,
    /// Changes of the blacklist that were kept.
    changes: usize,
}

#[derive(Debug, Serialize)]
struct Problem {
    file: String,
    offset: u64,
    /// Where torn bytes end; none for damage, whose extent nobody knows.
    end_offset: Option<u64>,
    reason: String,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let &Args { unmask, json, receipt, .. } = args;
    let key_file = args.key_file.as_ref();
    let data_dir = match (&args.data_dir, &args.proof) {
        (_, Some(proof)) => {
            let head = args.head.as_ref();
            return verify_proof::run(&Question { proof, key_file, receipt, head, unmask, json });
        }
        (Some(data_dir), None) => data_dir,
        (None, None) => {
            return Err(Failure::new(
                Status::Usage,
                "name a data directory, or a proof with --proof",
            ));
        }
    };
    let kept = args.head.as_ref().map(|path| Kept::read(path)).transpose()?;
    let report = check(data_dir, key_file, kept.as_ref(), |_, _| {})?;
    let holds_head = report.head_missing.as_ref().is_none_or(Vec::is_empty);
    let status = if report.sound && holds_head {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Status::Found as u8)
    };
    print(&if args.json { output::json(&report) } else { text(&report) }, status)
}

/// Reads all of the log in this data directory, shows each sound record to the visitor, and looks
/// for a head that was kept.
pub fn check(
    data_dir: &Path,
    key_file: Option<&PathBuf>,
    kept: Option<&Kept>,
    mut visitor: impl FnMut(&RecordHead, &BlockLocation),
) -> Result<Report, Failure> {
    let key = super::chain_key(data_dir, key_file)?;
    let log = open(data_dir, key)?;
    let bar = super::progress(&log, true)?;
    let mut missing = Vec::new();
    let mut streams = Vec::new();
    for &shard in log.shards() {
        let mut search = kept.and_then(|kept| kept.stream(shard)).map(Search::new);
        let stream = verify(&log, shard, |bytes| bar.inc(bytes), &mut visitor, &mut search)?;
        missing.extend(search.and_then(|search| search.missing(stream.last_lsn)));
        streams.push(stream);
    }
    bar.finish_and_clear();
    if let Some(kept) = kept {
        if !kept.is_of(log.cluster_id().as_ref()) {
            missing.push("the head kept is of another cluster".to_owned());
        }
        let gone = kept
            .streams()
            .iter()
            .filter(|kept| kept.last_lsn > 0 && !log.shards().contains(&kept.shard));
        missing.extend(gone.map(|kept| {
            format!("stream {}: it is in the head kept, and not in the log", kept.shard)
        }));
    }
    Ok(Report {
        data_dir: data_dir.display().to_string(),
        cluster_id: log.cluster_id().map(hex::encode),
        sound: streams.iter().all(|stream| stream.state != DAMAGED),
        chain_values_checked: key.is_some(),
        head_missing: kept.map(|_| missing),
        blocks: streams.iter().map(|stream| stream.blocks).sum(),
        records: streams.iter().map(|stream| stream.records).sum(),
        streams,
    })
}

const CLEAN: &str = "clean";
const TORN: &str = "torn_tail";
const DAMAGED: &str = "damaged";

fn verify(
    log: &LogReader,
    shard: u16,
    mut read_bytes: impl FnMut(u64),
    visitor: &mut impl FnMut(&RecordHead, &BlockLocation),
    search: &mut Option<Search<'_>>,
) -> Result<Stream, Failure> {
    let mut times_ns = None;
    let start = match log.start(shard) {
        Err(LogError::LogStart { path, fault }) => {
            let file = path.display().to_string();
            return Ok(Stream::unread(shard, file, fault.to_string()));
        }
        start => start?,
    };
    if let Some(search) = search {
        search.begins(&start);
    }
    let read = log.blocks(shard, start.tail, |block| {
        read_bytes(block.head.padded_len() as u64);
        for (record, _) in block.records() {
            let at = record.decided_at_ns.to_native();
            times_ns = Some((times_ns.map_or(at, |(first, _)| first), at));
            visitor(record, &block.place);
        }
        if let Some(search) = search {
            search.block(block);
        }
        ControlFlow::Continue(())
    })?;
    let file = |segment| log.segment_path(shard, segment).display().to_string();
    let (state, problem) = match read.end {
        End::Clean | End::Stopped => (CLEAN, None),
        End::Torn(torn) => {
            let reason = torn.reason.to_string();
            (
                TORN,
                Some(Problem {
                    file: file(torn.segment),
                    offset: torn.from,
                    end_offset: Some(torn.to),
                    reason,
                }),
            )
        }
        End::Damaged(damage) => {
            let reason = damage.reason.to_string();
            (
                DAMAGED,
                Some(Problem {
                    file: file(damage.at.segment),
                    offset: damage.at.offset,
                    end_offset: None,
                    reason,
                }),
            )
        }
    };
    Ok(Stream {
        shard,
        state,
        segments: read.segments - start.tail.segment,
        blocks: read.counts.blocks,
        records: read.counts.records,
        bytes: read.counts.bytes,
        last_lsn: read.tail.next_lsn - 1,
        epoch: read.tail.epoch,
        first_record_at: times_ns.map(|(first, _)| utc(first)),
        last_record_at: times_ns.map(|(_, last)| utc(last)),
        times_ns,
        chain_head: hex::encode(read.tail.previous_chain),
        begins: (start.last_lsn() > 0).then(|| Begins {
            behind_lsn: start.last_lsn(),
            behind_chain: hex::encode(start.tail.previous_chain),
            segment: start.tail.segment,
            cut_off_at: utc(start.cut_at_ns),
            cut_off_at_ns: start.cut_at_ns,
            changes: start.changes.len(),
        }),
        problem,
    })
}

impl Stream {
    /// One of which nothing can be read, because nobody knows where it begins.
    fn unread(shard: u16, file: String, reason: String) -> Self {
        Self {
            shard,
            state: DAMAGED,
            segments: 0,
            blocks: 0,
            records: 0,
            bytes: 0,
            last_lsn: 0,
            epoch: 0,
            first_record_at: None,
            last_record_at: None,
            times_ns: None,
            chain_head: hex::encode([0; 32]),
            begins: None,
            problem: Some(Problem { file, offset: 0, end_offset: None, reason }),
        }
    }
}

impl Report {
    /// Where each stream ends: its number, last record, epoch and chain value. Equal for logs that
    /// hold the same.
    pub fn heads(&self) -> Vec<(u16, u64, u32, &str)> {
        self.streams
            .iter()
            .map(|stream| (stream.shard, stream.last_lsn, stream.epoch, stream.chain_head.as_str()))
            .collect()
    }
}

/// The report for a person.
pub fn text(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "stream",
        "state",
        "segments",
        "blocks",
        "records",
        "last lsn",
        "epoch",
        "head of the chain",
    ]);
    for stream in &report.streams {
        table.add_row([
            stream.shard.to_string(),
            stream.state.replace('_', " "),
            stream.segments.to_string(),
            stream.blocks.to_string(),
            stream.records.to_string(),
            stream.last_lsn.to_string(),
            stream.epoch.to_string(),
            format!("{}…", &stream.chain_head[..16]),
        ]);
    }
    for column in 2..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{table}\n");
    let mut line = |line: String| writeln!(text, "{line}").expect("writing to a string can't fail");
    for stream in &report.streams {
        if let Some(begins) = &stream.begins {
            line(format!(
                "stream {}: begins behind record {}, chain {}…: older segments were removed {}",
                stream.shard,
                begins.behind_lsn,
                &begins.behind_chain[..16],
                local_and_utc(begins.cut_off_at_ns)
            ));
        }
        if let Some((first, last)) = stream.times_ns {
            line(format!("stream {}: first record {}", stream.shard, local_and_utc(first)));
            line(format!("stream {}: last record  {}", stream.shard, local_and_utc(last)));
        }
    }
    for stream in &report.streams {
        match &stream.problem {
            Some(problem) if stream.state == TORN => line(format!(
                "note: {} offset {}: {}. Nothing answered is in it: a node writes there now, or clears it when it starts.",
                problem.file, problem.offset, problem.reason
            )),
            Some(problem) => line(format!(
                "DAMAGED: {} offset {}: {}.",
                problem.file, problem.offset, problem.reason
            )),
            None => {}
        }
    }
    if !report.chain_values_checked {
        line(
            "note: without the chain's key only check sums, sequence and channels were checked, the chain's values were not; \
              name the key with --key-file."
                .to_owned(),
        );
    }
    match report.head_missing.as_deref() {
        None => {}
        Some([]) => line("The log holds the head that was kept.".to_owned()),
        Some(missing) => {
            missing.iter().for_each(|what| line(format!("THE HEAD KEPT IS NOT THERE: {what}.")))
        }
    }
    let found =
        if report.sound { "sound" } else { "DAMAGED; records behind the damage were not read" };
    line(format!(
        "{}: {} in {}, {found}",
        report.data_dir,
        counted(report.records, "record", "records"),
        counted(report.blocks, "block", "blocks")
    ));
    text
}
