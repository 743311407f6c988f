//! Decisions as JSON: the names are those of `catraca log show --json`. Sets of bits, hashes and receipts
//! are hexadecimal text, because many programs read a JSON number as a float.

use catraca_wire::DocumentKey;
use catraca_wire::block::receipt;
use catraca_wire::client::{Decision, StoredDecision};
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::{VERDICT_DEGRADED, VERDICT_DUPLICATE, VERDICT_SHADOW_DISAGREES, text_of};
use catraca_wire::record::Reason;
use catraca_wire::transaction::{Channel, Rail};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// 64 bits as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 16];
        hex::encode_to_slice(self.0.to_be_bytes(), &mut digits).expect("two digits for each byte");
        serializer.serialize_str(std::str::from_utf8(&digits).expect("digits are ASCII"))
    }
}

/// What the node decided on a transaction.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
pub struct DecisionView<'a> {
    /// The transaction's id.
    pub transaction_id: &'a str,
    /// `approve`, `review` or `deny`.
    pub verdict: &'static str,
    /// The first thing that settled it; none for one that a newer node knows.
    pub reason: Option<&'static str>,
    /// Risk score, 0 to 1000.
    pub score: u16,
    /// It was decided before; this is that decision.
    pub duplicate: bool,
    /// Decided without an answer that the policy asked for.
    pub degraded: bool,
    /// With the rules in shadow the verdict would be another one.
    pub shadow_disagrees: bool,
    /// Stream of the log that holds the record.
    pub shard: u16,
    /// Number of the record in its stream.
    pub lsn: u64,
    /// Epoch of the record.
    pub epoch: u32,
    /// First 8 bytes of the chain value of the record's block.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    pub receipt: Hex,
    /// Version of the policy that decided.
    pub policy_version: u32,
    /// Blacklist that was seen.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    pub blacklist_version: Hex,
    /// One bit for each rule that matched.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    pub matched_rules: Hex,
}

impl<'a> DecisionView<'a> {
    /// Of a transaction with this id.
    pub fn new(id: &'a [u8], decision: &Decision) -> Self {
        let answer = &decision.answer;
        Self {
            transaction_id: text_of(id),
            verdict: decision.verdict.name(),
            reason: decision.reason.map(Reason::name),
            score: answer.score,
            duplicate: answer.flags & VERDICT_DUPLICATE != 0,
            degraded: answer.flags & VERDICT_DEGRADED != 0,
            shadow_disagrees: answer.flags & VERDICT_SHADOW_DISAGREES != 0,
            shard: answer.shard,
            lsn: answer.lsn,
            epoch: answer.epoch,
            receipt: Hex(answer.receipt),
            policy_version: answer.policy_version,
            blacklist_version: Hex(answer.blacklist_version),
            matched_rules: Hex(answer.matched_rules),
        }
    }
}

/// A stored decision. Documents are masked, and the IP address is left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoredDecision)]
pub struct StoredView {
    /// The transaction's id.
    pub transaction_id: String,
    /// `approve`, `review` or `deny`.
    pub verdict: &'static str,
    /// The first thing that settled it; none for one that a newer node knows.
    pub reason: Option<&'static str>,
    /// Risk score, 0 to 1000.
    pub score: u16,
    /// Decided without an answer that the policy asked for.
    pub degraded: bool,
    /// With the rules in shadow the verdict would be another one.
    pub shadow_disagrees: bool,
    /// When it was decided, RFC 3339 in UTC.
    pub decided_at: String,
    /// The payer, masked.
    pub payer: Option<String>,
    /// The payee, masked.
    pub payee: Option<String>,
    /// Amount, centavos.
    pub amount_centavos: i64,
    /// When it happened, RFC 3339 in UTC.
    pub event_time: String,
    /// Payment arrangement; none for one that is unknown here.
    pub rail: Option<&'static str>,
    /// Where it was started; likewise.
    pub channel: Option<&'static str>,
    /// Stream of the log that holds the record.
    pub shard: u16,
    /// Number of the record in its stream.
    pub lsn: u64,
    /// Epoch of the record.
    pub epoch: u32,
    /// First 8 bytes of `chain`, as in the answer to the decision.
    pub receipt: String,
    /// Chain value of the record's block.
    pub chain: String,
    /// Version of the policy that decided.
    pub policy_version: u32,
    /// One bit for each rule that matched.
    pub matched_rules: String,
    /// W3C trace id of the request that was decided.
    pub trace_id: Option<String>,
    /// Name of the client that sent it.
    pub submitter: Option<String>,
}

impl StoredView {
    /// Of a stored decision.
    pub fn new(stored: &StoredDecision) -> Self {
        let (record, place) = (&stored.record, &stored.place);
        let transaction = &record.transaction;
        Self {
            transaction_id: text_of(&transaction.id).to_owned(),
            verdict: stored.verdict.name(),
            reason: stored.reason.map(Reason::name),
            score: record.score,
            degraded: record.flags & VERDICT_DEGRADED != 0,
            shadow_disagrees: record.flags & VERDICT_SHADOW_DISAGREES != 0,
            decided_at: utc(record.decided_at_ns),
            payer: masked(&transaction.payer),
            payee: masked(&transaction.payee),
            amount_centavos: transaction.amount_centavos,
            event_time: utc(transaction.event_time_ns),
            rail: Rail::from_wire(transaction.rail).map(Rail::name),
            channel: Channel::from_wire(transaction.channel).map(Channel::name),
            shard: place.shard,
            lsn: record.lsn,
            epoch: place.epoch,
            receipt: format!("{:016x}", receipt(&place.chain)),
            chain: hex::encode(place.chain),
            policy_version: record.policy_version,
            matched_rules: format!("{:016x}", record.matched_rules),
            trace_id: (transaction.trace_id != [0; 16]).then(|| hex::encode(transaction.trace_id)),
            submitter: Some(text_of(&record.submitter.name).to_owned()).filter(|s| !s.is_empty()),
        }
    }
}

/// The same; none for 0, which stands for no time.
pub(super) fn time_of(ns: u64) -> Option<String> {
    (ns != 0).then(|| utc(ns))
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub(super) fn utc(ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(ns))
        .expect("64 bits of nanoseconds end in 2554, far inside the calendar")
        .to_string()
}

fn masked(bytes: &[u8; DOCUMENT_LEN]) -> Option<String> {
    // Printed, a document is masked.
    DocumentKey::from_wire(bytes).ok().map(|key| key.to_string())
}
