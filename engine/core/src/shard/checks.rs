//! What a frame must be before anything is done with it: header, reserved fields, and a HELLO that
//! is sound in itself. PROTOCOL.md, "Malformed input".

use catraca_wire::frame::{self, ErrorCode, FrameKind, HeaderFields, HelloFrame, PROTOCOL_VERSION};

/// Whether the reserved fields of a whole request are zero, as they must be until a later version
/// gives them a meaning.
#[inline]
pub(super) fn reserved_is_zero(kind: u8, whole: &[u8]) -> bool {
    match FrameKind::from_wire(kind) {
        Some(FrameKind::Submit) => {
            frame::view::<frame::SubmitFrame>(whole).is_some_and(|f| f.reserved == 0)
        }
        Some(FrameKind::Lookup) => {
            frame::view::<frame::LookupFrame>(whole).is_some_and(|f| f.reserved == [0; 2])
        }
        Some(FrameKind::Stats) => {
            frame::view::<frame::StatsFrame>(whole).is_some_and(|f| f.reserved == [0; 6])
        }
        Some(FrameKind::Ping) => {
            frame::view::<frame::PingFrame>(whole).is_some_and(|f| f.reserved == 0)
        }
        Some(FrameKind::Cluster) => {
            frame::view::<frame::ClusterFrame>(whole).is_some_and(|f| f.reserved == [0; 6])
        }
        Some(FrameKind::Blacklist) => frame::view::<frame::BlacklistFrame>(whole)
            .is_some_and(|f| f.reserved_a == 0 && f.reserved_b == [0; 26]),
        _ => true,
    }
}

/// Whether HELLO is sound in itself, whatever it asks for; else what is wrong with it.
pub(super) fn check_hello(hello: &HelloFrame) -> Result<(), &'static str> {
    let is_zero = |rest: &[u8]| rest.iter().all(|&byte| byte == 0);
    if hello.version_min > hello.version_max {
        return Err("HELLO: version_min is above version_max");
    }
    let Some((_, rest)) = hello.credential.split_at_checked(usize::from(hello.credential_len))
    else {
        return Err("HELLO: credential_len is above 64");
    };
    if !is_zero(rest) {
        return Err("HELLO: bytes behind credential_len are not 0");
    }
    let Some((name, rest)) = hello.client_name.split_at_checked(usize::from(hello.client_name_len))
    else {
        return Err("HELLO: client_name_len is above 40");
    };
    if !is_zero(rest) {
        return Err("HELLO: bytes behind client_name_len are not 0");
    }
    if std::str::from_utf8(name).is_err() {
        return Err("HELLO: client_name is not UTF-8");
    }
    Ok(())
}

/// The length of the frame that this header begins, or why the connection can't go on.
#[inline]
pub(super) fn check_header(
    header: &HeaderFields,
    greeting: bool,
) -> Result<usize, (ErrorCode, &'static str)> {
    let bad = |detail| Err((ErrorCode::BadFrame, detail));
    // First of all: what another version means by the rest is not known here.
    if header.version != PROTOCOL_VERSION {
        return Err((
            ErrorCode::UnsupportedVersion,
            "header: this server speaks protocol version 1 only",
        ));
    }
    let Some(kind) = FrameKind::from_wire(header.kind) else { return bad("unknown frame kind") };
    let Some(len) = frame::request_len(kind) else { return bad("a kind that only servers send") };
    if header.length.to_native() as usize != len {
        return bad("the length is not that of this kind");
    }
    if header.flags.to_native() != 0 {
        return bad("header: flags of a request must be 0");
    }
    match (greeting, kind == FrameKind::Hello) {
        (true, false) => bad("the first frame must be HELLO"),
        (false, true) => bad("HELLO was sent before"),
        _ => Ok(len),
    }
}
