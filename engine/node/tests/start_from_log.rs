//! A start that does not read the whole log: what it rebuilds is what reading everything rebuilds.

use catraca_core::log::recovery::LastWrite;
use catraca_core::shard::dedupe::{Dedupe, Found, MIN_ENTRIES};
use catraca_node::data_dir::{DataDir, Options};
use catraca_node::fatal::Status;
use catraca_node::from_log::{Rebuilt, rebuild};
use catraca_node::log_files::lookup::OwnLog;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{index_path, segment_path};
use catraca_testkit::log::{KEY, TestLog, decision};
use catraca_wire::DocumentKey;
use catraca_wire::block::{BlockIdentity, SEGMENT_HEAD_LEN};
use catraca_wire::frame::Scope;
use catraca_wire::record::{OverlayChange, OverlayOp};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Records of a block.
const IN_BLOCK: usize = 1_000;
/// Blocks: twice as many decisions as the smallest table holds, and some.
const BLOCKS: usize = 2 * MIN_ENTRIES / IN_BLOCK + 20;
/// After so many blocks a document is listed or unlisted.
const CHANGE_EVERY: usize = 7;

struct Node {
    dir: tempfile::TempDir,
    data_dir: DataDir,
    log: TestLog,
}

/// A data directory with a log of several segments, decisions and changes of the blacklist in it.
fn node() -> Node {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { allow_volatile: true, adopt_copy: true };
    let data_dir = DataDir::open(dir.path(), options, None).expect("a data directory");
    let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id: data_dir.cluster_id };
    let mut log = TestLog::of(8 << 20, identity);
    let mut sequence = 0;
    for block in 0..BLOCKS {
        if block % CHANGE_EVERY == 3 {
            sequence += 1;
            let change = OverlayChange {
                document: DocumentKey::from_cpf_number(100_000_000 + sequence as u32 / 3)
                    .expect("a number"),
                scope: Scope::Exact,
                op: if sequence % 3 == 0 { OverlayOp::Unlist } else { OverlayOp::List },
                sequence,
            };
            log.records(&[(change.to_record(1), Vec::new())]);
        }
        log.plain(IN_BLOCK);
    }
    log.write(dir.path());
    Node { dir, data_dir, log }
}

impl Node {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn start(&self) -> Result<Rebuilt, Status> {
        rebuild(&self.data_dir, &KEY, LastWrite::Block, 1, MIN_ENTRIES).map_err(|fail| fail.status)
    }

    fn make_indexes(&self) {
        let own = OwnLog {
            data_dir: self.path().to_owned(),
            cluster_id: self.data_dir.cluster_id,
            key: KEY,
        };
        let mut index = LogIndex::new(own);
        while index.work(&[self.log.next_lsn - 1]).expect("readable") {}
    }

    /// Breaks a block that only a start which reads the segment would see.
    fn break_segment(&self, segment: u32) {
        let path = segment_path(self.path(), 0, segment);
        let mut bytes = fs::read(&path).expect("there");
        bytes[SEGMENT_HEAD_LEN + 5_000] ^= 1;
        fs::write(&path, bytes).expect("own");
    }

    /// Of each transaction whether the table knows it; where not, the table must say that it may
    /// have forgotten it.
    fn known(&self, dedupe: &Dedupe) -> Vec<bool> {
        let changes: BTreeSet<u64> =
            self.log.blocks.iter().filter(|b| b.records == 1).map(|b| b.first_lsn).collect();
        (1..self.log.next_lsn)
            .step_by(97)
            .filter(|lsn| !changes.contains(lsn))
            .map(|lsn| {
                let transaction = decision(lsn).transaction;
                let payer = DocumentKey::from_wire(&transaction.payer).expect("valid");
                let found = dedupe.find(&dedupe.fingerprint(payer, &transaction));
                let known = matches!(found, Found::Same(_));
                let event_ns = transaction.event_time_ns.to_native();
                assert!(known || dedupe.horizon_ns() >= event_ns, "record {lsn}");
                known
            })
            .collect()
    }
}

fn dedupe(rebuilt: Rebuilt) -> Dedupe {
    rebuilt.builder.into_dedupes().pop().expect("one shard")
}

#[test]
fn a_start_that_leaves_segments_out_rebuilds_the_same() {
    let node = node();
    let whole = node.start().expect("sound");
    node.make_indexes();
    node.break_segment(0);
    let quick = node.start().expect("what is broken is not read");
    assert_eq!(quick.builder.records(), whole.builder.records());
    assert!(quick.overlay.sequence() > 30);
    assert_eq!(quick.overlay.changes(), whole.overlay.changes());
    assert_eq!(quick.streams[0].tail, whole.streams[0].tail);
    assert_eq!(quick.streams[0].segments, whole.streams[0].segments);
    let [of_whole, of_quick] = [&whole, &quick].map(|rebuilt| rebuilt.boundaries[0].clone());
    assert_eq!(of_quick.last(), of_whole.last());
    for segment in 0..3 {
        let last = |boundaries: &catraca_core::replica::Boundaries| {
            (0..boundaries.len())
                .map(|place| boundaries.at(place))
                .rfind(|tail| tail.segment == segment)
        };
        assert_eq!(last(&of_quick), last(&of_whole), "segment {segment}");
    }
    let (whole, quick) = (dedupe(whole), dedupe(quick));
    assert_eq!(quick.len(), whole.len());
    assert_eq!(node.known(&quick), node.known(&whole));
    assert!(node.known(&quick).contains(&false));
}

#[test]
fn what_has_no_sound_index_is_read() {
    let node = node();
    let whole = node.start().expect("sound");
    node.make_indexes();
    // A gap in the middle: what lies before it can be left out all the same.
    let gap = index_path(node.path(), 0, 2);
    let kept = fs::read(&gap).expect("made");
    fs::remove_file(&gap).expect("own");
    node.break_segment(0);
    let quick = node.start().expect("the broken segment is not read");
    assert_eq!(quick.overlay.changes(), whole.overlay.changes());
    assert_eq!(node.known(&dedupe(quick)), node.known(&dedupe(whole)));
    fs::write(&gap, kept).expect("own");
    // An index that was changed is not believed: then the segment is read, and found broken.
    let path = index_path(node.path(), 0, 0);
    let mut index = fs::read(&path).expect("made");
    index[100] ^= 1;
    fs::write(&path, &index).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
    fs::remove_file(&path).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
}

#[test]
fn a_change_that_can_not_be_read_stops_a_start() {
    let node = node();
    node.make_indexes();
    assert!(node.start().is_ok());
    // The first change is in a segment that is left out, in the block behind the third.
    let change = node.log.blocks[3];
    assert_eq!((change.segment, change.records), (0, 1));
    let path = segment_path(node.path(), 0, 0);
    let mut bytes = fs::read(&path).expect("there");
    // In its head and in its record.
    for at in [200, 300] {
        bytes[change.offset + at] ^= 1;
        fs::write(&path, &bytes).expect("own");
        assert_eq!(node.start().err(), Some(Status::LogDamaged), "byte {at}");
        bytes[change.offset + at] ^= 1;
    }
}
