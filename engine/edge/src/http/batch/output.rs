//! The answers of a batch, one after the other: lines, or the items of an array.

use crate::json::DecisionView;
use crate::problem::{Members, Problem};
use axum::body::Bytes;
use catraca_wire::client::Decision;
use catraca_wire::frame::text_of;
use serde::Serialize;
use utoipa::ToSchema;

/// From so many bytes on what is written is passed on, even where more could be written: some 50 answers.
const CHUNK_LEN: usize = 16 * 1024;
/// What a chunk is made with: one answer more fits.
const CHUNK_ROOM: usize = CHUNK_LEN + 1024;

/// The id of a transaction, as the protocol has it.
pub(super) type Id = [u8; 32];

/// How answers stand behind each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Array,
}

/// What is answered to one transaction.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = BatchItem)]
pub(super) enum Item<'a> {
    Decision(DecisionView<'a>),
    Problem(ProblemItem<'a>),
}

/// A problem of one transaction.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchProblem)]
pub(super) struct ProblemItem<'a> {
    /// Which one, from 1.
    number: u64,
    /// Its id, where that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<&'a str>,
    #[serde(flatten)]
    problem: Members<'a>,
}

/// What is written and not passed on.
#[derive(Debug)]
pub(super) struct Output {
    form: Form,
    bytes: Vec<u8>,
    has_begun: bool,
}

impl Output {
    pub(super) const fn new(form: Form) -> Self {
        Self { form, bytes: Vec::new(), has_begun: false }
    }

    pub(super) fn decision(&mut self, id: &Id, decision: &Decision) {
        self.write(&Item::Decision(DecisionView::new(id, decision)));
    }

    /// Of the transaction with this number, which has this id where it could be read.
    pub(super) fn problem(&mut self, number: u64, id: Option<&Id>, problem: &Problem) {
        let transaction_id = id.map(|id| text_of(id));
        let problem = problem.members();
        self.write(&Item::Problem(ProblemItem { number, transaction_id, problem }));
    }

    fn write(&mut self, item: &Item<'_>) {
        if self.bytes.is_empty() {
            self.bytes.reserve(CHUNK_ROOM);
        }
        if self.form == Form::Array {
            self.bytes.push(if self.has_begun { b',' } else { b'[' });
        }
        self.has_begun = true;
        serde_json::to_writer(&mut self.bytes, item).expect("text and numbers are JSON");
        if self.form == Form::Lines {
            self.bytes.push(b'\n');
        }
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) {
        if self.form == Form::Array {
            self.bytes.push(b']');
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK_LEN
    }

    /// What there is.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.bytes)))
    }
}
