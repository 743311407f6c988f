//! A client: bytes that it wants to send, bytes that it got, and what those say.

use catraca_core::shard::messages::ConnectionId;
use catraca_wire::frame::{
    AnswerFields, AuthStateFrame, ErrorCode, ErrorFrame, FLAG_CLOSING, FrameKind, HEADER_LEN,
    HeaderFields, VerdictFrame, WelcomeFrame, view,
};
use std::collections::VecDeque;

/// An answer as a client understands it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply {
    Welcome(WelcomeFrame),
    Verdict { correlation: u64, answer: AnswerFields },
    Error { correlation: u64, code: ErrorCode, retry_after_ms: u32, closing: bool },
    Authenticated { correlation: u64, expires_at_ns: u64 },
    Other { correlation: u64, kind: FrameKind },
}

impl Reply {
    pub fn correlation(&self) -> u64 {
        match self {
            // Never asked for by a test.
            Self::Welcome(_) => u64::MAX,
            Self::Verdict { correlation, .. }
            | Self::Error { correlation, .. }
            | Self::Authenticated { correlation, .. }
            | Self::Other { correlation, .. } => *correlation,
        }
    }

    /// The verdict, or a panic that shows what came instead.
    pub fn verdict(&self) -> AnswerFields {
        match self {
            Self::Verdict { answer, .. } => *answer,
            other => panic!("a verdict was expected: {other:?}"),
        }
    }

    /// The error's code, or a panic that shows what came instead.
    pub fn error(&self) -> ErrorCode {
        match self {
            Self::Error { code, .. } => *code,
            other => panic!("an error was expected: {other:?}"),
        }
    }
}

/// A client and its connection.
#[derive(Debug)]
pub struct Client {
    pub core: usize,
    pub id: ConnectionId,
    /// Sent, and not yet read by the server.
    pub outgoing: VecDeque<u8>,
    /// Answers have gone out since the server last found that it may read nothing.
    pub readable: bool,
    /// The client takes no answers; the server's are held back in its own buffer.
    pub deaf: bool,
    pub output_due: bool,
    /// The connection is gone, on either side's account.
    pub closed: bool,
    received: Vec<u8>,
    /// Every frame that came, in order.
    pub replies: Vec<Reply>,
}

impl Client {
    pub fn new(core: usize, id: ConnectionId) -> Self {
        Self {
            core,
            id,
            outgoing: VecDeque::new(),
            readable: false,
            deaf: false,
            output_due: false,
            closed: false,
            received: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// Takes bytes of the server; gives the answers that they complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Reply> {
        self.received.extend_from_slice(bytes);
        let mut at = 0;
        let mut replies = Vec::new();
        while let Some(header) =
            self.received.get(at..at + HEADER_LEN).and_then(view::<HeaderFields>)
        {
            let len = header.length.to_native() as usize;
            let Some(whole) = self.received.get(at..at + len) else { break };
            replies.push(read(header, whole));
            at += len;
        }
        self.received.drain(..at);
        self.replies.extend_from_slice(&replies);
        replies
    }

    /// Whether all bytes that came were whole frames.
    pub fn is_between_frames(&self) -> bool {
        self.received.is_empty()
    }

    /// All answers to one correlation.
    pub fn answers(&self, correlation: u64) -> Vec<Reply> {
        self.replies.iter().filter(|reply| reply.correlation() == correlation).copied().collect()
    }

    /// The one answer to a correlation; a panic for none or several.
    pub fn answer(&self, correlation: u64) -> Reply {
        let answers = self.answers(correlation);
        assert_eq!(answers.len(), 1, "answers to {correlation}: {answers:?}");
        answers[0]
    }
}

fn read(header: &HeaderFields, whole: &[u8]) -> Reply {
    let correlation = header.correlation.to_native();
    let kind = FrameKind::from_wire(header.kind).expect("the server sends known kinds");
    match kind {
        FrameKind::Welcome => Reply::Welcome(*view(whole).expect("128 bytes")),
        FrameKind::Verdict => Reply::Verdict {
            correlation,
            answer: view::<VerdictFrame>(whole).expect("64 bytes").answer,
        },
        FrameKind::Error => {
            let error = view::<ErrorFrame>(whole).expect("152 bytes");
            Reply::Error {
                correlation,
                code: ErrorCode::from_wire(error.code.to_native())
                    .expect("the server sends known codes"),
                retry_after_ms: error.retry_after_ms.to_native(),
                closing: header.flags.to_native() & FLAG_CLOSING != 0,
            }
        }
        FrameKind::AuthState => {
            let state = view::<AuthStateFrame>(whole).expect("32 bytes");
            Reply::Authenticated { correlation, expires_at_ns: state.expires_at_ns.to_native() }
        }
        kind => Reply::Other { correlation, kind },
    }
}
