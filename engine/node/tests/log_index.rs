//! Look-ups by indexes, on files: whatever becomes of the indexes, the answers are the log's.

use catraca_node::log_files::index_file::IndexFiles;
use catraca_node::log_files::indexed;
use catraca_node::log_files::lookup::{self, OwnLog, Query};
use catraca_node::log_files::read::End;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{index_path, segment_path};
use catraca_node::log_files::{LogError, LogReader, segment};
use catraca_node::whole_file::PIECE_LEN;
use catraca_testkit::log::{CLUSTER, KEY, TestLog, decision, id};
use catraca_wire::block::BlockIdentity;
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::LabelKind;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Transactions whose ids are used again and again.
const IDS: u64 = 700;
/// Slices of work in the tests of whose turn it is.
const TURNS: usize = 40;

/// A stream of several segments, in a folder.
fn written(dir: &Path, blocks: usize) -> TestLog {
    let mut log = TestLog::new(64 * 1024);
    log.ids = IDS;
    (0..blocks).for_each(|block| {
        log.plain(1 + block * 7 % 60);
    });
    log.write(dir);
    log
}

fn own(dir: &Path) -> OwnLog {
    OwnLog { data_dir: dir.to_owned(), cluster_id: CLUSTER, key: KEY }
}

/// Ids that are there and that are not, each of any payer and of some.
fn queries() -> Vec<Query> {
    let payers = [1, 8, 701, 408].map(|lsn| decision(lsn).transaction.payer);
    (0..IDS + 50)
        .step_by(13)
        .chain([0, IDS - 1, 8])
        .flat_map(|number| {
            let of =
                payers.map(|payer| Query { id: id(number), payer: Some(payer), institution: None });
            std::iter::once(Query { id: id(number), payer: None, institution: None }).chain(of)
        })
        .collect()
}

/// The LSNs that a search gives.
fn found(index: &mut LogIndex, end: u64) -> Vec<Option<u64>> {
    let found = index.find_newest(&[end], &queries()).expect("readable");
    found.iter().map(|record| record.as_ref().map(|record| record.head.lsn.to_native())).collect()
}

/// The same by reading everything.
fn scanned(dir: &Path) -> Vec<Option<u64>> {
    let reader = LogReader::open(dir, Some(KEY)).expect("a log");
    let queries = queries();
    let mut newest = vec![None; queries.len()];
    let read = reader.records(0, |head, _, _| {
        let transaction = &head.transaction;
        for (query, newest) in queries.iter().zip(&mut newest) {
            if query.id == transaction.id
                && query.payer.is_none_or(|payer| payer == transaction.payer)
            {
                *newest = Some(head.lsn.to_native());
            }
        }
        ControlFlow::Continue(())
    });
    assert_eq!(read.expect("readable").end, End::Clean);
    newest
}

#[test]
fn labels_are_found_with_their_decisions_however_they_are_looked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = written(dir.path(), 100);
    let source = |text: &str| LabelSource::parse(text).expect("sound");
    let labelled = decision(8 + IDS);
    for (number, text) in ["visa", "bank"].into_iter().enumerate() {
        let label = Label {
            kind: LabelKind::Chargeback,
            known_at_ns: 50 - number as u64,
            source: source(text),
            shard: 0,
            lsn: 8 + IDS,
        };
        let head = label.to_record(&id(8), &labelled.transaction.payer, 60);
        log.records(&[(head, label.to_section().to_vec())]);
        // So much behind it that it lies in a full segment.
        for _ in 0..40 {
            log.plain(60);
        }
    }
    log.write(dir.path());
    let end = log.next_lsn - 1;
    let mut index = LogIndex::new(own(dir.path()));
    let reader = LogReader::open(dir.path(), Some(KEY)).expect("a log");
    let files = IndexFiles::new(own(dir.path()));
    for payer in [None, Some(labelled.transaction.payer)] {
        let query = Query { id: id(8), payer, institution: None };
        let found = index.find_all(&[end], &query, 256).expect("readable");
        let of: Vec<_> = found
            .labels
            .iter()
            .map(|label| (label.stored.label.source, label.stored.label.lsn))
            .collect();
        assert_eq!(of, [(source("visa"), 8 + IDS), (source("bank"), 8 + IDS)]);
        let decision =
            found.records.iter().find(|record| record.head.lsn == 8 + IDS).expect("there");
        assert_eq!(found.labels_of(decision).count(), 2);
        let counts = found.labels.iter().max_by_key(|label| label.stored.age()).expect("some");
        assert_eq!(counts.stored.label.source, source("visa"), "it was known last");
        assert_eq!(found.matches as usize, found.records.len(), "labels are no decisions");
        work(&mut index, end);
        for other in [
            indexed::find(&reader, &files, &query, 256).expect("readable"),
            lookup::find(&reader, &query, 256).expect("readable"),
        ] {
            assert_eq!(
                (other.labels, other.records),
                (found.labels.clone(), found.records.clone())
            );
        }
    }
    let query = Query { id: id(9), payer: None, institution: None };
    assert!(index.find_all(&[end], &query, 256).expect("readable").labels.is_empty());
}

fn work(index: &mut LogIndex, end: u64) {
    while index.work(&[end]).expect("readable") {}
}

#[test]
fn what_indexes_find_is_what_reading_everything_finds() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 200);
    let end = log.next_lsn - 1;
    let full = log.segments.len() - 1;
    assert!(full >= 10, "{full} full segments");
    let expected = scanned(dir.path());
    assert!(expected.iter().flatten().count() > 50 && expected.contains(&None));
    // Asked at once, asked when all is done, and from the files.
    let mut index = LogIndex::new(own(dir.path()));
    assert_eq!(found(&mut index, end), expected);
    work(&mut index, end);
    assert_eq!(found(&mut index, end), expected);
    for segment in 0..full as u32 {
        assert!(index_path(dir.path(), 0, segment).exists(), "segment {segment}");
    }
    assert!(!index_path(dir.path(), 0, full as u32).exists(), "it is in use");
    assert_eq!(found(&mut LogIndex::new(own(dir.path())), end), expected);
    // They are no part of the log.
    assert_eq!(segment::segments(dir.path(), 0).expect("listed").len(), log.segments.len());
}

#[test]
fn a_log_that_grows_is_read_on_and_its_full_segments_get_indexes() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = written(dir.path(), 1);
    let mut index = LogIndex::new(own(dir.path()));
    assert!(index.find_newest(&[0], &queries()).expect("empty").iter().all(Option::is_none));
    for round in 0..40 {
        (0..5).for_each(|_| {
            log.plain(9);
        });
        log.write(dir.path());
        if round % 3 == 0 {
            work(&mut index, log.next_lsn - 1);
        }
        if round % 4 == 0 {
            assert_eq!(found(&mut index, log.next_lsn - 1), scanned(dir.path()));
        }
    }
    work(&mut index, log.next_lsn - 1);
    for segment in 0..log.segments.len() as u32 - 1 {
        assert!(index_path(dir.path(), 0, segment).exists(), "segment {segment}");
    }
}

#[test]
fn the_file_of_an_index_is_written_a_piece_a_slice_and_look_ups_need_not_wait_for_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = TestLog::new(16 << 20);
    while log.segments.len() == 1 {
        log.plain(1100);
    }
    log.write(dir.path());
    let path = index_path(dir.path(), 0, 0);
    let making_len = || {
        let entries = fs::read_dir(path.parent().expect("a folder")).expect("listed");
        let mut files = entries.map(|entry| entry.expect("an entry"));
        let making = files.find(|file| file.path().extension().is_some_and(|end| end == "tmp"));
        making.map(|file| file.metadata().expect("there").len())
    };
    let end = log.next_lsn - 1;
    let query = [Query { id: id(log.blocks[7].first_lsn), payer: None, institution: None }];
    let mut index = LogIndex::new(own(dir.path()));
    // The reading begins at the first segment, and gets to the second one.
    while index.work(&[log.blocks[0].first_lsn]).expect("readable") {}
    while making_len().is_none() {
        assert!(index.work(&[end]).expect("readable"));
    }
    let (mut written, mut slices) = (0, 0);
    while let Some(len) = making_len() {
        assert!(len - written <= PIECE_LEN as u64, "from {written} to {len} bytes in a slice");
        assert!(!path.exists());
        let found = index.find_newest(&[end], &query).expect("readable");
        let lsn = found[0].as_ref().map(|found| found.head.lsn.to_native());
        assert_eq!(lsn, Some(log.blocks[7].first_lsn));
        (written, slices) = (len, slices + 1);
        assert!(index.work(&[end]).expect("readable"));
    }
    let len = fs::metadata(&path).expect("made").len();
    assert!(slices >= 2 && slices == len.div_ceil(PIECE_LEN as u64), "{slices} of {len} bytes");
    assert!(IndexFiles::new(own(dir.path())).open(0, 0).is_ok());
}

#[test]
fn a_stream_that_grows_faster_than_it_is_read_takes_no_turn_of_another() {
    let dir = tempfile::tempdir().expect("a folder");
    // Blocks that are longer than what is read in one turn.
    let mut fast = TestLog::new(1024 * 1024);
    (0..2 * TURNS).for_each(|_| {
        fast.plain(1100);
    });
    fast.write(dir.path());
    let mut slow = TestLog::of(64 * 1024, BlockIdentity { shard: 1, ..fast.identity });
    (0..20).for_each(|_| {
        slow.plain(90);
    });
    slow.write(dir.path());
    let mut index = LogIndex::new(own(dir.path()));
    for turn in 0..TURNS {
        let written = fast.blocks[2 * turn + 1];
        let ends = [written.first_lsn + written.records - 1, slow.next_lsn - 1];
        assert!(index.work(&ends).expect("readable"), "turn {turn}: the first stream is not read");
    }
    let full = slow.segments.len() as u32 - 1;
    assert!(full >= 5, "{full} full segments");
    for segment in 0..full {
        assert!(index_path(dir.path(), 1, segment).exists(), "segment {segment}");
    }
    // Nor does the other one take all of them.
    assert!(index_path(dir.path(), 0, 0).exists());
}

#[test]
fn a_stream_that_can_not_be_read_leaves_the_others_their_turns() {
    let dir = tempfile::tempdir().expect("a folder");
    let damaged = written(dir.path(), 20);
    let path = segment_path(dir.path(), 0, damaged.last().segment as u32);
    let mut bytes = fs::read(&path).expect("there");
    bytes[damaged.last().offset + 300] ^= 1;
    fs::write(&path, bytes).expect("own");
    let mut sound = TestLog::of(64 * 1024, BlockIdentity { shard: 1, ..damaged.identity });
    (0..20).for_each(|_| {
        sound.plain(90);
    });
    sound.write(dir.path());
    let ends = [damaged.next_lsn - 1, sound.next_lsn - 1];
    let mut index = LogIndex::new(own(dir.path()));
    let failed = (0..TURNS).filter(|_| index.work(&ends).is_err()).count();
    assert!(failed > 0 && failed < TURNS, "{failed} of {TURNS}");
    for segment in 0..sound.segments.len() as u32 - 1 {
        assert!(index_path(dir.path(), 1, segment).exists(), "segment {segment}");
    }
}

#[test]
fn an_index_that_is_damaged_missing_or_of_another_log_is_made_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 120);
    let end = log.next_lsn - 1;
    let expected = scanned(dir.path());
    work(&mut LogIndex::new(own(dir.path())), end);
    let path = index_path(dir.path(), 0, 2);
    let sound = fs::read(&path).expect("made");
    let last = sound.len() - 1;
    let other = fs::read(index_path(dir.path(), 0, 3)).expect("made");
    let flipped = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let mut damaged: Vec<Vec<u8>> =
        [0, 9, 40, 100, 190, 200, last - 700, last].into_iter().map(flipped).collect();
    damaged.extend([Vec::new(), sound[..100].to_vec(), sound[..last].to_vec(), other]);
    for bytes in damaged {
        fs::write(&path, &bytes).expect("own");
        let mut index = LogIndex::new(own(dir.path()));
        assert_eq!(found(&mut index, end), expected, "{} bytes", bytes.len());
        // And when it is damaged under the eyes of who holds its beginning.
        fs::write(&path, &bytes).expect("own");
        assert_eq!(found(&mut index, end), expected, "{} bytes", bytes.len());
        fs::remove_file(&path).expect("there");
        assert_eq!(found(&mut index, end), expected);
        work(&mut LogIndex::new(own(dir.path())), end);
        assert_eq!(fs::read(&path).expect("made anew"), sound);
    }
}

#[test]
fn an_index_of_a_log_that_was_cut_and_went_on_otherwise_is_not_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 60);
    work(&mut LogIndex::new(own(dir.path())), log.next_lsn - 1);
    // The same beginning, then other blocks.
    let mut other = TestLog::new(64 * 1024);
    other.ids = IDS;
    (0..20).for_each(|block| {
        other.plain(1 + block * 7 % 60);
    });
    (0..60).for_each(|_| {
        other.plain(11);
    });
    for segment in other.segments.len()..log.segments.len() {
        fs::remove_file(segment_path(dir.path(), 0, segment as u32)).expect("own");
    }
    other.write(dir.path());
    let mut index = LogIndex::new(own(dir.path()));
    assert_eq!(found(&mut index, other.next_lsn - 1), scanned(dir.path()));
}

#[test]
fn what_can_not_be_written_is_found_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 60);
    // A folder in the index's place.
    for segment in 0..log.segments.len() as u32 {
        fs::create_dir(index_path(dir.path(), 0, segment)).expect("own");
    }
    let expected = scanned(dir.path());
    let mut index = LogIndex::new(own(dir.path()));
    assert_eq!(found(&mut index, log.next_lsn - 1), expected);
    assert_eq!(found(&mut index, log.next_lsn - 1), expected);
}

#[test]
fn a_block_that_is_damaged_where_an_index_points_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = TestLog::new(64 * 1024);
    (0..60).for_each(|block| {
        log.plain(1 + block * 7 % 60);
    });
    log.write(dir.path());
    let end = log.next_lsn - 1;
    let mut index = LogIndex::new(own(dir.path()));
    work(&mut index, end);
    let block = log.blocks[2];
    let path = segment_path(dir.path(), 0, block.segment as u32);
    let sound = fs::read(&path).expect("there");
    let query = [Query { id: id(block.first_lsn), payer: None, institution: None }];
    let alone = |index: &mut LogIndex| index.find_newest(&[end], &query);
    let before = alone(&mut index).expect("sound");
    assert_eq!(before[0].as_ref().map(|found| found.place.segment), Some(block.segment as u32));
    // In its head, and in a record.
    for at in [40, 300] {
        let mut damaged = sound.clone();
        damaged[block.offset + at] ^= 1;
        fs::write(&path, &damaged).expect("own");
        let error = alone(&mut index).expect_err("the decision can't be read");
        assert!(matches!(error, LogError::Damaged { .. }), "byte {at}: {error}");
    }
}

#[test]
fn an_index_of_a_segment_that_went_on_behind_its_last_block_is_not_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    // The second block does not fit into the segment of the first.
    let begin = || {
        let mut log = TestLog::new(64 * 1024);
        log.plain(120);
        log
    };
    let mut before = begin();
    before.plain(130);
    before.write(dir.path());
    work(&mut LogIndex::new(own(dir.path())), before.next_lsn - 1);
    assert!(index_path(dir.path(), 0, 0).exists());
    // Cut back to the first block, another one fits behind it; then the next segment begins.
    let mut after = begin();
    let small = after.plain(3);
    assert_eq!(small.segment, 0);
    after.plain(130);
    after.write(dir.path());
    let query = [Query { id: id(small.first_lsn), payer: None, institution: None }];
    let mut index = LogIndex::new(own(dir.path()));
    let found = index.find_newest(&[after.next_lsn - 1], &query).expect("readable");
    assert_eq!(found[0].as_ref().map(|found| found.head.lsn.to_native()), Some(small.first_lsn));
}

#[test]
fn an_index_that_is_damaged_and_can_not_be_replaced_costs_no_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 60);
    let end = log.next_lsn - 1;
    let expected = scanned(dir.path());
    let mut index = LogIndex::new(own(dir.path()));
    work(&mut index, end);
    for segment in 0..log.segments.len() as u32 - 1 {
        // What is held in memory is sound, what is to be read is a folder.
        let path = index_path(dir.path(), 0, segment);
        fs::remove_file(&path).expect("made");
        fs::create_dir(&path).expect("own");
    }
    assert_eq!(found(&mut index, end), expected);
    assert_eq!(found(&mut index, end), expected);
}

#[test]
fn a_reading_that_failed_is_begun_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 60);
    let end = log.next_lsn - 1;
    let last = log.blocks[log.blocks.len() - 1];
    let path = segment_path(dir.path(), 0, last.segment as u32);
    let sound = fs::read(&path).expect("there");
    let mut damaged = sound.clone();
    damaged[last.offset + 300] ^= 1;
    fs::write(&path, &damaged).expect("own");
    let mut index = LogIndex::new(own(dir.path()));
    assert!(index.find_newest(&[end], &queries()).is_err());
    fs::write(&path, &sound).expect("own");
    assert_eq!(found(&mut index, end), scanned(dir.path()));
}

#[test]
fn a_person_who_asks_gets_every_decision_with_indexes_and_without() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 200);
    let reader = LogReader::open(dir.path(), Some(KEY)).expect("a log");
    let files = IndexFiles::new(own(dir.path()));
    let ask = |query: &Query| {
        let scanned = lookup::find(&reader, query, 20).expect("readable");
        let found = indexed::find(&reader, &files, query, 20).expect("readable");
        assert_eq!((found.matches, &found.records), (scanned.matches, &scanned.records));
        let ends = |found: &lookup::Found| {
            found.streams.iter().map(|(_, read)| read.tail).collect::<Vec<_>>()
        };
        assert_eq!(ends(&found), ends(&scanned));
        found.matches
    };
    let none: u64 = queries().iter().map(&ask).sum();
    assert!(none > 100, "ids come again");
    work(&mut LogIndex::new(own(dir.path())), log.next_lsn - 1);
    assert_eq!(queries().iter().map(&ask).sum::<u64>(), none);
    // One is missing in the middle, and one is damaged.
    fs::remove_file(index_path(dir.path(), 0, 7)).expect("own");
    assert_eq!(queries().iter().map(&ask).sum::<u64>(), none);
    let path = index_path(dir.path(), 0, 2);
    let mut bytes = fs::read(&path).expect("there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).expect("own");
    assert_eq!(queries().iter().map(&ask).sum::<u64>(), none);
    assert!(!index_path(dir.path(), 0, 7).exists(), "nothing is written");
}
