//! Recovery as a pure function: what is torn is cut, what is damaged is named, nothing is accepted
//! silently.

use catraca_core::log::damage::{Damage, DamageReason, RecordFault, Spot, Stale, Torn, TornReason};
use catraca_core::log::recovery::{LastWrite, Recovery, SegmentEnd, SegmentWalk, walk_segment};
use catraca_core::log::{SoundBlock, Tail};
use catraca_testkit::log::{CLUSTER, KEY, Recovered, TestLog, Written, recover};
use catraca_wire::block::{
    BLOCK_ALIGN, BLOCK_HEAD_LEN, BlockHead, BlockIdentity, MAX_BLOCK_LEN, SECTOR_LEN,
    SEGMENT_HEAD_LEN, SegmentHead,
};
use proptest::prelude::*;
use std::ops::ControlFlow;

const PAGE: usize = BLOCK_ALIGN;

fn spot(block: &Written) -> Spot {
    Spot { segment: block.segment as u32, offset: block.offset as u64 }
}

fn all_but_last(recovered: &Recovered, log: &TestLog) {
    assert_eq!(recovered.records.len() as u64, log.last().first_lsn - 1);
    assert_eq!(recovered.tail.next_lsn, log.last().first_lsn);
}

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
fn a_log_over_several_segments_reads_back() {
    let mut log = TestLog::new(64 * 1024);
    for count in [1, 14, 15, 16, 60, 100, 1, 7, 120, 90, 3] {
        log.plain(count);
    }
    log.block(&[vec![7; 8], vec![], vec![9; 4096]]);
    log.prepare();
    log.prepare();
    let recovered = log.recover();
    assert!(recovered.clean(), "{recovered:?}");
    assert!(log.last().segment >= 2);
    assert_eq!(recovered.records.len(), 430);
    assert!(
        recovered
            .records
            .iter()
            .enumerate()
            .all(|(i, (head, _))| head.lsn.to_native() == i as u64 + 1)
    );
    assert_eq!(recovered.records[429].1, vec![9; 4096]);
    let last = log.last();
    assert_eq!(recovered.tail.segment as usize, last.segment);
    assert_eq!(recovered.tail.offset as usize, last.offset + last.len);
    assert_eq!(recovered.tail.previous_chain, log.chain);
    assert_eq!((recovered.tail.next_lsn, recovered.tail.epoch), (431, 1));
}

#[test]
fn an_empty_log_is_clean() {
    let mut log = TestLog::new(64 * 1024);
    assert!(log.recover().clean());
    log.prepare();
    assert_eq!(log.recover().tail, Tail::START);
    assert!(recover(&[], Some(&KEY)).clean());
}

#[test]
fn every_truncation_of_the_last_block_is_torn() {
    let mut log = TestLog::new(32 * 1024);
    log.plain(3);
    let last = log.plain(20);
    let whole = &log.segments[0];
    for len in last.offset..=last.offset + last.len {
        let walk = SegmentWalk {
            bytes: &whole[..len],
            segment_len: whole.len() as u64,
            segment: 0,
            start: SEGMENT_HEAD_LEN as u64,
            cluster_id: CLUSTER,
            shard: 0,
            key: Some(&KEY),
            last_write: LastWrite::Block,
        };
        let mut tail = Tail::START;
        let end = walk_segment(&walk, &mut tail, &mut |_| ControlFlow::Continue(()));
        let from = last.offset as u64;
        if len == last.offset {
            assert_eq!((end, tail.next_lsn), (SegmentEnd::Clean { end_offset: from }, 4), "{len}");
        } else if len < last.offset + last.end {
            let to = (len as u64).next_multiple_of(PAGE as u64);
            let torn = Torn { segment: 0, from, to, reason: TornReason::SectorsNotWritten };
            assert_eq!((end, tail.next_lsn), (SegmentEnd::TornTail(torn), 4), "{len}");
        } else {
            assert_eq!(
                (end, tail.next_lsn),
                (SegmentEnd::Clean { end_offset: from + last.len as u64 }, 24),
                "{len}"
            );
        }
        // No crash shortens a segment, so a stream with one is refused: what is gone may have been
        // acknowledged.
        let cut = recover(&[whole[..len].to_vec()], Some(&KEY));
        let reason = DamageReason::SegmentLength { have: len as u64, want: 32 * 1024 };
        assert_eq!(cut.damage(), Damage { at: Spot { segment: 0, offset: len as u64 }, reason });
    }
}

#[test]
fn every_set_of_unwritten_sectors_of_the_last_block_is_torn() {
    // Head and 16 records: nine sectors, the last half used. Then the same size with an extension
    // of zeros over several sectors.
    for extensions in [vec![vec![]; 16], vec![vec![0; 2560], vec![], vec![1; 768]]] {
        let mut log = TestLog::new(32 * 1024);
        log.plain(3);
        let last = log.block(&extensions);
        let sectors = last.end.div_ceil(SECTOR_LEN);
        assert_eq!(sectors, 9);
        let used: Vec<bool> = log
            .bytes_of(&last)
            .chunks(SECTOR_LEN)
            .take(sectors)
            .map(|sector| sector.iter().any(|&byte| byte != 0))
            .collect();
        for set in 0..1u32 << sectors {
            let mut log = log.clone();
            let lost = |sector: usize| set & 1 << sector != 0 && used[sector];
            for sector in (0..sectors).filter(|&sector| lost(sector)) {
                let at = last.offset + sector * SECTOR_LEN;
                log.segments[0][at..at + SECTOR_LEN].fill(0);
            }
            let recovered = log.recover();
            let any_lost = (0..sectors).any(lost);
            let all_lost = (0..sectors).all(|sector| lost(sector) || !used[sector]);
            if !any_lost {
                assert!(
                    recovered.clean()
                        && recovered.records.len() as u64 == last.first_lsn - 1 + last.records,
                    "{set:b}"
                );
            } else {
                all_but_last(&recovered, &log);
                if all_lost {
                    assert!(recovered.clean(), "{set:b}");
                } else {
                    let torn = recovered.torn();
                    assert_eq!((torn.from, torn.segment), (last.offset as u64, 0));
                    assert!(torn.to > torn.from && torn.to <= (last.offset + last.len) as u64);
                    let reason = if lost(0) {
                        TornReason::HeadNotWritten
                    } else {
                        TornReason::SectorsNotWritten
                    };
                    assert_eq!(torn.reason, reason, "{set:b}");
                }
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let mut log = TestLog::new(5 * PAGE);
    log.plain(2);
    let mut extension = vec![0; 2048];
    extension[3] = 3;
    let last = log.block(&[vec![], extension]);
    log.segment_len = 3 * PAGE;
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
fn a_torn_first_block_of_a_new_segment_is_torn() {
    let mut log = TestLog::new(64 * 1024);
    log.plain(20);
    log.roll();
    let last = log.plain(20);
    log.prepare();
    log.segments[1][last.offset + SECTOR_LEN..last.offset + 2 * SECTOR_LEN].fill(0);
    let recovered = log.recover();
    let torn = recovered.torn();
    assert_eq!((torn.segment, torn.from, torn.to), (1, 4096, 4096 + last.len as u64));
    // The next block may go behind the last sound one, in the segment before.
    assert_eq!((recovered.tail.segment, recovered.tail.next_lsn), (0, 21));
}

#[test]
fn stale_blocks_of_a_reused_region_are_no_part_of_the_log() {
    let mut log = TestLog::new(64 * 1024);
    let old = log.plain(2);
    let older = log.plain(20);
    log.plain(1);
    let (end, records) = (log.offset, 23);
    let put = |log: &mut TestLog, at: usize, bytes: &[u8]| {
        log.segments[0][at..at + bytes.len()].copy_from_slice(bytes)
    };

    let mut again = log.clone();
    put(&mut again, end, log.bytes_of(&old));
    put(&mut again, end + old.len, log.bytes_of(&older));
    let recovered = again.recover();
    let to = (end + old.len + older.len) as u64;
    let reason = TornReason::Stale(Stale::Lsn(1));
    assert_eq!(recovered.torn(), Torn { segment: 0, from: end as u64, to, reason });
    assert_eq!(recovered.records.len(), records);

    // Of another cluster, of another stream, although the number is the one expected.
    for (cluster_id, shard, stale) in
        [(*b"another cluster.", 0, Stale::Cluster), (CLUSTER, 9, Stale::Shard(9))]
    {
        let mut other = TestLog::of(64 * 1024, BlockIdentity { shard, epoch: 1, cluster_id });
        other.next_lsn = log.next_lsn;
        let block = other.plain(3);
        let mut mixed = log.clone();
        put(&mut mixed, end, other.bytes_of(&block));
        assert_eq!(mixed.recover().torn().reason, TornReason::Stale(stale));
    }

    // With the log going on behind it, a stale block stands where a block was lost.
    let mut longer = log.clone();
    let lost = longer.plain(2);
    let next = longer.plain(2);
    let bytes = log.bytes_of(&old).to_vec();
    put(&mut longer, lost.offset, &bytes);
    let reason = DamageReason::StaleButContinued { found: spot(&next) };
    assert_eq!(longer.recover().damage(), Damage { at: spot(&lost), reason });
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

/// One way to spoil a log.
#[derive(Debug, Clone)]
enum Spoil {
    Flip { at: usize, bit: u8 },
    Fill { at: usize, len: usize, with: u8 },
    Noise { at: usize, bytes: Vec<u8> },
    Copy { from: usize, to: usize, len: usize },
    Cut { segment: usize, len: usize },
}

fn spoils() -> impl Strategy<Value = Spoil> {
    let anywhere = 0..3 * 64 * 1024usize;
    let page = (0..48usize).prop_map(|page| page * PAGE);
    prop_oneof![
        (anywhere.clone(), 0..8u8).prop_map(|(at, bit)| Spoil::Flip { at, bit }),
        (anywhere.clone(), 1..9000usize, prop_oneof![Just(0u8), any::<u8>()])
            .prop_map(|(at, len, with)| Spoil::Fill { at, len, with }),
        (anywhere.clone(), prop::collection::vec(any::<u8>(), 1..300))
            .prop_map(|(at, bytes)| Spoil::Noise { at, bytes }),
        (page.clone(), page, (1..5usize).prop_map(|pages| pages * PAGE))
            .prop_map(|(from, to, len)| Spoil::Copy { from, to, len }),
        (0..3usize, 0..70_000usize).prop_map(|(segment, len)| Spoil::Cut { segment, len }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens to the bytes: no panic, and what is read is a true beginning of what was
    /// written.
    #[test]
    fn a_spoiled_log_gives_a_true_prefix(spoils in prop::collection::vec(spoils(), 1..6), keyed in any::<bool>()) {
        let mut log = TestLog::new(64 * 1024);
        for count in [1, 30, 100, 15, 80, 60, 3, 90, 14, 50] {
            log.plain(count);
        }
        let records = log.recover().records;
        let mut all: Vec<u8> = log.segments.concat();
        let mut lens = [64 * 1024; 3];
        prop_assert_eq!(log.segments.len(), 3);
        for spoil in spoils {
            match spoil {
                Spoil::Flip { at, bit } => all[at] ^= 1 << bit,
                Spoil::Fill { at, len, with } => { let end = (at + len).min(all.len()); all[at..end].fill(with) }
                Spoil::Noise { at, bytes } => all[at..].iter_mut().zip(&bytes).for_each(|(byte, noise)| *byte = *noise),
                Spoil::Copy { from, to, len } => {
                    let len = len.min(all.len() - from.max(to));
                    all.copy_within(from..from + len, to);
                }
                Spoil::Cut { segment, len } => lens[segment] = len.min(64 * 1024),
            }
        }
        let segments: Vec<Vec<u8>> = (0..3).map(|i| all[i * 64 * 1024..][..lens[i]].to_vec()).collect();
        let found = recover(&segments, keyed.then_some(&KEY));
        prop_assert!(records.starts_with(&found.records));
    }
}
