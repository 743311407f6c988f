//! `catraca log synth`: a data directory with an invented log of any length, to try what a node does
//! with years of it.

use crate::commands::Outcome;
use crate::commands::output::{counted, print};
use bytemuck::Zeroable;
use catraca_core::blacklist::synthetic::document;
use catraca_core::limits::MAX_SHARDS;
use catraca_core::owner::owner;
use catraca_core::replica::ReplicaState;
use catraca_core::shard::dedupe;
use catraca_node::data_dir::{DataDir, Options};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::dedupe_file::DedupeFiles;
use catraca_node::log_files::index_file::IndexFiles;
use catraca_node::log_files::lookup::OwnLog;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{self, segment_path, stream_dir};
use catraca_node::log_files::{LogError, key, pack};
use catraca_node::replication::state_file;
use catraca_node::wall_clock::wall_ns;
use catraca_wire::DocumentKey;
use catraca_wire::block::{
    self, BLOCK_HEAD_LEN, BlockIdentity, Chain, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN, SegmentHead,
};
use catraca_wire::frame::{Scope, Verdict, transaction_id};
use catraca_wire::record::{
    OverlayChange, OverlayOp, RECORD_LEN, RECORD_VERSION, RecordHead, RecordKind,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What begins the ids of the transactions; the number follows.
const ID_PREFIX: &str = "SYNTH-";
/// The epoch of the blocks.
const EPOCH: u32 = 1;
/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
const DAY_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Seed of the invented documents: the same for all.
const SEED: u64 = 1;
/// Payers and payees, all different.
const DOCUMENTS: u64 = 1_000_000;
/// Segments of each stream that stay as they were written, as a node leaves them.
const PLAIN: u32 = 3;

pub const EXAMPLES: &str = "\
Examples:
  catraca log synth ./years --records 1000000 --days 90
  catraca log synth ./years --records 100000000 --days 90 --shards 2        # some minutes, and some GB
  catraca log synth ./quiet --records 100000 --per-block 1 --segment-mib 16  # as with few transactions a second

Nothing in it really happened: the documents are valid and invented (some numbers may have been issued to somebody), the ids are SYNTH-0,
SYNTH-1, … It is a log like any other: `catraca serve --data-dir ./years` goes on with it, with as many shards as it was made for. Full segments
are packed and have their indexes, as those of a node that made them.";

/// Arguments of `catraca log synth`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory to make; it must not exist, or be empty
    data_dir: PathBuf,
    /// Decisions in it, over all streams
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    records: u64,
    /// Over how many days up to now they lie
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    days: u64,
    /// Decisions of a block
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_000))]
    per_block: u64,
    /// Streams
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=MAX_SHARDS as i64))]
    shards: u16,
    /// Length of a segment, MiB
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(2..=1024))]
    segment_mib: u64,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let taken = fs::read_dir(&args.data_dir).is_ok_and(|mut entries| entries.next().is_some());
    if taken {
        let message = format!(
            "{} is there and not empty: name a folder that does not exist",
            args.data_dir.display()
        );
        return Err(Failure::new(Status::Usage, message));
    }
    let options = Options { allow_volatile: true, adopt_copy: false };
    let data_dir = DataDir::open(&args.data_dir, options, None)?;
    let key = key::load_or_create(&args.data_dir).map_err(|e| Failure::failed(e.to_string()))?;
    let log = OwnLog { data_dir: args.data_dir.clone(), cluster_id: data_dir.cluster_id, key };
    let style = ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} records {eta}")
        .map_err(|e| Failure::failed(e.to_string()))?;
    let bar = ProgressBar::new(args.records).with_style(style);
    let now_ns = wall_ns();
    let ends = std::thread::scope(|scope| {
        let streams: Vec<_> = (0..args.shards)
            .map(|shard| {
                let (log, bar) = (&log, &bar);
                scope.spawn(move || write_stream(args, log, shard, now_ns, bar))
            })
            .collect();
        streams
            .into_iter()
            .map(|stream| stream.join().expect("a stream's thread"))
            .collect::<Result<Vec<u64>, LogError>>()
    })?;
    bar.finish_and_clear();
    let dedupe = DedupeFiles::new(log.clone(), args.shards, dedupe::MAX_ENTRIES as u64);
    let mut index = LogIndex::new(log).keeping(dedupe);
    while index.work(&ends)? {}
    let state = ReplicaState::single(args.shards, EPOCH);
    state_file::save(&args.data_dir, &state).map_err(|error| {
        Failure::failed(format!(
            "{}: {error}",
            args.data_dir.join(state_file::STATE_FILE).display()
        ))
    })?;
    let text = format!(
        "{}: {} of {} in {}\n",
        args.data_dir.display(),
        counted(args.records, "invented decision", "invented decisions"),
        counted(args.days, "day", "days"),
        counted(args.shards, "stream", "streams")
    );
    print(&text, ExitCode::SUCCESS)
}

/// Writes the decisions of one shard; gives the last record.
fn write_stream(
    args: &Args,
    log: &OwnLog,
    shard: u16,
    now_ns: u64,
    bar: &ProgressBar,
) -> Result<u64, LogError> {
    let files = IndexFiles::new(log.clone());
    let identity = BlockIdentity { shard, epoch: EPOCH, cluster_id: log.cluster_id };
    let mut stream = Stream::new(log, identity, args.segment_mib * MIB)?;
    let since_ns = now_ns.saturating_sub(args.days * DAY_NS);
    let step_ns = (now_ns - since_ns) / args.records;
    let mut block = Vec::with_capacity(args.per_block as usize);
    if shard == 0 {
        // One listed by hand on the first day: it is listed still when the segment is gone.
        let change = OverlayChange {
            document: document(SEED, DOCUMENTS),
            scope: Scope::Exact,
            op: OverlayOp::List,
            sequence: 1,
        };
        stream.block(&mut vec![change.to_record(since_ns)], since_ns)?;
    }
    for number in 0..args.records {
        let payer = document(SEED, number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % DOCUMENTS);
        if owner(payer, args.shards) != shard {
            continue;
        }
        let at_ns = since_ns + number * step_ns;
        block.push(decision(number, payer, at_ns));
        if block.len() == args.per_block as usize {
            bar.inc(args.per_block);
            if let Some(full) = stream.block(&mut block, at_ns)? {
                pack_behind(&files, shard, full)?;
            }
        }
    }
    if !block.is_empty() {
        bar.inc(block.len() as u64);
        stream.block(&mut block, now_ns)?;
    }
    stream.finish()?;
    Ok(stream.next_lsn - 1)
}

/// Packs the segment that lies so far behind one that was just filled that a node would have.
fn pack_behind(files: &IndexFiles, shard: u16, full: u32) -> Result<(), LogError> {
    match full.checked_sub(PLAIN - 1) {
        Some(segment) => pack::pack(files, shard, segment, |_| true).map(drop),
        None => Ok(()),
    }
}

fn decision(number: u64, payer: DocumentKey, at_ns: u64) -> RecordHead {
    let mixed = mix(number);
    let mut head = RecordHead::zeroed();
    head.kind = RecordKind::Decision.to_wire();
    head.version = RECORD_VERSION;
    head.decided_at_ns = at_ns.into();
    head.verdict = Verdict::Approve.to_wire();
    head.overlay_sequence = 1.into();
    let transaction = &mut head.transaction;
    transaction.id = transaction_id(&format!("{ID_PREFIX}{number}")).expect("graphic ASCII");
    transaction.payer = payer.to_wire();
    transaction.payee = document(SEED, mixed % DOCUMENTS).to_wire();
    transaction.amount_centavos = ((mixed >> 20) as i64 % 1_000_000 + 1).into();
    transaction.event_time_ns = (at_ns - 1_000_000 * (mixed % 900)).into();
    transaction.budget_us = 2_000_000.into();
    transaction.rail = 1;
    transaction.channel = (mixed % 6) as u8;
    transaction.payer_account = mix(mixed).into();
    transaction.payee_account = mix(mixed ^ 1).into();
    transaction.device = mix(mixed ^ 2).into();
    transaction.trace_id[..8].copy_from_slice(&mix(mixed ^ 3).to_le_bytes());
    transaction.trace_id[8..].copy_from_slice(&mix(mixed ^ 4).to_le_bytes());
    head
}

/// SplitMix64's finalizer: numbers that look like chance, and are the same everywhere.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream in the making: a segment in memory, and how the chain goes on.
struct Stream<'l> {
    log: &'l OwnLog,
    identity: BlockIdentity,
    segment_len: u64,
    segment: u32,
    image: Vec<u8>,
    offset: usize,
    next_lsn: u64,
    chain: Chain,
    buffer: Vec<u8>,
}

impl<'l> Stream<'l> {
    fn new(log: &'l OwnLog, identity: BlockIdentity, segment_len: u64) -> Result<Self, LogError> {
        let dir = stream_dir(&log.data_dir, identity.shard);
        fs::create_dir_all(&dir).map_err(|error| failed(&dir, error))?;
        let mut stream = Self {
            log,
            identity,
            segment_len,
            segment: 0,
            image: Vec::new(),
            offset: 0,
            next_lsn: 1,
            chain: [0; 32],
            buffer: vec![0; MAX_BLOCK_LEN],
        };
        stream.begin();
        Ok(stream)
    }

    fn begin(&mut self) {
        let head = SegmentHead::new(
            self.identity.cluster_id,
            self.identity.shard,
            self.segment,
            self.segment_len,
            wall_ns(),
        );
        self.image.clear();
        self.image.resize(self.segment_len as usize, 0);
        self.image[..size_of::<SegmentHead>()].copy_from_slice(bytemuck::bytes_of(&head));
        self.offset = SEGMENT_HEAD_LEN;
    }

    /// Adds a block of these records, which are taken out. Gives the segment that was full before.
    fn block(
        &mut self,
        records: &mut Vec<RecordHead>,
        sealed_at_ns: u64,
    ) -> Result<Option<u32>, LogError> {
        let first_lsn = self.next_lsn;
        for (record, room) in
            records.iter_mut().zip(self.buffer[BLOCK_HEAD_LEN..].chunks_exact_mut(RECORD_LEN))
        {
            record.lsn = self.next_lsn.into();
            self.next_lsn += 1;
            room.copy_from_slice(bytemuck::bytes_of(record));
        }
        let payload_len = records.len() * RECORD_LEN;
        self.chain = block::seal(
            &mut self.buffer,
            payload_len,
            &self.identity,
            first_lsn,
            records.len() as u32,
            sealed_at_ns,
            &self.chain,
            &self.log.key,
        );
        records.clear();
        let len = block::padded_len(payload_len);
        let mut full = None;
        if self.offset + len > self.image.len() {
            self.finish()?;
            full = Some(self.segment);
            self.segment += 1;
            self.begin();
        }
        self.image[self.offset..self.offset + len].copy_from_slice(&self.buffer[..len]);
        self.offset += len;
        Ok(full)
    }

    /// Writes the segment as it is by now.
    fn finish(&self) -> Result<(), LogError> {
        let path = segment_path(&self.log.data_dir, self.identity.shard, self.segment);
        fs::write(&path, &self.image).map_err(|error| failed(&path, error))
    }
}

fn failed(path: &Path, source: std::io::Error) -> LogError {
    match source.kind() {
        std::io::ErrorKind::StorageFull => {
            LogError::NoSpace { path: path.to_owned(), needed_bytes: segment::DEFAULT_SEGMENT_LEN }
        }
        _ => LogError::Io { path: path.to_owned(), action: "could not be written", source },
    }
}
