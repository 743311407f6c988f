//! Seconds to recover a log: every block checked, the dedupe table rebuilt.
//!
//! `cargo run --release -p catraca-benches --bin recovery -- DIRECTORY [GIB]` writes a log of so
//! many GiB (1 if not said) into a new directory below DIRECTORY, then starts from it as a node
//! does, three times, and removes it.

use catraca_benches::{CHAIN_KEY, Frames, Machine, Setup, list};
use catraca_core::log::recovery::LastWrite;
use catraca_core::policy::Policy;
use catraca_core::shard::dedupe;
use catraca_node::data_dir::{DataDir, Options};
use catraca_node::from_log;
use catraca_node::log_files::segment::{self, NewSegment};
use catraca_wire::frame::{FixedFrame, SubmitFrame};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Length of a segment, bytes: the default of a node.
const SEGMENT_LEN: u64 = segment::DEFAULT_SEGMENT_LEN;
/// Transactions to a block: what a busy connection gives.
const BATCH: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().ok_or("usage: recovery DIRECTORY [GIB]")?;
    let gib: f64 = arguments.next().map_or(Ok(1.0), |text| text.parse())?;
    let path = Path::new(&parent).join(format!("recovery-{}", std::process::id()));
    let outcome = measure(&path, (gib * f64::from(1 << 30)) as u64);
    std::fs::remove_dir_all(&path)?;
    outcome
}

fn measure(path: &Path, len: u64) -> Result<(), Box<dyn Error>> {
    let data_dir = DataDir::open(path, Options { allow_volatile: true, adopt_copy: true }, None)?;
    let written = write(&data_dir, len)?;
    for _ in 0..3 {
        let begun = Instant::now();
        let rebuilt =
            from_log::rebuild(&data_dir, &CHAIN_KEY, LastWrite::Block, 1, dedupe::MAX_ENTRIES)?;
        let seconds = begun.elapsed().as_secs_f64();
        let gigabytes = written as f64 / 1e9;
        println!(
            "{} records, {gigabytes:.3} GB: {seconds:.3} s, {:.2} GB/s",
            rebuilt.builder.records(),
            gigabytes / seconds
        );
    }
    Ok(())
}

/// Writes a log of at least `len` bytes.
fn write(data_dir: &DataDir, len: u64) -> Result<u64, Box<dyn Error>> {
    let entries = 10_000;
    let setup = Setup {
        list: list(entries),
        dedupe_entries: 1 << 20,
        cluster_id: data_dir.cluster_id,
        policy: Policy::blacklist_only().into(),
    };
    let (mut machine, mut frames) = (Machine::new(&setup), Frames::new(entries));
    let mut bytes = vec![0; BATCH * SubmitFrame::LEN];
    let mut file: Option<(u32, File)> = None;
    let (mut written, mut failed) = (0, None);
    while written < len && failed.is_none() {
        machine.pass(1_000_000);
        frames.fill(&mut bytes, machine.wall_ns());
        machine.decide_through(&bytes, |write| {
            let mut put = || -> Result<(), Box<dyn Error>> {
                if file.as_ref().is_none_or(|(index, _)| *index != write.segment) {
                    file = Some((write.segment, make(data_dir, write.segment)?));
                }
                let (_, file) = file.as_ref().ok_or("no segment")?;
                Ok(file.write_all_at(&write.buffer[..write.len], write.offset)?)
            };
            failed = put().err();
            written += write.len as u64;
        });
    }
    match (failed, file) {
        (Some(error), _) => Err(error),
        (None, Some((_, file))) => Ok(file.sync_all().map(|()| written)?),
        (None, None) => Ok(0),
    }
}

fn make(data_dir: &DataDir, index: u32) -> Result<File, Box<dyn Error>> {
    let new = NewSegment {
        cluster_id: data_dir.cluster_id,
        shard: 0,
        index,
        segment_len: SEGMENT_LEN,
        created_at_ns: 1,
    };
    let path = segment::create(data_dir.path(), &new)?;
    Ok(OpenOptions::new().write(true).open(path)?)
}
