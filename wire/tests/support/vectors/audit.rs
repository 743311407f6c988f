//! Golden vectors of AUDIT and AUDIT_ENTRY.

use super::frames::{of, vector};
use super::samples::{MOMENT_NS, filled};
use super::shapes::{bytes, fields, large, small};
use catraca_wire::extension::{AUDIT_SECTION_LEN, AuditOutcome, AuditTarget, Audited};
use catraca_wire::frame::*;
use serde_json::Value;

/// Questions, an entry, and the end of an answer.
pub(super) fn audit() -> Vec<Value> {
    vec![
        question("audit_all", 0, 0, 0),
        question("audit_piece", 129, u64::MAX, MOMENT_NS),
        entry("audit_entry", FLAG_MORE, 8, 9, &record()),
        entry("audit_entry_end", 0, 10, 0, &[]),
    ]
}

fn question(name: &str, from_lsn: u64, to_lsn: u64, from_ns: u64) -> Value {
    let header = of(FrameKind::Audit, AuditFrame::LEN, 0, 23);
    let request = AuditRequest { header, from_lsn, to_lsn, from_ns, reserved: [0; 24] };
    let fields = fields!(request; large: from_lsn, to_lsn, from_ns; bytes: reserved;);
    vector(name, header, bytemuck::bytes_of(&AuditFrame::from(&request)), fields)
}

/// Somebody was told a decision.
fn record() -> Vec<u8> {
    let audited = Audited {
        act: Some(FrameKind::Lookup),
        op: 0,
        outcome: AuditOutcome::Told,
        code: None,
        count: 1,
        asked_at_ns: MOMENT_NS,
        principal: PrincipalFields {
            submitter: SubmitterFields::new(7, SubmitterName::parse("mesa").expect("a name")),
            subject: filled("ana"),
            ..PrincipalFields::default()
        },
        via: [0; MAX_SUBMITTER_NAME_LEN],
        via_remote: [0; 16],
        target: AuditTarget::EMPTY,
        before: [0; 32],
        after: [0; 32],
    };
    let mut head = audited.to_record(MOMENT_NS + 1);
    (head.lsn, head.extension_len) = (7.into(), (AUDIT_SECTION_LEN as u16).into());
    head.transaction.id = filled("order-1");
    [bytemuck::bytes_of(&head), &audited.to_section()].concat()
}

fn entry(name: &str, flags: u16, next_lsn: u64, epoch: u32, record: &[u8]) -> Value {
    let length = size_of::<AuditEntryHeadFields>() + record.len();
    let head = AuditEntryHead {
        header: of(FrameKind::AuditEntry, length, flags, 23),
        next_lsn,
        end_lsn: 9,
        epoch,
        unreadable: 2,
        record_len: record.len() as u32,
        reserved: 0,
    };
    let mut wire = bytemuck::bytes_of(&AuditEntryHeadFields::from(&head)).to_vec();
    wire.extend_from_slice(record);
    let mut fields = fields!(head;
        large: next_lsn, end_lsn;
        small: epoch, unreadable, record_len, reserved;
    );
    fields["record"] = bytes(record);
    vector(name, head.header, &wire, fields)
}
