//! Labels: what became known of a decision after it was made.

use super::{document, refused};
use crate::json::answer::utc;
use crate::json::mistake::{Mistake, member, named, object, time};
use catraca_wire::extension::LabelSource;
use catraca_wire::frame::{LabelKind, LabelRequest, LabelStateReply, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became known of a decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Label)]
pub struct LabelMembers {
    /// The id of the transaction.
    #[schema(min_length = 1, max_length = 32, pattern = "^[!-~]+$", example = "order-1")]
    transaction_id: String,
    /// CPF or CNPJ of the payer, where several have that id.
    #[schema(max_length = 18)]
    payer: Option<String>,
    /// `med_accepted`, `med_rejected`, `chargeback`, `false_positive`, `confirmed_good`.
    #[schema(example = "chargeback")]
    label: String,
    /// When it became known, RFC 3339 with a zone.
    #[schema(format = DateTime, example = "2026-11-22T12:34:56Z")]
    known_at: String,
    /// Who says so: printable ASCII, no personal data.
    #[schema(min_length = 1, max_length = 64, example = "disputes")]
    source: String,
}

/// Reads a label.
///
/// # Errors
/// [`Mistake`].
pub fn read_label(body: &[u8]) -> Result<LabelRequest, Mistake> {
    let members: LabelMembers = object(body)?;
    let payer = members.payer.as_deref().map(|text| document("payer", text)).transpose()?;
    let kind = named("label", LabelKind::ALL, LabelKind::name, &members.label)?;
    let known_at_ns = time("known_at", &members.known_at)?;
    let source = LabelSource::parse(&members.source).ok_or_else(|| {
        member("source", "it has 1 to 64 printable ASCII characters, no space at either end")
    })?;
    LabelRequest::new(&members.transaction_id, payer, kind, known_at_ns, &source)
        .map_err(|error| refused("transaction_id", &error))
}

/// The decision that has the label.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LabelledDecision)]
pub struct LabelView {
    /// The label is new; else the decision had it already.
    pub changed: bool,
    /// Verdict of the decision, which no label alters.
    pub verdict: Option<&'static str>,
    /// Stream of its record.
    pub shard: u16,
    /// Number of its record in its stream.
    pub lsn: u64,
    /// When it was decided, RFC 3339 in UTC.
    pub decided_at: String,
    /// Labels that it has.
    pub labels: u32,
    /// The label that counts: of the one that was known last.
    pub counts: Option<&'static str>,
}

impl From<&LabelStateReply> for LabelView {
    fn from(state: &LabelStateReply) -> Self {
        Self {
            changed: state.changed != 0,
            verdict: Verdict::from_wire(state.verdict).map(Verdict::name),
            shard: state.shard,
            lsn: state.lsn,
            decided_at: utc(state.decided_at_ns),
            labels: state.labels,
            counts: LabelKind::from_wire(state.counts).map(LabelKind::name),
        }
    }
}
