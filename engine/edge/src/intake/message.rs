//! A message out of a queue or a partition: what of it is looked at, and the payment that it asks for.

use crate::json::{self, Mistake};
use crate::problem::{NOT_JSON, Problem, TOO_LARGE};
use catraca_wire::frame::Transaction;

/// The longest body, bytes: as much as a request over HTTP may have.
pub(super) const MAX_BODY_LEN: usize = 64 * 1024;
/// The type of a body, where the message says one.
const JSON: &str = "application/json";
/// Encodings that change nothing of a JSON text. Some clients say the charset there.
const PLAIN_ENCODINGS: [&str; 3] = ["", "identity", "utf-8"];

/// What came out of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The payment as JSON, as `POST /v1/decisions` takes it.
    pub body: Vec<u8>,
    /// Property `content_type`; none where it is not said.
    pub content_type: Option<String>,
    /// Property `content_encoding`.
    pub content_encoding: Option<String>,
    /// Property `message_id`: the id of the payment, where the body has none.
    pub message_id: Option<String>,
    /// Property `correlation_id`, which the reply carries too.
    pub correlation_id: Option<String>,
    /// Property `reply_to`: the queue of who waits for the reply.
    pub reply_to: Option<String>,
    /// Header `traceparent`, W3C.
    pub traceparent: Option<String>,
    /// When it was put into the queue, milliseconds since 1970, where the message says so.
    pub enqueued_at_ms: Option<u64>,
    /// It may have been decided on: it was delivered before and not acknowledged, or the broker does not say whether.
    pub in_doubt: bool,
    /// Its key, where the broker knows keys: the answer has it too.
    pub key: Option<Vec<u8>>,
    /// Its offset, where the broker keeps what was answered: there it can be read again.
    pub offset: Option<u64>,
}

impl Message {
    /// How long ago it was queued, nanoseconds: 0 where that is not said, and where it is in the future, because
    /// the sender's clock may be ahead and nobody has more time than a budget.
    pub(super) fn age_ns(&self, wall_ms: u64) -> u64 {
        let age_ms = self.enqueued_at_ms.map_or(0, |at| wall_ms.saturating_sub(at));
        age_ms.saturating_mul(1_000_000)
    }

    /// The payment that it asks for.
    ///
    /// # Errors
    /// It asks for none, and never will.
    pub(super) fn read(&self) -> Result<Transaction, Problem> {
        if self.body.len() > MAX_BODY_LEN {
            return Err(Problem::new(
                TOO_LARGE,
                format!("a body has at most {MAX_BODY_LEN} bytes"),
            ));
        }
        if !self.is_json() {
            return Err(Problem::new(NOT_JSON, format!("content_type is to be {JSON}")));
        }
        let key = self.message_id.as_deref().filter(|id| !id.is_empty());
        let read = match json::read(&self.body, key) {
            // Many clients give each message an id of its own, so the payment's own one counts.
            Err(Mistake::Ids) => json::read(&self.body, None),
            read => read,
        };
        let mut transaction = read.map_err(|mistake| Problem::of_mistake(&mistake))?;
        transaction.trace_id =
            self.traceparent.as_deref().and_then(json::trace_id).unwrap_or_default();
        Ok(transaction)
    }

    fn is_json(&self) -> bool {
        let media = self.content_type.as_deref().unwrap_or(JSON);
        let (media, parameters) = media.split_once(';').unwrap_or((media, ""));
        let parameters = parameters.trim().to_ascii_lowercase();
        let is_utf8 = matches!(parameters.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"");
        let encoding = self.content_encoding.as_deref().unwrap_or_default().to_ascii_lowercase();
        media.trim().eq_ignore_ascii_case(JSON)
            && is_utf8
            && PLAIN_ENCODINGS.contains(&encoding.as_str())
    }
}
