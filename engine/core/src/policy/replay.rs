//! Decisions recomputed from their records: the same facts into the same [`Batch`] and [`Policy`] that
//! decided, and the outcome held to what was recorded, bit by bit. Pure.

use super::{
    Batch, Facts, Judgement, Party, Policy, RULE_PAYEE_ALLOWED, RULE_PAYER_ALLOWED, RuleWords,
};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{MAX_WINDOW_VALUES, RulesSeen, WindowValue, read_windows};
use catraca_wire::frame::{ListSource, VERDICT_DEGRADED, VERDICT_SHADOW_DISAGREES};
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

/// What windows and lists said of a decision, as its record has it; not known where that can't be read, or where the
/// policy reads another number of values.
pub fn recorded_values<'v>(
    policy: &Policy,
    extension: &[u8],
    values: &'v mut [WindowValue; MAX_WINDOW_VALUES],
) -> &'v [WindowValue] {
    let asked = policy.values();
    if asked > 0 && read_windows(extension, values) != Some(asked) {
        values.fill(WindowValue::Evicted);
    }
    &values[..asked]
}

/// What a recorded decision depended on, where it saw these parties, while the clocks of its policy's zone were
/// so many minutes ahead of UTC.
pub fn facts(head: &RecordHead, offset_minutes: i16, (payer, payee): (Party, Party)) -> Facts<'_> {
    Facts {
        transaction: &head.transaction,
        payer,
        payee,
        decided_at_ns: head.decided_at_ns.to_native(),
        offset_minutes,
    }
}

/// Puts a recorded decision into a batch, as a policy would judge it that sees these parties, windows and
/// lists, and does not apply these rules, while the clocks of its zone are so many minutes ahead of UTC.
pub fn push(
    batch: &mut Batch,
    policy: &Policy,
    head: &RecordHead,
    offset_minutes: i16,
    parties: (Party, Party),
    seen: &[WindowValue],
    exempt: &RuleWords,
) {
    batch.push(&facts(head, offset_minutes, parties), policy.version() > 0, seen);
    batch.exempt(exempt);
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
    /// Whether the rules in shadow would have come to another verdict.
    Shadow,
    /// Whether it lacked an answer of a validator.
    Degraded,
    /// Which validators it says were asked.
    Asked,
    /// What windows said can't be read, or is of other windows.
    Windows,
    /// What windows said is not what the payments before it in the log come to.
    WindowValues,
    /// What was looked up in named lists, or the rules that were not applied, is not what the lists of the log
    /// come to.
    ListValues,
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
            Self::Shadow => "shadow",
            Self::Degraded => "degraded",
            Self::Asked => "validators asked",
            Self::Windows => "windows",
            Self::WindowValues => "window_values",
            Self::ListValues => "list_values",
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
    let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
    let asked = policy.values();
    let windows = read_windows(extension, &mut values);
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
        ((decision.flags() ^ head.flags) & VERDICT_SHADOW_DISAGREES != 0, Difference::Shadow),
        ((decision.flags() ^ head.flags) & VERDICT_DEGRADED != 0, Difference::Degraded),
        (windows != (asked > 0).then_some(asked), Difference::Windows),
        (rules != seen && sets(&rules) == sets(&seen), Difference::Rules),
    ]
    .into_iter()
    .filter_map(|(differs, difference)| differs.then_some(difference))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;
    use crate::policy::language::compile;
    use crate::policy::{EVERY_DAY, EVERY_PAYER, Rule, RuleEffect, Rules, Thresholds};
    use catraca_wire::extension::MAX_RULES_SECTION_LEN;

    fn policy() -> Policy {
        let rule = |id: &str, when: &str, score| Rule {
            id: id.to_owned(),
            when: compile(when).expect("sound"),
            effect: RuleEffect { score, verdict: None, shadow: false },
            days: EVERY_DAY,
            share_permille: EVERY_PAYER,
        };
        let rules = Rules {
            rules: [rule("high", "tx.amount > 100", 450), rule("late", "tx.hour == 20", 100)]
                .into(),
            thresholds: Thresholds { review: 400, deny: 900 },
            ..Rules::default()
        };
        Policy::new(2, Zone::default(), rules)
    }

    /// What is judged of a transaction, and its record.
    fn judged(policy: &Policy, head: &RecordHead, offset_minutes: i16) -> Judgement {
        let mut batch = Batch::new();
        let parties = recorded_parties(head).expect("documents");
        push(&mut batch, policy, head, offset_minutes, parties, &[], &[0; 4]);
        policy.judge(&mut batch);
        *batch.judgement(0)
    }

    fn recorded(policy: &Policy) -> (RecordHead, Vec<u8>) {
        let mut head: RecordHead = bytemuck::Zeroable::zeroed();
        let document = |text| DocumentKey::parse(text).expect("valid").to_wire();
        head.transaction.payer = document("52998224725");
        head.transaction.payee = document("11222333000181");
        head.transaction.amount_centavos = 5_000.into();
        // 20:30 in São Paulo.
        head.transaction.event_time_ns = (1_795_563_000 * 1_000_000_000).into();
        let judged = judged(policy, &head, -180);
        head.verdict = judged.decision.verdict.to_wire();
        head.reason = judged.decision.reason.to_wire();
        head.score = judged.decision.score.into();
        head.matched_rules = judged.decision.matched_rules.into();
        let mut section = [0; MAX_RULES_SECTION_LEN];
        let extension = judged.rules.write(1, &mut section).to_vec();
        (head, extension)
    }

    #[test]
    fn a_decision_is_what_was_recorded_and_whatever_is_altered_is_told() {
        let policy = policy();
        let (head, extension) = recorded(&policy);
        let again = judged(&policy, &head, -180);
        assert_eq!(again.decision.score, 550);
        assert_eq!(differences(&policy, &again, &head, &extension), []);
        type Alter = fn(&mut RecordHead, &mut Vec<u8>);
        let alterations: [(Alter, &[Difference]); 10] = [
            (|head, _| head.flags = VERDICT_SHADOW_DISAGREES, &[Difference::Shadow]),
            (|head, _| head.verdict = 1, &[Difference::Verdict]),
            (|head, _| head.reason = 0, &[Difference::Reason]),
            (|head, _| head.score = 549.into(), &[Difference::Score]),
            (|head, _| head.matched_rules = 0.into(), &[Difference::MatchedRules]),
            (|head, _| head.payer_source = 1, &[Difference::PayerList]),
            (|head, _| head.payee_source = 5, &[Difference::PayeeList]),
            (|_, extension| extension[16] = 1, &[Difference::MatchedRules]),
            (|_, extension| extension[24] = 1, &[Difference::Rules]),
            (|_, extension| extension.clear(), &[Difference::MatchedRules]),
        ];
        for (alter, expected) in alterations {
            let (mut head, mut extension) = (head, extension.clone());
            alter(&mut head, &mut extension);
            assert_eq!(differences(&policy, &again, &head, &extension), expected);
        }
        let summer = judged(&policy, &head, -120);
        let told = differences(&policy, &summer, &head, &extension);
        assert!(told.contains(&Difference::Score) && told.contains(&Difference::MatchedRules));
    }
}
