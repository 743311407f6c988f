//! How a client behaves, as far as every client of Rust shares it: what it says first, how it reads
//! replies, where it goes next, and how long it waits. PROTOCOL.md ("Writing a client") says the same in
//! prose. Pure: no socket here.
//!
//! The blocking client keeps to it, and so does who moves many requests over few connections with a
//! runtime of its own.

pub use super::reply::{Body, address, decode, reply_len};
pub use super::route::Route;

#[cfg(doc)]
use crate::frame::MAX_TOKEN_LEN;
use crate::frame::{
    AuthFrame, ErrorCode, FLAG_AUTH, HelloFrame, MAX_CREDENTIAL_LEN, PROTOCOL_VERSION, Welcome,
    fill,
};
use std::time::Duration;

/// How long after a transaction's budget its answer is waited for: the way to the server and back.
pub const ANSWER_GRACE: Duration = Duration::from_millis(500);
/// A wait that takes nothing from a budget worth telling the server, microseconds.
pub const UNNOTICED_US: u32 = 1_000;
/// After so long without anything from a node that owes answers it is looked whether there is
/// another primary: many times what a busy node takes, a quarter of the longest budget.
pub const SILENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether there is another primary while the one in use can't confirm.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long that may take for each address. It is a node that answers, or it is none.
pub const LOOK_TIME: Duration = Duration::from_millis(200);
/// Servers that name another one as the primary, followed without a pause: more of them lead
/// nowhere.
pub const MAX_HOPS: usize = 4;
/// The correlation of HELLO: nothing else is unanswered then.
pub const HELLO_CORRELATION: u64 = 0;

/// A client's first frames: HELLO, and behind it a credential that it has no room for. A credential of more than
/// [`MAX_TOKEN_LEN`] bytes is left out, and a name that is longer than its field cut: check them before.
pub fn greeting(credential: &str, client_name: &str, in_flight: u32) -> Vec<u8> {
    let mut frame = HelloFrame::empty(HELLO_CORRELATION);
    frame.version_min = PROTOCOL_VERSION;
    frame.version_max = PROTOCOL_VERSION;
    if is_token(credential) {
        frame.header.flags = FLAG_AUTH.into();
    } else {
        fill(&mut frame.credential, credential);
        // It is shorter than a byte can say, and so is the name.
        frame.credential_len = credential.len() as u8;
    }
    fill(&mut frame.client_name, client_name);
    frame.client_name_len = client_name.len().min(frame.client_name.len()) as u8;
    frame.in_flight = in_flight.into();
    let mut bytes = bytemuck::bytes_of(&frame).to_vec();
    if is_token(credential) {
        bytes.extend(token_frames(credential, HELLO_CORRELATION));
    }
    bytes
}

/// Whether a credential goes in AUTH frames, so that AUTH_STATE follows WELCOME.
pub const fn is_token(credential: &str) -> bool {
    credential.len() > MAX_CREDENTIAL_LEN
}

/// A credential in AUTH frames with this correlation; none for one that is empty or too long.
pub fn token_frames(credential: &str, correlation: u64) -> Vec<u8> {
    let frames = AuthFrame::of_token(credential.as_bytes(), correlation);
    frames.into_iter().flatten().flat_map(|frame| bytemuck::bytes_of(&frame).to_vec()).collect()
}

/// How far a handshake has come.
#[derive(Debug, Default)]
pub struct Handshake {
    welcome: Option<Welcome>,
}

impl Handshake {
    /// Takes a reply to a [`greeting`] with this credential; gives WELCOME and until when the credential counts (0 for no
    /// end), with the last one.
    ///
    /// # Errors
    /// The reply, where it is no answer to that.
    #[expect(clippy::result_large_err, reason = "once for a connection")]
    pub fn take(
        &mut self,
        credential: &str,
        (correlation, body): (u64, Body),
    ) -> Result<Option<(Welcome, u64)>, (u64, Body)> {
        match (body, self.welcome) {
            (Body::Welcome(welcome), None) if correlation == HELLO_CORRELATION => {
                if !is_token(credential) {
                    return Ok(Some((welcome, 0)));
                }
                self.welcome = Some(welcome);
                Ok(None)
            }
            (Body::AuthState { expires_at_ns }, Some(welcome))
                if correlation == HELLO_CORRELATION =>
            {
                Ok(Some((welcome, expires_at_ns)))
            }
            (body, _) => Err((correlation, body)),
        }
    }
}

/// The pause before the next attempt after so many failures in a row: none after the first, then
/// doubling from `base_ms` to `max_ms`, of which half is fixed and half chance, so that clients of a
/// node that came back don't all arrive at once.
pub fn pause(base_ms: u64, max_ms: u64, failures: u32, chance: u64) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
    let factor = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let whole_ms = base_ms.saturating_mul(factor).min(max_ms);
    Duration::from_millis(whole_ms / 2 + chance % (whole_ms / 2 + 1))
}

/// Refusals of a handshake that another attempt can't change.
pub const fn is_final_refusal(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unauthenticated | ErrorCode::UnsupportedVersion | ErrorCode::BadFrame)
}
