//! What an invented provider answers to a request, well or badly.

use super::script::{Answer, Fail, Phase, Script};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use serde_json::Value;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Longest body of a request that is read, bytes.
const MAX_REQUEST_LEN: usize = 64 * 1024;
/// How long a byte takes where the body drips.
const DRIP: Duration = Duration::from_secs(1);
/// How long after half of a body the connection ends: so that the half leaves before.
const BREAK: Duration = Duration::from_millis(20);
/// A piece of a body that does not end, bytes.
const HUGE_PIECE: usize = 16 * 1024;
/// What is no JSON, and no text either.
const GARBAGE: &[u8] = b"{\"status\": \xff\xfe<html>";
/// Times that the bomb's longest copy, 258 bytes, stands in it: 13 bits each, some 60,000 bytes in all, which unpack
/// to 9.5 MB.
const BOMB_COPIES: u32 = 36_800;

/// A body that may misbehave.
pub(super) type Served = UnsyncBoxBody<Bytes, io::Error>;

/// Answers a request in a phase. One that is to hang never comes back.
pub(super) async fn respond(
    script: &Script,
    phase: Option<&Phase>,
    request: Request<Incoming>,
) -> Response<Served> {
    let quiet = Phase::default();
    let phase = phase.unwrap_or(&quiet);
    let path = request.uri().path().to_owned();
    let is_let_in = script.require.iter().all(|(name, value)| {
        request.headers().get(name).is_some_and(|given| given.as_bytes() == value.as_bytes())
    });
    let name = name(script, request, &path).await;
    sleep(Duration::from_millis(phase.delay_ms)).await;
    if phase.fail == Some(Fail::Hang) {
        std::future::pending::<()>().await;
    }
    let refused = Answer { status: Some(401), body: Value::Null };
    let answer = match is_let_in {
        true => script.answer.get(&name).unwrap_or(&script.otherwise),
        false => &refused,
    };
    let text = answer.body.to_string();
    let mut response = Response::new(body(phase.fail, &text));
    let status = phase.status.or(answer.status).unwrap_or(200);
    *response.status_mut() = StatusCode::from_u16(status).expect("from 200 to 599");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = phase.retry_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    match phase.fail {
        Some(Fail::Redirect) => {
            headers.insert(LOCATION, HeaderValue::try_from(path).expect("it was a path"));
            *response.status_mut() = StatusCode::FOUND;
        }
        Some(Fail::GzipBomb) => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        _ => {}
    }
    response
}

/// The name of what is asked for.
async fn name(script: &Script, request: Request<Incoming>, path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(member) = &script.by else { return last };
    let body = Limited::new(request.into_body(), MAX_REQUEST_LEN).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    match serde_json::from_slice::<Value>(&bytes).ok().as_ref().and_then(|body| body.get(member)) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn body(fail: Option<Fail>, text: &str) -> Served {
    let whole = |bytes: &[u8]| {
        Full::new(Bytes::copy_from_slice(bytes)).map_err(|never| match never {}).boxed_unsync()
    };
    let bytes = || Bytes::copy_from_slice(text.as_bytes());
    match fail {
        Some(Fail::Drip) => {
            Bad::Drip { left: bytes(), pause: Box::pin(sleep(DRIP)) }.boxed_unsync()
        }
        Some(Fail::Truncate) => {
            Bad::Truncated { left: bytes(), pause: Box::pin(sleep(BREAK)) }.boxed_unsync()
        }
        Some(Fail::Huge) => Bad::Endless.boxed_unsync(),
        Some(Fail::Garbage) => whole(GARBAGE),
        Some(Fail::GzipBomb) => whole(&bomb()),
        _ => whole(text.as_bytes()),
    }
}

/// A body that does not come as it should.
enum Bad {
    Drip { left: Bytes, pause: Pin<Box<Sleep>> },
    Truncated { left: Bytes, pause: Pin<Box<Sleep>> },
    Endless,
}

impl Body for Bad {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Endless => {
                let piece = Bytes::from_static(&[b' '; HUGE_PIECE]);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Self::Truncated { left, .. } if !left.is_empty() => {
                // The other half never follows.
                let half = left.split_to(left.len().div_ceil(2));
                left.clear();
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            Self::Truncated { pause, .. } => {
                ready!(pause.as_mut().poll(context));
                Poll::Ready(Some(Err(io::Error::other("truncated as the script says"))))
            }
            Self::Drip { left, .. } if left.is_empty() => Poll::Ready(None),
            Self::Drip { left, pause } => {
                ready!(pause.as_mut().poll(context));
                pause.as_mut().reset(tokio::time::Instant::now() + DRIP);
                Poll::Ready(Some(Ok(Frame::data(left.split_to(1)))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Endless => SizeHint::default(),
            Self::Drip { left, .. } | Self::Truncated { left, .. } => {
                SizeHint::with_exact(left.len() as u64)
            }
        }
    }
}

/// Zeros as gzip (RFC 1952): one zero, and copies of the longest length from one byte before, in the fixed code of
/// deflate (RFC 1951, 3.2.6). The check sum at the end is missing: nobody should get that far.
fn bomb() -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], filled: 8 };
    // The last block, of the fixed code; then the byte 0.
    bits.push(1, 1);
    bits.push(0b01, 2);
    bits.push_code(0b0011_0000, 8);
    for _ in 0..BOMB_COPIES {
        // Length 258, and distance 1.
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    bits.push_code(0, 7);
    bits.bytes
}

/// Bits, from the lowest of each byte on.
struct Bits {
    bytes: Vec<u8>,
    filled: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for place in 0..count {
            if self.filled == 8 {
                self.bytes.push(0);
                self.filled = 0;
            }
            let last = self.bytes.last_mut().expect("it begins with a head");
            *last |= ((value >> place & 1) as u8) << self.filled;
            self.filled += 1;
        }
    }

    /// A code: its highest bit comes first.
    fn push_code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bomb_is_small() {
        let bomb = bomb();
        assert!((50_000..64 * 1024).contains(&bomb.len()), "{}", bomb.len());
        assert_eq!(bomb[..3], [0x1f, 0x8b, 8]);
    }
}
