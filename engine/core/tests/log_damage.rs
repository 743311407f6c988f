//! Damage: what no crash can have left in a log is refused, and named with its place and its reason.

use catraca_core::log::SoundBlock;
use catraca_core::log::damage::{Damage, DamageReason, RecordFault, Spot};
use catraca_core::log::recovery::Recovery;
use catraca_testkit::log::{CLUSTER, KEY, TestLog, Written, recover, spot};
use catraca_wire::block::{
    BLOCK_ALIGN, BLOCK_HEAD_LEN, BlockHead, MAX_BLOCK_LEN, SECTOR_LEN, SEGMENT_HEAD_LEN,
    SegmentHead,
};
use std::ops::ControlFlow;

/// Changes a block's head and makes its check sum right again.
fn forge(log: &mut TestLog, block: Written, change: impl FnOnce(&mut BlockHead)) {
    let bytes = &mut log.segments[block.segment][block.offset..block.offset + BLOCK_HEAD_LEN];
    let head: &mut BlockHead = bytemuck::from_bytes_mut(bytes);
    change(head);
    head.header_crc = head.expected_header_crc().into();
}

fn forge_segment(log: &mut TestLog, segment: usize, change: impl FnOnce(&mut SegmentHead)) {
    let head: &mut SegmentHead = bytemuck::from_bytes_mut(&mut log.segments[segment][..64]);
    change(head);
    head.header_crc = head.expected_crc().into();
}

#[test]
fn every_flipped_bit_is_found() {
    let mut log = TestLog::new(5 * BLOCK_ALIGN);
    log.plain(2);
    let mut extension = vec![0; 2048];
    extension[3] = 3;
    let last = log.block(&[vec![], extension]);
    log.segment_len = 3 * BLOCK_ALIGN;
    log.prepare();
    let records = log.recover().records;
    assert!(log.recover().clean() && records.len() == 4);
    let end = last.offset + last.len;

    let mut flipped = log.segments.clone();
    for segment in 0..flipped.len() {
        for bit in 0..flipped[segment].len() * 8 {
            let byte = bit / 8;
            flipped[segment][byte] ^= 1 << (bit % 8);
            let found = recover(&flipped, Some(&KEY));
            flipped[segment][byte] ^= 1 << (bit % 8);

            let block = log
                .blocks
                .iter()
                .find(|b| b.segment == segment && (b.offset..b.offset + b.len).contains(&byte));
            let rest_from = if segment == 0 { end } else { SEGMENT_HEAD_LEN };
            let context =
                || format!("segment {segment} byte {byte} bit {}: {:?}", bit % 8, found.end);
            if byte < SEGMENT_HEAD_LEN {
                assert_eq!(
                    found.damage().at,
                    Spot { segment: segment as u32, offset: 0 },
                    "{}",
                    context()
                );
            } else if let Some(block) = block {
                assert_eq!(found.damage().at, spot(block), "{}", context());
                assert_eq!(found.records, records[..block.first_lsn as usize - 1], "{}", context());
            } else if byte < rest_from + SECTOR_LEN {
                let at = Spot { segment: segment as u32, offset: rest_from as u64 };
                assert_eq!(
                    found.damage(),
                    Damage { at, reason: DamageReason::BlockHead },
                    "{}",
                    context()
                );
            } else {
                // Never written, so never acknowledged; told as torn, and no record is lost by
                // clearing it.
                let torn = found.torn();
                assert_eq!(
                    (torn.segment as usize, torn.from),
                    (segment, rest_from as u64),
                    "{}",
                    context()
                );
                assert!(
                    (torn.from..torn.to).contains(&(byte as u64)) && found.records == records,
                    "{}",
                    context()
                );
            }
        }
    }
}

#[test]
fn a_lost_block_in_the_middle_is_refused_and_named() {
    let mut log = TestLog::new(64 * 1024);
    for _ in 0..5 {
        log.plain(20);
    }
    for len in [SECTOR_LEN, log.blocks[2].end, log.blocks[2].len] {
        let mut damaged = log.clone();
        let block = log.blocks[2];
        damaged.segments[0][block.offset..block.offset + len].fill(0);
        let recovered = damaged.recover();
        let reason = DamageReason::LostBlock { found: spot(&log.blocks[3]) };
        assert_eq!(recovered.damage(), Damage { at: spot(&block), reason }, "{len}");
        assert_eq!(recovered.records.len(), 40);
    }
    // Only a sector behind the head: incomplete, but not the last.
    let mut damaged = log.clone();
    let block = log.blocks[2];
    damaged.segments[0][block.offset + SECTOR_LEN..block.offset + 2 * SECTOR_LEN].fill(0);
    let reason = DamageReason::TornButContinued { found: spot(&log.blocks[3]) };
    assert_eq!(damaged.recover().damage(), Damage { at: spot(&block), reason });
}

#[test]
fn a_loss_at_the_end_of_a_segment_is_seen_from_the_next() {
    let mut log = TestLog::new(64 * 1024);
    log.plain(20);
    let lost = log.plain(20);
    log.roll();
    let next = log.plain(1);
    let mut zeroed = log.clone();
    zeroed.segments[0][lost.offset..lost.offset + lost.len].fill(0);
    let reason = DamageReason::LostBlock { found: spot(&next) };
    assert_eq!(zeroed.recover().damage(), Damage { at: spot(&lost), reason });

    let mut torn = log.clone();
    torn.segments[0][lost.offset + SECTOR_LEN..lost.offset + lost.len].fill(0);
    let reason = DamageReason::TornButContinued { found: spot(&next) };
    assert_eq!(torn.recover().damage(), Damage { at: spot(&lost), reason });

    let mut headless = log.clone();
    headless.segments[0][lost.offset..lost.offset + SECTOR_LEN].fill(0);
    let reason = DamageReason::LostBlock { found: spot(&next) };
    assert_eq!(headless.recover().damage(), Damage { at: spot(&lost), reason });

    // The same with a segment that was emptied between the two.
    let mut log = TestLog::new(64 * 1024);
    let first = log.plain(20);
    log.roll();
    let lost = log.plain(20);
    log.roll();
    let next = log.plain(1);
    log.segments[1][lost.offset..].fill(0);
    let at = Spot { segment: 0, offset: (first.offset + first.len) as u64 };
    assert_eq!(
        log.recover().damage(),
        Damage { at, reason: DamageReason::LostBlock { found: spot(&next) } }
    );
}

#[test]
fn segment_files_that_do_not_belong_are_named() {
    let mut log = TestLog::new(64 * 1024);
    log.plain(1);
    log.roll();
    log.plain(1);
    log.roll();
    log.plain(1);
    let damage_of = |change: &dyn Fn(&mut TestLog)| {
        let mut log = log.clone();
        change(&mut log);
        log.recover().damage()
    };
    let at = |segment| Spot { segment, offset: 0 };
    type Change<'c> = &'c dyn Fn(&mut TestLog);
    let cases: [(Change<'_>, DamageReason); 7] = [
        (&|log| log.segments[1].clear(), DamageReason::SegmentEmpty),
        (
            &|log| forge_segment(log, 1, |head| head.cluster_id[0] ^= 1),
            DamageReason::SegmentCluster,
        ),
        (&|log| forge_segment(log, 1, |head| head.shard = 7.into()), DamageReason::SegmentShard(7)),
        (&|log| log.segments[1] = log.segments[2].clone(), DamageReason::SegmentIndex(2)),
        (
            &|log| forge_segment(log, 1, |head| head.format_version = 2.into()),
            DamageReason::SegmentVersion(2),
        ),
        (&|log| log.segments[1][..8].copy_from_slice(b"whatever"), DamageReason::SegmentHead),
        (&|log| log.segments[1][100] = 1, DamageReason::SegmentPadding),
    ];
    for (change, reason) in cases {
        assert_eq!(damage_of(change), Damage { at: at(1), reason });
    }
    let longer = damage_of(&|log| log.segments[1].extend([0; 512]));
    assert_eq!(
        longer.reason,
        DamageReason::SegmentLength { have: 64 * 1024 + 512, want: 64 * 1024 }
    );
    let shorter = damage_of(&|log| log.segments[1].truncate(100));
    assert_eq!(shorter.reason, DamageReason::SegmentLength { have: 100, want: 64 * 1024 });

    let mut recovery = Recovery::new(Some(CLUSTER), 0, Some(&KEY));
    let mut all = |_: &SoundBlock<'_>| ControlFlow::Continue(());
    assert!(recovery.feed(0, &log.segments[0], &mut all).expect("sound").is_continue());
    let missing = recovery.feed(2, &log.segments[2], &mut all).expect_err("number 1 is missing");
    assert_eq!(missing, Damage { at: at(1), reason: DamageReason::SegmentMissing });
}

#[test]
fn blocks_that_do_not_follow_are_named() {
    let mut log = TestLog::new(64 * 1024);
    log.plain(2);
    log.identity.epoch = 5;
    log.plain(2);
    let third = log.plain(2);
    let reason_of = |change: &dyn Fn(&mut BlockHead)| {
        let mut log = log.clone();
        forge(&mut log, third, change);
        let damage = log.recover().damage();
        assert_eq!(damage.at, spot(&third));
        damage.reason
    };
    assert_eq!(reason_of(&|head| head.format_version = 9.into()), DamageReason::BlockVersion(9));
    assert_eq!(
        reason_of(&|head| head.first_lsn = 8.into()),
        DamageReason::Gap { expected: 5, found: 8 }
    );
    assert_eq!(
        reason_of(&|head| head.epoch = 4.into()),
        DamageReason::EpochWentBack { before: 5, found: 4 }
    );
    assert_eq!(reason_of(&|head| head.previous_chain[9] ^= 1), DamageReason::ChainLink);
    assert_eq!(reason_of(&|head| head.chain[9] ^= 1), DamageReason::ChainValue);
    assert_eq!(reason_of(&|head| head.sealed_at_ns = 9.into()), DamageReason::ChainValue);
    assert_eq!(
        reason_of(&|head| head.payload_len = (MAX_BLOCK_LEN as u32).into()),
        DamageReason::BlockHead
    );
    assert_eq!(
        reason_of(&|head| head.payload_len = (60 * 1024).into()),
        DamageReason::BlockSpansSegments
    );
    assert_eq!(reason_of(&|head| head.record_count = 0.into()), DamageReason::BlockHead);
    assert_eq!(reason_of(&|head| head.reserved[3] = 1), DamageReason::BlockHead);
}

#[test]
fn records_that_can_not_be_are_named_though_the_chain_is_right() {
    let fault_of = |at: usize, bytes: &[u8]| {
        let mut log = TestLog::new(64 * 1024);
        log.plain(1);
        let block = log.plain(3);
        let bytes_of_block = &mut log.segments[0][block.offset..block.offset + block.len];
        bytes_of_block[at..at + bytes.len()].copy_from_slice(bytes);
        let previous =
            bytemuck::from_bytes::<BlockHead>(&bytes_of_block[..BLOCK_HEAD_LEN]).previous_chain;
        catraca_wire::block::seal(
            bytes_of_block,
            block.end - BLOCK_HEAD_LEN,
            &log.identity,
            2,
            3,
            1,
            &previous,
            &KEY,
        );
        log.recover().damage().reason
    };
    let second = BLOCK_HEAD_LEN + 256;
    assert_eq!(
        fault_of(second, &[99]),
        DamageReason::Record { lsn: 3, what: RecordFault::Kind(99) }
    );
    assert_eq!(
        fault_of(second + 1, &[7]),
        DamageReason::Record { lsn: 3, what: RecordFault::Version(7) }
    );
    assert_eq!(
        fault_of(second + 2, &[12, 0]),
        DamageReason::Record { lsn: 3, what: RecordFault::Extension(12) }
    );
    assert_eq!(
        fault_of(second + 2, &[8, 16]),
        DamageReason::Record { lsn: 3, what: RecordFault::Extension(4104) }
    );
    assert_eq!(
        fault_of(second + 2, &[0, 1]),
        DamageReason::Record { lsn: 4, what: RecordFault::Length }
    );
    assert_eq!(
        fault_of(second + 16, &[9]),
        DamageReason::Record { lsn: 3, what: RecordFault::Lsn(9) }
    );
}

#[test]
fn another_key_is_noticed_and_no_key_checks_the_rest() {
    let mut log = TestLog::new(64 * 1024);
    let first = log.plain(2);
    log.plain(2);
    let wrong = recover(&log.segments, Some(&[1; 32]));
    assert_eq!(wrong.damage(), Damage { at: spot(&first), reason: DamageReason::ChainValue });
    assert!(wrong.records.is_empty());
    assert!(recover(&log.segments, None).clean());
    log.segments[0][first.offset + 300] ^= 1;
    assert_eq!(recover(&log.segments, None).damage().reason, DamageReason::PayloadRot);
}

#[test]
fn bytes_where_no_write_can_have_left_them_are_refused() {
    // Further behind the end than the longest block.
    let mut log = TestLog::new(4 * MAX_BLOCK_LEN);
    let last = log.plain(2);
    let end = last.offset + last.len;
    let mut near = log.clone();
    near.segments[0][end + MAX_BLOCK_LEN - 1] = 1;
    assert_eq!(near.recover().torn().to, (end + MAX_BLOCK_LEN) as u64);
    let mut far = log.clone();
    far.segments[0][end + MAX_BLOCK_LEN] = 1;
    let found = Spot { segment: 0, offset: (end + MAX_BLOCK_LEN) as u64 };
    assert_eq!(far.recover().damage().reason, DamageReason::Remains { found });

    // Behind the end of a torn block whose length is known.
    let mut log = TestLog::new(64 * 1024);
    let last = log.plain(20);
    log.segments[0][last.offset + SECTOR_LEN..last.offset + last.len].fill(0);
    log.segments[0][last.offset + last.len + 1] = 1;
    let found = Spot { segment: 0, offset: (last.offset + last.len) as u64 };
    assert_eq!(log.recover().damage().reason, DamageReason::Remains { found });

    // Two segments on.
    let mut log = TestLog::new(64 * 1024);
    log.plain(2);
    log.prepare();
    log.prepare();
    log.segments[2][6000] = 1;
    assert!(matches!(
        log.recover().damage(),
        Damage { at: Spot { segment: 2, .. }, reason: DamageReason::Remains { .. } }
    ));

    // In two places at once.
    let mut log = TestLog::new(64 * 1024);
    let last = log.plain(2);
    log.prepare();
    log.segments[0][last.offset + last.len + 600] = 1;
    log.segments[1][6000] = 1;
    assert!(matches!(
        log.recover().damage(),
        Damage { at: Spot { segment: 1, .. }, reason: DamageReason::Remains { .. } }
    ));
}
