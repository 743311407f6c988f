use super::*;
use crate::log::recovery::Recovery;
use crate::owner::position;
use catraca_testkit::log::{CLUSTER, KEY, TestLog, decision, forced_breaker, id};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::LabelKind;
use std::collections::BTreeSet;

/// The index of one segment, as a file, and where each id's blocks begin.
fn made(blocks: usize, ids: u64) -> (Vec<u8>, TestLog) {
    let mut log = TestLog::new(4 << 20);
    log.ids = ids;
    let keys = IndexKeys::new(&KEY);
    let mut builder = IndexBuilder::default();
    (0..blocks).for_each(|block| {
        log.plain(1 + block % 40);
    });
    assert_eq!(log.segments.len(), 1);
    let mut recovery = Recovery::new(Some(CLUSTER), 0, Some(&KEY));
    let fed = recovery.feed(0, &log.segments[0], &mut |block| {
        builder.take(block, &keys);
        std::ops::ControlFlow::Continue(())
    });
    assert!(fed.is_ok());
    assert_eq!(builder.len() as u64, log.next_lsn - 1);
    (builder.finish(CLUSTER, 0, 0, &keys), log)
}

fn open(file: &[u8]) -> Result<SegmentIndex, IndexFault> {
    let len = file.len() as u64;
    let head = file.first_chunk::<INDEX_HEAD_LEN>().ok_or(IndexFault::Length)?;
    let held = SegmentIndex::held_len(head, len)?;
    let keys = IndexKeys::new(&KEY);
    SegmentIndex::open(&file[..held], len, CLUSTER, 0, 0, &keys)
}

fn summary(file: &[u8]) -> Result<SegmentSummary, IndexFault> {
    let len = file.len() as u64;
    let head = file.first_chunk::<INDEX_HEAD_LEN>().ok_or(IndexFault::Length)?;
    let read = SegmentSummary::read_len(head, len)?;
    SegmentSummary::open(&file[..read], len, CLUSTER, 0, 0, &IndexKeys::new(&KEY))
}

fn blocks(index: &SegmentIndex, file: &[u8], number: u64, payer: Option<u64>) -> Vec<u64> {
    let keys = IndexKeys::new(&KEY);
    let hash = keys.id(&id(number));
    let payer = payer.map(|lsn| keys.payer(&decision(lsn).transaction.payer));
    let Some(read) = index.look(hash) else { return Vec::new() };
    let bytes = &file[read.offset as usize..][..read.len];
    index.blocks(read, bytes, hash, payer, &keys).expect("sound")
}

#[test]
fn labels_are_found_by_their_transaction_and_are_no_changes() {
    let label = Label {
        kind: LabelKind::Chargeback,
        known_at_ns: 5,
        source: LabelSource::parse("visa").expect("sound"),
        shard: 0,
        lsn: 3,
    };
    let labelled = decision(3).transaction;
    let head = label.to_record(&id(900_000), &labelled.payer, 9);
    let mut log = TestLog::new(4 << 20);
    log.plain(10);
    let block = log.records(&[(head, label.to_section().to_vec())]);
    let forced = log.records(&[forced_breaker()]);
    let keys = IndexKeys::new(&KEY);
    let mut builder = IndexBuilder::default();
    let mut recovery = Recovery::new(Some(CLUSTER), 0, Some(&KEY));
    let fed = recovery.feed(0, &log.segments[0], &mut |block| {
        builder.take(block, &keys);
        std::ops::ControlFlow::Continue(())
    });
    assert!(fed.is_ok());
    let of_label = (keys.id(&id(900_000)), Some(keys.payer(&labelled.payer)));
    assert_eq!(builder.blocks(of_label.0, of_label.1), [block.offset as u64]);
    let file = builder.finish(CLUSTER, 0, 0, &keys);
    let index = open(&file).expect("sound");
    assert_eq!(blocks(&index, &file, 900_000, Some(3)), [block.offset as u64]);
    assert_eq!(index.summary().decisions(), 10);
    // A breaker that is forced belongs to no transaction.
    let changes: Vec<u64> = index.summary().changes().collect();
    assert_eq!(changes, [forced.offset as u64]);
}

#[test]
fn every_decision_is_found_in_its_block_and_few_others_are_looked_for() {
    let (file, log) = made(300, u64::MAX);
    let index = open(&file).expect("sound");
    assert_eq!(index.summary().lsns(), (1, log.next_lsn - 1));
    let (last_offset, tail) = index.summary().last_block();
    assert_eq!(last_offset, log.last().offset as u64);
    let read = log.recover().tail;
    assert_eq!(
        (tail.segment, tail.offset, tail.next_lsn, tail.previous_chain),
        (read.segment, read.offset, read.next_lsn, read.previous_chain)
    );
    assert_eq!((tail.epoch, tail.sealed_at_ns), (read.epoch, read.sealed_at_ns));
    assert_eq!(index.summary().decisions(), log.next_lsn - 1);
    assert_eq!(index.summary().changes().count(), 0);
    let newest = decision(log.next_lsn - 1).transaction.event_time_ns;
    assert_eq!(index.summary().newest_event_ns(), newest.to_native());
    let positions = (1..log.next_lsn).map(|lsn| {
        position(DocumentKey::from_wire(&decision(lsn).transaction.payer).expect("valid"))
    });
    let (lowest, highest) = (positions.clone().min(), positions.max());
    let payers = index.summary().payers();
    assert!(lowest.zip(highest).is_some_and(|(lowest, highest)| {
        payers.contains(&lowest)
            && payers.contains(&highest)
            && payers.start() >> 48 == lowest >> 48
            && payers.end() >> 48 == highest >> 48
    }));
    // No document can be read out of them.
    assert_eq!((payers.start() << 16, !payers.end() << 16), (0, 0));
    for block in &log.blocks {
        for lsn in block.first_lsn..block.first_lsn + block.records {
            let found = [Some(lsn), None].map(|payer| blocks(&index, &file, lsn, payer));
            assert_eq!(found, [[block.offset as u64]; 2]);
        }
    }
    let keys = IndexKeys::new(&KEY);
    let absent = 1_000_000..1_010_000;
    let seem = absent.filter(|&n| index.look(keys.id(&id(n))).is_some()).count();
    assert!(seem < 300, "{seem} of 10,000 seem to be there");
    assert!(index.memory_len() < 2 * log.next_lsn as usize);
}

#[test]
fn an_id_of_many_payers_is_found_in_all_its_blocks_the_newest_first() {
    let (file, log) = made(200, 50);
    let index = open(&file).expect("sound");
    let mut pages = BTreeSet::new();
    for block in &log.blocks {
        let holds = (block.first_lsn..block.first_lsn + block.records).any(|lsn| lsn % 50 == 7);
        if holds {
            pages.insert(block.offset as u64);
        }
    }
    let all: Vec<u64> = pages.into_iter().rev().collect();
    assert_eq!(blocks(&index, &file, 7, None), all);
    let of_one = blocks(&index, &file, 7, Some(57));
    assert!(!of_one.is_empty() && of_one.len() < all.len() && all.contains(&of_one[0]));
}

#[test]
fn an_empty_segment_has_an_index_too() {
    let keys = IndexKeys::new(&KEY);
    let file = IndexBuilder::default().finish(CLUSTER, 0, 0, &keys);
    let index = open(&file).expect("sound");
    assert_eq!(index.look(keys.id(&id(1))), None);
}

#[test]
fn whatever_is_changed_is_noticed() {
    let (file, _) = made(60, u64::MAX);
    let sound = open(&file).expect("sound");
    let held = INDEX_HEAD_LEN + sound.memory_len();
    let summary_len = sound.summary().head.summary_len();
    assert!(summary(&file).is_ok());
    for at in (0..file.len()).step_by(7) {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        if at < held {
            assert!(open(&changed).is_err(), "byte {at} of what is held");
            let summary = summary(&changed);
            assert_eq!(summary.is_err(), at < summary_len, "byte {at} of the beginning");
            continue;
        }
        // Whoever reads the bucket notices it.
        let index = open(&changed).expect("entries are not held");
        let keys = IndexKeys::new(&KEY);
        let noticed = (1..2_000).any(|number| {
            let hash = keys.id(&id(number));
            index.look(hash).is_some_and(|read| {
                let bytes = &changed[read.offset as usize..][..read.len];
                index.blocks(read, bytes, hash, None, &keys) == Err(IndexFault::Check)
            })
        });
        assert!(noticed, "byte {at} of the entries");
    }
    for len in [0, 1, INDEX_HEAD_LEN - 1, INDEX_HEAD_LEN, held, file.len() - 1] {
        assert!(open(&file[..len]).is_err(), "{len} bytes");
    }
    let head: &[u8; INDEX_HEAD_LEN] = file.first_chunk().expect("long enough");
    let keys = IndexKeys::new(&KEY);
    assert!(SegmentIndex::held_len(head, file.len() as u64 + 1).is_err());
    let of = |cluster, shard, segment, keys: &IndexKeys| {
        SegmentIndex::open(&file[..held], file.len() as u64, cluster, shard, segment, keys)
            .map(|_| ())
    };
    assert_eq!(of(CLUSTER, 0, 0, &keys), Ok(()));
    assert_eq!(of([9; 16], 0, 0, &keys), Err(IndexFault::OtherSegment));
    assert_eq!(of(CLUSTER, 1, 0, &keys), Err(IndexFault::OtherSegment));
    assert_eq!(of(CLUSTER, 0, 1, &keys), Err(IndexFault::OtherSegment));
    assert_eq!(of(CLUSTER, 0, 0, &IndexKeys::new(&[1; 32])), Err(IndexFault::Check));
}
