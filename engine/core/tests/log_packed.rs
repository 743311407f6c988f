//! Packed segments without the compression: whatever blocks a segment has, it is itself again bit for
//! bit; and whatever is wrong with a file has its name.

use catraca_core::log::damage::{DamageReason, PackFault};
use catraca_core::log::packed::{self, Packing};
use catraca_core::log::recovery::Recovery;
use catraca_testkit::log::{CLUSTER, KEY, TestLog};
use catraca_wire::block::{SEGMENT_HEAD_LEN, SegmentHead};
use catraca_wire::packed::{
    FRAME_RAW_LEN, PACKED_FRAME_LEN, PACKED_HEAD_LEN, PackedFrameFields, PackedHead,
};
use proptest::prelude::*;
use std::ops::ControlFlow;

/// The segments of a log packed, each frame as it is.
fn pack(log: &TestLog) -> Vec<Vec<u8>> {
    let mut recovery = Recovery::new(Some(CLUSTER), 0, Some(&KEY));
    let mut files = Vec::new();
    for (index, bytes) in log.segments.iter().enumerate() {
        let head: &SegmentHead = bytemuck::from_bytes(&bytes[..size_of::<SegmentHead>()]);
        let mut packing = Packing::new(head);
        let mut frames = Vec::new();
        let mut blocks = 0;
        let flush = |packing: &mut Packing, frames: &mut Vec<u8>| {
            let content = packing.content();
            packing.packed(&content);
            frames.extend(content);
        };
        let fed = recovery.feed(index as u32, bytes, &mut |block| {
            if packing.is_full_for(block) {
                flush(&mut packing, &mut frames);
            }
            packing.take(block);
            blocks += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(fed, Ok(ControlFlow::Continue(())));
        if blocks == 0 {
            break;
        }
        flush(&mut packing, &mut frames);
        let (head, table) = packing.finish();
        files.push([bytemuck::bytes_of(&head), &frames[..], &table[..]].concat());
    }
    files
}

/// Unpacks a file, which is to be this segment.
fn unpack(file: &[u8], index: u32) -> Result<Vec<u8>, DamageReason> {
    let head = packed::head(file, file.len() as u64, 0, index)?;
    let (offset, len) = packed::table_range(&head).expect("its length was right");
    let table = &file[offset as usize..offset as usize + len];
    let frames = packed::frames(&head, table).map_err(DamageReason::Packed)?;
    let mut segment = vec![0xee; head.segment_len.to_native() as usize];
    segment[..SEGMENT_HEAD_LEN].fill(0);
    segment[..size_of::<SegmentHead>()].copy_from_slice(&head.segment_head);
    segment[head.blocks_end.to_native() as usize..].fill(0);
    for frame in &frames {
        let from = frame.entry.file_offset as usize;
        let packed = &file[from..from + frame.entry.packed_len as usize];
        if !frame.has_sum(packed) {
            return Err(DamageReason::Packed(PackFault::Frame));
        }
        let from = frame.entry.block_offset as usize;
        packed::pad(
            &head,
            frame,
            packed,
            &mut Vec::new(),
            &mut segment[from..from + frame.padded_len()],
        )
        .map_err(DamageReason::Packed)?;
    }
    Ok(segment)
}

fn assert_round_trip(log: &TestLog) -> usize {
    let files = pack(log);
    for (index, file) in files.iter().enumerate() {
        assert!(unpack(file, index as u32).expect("sound") == log.segments[index], "{index}");
    }
    files.len()
}

#[test]
fn a_segment_is_itself_again() {
    let mut log = TestLog::new(4 * 1024 * 1024);
    log.plain(4095);
    (0..400).for_each(|_| {
        log.plain(1);
    });
    log.block(&[vec![7; 4096], vec![], vec![1; 8]]);
    log.plain(1_000);
    log.roll();
    log.plain(1);
    assert_eq!(assert_round_trip(&log), 2);
    let file = &pack(&log)[0];
    let head: &PackedHead = bytemuck::from_bytes(&file[..PACKED_HEAD_LEN]);
    assert_eq!(head.block_count.to_native(), 403);
    // The two long blocks alone, and the short ones by 64 KiB: three frames of them and a rest.
    assert_eq!(head.frame_count.to_native(), 2 + 3 + 1);
    assert!(head.raw_len.to_native() > 2 * FRAME_RAW_LEN as u64);
    assert!(file.len() < log.segments[0].len() / 2, "padding is most of it: {}", file.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_its_blocks(shapes in prop::collection::vec(
        prop::collection::vec(0usize..40, 1..30), 1..60)
    ) {
        let mut log = TestLog::new(256 * 1024);
        for shape in &shapes {
            log.block(&shape.iter().map(|&len| vec![len as u8; 8 * len]).collect::<Vec<_>>());
        }
        prop_assert_eq!(assert_round_trip(&log), log.segments.len());
    }

    #[test]
    fn bytes_of_any_kind_are_no_packed_segment(
        bytes in prop::collection::vec(any::<u8>(), 0..600), magic in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if magic && bytes.len() >= PACKED_HEAD_LEN {
            let head = *bytemuck::from_bytes::<PackedHead>(&pack(&small())[0][..PACKED_HEAD_LEN]);
            let mut made: PackedHead = *bytemuck::from_bytes(&bytes[..PACKED_HEAD_LEN]);
            (made.magic, made.format_version) = (head.magic, head.format_version);
            (made.shard, made.index) = (head.shard, head.index);
            (made.cluster_id, made.segment_head) = (head.cluster_id, head.segment_head);
            made.head_crc = made.expected_crc().into();
            bytes[..PACKED_HEAD_LEN].copy_from_slice(bytemuck::bytes_of(&made));
        }
        prop_assert!(unpack(&bytes, 0).is_err());
    }
}

fn small() -> TestLog {
    let mut log = TestLog::new(64 * 1024);
    (0..9).for_each(|_| {
        log.plain(1);
    });
    log
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let log = small();
    let sound = &pack(&log)[0];
    let table = sound.len() - PACKED_FRAME_LEN - 4;
    for bit in 0..sound.len() * 8 {
        let mut file = sound.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            at if at < PACKED_HEAD_LEN => PackFault::Head,
            at if at < table => PackFault::Frame,
            _ => PackFault::Table,
        };
        assert_eq!(unpack(&file, 0), Err(DamageReason::Packed(expected)), "bit {bit}");
    }
    for len in 0..sound.len() {
        let want = if len < PACKED_HEAD_LEN { PACKED_HEAD_LEN } else { sound.len() } as u64;
        let expected = PackFault::Length { have: len as u64, want };
        assert_eq!(unpack(&sound[..len], 0), Err(DamageReason::Packed(expected)), "{len} bytes");
    }
    let longer = [&sound[..], &[0]].concat();
    let expected = PackFault::Length { have: longer.len() as u64, want: sound.len() as u64 };
    assert_eq!(unpack(&longer, 0), Err(DamageReason::Packed(expected)));
}

/// A small file with its head or table changed, and the check sums made right again.
fn altered(
    head: impl FnOnce(&mut PackedHead),
    table: impl FnOnce(&mut [PackedFrameFields]),
) -> Result<Vec<u8>, DamageReason> {
    let mut file = pack(&small())[0].clone();
    let at = file.len() - PACKED_FRAME_LEN - 4;
    let sum = file.len() - 4;
    table(bytemuck::cast_slice_mut(&mut file[at..sum]));
    let crc = crc32c::crc32c(&file[at..sum]).to_le_bytes();
    file[sum..].copy_from_slice(&crc);
    let mut altered: PackedHead = *bytemuck::from_bytes(&file[..PACKED_HEAD_LEN]);
    head(&mut altered);
    altered.head_crc = altered.expected_crc().into();
    file[..PACKED_HEAD_LEN].copy_from_slice(bytemuck::bytes_of(&altered));
    unpack(&file, 0)
}

#[test]
fn what_lies_with_right_check_sums_is_found() {
    type Head = Box<dyn FnOnce(&mut PackedHead)>;
    let huge = u64::MAX / 2;
    let heads: Vec<(Head, DamageReason)> = vec![
        (Box::new(|h| h.format_version = 2.into()), DamageReason::Packed(PackFault::Version(2))),
        (Box::new(|h| h.shard = 1.into()), DamageReason::SegmentShard(1)),
        (Box::new(|h| h.index = 1.into()), DamageReason::SegmentIndex(1)),
        (Box::new(|h| h.cluster_id[0] ^= 1), DamageReason::SegmentCluster),
        (Box::new(|h| h.segment_head[40] ^= 1), DamageReason::SegmentHead),
        (Box::new(|h| h.segment_len = 4096.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(move |h| h.segment_len = huge.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(move |h| h.raw_len = huge.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.raw_len = 4096.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(move |h| h.blocks_end = huge.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.blocks_end = 4100.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.frame_count = 0.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.frame_count = u32::MAX.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.block_count = 8.into()), DamageReason::Packed(PackFault::Table)),
        (Box::new(|h| h.record_count = 8.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.first_lsn = 0.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.last_lsn = 8.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.table_offset = 0.into()), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.reserved[3] = 1), DamageReason::Packed(PackFault::Head)),
        (Box::new(|h| h.previous_chain[0] ^= 1), DamageReason::Packed(PackFault::Blocks)),
        (Box::new(|h| h.chain[0] ^= 1), DamageReason::Packed(PackFault::Blocks)),
        (Box::new(|h| h.first_sealed_at_ns = 1.into()), DamageReason::Packed(PackFault::Blocks)),
        (Box::new(|h| h.last_sealed_at_ns = 1.into()), DamageReason::Packed(PackFault::Blocks)),
    ];
    for (place, (change, expected)) in heads.into_iter().enumerate() {
        assert_eq!(altered(change, |_| ()), Err(expected), "head {place}");
    }
    type Table = fn(&mut PackedFrameFields);
    let tables: [(Table, PackFault); 9] = [
        (|e| e.file_offset = 257.into(), PackFault::Table),
        (|e| e.first_lsn = 2.into(), PackFault::Table),
        (|e| e.block_offset = 8192.into(), PackFault::Table),
        (|e| e.block_offset = u64::MAX.into(), PackFault::Table),
        (|e| e.block_count = 8.into(), PackFault::Table),
        (|e| e.packed_len = u32::MAX.into(), PackFault::Table),
        (|e| e.raw_len = u32::MAX.into(), PackFault::Table),
        (|e| e.raw_len = 9.into(), PackFault::Table),
        (|e| e.packed_crc = 9.into(), PackFault::Frame),
    ];
    for (place, (change, expected)) in tables.into_iter().enumerate() {
        let outcome = altered(|_| (), |entries| change(&mut entries[0]));
        assert_eq!(outcome, Err(DamageReason::Packed(expected)), "table {place}");
    }
    assert!(altered(|_| (), |_| ()).is_ok());
}
