//! What can go wrong for a client, each with what to do about it.

use crate::frame::{ErrorCode, FrameKind};
use std::fmt;

/// The server's ERROR to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// Why; PROTOCOL.md says for each whether anything was recorded and what to do next.
    pub code: ErrorCode,
    /// When to try again, milliseconds; 0 where that makes no sense, or at once will do.
    pub retry_after_ms: u32,
    /// The server's sentence for a person.
    pub detail: String,
    /// The server closes the connection after it.
    pub closing: bool,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if !self.detail.is_empty() {
            // The text is the server's: a control character in it must not reach a terminal.
            let clean: String =
                self.detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            write!(f, ": {clean}")?;
        }
        if self.retry_after_ms > 0 {
            write!(f, " (try again after {} ms)", self.retry_after_ms)?;
        }
        Ok(())
    }
}

/// How a server broke the protocol. The connection is dropped: nothing after it can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A kind that is unknown, or a client's.
    #[error("a frame of kind {0}, which no server sends")]
    Kind(u8),
    /// Not the version that was agreed on.
    #[error("a frame of protocol version {0}")]
    Version(u8),
    /// A length that this kind can't have.
    #[error("a {kind} of {length} bytes")]
    Length {
        /// Kind of the frame.
        kind: FrameKind,
        /// What its header or a field says.
        length: u32,
    },
    /// A code that version 1 does not have.
    #[error("the code {code} as {what}")]
    Code {
        /// Which field.
        what: &'static str,
        /// What it holds.
        code: u32,
    },
    /// An answer that nothing asked for.
    #[error("a {kind} with correlation {correlation}, which nothing asked for")]
    Unexpected {
        /// Kind of the frame.
        kind: FrameKind,
        /// Its correlation.
        correlation: u64,
    },
    /// More pieces of one answer than there can be.
    #[error("more than {0} histograms in one answer")]
    TooManyHistograms(usize),
    /// Likewise.
    #[error("more than {0} entries of the audit trail in one answer")]
    TooManyEntries(usize),
    /// More labels of one decision than there can be.
    #[error("more than {0} labels of one decision")]
    TooManyLabels(usize),
}

/// Why a client's call did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// An option or argument that could never work; nothing was sent.
    #[error("{0}")]
    Argument(String),
    /// No connection. Nothing of this call was sent.
    #[error("no connection to {address}: {detail}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        detail: String,
    },
    /// No node at these addresses decides. Nothing of this call was sent.
    #[error("no primary: {detail}")]
    NoPrimary {
        /// What each address said.
        detail: String,
    },
    /// The server refused the request, or the handshake.
    #[error("the server refused: {0}")]
    Refused(ServerError),
    /// The request was sent, perhaps, and no answer came in time. It may have been done: send it
    /// again with the same id.
    #[error("no answer: {detail}; it may have been done, so send it again as it was")]
    NoAnswer {
        /// What is known of the reason.
        detail: String,
    },
    /// `receive` with nothing unanswered: it would wait for ever.
    #[error("nothing is unanswered, so there is nothing to receive")]
    NothingInFlight,
    /// Too many answers wait in the client to be received; nothing was sent.
    #[error("too many answers wait to be received: call receive first")]
    Backlog,
}
