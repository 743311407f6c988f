//! The invented transactions and records that the vectors hold.

use catraca_wire::document::DocumentKey;
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::*;
use catraca_wire::record::{RECORD_VERSION, Reason, Record, RecordKind};
use catraca_wire::transaction::{Channel, Rail};

/// 2026-11-22 12:34:56 UTC: the invented moment of all vectors.
pub(super) const MOMENT_NS: u64 = 1_795_350_896_000_000_000;
/// 2026-11-22.
pub(super) const LIST_DAY: u16 = 20_779;

pub(super) fn plain_transaction() -> Transaction {
    Transaction::pix("order-1", "04933228680", "12ABC34501DE35", 1, MOMENT_NS).expect("valid")
}

pub(super) fn full_transaction() -> Transaction {
    let id = "E1234567820261122123400000000001";
    let mut transaction =
        Transaction::pix(id, "04933228680", "ABCDEFGH000195", 1_234_567, MOMENT_NS)
            .expect("valid")
            .with_channel(Channel::App)
            .with_ispbs("12345678", "AB345678")
            .expect("valid")
            .with_ip(std::net::IpAddr::from([192, 0, 2, 17]));
    transaction.budget_us = 500_000;
    transaction.flags = 0x8001;
    transaction.payer_account = 0x0102_0304_0506_0708;
    transaction.payee_account = u64::MAX;
    transaction.pix_key = std::array::from_fn(|i| i as u8);
    transaction.device = 0xdead_beef_0000_0001;
    transaction.trace_id = std::array::from_fn(|i| 0xf0 + i as u8);
    transaction
}

/// The largest value that each field may have.
pub(super) fn largest_transaction() -> Transaction {
    Transaction {
        id: [b'~'; 32],
        payer: document("00000000000191"),
        payee: document("ABCDEFGH000276"),
        amount_centavos: i64::MAX,
        event_time_ns: u64::MAX,
        budget_us: MAX_BUDGET_US,
        rail: Rail::Card.to_wire(),
        channel: Channel::Atm.to_wire(),
        flags: u16::MAX,
        payer_account: u64::MAX,
        payee_account: u64::MAX,
        pix_key: [0xff; 16],
        device: u64::MAX,
        ip: [0xff; 16],
        payer_ispb: *b"zzzzzzzz",
        payee_ispb: *b"ZZZZZZZZ",
        trace_id: [0xff; 16],
    }
}

pub(super) fn decision_record(
    lsn: u64,
    what: Transaction,
    verdict: Verdict,
    reason: Reason,
    extension_len: u16,
) -> Record {
    let listed = u8::from(reason != Reason::Clear);
    Record {
        kind: RecordKind::Decision.to_wire(),
        version: RECORD_VERSION,
        extension_len,
        verdict: verdict.to_wire(),
        flags: 0,
        score: if listed == 1 { 1000 } else { 0 },
        reason: reason.to_wire(),
        payer_source: if listed == 1 { ListSource::Ceis.to_wire() } else { 0 },
        payee_source: 0,
        reserved_a: 0,
        policy_version: 1,
        lsn,
        decided_at_ns: MOMENT_NS + 250_000,
        snapshot_id: 0x1122_3344_5566_7788,
        overlay_sequence: 3,
        matched_rules: u64::from(listed),
        list_day: LIST_DAY,
        list_sequence: 0,
        submitter: Submitter { institution: 7, name: filled("loja-do-mar") },
        transaction: what,
    }
}

/// What became known of the decision on the plain transaction.
pub(super) fn visa() -> Label {
    Label {
        kind: LabelKind::Chargeback,
        known_at_ns: MOMENT_NS + 1_000_000_000,
        source: LabelSource::parse("visa").expect("sound"),
        shard: 0,
        lsn: 41,
    }
}

/// The record of that.
pub(super) fn label_record() -> Record {
    let what = plain_transaction();
    let mut head = visa().to_record(&what.id, &what.payer, MOMENT_NS + 2_000_000_000);
    head.lsn = 43.into();
    head.extension_len = (visa().to_section().len() as u16).into();
    Record::from(&head)
}

pub(super) fn document(text: &str) -> [u8; 14] {
    DocumentKey::parse(text).expect("a valid document").to_wire()
}

pub(super) fn filled<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    fill(&mut field, text);
    field
}
