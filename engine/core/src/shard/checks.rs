//! What a frame must be before anything is done with it: header, reserved fields, and a HELLO that
//! is sound in itself. PROTOCOL.md, "Malformed input".

use super::session::State;
use bytemuck::Pod;
use catraca_wire::frame::{
    self, AuditFrame, AuthFrame, BlacklistFrame, ClusterFrame, ErrorCode, FLAG_AUTH, FrameKind,
    HeaderFields, HelloFrame, LabelFrame, ListFrame, LookupFrame, OnBehalfFrame, PROTOCOL_VERSION,
    PingFrame, PolicyFrame, StatsFrame, SubmitFrame, ValidatorFrame,
};

/// A whole request, its reserved fields zero, as they must be until a later version gives them a
/// meaning.
pub(super) enum Request<'f> {
    Submit(&'f SubmitFrame),
    Hello(&'f HelloFrame),
    Ping,
    Lookup(&'f LookupFrame),
    Blacklist(&'f BlacklistFrame),
    Stats(&'f StatsFrame),
    Cluster(&'f ClusterFrame),
    Policy(&'f PolicyFrame),
    Label(&'f LabelFrame),
    List(&'f ListFrame),
    Validator(&'f ValidatorFrame),
    OnBehalf(&'f OnBehalfFrame),
    Audit(&'f AuditFrame),
    Auth(&'f AuthFrame),
}

impl<'f> Request<'f> {
    /// Of a kind that clients send, with the length of that kind; `None` where a reserved field is
    /// not 0.
    #[inline]
    pub fn of(kind: FrameKind, whole: &'f [u8]) -> Option<Self> {
        match kind {
            FrameKind::Submit => view(whole, |f: &SubmitFrame| f.reserved == 0).map(Self::Submit),
            FrameKind::Hello => view(whole, |_: &HelloFrame| true).map(Self::Hello),
            FrameKind::Ping => view(whole, |f: &PingFrame| f.reserved == 0).map(|_| Self::Ping),
            FrameKind::Lookup => view(whole, |f: &LookupFrame| f.reserved == 0).map(Self::Lookup),
            FrameKind::Blacklist => {
                let is_zero = |f: &BlacklistFrame| f.reserved_a == 0 && f.reserved_b == [0; 26];
                view(whole, is_zero).map(Self::Blacklist)
            }
            FrameKind::Stats => view(whole, |f: &StatsFrame| f.reserved == [0; 6]).map(Self::Stats),
            FrameKind::Cluster => {
                view(whole, |f: &ClusterFrame| f.reserved == [0; 6]).map(Self::Cluster)
            }
            FrameKind::Policy => {
                let is_zero = |f: &PolicyFrame| f.reserved_a == 0 && f.reserved_b == [0; 4];
                view(whole, is_zero).map(Self::Policy)
            }
            FrameKind::Label => {
                view(whole, |f: &LabelFrame| f.reserved == [0; 24]).map(Self::Label)
            }
            FrameKind::List => {
                let is_zero = |f: &ListFrame| f.reserved_a == [0; 6] && f.reserved_b == [0; 8];
                view(whole, is_zero).map(Self::List)
            }
            FrameKind::Validator => {
                let is_zero = |f: &ValidatorFrame| f.reserved_a == [0; 7] && f.reserved_b == [0; 8];
                view(whole, is_zero).map(Self::Validator)
            }
            FrameKind::OnBehalf => {
                view(whole, |f: &OnBehalfFrame| f.reserved == [0; 30]).map(Self::OnBehalf)
            }
            FrameKind::Audit => {
                view(whole, |f: &AuditFrame| f.reserved == [0; 24]).map(Self::Audit)
            }
            FrameKind::Auth => view(whole, |f: &AuthFrame| f.reserved == [0; 4]).map(Self::Auth),
            _ => unreachable!("check_header lets only requests through"),
        }
    }
}

#[inline]
fn view<F: Pod>(whole: &[u8], reserved_is_zero: impl Fn(&F) -> bool) -> Option<&F> {
    frame::view(whole).filter(|frame| reserved_is_zero(frame))
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
    if announces_token(hello) && hello.credential_len > 0 {
        return Err("HELLO: a credential, and the flag that says that a token follows");
    }
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

/// Whether a token follows HELLO.
pub(super) fn announces_token(hello: &HelloFrame) -> bool {
    hello.header.flags == FLAG_AUTH
}

/// Kind and length of the frame that this header begins, or why the connection can't go on.
#[inline]
pub(super) fn check_header(
    header: &HeaderFields,
    state: State,
) -> Result<(FrameKind, usize), (ErrorCode, &'static str)> {
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
    if header.flags.to_native() != 0 && !(kind == FrameKind::Hello && header.flags == FLAG_AUTH) {
        return bad("header: flags of a request must be 0");
    }
    match (state, kind) {
        (State::Greeting, FrameKind::Hello) => Ok((kind, len)),
        (State::Greeting, _) => bad("the first frame must be HELLO"),
        (_, FrameKind::Hello) => bad("HELLO was sent before"),
        (State::Authenticating, FrameKind::Auth) => Ok((kind, len)),
        (State::Authenticating, _) => bad("only AUTH may come before the token is accepted"),
        _ => Ok((kind, len)),
    }
}
