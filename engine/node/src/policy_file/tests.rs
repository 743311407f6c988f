mod validators;

use super::*;
use catraca_core::calendar::day_number;
use catraca_core::policy::windows::Span;

const SOUND: &str = r#"
[[rule]]
id = "night-high-amount"
description = "Pix à noite acima de R$ 1.000"
when = 'tx.rail == "pix" && (tx.hour >= 20 || tx.hour < 6) && tx.amount > reais(1000)'
score = 300

[[rule]]
id = "listed"
when = "payer.listed || payee.listed"
verdict = "deny"
"#;

#[test]
fn a_policy_is_read() {
    let file = parse(SOUND).expect("sound");
    let rules = &file.rules.rules;
    assert_eq!(rules.len(), 2);
    assert_eq!((rules[0].effect.score, rules[0].effect.verdict), (300, None));
    assert_eq!((rules[1].effect.score, rules[1].effect.verdict), (0, Some(RuleVerdict::Deny)));
    assert_eq!(file.notes[0].description, "Pix à noite acima de R$ 1.000");
    assert_eq!((file.rules.thresholds, file.zone.name()), (Thresholds::NEVER, DEFAULT_ZONE));
    assert_eq!(file.id, PolicyId::of(SOUND.as_bytes()));
}

#[test]
fn everything_that_is_wrong_is_told_at_its_place() {
    let text = r#"[[rule]]
id = "Ação"
when = "payer.lised"
[[rule]]
id = "twice"
when = '''
  tx.amount > 1 && 'ç' == tx.rail
'''
score = 2000
[[rule]]
id = "twice"
when = "true"
"#;
    let faults = parse(text).expect_err("wrong");
    let told: Vec<_> =
        faults.iter().map(|f| (f.line, f.column, f.width, f.message.as_str())).collect();
    assert_eq!(
        told,
        [
            (2, 6, 6, "\"Ação\" is no id of a rule"),
            (2, 6, 6, "the rule Ação does nothing"),
            (3, 9, 11, "there is no field payer.lised"),
            (9, 9, 4, "a score of 2000"),
            (7, 20, 3, "\"ç\" never stands there"),
            (11, 6, 7, "the id twice stands in line 5, too"),
            (11, 6, 7, "the rule twice does nothing"),
        ]
    );
    assert_eq!(faults[2].help, "did you mean payer.listed?");
    assert_eq!(faults[4].text, "  tx.amount > 1 && 'ç' == tx.rail");
}

#[test]
fn what_is_no_policy_is_told() {
    for (text, line, message) in [
        ("", 1, "the policy has no rule"),
        ("\n[[rule]\n", 2, "unclosed"),
        ("[[rule]]\nid = \"a\"\nwhen = \"true\"\nscor = 1\n", 4, "unknown field `scor`"),
        ("[[rule]]\nid = \"a\"\nscore = 1\n", 1, "missing field `when`"),
        ("[[rule]]\nid = \"a\"\nwhen = \"true\"\nverdict = \"block\"\n", 4, "unknown variant"),
        ("[[rule]]\nid = \"a\"\nwhen = true\n", 3, "invalid type"),
    ] {
        let faults = parse(text).expect_err("wrong");
        assert_eq!(faults[0].line, line, "{text:?}: {faults:?}");
        assert!(faults[0].message.contains(message), "{text:?}: {faults:?}");
    }
    let many = "[[rule]]\nid = \"X\"\nwhen = \"tx\"\n".repeat(300);
    assert_eq!(parse(&many).expect_err("wrong").len(), MAX_FAULTS);
    assert!(
        parse(&" ".repeat(MAX_POLICY_LEN + 1)).expect_err("too long")[0].message.contains("bytes")
    );
}

/// A policy of one rule, with more before it and in it.
fn with(before: &str, in_rule: &str) -> String {
    format!("{before}\n[[rule]]\nid = \"a\"\nwhen = \"payer.listed\"\n{in_rule}")
}

#[test]
fn everything_that_a_policy_may_say_is_read() {
    let text = with(
        r#"time_zone = "America/Manaus"
listed = "rules"
thresholds = { review = 400, deny = 900 }
[[segment]]
rail = "pix"
payer_kind = "cpf"
review = 300
[[segment]]
rail = "pix"
deny = 700
[[rule]]
id = "payees"
when = "payee.listed || payer.listed"
verdict = "deny"
shadow = false
reason = { code = "listed", pt = "Recebedor em lista", en = "Payee on a list" }
"#,
        r#"verdict = "review"
score = 50
valid_from = 2026-11-01
valid_until = 2026-11-30
group = "lists"
share = 125
owner = "fraud"
tags = ["pix", "night"]
"#,
    );
    let file = parse(&text).expect("sound");
    assert_eq!(file.zone.name(), "America/Manaus");
    assert_eq!(file.rules.listed, ListsDecide::Rules);
    assert_eq!(file.rules.thresholds, Thresholds { review: 400, deny: 900 });
    assert_eq!(
        file.rules.segments[..],
        [
            Segment {
                rail: Some(Rail::Pix),
                payer_is_cnpj: Some(false),
                thresholds: Thresholds { review: 300, deny: 900 }
            },
            Segment {
                rail: Some(Rail::Pix),
                payer_is_cnpj: None,
                thresholds: Thresholds { review: 400, deny: 700 }
            },
        ]
    );
    let day = |text: &str| day_number(text.parse().expect("a day"));
    assert_eq!(file.rules.rules[1].days, day("2026-11-01")..=day("2026-11-30"));
    assert_eq!(file.rules.rules[0].days, EVERY_DAY);
    let shares: Vec<_> = file.rules.rules.iter().map(|rule| rule.share_permille).collect();
    assert_eq!(shares, [1_000, 125]);
    assert_eq!(file.notes[0].reason.as_ref().expect("it has one").en, "Payee on a list");
    assert_eq!((file.notes[1].group.as_str(), file.notes[1].tags.len()), ("lists", 2));
}

#[test]
fn what_makes_no_sense_is_refused_and_told() {
    let score = "score = 1\n";
    for (before, in_rule, message) in [
        ("time_zone = \"Brasilia\"", score, "\"Brasilia\" is no time zone"),
        ("thresholds = { review = 0 }", score, "review from a score of 0"),
        ("thresholds = { deny = 1001 }", score, "deny from a score of 1001"),
        ("thresholds = { review = 500, deny = 500 }", score, "nothing is ever reviewed"),
        ("thresholds = { reviews = 500 }", score, "unknown field `reviews`"),
        (
            "[[segment]]\nrail = \"pix\"\nreview = 1\n[[segment]]\nrail = \"pix\"\nreview = 2",
            score,
            "an earlier segment has all",
        ),
        ("[[segment]]\nrail = \"wire\"", score, "unknown variant"),
        ("[[segment]]\nreview = 5", score, "the segment has every payment"),
        ("[[segment]]\nrail = \"pix\"", score, "the segment has no threshold"),
        ("listed = \"rules\"", "verdict = \"deny\"\nvalid_until = 2020-01-01", "stops every payer"),
        ("listed = \"rules\"", "verdict = \"deny\"\nshadow = true", "stops every payer"),
        ("listed = \"rules\"", "verdict = \"deny\"\nshare = 999", "stops every payer"),
        ("", "score = 1\nshare = 0", "a share of 0"),
        ("", "score = 1\nshare = 1001", "a share of 1001"),
        ("", "score = 1\nshare = -1", "a share of -1"),
        (
            "listed = \"rules\"\n[[rule]]\nid = \"b\"\nwhen = \"payee.listed && tx.amount > 9\"\nverdict = \"deny\"",
            "verdict = \"deny\"",
            "stops every payee",
        ),
        (
            "listed = \"rules\"\n[[rule]]\nid = \"b\"\nwhen = \"!payee.listed\"\nverdict = \"deny\"",
            "verdict = \"deny\"",
            "stops every payee",
        ),
        ("listed = \"rules\"", "verdict = \"deny\"", "no rule stops every payee that is listed"),
        ("listed = \"rules\"", "score = -5", "no rule stops every payer that is listed"),
        ("listed = \"approve\"", score, "unknown variant"),
        ("", "verdict = \"deny\"\noverrides = true", "only a rule that allows can override"),
        ("", "score = 1\nvalid_from = 2026-12-01T10:00:00", "a day belongs here"),
        (
            "",
            "score = 1\nvalid_from = 2026-12-02\nvalid_until = 2026-12-01",
            "ends before it begins",
        ),
        ("", "score = 1\nreason = { code = \"Límite\" }", "is no code of a reason"),
        ("", "score = -9223372036854775808", "a score of -9223372036854775808"),
        (
            "[[rule]]\nid = \"b\"\nwhen = \" payer.listed \"\nscore = 7",
            score,
            "the rule b has this very condition",
        ),
        (
            "[[rule]]\nid = \"b\"\nwhen = \"payer.listed || tx.amount > 5\"\nverdict = \"deny\"",
            "verdict = \"review\"",
            "the rule b matches wherever this one does",
        ),
    ] {
        let text = with(before, in_rule);
        let faults = parse(&text).expect_err("it makes no sense");
        assert!(faults.iter().any(|fault| fault.message.contains(message)), "{text}: {faults:?}");
    }
    let segments = "[[segment]]\nrail = \"pix\"\n".repeat(MAX_SEGMENTS + 1);
    let faults = parse(&with(&segments, score)).expect_err("too many");
    assert!(faults.iter().any(|fault| fault.message.contains("33 segments")), "{faults:?}");
}

#[test]
fn a_rule_is_shadowed_only_where_it_can_do_no_more() {
    let wide = |more: &str| {
        format!("[[rule]]\nid = \"wide\"\nwhen = \"payer.listed || tx.amount > 5\"\n{more}")
    };
    for (earlier, later) in [
        ("verdict = \"review\"", "verdict = \"deny\""),
        ("verdict = \"deny\"", "verdict = \"deny\"\nscore = 5"),
        ("verdict = \"deny\"\nshadow = true", "verdict = \"deny\""),
        ("verdict = \"deny\"", "verdict = \"deny\"\nshadow = true"),
        ("verdict = \"deny\"\nshare = 500", "verdict = \"deny\""),
        ("verdict = \"deny\"\nvalid_from = 2026-12-01", "verdict = \"deny\""),
        ("score = 500", "verdict = \"review\""),
        ("verdict = \"allow\"", "verdict = \"allow\""),
    ] {
        let text = with(&wide(earlier), later);
        assert!(parse(&text).is_ok(), "{text}: {:?}", parse(&text));
    }
    let text = with(&wide("verdict = \"deny\""), "verdict = \"deny\"\nshare = 500");
    assert!(parse(&text).expect_err("shadowed")[0].message.contains("the rule wide matches"));
}

#[test]
fn a_policy_of_the_log_is_used_or_told_why_not() {
    let logged = |text: &[u8]| LoggedPolicy {
        version: 4,
        activated_at_ns: 1,
        id: PolicyId::of(text),
        text: text.into(),
    };
    assert_eq!(in_force(None).expect("it is there").version(), 0);
    let policy = in_force(Some(&logged(SOUND.as_bytes()))).expect("sound");
    assert_eq!((policy.version(), policy.rules().rules.len()), (4, 2));
    for text in [&b"[[rule]]\nid = 'a'\nwhen = 'tx.later > 1'\nscore = 1"[..], b"\xff", b""] {
        let why = in_force(Some(&logged(text))).expect_err("unreadable");
        assert!(why.contains("version 4") && why.contains("newer"), "{why}");
    }
}

#[test]
fn windows_are_what_the_policy_says_of_them() {
    let rule = "[[rule]]\nid = \"a\"\nwhen = 'has(payer.sum(\"night\")) && payer.sum(\"night\") > 1'\nscore = 1\n";
    let windows = |text: &str| parse(&format!("{text}{rule}")).map(|file| file.rules.windows);
    let asked = windows("").expect("sound");
    assert_eq!((asked.keys, asked.asked.len()), (DEFAULT_WINDOW_KEYS, 1));
    assert_eq!(asked.asked[0].window.span, Span::Night { from_hour: 20, to_hour: 6 });
    let asked = windows("[windows]\nkeys = 1000\nnight_from_hour = 22\nnight_to_hour = 5\n");
    let asked = asked.expect("sound");
    assert_eq!(asked.keys, 1000);
    assert_eq!(asked.asked[0].window.span, Span::Night { from_hour: 22, to_hour: 5 });
    for (text, message) in [
        ("[windows]\nkeys = 63\n", "keys is 63"),
        ("[windows]\nkeys = 8388609\n", "keys is 8388609"),
        ("[windows]\nnight_from_hour = 24\n", "night_from_hour is 24"),
        ("[windows]\nnight_to_hour = 25\n", "night_to_hour is 25"),
        ("[windows]\nnight_from_hour = 6\n", "ends with the hour"),
        ("[windows]\nbuckets = 6\n", "unknown field `buckets`"),
    ] {
        let faults = windows(text).expect_err(text);
        assert!(faults[0].message.contains(message), "{text}: {faults:?}");
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    }
    // More than the state of one payer may hold.
    let many: String = (1..=40)
        .map(|n| format!("[[rule]]\nid = \"r{n}\"\nwhen = 'payer.max(\"{n}d/48\", \"incl\") > 1 || payer.sum(\"{n}d/48\") > 1'\nscore = 1\n"))
        .collect();
    let faults = parse(&many).expect_err("too many");
    assert!(faults[0].message.contains("bytes a key"), "{faults:?}");
}

#[test]
fn a_rule_that_stops_who_is_listed_may_ask_windows_too() {
    let rules = |party: &str, more: &str| {
        format!("[[rule]]\nid = \"{party}\"\nwhen = '{party}.listed {more}'\nverdict = \"deny\"\n")
    };
    let policy = |more: &str| {
        parse(&format!("listed = \"rules\"\n{}{}", rules("payer", more), rules("payee", "")))
    };
    assert!(policy("|| payer.count(\"1h\") > 3").is_ok());
    assert!(policy("&& payer.count(\"1h\") >= 0").is_err(), "what is not known stops nobody");
}
