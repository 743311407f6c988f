//! How a client behaves, as far as every client of Rust shares it: what it says first, how it reads
//! replies, where it goes next, and how long it waits. PROTOCOL.md ("Writing a client") says the same in
//! prose. Pure: no socket here.
//!
//! The blocking client keeps to it, and so does who moves many requests over few connections with a
//! runtime of its own.

pub use super::reply::{Body, address, decode, reply_len};
pub use super::route::Route;

use crate::frame::{ErrorCode, HelloFrame, PROTOCOL_VERSION, fill};
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

/// A client's first frame. A credential or name that is longer than its field is cut: check them
/// before.
pub fn hello(credential: &str, client_name: &str, in_flight: u32) -> HelloFrame {
    let mut frame = HelloFrame::empty(HELLO_CORRELATION);
    frame.version_min = PROTOCOL_VERSION;
    frame.version_max = PROTOCOL_VERSION;
    fill(&mut frame.credential, credential);
    fill(&mut frame.client_name, client_name);
    // Both fields are shorter than a byte can say.
    frame.credential_len = credential.len().min(frame.credential.len()) as u8;
    frame.client_name_len = client_name.len().min(frame.client_name.len()) as u8;
    frame.in_flight = in_flight.into();
    frame
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
