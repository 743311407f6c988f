//! What a response means: an answer, nothing for now, or nothing at all.

use super::Outcome;
use crate::validators::spec::Meaning;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

/// Longest body that is read, bytes: an answer is a word or a number and what stands around it.
pub(super) const MAX_BODY_LEN: usize = 64 * 1024;
/// Longest time for which a service may ask to be left alone: as long as a breaker's first time at most, so that a
/// wrong date does not do without it for a day.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// What may be another time: the request took too long, came too early or too often, or the service is in trouble.
const RETRYABLE: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];

/// An outcome and what led to it: kinds and numbers, nothing that the service wrote.
pub(super) type Said = (Outcome, String);

/// What a response means. Reads no more of its body than the bound, and none where the status alone says it.
pub(super) async fn of<B>(meaning: &Meaning, response: Response<B>) -> Said
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    let status = response.status();
    if let Some(&answer) = meaning.statuses.get(&status.as_u16()) {
        return (Outcome::Answer(answer), format!("status {}", status.as_u16()));
    }
    match (&meaning.pointer, status) {
        (Some(pointer), StatusCode::OK) => of_body(meaning, pointer, response).await,
        _ if RETRYABLE.contains(&status.as_u16()) => {
            let header = response.headers().get(RETRY_AFTER);
            let retry_after = header.and_then(|header| retry_after(header, Timestamp::now()));
            let detail = match retry_after {
                Some(after) => {
                    format!("status {}, to be asked again in {after:?}", status.as_u16())
                }
                None => format!("status {}", status.as_u16()),
            };
            (Outcome::Retryable { retry_after }, detail)
        }
        _ if status.is_redirection() => nothing(format!(
            "status {}: redirects are not followed; write the URL that it leads to",
            status.as_u16()
        )),
        _ => nothing(format!("status {} is no answer", status.as_u16())),
    }
}

fn nothing(detail: impl Into<String>) -> Said {
    (Outcome::Final, detail.into())
}

async fn of_body<B>(meaning: &Meaning, pointer: &str, response: Response<B>) -> Said
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    if is_encoded(response.headers()) {
        // It was asked not to; and what unpacks to gigabytes is never unpacked.
        return nothing("the body is encoded, and identity was asked for");
    }
    let too_long = || nothing(format!("the body has more than {MAX_BODY_LEN} bytes"));
    let mut body = response.into_body();
    if body.size_hint().lower() > MAX_BODY_LEN as u64 {
        return too_long();
    }
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                let outcome = Outcome::Retryable { retry_after: None };
                return (outcome, format!("the body broke off: {}", causes(&error)));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY_LEN {
            return too_long();
        }
        bytes.extend_from_slice(&data);
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(value) => at(meaning, pointer, &value),
        // The fault's place and kind, without what stands there.
        Err(fault) => nothing(format!(
            "the body is no JSON: {:?} fault in line {} column {}",
            fault.classify(),
            fault.line(),
            fault.column()
        )),
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let is_identity =
        |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    !headers.get_all(CONTENT_ENCODING).iter().all(is_identity)
}

/// The answer where it stands.
fn at(meaning: &Meaning, pointer: &str, body: &Value) -> Said {
    let wanted =
        if meaning.words.is_empty() { "a whole number of 64 bits" } else { "one of the answers" };
    let Some(found) = body.pointer(pointer) else {
        return nothing(format!("nothing stands at {pointer:?}, {wanted} was expected"));
    };
    let answer = match found {
        Value::String(word) => {
            meaning.words.iter().position(|known| known == word).map(|place| place as i64)
        }
        Value::Number(number) if meaning.words.is_empty() => number.as_i64(),
        _ => None,
    };
    if let Some(answer) = answer {
        return (Outcome::Answer(answer), format!("at {pointer:?}"));
    }
    let kind = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction or an exponent",
        Value::Number(number) if number.is_i64() => "a whole number",
        Value::Number(_) => "a whole number beyond 64 bits with a sign",
        Value::String(_) if meaning.words.is_empty() => "a text",
        Value::String(_) => "another text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    nothing(format!("at {pointer:?} stands {kind}, {wanted} was expected"))
}

/// When it may be asked again: seconds, or a date of HTTP (RFC 9110, 10.2.3); `None` of anything else.
fn retry_after(header: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = header.to_str().ok()?.trim();
    let after = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        // Whether it was that day of the week changes nothing.
        let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
        let date = parser.parse_timestamp(text).ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(after.min(MAX_RETRY_AFTER))
}

/// An error with what caused it.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some say their cause's words as their own.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(words: &[&str]) -> Meaning {
        Meaning {
            pointer: Some("/a~1b/0".to_owned()),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            statuses: [].into(),
            negative: Vec::new(),
        }
    }

    #[test]
    fn an_answer_is_a_word_among_the_answers_or_a_whole_number() {
        for (words, found, outcome, says) in [
            (&["a", "b"][..], "\"b\"", Outcome::Answer(1), ""),
            (&["a", "b"], "\"secret\"", Outcome::Final, "stands another text, one of the answers"),
            (&["a", "b"], "1", Outcome::Final, "stands a whole number, one of the answers"),
            (&[], "-7", Outcome::Answer(-7), ""),
            (&[], "9223372036854775807", Outcome::Answer(i64::MAX), ""),
            (&[], "9223372036854775808", Outcome::Final, "beyond 64 bits"),
            (&[], "7.0", Outcome::Final, "a fraction or an exponent, a whole number"),
            (&[], "7e2", Outcome::Final, "a fraction or an exponent"),
            (&[], "\"7\"", Outcome::Final, "stands a text, a whole number"),
            (&[], "null", Outcome::Final, "stands null"),
            (&[], "true", Outcome::Final, "true or false"),
            (&[], "[]", Outcome::Final, "an array"),
            (&[], "{}", Outcome::Final, "an object"),
        ] {
            let body = serde_json::from_str(&format!("{{\"a/b\": [{found}]}}")).expect("JSON");
            let (came, detail) = at(&meaning(words), "/a~1b/0", &body);
            assert_eq!(came, outcome, "{found}");
            assert!(detail.contains(says) && !detail.contains("secret"), "{found}: {detail}");
        }
        let (came, detail) = at(&meaning(&[]), "/a~1b/0", &Value::Array(Vec::new()));
        assert!(came == Outcome::Final && detail.contains("nothing stands"), "{detail}");
    }

    #[test]
    fn when_to_ask_again_is_seconds_or_a_date_and_never_far() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().expect("a time");
        for (text, seconds) in [
            ("30", Some(30)),
            ("0", Some(0)),
            ("3600", Some(600)),
            ("99999999999999999999999", Some(600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Mon, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(600)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            let header = HeaderValue::from_static(text);
            let wanted = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&header, now), wanted, "{text:?}");
        }
        let latin = HeaderValue::from_bytes(b"\xe9").expect("a header may hold it");
        assert_eq!(retry_after(&latin, now), None);
    }
}
