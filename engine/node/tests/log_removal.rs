//! Oldest segments removed: the rest of the log is what it was, what was cut off still counts, and
//! nobody takes a log whose beginning is gone for one that begins there.

use catraca_core::blacklist::Overlay;
use catraca_core::log::damage::DamageReason;
use catraca_core::log::index::SegmentSummary;
use catraca_core::log::recovery::LastWrite;
use catraca_core::log::start::{LogStart, LogStartFault, Purpose};
use catraca_core::rebuild::ChangesFault;
use catraca_core::shard::dedupe::MIN_ENTRIES;
use catraca_node::data_dir::{DataDir, Options};
use catraca_node::fatal::Status;
use catraca_node::from_log::{Rebuilt, rebuild};
use catraca_node::log_files::cursor::find_boundary;
use catraca_node::log_files::index_file::IndexFiles;
use catraca_node::log_files::lookup::{OwnLog, Query};
use catraca_node::log_files::read::End;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{index_path, packed_path, segments, stream_dir};
use catraca_node::log_files::{LogError, LogReader, log_start, pack, removal};
use catraca_testkit::log::{KEY, TestLog, forced_breaker, id};
use catraca_wire::DocumentKey;
use catraca_wire::block::BlockIdentity;
use catraca_wire::frame::Scope;
use catraca_wire::record::{OverlayChange, OverlayOp, RECORD_VERSION, RecordHead, RecordKind};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Blocks of the log.
const BLOCKS: usize = 300;
/// When segments are cut off, nanoseconds since 1970 UTC.
const NOW_NS: u64 = 1_795_500_000_000_000_000;

struct Node {
    dir: tempfile::TempDir,
    data_dir: DataDir,
    log: TestLog,
}

/// A data directory with a log of several segments, all but the last one full, indexed and packed:
/// decisions, changes of the blacklist, lists that were loaded, and breakers that were forced.
fn node() -> Node {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { allow_volatile: true, adopt_copy: true };
    let data_dir = DataDir::open(dir.path(), options, None).expect("a data directory");
    let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id: data_dir.cluster_id };
    let mut log = TestLog::of(64 * 1024, identity);
    for block in 0..BLOCKS {
        match block % 10 {
            3 => drop(log.records(&[(change(block as u64).to_record(1), Vec::new())])),
            7 => drop(log.records(&[(list_loaded(block as u64), Vec::new())])),
            9 => drop(log.records(&[forced_breaker()])),
            _ => drop(log.plain(1 + block % 30)),
        }
    }
    log.write(dir.path());
    let node = Node { dir, data_dir, log };
    let mut index = LogIndex::new(node.own());
    while index.work(&[node.log.next_lsn - 1]).expect("readable") {}
    for segment in 0..node.full() {
        pack::pack(&node.files(), 0, segment, |_| true).expect("sound");
    }
    node
}

/// Documents come again, so that later changes take the place of earlier ones.
fn change(block: u64) -> OverlayChange {
    let sequence = block / 10 + 1;
    OverlayChange {
        document: DocumentKey::from_cpf_number(100_000_000 + sequence as u32 % 7)
            .expect("a number"),
        scope: Scope::Exact,
        op: match sequence % 3 {
            0 => OverlayOp::Unlist,
            1 => OverlayOp::List,
            _ => OverlayOp::Allow { until_day: 20_000 + sequence as u16 },
        },
        sequence,
    }
}

fn list_loaded(block: u64) -> RecordHead {
    let mut head: RecordHead = change(block).to_record(1);
    head.kind = RecordKind::SnapshotLoaded.to_wire();
    head.version = RECORD_VERSION;
    head.snapshot_id = (block << 24).into();
    head
}

impl Node {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn own(&self) -> OwnLog {
        OwnLog { data_dir: self.path().to_owned(), cluster_id: self.data_dir.cluster_id, key: KEY }
    }

    fn files(&self) -> IndexFiles {
        IndexFiles::new(self.own())
    }

    /// Full segments.
    fn full(&self) -> u32 {
        self.log.segments.len() as u32 - 1
    }

    fn indexes(&self, segments: std::ops::Range<u32>) -> Vec<SegmentSummary> {
        segments.map(|segment| self.files().summary(0, segment).expect("sound")).collect()
    }

    /// Cuts off everything before a segment.
    fn cut_off(&self, until: u32) -> LogStart {
        let first = log_start::tail(self.path(), 0).expect("sound").segment;
        let indexes = self.indexes(first..until);
        let start = removal::summarize(&self.files(), 0, &indexes, NOW_NS).expect("sound");
        assert!(removal::begin_at(&self.files(), 0, &start).expect("removed") > 0);
        start
    }

    /// The last record before a segment.
    fn last_lsn_before(&self, segment: u32) -> u64 {
        let first = self.log.blocks.iter().find(|block| block.segment == segment as usize);
        first.expect("it has a block").first_lsn - 1
    }

    fn start(&self) -> Result<Rebuilt, Status> {
        rebuild(&self.data_dir, &KEY, LastWrite::Block, 1, MIN_ENTRIES).map_err(|fail| fail.status)
    }

    fn lsns(&self) -> (Vec<u64>, End) {
        let reader = LogReader::open(self.path(), Some(KEY)).expect("a log");
        let mut lsns = Vec::new();
        let read = reader.records(0, |head, _, _| {
            lsns.push(head.lsn.to_native());
            ControlFlow::Continue(())
        });
        (lsns, read.expect("readable").end)
    }
}

fn changes(overlay: &Overlay) -> Vec<OverlayChange> {
    assert!(overlay.sequence() > 0);
    overlay.changes()
}

#[test]
fn a_log_without_its_oldest_segments_is_the_rest_of_it() {
    let node = node();
    let whole = node.start().expect("sound");
    let start = node.cut_off(4);
    let last = node.last_lsn_before(4);
    assert_eq!((start.last_lsn(), start.tail.segment), (last, 4));
    assert_eq!(log_start::tail(node.path(), 0).expect("sound"), start.tail);
    assert_eq!(segments(node.path(), 0).expect("listed"), (4..=node.full()).collect::<Vec<_>>());
    for segment in 0..4 {
        assert!(!packed_path(node.path(), 0, segment).exists());
        assert!(!index_path(node.path(), 0, segment).exists());
    }
    assert_eq!(node.lsns(), ((last + 1..node.log.next_lsn).collect(), End::Clean));
    // A start comes to the same, and knows what it does not know.
    let rest = node.start().expect("sound");
    assert_eq!(changes(&rest.overlay), changes(&whole.overlay));
    assert_eq!(rest.builder.snapshot_id(), whole.builder.snapshot_id());
    assert_eq!(rest.streams[0].tail, whole.streams[0].tail);
    assert_eq!(rest.streams[0].segments, whole.streams[0].segments);
    assert_eq!(rest.boundaries[0].at(0), start.tail);
    assert_eq!(rest.boundaries[0].last(), whole.boundaries[0].last());
    let dedupe = rest.builder.into_dedupes().pop().expect("one shard");
    assert!(start.newest_event_ns > 0 && dedupe.horizon_ns() >= start.newest_event_ns);
}

#[test]
fn what_is_cut_off_later_is_added_to_what_was_before() {
    let (by_steps, at_once) = (node(), node());
    let whole = by_steps.start().expect("sound");
    (1..8).for_each(|until| drop(by_steps.cut_off(until)));
    let start = by_steps.cut_off(9);
    let other = at_once.cut_off(9);
    assert_eq!(start.changes, other.changes);
    assert_eq!(start.payers, other.payers);
    assert_eq!(
        (start.newest_event_ns, start.snapshot_id, start.last_lsn()),
        (other.newest_event_ns, other.snapshot_id, other.last_lsn())
    );
    assert!(start.changes.len() < by_steps.last_lsn_before(9) as usize);
    // Also when nothing but the start tells of the changes.
    let last = by_steps.full();
    by_steps.cut_off(last);
    let rest = by_steps.start().expect("sound");
    assert_eq!(changes(&rest.overlay), changes(&whole.overlay));
    assert_eq!(rest.builder.snapshot_id(), whole.builder.snapshot_id());
}

#[test]
fn boundaries_and_look_ups_end_where_the_log_begins() {
    let node = node();
    let ends = [node.log.next_lsn - 1];
    let query = |lsn: u64| Query { id: id(lsn), payer: None, institution: None };
    let lsns: Vec<u64> = (1..node.log.next_lsn).step_by(17).collect();
    let queries: Vec<Query> = lsns.iter().map(|&lsn| query(lsn)).collect();
    let mut index = LogIndex::new(node.own());
    let before = index.find_newest(&ends, &queries).expect("readable");
    let start = node.cut_off(5);
    let last = start.last_lsn();
    let expected: Vec<_> = before
        .into_iter()
        .map(|record| record.filter(|record| record.head.lsn.to_native() > last))
        .collect();
    assert!(expected.iter().flatten().count() > 10 && expected.contains(&None));
    // One that has read it all, and one that begins.
    assert_eq!(index.find_newest(&ends, &queries).expect("readable"), expected);
    let mut fresh = LogIndex::new(node.own());
    assert_eq!(fresh.find_newest(&ends, &queries).expect("readable"), expected);
    while fresh.work(&ends).expect("readable") {}
    let found = find_boundary(node.path(), 0, last).expect("readable").expect("the start is one");
    assert_eq!(found.chain, start.tail.previous_chain);
    let mut cursor = found.cursor;
    let next = node.log.blocks.iter().find(|block| block.segment == 5).expect("it has blocks");
    assert!(cursor.next_block().expect("readable").expect("there") == node.log.bytes_of(next));
    let older = node.log.blocks[3];
    for lsn in [0, older.first_lsn + older.records - 1, last - 1] {
        assert!(find_boundary(node.path(), 0, lsn).expect("readable").is_none(), "{lsn}");
    }
}

#[test]
fn a_removal_that_was_interrupted_is_finished() {
    let node = node();
    let kept: Vec<(std::path::PathBuf, Vec<u8>)> = (0..3)
        .flat_map(|segment| {
            [packed_path(node.path(), 0, segment), index_path(node.path(), 0, segment)]
        })
        .map(|path| (path.clone(), fs::read(path).expect("there")))
        .collect();
    node.cut_off(3);
    let after = node.lsns();
    kept[2..].iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("own"));
    assert_eq!(node.lsns(), after);
    assert_eq!(segments(node.path(), 0).expect("listed")[0], 3);
    node.start().expect("sound");
    assert!(removal::finish(node.path(), 0).expect("removed") > 0);
    assert!(kept.iter().all(|(path, _)| !path.exists()));
    assert_eq!(removal::finish(node.path(), 0).expect("nothing is left"), 0);
    assert_eq!(node.lsns(), after);
}

#[test]
fn without_a_sound_beginning_nothing_is_read() {
    let node = node();
    let path = log_start::path(node.path(), 0);
    node.cut_off(4);
    let sound = fs::read(&path).expect("there");
    for at in (0..sound.len()).step_by(23).chain([0, 8, 12, 255]) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).expect("own");
        assert_eq!(node.start().err(), Some(Status::LogDamaged), "byte {at}");
        let reader = LogReader::open(node.path(), Some(KEY)).expect("a log");
        assert!(matches!(reader.start(0), Err(LogError::LogStart { .. })), "byte {at}");
    }
    // One of a log with another key.
    let start = removal::summarize(&node.files(), 0, &[], NOW_NS);
    assert!(start.is_err(), "it is not read either");
    fs::write(&path, &sound).expect("own");
    let start = removal::summarize(&node.files(), 0, &[], NOW_NS).expect("sound");
    fs::write(&path, start.to_bytes(Purpose::Start, node.data_dir.cluster_id, 0, &[1; 32]))
        .expect("own");
    let read = LogReader::open(node.path(), Some(KEY)).expect("a log").start(0);
    assert!(
        matches!(read, Err(LogError::LogStart { fault: LogStartFault::Check, .. })),
        "{read:?}"
    );
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
    // Segments that are gone although nobody cut them off.
    fs::remove_file(&path).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
    let (lsns, end) = node.lsns();
    assert!(lsns.is_empty());
    assert!(
        matches!(end, End::Damaged(damage) if damage.reason == DamageReason::SegmentMissing),
        "{end:?}"
    );
    // More is gone than was cut off.
    fs::write(&path, &sound).expect("own");
    fs::remove_file(packed_path(node.path(), 0, 4)).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
}

#[test]
fn a_change_that_can_not_be_read_is_not_cut_off() {
    let node = node();
    let mut log = node.log.clone();
    let mut unknown = change(1).to_record(1);
    unknown.verdict = 9;
    log.records(&[(unknown, Vec::new())]);
    log.roll();
    log.plain(3);
    fs::remove_dir_all(stream_dir(node.path(), 0)).expect("own");
    log.write(node.path());
    let mut index = LogIndex::new(node.own());
    while index.work(&[log.next_lsn - 1]).expect("readable") {}
    let indexes = node.indexes(0..log.segments.len() as u32 - 1);
    let error = removal::summarize(&node.files(), 0, &indexes, NOW_NS).expect_err("unreadable");
    assert!(matches!(error, LogError::Overlay { fault: ChangesFault::Unreadable, .. }), "{error}");
}

#[test]
fn an_archive_is_a_log_by_itself() {
    let node = node();
    let archive = tempfile::tempdir().expect("a folder");
    let copy = |segment| removal::archive(node.path(), 0, segment, archive.path());
    let read = || {
        let reader = LogReader::open(archive.path(), Some(KEY)).expect("a log");
        let mut lsns = Vec::new();
        let read = reader.records(0, |head, _, _| {
            lsns.push(head.lsn.to_native());
            ControlFlow::Continue(())
        });
        (lsns, read.expect("readable").end)
    };
    (0..3).for_each(|segment| copy(segment).expect("copied"));
    copy(1).expect("it is there already");
    assert_eq!(read(), ((1..=node.last_lsn_before(3)).collect(), End::Clean));
    // Another file under the name of a segment.
    let path = packed_path(archive.path(), 0, 3);
    fs::write(&path, "another").expect("own");
    assert!(matches!(copy(3), Err(LogError::OtherArchive { .. })));
    // One that begins when segments were removed already begins where the log did then.
    fs::remove_dir_all(archive.path().join("log")).expect("own");
    node.cut_off(2);
    (2..4).for_each(|segment| copy(segment).expect("copied"));
    let expected = node.last_lsn_before(2) + 1..=node.last_lsn_before(4);
    assert_eq!(read(), (expected.collect(), End::Clean));
    // Where it is not mounted nothing is written.
    let missing = archive.path().join("missing");
    assert!(removal::archive(node.path(), 0, 2, &missing).is_err());
    assert!(!missing.exists());
}
