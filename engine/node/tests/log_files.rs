//! The log as files: making segments, recovery with its repair, readers beside a writer, look-ups.

use catraca_core::log::Tail;
use catraca_core::log::damage::{DamageReason, TornReason};
use catraca_core::log::recovery::LastWrite;
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::cursor::BlockCursor;
use catraca_node::log_files::lookup::{OwnLog, Query, StoredRecord};
use catraca_node::log_files::read::End;
use catraca_node::log_files::search::LogIndex;
use catraca_node::log_files::segment::{self, MIN_SEGMENT_LEN, NewSegment};
use catraca_node::log_files::{
    LogError, LogReader, RecoveredStream, lookup, quarantine, recover_stream,
};
use catraca_testkit::log::{CLUSTER, KEY, NOON_NS, TestLog, decision};
use catraca_wire::block::{BlockIdentity, MAX_BLOCK_LEN, SECTOR_LEN, SEGMENT_HEAD_LEN};
use catraca_wire::frame::transaction_id;
use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn recover(data_dir: &Path) -> Result<(RecoveredStream, u64), LogError> {
    let mut records = 0;
    recover_stream(data_dir, 0, CLUSTER, &KEY, LastWrite::Block, Tail::START, |block| {
        records += block.records().count() as u64
    })
    .map(|recovered| (recovered, records))
}

#[test]
fn a_new_stream_starts_at_the_beginning() {
    let dir = folder();
    let (recovered, records) = recover(dir.path()).expect("nothing there is a new stream");
    assert_eq!(
        (recovered.tail.next_lsn, recovered.segments, recovered.tail.segment, records),
        (1, 0, 0, 0)
    );
    let new = NewSegment {
        cluster_id: CLUSTER,
        shard: 0,
        index: 0,
        segment_len: MIN_SEGMENT_LEN,
        created_at_ns: NOON_NS,
    };
    let path = segment::create(dir.path(), &new).expect("room for 64 KiB");
    assert_eq!(path, dir.path().join("log/shard-0000/00000000.seg"));
    let bytes = fs::read(&path).expect("readable");
    assert_eq!(bytes.len() as u64, MIN_SEGMENT_LEN);
    assert!(bytes[64..].iter().all(|&byte| byte == 0));
    let (recovered, _) = recover(dir.path()).expect("an empty segment is sound");
    assert_eq!(
        (recovered.tail.next_lsn, recovered.segments, recovered.tail.offset),
        (1, 1, SEGMENT_HEAD_LEN as u64)
    );
    assert_eq!(segment::segments(dir.path(), 0).expect("listed"), [0]);

    assert!(matches!(segment::create(dir.path(), &new), Err(LogError::SegmentExists { .. })));
    for segment_len in [0, 4096, MIN_SEGMENT_LEN + 512, 2 << 30] {
        let refused = segment::create(dir.path(), &NewSegment { index: 1, segment_len, ..new });
        assert!(matches!(refused, Err(LogError::SegmentLen(len)) if len == segment_len));
    }
}

#[test]
fn a_first_segment_reads_as_zeros_although_only_its_beginning_is_filled() {
    let dir = folder();
    let new = NewSegment {
        cluster_id: CLUSTER,
        shard: 0,
        index: 0,
        segment_len: 16 << 20,
        created_at_ns: NOON_NS,
    };
    let path = segment::create_first(dir.path(), &new).expect("room for 16 MiB");
    let bytes = fs::read(&path).expect("readable");
    assert_eq!(bytes.len() as u64, new.segment_len);
    assert!(bytes[64..].iter().all(|&byte| byte == 0));
    let (recovered, records) = recover(dir.path()).expect("an empty segment is sound");
    assert_eq!((recovered.tail.next_lsn, recovered.segments, records), (1, 1, 0));
    // All of it is the file's: a disk that is full does not stop the log in the middle of it.
    let taken_len = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).expect("there"));
    assert!(taken_len * 512 >= new.segment_len);
    assert!(matches!(segment::create_first(dir.path(), &new), Err(LogError::SegmentExists { .. })));
}

#[test]
fn a_block_that_was_read_while_it_was_written_is_read_again() {
    let dir = folder();
    let mut log = TestLog::new(64 * 1024);
    let blocks = [log.plain(3), log.block(&[vec![7; 6_000]])];
    log.write(dir.path());
    // The second block's first sectors are on the disk, its last ones not yet.
    let path = segment::segment_path(dir.path(), 0, 0);
    let file = OpenOptions::new().write(true).open(&path).expect("written");
    let late = blocks[1].offset + SECTOR_LEN;
    file.write_all_at(&vec![0; blocks[1].len - SECTOR_LEN], late as u64).expect("writable");
    let mut cursor = BlockCursor::new(dir.path(), 0, 0, SEGMENT_HEAD_LEN as u64);
    assert_eq!(cursor.next_durable().expect("readable"), Some(log.bytes_of(&blocks[0])));
    file.write_all_at(&log.bytes_of(&blocks[1])[SECTOR_LEN..], late as u64).expect("writable");
    assert_eq!(
        cursor.next_durable().expect("readable"),
        Some(log.bytes_of(&blocks[1])),
        "durable by now"
    );
    assert_eq!(cursor.next_durable().expect("readable"), None);
}

#[test]
fn a_full_disk_is_told_and_nothing_half_made_stays() {
    // A filesystem of 256 KiB. Where mounting is not allowed there is nothing to test.
    let dir = folder();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(dir.path())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("not tested: a small filesystem could not be mounted");
        return;
    }
    let new = NewSegment {
        cluster_id: CLUSTER,
        shard: 0,
        index: 0,
        segment_len: 1024 * 1024,
        created_at_ns: NOON_NS,
    };
    let outcome = segment::create(dir.path(), &new);
    let left = segment::stream_dir(dir.path(), 0).read_dir().map(Iterator::count);
    let unmounted = std::process::Command::new("umount").arg(dir.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert!(
        matches!(outcome, Err(LogError::NoSpace { needed_bytes: 1_048_576, .. })),
        "{outcome:?}"
    );
    assert_eq!(left.expect("listed"), 0);
}

#[test]
fn a_torn_tail_is_cleared_once() {
    for (lost_sector, reason) in
        [(0, TornReason::HeadNotWritten), (2, TornReason::SectorsNotWritten)]
    {
        let dir = folder();
        let mut log = TestLog::new(64 * 1024);
        log.plain(20);
        let kept = log.clone();
        let last = log.plain(40);
        let at = last.offset + lost_sector * SECTOR_LEN;
        log.segments[0][at..at + SECTOR_LEN].fill(0);
        log.prepare();
        log.write(dir.path());
        let (recovered, records) = recover(dir.path()).expect("torn is no damage");
        let torn = recovered.repaired.expect("torn");
        assert_eq!((torn.from, torn.reason), (last.offset as u64, reason));
        assert_eq!((recovered.tail.next_lsn, records, recovered.segments), (21, 20, 2));
        let path = segment::segment_path(dir.path(), 0, 0);
        assert_eq!(fs::read(path).expect("readable"), kept.segments[0]);
        let (again, _) = recover(dir.path()).expect("clean now");
        assert_eq!(again, RecoveredStream { repaired: None, ..recovered });
    }
}

#[test]
fn a_stale_region_longer_than_a_block_is_cleared_whole() {
    let dir = folder();
    let mut log = TestLog::new(8 * MAX_BLOCK_LEN);
    let old = log.plain(4000);
    let bytes = log.bytes_of(&old).to_vec();
    let from = log.offset;
    for i in 0..4 {
        let at = from + i * old.len;
        log.segments[0][at..at + old.len].copy_from_slice(&bytes);
    }
    log.write(dir.path());
    let (recovered, records) = recover(dir.path()).expect("stale is no damage");
    assert_eq!(records, 4000);
    assert_eq!(recovered.repaired.expect("stale").to, (from + 4 * old.len) as u64);
    assert!(recover(dir.path()).expect("clean").0.repaired.is_none());
}

#[test]
fn damage_is_refused_with_its_file_and_nothing_is_changed() {
    let dir = folder();
    let mut log = TestLog::new(64 * 1024);
    log.plain(20);
    let block = log.plain(20);
    log.segments[0][block.offset + 1000] ^= 4;
    log.write(dir.path());
    let error = recover(dir.path()).expect_err("bit rot");
    let LogError::Damaged { path, damage } = &error else { panic!("{error}") };
    assert_eq!(path, &segment::segment_path(dir.path(), 0, 0));
    assert_eq!((damage.at.offset, damage.reason), (block.offset as u64, DamageReason::PayloadRot));
    assert!(error.to_string().contains("00000000.seg: offset "), "{error}");
    assert_eq!(Failure::from(error).status, Status::LogDamaged);
    assert_eq!(
        fs::read(segment::segment_path(dir.path(), 0, 0)).expect("readable"),
        log.segments[0]
    );
}

#[test]
fn files_missing_empty_and_foreign_are_refused() {
    let mut log = TestLog::new(64 * 1024);
    for _ in 0..3 {
        log.plain(100);
        log.roll();
    }
    let reason_of = |change: &dyn Fn(&Path)| {
        let dir = folder();
        log.write(dir.path());
        change(dir.path());
        match recover(dir.path()) {
            Err(LogError::Damaged { damage, .. }) => (damage.at.segment, damage.reason),
            other => panic!("{other:?}"),
        }
    };
    let path = |dir: &Path, index| segment::segment_path(dir, 0, index);
    assert_eq!(
        reason_of(&|dir| fs::remove_file(path(dir, 1)).expect("own")),
        (1, DamageReason::SegmentMissing)
    );
    assert_eq!(
        reason_of(&|dir| fs::remove_file(path(dir, 0)).expect("own")),
        (0, DamageReason::SegmentMissing)
    );
    assert_eq!(
        reason_of(&|dir| fs::write(path(dir, 2), []).expect("own")),
        (2, DamageReason::SegmentEmpty)
    );
    let swapped = reason_of(&|dir| {
        fs::copy(path(dir, 2), path(dir, 1)).expect("own");
    });
    assert_eq!(swapped, (1, DamageReason::SegmentIndex(2)));

    // Files that are none of the log's are passed over.
    let dir = folder();
    log.write(dir.path());
    for name in ["00000004.seg.new", "4.seg", "notes.txt"] {
        fs::write(segment::stream_dir(dir.path(), 0).join(name), b"x").expect("own");
    }
    assert_eq!(recover(dir.path()).expect("sound").0.segments, 4);

    let other = recover_stream(dir.path(), 0, [9; 16], &KEY, LastWrite::Block, Tail::START, |_| {});
    assert!(
        matches!(other, Err(LogError::Damaged { damage, .. }) if damage.reason == DamageReason::SegmentCluster)
    );
}

#[test]
fn a_reader_beside_a_writer_sees_a_growing_sound_log() {
    let mut log = TestLog::new(64 * 1024);
    for i in 0..400 {
        log.plain(1 + i * 7 % 60);
    }
    let dir = folder();
    let mut empty = log.clone();
    for segment in &mut empty.segments {
        segment[SEGMENT_HEAD_LEN..].fill(0);
    }
    empty.segments.truncate(2);
    empty.write(dir.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (i, block) in log.blocks.iter().enumerate() {
                // A segment is prepared before it is needed, and appears whole.
                let ahead = segment::segment_path(dir.path(), 0, block.segment as u32 + 1);
                if !ahead.exists() && block.segment + 1 < log.segments.len() {
                    let mut bytes = log.segments[block.segment + 1].clone();
                    bytes[SEGMENT_HEAD_LEN..].fill(0);
                    let making = ahead.with_extension("seg.new");
                    fs::write(&making, bytes)
                        .and_then(|()| fs::rename(&making, &ahead))
                        .expect("own");
                }
                let path = segment::segment_path(dir.path(), 0, block.segment as u32);
                let file = OpenOptions::new().write(true).open(path).expect("prepared");
                // Sector by sector, from the back: the head last.
                for (n, sector) in log.bytes_of(block).chunks(SECTOR_LEN).enumerate().rev() {
                    file.write_all_at(sector, (block.offset + n * SECTOR_LEN) as u64).expect("own");
                }
                if i % 20 == 0 {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
        });
        let reader = LogReader::open(dir.path(), Some(KEY)).expect("a log");
        let mut from = Tail::START;
        let mut next = 1;
        loop {
            let finished = done.load(Ordering::Acquire);
            let read = reader
                .blocks(0, from, |block| {
                    for (record, _) in block.records() {
                        assert_eq!(*record, decision(next));
                        next += 1;
                    }
                    ControlFlow::Continue(())
                })
                .expect("readable");
            assert!(!matches!(read.end, End::Damaged(_)), "{:?}", read.end);
            from = read.tail;
            if finished {
                assert_eq!(read.end, End::Clean);
                break;
            }
        }
        assert_eq!(next, log.next_lsn);
    });
}

#[test]
fn a_look_up_finds_all_streams_newest_first() {
    let dir = folder();
    for shard in [0u16, 3] {
        let mut log =
            TestLog::of(64 * 1024, BlockIdentity { shard, epoch: 2, cluster_id: CLUSTER });
        for _ in 0..20 {
            log.plain(30);
        }
        log.write(dir.path());
    }
    let reader = LogReader::open(dir.path(), Some(KEY)).expect("a log");
    assert_eq!(reader.shards(), [0, 3]);
    assert_eq!(reader.cluster_id(), Some(CLUSTER));
    let id = transaction_id("T00000421").expect("an id");
    let query = |payer| lookup::Query { id, payer, institution: None };
    let found = lookup::find(&reader, &query(None), 10).expect("readable");
    let places: Vec<_> = found
        .records
        .iter()
        .map(|r| (r.place.shard, r.head.lsn.to_native(), r.place.epoch))
        .collect();
    assert_eq!((places, found.matches), (vec![(0, 421, 2), (3, 421, 2)], 2));
    assert!(found.records[0].place.segment >= 1);

    let payer = decision(421).transaction.payer;
    assert_eq!(lookup::find(&reader, &query(Some(payer)), 1).expect("readable").records.len(), 1);
    let nobody = decision(422).transaction.payer;
    assert_eq!(lookup::find(&reader, &query(Some(nobody)), 1).expect("readable").matches, 0);

    // A damaged stream is read up to the damage, and said so.
    let path = segment::segment_path(dir.path(), 3, 0);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[SEGMENT_HEAD_LEN + 1000] ^= 1;
    fs::write(&path, bytes).expect("own");
    let found = lookup::find(&reader, &query(None), 10).expect("readable");
    assert_eq!(found.matches, 1);
    assert!(
        matches!(found.streams[1].1.end, End::Damaged(_)) && found.streams[0].1.end == End::Clean
    );
}

#[test]
fn look_ups_in_an_own_log_end_at_the_last_durable_record() {
    let dir = folder();
    for shard in [0u16, 1] {
        let mut log =
            TestLog::of(64 * 1024, BlockIdentity { shard, epoch: 2, cluster_id: CLUSTER });
        for _ in 0..20 {
            log.plain(30);
        }
        log.write(dir.path());
    }
    let own = OwnLog { data_dir: dir.path().to_owned(), cluster_id: CLUSTER, key: KEY };
    let id = |number: u32| transaction_id(&format!("T{number:08}")).expect("an id");
    let payer = |number: u64| decision(number).transaction.payer;
    let queries = [
        Query { id: id(421), payer: None, institution: None },
        Query { id: id(421), payer: Some(payer(421)), institution: None },
        Query { id: id(421), payer: Some(payer(422)), institution: None },
        Query { id: id(1), payer: None, institution: None },
        Query { id: id(451), payer: None, institution: None },
        Query { id: id(9_999), payer: None, institution: None },
    ];
    // Each from what is on the disk: files of indexes, where a turn before made them.
    let find_newest =
        |ends: &[u64], queries: &[Query]| -> Result<Vec<Option<StoredRecord>>, LogError> {
            LogIndex::new(own.clone()).find_newest(ends, queries)
        };
    let lsns = |ends: &[u64]| {
        let found = find_newest(ends, &queries).expect("readable");
        found
            .iter()
            .map(|found| found.as_ref().map(|r| (r.place.shard, r.head.lsn.to_native())))
            .collect::<Vec<_>>()
    };
    let plain =
        lookup::find(&LogReader::open(dir.path(), Some(KEY)).expect("a log"), &queries[0], 1)
            .expect("readable");
    assert_eq!(
        find_newest(&[600, 600], &queries[..1]).expect("readable")[0].as_ref(),
        plain.records.first()
    );
    assert_eq!(
        lsns(&[600, 600]),
        [Some((0, 421)), Some((0, 421)), None, Some((0, 1)), Some((0, 451)), None]
    );
    // Blocks have 30 records: what is not durable yet is not looked at.
    assert_eq!(
        lsns(&[420, 600]),
        [Some((1, 421)), Some((1, 421)), None, Some((0, 1)), Some((1, 451)), None]
    );
    assert_eq!(lsns(&[0, 0]), [None; 6]);
    assert_eq!(lsns(&[30]), [None, None, None, Some((0, 1)), None, None]);

    // Not even a look: whatever lies there.
    let path = segment::segment_path(dir.path(), 1, 0);
    let whole = fs::read(&path).expect("readable");
    let mut damaged = whole.clone();
    damaged[2 * SEGMENT_HEAD_LEN + 30 * 256..].fill(0xaa);
    fs::write(&path, &damaged).expect("own");
    assert_eq!(
        lsns(&[600, 30]),
        [Some((0, 421)), Some((0, 421)), None, Some((0, 1)), Some((0, 451)), None]
    );
    let error = find_newest(&[600, 60], &queries).expect_err("what should be there is not");
    assert!(
        matches!(&error, LogError::Damaged { damage, .. } if damage.at.segment == 0),
        "{error}"
    );
}

#[test]
fn no_log_is_told() {
    let dir = folder();
    let error = LogReader::open(dir.path(), None).expect_err("nothing there");
    assert!(matches!(error, LogError::NoLog { .. }));
    assert_eq!(Failure::from(error).status, Status::DataDirectory);
}

#[test]
fn whole_blocks_behind_a_hole_are_put_aside_before_they_are_cleared() {
    let dir = folder();
    let mut log = TestLog::new(64 * 1024);
    log.plain(3);
    let [hole, behind, last] = [log.plain(2), log.plain(4), log.plain(1)];
    log.segments[0][hole.offset..hole.offset + SECTOR_LEN].fill(0);
    log.write(dir.path());
    let after =
        |last_write| recover_stream(dir.path(), 0, CLUSTER, &KEY, last_write, Tail::START, |_| {});
    let error = after(LastWrite::Block).expect_err("damage on any other node");
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    let recovered = after(LastWrite::Blocks).expect("a standby that caught up");
    assert_eq!((recovered.tail.next_lsn, recovered.tail.offset), (4, hole.offset as u64));
    let again = after(LastWrite::Block).expect("cleared");
    assert_eq!((again.tail.next_lsn, again.repaired), (4, None));
    let kept = dir
        .path()
        .join(format!("quarantine/shard-0000-segment-00000000-offset-{}-torn.blocks", hole.offset));
    let mut found = Vec::new();
    let faults = quarantine::blocks(&kept, &KEY, |block| {
        found.push((block.head.first_lsn.to_native(), block.records().count() as u64));
        ControlFlow::Continue(())
    });
    assert_eq!(faults.expect("readable").len(), 1, "the hole");
    assert_eq!(found, [(behind.first_lsn, behind.records), (last.first_lsn, last.records)]);
}
