//! A start that does not read the whole log: what it rebuilds is what reading everything rebuilds.

use catraca_core::log::Tail;
use catraca_core::log::recovery::LastWrite;
use catraca_core::log::start::Purpose;
use catraca_core::shard::dedupe::{Dedupe, Found, MIN_ENTRIES};
use catraca_node::data_dir::{DataDir, Options};
use catraca_node::fatal::Status;
use catraca_node::from_log::{Rebuilt, rebuild};
use catraca_node::log_files::dedupe_file::DedupeFiles;
use catraca_node::log_files::index_file::IndexFiles;
use catraca_node::log_files::lookup::OwnLog;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{dedupe_files, dedupe_path, index_path, segment_path};
use catraca_node::log_files::{checkpoint, log_start, removal};
use catraca_testkit::log::{KEY, TestLog, decision, forced_breaker};
use catraca_wire::DocumentKey;
use catraca_wire::block::{BlockIdentity, SEGMENT_HEAD_LEN, sound_head};
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::{LabelKind, Scope};
use catraca_wire::record::{OverlayChange, OverlayOp, RecordKind};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Records of a block.
const IN_BLOCK: usize = 1_000;
/// Blocks: twice as many decisions as the smallest table holds, and some.
const BLOCKS: usize = 2 * MIN_ENTRIES / IN_BLOCK + 20;
/// After so many blocks a document is listed or unlisted.
const CHANGE_EVERY: usize = 7;
/// Labels behind each change, each in a block of its own.
const LABELS: usize = 20;

struct Node {
    dir: tempfile::TempDir,
    data_dir: DataDir,
    log: TestLog,
}

/// A data directory with a log of several segments, with decisions, changes of the blacklist, labels, and breakers
/// that were forced.
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
            (0..LABELS).for_each(|_| label(&mut log));
            // A start passes over it, too.
            log.records(&[forced_breaker()]);
        }
        log.plain(IN_BLOCK);
    }
    log.write(dir.path());
    Node { dir, data_dir, log }
}

/// A label of the first decision: a start passes over it, and it takes no place of a decision.
fn label(log: &mut TestLog) {
    let label = Label {
        kind: LabelKind::Chargeback,
        known_at_ns: 1,
        source: LabelSource::parse("visa").expect("sound"),
        shard: 0,
        lsn: 1,
    };
    let transaction = decision(label.lsn).transaction;
    let head = label.to_record(&transaction.id, &transaction.payer, 1);
    log.records(&[(head, label.to_section().to_vec())]);
}

impl Node {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn start(&self) -> Result<Rebuilt, Status> {
        self.start_with(1)
    }

    fn start_with(&self, shards: u16) -> Result<Rebuilt, Status> {
        rebuild(&self.data_dir, &KEY, LastWrite::Block, shards, MIN_ENTRIES)
            .map_err(|fail| fail.status)
    }

    fn own(&self) -> OwnLog {
        OwnLog { data_dir: self.path().to_owned(), cluster_id: self.data_dir.cluster_id, key: KEY }
    }

    fn work(&self, mut index: LogIndex) {
        while index.work(&[self.log.next_lsn - 1]).expect("readable") {}
    }

    fn make_indexes(&self) {
        self.work(LogIndex::new(self.own()));
    }

    /// Makes the indexes, and the dedupe files of a node with so many shards.
    fn make_dedupe_files(&self, shards: u16) -> Vec<u32> {
        let dedupe = DedupeFiles::new(self.own(), shards, MIN_ENTRIES as u64);
        self.work(LogIndex::new(self.own()).keeping(dedupe));
        dedupe_files(self.path(), 0).expect("a folder")
    }

    fn break_full_segments(&self) {
        (0..self.log.last().segment as u32).for_each(|segment| self.break_segment(segment));
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
                let found = dedupe.find(&dedupe.fingerprint(0, payer, &transaction));
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

/// All that a start rebuilds, with every 13th transaction as the tables have it.
fn state(node: &Node, rebuilt: Rebuilt) -> impl PartialEq {
    let boundaries: Vec<Vec<Tail>> = rebuilt
        .boundaries
        .iter()
        .map(|of_stream| (0..of_stream.len()).map(|place| of_stream.at(place)).collect())
        .collect();
    let streams: Vec<_> =
        rebuilt.streams.iter().map(|s| (s.tail, s.segments, s.segment_len)).collect();
    let lists = (rebuilt.overlay.changes().to_vec(), rebuilt.builder.snapshot_id());
    let records = rebuilt.builder.records();
    let tables = rebuilt.builder.into_dedupes();
    let of_transaction = |lsn: u64| {
        let transaction = decision(lsn).transaction;
        let payer = DocumentKey::from_wire(&transaction.payer).expect("valid");
        let held = |table: &Dedupe| match table.find(&table.fingerprint(0, payer, &transaction)) {
            Found::Same(position) => Some((position, table.answer(position, false))),
            Found::New => None,
            Found::Other => panic!("record {lsn} is held with another content"),
        };
        tables.iter().map(held).collect::<Vec<_>>()
    };
    let held: Vec<_> = (1..node.log.next_lsn).step_by(13).map(of_transaction).collect();
    let windows: Vec<_> = tables.iter().map(|table| (table.len(), table.horizon_ns())).collect();
    (boundaries, streams, lists, records, windows, held)
}

#[test]
fn a_start_from_dedupe_files_rebuilds_what_reading_the_segments_rebuilds() {
    let node = node();
    node.make_indexes();
    let read = state(&node, node.start().expect("sound"));
    let files = node.make_dedupe_files(1);
    let full = node.log.last().segment as u32;
    assert!(files.len() > 3 && files[0] > 0, "as many as a table needs, of {full}: {files:?}");
    assert_eq!(files.last(), Some(&(full - 1)), "the segment in use has none");
    node.break_full_segments();
    assert!(state(&node, node.start().expect("no full segment is read")) == read);
    assert_eq!(dedupe_files(node.path(), 0).expect("a folder"), files);
}

#[test]
fn where_there_is_no_sound_dedupe_file_the_segment_is_read() {
    let node = node();
    node.make_indexes();
    let read = state(&node, node.start().expect("sound"));
    let files = node.make_dedupe_files(1);
    let [first, second] = [files[0], files[1]].map(|segment| dedupe_path(node.path(), 0, segment));
    let last = dedupe_path(node.path(), 0, *files.last().expect("some"));
    let sound = fs::read(&second).expect("made");
    let flipped = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        Some(bytes)
    };
    let unsound = [
        // A chunk in the middle: what lies before it is taken, and the rest is read.
        flipped(sound.len() / 2),
        flipped(100),
        // The table, the foot.
        flipped(sound.len() - 140),
        flipped(sound.len() - 1),
        Some(sound[..sound.len() - 1].to_vec()),
        Some(Vec::new()),
        Some(fs::read(&first).expect("made")),
        None,
    ];
    for (number, content) in unsound.iter().enumerate() {
        match content {
            Some(bytes) => fs::write(&second, bytes).expect("own"),
            None => fs::remove_file(&second).expect("own"),
        }
        assert!(state(&node, node.start().expect("sound")) == read, "number {number}");
        assert!(!second.exists(), "number {number}: it is made anew");
        node.make_dedupe_files(1);
        assert!(fs::read(&second).expect("made") == sound, "number {number}");
    }
    // Behind the last one everything is read.
    fs::remove_file(&last).expect("own");
    assert!(state(&node, node.start().expect("sound")) == read);
    // What is broken is found wherever the segment itself is read.
    node.break_segment(files[1]);
    fs::write(&second, flipped(100).expect("bytes")).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
}

#[test]
fn dedupe_files_are_for_one_number_of_shards() {
    let node = node();
    let of_one = node.make_dedupe_files(1);
    for shards in [2, 5] {
        (of_one.iter()).for_each(|&segment| {
            let _ = fs::remove_file(dedupe_path(node.path(), 0, segment));
        });
        let read = state(&node, node.start_with(shards).expect("sound"));
        // Those of another number are not used, and made anew.
        node.make_dedupe_files(1);
        assert!(state(&node, node.start_with(shards).expect("sound")) == read);
        assert_eq!(node.make_dedupe_files(shards), of_one);
        let segment = segment_path(node.path(), 0, of_one[1]);
        let sound = fs::read(&segment).expect("there");
        node.break_segment(of_one[1]);
        assert!(state(&node, node.start_with(shards).expect("not read")) == read);
        fs::write(&segment, sound).expect("own");
    }
}

#[test]
fn dedupe_files_of_a_log_that_was_cut_back_are_not_used() {
    let mut node = node();
    let files = node.make_dedupe_files(1);
    // Cut off in the last full segment, and gone on otherwise.
    let last = *files.last().expect("some");
    let blocks = node.log.blocks.clone();
    let (kept, cut) = blocks
        .split_at(blocks.iter().position(|block| block.segment as u32 == last).expect("there") + 5);
    let identity = BlockIdentity { shard: 0, epoch: 2, cluster_id: node.data_dir.cluster_id };
    let before = kept.last().expect("some");
    node.log.segments.truncate(last as usize + 1);
    node.log.segments[last as usize][before.offset + before.len..].fill(0);
    node.log.blocks.truncate(kept.len());
    node.log.identity = identity;
    node.log.next_lsn = cut[0].first_lsn;
    let head = sound_head(node.log.bytes_of(before)).expect("a block");
    (node.log.chain, node.log.offset) = (head.chain, before.offset + before.len);
    for _ in 0..60 {
        node.log.plain(700);
    }
    for segment in last + 1.. {
        if fs::remove_file(segment_path(node.path(), 0, segment)).is_err() {
            break;
        }
    }
    node.log.write(node.path());
    assert!(node.log.last().segment as u32 > last, "it is full again");
    // As the index is of other blocks, the segment is read.
    let recovered = node.start().expect("sound").streams.remove(0).tail;
    assert_eq!((recovered.epoch, recovered.next_lsn), (2, node.log.next_lsn));
    let path = dedupe_path(node.path(), 0, last);
    let stale = fs::read(&path).expect("there");
    fs::remove_file(&path).expect("own");
    node.make_indexes();
    let read = state(&node, node.start().expect("sound"));
    // With an index of the blocks of now it is the file that is of others.
    fs::write(&path, &stale).expect("own");
    assert!(state(&node, node.start().expect("sound")) == read);
    assert!(!path.exists());
    fs::write(&path, &stale).expect("own");
    node.make_dedupe_files(1);
    assert!(fs::read(&path).expect("made") != stale);
    node.break_segment(last);
    assert!(state(&node, node.start().expect("not read")) == read);
    fs::remove_file(&path).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
}

#[test]
fn dedupe_files_that_no_table_needs_are_removed() {
    let node = node();
    let files = node.make_dedupe_files(1);
    let old = dedupe_path(node.path(), 0, 0);
    fs::copy(dedupe_path(node.path(), 0, files[0]), &old).expect("own");
    assert_eq!(node.make_dedupe_files(1), files);
    // A larger table needs more of them.
    let dedupe = DedupeFiles::new(node.own(), 1, 2 * MIN_ENTRIES as u64);
    node.work(LogIndex::new(node.own()).keeping(dedupe));
    assert!(old.exists());
    // Beside the log as it is written, from its first record on.
    let other = self::node();
    let dedupe = DedupeFiles::new(other.own(), 1, MIN_ENTRIES as u64);
    let mut index = LogIndex::new(other.own()).keeping(dedupe);
    for block in other.log.blocks.iter().step_by(3).chain([&other.log.last()]) {
        while index.work(&[block.first_lsn + block.records - 1]).expect("readable") {}
    }
    assert_eq!(dedupe_files(other.path(), 0).expect("a folder"), files);
    let of = |node: &Node| fs::read(dedupe_path(node.path(), 0, files[1])).expect("made").len();
    assert_eq!(of(&node), of(&other));
}

#[test]
fn a_start_looks_for_changes_behind_the_checkpoint_only() {
    let node = node();
    node.make_indexes();
    let whole = node.start().expect("sound");
    let files = IndexFiles::new(node.own());
    let indexes: Vec<_> = (0..3).map(|s| files.summary(0, s).expect("it has an index")).collect();
    checkpoint::write(&files, 0, None, &indexes[..1], 1).expect("sound");
    let first = checkpoint::read(&files, 0).expect("it was just made");
    checkpoint::write(&files, 0, Some(first), &indexes[1..], 2).expect("sound");
    let sound = fs::read(checkpoint::path(node.path(), 0)).expect("there");
    let last = checkpoint::read(&files, 0).expect("it was just made");
    assert_eq!(last.tail.segment, 3);
    assert!(last.changes.len() > 5 && last.payers.is_empty(), "{last:?}");
    // The blocks with changes in those segments can't be read any more.
    for block in node.log.blocks.iter().filter(|block| block.segment < 3 && block.records == 1) {
        let path = segment_path(node.path(), 0, block.segment as u32);
        let mut bytes = fs::read(&path).expect("there");
        bytes[block.offset + 300] ^= 1;
        fs::write(&path, bytes).expect("own");
    }
    let quick = node.start().expect("they are not read");
    assert_eq!(quick.overlay.changes(), whole.overlay.changes());
    assert!(state(&node, quick) == state(&node, whole));
    // Without one, or with one that is unsound or of another log, they are.
    let path = checkpoint::path(node.path(), 0);
    for at in (0..sound.len()).step_by(101) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("own");
        assert_eq!(node.start().err(), Some(Status::LogDamaged), "byte {at}");
    }
    let mut other = last.clone();
    other.tail.previous_chain[0] ^= 1;
    let cluster_id = node.data_dir.cluster_id;
    let bytes = other.to_bytes(Purpose::Checkpoint, cluster_id, 0, &KEY);
    fs::write(&path, bytes).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
    fs::remove_file(&path).expect("own");
    assert_eq!(node.start().err(), Some(Status::LogDamaged));
    fs::write(&path, &sound).expect("own");
    node.start().expect("they are not read");
}

#[test]
fn the_list_loaded_last_counts_whatever_is_read_before_the_checkpoint() {
    let mut node = node();
    // A list in each of the newest segments; all of them are in the table's window.
    let loaded = |id: u64| {
        let mut head = decision(1);
        head.kind = RecordKind::SnapshotLoaded.to_wire();
        head.snapshot_id = (id << 24).into();
        head
    };
    let before = node.log.segments.len();
    for id in 1..=5 {
        node.log.records(&[(loaded(id), Vec::new())]);
        for _ in 0..8 {
            node.log.plain(IN_BLOCK);
        }
        node.log.roll();
    }
    node.log.plain(3);
    node.log.write(node.path());
    let kept = node.make_dedupe_files(1);
    let whole = node.start().expect("sound").builder.snapshot_id();
    assert_eq!(whole, 5 << 24);
    // The checkpoint is behind all of them, and one in the middle has no dedupe file any more.
    let files = IndexFiles::new(node.own());
    let last = node.log.last().segment as u32;
    let indexes: Vec<_> =
        (0..last).map(|segment| files.summary(0, segment).expect("it has an index")).collect();
    checkpoint::write(&files, 0, None, &indexes, 1).expect("sound");
    for segment in before as u32..last {
        assert!(kept.contains(&segment), "{segment} of {kept:?}");
        let path = dedupe_path(node.path(), 0, segment);
        let bytes = fs::read(&path).expect("there");
        fs::remove_file(&path).expect("own");
        assert_eq!(node.start().expect("sound").builder.snapshot_id(), whole, "{segment}");
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        fs::write(&path, damaged).expect("own");
        assert_eq!(node.start().expect("sound").builder.snapshot_id(), whole, "{segment}");
        fs::write(&path, bytes).expect("own");
    }
    // One from before what was removed is not believed.
    let first: Vec<_> = indexes[..2].to_vec();
    checkpoint::write(&files, 0, None, &first, 1).expect("sound");
    assert!(checkpoint::read(&files, 0).is_some());
    let start = removal::summarize(&files, 0, &indexes[..4], 1).expect("sound");
    log_start::write(node.path(), node.data_dir.cluster_id, 0, &KEY, &start).expect("written");
    assert!(checkpoint::read(&files, 0).is_none(), "its segment is still there");
}
