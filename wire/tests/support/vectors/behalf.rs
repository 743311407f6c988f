//! Golden vectors of ON_BEHALF.

use super::frames::{of, vector};
use super::samples::filled;
use super::shapes::{bytes, fields, small, text};
use catraca_wire::frame::*;
use serde_json::Value;

/// A client with nothing more known of it, and everything that can be said.
pub(super) fn behalf() -> Vec<Value> {
    let plain = Principal {
        submitter: Submitter { institution: 7, name: filled("loja-do-mar") },
        subject: [0; MAX_SUBJECT_LEN],
        remote: [0; 16],
        certificate: [0; 32],
        request_id: [0; 16],
    };
    let full = Principal {
        submitter: Submitter { institution: u16::MAX, name: filled("açaí-pagamento") },
        subject: filled(&"s".repeat(MAX_SUBJECT_LEN)),
        remote: std::array::from_fn(|i| 0x20 + i as u8),
        certificate: std::array::from_fn(|i| 0x40 + i as u8),
        request_id: std::array::from_fn(|i| 0x80 + i as u8),
    };
    vec![on_behalf("on_behalf_plain", 21, plain), on_behalf("on_behalf_full", 22, full)]
}

fn on_behalf(name: &str, correlation: u64, principal: Principal) -> Value {
    let request = OnBehalf {
        header: of(FrameKind::OnBehalf, OnBehalfFrame::LEN, 0, correlation),
        principal,
        reserved: [0; 30],
    };
    let mut fields = fields!(principal; text: subject; bytes: remote, certificate, request_id;);
    fields["institution"] = small(&principal.submitter.institution);
    fields["name"] = text(&principal.submitter.name);
    fields["reserved"] = bytes(request.reserved);
    vector(name, request.header, bytemuck::bytes_of(&OnBehalfFrame::from(&request)), fields)
}
