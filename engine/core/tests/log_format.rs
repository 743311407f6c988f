//! LOG.md against the code: every offset of its tables, and its recipe for a chain value.

use catraca_testkit::log::{KEY, TestLog};
use catraca_wire::block::{BlockHead, SegmentHead};
use catraca_wire::frame::TransactionFields;
use catraca_wire::packed::{PACKED_MAGIC, PackedFrameFields, PackedHead};
use catraca_wire::record::RecordHead;
use std::mem::offset_of;

const LOG_MD: &str = include_str!("../../../wire/LOG.md");

/// The rows of the table under a heading: offset, size, name.
fn rows(heading: &str) -> Vec<(usize, usize, String)> {
    let section = LOG_MD.split_once(heading).expect("the heading is there").1;
    let section = section.split("\n#").next().expect("a first part");
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        Some((
            cells.first()?.parse().ok()?,
            cells.get(1)?.parse().ok()?,
            (*cells.get(2)?).to_owned(),
        ))
    };
    section.lines().filter_map(row).collect()
}

/// Checks that the rows follow each other without a gap, and gives the end.
fn without_gaps(rows: &[(usize, usize, String)]) -> usize {
    rows.iter().fold(0, |at, (offset, size, name)| {
        assert_eq!(*offset, at, "{name}");
        offset + size
    })
}

macro_rules! assert_offsets {
    ($rows:expr, $base:expr, $prefix:literal, $layout:ty: $($field:ident),+) => { $(
        let name = concat!($prefix, stringify!($field));
        let row = $rows.iter().find(|(_, _, row)| row == name).unwrap_or_else(|| panic!("{name} is not in LOG.md"));
        assert_eq!(row.0, $base + offset_of!($layout, $field), "{name}");
    )+ };
}

#[test]
fn the_tables_give_the_layouts() {
    let segment = rows("### Segment head");
    assert_eq!(without_gaps(&segment), size_of::<SegmentHead>());
    assert_offsets!(segment, 0, "", SegmentHead: magic, format_version, shard, index, cluster_id, segment_len, created_at_ns,
        reserved, header_crc);
    let block = rows("### Block");
    assert_eq!(without_gaps(&block), size_of::<BlockHead>());
    assert_offsets!(block, 0, "", BlockHead: magic, format_version, shard, epoch, cluster_id, first_lsn, record_count,
        payload_len, sealed_at_ns, previous_chain, chain, payload_crc, zero_sectors, reserved, header_crc);
    let record = rows("### Record");
    assert_eq!(without_gaps(&record), size_of::<RecordHead>());
    assert_offsets!(record, 0, "", RecordHead: kind, version, extension_len, verdict, flags, score, reason, payer_source,
        payee_source, policy_version, lsn, decided_at_ns, snapshot_id, overlay_sequence, matched_rules);
    let base = offset_of!(RecordHead, transaction);
    assert_offsets!(record, base, "transaction.", TransactionFields: id, payer, payee, amount_centavos, event_time_ns, budget_us,
        rail, channel, flags, payer_account, payee_account, pix_key, device, ip, payer_ispb, payee_ispb, trace_id);
}

#[test]
fn the_tables_give_the_layouts_of_packed_segments() {
    let head = rows("### Head of a packed segment");
    assert_eq!(without_gaps(&head), size_of::<PackedHead>());
    assert_offsets!(head, 0, "", PackedHead: magic, format_version, shard, index, cluster_id, segment_len, segment_head, block_count,
        record_count, first_lsn, last_lsn, previous_chain, chain, first_sealed_at_ns, last_sealed_at_ns, raw_len, blocks_end,
        frame_count, table_offset, reserved, head_crc);
    let entry = rows("### Entry of the table");
    assert_eq!(without_gaps(&entry), size_of::<PackedFrameFields>());
    assert_offsets!(entry, 0, "", PackedFrameFields: file_offset, first_lsn, block_offset, block_count, packed_len, raw_len, packed_crc);
    let magic: Vec<String> = PACKED_MAGIC.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(LOG_MD.contains(&magic.join(" ")));
}

#[test]
fn the_recipe_gives_the_chain_value() {
    let mut log = TestLog::new(64 * 1024);
    log.plain(3);
    log.block(&[vec![0; 4096], vec![1; 8], vec![0; 1024]]);
    log.plain(100);
    for block in &log.blocks {
        let bytes = log.bytes_of(block);
        let hashed =
            [&bytes[..88], &[0; 36], &bytes[124..252], &[0; 4], &bytes[256..block.end]].concat();
        assert_eq!(blake3::keyed_hash(&KEY, &hashed).as_bytes(), &bytes[88..120]);
        assert_eq!(crc32c::crc32c(&bytes[256..block.end]).to_le_bytes(), bytes[120..124]);
        let zero = bytes[..block.end]
            .chunks(512)
            .filter(|sector| sector.iter().all(|&byte| byte == 0))
            .count() as u32;
        assert_eq!(zero.to_le_bytes(), bytes[124..128]);
    }
    assert_ne!(log.bytes_of(&log.blocks[1])[124], 0);
}
