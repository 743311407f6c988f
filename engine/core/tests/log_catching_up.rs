//! Recovery of a log whose last write may have been of several blocks: a standby's that was
//! catching up.

use catraca_core::log::damage::{Damage, DamageReason, Spot, TornReason};
use catraca_core::log::recovery::LastWrite;
use catraca_testkit::log::{KEY, Recovered, TestLog, Written, recover_after};
use catraca_wire::block::{BLOCK_ALIGN, MAX_BLOCK_LEN, SECTOR_LEN};

fn after(log: &TestLog) -> Recovered {
    recover_after(LastWrite::Blocks, &log.segments, Some(&KEY))
}

#[test]
fn every_set_of_unwritten_sectors_of_several_blocks_is_torn_where_they_were_written_at_once() {
    let mut log = TestLog::new(64 * 1024);
    log.plain(3);
    let group = [log.plain(2), log.plain(6), log.plain(1)];
    let used: Vec<usize> = group
        .iter()
        .flat_map(|block| (block.offset..block.offset + block.end).step_by(SECTOR_LEN))
        .filter(|&at| log.segments[0][at..at + SECTOR_LEN].iter().any(|&byte| byte != 0))
        .collect();
    assert_eq!(used.len(), 2 + 4 + 1);
    let (mut holes, mut clean) = (0, 0);
    for set in 0..1u32 << used.len() {
        let mut log = log.clone();
        let lost: Vec<usize> = (0..used.len())
            .filter(|sector| set & 1 << sector != 0)
            .map(|sector| used[sector])
            .collect();
        lost.iter().for_each(|&at| log.segments[0][at..at + SECTOR_LEN].fill(0));
        let whole = |block: &&Written| {
            !lost.iter().any(|at| (block.offset..block.offset + block.len).contains(at))
        };
        let kept: u64 = group.iter().take_while(whole).map(|block| block.records).sum();
        let found = after(&log);
        assert_eq!(found.tail.next_lsn, 4 + kept, "{set:b}");
        let strict = log.recover();
        assert_eq!(
            (&strict.records, strict.tail),
            (&found.records, found.tail),
            "the same is sound: {set:b}"
        );
        match (found.end.expect("no crash damages it"), strict.end) {
            (None, end) => {
                assert_eq!(end, Ok(None), "{set:b}");
                clean += 1;
            }
            (Some(torn), end) => {
                // What one block alone may leave, it may leave here; the rest was damage.
                let hole = torn.reason == TornReason::BlocksNotWritten;
                assert_eq!(end.is_err(), hole, "{set:b}");
                holes += u32::from(hole);
                assert_eq!((torn.segment, torn.from), (0, found.tail.offset), "{set:b}");
                log.segments[0][torn.from as usize..torn.to as usize].fill(0);
                let repaired = log.recover();
                assert!(repaired.clean() && repaired.tail == found.tail, "{set:b}");
            }
        }
    }
    assert!(holes > 50 && clean == 4, "{holes} holes, {clean} clean");
}

#[test]
fn a_hole_that_no_write_of_several_blocks_leaves_is_damage_all_the_same() {
    // A block farther behind than one write reaches.
    let mut log = TestLog::new(4 * MAX_BLOCK_LEN);
    log.plain(2);
    let lost = log.plain(2);
    while log.offset < lost.offset + MAX_BLOCK_LEN - BLOCK_ALIGN {
        log.block(&vec![vec![1; 4096]; 50]);
    }
    log.segments[0][lost.offset..lost.offset + lost.len].fill(0);
    let found = Spot { segment: 0, offset: (lost.offset + lost.len) as u64 };
    assert!(log.offset > lost.offset + MAX_BLOCK_LEN);
    assert_eq!(
        after(&log).damage(),
        Damage {
            at: Spot { segment: 0, offset: lost.offset as u64 },
            reason: DamageReason::LostBlock { found }
        }
    );
    // The same, and only as far as one write reaches.
    let mut log = TestLog::new(4 * MAX_BLOCK_LEN);
    let lost = log.plain(2);
    log.plain(2);
    log.segments[0][lost.offset + SECTOR_LEN..lost.offset + lost.len].fill(0);
    assert_eq!(after(&log).torn().reason, TornReason::BlocksNotWritten);
    // A block in the segment behind: that was begun when everything before it was durable.
    log.roll();
    log.plain(1);
    assert!(matches!(
        after(&log).damage().reason,
        DamageReason::TornButContinued { found: Spot { segment: 1, .. } }
    ));
    // Bits that were written, and are others now.
    let mut log = TestLog::new(64 * 1024);
    let rotten = log.plain(4);
    log.plain(2);
    log.segments[0][rotten.offset + SECTOR_LEN] ^= 1;
    assert_eq!(
        after(&log).damage(),
        Damage {
            at: Spot { segment: 0, offset: rotten.offset as u64 },
            reason: DamageReason::PayloadRot
        }
    );
    log.segments[0][rotten.offset + 8] ^= 1;
    assert_eq!(after(&log).damage().reason, DamageReason::BlockHead);
}
