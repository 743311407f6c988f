//! What is wrong, as RFC 9457 has it: `application/problem+json`, with what a caller has to know before it
//! does anything else, namely whether the payment is recorded, and what is safe to do next.
//!
//! One row of [`ROWS`] for each code; GATEWAY.md shows the same rows, and a test holds the two together.

use crate::json::Mistake;
use crate::link::Outcome;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use catraca_wire::client::ServerError;
use catraca_wire::frame::ErrorCode;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Whether the transaction is recorded, as far as this answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recorded {
    /// It is, with its decision.
    Yes,
    /// It is not, by this request.
    No,
    /// Nobody knows. Sent again as it was it gets the decision that stands.
    Perhaps,
}

impl Recorded {
    /// The name in JSON and on the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Perhaps => "perhaps",
        }
    }
}

/// What one code means to an HTTP client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The code: the protocol's name where a node said it, else the gateway's own.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Whether anything is recorded.
    pub recorded: Recorded,
    /// The safe next step, one sentence.
    pub next: &'static str,
}

impl Row {
    /// The same, of a request that is no payment: it has no id to send again.
    pub fn of_operation(self) -> Self {
        match self.code {
            "BAD_FIELD" => Self { recorded: No, next: CORRECT_OPERATION, ..self },
            _ if self.next == CORRECT => Self { next: CORRECT_OPERATION, ..self },
            _ if [AGAIN, LEARN].contains(&self.next) => Self { next: AGAIN_OPERATION, ..self },
            _ => self,
        }
    }

    /// The same, of a change of what decides: no such list, no such rule, a policy with faults.
    pub fn of_change(self) -> Self {
        if self.code == "FAILED" { Self { status: 409, ..self } } else { self }
    }
}

const fn row(code: &'static str, status: u16, recorded: Recorded, next: &'static str) -> Row {
    Row { code, status, recorded, next }
}

/// Nothing says who asks.
pub const NO_TOKEN: &str = "NO_TOKEN";
/// What should say it is no good.
pub const BAD_TOKEN: &str = "BAD_TOKEN";
/// Who asks is known, and may not.
pub const NOT_ALLOWED: &str = "NOT_ALLOWED";
/// No token can be checked, because the issuer's keys are not known.
pub const NO_KEYS: &str = "NO_KEYS";
/// It comes from a web page, or by a name that is not this machine's.
pub const BAD_ORIGIN: &str = "BAD_ORIGIN";
/// Too often, by the node's measure or the gateway's.
pub const RATE_LIMITED: &str = "RATE_LIMITED";
/// No primary took the request in time: it was never sent.
pub const NO_PRIMARY: &str = "NO_PRIMARY";
/// It was sent, and no answer came in time.
pub const NO_ANSWER: &str = "NO_ANSWER";
/// As many requests wait as may.
pub const BUSY: &str = "BUSY";
/// The gateway is stopping.
pub const STOPPING: &str = "STOPPING";
/// The body is no JSON.
pub const BAD_JSON: &str = "BAD_JSON";
/// A field, key or parameter is wrong.
pub const BAD_REQUEST: &str = "BAD_REQUEST";
/// Body and header name different transactions.
pub const ID_MISMATCH: &str = "ID_MISMATCH";
/// The body is too long.
pub const TOO_LARGE: &str = "TOO_LARGE";
/// The body did not come in time.
pub const SLOW_BODY: &str = "SLOW_BODY";
/// The body is of another type.
pub const NOT_JSON: &str = "NOT_JSON";
/// The body is packed in another way than those that are taken.
pub const BAD_ENCODING: &str = "BAD_ENCODING";
/// The gateway has nothing to sign with.
pub const NO_RECEIPTS: &str = "NO_RECEIPTS";
/// There is no such path.
pub const NO_SUCH_PATH: &str = "NO_SUCH_PATH";
/// The path takes another method.
pub const WRONG_METHOD: &str = "WRONG_METHOD";

const AGAIN: &str = "Send it again as it was, with the same id, after Retry-After.";
const LEARN: &str = "Send it again as it was, with the same id, to learn which decision stands.";
/// The same, of what operators do.
const AGAIN_OPERATION: &str = "Look at the state; where it is not done, send it again as it was.";
const CORRECT_OPERATION: &str = "Correct the request.";
const OPERATOR: &str = "Tell the operator of the gateway; trying again is of no use.";
const CORRECT: &str = "Correct the request; the same id may be used.";

use Recorded::{No, Perhaps, Yes};

/// Every code: first what nodes say, in the order of the protocol, then what the gateway says.
pub const ROWS: [Row; 36] = [
    row("BAD_FRAME", 502, No, OPERATOR),
    row("BAD_DOCUMENT", 422, No, CORRECT),
    // The gateway checks all other fields, so this is about the time of the event.
    row(
        "BAD_FIELD",
        422,
        Perhaps,
        "Correct the field that the detail names; where that is event_time_ns, look the id up before: it may have been decided.",
    ),
    row("UNSUPPORTED_VERSION", 502, No, OPERATOR),
    row("UNAUTHENTICATED", 502, No, OPERATOR),
    row("FORBIDDEN", 502, No, OPERATOR),
    row("NOT_PRIMARY", 503, No, AGAIN),
    row("OVERLOADED", 503, No, AGAIN),
    row("DEADLINE", 504, No, "Send it again with the same id, or do without."),
    row("UNCONFIRMED", 504, Perhaps, LEARN),
    row(
        "ID_REUSED",
        422,
        No,
        "Take a new id for a new transaction; the earlier one stands, and a look-up shows it.",
    ),
    row(RATE_LIMITED, 429, No, "Send it again after Retry-After, and more slowly."),
    row("DISK_FULL", 503, No, "Tell the operator of the node; send it again later."),
    row("SHUTTING_DOWN", 503, No, AGAIN),
    row(
        "NOT_FOUND",
        404,
        No,
        "Nothing was decided by this id, or so long ago that its log was removed: ask the archive.",
    ),
    row("FAILED", 502, No, "See the detail."),
    row("LATE", 504, Yes, "Send it again as it was, with the same id, to get the decision."),
    row(NO_TOKEN, 401, No, "Send a token or an API key with it: Authorization: Bearer."),
    row(BAD_TOKEN, 401, No, "Get a new token, and send it again as it was, with the same id."),
    row(NOT_ALLOWED, 403, No, "Ask the operator of the gateway for what the detail names."),
    row(NO_KEYS, 503, No, AGAIN),
    row(BAD_ORIGIN, 403, No, "Call the gateway as localhost, and from no web page."),
    row(NO_PRIMARY, 503, No, AGAIN),
    row(NO_ANSWER, 504, Perhaps, LEARN),
    row(BUSY, 503, No, AGAIN),
    row(STOPPING, 503, No, "Send it again as it was, with the same id, to another gateway."),
    row(BAD_JSON, 400, No, CORRECT),
    row(BAD_REQUEST, 422, No, CORRECT),
    row(ID_MISMATCH, 422, No, "Give the id once, or the same one in both places."),
    row(TOO_LARGE, 413, No, CORRECT),
    row(SLOW_BODY, 408, No, "Send it again as it was, with the same id, and faster."),
    row(NOT_JSON, 415, No, "Send a JSON body as application/json."),
    row(BAD_ENCODING, 415, No, "Send the body as it is, or packed with gzip."),
    row(
        NO_RECEIPTS,
        501,
        No,
        "Ask the operator of the gateway for receipts; a look-up shows the same.",
    ),
    row(NO_SUCH_PATH, 404, No, "See GATEWAY.md for the paths that there are."),
    row(WRONG_METHOD, 405, No, "See GATEWAY.md for the methods that the path takes."),
];

/// What a refusal with this status asks the caller to wait at least, seconds: Retry-After has no smaller
/// unit but 0.
const LEAST_RETRY_S: u32 = 1;

/// An answer that is none of those hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    row: Row,
    detail: String,
    retry_after_ms: u32,
}

/// The members of a problem as JSON.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Members<'a> {
    /// `urn:catraca:problem:` and the code in small letters, with `-`.
    pub r#type: String,
    /// The code in words.
    pub title: String,
    /// HTTP status; in a batch the one that the transaction alone would have had.
    pub status: u16,
    /// What is wrong, for a person.
    pub detail: &'a str,
    /// The code.
    pub code: &'static str,
    /// Whether the transaction is recorded.
    pub recorded: Recorded,
    /// The safe next step.
    pub next: &'static str,
    /// When to come again, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
}

impl Problem {
    /// A problem with this code.
    ///
    /// # Panics
    /// For a code that has no row.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let row = ROWS.iter().find(|row| row.code == code);
        let row = *row.expect("a test holds every code to the rows");
        Self { row, detail: detail.into(), retry_after_ms: 0 }
    }

    /// What a node said. `in_doubt`: the request may have been recorded before it was refused.
    pub fn of_node(error: &ServerError, in_doubt: bool) -> Self {
        // The text is the node's: a control character in it must not reach a terminal.
        let detail: String =
            error.detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let problem =
            Self { retry_after_ms: error.retry_after_ms, ..Self::new(error.code.name(), detail) };
        // Where another content has the id, nothing of this request can have been recorded before either.
        if in_doubt && error.code != ErrorCode::IdReused { problem.in_doubt() } else { problem }
    }

    /// What is wrong with a body.
    pub fn of_mistake(mistake: &Mistake) -> Self {
        let code = match mistake {
            Mistake::Syntax(_) => BAD_JSON,
            Mistake::Member(_) => BAD_REQUEST,
            Mistake::Ids => ID_MISMATCH,
        };
        Self::new(code, mistake.to_string())
    }

    /// What came of a request in place of what was hoped for.
    pub fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Refused { error, in_doubt } => Self::of_node(&error, in_doubt),
            Outcome::NoAnswer { detail, in_doubt: true } => Self::new(NO_ANSWER, detail),
            Outcome::NoAnswer { detail, in_doubt: false } => Self::new(NO_PRIMARY, detail),
            Outcome::Full => Self::new(BUSY, "as many requests wait as may"),
            Outcome::Closed => Self::new(STOPPING, "the gateway is stopping"),
            // The link matches answers with their requests.
            Outcome::Decided(_) | Outcome::Stored(_) | Outcome::Answer(_) => {
                Self::new(NO_ANSWER, "an answer of another kind came")
            }
        }
    }

    /// The same where an earlier sending may have been recorded: what is not recorded by this one is perhaps all the
    /// same.
    #[must_use]
    pub fn in_doubt(self) -> Self {
        if self.row.recorded != No {
            return self;
        }
        Self { row: Row { recorded: Perhaps, next: LEARN, ..self.row }, ..self }
    }

    /// The same, to be tried again after this time.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
        Self { retry_after_ms, ..self }
    }

    /// The same, of a change of what decides: what fails, fails by the state of that.
    #[must_use]
    pub fn of_change(self) -> Self {
        let problem = self.of_operation();
        Self { row: problem.row.of_change(), ..problem }
    }

    /// The same, of a request that is no payment: see [`Row::of_operation`].
    #[must_use]
    pub fn of_operation(self) -> Self {
        Self { row: self.row.of_operation(), ..self }
    }

    /// What is wrong, for a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When a node asks to be asked again, milliseconds; 0 where nobody said so.
    pub const fn retry_after_ms(&self) -> u32 {
        self.retry_after_ms
    }

    /// Its row.
    pub const fn row(&self) -> &Row {
        &self.row
    }

    /// As JSON.
    pub fn members(&self) -> Members<'_> {
        let Row { code, status, recorded, next } = self.row;
        let code_in = |space| code.to_ascii_lowercase().replace('_', space);
        Members {
            r#type: format!("urn:catraca:problem:{}", code_in("-")),
            title: code_in(" "),
            status,
            detail: &self.detail,
            code,
            recorded,
            next,
            retry_after_ms: Some(self.retry_after_ms).filter(|ms| *ms > 0),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_string(&self.members()).expect("text and numbers are JSON");
        let status =
            StatusCode::from_u16(self.row.status).expect("a test holds each row to a status");
        let mut response = (status, body).into_response();
        // For whoever counts.
        response.extensions_mut().insert(self.row);
        let headers = response.headers_mut();
        let problem_json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let seconds = self.retry_after_ms.div_ceil(1_000).max(LEAST_RETRY_S);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_of_the_protocol_has_its_row_in_its_order() {
        let of_nodes: Vec<&str> =
            ROWS.iter().map(|row| row.code).take(ErrorCode::ALL.len()).collect();
        let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(of_nodes, codes);
        let different: BTreeSet<&str> = ROWS.iter().map(|row| row.code).collect();
        assert_eq!(different.len(), ROWS.len(), "no code twice");
    }

    #[test]
    fn the_page_has_the_same_rows() {
        let page = include_str!("../../GATEWAY.md");
        let rows: Vec<String> = ROWS
            .iter()
            .map(|row| {
                let Row { code, status, recorded, next } = row;
                format!("| {code} | {status} | {} | {next} |", recorded.name())
            })
            .collect();
        for row in &rows {
            assert!(page.lines().any(|line| line == row), "not on the page:\n{}", rows.join("\n"));
        }
        for row in ROWS {
            drop(Problem::new(row.code, "").into_response());
        }
    }

    #[test]
    fn a_refusal_after_a_lost_connection_says_perhaps() {
        let error = ServerError {
            code: ErrorCode::Overloaded,
            retry_after_ms: 1_500,
            detail: "a\u{1b}[2J".to_owned(),
            closing: false,
        };
        let problem = Problem::of_node(&error, true);
        assert_eq!((problem.row.recorded, problem.row.status), (Perhaps, 503));
        assert_eq!(problem.detail, "a [2J");
        let reused = ServerError { code: ErrorCode::IdReused, ..error.clone() };
        assert_eq!(Problem::of_node(&reused, true).row.recorded, No);
        let response = Problem::of_node(&error, false).into_response();
        assert_eq!(response.headers()["retry-after"], "2");
    }
}
