use super::*;
use crate::log::index::{IndexBuilder, IndexKeys};
use crate::log::recovery::Recovery;
use crate::rebuild::Builder;
use crate::shard::dedupe::{Found, MIN_ENTRIES};
use catraca_testkit::log::{CLUSTER, KEY, TestLog, decision, id};
use catraca_wire::DocumentKey;
use std::ops::ControlFlow;

const SHARDS: u16 = 3;

struct Made {
    file: Vec<u8>,
    index: SegmentSummary,
    /// Rebuilt from the blocks, and how the stream stands behind each.
    whole: Builder,
    boundaries: Vec<Tail>,
    records: u64,
}

fn keys() -> DedupeFileKeys {
    DedupeFileKeys::new(&KEY)
}

fn name() -> SegmentName {
    SegmentName { cluster_id: CLUSTER, shard: 0, segment: 0, shards: SHARDS }
}

/// A segment with blocks of decisions, of changes, and of both; and its file.
fn made(blocks: usize) -> Made {
    let mut log = TestLog::new(16 << 20);
    for block in 0..blocks {
        let mut records = vec![(decision(log.next_lsn), Vec::new()); 1 + block * 7 % 300];
        let first_lsn = log.next_lsn;
        for (lsn, (head, _)) in (first_lsn..).zip(&mut records) {
            *head = decision(lsn);
            head.transaction.id = id(lsn);
            // Changes of the lists between decisions, and now and then a block of nothing else.
            if lsn % 11 == 0 || block % 9 == 4 {
                head.kind = 3;
            }
            head.snapshot_id = ((lsn / 50) << 32).into();
        }
        log.records(&records);
    }
    assert_eq!(log.segments.len(), 1);
    let (index_keys, mut index) = (IndexKeys::new(&KEY), IndexBuilder::default());
    let (mut builder, mut file) = (DedupeFileBuilder::new(SHARDS), Vec::new());
    let whole = Builder::new(SHARDS, MIN_ENTRIES, DedupeKey::of(&KEY));
    let mut boundaries = Vec::new();
    let mut recovery = Recovery::new(Some(CLUSTER), 0, Some(&KEY));
    let fed = recovery.feed(0, &log.segments[0], &mut |block| {
        index.take(block, &index_keys);
        file.extend(builder.take(block, &keys()).unwrap_or_default());
        whole.take(block);
        boundaries.push(Tail::after(block));
        ControlFlow::Continue(())
    });
    assert!(fed.is_ok());
    file.extend(builder.finish(CLUSTER, 0, 0, &keys()));
    let index = index.finish(CLUSTER, 0, 0, &index_keys);
    let len = index.len() as u64;
    let head = index.first_chunk().expect("it has a head");
    let held = SegmentSummary::read_len(head, len).expect("sound");
    let index =
        SegmentSummary::open(&index[..held], len, CLUSTER, 0, 0, &index_keys).expect("sound");
    Made { file, index, whole, boundaries, records: log.next_lsn - 1 }
}

fn open(file: &[u8], name: &SegmentName, made: &Made) -> Result<DedupeFile, DedupeFileFault> {
    let len = file.len() as u64;
    let foot = file.last_chunk::<FOOT_LEN>().ok_or(DedupeFileFault::Length)?;
    let end_len = DedupeFile::end_len(foot, len)?;
    let end = &file[file.len() - end_len..];
    DedupeFile::open(end, len, name, &made.index, &keys())
}

/// Its chunks, up to the first that is not sound.
fn chunks(file: &[u8], made: &Made) -> Result<Vec<Chunk>, DedupeFileFault> {
    let kept = open(file, &name(), made)?;
    let mut first_lsn = kept.first_lsn();
    let chunk = |read: ChunkRead| {
        let bytes = file[read.offset as usize..][..read.len].to_vec();
        let chunk = kept.chunk(read, bytes, first_lsn, &keys())?;
        first_lsn = chunk.next_lsn();
        Ok(chunk)
    };
    kept.chunks().map(chunk).collect()
}

#[test]
fn a_file_makes_the_tables_that_its_blocks_make() {
    let made = made(250);
    let chunks = chunks(&made.file, &made).expect("sound");
    assert!(chunks.len() > 3, "{} chunks", chunks.len());
    let quick = Builder::new(SHARDS, MIN_ENTRIES, DedupeKey::of(&KEY));
    chunks.iter().for_each(|chunk| quick.take_kept(0, chunk));
    let boundaries: Vec<Tail> = chunks.iter().flat_map(|chunk| chunk.boundaries(0)).collect();
    assert_eq!(boundaries, made.boundaries);
    assert_eq!((quick.records(), made.whole.records()), (made.records, made.records));
    let mut held = 0;
    for (quick, whole) in quick.into_dedupes().iter().zip(made.whole.into_dedupes()) {
        assert_eq!((quick.len(), quick.horizon_ns()), (whole.len(), whole.horizon_ns()));
        held += whole.len();
        for lsn in 1..=made.records {
            let transaction = decision(lsn).transaction;
            let payer = DocumentKey::from_wire(&transaction.payer).expect("valid");
            let fingerprint = whole.fingerprint(0, payer, &transaction);
            let found = whole.find(&fingerprint);
            assert_eq!(quick.find(&fingerprint), found, "record {lsn}");
            if let Found::Same(position) = found {
                assert_eq!(quick.answer(position, false), whole.answer(position, false));
                assert_eq!(quick.address(position), (0, lsn));
            }
        }
    }
    assert!(held > made.records / 2 && held < made.records, "{held} of {}", made.records);
}

#[test]
fn no_byte_of_a_file_is_believed_that_was_not_written_so() {
    let made = made(60);
    assert!(chunks(&made.file, &made).is_ok());
    for at in (0..made.file.len()).step_by(97).chain(made.file.len() - 300..made.file.len()) {
        let mut file = made.file.clone();
        file[at] ^= 0x40;
        assert!(chunks(&file, &made).is_err(), "byte {at}");
    }
    for len in [0, 1, FOOT_LEN - 1, FOOT_LEN, made.file.len() - 1] {
        assert!(chunks(&made.file[..len], &made).is_err(), "{len} bytes");
        // What is missing at the beginning does not move the end.
        assert!(chunks(&made.file[made.file.len() - len..], &made).is_err(), "{len} bytes");
    }
    let mut longer = vec![0; 40];
    longer.extend_from_slice(&made.file);
    assert_eq!(chunks(&longer, &made).err(), Some(DedupeFileFault::Length));
}

#[test]
fn a_file_is_of_one_segment_and_for_one_number_of_shards() {
    let (made, other) = (made(40), made(41));
    let mut cluster_id = CLUSTER;
    cluster_id[0] ^= 1;
    for name in [
        SegmentName { cluster_id, ..name() },
        SegmentName { shard: 1, ..name() },
        SegmentName { segment: 1, ..name() },
    ] {
        let opened = open(&made.file, &name, &made);
        assert_eq!(opened.err(), Some(DedupeFileFault::OtherSegment), "{name:?}");
    }
    let opened = open(&made.file, &name(), &other);
    assert_eq!(opened.err(), Some(DedupeFileFault::OtherSegment), "other blocks");
    let opened = open(&made.file, &SegmentName { shards: 4, ..name() }, &made);
    assert_eq!(opened.err(), Some(DedupeFileFault::OtherShards(SHARDS)));
    let other_key = DedupeFileKeys::new(&[1; 32]);
    let end_len = made.file.last_chunk().map(|foot| DedupeFile::end_len(foot, 1 << 30));
    let end = &made.file[made.file.len() - end_len.expect("long").expect("a foot")..];
    let len = made.file.len() as u64;
    let opened = DedupeFile::open(end, len, &name(), &made.index, &other_key);
    assert_eq!(opened.err(), Some(DedupeFileFault::Check));
}

#[test]
fn a_file_says_nothing_of_anybody_in_clear() {
    let made = made(20);
    for lsn in 1..30 {
        let transaction = decision(lsn).transaction;
        let payer = DocumentKey::from_wire(&transaction.payer).expect("valid");
        let raw = payer.raw().to_le_bytes();
        let content = DedupeKey::of(&KEY).fingerprint(0, payer, &transaction).content.to_le_bytes();
        for text in [&transaction.payer[..11], &transaction.id[..9], &raw, &content] {
            assert!(!made.file.windows(text.len()).any(|bytes| bytes == text), "record {lsn}");
        }
    }
}
