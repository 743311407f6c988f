//! Decisions recomputed from their records: the same facts into the same [`Batch`] and [`Policy`] that
//! decided, and the outcome held to what was recorded, bit by bit. Pure.

use super::{Batch, Facts, Judgement, Party, Policy, RULE_PAYEE_ALLOWED, RULE_PAYER_ALLOWED};
use catraca_wire::DocumentKey;
use catraca_wire::extension::RulesSeen;
use catraca_wire::frame::ListSource;
use catraca_wire::record::RecordHead;

/// Payer and payee of a decision, as its record says that the lists knew them; `None` for a record whose
/// documents are none.
pub fn recorded_parties(head: &RecordHead) -> Option<(Party, Party)> {
    let party = |document, source: u8, allowed: u64| {
        Some(Party {
            document: DocumentKey::from_wire(document).ok()?,
            listed: ListSource::from_wire(source),
            is_allowed: head.matched_rules.to_native() & allowed != 0,
        })
    };
    let payer = party(&head.transaction.payer, head.payer_source, RULE_PAYER_ALLOWED)?;
    let payee = party(&head.transaction.payee, head.payee_source, RULE_PAYEE_ALLOWED)?;
    Some((payer, payee))
}

/// Puts a recorded decision into a batch, as a policy would judge it that sees these parties.
pub fn push(
    batch: &mut Batch,
    policy: &Policy,
    head: &RecordHead,
    extension: &[u8],
    (payer, payee): (Party, Party),
) {
    let event_time_ns = head.transaction.event_time_ns.to_native();
    // What the clocks said then is recorded: the table of zones may have changed since.
    let offset_minutes = match RulesSeen::read(extension) {
        Some(seen) => seen.offset_minutes,
        None if policy.version() > 0 => policy.zone().offset_at(event_time_ns).minutes,
        None => 0,
    };
    let facts = Facts {
        transaction: &head.transaction,
        payer,
        payee,
        decided_at_ns: head.decided_at_ns.to_native(),
        offset_minutes,
    };
    batch.push(&facts, policy.version() > 0);
}

/// In what a decision differs from its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The list that names the payer.
    PayerList,
    /// The list that names the payee.
    PayeeList,
    /// The verdict.
    Verdict,
    /// The reason.
    Reason,
    /// The score.
    Score,
    /// The rules that matched.
    MatchedRules,
    /// What else is recorded of the rules: without a result, settled by, sum of the scores.
    Rules,
}

impl Difference {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PayerList => "payer_list",
            Self::PayeeList => "payee_list",
            Self::Verdict => "verdict",
            Self::Reason => "reason",
            Self::Score => "score",
            Self::MatchedRules => "matched_rules",
            Self::Rules => "rules",
        }
    }
}

/// In what a judgement differs from what was recorded.
pub fn differences(
    policy: &Policy,
    judged: &Judgement,
    head: &RecordHead,
    extension: &[u8],
) -> Vec<Difference> {
    let decision = &judged.decision;
    let source = |listed: Option<ListSource>| listed.map_or(0, ListSource::to_wire);
    let seen = RulesSeen::read(extension);
    let rules = (policy.rules().words() > 0).then_some(judged.rules);
    let sets = |rules: &Option<RulesSeen>| rules.map(|rules| rules.matched);
    [
        (source(judged.payer_listed) != head.payer_source, Difference::PayerList),
        (source(judged.payee_listed) != head.payee_source, Difference::PayeeList),
        (decision.verdict.to_wire() != head.verdict, Difference::Verdict),
        (decision.reason.to_wire() != head.reason, Difference::Reason),
        (decision.score != head.score.to_native(), Difference::Score),
        (
            decision.matched_rules != head.matched_rules.to_native() || sets(&rules) != sets(&seen),
            Difference::MatchedRules,
        ),
        (rules != seen && sets(&rules) == sets(&seen), Difference::Rules),
    ]
    .into_iter()
    .filter_map(|(differs, difference)| differs.then_some(difference))
    .collect()
}
