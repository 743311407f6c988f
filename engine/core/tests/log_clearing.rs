//! Clearing the end of a log, cut off at every step: what is left ends sound or torn, and never
//! looks damaged.

use catraca_core::log::clearing::{ClearStep, Clearing};
use catraca_testkit::log::TestLog;
use catraca_wire::block::{MAX_BLOCK_LEN, SECTOR_LEN, SEGMENT_HEAD_LEN};

const KEPT_BLOCKS: usize = 3;

fn log() -> TestLog {
    let mut log = TestLog::new(SEGMENT_HEAD_LEN + MAX_BLOCK_LEN);
    for block in 0..24 {
        log.plain(1 + block * 37 % 19);
        if block == 12 {
            log.roll();
        }
    }
    log
}

fn zero(log: &mut TestLog, step: ClearStep, sectors: impl Fn(usize) -> bool) {
    let bytes = &mut log.segments[step.segment as usize][step.from as usize..step.to as usize];
    bytes
        .chunks_mut(SECTOR_LEN)
        .enumerate()
        .filter(|(sector, _)| sectors(*sector))
        .for_each(|(_, bytes)| bytes.fill(0));
}

fn clearing(log: &TestLog) -> Clearing {
    let mut clearing = Clearing::default();
    for block in &log.blocks[KEPT_BLOCKS..] {
        clearing.block(block.segment as u32, block.offset as u64, block.len as u64);
    }
    clearing
}

#[test]
fn a_clearing_that_is_cut_off_leaves_a_sound_or_torn_log() {
    let whole = log();
    let mut cleared = whole.clone();
    let mut left = whole.blocks.len();
    for step in clearing(&whole) {
        // Any sectors of the step under way may be there: the first ones, the last ones, every
        // other.
        let patterns: [fn(usize) -> bool; 4] = [
            |sector| sector == 0,
            |sector| sector > 0,
            |sector| sector % 2 == 0,
            |sector| sector % 2 == 1,
        ];
        for pattern in patterns {
            let mut cut_off = cleared.clone();
            zero(&mut cut_off, step, pattern);
            let recovered = cut_off.recover();
            assert!(recovered.end.is_ok(), "{step:?}: {:?}", recovered.end);
            let records: u64 = whole.blocks[..left - 1].iter().map(|block| block.records).sum();
            assert!(recovered.tail.next_lsn > records, "what is before it is untouched");
        }
        zero(&mut cleared, step, |_| true);
        left -= 1;
        assert!(cleared.recover().clean());
    }
    assert_eq!(left, KEPT_BLOCKS);
    assert_eq!(cleared.recover().tail.next_lsn, whole.blocks[KEPT_BLOCKS].first_lsn);
}

#[test]
fn several_blocks_at_once_could_look_damaged() {
    let mut log = log();
    let steps: Vec<ClearStep> = clearing(&log).take(3).collect();
    let (last, first) = (steps[0], steps[2]);
    // Of one write over three blocks the sectors of the first came, those behind did not.
    zero(&mut log, ClearStep { to: last.to, ..first }, |sector| sector == 0);
    log.recover().damage();
}
