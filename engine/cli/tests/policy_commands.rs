//! `catraca policy`, and the page that describes what a policy may hold.

use catraca_core::policy::language::{Asking, Field, compile_into};
use catraca_core::policy::lists::KeyField;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn check(file: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(["policy", "check"]).arg(file).args(more).output().expect("it starts")
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../POLICY.md")).expect("there")
}

/// The policy of the page.
fn policy_of_the_page() -> String {
    let page = page();
    let (_, behind) = page.split_once("```toml\n").expect("it shows one");
    behind.split_once("```").expect("it ends").0.to_owned()
}

#[test]
fn the_policy_of_the_page_is_sound() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("pix.toml");
    fs::write(&file, policy_of_the_page()).expect("own");
    let output = check(&file, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("sound, 3 rules") && text.contains("night-high-amount"), "{text}");
    let report: Value = serde_json::from_slice(&check(&file, &["--json"]).stdout).expect("JSON");
    assert_eq!((&report["sound"], &report["faults"]), (&true.into(), &Value::Array(vec![])));
    assert_eq!(report["rules"][1]["verdict"], "review");
    assert_eq!(report["rules"][1]["fields"], serde_json::json!(["tx.channel"]));
    assert_eq!(report["warnings"], serde_json::json!([]));
    // Without thresholds its scores decide nothing: that is sound, and told.
    fs::write(&file, policy_of_the_page().replace("thresholds", "# ")).expect("own");
    let output = check(&file, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\nwarning: rules have scores"));
    let report: Value = serde_json::from_slice(&check(&file, &["--json"]).stdout).expect("JSON");
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(1), "{report:#}");
}

/// The default policy does what its tests say, and they notice when it does not.
#[test]
fn the_default_policy_is_sound_and_its_tests_pass() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
        command.current_dir(dir.path()).arg("policy").args(args).output().expect("it starts")
    };
    assert!(run(&["init"]).status.success());
    assert_eq!(run(&["init"]).status.code(), Some(1), "what is there is not touched");
    assert!(run(&["check", "pix.toml"]).status.success());
    let report =
        |args: &[&str]| -> Value { serde_json::from_slice(&run(args).stdout).expect("JSON") };
    let tested = ["test", "pix.toml", "pix-tests.toml", "--json"];
    let came = report(&tested);
    assert_eq!(came["wrong"], 0, "{came:#}");
    assert!(came["cases"].as_array().expect("cases").len() >= 27);
    let policy = dir.path().join("pix.toml");
    let text = fs::read_to_string(&policy).expect("there");
    let looser =
        text.replace("< 6) && tx.amount > reais(1000)'", "< 6) && tx.amount > reais(1001)'");
    fs::write(&policy, looser).expect("own");
    assert_eq!(report(&tested)["wrong"], 1, "a case that can't fail");
    assert_eq!(run(&tested).status.code(), Some(3));
    // What a payment of one's own says must make sense, and so must what is wanted of it.
    let cases = dir.path().join("cases.toml");
    for (case, fault) in [
        ("payment = { amount_centavos = 0 }", "amount_centavos: at least 1"),
        ("payment = { rail = 'wire' }", "rail: \"wire\" is none of other, pix"),
        ("payment = { payer = '1' }", "payer: "),
        ("payment = { time = 'noon' }", "time: local"),
        ("payment = { payee_listed = 'ceis', payee_allowed = true }", "listed, or allowed"),
        ("matches = ['no-rule']", "no rule no-rule"),
        ("matches = []", "it wants nothing"),
        ("payment = { age_s = 4294967295, time = '2554-07-21T23:34:33Z' }", "after the year 2554"),
        ("payment = { before = [{ times = 10001 }] }", "before: 10001 payments"),
        ("payment = { before = [{ payment = { payer = '1' } }] }", "before: payer: "),
        ("payment = { before = [{ payment = { before = [{}] } }] }", "before: a payment before"),
        (
            "matches_not = ['small-hours']\npayment = { time = '2026-11-24T03:00:00' }",
            "small-hours matches",
        ),
    ] {
        fs::write(&cases, format!("[[case]]\nname = 'a'\n{case}\n")).expect("own");
        let came = report(&["test", "pix.toml", "cases.toml", "--json"]);
        let told = came["cases"][0]["faults"][0].as_str().unwrap_or_default();
        assert!(told.contains(fault), "{case}: {came:#}");
    }
}

#[test]
fn a_case_that_is_wrong_says_what_came_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (policy, cases) = (dir.path().join("policy.toml"), dir.path().join("cases.toml"));
    fs::write(
        &policy,
        "thresholds = { review = 300 }\n\
         [[rule]]\nid = 'large'\nwhen = 'tx.amount > 5'\nscore = 250\n\
         [[rule]]\nid = 'by-pix'\nwhen = 'tx.rail == \"pix\"'\nscore = 100\n\
         [[rule]]\nid = 'tried'\nwhen = 'tx.hour > 1'\nverdict = 'deny'\nshadow = true\n",
    )
    .expect("own");
    let case = "[[case]]\nname = 'a'\n";
    fs::write(
        &cases,
        format!("{case}verdict = 'review'\n{case}verdict = 'deny'\npayment = {{ exempt = ['by-pix'] }}\n\
            {case}score = 1\npayment = {{ amount_centavos = 1, rail = 'ted', time = '2026-11-24T00:30:00' }}\n"),
    )
    .expect("own");
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    let output = command.args(["policy", "test"]).args([&policy, &cases]).output().expect("starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "\
ok    a
WRONG a
      verdict approve, and deny is wanted
      it came to approve, because of clear; score 250
      matches large: score +250
      matches by-pix: score +100, exempt
      matches tried: score +0, deny, in shadow
WRONG a
      score 0, and 1 is wanted
      it came to approve, because of clear; score 0
      no rule matches
3 cases, 2 wrong
"
    );
    let report: Value =
        serde_json::from_slice(&command.arg("--json").output().expect("starts").stdout)
            .expect("JSON");
    let [right, wrong] = [0, 1].map(|case| &report["cases"][case]);
    assert_eq!(right["came"]["verdict"], "review", "{right:#}");
    assert_eq!((&right["came"]["score"], &right["came"]["reason"]), (&350.into(), &"score".into()));
    assert_eq!(wrong["wanted"]["verdict"], "deny", "{wrong:#}");
    assert_eq!(wrong["came"]["matched"], serde_json::json!(["large", "by-pix", "tried"]));
    assert_eq!(wrong["came"]["exempt"], serde_json::json!(["by-pix"]));
}

#[test]
fn a_payment_is_explained_rule_by_rule_and_documents_are_masked() {
    let dir = tempfile::tempdir().expect("a folder");
    let policy = dir.path().join("policy.toml");
    fs::write(
        &policy,
        "[[rule]]\nid = \"own\"\nwhen = \"payer.document == payee.document\"\nverdict = \"review\"\n\
         [[rule]]\nid = \"list\"\nwhen = \"has(payee.list) && payee.list == 'ceis' && !has(tx.pix_key)\"\nscore = 5\n",
    )
    .expect("own");
    let payment = dir.path().join("payment.json");
    fs::write(&payment, r#"{"payee": "529.982.247-25"}"#).expect("own");
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(["policy", "explain"]).arg(&policy).arg("--transaction").arg(&payment);
    let text = String::from_utf8(command.output().expect("it starts").stdout).expect("text");
    assert!(text.starts_with("REVIEW, because of rule own; score 0\n"), "{text}");
    assert!(text.contains("payer.document = ***.982.247-**"), "{text}");
    assert!(text.contains("payee.list = missing") && !text.contains("52998224725"), "{text}");
    let output = command.arg("--json").output().expect("it starts");
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [own, list] = [0, 1].map(|rule| &explained["explained"][0]["rules"][rule]);
    assert_eq!((&own["matched"], &list["matched"]), (&true.into(), &false.into()));
    assert_eq!(list["values"]["payee.list"], "missing");
    assert_eq!(list["values"]["tx.pix_key"], "missing", "what is asked for is shown, too");
}

#[test]
fn what_windows_say_is_explained() {
    let dir = tempfile::tempdir().expect("a folder");
    let policy = dir.path().join("policy.toml");
    fs::write(
        &policy,
        "[[rule]]\nid = 'many'\nwhen = 'payer.count(\"1h\", \"pix\") >= 3 && payer.distinct_payees(\"1h\") > 1'\nverdict = 'review'\n\
         [[rule]]\nid = 'high'\nwhen = 'has(payer.avg(\"1d\")) && tx.amount > payer.avg(\"1d\")'\nscore = 5\n",
    )
    .expect("own");
    let payment = dir.path().join("payment.json");
    let before = r#"[{"times": 3, "every_s": 60, "payment": {"time": "2026-11-24T13:30:00", "amount_centavos": 500}},
        {"payment": {"time": "2026-11-24T13:50:00", "payee": "11222333000181"}, "verdict": "deny"}]"#;
    fs::write(&payment, format!("{{\"before\": {before}}}")).expect("own");
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(["policy", "explain", "--json"]).arg(&policy).arg("--transaction").arg(&payment);
    let output = command.output().expect("it starts");
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let explained = &explained["explained"][0];
    assert_eq!(explained["settled_by"], "many", "{explained:#}");
    let values = &explained["rules"][0]["values"];
    assert_eq!(values["payer.count(\"1h\", \"pix\")"], "4");
    assert_eq!(values["payer.distinct_payees(\"1h\")"], "2");
    assert_eq!(explained["rules"][1]["values"]["payer.avg(\"1d\")"], "2875 centavos");
    fs::write(&payment, "{}").expect("own");
    let output = command.output().expect("it starts");
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let values = &explained["explained"][0]["rules"][1]["values"];
    assert_eq!(values["payer.avg(\"1d\")"], "missing");
    let report: Value = serde_json::from_slice(&check(&policy, &["--json"]).stdout).expect("JSON");
    assert_eq!(report["rules"][1]["windows"], serde_json::json!(["payer.avg(\"1d\")"]));
    assert!(report["window_bytes_per_payer"].as_u64().is_some_and(|bytes| bytes > 16));
}

#[test]
fn what_changes_between_two_policies_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let rule = |id: &str, when: &str, score: i32| {
        format!("[[rule]]\nid = \"{id}\"\nwhen = \"{when}\"\nscore = {score}\n")
    };
    let (a, b) = (rule("a", "tx.hour < 5", 10), rule("b", "payer.listed", 20));
    let paths = ["from.toml", "to.toml"].map(|name| dir.path().join(name));
    let diff = |from: &str, to: &str| -> (Option<i32>, Value) {
        fs::write(&paths[0], from).expect("own");
        fs::write(&paths[1], to).expect("own");
        let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
        let command = command.args(["policy", "diff", "--json"]).args(&paths);
        let output = command.output().expect("it starts");
        (output.status.code(), serde_json::from_slice(&output.stdout).expect("JSON"))
    };
    assert_eq!(diff(&[&a[..], &b].concat(), &[&a[..], "# more\n", &b].concat()).0, Some(0));
    for (from, to, rule, what) in [
        (a.clone(), [&a[..], &b].concat(), Value::from("b"), "added"),
        ([&a[..], &b].concat(), b.clone(), "a".into(), "removed"),
        (a.clone(), a.replace("< 5", "< 6"), "a".into(), "when"),
        (a.clone(), a.replace("10", "11"), "a".into(), "effect"),
        (a.clone(), format!("{a}shadow = true\n"), "a".into(), "effect"),
        (a.clone(), format!("{a}valid_from = 2026-12-01\n"), "a".into(), "days"),
        (a.clone(), format!("{a}owner = \"x\"\n"), "a".into(), "notes"),
        (a.clone(), format!("thresholds = {{ deny = 9 }}\n{a}"), Value::Null, "thresholds"),
        (a.clone(), format!("time_zone = \"America/Manaus\"\n{a}"), Value::Null, "time zone"),
        ([&a[..], &b].concat(), [&b[..], &a].concat(), Value::Null, "order of the rules"),
    ] {
        let (status, report) = diff(&from, &to);
        assert_eq!(status, Some(3), "{what}");
        let found = &report["differences"];
        assert_eq!((&found[0]["rule"], &found[0]["what"]), (&rule, &what.into()), "{report:#}");
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{report:#}");
    }
}

#[test]
fn a_difference_is_printed_as_a_policy_has_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("from.toml"), dir.path().join("to.toml"));
    let rule = "[[rule]]\nid = 'a'\nwhen = 'has(payer.count(\"night\"))'\n";
    fs::write(&from, format!("{rule}score = 10\n")).expect("own");
    let top = "thresholds = { review = 400 }\nlisted = 'deny'\n\
        segment = [{ rail = 'pix', payer_kind = 'cnpj', deny = 900 }]\n\
        windows = { keys = 128, night_from_hour = 22 }\n";
    let more = "verdict = 'allow'\noverrides = true\nshadow = true\nshare = 50\n\
        valid_from = 2026-12-01\ndescription = \"the \\\"first\\\"\"\ntags = ['x']\n\
        reason = { code = 'c', en = 'e' }\n";
    fs::write(&to, format!("{top}{rule}{more}")).expect("own");
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    let output = command.args(["policy", "diff"]).args([&from, &to]).output().expect("it starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "\
policy: thresholds
  + { review = 400 }
policy: segments
  + [{ rail = \"pix\", payer_kind = \"cnpj\", review = 400, deny = 900 }]
policy: windows
  + { keys = 128, night_from_hour = 22 }
a: effect
  - score = 10
  + verdict = \"allow\", overrides = true, shadow = true, share = 50
a: days
  + valid_from = 2026-12-01
a: notes
  + description = 'the \"first\"', tags = [\"x\"], reason = { code = \"c\", en = \"e\" }
"
    );
}

/// The rows of a table, by its first cell.
fn table<'p>(page: &'p str, heading: &'static str) -> impl Iterator<Item = &'p str> {
    let rows = page.lines().skip_while(move |line| !line.starts_with(heading)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
}

/// What may be asked of windows is on the page, and no other.
#[test]
fn the_page_has_every_window() {
    let page = page();
    let names = |heading| -> Vec<String> {
        let cells = table(&page, heading).filter_map(|row| row.split('|').nth(1));
        let names = cells.flat_map(|cell| cell.split(", "));
        names.map(|name| name.trim().trim_matches('`').to_owned()).collect()
    };
    let (subjects, functions) = (names("| of whom |"), names("| what | |"));
    assert_eq!((subjects.len(), functions.len()), (8, 10));
    for subject in &subjects {
        for function in &functions {
            let value = format!("{subject}.{function}(\"1d/24\")");
            let mut asking = Asking::default();
            let text = format!(
                "has(tx.device) && has(tx.payer_account) && has(tx.payee_account) && (!has(payer.avg(\"7d\")) || known({value}) || payer.listed)"
            );
            compile_into(&text, &mut asking).unwrap_or_else(|fault| panic!("{value}: {fault:?}"));
            assert_eq!(asking.asked()[1].name(), value);
        }
    }
    let told = compile_into("payer.none() > 1", &mut Asking::default()).expect_err("no function");
    assert!(functions.iter().all(|name| told.help.contains(&name[..])), "{told:?}");
    assert_eq!(told.help.matches(',').count() + 1, functions.len(), "{told:?}");
    // Which may be missing.
    for row in table(&page, "| what | |") {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for name in cells[1].split(", ").map(|name| name.trim_matches('`')) {
            let text = format!("payer.{name}(\"1d\") == 1");
            let is_taken = compile_into(&text, &mut Asking::default()).is_ok();
            assert_eq!(is_taken, cells[3].is_empty(), "{name}");
        }
    }
    for argument in ["today", "night", "approved", "reviewed", "denied", "incl"] {
        assert!(page.contains(&format!("`\"{argument}\"`")), "{argument}");
    }
}

/// The keys that a policy may have are on the page, and no others.
#[test]
fn the_page_has_every_key() {
    let page = page();
    let on_page = |heading: &'static str| -> Vec<String> {
        table(&page, heading)
            .flat_map(|row| {
                let names = row.split('|').nth(1).expect("a cell").split(", ");
                names.map(|name| name.trim().trim_matches('`').to_owned()).collect::<Vec<_>>()
            })
            .collect()
    };
    // What is unknown is answered with what is known.
    let known = |text: &str| -> Vec<String> {
        let faults = catraca_node::policy_file::parse(text).expect_err("an unknown key");
        let (_, names) = faults[0].message.split_once("expected one of ").expect("all of them");
        names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()
    };
    for (heading, text) in [
        ("| key of a policy |", "none = 1"),
        ("| key of a rule |", "[[rule]]\nnone = 1"),
        ("| key of a validator |", "[[validator]]\nnone = 1"),
    ] {
        let (mut page, mut known) = (on_page(heading), known(text));
        page.sort_unstable();
        known.sort_unstable();
        assert_eq!(page, known, "{heading}");
    }
    let within = ["cache", "limits", "breaker", "tls"].into_iter().flat_map(|part| {
        let keys = known(&format!("[[validator]]\n{part} = {{ none = 1 }}"));
        keys.into_iter().map(move |key| format!("{part}.{key}"))
    });
    let (mut page, mut known) = (on_page("| key within a validator |"), within.collect::<Vec<_>>());
    page.sort_unstable();
    known.sort_unstable();
    assert_eq!(page, known);
}

/// The validator of the page is sound, with the rule that it is for and that of its `no_answer`.
#[test]
fn the_validator_of_the_page_is_sound() {
    let page = page();
    let (_, behind) = page.split_once("## Validators").expect("a section");
    let (_, behind) = behind.split_once("```toml\n").expect("it shows one");
    let text = behind.split_once("```").expect("it ends").0;
    let file = catraca_node::policy_file::parse(text).expect("sound");
    assert_eq!((file.services.len(), file.rules.rules.len()), (1, 2));
}

/// The table of fields has all that a condition may name, those too that are only looked up in lists.
#[test]
fn the_page_has_every_field() {
    let page = page();
    let mut on_page = Vec::new();
    for row in table(&page, "| field |") {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for name in cells[1].split(", ").map(|name| name.trim_matches('`')) {
            on_page.push(name.to_owned());
            let Some(field) = Field::named(name) else {
                let looked_up = KeyField::named(name);
                assert!(looked_up.is_some(), "there is no field {name}");
                assert!(cells[2].contains("only to be looked up in a list"), "{name}");
                continue;
            };
            assert_eq!(cells[3] == "yes", field.is_optional(), "{name}");
        }
    }
    let fields = Field::ALL.iter().map(|field| field.name());
    let mut all: Vec<_> = fields.chain(KeyField::ALL.iter().map(|field| field.name())).collect();
    all.sort_unstable();
    all.dedup();
    on_page.sort_unstable();
    assert_eq!(on_page, all);
    // What is looked up in which lists.
    for row in table(&page, "| `--kind` |") {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let kind = cells[1].trim_matches('`');
        let of_kind = KeyField::ALL.iter().filter(|field| field.kind().name() == kind);
        for name in of_kind.map(|field| field.name()) {
            assert!(cells[3].contains(&format!("`{name}`")), "{kind}: {name}");
        }
    }
}

#[test]
fn what_is_wrong_is_shown_at_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    fs::write(&file, "[[rule]]\nid = \"à-noite\"\nwhen = 'tx.rail == \"pixx\"'\nscore = 1\n")
        .expect("own");
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "\
wrong.toml:3:20: \"pixx\" never stands there
3 | when = 'tx.rail == \"pixx\"'
  |                    ^^^^^^
  = did you mean \"pix\"?
";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("wrong.toml:2:6: \"à-noite\" is no id") && text.contains("refused, 2 faults"),
        "{text}"
    );
    let report: Value = serde_json::from_slice(&check(&file, &["--json"]).stdout).expect("JSON");
    assert_eq!(report["sound"], false);
    assert_eq!(
        (&report["faults"][1]["line"], &report["faults"][1]["column"]),
        (&3.into(), &20.into())
    );
    // What is no policy at all.
    fs::write(&file, [0xff, 0xfe]).expect("own");
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"), "{output:?}");
    assert_eq!(check(&dir.path().join("missing"), &[]).status.code(), Some(1));
}
