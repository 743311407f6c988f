//! How long a start takes, by the length of history and of the dedupe table. Run by hand:
//!
//! ```text
//! START_DIR=DIR START_RECORDS=9000000 START_ENTRIES=8388608 \
//!     cargo test --release -p catraca-node --test start_time -- --ignored --nocapture
//! ```
//!
//! The log is written where there is none (256 bytes a record), and stays.

use catraca_core::log::recovery::LastWrite;
use catraca_core::shard::dedupe::MAX_ENTRIES;
use catraca_node::data_dir::{DataDir, Options};
use catraca_node::from_log::rebuild;
use catraca_node::log_files::dedupe_file::DedupeFiles;
use catraca_node::log_files::lookup::OwnLog;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{DEFAULT_SEGMENT_LEN, segment_path, segments, stream_dir};
use catraca_testkit::log::{KEY, TestLog};
use catraca_wire::block::BlockIdentity;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Records of a block.
const IN_BLOCK: usize = 1_000;

fn number(name: &str, unless_set: u64) -> u64 {
    std::env::var(name).ok().map_or(unless_set, |text| text.parse().expect("a number"))
}

/// Writes a log of one stream, and gives its last record.
fn write_log(dir: &Path, cluster_id: [u8; 16], records: u64) {
    let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id };
    std::fs::create_dir_all(stream_dir(dir, 0)).expect("own");
    let mut log = TestLog::of(DEFAULT_SEGMENT_LEN as usize, identity);
    let write = |log: &mut TestLog, segment: usize| {
        let bytes = std::mem::take(&mut log.segments[segment]);
        std::fs::write(segment_path(dir, 0, segment as u32), bytes).expect("space on the disk");
    };
    while log.next_lsn <= records {
        log.plain(IN_BLOCK);
        let full = log.segments.len() - 1;
        if full > 0 && !log.segments[full - 1].is_empty() {
            write(&mut log, full - 1);
        }
    }
    let last = log.segments.len() - 1;
    write(&mut log, last);
}

#[test]
#[ignore = "measures; needs gigabytes"]
fn a_start_takes_so_long() {
    let dir = PathBuf::from(std::env::var("START_DIR").expect("START_DIR names a folder"));
    let entries = number("START_ENTRIES", MAX_ENTRIES as u64);
    let options = Options { allow_volatile: true, adopt_copy: true };
    let data_dir = DataDir::open(&dir, options, None).expect("a data directory");
    if segments(&dir, 0).map_or(true, |segments| segments.is_empty()) {
        write_log(&dir, data_dir.cluster_id, number("START_RECORDS", 9_000_000));
    }
    let began = Instant::now();
    let rebuilt =
        rebuild(&data_dir, &KEY, LastWrite::Block, 1, entries as usize).expect("a sound log");
    let took = began.elapsed();
    let records = rebuilt.builder.records();
    let held = rebuilt.builder.into_dedupes()[0].len();
    println!("{} ms: {records} records, {held} decisions held", took.as_millis());

    let own = OwnLog { data_dir: dir, cluster_id: data_dir.cluster_id, key: KEY };
    let mut index = LogIndex::new(own.clone()).keeping(DedupeFiles::new(own, 1, entries));
    while index.work(&[records]).expect("readable") {}
}
