//! Golden vectors of VALIDATOR and VALIDATOR_STATE.

use super::frames::{of, vector};
use super::samples::{MOMENT_NS, filled};
use super::shapes::{bytes, fields, large, small, text};
use catraca_wire::frame::*;
use catraca_wire::list::{MAX_AUTHOR_LEN, MAX_LIST_NAME_LEN, MAX_LIST_REASON_LEN};
use serde_json::Value;

/// Each thing that a person may say of a breaker, and answers.
pub(super) fn validators() -> Vec<Value> {
    let (name, author) = ("v".repeat(MAX_LIST_NAME_LEN), "a".repeat(MAX_AUTHOR_LEN));
    let reason = "ã".repeat(MAX_LIST_REASON_LEN / 2);
    vec![
        force("validator_open", BreakerForce::Open, "cpf-status", "ana", "manutenção do birô"),
        force("validator_closed", BreakerForce::Closed, "device-risk", "rui", "it is well"),
        force("validator_auto_longest", BreakerForce::Auto, &name, &author, &reason),
        state("validator_state", 1, Breaker::HalfOpen, Breaker::ForcedOpen, MOMENT_NS),
        state(
            "validator_state_unchanged",
            0,
            Breaker::ForcedClosed,
            Breaker::ForcedClosed,
            u64::MAX,
        ),
    ]
}

fn force(name: &str, force: BreakerForce, validator: &str, author: &str, reason: &str) -> Value {
    let request = ValidatorRequest {
        header: of(FrameKind::Validator, ValidatorFrame::LEN, 0, 20),
        force: force.to_wire(),
        reserved_a: [0; 7],
        validator: filled(validator),
        author: filled(author),
        reason: filled(reason),
        reserved_b: [0; 8],
    };
    let fields = fields!(request;
        text: validator, author, reason;
        small: force;
        bytes: reserved_a, reserved_b;
    );
    vector(name, request.header, bytemuck::bytes_of(&ValidatorFrame::from(&request)), fields)
}

fn state(name: &str, changed: u8, before: Breaker, now: Breaker, forced_at_ns: u64) -> Value {
    let state = ValidatorStateReply {
        header: of(FrameKind::ValidatorState, ValidatorStateFrame::LEN, 0, 20),
        changed,
        before: before.to_wire(),
        now: now.to_wire(),
        reserved_a: [0; 5],
        forced_at_ns,
        reserved_b: [0; 32],
    };
    let fields = fields!(state;
        small: changed, before, now;
        large: forced_at_ns;
        bytes: reserved_a, reserved_b;
    );
    vector(name, state.header, bytemuck::bytes_of(&ValidatorStateFrame::from(&state)), fields)
}
