//! Golden vectors of the frames that are about policies.

use super::frames::{of, vector};
use super::samples::{MOMENT_NS, filled};
use super::shapes::{bytes, fields, large, small, text};
use catraca_wire::frame::*;
use serde_json::Value;

pub fn policy(name: &str, op: PolicyOp, path: &str, policy_id: [u8; 32]) -> Value {
    let change = PolicyChange {
        header: of(FrameKind::Policy, PolicyFrame::LEN, 0, 15),
        op: op.to_wire(),
        reserved_a: 0,
        path_len: path.len() as u16,
        path: filled(path),
        policy_id,
        until_ns: if op == PolicyOp::Candidate { MOMENT_NS } else { 0 },
        reserved_b: [0; 4],
    };
    let fields = fields!(change;
        small: op, reserved_a, path_len;
        large: until_ns;
        text: path;
        bytes: policy_id, reserved_b;
    );
    vector(name, change.header, bytemuck::bytes_of(&PolicyFrame::from(&change)), fields)
}

pub fn policy_state() -> Value {
    let state = PolicyStateReply {
        header: of(FrameKind::PolicyState, PolicyStateFrame::LEN, 0, 15),
        version: 3,
        changed: 1,
        waits_for_approval: 1,
        reserved_a: [0; 2],
        policy_id: [0xa5; 32],
        activated_at_ns: MOMENT_NS,
        rules: 33,
        text_len: 8_000,
        previous_version: 2,
        reserved_b: [0; 4],
        previous_policy_id: [0x5a; 32],
        waiting_policy: [0x3c; 16],
    };
    let fields = fields!(state;
        large: activated_at_ns;
        small: version, changed, waits_for_approval, rules, text_len, previous_version;
        bytes: reserved_a, policy_id, reserved_b, previous_policy_id, waiting_policy;
    );
    vector(
        "policy_state",
        state.header,
        bytemuck::bytes_of(&PolicyStateFrame::from(&state)),
        fields,
    )
}

/// Cells and rules that each say another number.
pub fn comparison(name: &str, policy_id: [u8; 32], rules: u32, changed: u8) -> Value {
    let is_tried = policy_id != [0; 32];
    let tried = |number: u64| if is_tried { number } else { 0 };
    let length = size_of::<ComparisonHeadFields>()
        + 9 * size_of::<ComparisonCellFields>()
        + rules as usize * size_of::<ComparisonRuleFields>();
    let head = ComparisonHead {
        header: of(FrameKind::Comparison, length, 0, 17),
        policy_id,
        since_ns: tried(MOMENT_NS),
        until_ns: tried(MOMENT_NS + 86_400_000_000_000),
        left_out: tried(7),
        left_out_centavos: tried(70_000),
        rules,
        rules_len: rules * size_of::<ComparisonRuleFields>() as u32,
        changed,
        reserved: [0; 39],
    };
    let mut wire = bytemuck::bytes_of(&ComparisonHeadFields::from(&head)).to_vec();
    let mut fields = fields!(head;
        bytes: policy_id, reserved;
        large: since_ns, until_ns, left_out, left_out_centavos;
        small: rules, rules_len, changed;
    );
    let head_len = wire.len();
    for at in 0..9 {
        let cell = ComparisonCell { count: tried(at + 1), centavos: tried(1_000 * (at + 1)) };
        wire.extend_from_slice(bytemuck::bytes_of(&ComparisonCellFields::from(&cell)));
    }
    for at in 0..u64::from(rules) {
        let rule = ComparisonRule {
            matched: 10 + at,
            matched_centavos: 10_000 + at,
            changed: 20 + at,
            changed_centavos: u64::MAX - at,
            settled: 30 + at,
            without_result: 40 + at,
        };
        wire.extend_from_slice(bytemuck::bytes_of(&ComparisonRuleFields::from(&rule)));
    }
    let (cells, by_rule) = wire[head_len..].split_at(9 * size_of::<ComparisonCellFields>());
    (fields["cells"], fields["by_rule"]) = (bytes(cells), bytes(by_rule));
    vector(name, head.header, &wire, fields)
}
