//! Recovery as a pure function: what is sound is read, what a crash left torn is cut, and nothing
//! else is accepted. What is refused as damage is in `log_damage.rs`.

use catraca_core::log::Tail;
use catraca_core::log::damage::{Damage, DamageReason, Spot, Stale, Torn, TornReason};
use catraca_core::log::recovery::{LastWrite, SegmentEnd, SegmentWalk, walk_segment};
use catraca_testkit::log::{CLUSTER, KEY, Recovered, TestLog, recover, spot};
use catraca_wire::block::{BLOCK_ALIGN, BlockIdentity, SECTOR_LEN, SEGMENT_HEAD_LEN};
use proptest::prelude::*;
use std::ops::ControlFlow;

const PAGE: usize = BLOCK_ALIGN;

fn all_but_last(recovered: &Recovered, log: &TestLog) {
    assert_eq!(recovered.records.len() as u64, log.last().first_lsn - 1);
    assert_eq!(recovered.tail.next_lsn, log.last().first_lsn);
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
