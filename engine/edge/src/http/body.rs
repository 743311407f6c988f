//! What is read of a request: its type, its id, its body. All of it bounded, in bytes and in time.

use crate::problem::{
    BAD_ENCODING, BAD_JSON, BAD_REQUEST, NOT_JSON, Problem, SLOW_BODY, TOO_LARGE,
};
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::time::Duration;
use tokio::time::timeout;

/// The longest body, bytes. A transaction has less than 2 KiB; whoever sends more sends something else.
pub(super) const MAX_BODY_LEN: usize = 64 * 1024;
/// How long a body may take to arrive, and a line of one that is read by lines.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// What is said of a body that is not whole.
pub(super) const ENDED_EARLY: &str = "the body ended before it was whole, or is no gzip";
/// The header that carries the id of a transaction whose body has none.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// JSON, and a JSON text a line. A page of another site can't send these types without asking first, so asking
/// for them also keeps browsers out.
pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Which of these types a body is said to be; another one is refused.
pub(super) fn check_type(
    headers: &HeaderMap,
    wanted: &[&'static str],
) -> Result<&'static str, Problem> {
    // What was packed with gzip is unpacked before, and says so no more.
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
        return Err(Problem::new(BAD_ENCODING, "Content-Encoding is to be gzip, once, or none"));
    }
    let wrong = || Problem::new(NOT_JSON, format!("Content-Type is to be {}", wanted.join(" or ")));
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(given), None) = (types.next(), types.next()) else { return Err(wrong()) };
    let text = given.to_str().map_err(|_| wrong())?;
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    let is_utf8 = matches!(parameters.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    let is_it = |one: &&&'static str| media.trim().eq_ignore_ascii_case(one);
    wanted.iter().find(is_it).copied().filter(|_| is_utf8).ok_or_else(wrong)
}

/// The Idempotency-Key, bare or between quotation marks, as the draft has it.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let wrong = |why| Problem::new(BAD_REQUEST, format!("Idempotency-Key: {why}"));
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(wrong("give it once"));
    }
    let text = key.to_str().map_err(|_| wrong("it is no ASCII"))?;
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Ok(Some(inner.unwrap_or(text)))
}

/// The whole body, of at most so many bytes.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(TOO_LARGE, format!("a body has at most {most} bytes"));
    // What says its length is refused before any of it is read.
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match timeout(BODY_PATIENCE, Limited::new(body, most).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(BAD_JSON, ENDED_EARLY)),
        Err(_) => Err(Problem::new(SLOW_BODY, "the body did not come in time")),
    }
}
