//! Policies: which one decides, which one is tried, and what came of it.

use super::refused;
use crate::json::answer::time_of;
use crate::json::mistake::{Mistake, member, object, time};
use catraca_wire::client::Comparison;
use catraca_wire::frame::{
    ComparisonCell, ComparisonRule, PolicyChange, PolicyStateReply, Verdict,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The verdicts, in the order of a comparison's rows and columns.
const VERDICTS: [Verdict; 3] = [Verdict::Approve, Verdict::Review, Verdict::Deny];

/// A change of the policy.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = PolicyChange)]
pub enum PolicyMembers {
    /// Take a policy into force.
    Activate {
        /// Its file on the node's machine; on both nodes of a pair.
        #[schema(min_length = 1, max_length = 256)]
        path: String,
        /// BLAKE3 of its text, as `catraca policy check` prints it.
        #[schema(pattern = "^[0-9a-f]{64}$")]
        policy_id: String,
    },
    /// Take the one before it into force again.
    Rollback {
        /// BLAKE3 of the text of the policy in force.
        #[schema(pattern = "^[0-9a-f]{64}$")]
        policy_id: String,
    },
    /// Try one beside the one in force.
    Candidate {
        /// Its file on the node's machine; on both nodes of a pair.
        #[schema(min_length = 1, max_length = 256)]
        path: String,
        /// BLAKE3 of its text, as `catraca policy check` prints it.
        #[schema(pattern = "^[0-9a-f]{64}$")]
        policy_id: String,
        /// Until when, RFC 3339 with a zone.
        #[schema(format = DateTime)]
        until: String,
    },
    /// Try none any more.
    EndCandidate {},
}

/// Reads a change.
///
/// # Errors
/// [`Mistake`].
pub fn read_policy(body: &[u8]) -> Result<PolicyChange, Mistake> {
    let id = |text: &str| {
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id)
            .map_err(|_| member("policy_id", "it is 64 hexadecimal digits"))?;
        Ok(id)
    };
    let change = match object(body)? {
        PolicyMembers::Activate { path, policy_id } => {
            PolicyChange::activate(&path, id(&policy_id)?)
        }
        PolicyMembers::Rollback { policy_id } => Ok(PolicyChange::rollback(id(&policy_id)?)),
        PolicyMembers::Candidate { path, policy_id, until } => {
            PolicyChange::candidate(&path, id(&policy_id)?, time("until", &until)?)
        }
        PolicyMembers::EndCandidate {} => Ok(PolicyChange::end_candidate()),
    };
    change.map_err(|error| refused("path", &error))
}

/// The policy in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Policy)]
pub struct PolicyView {
    /// The request changed something.
    pub changed: bool,
    /// Version that decisions record; 0: none ever was.
    pub version: u32,
    /// BLAKE3 of its text; none without one.
    pub policy_id: Option<String>,
    /// When it was taken into use, RFC 3339 in UTC.
    pub activated_at: Option<String>,
    /// Number of its rules.
    pub rules: u32,
    /// Version that a rollback takes into use again; none where there is none.
    pub previous_version: Option<u32>,
    /// BLAKE3 of that one's text.
    pub previous_policy_id: Option<String>,
    /// The first digits of what names a policy that waits for another client's approval; none where none does.
    pub waits_for_approval: Option<String>,
}

impl From<&PolicyStateReply> for PolicyView {
    fn from(state: &PolicyStateReply) -> Self {
        Self {
            changed: state.changed != 0,
            version: state.version,
            policy_id: digits(&state.policy_id),
            activated_at: time_of(state.activated_at_ns),
            rules: state.rules,
            previous_version: (state.previous_version != 0).then_some(state.previous_version),
            previous_policy_id: digits(&state.previous_policy_id),
            waits_for_approval: (state.waits_for_approval != 0)
                .then(|| hex::encode(state.waiting_policy)),
        }
    }
}

/// What came of a policy that is tried.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Comparison)]
pub struct ComparisonView {
    /// The request changed something.
    pub changed: bool,
    /// BLAKE3 of its text; none where none is tried.
    pub policy_id: Option<String>,
    /// Since when it is tried, RFC 3339 in UTC.
    pub since: Option<String>,
    /// Until when.
    pub until: Option<String>,
    /// Payments that were not looked at, because too many waited.
    pub left_out: u64,
    /// What these amount to, centavos.
    pub left_out_centavos: u64,
    /// Payments by their verdict in force and their verdict by this policy.
    pub verdicts: Vec<CellView>,
    /// By rule, in the policy's order.
    pub rules: Vec<RuleView>,
}

/// Payments of one verdict in force and one by the policy that is tried.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparisonCell)]
pub struct CellView {
    /// Verdict in force.
    pub from: &'static str,
    /// Verdict by the policy that is tried.
    pub to: &'static str,
    /// Payments.
    pub count: u64,
    /// What they amount to.
    pub centavos: u64,
}

/// What came of one rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparisonRule)]
pub struct RuleView {
    /// Payments that it matches.
    pub matched: u64,
    /// What these amount to.
    pub matched_centavos: u64,
    /// Of these, payments that get another verdict.
    pub changed: u64,
    /// What these amount to.
    pub changed_centavos: u64,
    /// Payments whose verdict it settles.
    pub settled: u64,
    /// Payments of which its condition has no result.
    pub without_result: u64,
}

impl From<&Comparison> for ComparisonView {
    fn from(comparison: &Comparison) -> Self {
        let head = &comparison.head;
        let cells = VERDICTS.iter().zip(&comparison.matrix).flat_map(|(from, row)| {
            let cell = |(to, cell): (&Verdict, &ComparisonCell)| CellView {
                from: from.name(),
                to: to.name(),
                count: cell.count,
                centavos: cell.centavos,
            };
            VERDICTS.iter().zip(row).map(cell).collect::<Vec<_>>()
        });
        let rule = |rule: &ComparisonRule| RuleView {
            matched: rule.matched,
            matched_centavos: rule.matched_centavos,
            changed: rule.changed,
            changed_centavos: rule.changed_centavos,
            settled: rule.settled,
            without_result: rule.without_result,
        };
        Self {
            changed: head.changed != 0,
            policy_id: digits(&head.policy_id),
            since: time_of(head.since_ns),
            until: time_of(head.until_ns),
            left_out: head.left_out,
            left_out_centavos: head.left_out_centavos,
            verdicts: cells.collect(),
            rules: comparison.rules.iter().map(rule).collect(),
        }
    }
}

fn digits(id: &[u8; 32]) -> Option<String> {
    (*id != [0; 32]).then(|| hex::encode(id))
}
