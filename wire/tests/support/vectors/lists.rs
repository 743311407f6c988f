//! Golden vectors of LIST and LIST_STATE.

use super::frames::{of, vector};
use super::samples::{MOMENT_NS, filled};
use super::shapes::{bytes, fields, large, small, text};
use catraca_wire::frame::*;
use catraca_wire::list::{ListKeyKind, ListOp};
use serde_json::Value;

/// A change of each kind, and an answer.
pub(super) fn lists() -> Vec<Value> {
    vec![
        list("list_create", ListOp::Create, 1, "", 0, 0, ""),
        list("list_set", ListOp::Set, 0, "52998224725", -5, MOMENT_NS, "conferido à mão"),
        list("list_exempt", ListOp::Exempt, 4, "0xff", 0, MOMENT_NS, "a test device"),
        list_state("list_state", 1),
    ]
}

fn list(
    name: &str,
    op: ListOp,
    key_kind: u8,
    key: &str,
    value: i64,
    until_ns: u64,
    reason: &str,
) -> Value {
    let request = ListRequest {
        header: of(FrameKind::List, ListFrame::LEN, 0, 19),
        op: op.to_wire(),
        key_kind,
        reserved_a: [0; 6],
        name: filled("known-payees"),
        key: filled(key),
        value,
        until_ns,
        author: filled("ana"),
        reason: filled(reason),
        reserved_b: [0; 8],
    };
    let fields = fields!(request;
        text: name, key, author, reason;
        small: op, key_kind;
        large: value, until_ns;
        bytes: reserved_a, reserved_b;
    );
    vector(name, request.header, bytemuck::bytes_of(&ListFrame::from(&request)), fields)
}

fn list_state(name: &str, changed: u8) -> Value {
    let state = ListStateReply {
        header: of(FrameKind::ListState, ListStateFrame::LEN, 0, 19),
        changed,
        key_kind: ListKeyKind::Document.to_wire(),
        is_in: 1,
        reserved_a: 0,
        entries: 3,
        all_entries: 70_000,
        lists: 2,
        sequence: u64::MAX - 1,
        reserved_b: [0; 24],
    };
    let fields = fields!(state;
        small: changed, key_kind, is_in, reserved_a, entries, all_entries, lists;
        large: sequence;
        bytes: reserved_b;
    );
    vector(name, state.header, bytemuck::bytes_of(&ListStateFrame::from(&state)), fields)
}
