//! What is asked over the link, and how it ends.

use crate::caller::Caller;
use catraca_wire::client::rules::Body;
use catraca_wire::client::{Decision, ServerError, StoredDecision};
use catraca_wire::frame::{
    FixedFrame, FrameKind, MAX_BUDGET_US, PrincipalFields, SubmitFrame, SubmitterFields,
    Transaction, TransactionFields,
};

/// A request, without its correlation.
#[derive(Debug, Clone)]
pub enum Request {
    /// A transaction to decide on, and the end of its budget, nanoseconds of the link's clock.
    Submit {
        /// For whom; the gateway itself where it is not said.
        behalf: Option<Box<PrincipalFields>>,
        /// The frame; its budget is what the caller allowed.
        frame: Box<SubmitFrame>,
        /// From then on it is not sent any more.
        budget_end_ns: u64,
    },
    /// Anything else: to look up, to see or to change how payments are decided.
    Ask {
        /// For whom; likewise.
        behalf: Option<Box<PrincipalFields>>,
        /// The frame.
        frame: Vec<u8>,
        /// What answers it, beside ERROR.
        answered_by: FrameKind,
        /// It changes nothing, so that it is sent again after a connection was lost. What changes something may have
        /// been done, and what somebody else did meanwhile would be undone.
        is_repeatable: bool,
    },
}

impl Request {
    /// Asks for a decision until then, for this caller.
    pub fn submit(caller: &Caller, transaction: &Transaction, budget_end_ns: u64) -> Self {
        // A record keeps no more of it, and what is the same for many is said once.
        let submitter = caller.principal().map(|all| all.submitter);
        Self::submit_for(submitter, transaction, budget_end_ns)
    }

    /// The same for this client; for who asks where none is named.
    pub fn submit_for(
        submitter: Option<SubmitterFields>,
        transaction: &Transaction,
        budget_end_ns: u64,
    ) -> Self {
        let mut frame = Box::new(SubmitFrame::empty(0));
        frame.transaction = TransactionFields::from(transaction);
        let behalf = submitter
            .map(|submitter| Box::new(PrincipalFields { submitter, ..Default::default() }));
        Self::Submit { behalf, frame, budget_end_ns }
    }

    /// Asks a node something for this caller that changes nothing, or the same however often it is asked.
    pub fn repeatable(caller: &Caller, frame: &impl FixedFrame, answered_by: FrameKind) -> Self {
        Self::ask(caller, frame, answered_by, true)
    }

    /// Has a node change something for this caller: sent once, whatever comes of it.
    pub fn once(caller: &Caller, frame: &impl FixedFrame, answered_by: FrameKind) -> Self {
        Self::ask(caller, frame, answered_by, false)
    }

    fn ask(
        caller: &Caller,
        frame: &impl FixedFrame,
        answered_by: FrameKind,
        is_repeatable: bool,
    ) -> Self {
        let behalf = caller.principal().map(Box::new);
        let frame = bytemuck::bytes_of(frame).to_vec();
        Self::Ask { behalf, frame, answered_by, is_repeatable }
    }

    /// Whether this kind of frame answers it; ERROR always does.
    pub(super) fn is_answered_by(&self, kind: FrameKind) -> bool {
        kind == FrameKind::Error
            || match self {
                Self::Submit { .. } => kind == FrameKind::Verdict,
                Self::Ask { answered_by, .. } => kind == *answered_by,
            }
    }

    /// Whether it may be sent again over another connection.
    pub(super) const fn is_repeatable(&self) -> bool {
        match self {
            Self::Submit { .. } => true,
            Self::Ask { is_repeatable, .. } => *is_repeatable,
        }
    }

    /// The budget that it began with, microseconds; 0 for what has none.
    pub(super) fn budget_us(&self) -> u32 {
        match self {
            Self::Submit { frame, .. } => match frame.transaction.budget_us.to_native() {
                0 => MAX_BUDGET_US,
                budget_us => budget_us,
            },
            Self::Ask { .. } => 0,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The node decided.
    Decided(Decision),
    /// The node found a stored decision.
    Stored(Box<StoredDecision>),
    /// The node says what it was asked.
    Answer(Box<Body>),
    /// A node refused it.
    Refused {
        /// What it said.
        error: ServerError,
        /// It was sent before on a connection that was lost: whatever the refusal says, that may have
        /// been recorded.
        in_doubt: bool,
    },
    /// Its time is over.
    NoAnswer {
        /// What is known of the reason, for a person.
        detail: String,
        /// It was sent, and nobody knows what came of it.
        in_doubt: bool,
    },
    /// As many requests wait as may. It was not sent.
    Full,
    /// The link is closed. It was not sent.
    Closed,
}

/// The outcome that a reply means; `None` for a reply that ends nothing.
pub(super) fn outcome_of(body: Body, in_doubt: bool) -> Option<Outcome> {
    match body {
        Body::Decision(decision) => Some(Outcome::Decided(decision)),
        Body::Record { stored, more: false } => Some(Outcome::Stored(stored)),
        Body::Error(error) => Some(Outcome::Refused { error, in_doubt }),
        Body::Record { .. }
        | Body::RecordedLabel { .. }
        | Body::Histogram { .. }
        | Body::AuditEntry { .. } => None,
        body => Some(Outcome::Answer(Box::new(body))),
    }
}
