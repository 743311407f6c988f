//! What is looked at of a record, and what a letter is as one.

use super::headers;
use crate::intake::letter::Letter;
use crate::intake::message::{MAX_BODY_LEN, Message};
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use std::ffi::CStr;

/// The longest header that is looked at, bytes: what is longer is left out.
const MAX_HEADER_LEN: usize = 1_024;

/// What is looked at of a record.
pub(super) fn message(record: &BorrowedMessage<'_>) -> Message {
    let header = |name: &CStr| {
        let value = headers::last(record, name).filter(|value| value.len() <= MAX_HEADER_LEN)?;
        str::from_utf8(value).ok().map(str::to_owned)
    };
    let body = record.payload().unwrap_or_default();
    // Of one that is too long only so much that this can be seen: the record stays where it is.
    let body = &body[..body.len().min(MAX_BODY_LEN + 1)];
    let in_header = header(c"x-enqueued-at-ms").and_then(|text| text.parse().ok());
    let of_record = || record.timestamp().to_millis().and_then(|at| u64::try_from(at).ok());
    Message {
        body: body.to_vec(),
        content_type: header(c"content-type"),
        content_encoding: header(c"content-encoding"),
        message_id: header(c"message-id"),
        correlation_id: header(c"correlation-id"),
        reply_to: None,
        traceparent: header(c"traceparent"),
        enqueued_at_ms: in_header.or_else(of_record),
        // Whether somebody had it before, nobody knows: offsets are committed behind what is answered.
        in_doubt: true,
        key: record.key().filter(|key| key.len() <= MAX_HEADER_LEN).map(<[u8]>::to_vec),
        offset: u64::try_from(record.offset()).ok(),
    }
}

/// The headers of a letter.
pub(super) fn headers_of(letter: &Letter) -> OwnedHeaders {
    let texts = letter.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let own = [
        ("content-type", letter.content_type.as_deref()),
        ("correlation-id", letter.correlation_id.as_deref()),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mut headers = OwnedHeaders::new();
    for (key, value) in texts.chain(own) {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    headers
}
