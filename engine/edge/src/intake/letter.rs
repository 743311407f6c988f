//! What is sent to the broker: replies, and messages that nobody can decide on.

use super::message::Message;
use crate::json::DecisionView;
use crate::problem::{Members, Problem};
use catraca_wire::client::Decision;
use catraca_wire::frame::text_of;
use serde::Serialize;

/// Why a reply is among the dead letters: nothing takes it where it belongs.
pub const UNROUTABLE: &str = "REPLY_UNROUTABLE";
/// The longest text of a header of ours, bytes: a frame has room for it whatever a message had.
const MAX_HEADER_LEN: usize = 1_024;

/// What is sent, and to whom. Where that is, the broker's part of the intake knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A reply to who asked, at the place that its `reply_to` names.
    ToAsker(String),
    /// A reply to where all go that name nobody.
    ToAll,
    /// Something that a person has to look at.
    Dead,
}

/// Something to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// What it is.
    pub kind: Kind,
    /// The key of the message that it is about: letters with the same key stay in their order, where the broker knows
    /// that.
    pub key: Option<Vec<u8>>,
    /// Its body.
    pub body: Vec<u8>,
    /// Property `content_type`.
    pub content_type: Option<String>,
    /// Property `correlation_id`.
    pub correlation_id: Option<String>,
    /// Property `reply_to`: of a dead message, so that whoever mends it knows who waits.
    pub reply_to: Option<String>,
    /// Headers, by name.
    pub headers: Vec<(&'static str, String)>,
}

/// A problem as a reply has it: that of HTTP, with the payment's id where that could be read.
#[derive(Serialize)]
struct ProblemReply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<&'a str>,
    #[serde(flatten)]
    problem: Members<'a>,
}

/// The longest beginning of a text that a header of ours takes.
fn header(text: &str) -> String {
    let mut end = text.len().min(MAX_HEADER_LEN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn of_offset(offset: u64) -> (&'static str, String) {
    ("x-catraca-offset", offset.to_string())
}

impl Letter {
    /// The reply to a message.
    pub(super) fn reply(
        message: &Message,
        id: Option<&[u8]>,
        answer: &Result<Decision, Problem>,
    ) -> Self {
        let text = "text and numbers are JSON";
        let (status, media, body) = match (answer, id) {
            (Ok(decision), id) => {
                let view = DecisionView::new(id.unwrap_or_default(), decision);
                (200, "application/json", serde_json::to_vec(&view).expect(text))
            }
            (Err(problem), id) => {
                let item =
                    ProblemReply { transaction_id: id.map(text_of), problem: problem.members() };
                let body = serde_json::to_vec(&item).expect(text);
                (problem.row().status, "application/problem+json", body)
            }
        };
        let to_asker = message.reply_to.as_ref().filter(|place| !place.is_empty());
        let kind = to_asker.map_or(Kind::ToAll, |place| Kind::ToAsker(place.clone()));
        let mut headers = vec![("x-catraca-status", status.to_string())];
        headers.extend(message.traceparent.as_deref().map(|trace| ("traceparent", header(trace))));
        Self {
            kind,
            key: message.key.clone(),
            body,
            content_type: Some(media.to_owned()),
            correlation_id: message.correlation_id.clone(),
            reply_to: None,
            headers,
        }
    }

    /// A message that nobody can decide on, as it came. Of its headers only those that are known here go with it: with
    /// all of them and ours it might be more than a frame takes.
    pub(super) fn dead(message: &Message, problem: &Problem, queue: &str) -> Self {
        let mut headers = vec![
            ("x-catraca-reason", problem.row().code.to_owned()),
            ("x-catraca-detail", header(problem.detail())),
            ("x-catraca-queue", header(queue)),
        ];
        let enqueued_at = message.enqueued_at_ms.map(|at| ("x-enqueued-at-ms", at.to_string()));
        let trace = message.traceparent.as_deref().map(|trace| ("traceparent", header(trace)));
        let id = message.message_id.as_deref().map(|id| ("x-catraca-message-id", header(id)));
        let offset = message.offset.map(of_offset);
        headers.extend(enqueued_at.into_iter().chain(trace).chain(id).chain(offset));
        Self {
            kind: Kind::Dead,
            key: message.key.clone(),
            body: message.body.clone(),
            content_type: message.content_type.clone(),
            correlation_id: message.correlation_id.clone(),
            reply_to: message.reply_to.clone(),
            headers,
        }
    }

    /// The same where nothing takes it at its place: a reply to one who has gone goes to where all go, and one that
    /// nothing takes there is dead, and says where the message was that it answers. None for what is dead already.
    pub(super) fn elsewhere(&self, queue: &str, offset: Option<u64>) -> Option<Self> {
        let mut letter = self.clone();
        match self.kind {
            Kind::ToAsker(_) => letter.kind = Kind::ToAll,
            Kind::ToAll => {
                letter.kind = Kind::Dead;
                letter.headers.push(("x-catraca-reason", UNROUTABLE.to_owned()));
                letter.headers.push(("x-catraca-queue", header(queue)));
                letter.headers.extend(offset.map(of_offset));
            }
            Kind::Dead => return None,
        }
        Some(letter)
    }
}
