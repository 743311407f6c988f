//! Validators in a policy's file.

use super::*;
use crate::validators::spec::{Secret, Sent, UrlPart};
use catraca_core::policy::lists::KeyField;

const SOUND: &str = r#"
[[validator]]
id = "cpf-status"
url = "https://cadastro.example/v1/people/{payer.document}?until={tx.amount}"
when = "tx.amount > reais(500)"
headers = { Accept = "application/json" }
secret_headers = { authorization = { file = "/etc/catraca/token" } }
answer = "/status"
answers = ["regular", "suspended", "not-found"]
status = { 404 = "not-found" }
negative = ["not-found"]
no_answer = "review"

[[rule]]
id = "suspended"
when = 'has(validator("cpf-status")) && validator("cpf-status") == "suspended"'
verdict = "deny"
"#;

#[test]
fn a_validator_is_read_with_what_no_answer_does() {
    let file = parse(SOUND).expect("sound");
    let service = &file.services[0];
    assert_eq!((service.timeout_ms, service.attempts, service.wait_ms), (300, 2, 800));
    let document = Sent::Key(KeyField::PayerDocument);
    assert_eq!(service.request.url[1], UrlPart::Field(document));
    assert_eq!(service.request.sent(), [document, Sent::Amount]);
    assert_eq!(service.request.headers, [("accept".to_owned(), "application/json".to_owned())]);
    let secret = Secret::File("/etc/catraca/token".into());
    assert_eq!(service.request.secret_headers, [("authorization".to_owned(), secret)]);
    assert_eq!(service.meaning.statuses.get(&404), Some(&2));
    assert_eq!(service.meaning.negative, [2]);
    let rules = &file.rules;
    assert_eq!((rules.values(), rules.answers_from()), (2, 0));
    let last = rules.rules.last().expect("there are two");
    assert_eq!(
        (last.id.as_str(), last.effect.verdict),
        ("cpf-status-no-answer", Some(RuleVerdict::Review))
    );
    assert_eq!(file.notes.len(), rules.rules.len());
    let skip = parse(&SOUND.replace("\"review\"", "\"skip\"")).expect("sound");
    assert_eq!(skip.rules.rules.len(), 1);
    let score = parse(&SOUND.replace("\"review\"", "{ score = 200 }")).expect("sound");
    assert_eq!(score.rules.rules[1].effect.score, 200);
}

#[test]
fn what_makes_no_sense_of_a_validator_is_refused() {
    let rule = "[[rule]]\nid = \"cpf-status-no-answer\"\nwhen = \"payer.listed\"\nscore = 1\n";
    for (from, to, message) in [
        ("no_answer = \"review\"", "", "missing field `no_answer`"),
        ("no_answer = \"review\"", "no_answer = \"allow\"", "nothing to decide"),
        ("no_answer = \"review\"", "no_answer = { score = 1001 }", "nothing to decide"),
        // Whoever can make a service fail would gain by it.
        ("no_answer = \"review\"", "no_answer = { score = -200 }", "nothing to decide"),
        ("https://cadastro", "ftp://cadastro", "no URL for a validator"),
        ("https://cadastro", "https://user@cadastro", "no URL for a validator"),
        ("https://cadastro", "https://{payer.document}", "no URL for a validator"),
        ("{payer.document}", "{payer.name}", "payer.name is not sent"),
        ("{tx.amount}", "{tx.amount", "no partner"),
        ("answer = \"/status\"", "answer = \"status\"", "no JSON pointer"),
        ("404 = \"not-found\"", "404 = \"gone\"", "\"gone\" is no answer"),
        ("404 = \"not-found\"", "900 = \"regular\"", "no status of HTTP"),
        ("[\"not-found\"]", "[3]", "3 is no answer"),
        ("\"not-found\"]\nstatus", "\"regular\"]\nstatus", "stands there twice"),
        ("Accept", "Host", "no header that can be set"),
        ("{ file = \"/etc/catraca/token\" }", "{}", "a secret is in a file"),
        ("no_answer =", "timeout_ms = 900\nno_answer =", "nobody waits longer than 800 ms"),
        ("no_answer =", "attempts = 6\nno_answer =", "attempts is 6"),
        ("no_answer =", "method = \"PUT\"\nno_answer =", "no method here"),
        (
            "no_answer =",
            "method = \"GET\"\nsend = [\"tx.amount\"]\nno_answer =",
            "a GET has no body",
        ),
        ("no_answer =", "breaker = { probes = 4 }\nno_answer =", "probes is 4"),
        ("no_answer =", "tls = { cert_file = \"a\" }\nno_answer =", "goes with its key"),
        ("no_answer =", "retries = 3\nno_answer =", "unknown field `retries`"),
        ("tx.amount > reais(500)", "has(validator(\\\"cpf-status\\\"))", "no validator"),
        ("[[rule]]", &format!("{rule}[[rule]]"), "is that of a validator's no_answer"),
        ("id = \"cpf-status\"", "id = \"Cpf\"", "no id of a validator"),
    ] {
        let text = SOUND.replacen(from, to, 1);
        assert_ne!(text, SOUND, "{from}");
        let faults = parse(&text).expect_err(to);
        assert!(faults.iter().any(|fault| fault.message.contains(message)), "{to}: {faults:?}");
    }
}

#[test]
fn validators_find_room_for_both_of_their_values_or_are_refused() {
    // 113 values of windows and lists, and 15 are left for eight validators: one too few.
    let windows: Vec<_> = (1..=49).map(|n| format!("payer.count('{n}m') > 9")).collect();
    let lists: Vec<_> = (1..=64).map(|n| format!("payer.document in list('list-{n}')")).collect();
    let conditions: Vec<String> =
        windows.chunks(10).chain(lists.chunks(20)).map(|some| some.join(" || ")).collect();
    assert!(conditions.len() <= 9);
    let validator = |n: usize| {
        let when = conditions.get(n).map_or("true", String::as_str);
        let more = if n == 7 { conditions[8..].join(" || ") } else { "false".to_owned() };
        format!(
            "[[validator]]\nid = \"v{n}\"\nurl = \"http://a\"\nwhen = \"{when} || {more}\"\nstatus = {{ 200 = 1 }}\nno_answer = \"skip\"\n"
        )
    };
    let text: String = (0..8).map(validator).collect();
    let rule = "[[rule]]\nid = \"a\"\nwhen = \"payer.listed\"\nscore = 1\n";
    let faults = parse(&format!("{text}{rule}")).expect_err("no room");
    assert!(faults.iter().any(|f| f.message.contains("too many values")), "{faults:?}");
    let text: String = (0..7).map(validator).collect();
    let file = parse(&format!("{text}{rule}")).expect("room");
    assert!(file.rules.values() <= 128);
}
