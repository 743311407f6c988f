//! Packed segments on files: everything that reads a log reads them as it read the segments, they are
//! the same bytes again when they are unpacked, and nothing is packed that is not sound.

use catraca_core::log::Tail;
use catraca_core::log::damage::{DamageReason, PackFault};
use catraca_core::log::recovery::LastWrite;
use catraca_node::log_files::cursor::{BlockCursor, find_boundary};
use catraca_node::log_files::index_file::IndexFiles;
use catraca_node::log_files::lookup::{OwnLog, Query};
use catraca_node::log_files::pack::{self, Packed};
use catraca_node::log_files::read::End;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{self, packed_path, segment_path};
use catraca_node::log_files::{LogError, LogReader, RecoveredStream, recover_stream};
use catraca_testkit::log::{CLUSTER, KEY, TestLog, id};
use catraca_wire::block::SEGMENT_HEAD_LEN;
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// A stream of several segments, in a folder: blocks of few and of many records, with extensions.
fn written(dir: &Path, blocks: usize) -> TestLog {
    let mut log = TestLog::new(64 * 1024);
    for block in 0..blocks {
        let records = 1 + block * 7 % 40;
        let extension = |record: usize| vec![record as u8; record * 8 % 48];
        log.block(&(0..records).map(extension).collect::<Vec<_>>());
    }
    log.write(dir);
    log
}

fn own(dir: &Path) -> OwnLog {
    OwnLog { data_dir: dir.to_owned(), cluster_id: CLUSTER, key: KEY }
}

fn pack_one(dir: &Path, segment: u32) -> Result<Packed, LogError> {
    pack::pack(&IndexFiles::new(own(dir)), 0, segment, |_| true)
}

/// Packs all segments but the last.
fn pack_full(dir: &Path, log: &TestLog) -> u32 {
    let full = log.segments.len() as u32 - 1;
    for segment in 0..full {
        let packed = pack_one(dir, segment).expect("it is sound");
        let Packed::Done { packed_len, segment_len, .. } = packed else { panic!("{packed:?}") };
        assert_eq!(segment_len, log.segment_len as u64);
        assert_eq!(fs::metadata(packed_path(dir, 0, segment)).expect("there").len(), packed_len);
        assert!(!segment_path(dir, 0, segment).exists());
    }
    full
}

/// Every record that a reading shows, and how it ends.
fn read(dir: &Path) -> (Vec<(u64, Vec<u8>)>, End) {
    let mut records = Vec::new();
    let reader = LogReader::open(dir, Some(KEY)).expect("a log");
    let read = reader.records(0, |head, extension, _| {
        records.push((head.lsn.to_native(), extension.to_vec()));
        ControlFlow::Continue(())
    });
    (records, read.expect("readable").end)
}

fn recover(dir: &Path) -> Result<RecoveredStream, LogError> {
    recover_stream(dir, 0, CLUSTER, &KEY, LastWrite::Block, Tail::START, |_| {})
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(segment::stream_dir(dir, 0))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_packed_log_is_read_as_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 150);
    let (records, end) = read(dir.path());
    assert_eq!((records.len() as u64, end), (log.next_lsn - 1, End::Clean));
    let total = LogReader::open(dir.path(), None).expect("a log").total_bytes().expect("sizes");
    let recovered = recover(dir.path()).expect("sound");
    let full = pack_full(dir.path(), &log);
    assert!(full >= 5, "{full} full segments");
    assert_eq!(read(dir.path()), (records, end));
    assert_eq!(recover(dir.path()).expect("sound"), recovered);
    let reader = LogReader::open(dir.path(), Some(KEY)).expect("a log");
    assert_eq!(reader.total_bytes().expect("sizes"), total, "as much is read");
    assert_eq!(reader.starts(0).expect("listed").count(), log.segments.len());
    assert!(reader.segment_path(0, 0).ends_with("shard-0000/00000000.zseg"));
    assert_eq!(segment::segments(dir.path(), 0).expect("listed").len(), log.segments.len());
    assert_eq!(segment::plain_segments(dir.path(), 0).expect("listed"), [full]);
}

#[test]
fn a_cursor_goes_through_packed_segments_from_anywhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 150);
    pack_full(dir.path(), &log);
    for from in [0, 1, 77, 149] {
        let first = log.blocks[from];
        let mut cursor = BlockCursor::new(dir.path(), 0, first.segment as u32, first.offset as u64);
        for block in &log.blocks[from..] {
            let bytes = cursor.next_durable().expect("readable").expect("there");
            assert!(bytes == log.bytes_of(block), "block of LSN {}", block.first_lsn);
        }
        assert!(cursor.next_block().expect("readable").is_none());
    }
    for block in log.blocks.iter().step_by(11) {
        let last = block.first_lsn + block.records - 1;
        let found = find_boundary(dir.path(), 0, last).expect("readable").expect("a boundary");
        let behind = (block.segment as u32, (block.offset + block.len) as u64);
        assert_eq!(found.cursor.place(), behind);
        if block.records > 1 {
            assert!(find_boundary(dir.path(), 0, last - 1).expect("readable").is_none());
        }
    }
}

#[test]
fn look_ups_find_what_is_packed() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 150);
    let ends = [log.next_lsn - 1];
    let queries: Vec<Query> = (0..log.next_lsn + 100)
        .step_by(37)
        .map(|lsn| Query { id: id(lsn), payer: None, institution: None })
        .collect();
    let mut index = LogIndex::new(own(dir.path()));
    let expected = index.find_newest(&ends, &queries).expect("readable");
    assert!(expected.iter().flatten().count() > 20 && expected.contains(&None));
    while index.work(&ends).expect("readable") {}
    pack_full(dir.path(), &log);
    assert_eq!(index.find_newest(&ends, &queries).expect("readable"), expected);
    // Indexes of before are taken as they are; and they are made of packed segments.
    let files = IndexFiles::new(own(dir.path()));
    assert!(files.open(0, 0).is_ok(), "the index is of that segment");
    fs::remove_file(segment::index_path(dir.path(), 0, 1)).expect("own");
    let mut index = LogIndex::new(own(dir.path()));
    assert_eq!(index.find_newest(&ends, &queries).expect("readable"), expected);
    while index.work(&ends).expect("readable") {}
    assert!(files.open(0, 1).is_ok());
}

#[test]
fn unpacked_it_is_the_same_segment_bit_for_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 150);
    let before = names(dir.path());
    let full = pack_full(dir.path(), &log);
    pack::unpack_from(dir.path(), 0, 2).expect("room");
    assert!(packed_path(dir.path(), 0, 1).exists(), "not of those before");
    pack::unpack_from(dir.path(), 0, 0).expect("room");
    assert_eq!(names(dir.path()), before);
    for segment in 0..full {
        let bytes = fs::read(segment_path(dir.path(), 0, segment)).expect("there");
        assert!(bytes == log.segments[segment as usize], "segment {segment}");
    }
}

#[test]
fn whichever_files_a_crash_leaves_the_log_is_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 60);
    let whole = read(dir.path());
    pack_full(dir.path(), &log);
    // Cut off between rename and removal, while packing or while unpacking.
    log.write(dir.path());
    assert_eq!(read(dir.path()), whole);
    assert_eq!(segment::segments(dir.path(), 0).expect("listed").len(), log.segments.len());
    // `.seg` counts, whatever the other file holds; it is packed anew.
    fs::write(packed_path(dir.path(), 0, 0), "half").expect("own");
    assert_eq!(read(dir.path()), whole);
    assert!(matches!(pack_one(dir.path(), 0), Ok(Packed::Done { .. })));
    assert_eq!(read(dir.path()), whole);
    // What was half made has another name, and the next start removes it.
    let leftover = segment::stream_dir(dir.path(), 0).join(".00000001.zseg.0123456789abcdef.tmp");
    fs::write(&leftover, "half").expect("own");
    assert_eq!(read(dir.path()), whole);
    own(dir.path()).clear_leftovers();
    assert!(!leftover.exists());
    // The one in use is unpacked by a start, which is going to write to it.
    let last = log.segments.len() as u32 - 1;
    pack::unpack_from(dir.path(), 0, 0).expect("room");
    fs::remove_file(segment_path(dir.path(), 0, last)).expect("own");
    let Err(LogError::Damaged { .. }) = pack_one(dir.path(), last - 1) else {
        panic!("nothing follows it: it may be written to")
    };
    assert!(segment_path(dir.path(), 0, last - 1).exists());
    assert_eq!(recover(dir.path()).expect("sound").tail.segment, last - 1);
}

#[test]
fn a_packing_that_gives_up_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path(), 60);
    let before = names(dir.path());
    let files = IndexFiles::new(own(dir.path()));
    let mut most = 0;
    loop {
        let mut asked = 0;
        let outcome = pack::pack(&files, 0, 0, |_| {
            asked += 1;
            asked <= most
        });
        if outcome.expect("sound") != Packed::GivenUp {
            break;
        }
        assert_eq!(names(dir.path()), before);
        most += 1;
    }
    assert!(most >= 2, "while it packs and while it compares");
}

#[test]
fn what_is_not_sound_blocks_and_zeros_is_not_packed() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 60);
    let last = log.blocks.iter().rfind(|block| block.segment == 0).expect("blocks");
    let end = last.offset + last.len;
    assert!(end < log.segment_len, "the segment has a rest");
    let first = log.blocks[0];
    let spots = [
        (100, "behind the segment's head"),
        (8, "in the segment's head"),
        (SEGMENT_HEAD_LEN + 5, "in a block's head"),
        (first.offset + 300, "in a record"),
        (first.offset + first.len - 1, "in the padding"),
        (end, "behind the last block"),
        (log.segment_len - 1, "at the segment's end"),
    ];
    for (at, what) in spots {
        let mut bytes = log.segments[0].clone();
        bytes[at] ^= 1;
        fs::write(segment_path(dir.path(), 0, 0), &bytes).expect("own");
        let error = pack_one(dir.path(), 0).expect_err(what);
        assert!(matches!(error, LogError::Damaged { .. }), "{what}: {error}");
        assert!(!packed_path(dir.path(), 0, 0).exists(), "{what}");
        assert!(fs::read(segment_path(dir.path(), 0, 0)).expect("there") == bytes, "{what}");
    }
}

#[test]
fn damage_of_a_packed_segment_is_told_and_never_read_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = written(dir.path(), 60);
    pack_full(dir.path(), &log);
    let (records, _) = read(dir.path());
    let before: Vec<_> = {
        let of_first = log.blocks.iter().filter(|block| block.segment == 0);
        let count: u64 = of_first.map(|block| block.records).sum();
        records[..count as usize].to_vec()
    };
    let path = packed_path(dir.path(), 0, 1);
    let sound = fs::read(&path).expect("there");
    let damaged = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).expect("own");
        let (records, end) = read(dir.path());
        let End::Damaged(damage) = end else { panic!("{what}: {end:?}") };
        assert_eq!(damage.at.segment, 1, "{what}");
        assert!(records == before, "{what}: what lies before is read, nothing else");
        let error = recover(dir.path()).expect_err(what);
        let LogError::Damaged { path: named, .. } = &error else { panic!("{what}: {error}") };
        assert_eq!(named, &path, "{what}");
        let mut cursor = BlockCursor::new(dir.path(), 0, 1, SEGMENT_HEAD_LEN as u64);
        let mut blocks = 0;
        let outcome = loop {
            match cursor.next_block() {
                Ok(Some(_)) => blocks += 1,
                other => break other.map(drop),
            }
        };
        assert!(matches!(outcome, Err(LogError::Damaged { .. })), "{what}: {blocks} blocks");
        damage.reason
    };
    for at in (0..sound.len()).step_by(97).chain([0, 10, 252, sound.len() - 1]) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        let reason = damaged(&bytes, &format!("byte {at}"));
        assert!(matches!(reason, DamageReason::Packed(_)), "byte {at}: {reason}");
    }
    for len in [0, 1, 255, 256, sound.len() / 2, sound.len() - 1] {
        let reason = damaged(&sound[..len], &format!("{len} bytes"));
        let fault = DamageReason::Packed(PackFault::Length {
            have: len as u64,
            want: if len < 256 { 256 } else { sound.len() as u64 },
        });
        assert_eq!(reason, fault);
    }
    let other = fs::read(packed_path(dir.path(), 0, 2)).expect("there");
    assert_eq!(damaged(&other, "another segment's"), DamageReason::SegmentIndex(2));
    fs::remove_file(&path).expect("own");
    let (_, end) = read(dir.path());
    assert!(
        matches!(end, End::Damaged(damage) if damage.reason == DamageReason::SegmentMissing),
        "{end:?}"
    );
}

/// How long packed records are, and how fast they are packed and read:
/// `cargo test -p catraca-node --release --test log_packed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    for (records, segment_len) in [(1, 64 << 20), (8, 64 << 20), (800, 64 << 20)] {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder on a disk");
        let mut log = TestLog::new(segment_len);
        while log.segments.len() < 4 {
            log.plain(records);
        }
        log.write(dir.path());
        let timed = |what: &str, work: &mut dyn FnMut() -> u64| {
            let began = Instant::now();
            let len = work();
            let rate = len as f64 / began.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
            println!("{records} records a block: {what} {:.0} MB/s", rate / 1e6);
        };
        let of_first: u64 =
            log.blocks.iter().filter(|block| block.segment == 0).map(|block| block.records).sum();
        timed("packing", &mut || {
            (0..3).map(|s| pack_one(dir.path(), s).map_or(0, |_| segment_len as u64)).sum()
        });
        let packed_len = fs::metadata(packed_path(dir.path(), 0, 0)).expect("there").len();
        println!(
            "{records} records a block: {:.1} bytes a record",
            packed_len as f64 / of_first as f64
        );
        timed("a cursor reads", &mut || {
            let mut cursor = BlockCursor::new(dir.path(), 0, 0, SEGMENT_HEAD_LEN as u64);
            let mut len = 0;
            while let Some(block) = cursor.next_block().expect("readable") {
                len += block.len() as u64;
            }
            len
        });
        timed("recovery reads", &mut || recover(dir.path()).expect("sound").counts.bytes);
    }
}
