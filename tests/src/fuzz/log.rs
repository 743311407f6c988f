//! Recovery of a log: what it calls sound is a true beginning of what was written, and what it
//! would repair is repaired by it.

use super::input::{Input, spoil};
use catraca_core::log::damage::{Torn, TornReason};
use catraca_core::log::recovery::{LastWrite, Recovery};
use catraca_core::log::{BlockLocation, Tail};
use catraca_testkit::log::{CLUSTER, KEY, NOON_NS, Recovered, TestLog};
use catraca_wire::block::{ChainKey, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN, SegmentHead};
use catraca_wire::record::{MAX_EXTENSION_LEN, RECORD_LEN, RecordHead};
use std::ops::ControlFlow;
use std::sync::LazyLock;

const SEGMENT_LEN: usize = 64 * 1024;
const SEGMENTS: usize = 3;

/// The log that is spoilt: blocks of many sizes over three segments, with extensions and zero
/// sectors, and room behind the last.
static SOUND: LazyLock<(TestLog, Recovered)> = LazyLock::new(|| {
    let mut log = TestLog::new(SEGMENT_LEN);
    for count in [1, 30, 100, 15, 80, 60, 3, 90] {
        log.plain(count);
    }
    log.block(&[vec![0; 1024], vec![], vec![7; 4096], vec![1; 8]]);
    log.plain(14);
    log.plain(50);
    assert_eq!(log.segments.len(), SEGMENTS);
    let recovered = log.recover();
    assert!(recovered.clean());
    (log, recovered)
});

/// The first byte says whether the rest is a program that spoils the log, or what stands behind the
/// head of a segment.
pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let segments = match input.byte() % 4 {
        0 => vec![behind_a_head(input.rest())],
        _ => spoilt(&mut input),
    };
    let (_, sound) = &*SOUND;
    let found = check(&segments, Some(&KEY));
    assert!(
        sound.records.starts_with(&found.records),
        "records that nobody wrote, or not there, are called sound"
    );

    // Check sums can be made right by whoever alters the log; what is read then must still be in
    // order.
    let unkeyed = check(&segments, None);
    assert!(
        unkeyed.records.starts_with(&found.records),
        "what holds with the key holds without it"
    );
}

fn behind_a_head(bytes: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; SEGMENT_LEN];
    let head = SegmentHead::new(CLUSTER, 0, 0, SEGMENT_LEN as u64, NOON_NS);
    segment[..size_of::<SegmentHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    for (to, from) in segment[SEGMENT_HEAD_LEN..].iter_mut().zip(bytes) {
        *to = *from;
    }
    segment
}

/// The sound log, its segments spoilt as one stretch of bytes, and any of them cut short or lost.
fn spoilt(input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let mut bytes = SOUND.0.segments.concat();
    spoil(&mut bytes, input);
    bytes.chunks(SEGMENT_LEN).take(SEGMENTS + 1).map(<[u8]>::to_vec).collect()
}

/// Recovers, and checks all that must hold of any recovery.
fn check(segments: &[Vec<u8>], key: Option<&ChainKey>) -> Recovered {
    let found = recover(LastWrite::Block, segments, key);
    let records = found.records.len() as u64;
    assert_eq!(found.tail.next_lsn, records + 1, "records are numbered without gaps");
    for (at, (head, extension)) in (1..).zip(&found.records) {
        assert_eq!(head.lsn.to_native(), at);
        assert_eq!(extension.len(), usize::from(head.extension_len.to_native()));
        assert!(extension.len() <= MAX_EXTENSION_LEN);
    }
    let len: usize = segments.iter().map(Vec::len).sum();
    assert!(found.records.len() * RECORD_LEN <= len, "more records than bytes");
    if let Ok(Some(torn)) = found.end {
        assert_repairs(segments, key, &found, &torn);
    }
    // What a standby may have left that was catching up: the same is sound, and only a hole ends
    // otherwise.
    let behind = recover(LastWrite::Blocks, segments, key);
    assert_eq!((&behind.records, &behind.tail), (&found.records, &found.tail));
    match behind.end {
        Ok(Some(torn)) if torn.reason == TornReason::BlocksNotWritten => {
            assert!(found.end.is_err(), "{torn} where the rule of one block finds no damage");
            assert_repairs(segments, key, &behind, &torn);
        }
        // The damage may be called otherwise: where it was taken for a hole at first, what lies in
        // later segments tells.
        end => assert!(
            end == found.end || end.is_err() && found.end.is_err(),
            "{end:?}, {:?}",
            found.end
        ),
    }
    found
}

/// A torn tail is bounded, lies behind everything sound, and zeroed it leaves a clean log of the
/// same records.
fn assert_repairs(segments: &[Vec<u8>], key: Option<&ChainKey>, found: &Recovered, torn: &Torn) {
    assert!(torn.from < torn.to && torn.to - torn.from <= MAX_BLOCK_LEN as u64, "{torn}");
    let tail = &found.tail;
    assert!(
        (torn.segment, torn.from) >= (tail.segment, tail.offset),
        "{torn} reaches into what is sound"
    );
    let mut repaired = segments.to_vec();
    repaired[torn.segment as usize][torn.from as usize..torn.to as usize].fill(0);
    let again = recover(LastWrite::Block, &repaired, key);
    assert_eq!(
        (again.end, &again.records, &again.tail),
        (Ok(None), &found.records, tail),
        "{torn} is not repaired by zeros"
    );
}

fn recover(last_write: LastWrite, segments: &[Vec<u8>], key: Option<&ChainKey>) -> Recovered {
    let mut records: Vec<(RecordHead, Vec<u8>)> = Vec::new();
    let mut places: Vec<BlockLocation> = Vec::new();
    let mut recovery = Recovery::new(Some(CLUSTER), 0, key).with_last_write(last_write);
    let mut end = Ok(());
    for (index, bytes) in segments.iter().enumerate() {
        let fed = recovery.feed(index as u32, bytes, &mut |block| {
            let before = records.len() as u64;
            records.extend(block.records().map(|(head, extension)| (*head, extension.to_vec())));
            assert_eq!(block.last_lsn(), records.len() as u64);
            assert_eq!(block.head.first_lsn.to_native(), before + 1);
            places.push(block.place);
            ControlFlow::Continue(())
        });
        if let Err(damage) = fed {
            assert!(damage.at.segment as usize <= index, "{damage} is where nothing was read yet");
            end = Err(damage);
            break;
        }
    }
    let order = |place: &BlockLocation| (place.segment, place.block_offset);
    assert!(places.is_sorted_by(|a, b| order(a) < order(b) && a.epoch <= b.epoch));
    assert_eq!(recovery.counts().records, records.len() as u64);
    assert_eq!(recovery.counts().blocks, places.len() as u64);
    let tail: Tail = *recovery.tail();
    Recovered { records, end: end.map(|()| recovery.torn()), tail }
}
