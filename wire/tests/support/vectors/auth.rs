//! Golden vectors of HELLO, and of the AUTH and AUTH_STATE that follow it.

use super::frames::{of, vector};
use super::samples::{MOMENT_NS, filled};
use super::shapes::{bytes, fields, large, small, text};
use catraca_wire::frame::*;
use serde_json::Value;

/// A HELLO that announces a token, a token in one part, one in two, the longest, and both answers.
pub(super) fn auth() -> Vec<Value> {
    let mut vectors = vec![hello("hello_auth", FLAG_AUTH, (1, 1), "", "pagamentos", 0)];
    vectors.extend(token("auth_short", &"t".repeat(65)));
    vectors.extend(token("auth_long", &"0123456789abcdef".repeat(50)));
    vectors.extend(token("auth_longest", &"z".repeat(MAX_TOKEN_LEN)).pop());
    for (name, expires_at_ns) in [("auth_state", MOMENT_NS), ("auth_state_without_end", 0)] {
        let header = of(FrameKind::AuthState, AuthStateFrame::LEN, 0, 23);
        let reply = AuthStateReply { header, expires_at_ns, reserved: [0; 8] };
        let fields = fields!(reply; large: expires_at_ns; bytes: reserved;);
        vectors.push(vector(
            name,
            header,
            bytemuck::bytes_of(&AuthStateFrame::from(&reply)),
            fields,
        ));
    }
    vectors
}

/// All parts of a token, the first of this name and the others numbered from 2.
fn token(name: &str, token: &str) -> Vec<Value> {
    let frames = AuthFrame::of_token(token.as_bytes(), 23).expect("it has a length");
    let vectors = frames.zip(1..).map(|(frame, number)| {
        let request = AuthRequest::from(&frame);
        let name = if number == 1 { name.to_owned() } else { format!("{name}_{number}") };
        let fields = fields!(request; small: token_len, offset; bytes: reserved, part;);
        vector(&name, request.header, bytemuck::bytes_of(&frame), fields)
    });
    vectors.collect()
}

pub(super) fn hello(
    name: &str,
    flags: u16,
    versions: (u8, u8),
    credential: &str,
    client_name: &str,
    in_flight: u32,
) -> Value {
    let hello = Hello {
        header: of(FrameKind::Hello, HelloFrame::LEN, flags, 0),
        version_min: versions.0,
        version_max: versions.1,
        credential_len: credential.len() as u8,
        client_name_len: client_name.len() as u8,
        in_flight,
        credential: filled(credential),
        client_name: filled(client_name),
    };
    let fields = fields!(hello;
        small: version_min, version_max, credential_len, client_name_len, in_flight;
        text: credential, client_name;
    );
    vector(name, hello.header, bytemuck::bytes_of(&HelloFrame::from(&hello)), fields)
}
