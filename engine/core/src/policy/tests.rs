use super::language::compile;
use super::*;
use crate::blacklist::{Hit, Listing};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope, TransactionFields, VERDICT_SHADOW_DISAGREES};
use catraca_wire::record::Reason;
use catraca_wire::transaction::Rail;

const PERSON: &str = "52998224725";
const COMPANY: &str = "11222333000181";
/// 2026-11-24 23:30 UTC, a Tuesday; 20:30 in São Paulo.
const EVENT_NS: u64 = 1_795_563_000 * 1_000_000_000;

fn rule(id: &str, when: &str, score: i64, verdict: Option<RuleVerdict>) -> Rule {
    let when = compile(when).unwrap_or_else(|fault| panic!("{when}: {fault:?}"));
    let effect = RuleEffect { score, verdict, shadow: false };
    Rule { id: id.to_owned(), when, effect, days: EVERY_DAY, share_permille: EVERY_PAYER }
}

fn policy(rules: Vec<Rule>) -> Policy {
    let thresholds = Thresholds { review: 500, deny: 800 };
    let rules = Rules { rules: rules.into(), thresholds, ..Rules::default() };
    Policy::new(7, Zone::default(), rules)
}

fn transaction(amount_centavos: i64) -> TransactionFields {
    let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
    transaction.amount_centavos = amount_centavos.into();
    transaction.event_time_ns = EVENT_NS.into();
    transaction.rail = Rail::Pix.to_wire();
    transaction
}

fn listed(source: ListSource) -> Listing {
    Listing::Listed(Hit { source, scope: Scope::Exact })
}

fn judge(policy: &Policy, amounts: &[i64], payee: Listing) -> Vec<Judgement> {
    judge_exempt(policy, amounts, payee, [0; 4])
}

/// As [`judge`], where some rules are not applied to the last payment.
fn judge_exempt(
    policy: &Policy,
    amounts: &[i64],
    payee: Listing,
    exempt: RuleWords,
) -> Vec<Judgement> {
    let mut batch = Batch::new();
    for &amount in amounts {
        let document = |text| DocumentKey::parse(text).expect("valid");
        batch.push(
            &Facts {
                transaction: &transaction(amount),
                payer: Party::new(document(PERSON), Listing::Free),
                payee: Party::new(document(COMPANY), payee),
                decided_at_ns: EVENT_NS + 2_000_000_000,
                offset_minutes: -180,
            },
            policy.version() > 0,
            &[],
        );
    }
    batch.exempt(&exempt);
    policy.judge(&mut batch);
    (0..batch.len()).map(|row| *batch.judgement(row)).collect()
}

fn told(judgement: &Judgement) -> (Verdict, Reason, u16, Option<u16>) {
    let Judgement { decision, rules, .. } = *judgement;
    (decision.verdict, decision.reason, decision.score, rules.settled_by)
}

#[test]
fn scores_add_up_and_thresholds_decide() {
    let policy = policy(vec![
        rule("high", "tx.amount > reais(1000)", 300, None),
        rule("night", "tx.hour >= 20 || tx.hour < 6", 250, None),
        rule("very-high", "tx.amount > reais(5000)", 900, None),
        rule("company", "payee.kind == 'cnpj'", -40, None),
    ]);
    let came = judge(&policy, &[10_000, 150_000, 600_000], Listing::Free);
    let told: Vec<_> = came.iter().map(told).collect();
    assert_eq!(
        told,
        [
            (Verdict::Approve, Reason::Clear, 210, None),
            (Verdict::Review, Reason::Score, 510, None),
            (Verdict::Deny, Reason::Score, 1000, None),
        ]
    );
    assert_eq!(came[2].rules.score_sum, 1410);
    assert_eq!(came[1].rules.matched[0], 0b1011);
    assert_eq!(came[1].decision.matched_rules, 0b1011 << LIST_RULES);
}

#[test]
fn the_strongest_verdict_counts_and_the_first_rule_that_gave_it() {
    let deny = Some(RuleVerdict::Deny);
    let review = Some(RuleVerdict::Review);
    let allow = |overrides| Some(RuleVerdict::Allow { overrides });
    for (rules, expected) in [
        (vec![(review, 0), (deny, 0), (deny, 0)], (Verdict::Deny, Reason::Rule, 0, Some(1))),
        (vec![(review, 0), (review, 0)], (Verdict::Review, Reason::Rule, 0, Some(0))),
        (vec![(review, 900)], (Verdict::Deny, Reason::Score, 900, None)),
        (vec![(allow(false), 0), (review, 0)], (Verdict::Review, Reason::Rule, 0, Some(1))),
        (vec![(allow(false), 0), (None, 600)], (Verdict::Review, Reason::Score, 600, None)),
        (vec![(deny, 900), (allow(true), 0)], (Verdict::Approve, Reason::Rule, 900, Some(1))),
        (vec![(None, -50)], (Verdict::Approve, Reason::Clear, 0, None)),
    ] {
        let rules = rules.into_iter().map(|(verdict, score)| rule("r", "true", score, verdict));
        let came = judge(&policy(rules.collect()), &[1], Listing::Free);
        assert_eq!(told(&came[0]), expected);
    }
}

#[test]
fn lists_come_before_rules_unless_the_policy_says_otherwise() {
    let overriding = rule("friend", "true", 0, Some(RuleVerdict::Allow { overrides: true }));
    let seen = rule("seen", "has(payee.list) && payee.list == 'cnep'", 550, None);
    let mut policy = policy(vec![overriding, seen.clone()]);
    let cnep = listed(ListSource::Cnep);
    let came = judge(&policy, &[1], cnep);
    assert_eq!(told(&came[0]), (Verdict::Deny, Reason::PayeeListed, 1000, None));
    let both = RULE_PAYEE_LISTED | 0b11 << LIST_RULES;
    assert_eq!(came[0].decision.matched_rules, both, "what the rules said is recorded");
    policy.rules.listed = ListsDecide::Rules;
    assert_eq!(
        told(&judge(&policy, &[1], cnep)[0]),
        (Verdict::Approve, Reason::Rule, 550, Some(0))
    );
    policy.rules.rules = [seen].into();
    assert_eq!(told(&judge(&policy, &[1], cnep)[0]), (Verdict::Review, Reason::Score, 550, None));
    let ceis = listed(ListSource::Ceis);
    assert_eq!(told(&judge(&policy, &[1], ceis)[0]), (Verdict::Approve, Reason::Clear, 0, None));
    let blacklist_only = Policy::blacklist_only();
    let came = judge(&blacklist_only, &[1], ceis);
    assert_eq!(told(&came[0]), (Verdict::Deny, Reason::PayeeListed, 1000, None));
}

#[test]
fn what_has_no_result_counts_against_the_payment() {
    let overflowing = "tx.amount * 9223372036854775807 > 0";
    for (effect, expected) in [
        ((0, Some(RuleVerdict::Deny)), Verdict::Deny),
        ((600, None), Verdict::Review),
        ((-600, None), Verdict::Approve),
        ((0, Some(RuleVerdict::Allow { overrides: true })), Verdict::Approve),
    ] {
        let came =
            judge(&policy(vec![rule("r", overflowing, effect.0, effect.1)]), &[2], Listing::Free);
        assert_eq!(came[0].decision.verdict, expected, "{effect:?}");
        assert_eq!(came[0].rules.failed, [1, 0, 0, 0]);
        let is_against = u64::from(expected != Verdict::Approve);
        assert_eq!(came[0].rules.matched, [is_against, 0, 0, 0], "{effect:?}");
        assert_eq!(
            came[0].rules.settled_by.is_none(),
            effect.1 != Some(RuleVerdict::Deny),
            "{effect:?}"
        );
    }
}

#[test]
fn a_rule_in_shadow_is_seen_and_does_nothing() {
    let mut shadow = rule("shadow", "true", 900, Some(RuleVerdict::Deny));
    shadow.effect.shadow = true;
    let came = judge(&policy(vec![shadow]), &[1], Listing::Free);
    assert_eq!(told(&came[0]), (Verdict::Approve, Reason::Clear, 0, None));
    assert_eq!(came[0].rules.matched, [1, 0, 0, 0]);
    assert_eq!(came[0].decision.flags(), VERDICT_SHADOW_DISAGREES, "it would have denied");
}

#[test]
fn shadow_disagrees_where_the_verdict_would_be_another_one() {
    let with_shadow = |score, verdict, others: Vec<Rule>| {
        let mut shadow = rule("shadow", "tx.amount > 10", score, verdict);
        shadow.effect.shadow = true;
        let policy = policy([vec![shadow], others].concat());
        let came = judge(&policy, &[5, 11], Listing::Free);
        let disagrees: Vec<_> = came.iter().map(|came| came.decision.shadow_disagrees).collect();
        assert!(!disagrees[0], "it does not match");
        disagrees[1]
    };
    let deny = || rule("deny", "true", 0, Some(RuleVerdict::Deny));
    let half = || rule("half", "true", 300, None);
    let overrides = Some(RuleVerdict::Allow { overrides: true });
    assert!(with_shadow(0, Some(RuleVerdict::Review), vec![]));
    assert!(!with_shadow(0, Some(RuleVerdict::Review), vec![deny()]), "it is denied anyway");
    assert!(with_shadow(0, overrides, vec![deny()]));
    assert!(!with_shadow(499, None, vec![]));
    assert!(with_shadow(200, None, vec![half()]), "the scores together reach a threshold");
    assert!(!with_shadow(0, Some(RuleVerdict::Allow { overrides: false }), vec![deny()]));
    // Whom the lists deny no rule lets through.
    let mut shadow = rule("shadow", "true", 0, overrides);
    shadow.effect.shadow = true;
    let came = judge(&policy(vec![shadow]), &[1], listed(ListSource::Ceis));
    assert!(!came[0].decision.shadow_disagrees);
}

#[test]
fn a_rule_that_is_exempted_from_matches_and_does_nothing() {
    let rules = policy(vec![
        rule("some", "true", 500, None),
        rule("deny", "tx.amount > 10", 0, Some(RuleVerdict::Deny)),
        rule("let-through", "tx.amount > 20", 0, Some(RuleVerdict::Allow { overrides: true })),
    ]);
    for (amount, exempt, expected) in [
        (11, 0b010, (Verdict::Review, Reason::Score, 500, None)),
        (11, 0b001, (Verdict::Deny, Reason::Rule, 0, Some(1))),
        (11, 0b011, (Verdict::Approve, Reason::Clear, 0, None)),
        (21, 0b100, (Verdict::Deny, Reason::Rule, 500, Some(1))),
        (5, 0b010, (Verdict::Review, Reason::Score, 500, None)),
    ] {
        let came = judge_exempt(&rules, &[11, amount], Listing::Free, [exempt, 0, 0, 0]);
        assert_eq!(told(&came[1]), expected, "{amount} {exempt:b}");
        assert_eq!(told(&came[0]), (Verdict::Deny, Reason::Rule, 500, Some(1)), "another payment");
        let matched = judge(&rules, &[amount], Listing::Free)[0].rules.matched;
        let exempt = exempt & matched[0];
        assert_eq!((came[1].rules.matched, came[1].rules.exempt[0]), (matched, exempt));
    }
}

#[test]
fn a_rule_looks_at_the_days_that_it_is_valid_on() {
    let day = (EVENT_NS / 86_400_000_000_000) as u16;
    for (days, matches) in
        [(day..=day, 1), (0..=day - 1, 0), (day + 1..=u16::MAX, 0), (day - 1..=day + 1, 1)]
    {
        let mut valid = rule("valid", "true", 0, Some(RuleVerdict::Review));
        valid.days = days.clone();
        let came = judge(&policy(vec![valid]), &[1], Listing::Free);
        assert_eq!(came[0].rules.matched[0], matches, "{days:?}");
    }
}

#[test]
fn the_first_segment_that_a_payment_is_in_counts() {
    let mut policy = policy(vec![rule("some", "true", 400, None)]);
    let segment = |rail, payer_is_cnpj, review, deny| Segment {
        rail,
        payer_is_cnpj,
        thresholds: Thresholds { review, deny },
    };
    for (segments, expected) in [
        (vec![], Verdict::Approve),
        (vec![segment(Some(Rail::Pix), Some(false), 300, 400)], Verdict::Deny),
        (vec![segment(Some(Rail::Ted), None, 300, 400)], Verdict::Approve),
        (vec![segment(None, Some(true), 300, 400)], Verdict::Approve),
        (vec![segment(None, None, 300, 401), segment(None, None, 1, 1)], Verdict::Review),
    ] {
        policy.rules.segments = segments.into();
        assert_eq!(judge(&policy, &[1], Listing::Free)[0].decision.verdict, expected);
    }
}

#[test]
fn rules_beyond_those_of_the_verdict_are_recorded() {
    let rules = (0..MAX_RULES)
        .map(|n| rule(&n.to_string(), &format!("tx.amount % 256 == {n}"), 0, None))
        .collect();
    let amounts: Vec<i64> = (0..32).map(|row| 256 + row * 8 + 7).collect();
    for (row, came) in judge(&policy(rules), &amounts, Listing::Free).iter().enumerate() {
        let number = row * 8 + 7;
        let mut matched = [0; MAX_RULES / 64];
        matched[number / 64] = 1 << (number % 64);
        assert_eq!(came.rules.matched, matched);
        let in_verdict = if number < 60 { 1 << (number + 4) } else { 0 };
        assert_eq!(came.decision.matched_rules, in_verdict, "{number}");
    }
}

#[test]
fn a_pix_key_of_any_bytes_is_there() {
    let policy = policy(vec![rule("r", "has(tx.pix_key)", 0, None)]);
    let mut doubled = [0; 16];
    doubled[..8].copy_from_slice(&u64::MAX.rotate_left(63).to_le_bytes());
    doubled[8..].copy_from_slice(&u64::MAX.rotate_left(63).to_le_bytes());
    for (pix_key, matches) in [([0; 16], 0), ([7; 16], 1), (*b"ABCDEFGHABCDEFGH", 1), (doubled, 1)]
    {
        let mut transaction = transaction(1);
        transaction.pix_key = pix_key;
        let party = |text| Party::new(DocumentKey::parse(text).expect("valid"), Listing::Free);
        let mut batch = Batch::new();
        let (payer, payee) = (party(PERSON), party(COMPANY));
        let (decided_at_ns, offset_minutes) = (EVENT_NS, 0);
        let facts =
            Facts { transaction: &transaction, payer, payee, decided_at_ns, offset_minutes };
        batch.push(&facts, true, &[]);
        policy.judge(&mut batch);
        assert_eq!(batch.judgement(0).rules.matched[0], matches, "{pix_key:?}");
    }
}

#[test]
fn local_time_is_that_of_the_transaction() {
    for (when, expected) in [
        ("tx.hour == 20 && tx.minute_of_day == 20 * 60 + 30", true),
        ("tx.weekday == 'tuesday'", true),
        ("tx.age == seconds(2)", true),
        ("payer.kind == 'cpf' && !has(payer.root)", true),
        ("payee.kind == 'cnpj' && has(payee.root)", true),
        ("has(tx.device) || has(tx.pix_key) || has(tx.payer_ispb)", false),
    ] {
        let came = judge(&policy(vec![rule("r", when, 0, None)]), &[1], Listing::Free);
        assert_eq!(came[0].rules.matched[0] == 1, expected, "{when}");
    }
}
