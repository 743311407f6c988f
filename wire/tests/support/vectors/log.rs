//! The golden vector of the log.

use super::hex;
use super::samples::{MOMENT_NS, decision_record, full_transaction, plain_transaction};
use super::shapes::{bytes, fields, large, record, small};
use catraca_wire::block::{self, BLOCK_HEAD_LEN, BlockHead, BlockIdentity, SegmentHead};
use catraca_wire::document::DocumentKey;
use catraca_wire::frame::{Scope, Verdict};
use catraca_wire::record::{OverlayChange, OverlayOp, Reason, Record, RecordHead};
use serde_json::{Value, json};

/// A block of three records (one with an extension, one a change of the overlay), and the head of
/// the segment that it begins.
pub fn log() -> Value {
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let previous_chain: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
    let identity =
        BlockIdentity { shard: 1, epoch: 7, cluster_id: std::array::from_fn(|i| 0x20 + i as u8) };
    let extension = b"\x01\x02\x03\x04\x05\x06\x07\x08";
    let plain = decision_record(41, plain_transaction(), Verdict::Approve, Reason::Clear, 0);
    let extended = decision_record(42, full_transaction(), Verdict::Deny, Reason::PayerListed, 8);
    let change = OverlayChange {
        document: DocumentKey::parse("12ABC34501DE35").expect("valid"),
        scope: Scope::Root,
        op: OverlayOp::List,
        sequence: 4,
    };
    let mut change_head = change.to_record(MOMENT_NS);
    change_head.lsn = 43.into();

    let mut payload = Vec::new();
    payload.extend_from_slice(bytemuck::bytes_of(&RecordHead::from(&plain)));
    payload.extend_from_slice(bytemuck::bytes_of(&RecordHead::from(&extended)));
    payload.extend_from_slice(extension);
    payload.extend_from_slice(bytemuck::bytes_of(&change_head));
    let mut buffer = vec![0; block::padded_len(payload.len())];
    buffer[BLOCK_HEAD_LEN..BLOCK_HEAD_LEN + payload.len()].copy_from_slice(&payload);
    let chain = block::seal(
        &mut buffer,
        payload.len(),
        &identity,
        41,
        3,
        MOMENT_NS + 300_000,
        &previous_chain,
        &key,
    );
    let head: &BlockHead = block::sound_head(&buffer).expect("just sealed");
    let head = block::Block::from(head);
    let segment_wire = SegmentHead::new(identity.cluster_id, 1, 2, 128 * 1024 * 1024, MOMENT_NS);
    let segment = block::Segment::from(&segment_wire);
    json!({
        "key": hex(&key),
        "chain": hex(&chain),
        "receipt": block::receipt(&chain).to_string(),
        "padded_len": buffer.len(),
        "block_hex": hex(&buffer[..BLOCK_HEAD_LEN + payload.len()]),
        "head": fields!(head;
            bytes: magic, cluster_id, previous_chain, chain, reserved;
            small: format_version, shard, epoch, record_count, payload_len, payload_crc, header_crc;
            large: first_lsn, sealed_at_ns;
        ),
        "records": [
            { "record": record(&plain), "extension": "" },
            { "record": record(&extended), "extension": hex(extension) },
            { "record": record(&Record::from(&change_head)), "extension": "" },
        ],
        "segment_hex": hex(bytemuck::bytes_of(&segment_wire)),
        "segment": fields!(segment;
            bytes: magic, cluster_id, reserved;
            small: format_version, shard, index, header_crc;
            large: segment_len, created_at_ns;
        ),
    })
}
