//! Named lists and exemptions on a running node: looked up by rules, changed live, refused; over restarts, a
//! failover and what is cut off; and recomputed from the log.

use catraca_tests::command;
use catraca_tests::logs::assert_verified;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::payments::{between, document};
use catraca_tests::policies::{activate, policy, write};
use catraca_wire::client::now_ns;
use catraca_wire::frame::{ClusterRequest, ListRequest, Verdict};
use catraca_wire::list::{ListKeyKind, ListName};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const POLICY: &str = r#"
[[rule]]
id = "above-limit"
when = 'payer.document in list("limits") && tx.amount > list("limits")[payer.document]'
verdict = "deny"

[[rule]]
id = "unknown-payee"
when = '!(payee.document in list("known-payees"))'
verdict = "review"
"#;

/// The verdict on a payment of so many centavos, to the second party.
fn verdict(node: &Node, id: &str, payer: u64, amount_centavos: i64) -> Verdict {
    let mut payment = between(id, document(payer), document(2), now_ns());
    payment.amount_centavos = amount_centavos;
    node.client().decide(&payment).expect("decided").verdict
}

fn lists(node: &Node, args: &[&str]) -> Value {
    policy(node, &[&["lists"], args].concat())
}

fn refused(node: &Node, args: &[&str]) -> String {
    let address = node.listen.to_string();
    let output = command::run([&["policy"], args, &["--addr", &address]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn text(party: u64) -> String {
    document(party).to_canonical()
}

fn replay(data_dir: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let data_dir = data_dir.display().to_string();
    let output: Output = command::run([&["log", "replay", &data_dir, "--json"], more].concat());
    let found = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), found)
}

/// A node with both lists and the policy in force.
fn prepare(node: &Node, dir: &Path) {
    for list in ["limits", "known-payees"] {
        let state = lists(node, &["create", list, "--kind", "document"]);
        assert_eq!((&state["changed"], &state["kind"]), (&true.into(), &"document".into()));
    }
    activate(node, &write(dir, "lists.toml", POLICY));
}

#[test]
fn rules_look_lists_up_and_see_each_change_from_its_answer_on() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let setup = Setup::new(&data_dir).shards(2);
    let node = setup.start();
    let path = write(dir.path(), "lists.toml", POLICY);
    let why = refused(&node, &["activate", &path.display().to_string()]);
    assert!(why.contains("catraca policy lists create limits --kind document"), "{why}");
    prepare(&node, dir.path());
    assert_eq!(verdict(&node, "unknown", 1, 100), Verdict::Review);
    let payee = text(2);
    let state = lists(&node, &["set", "known-payees", &payee, "--author", "ana", "--reason", "ok"]);
    assert_eq!((&state["changed"], &state["in_list"]), (&true.into(), &true.into()), "{state:#}");
    assert_eq!(lists(&node, &["set", "known-payees", &payee])["changed"], false);
    assert_eq!(verdict(&node, "known", 1, 100), Verdict::Approve);
    // On both shards.
    for payer in 1..20 {
        lists(&node, &["set", "limits", &text(payer), "--value", "5000"]);
        assert_eq!(verdict(&node, &format!("above-{payer}"), payer, 5_001), Verdict::Deny);
        assert_eq!(verdict(&node, &format!("within-{payer}"), payer, 5_000), Verdict::Approve);
    }
    lists(&node, &["remove", "limits", &text(1)]);
    assert_eq!(verdict(&node, "no-limit", 1, 5_001), Verdict::Approve);
    assert_eq!(lists(&node, &["find", "limits", &text(3)])["entries"], 18);
    assert_eq!(node.metric("catraca_named_list_entries"), 19.0);
    node.kill();
    // A start has them, also with another number of shards.
    let node = setup.shards(1).start();
    assert_eq!(verdict(&node, "restarted", 3, 5_001), Verdict::Deny);
    assert_eq!(verdict(&node, "restarted-1", 1, 5_001), Verdict::Approve);
    lists(&node, &["remove", "known-payees", &payee]);
    assert_eq!(verdict(&node, "unknown-again", 1, 100), Verdict::Review);
    node.stop();
    assert_verified(&data_dir, true);
    let (status, found) = replay(&data_dir, &[]);
    assert_eq!((status, &found["equal"]), (Some(0), &true.into()), "{found:#}");
    // The same policy under another name sees the lists as they were.
    let other = write(dir.path(), "other.toml", &format!("{POLICY}\n# another one"));
    let (_, found) = replay(&data_dir, &["--policy", &other.display().to_string()]);
    assert_eq!(found["what_if"]["changed"], 0, "{found:#}");
    let dir_text = data_dir.display().to_string();
    let shown = command::json(["policy", "lists", "show", "--log", &dir_text, "--json"]);
    let of = |name: &str| {
        let lists = shown["lists"].as_array().expect("lists").clone();
        lists.into_iter().find(|list| list["name"] == name).expect("there")["entries"].clone()
    };
    assert_eq!(of("limits").as_array().map(Vec::len), Some(18), "{shown:#}");
    assert_eq!(of("known-payees").as_array().map(Vec::len), Some(0));
    // One of them alone, with all that is known of it.
    let find = |payer: u64, more: &[&str]| {
        let key = text(payer);
        let args = ["policy", "lists", "find", "limits", &key, "--log", &dir_text];
        command::run([&args[..], more].concat())
    };
    let found = find(3, &["--json"]);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    assert_eq!((&found["in_list"], &found["entry"]["value"]), (&true.into(), &5000.into()));
    assert!(found["entry"]["until"].is_null() && found["entry"]["reason"] == "", "{found:#}");
    let told = String::from_utf8(find(3, &[]).stdout).expect("text");
    assert!(told.contains(" 5000 ") && !told.contains(&text(3)), "{told}");
    assert_eq!(find(1, &[]).status.code(), Some(3), "it was taken out");
    let entry = &of("limits")[0];
    assert!(entry["key"].as_str().expect("text").contains("***"), "{entry:#}");
}

#[test]
fn an_entry_ends_and_an_exempt_payment_passes() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let node = Setup::new(&data_dir).start();
    prepare(&node, dir.path());
    let over = (jiff::Timestamp::now() - jiff::SignedDuration::from_secs(5)).to_string();
    lists(&node, &["set", "known-payees", &text(2), "--until", &over]);
    assert_eq!(verdict(&node, "over", 1, 100), Verdict::Review);
    let later = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9)).to_string();
    let exempt =
        |of: &str, more: &[&str]| policy(&node, &[&["exempt", "unknown-payee", of], more].concat());
    let state = exempt(&text(1), &["--until", &later, "--reason", "family"]);
    assert_eq!((&state["changed"], &state["exempt"]), (&true.into(), &true.into()), "{state:#}");
    assert_eq!(verdict(&node, "exempt", 1, 100), Verdict::Approve);
    assert_eq!(verdict(&node, "other", 3, 100), Verdict::Review);
    let stored = node.client().lookup("exempt", None).expect("found");
    assert_eq!(stored.record.matched_rules, 2 << 4, "it matches all the same");
    assert_eq!(node.metric("catraca_rule_exemptions"), 1.0);
    exempt(&text(1), &["--end"]);
    assert_eq!(verdict(&node, "exempt-no-more", 1, 100), Verdict::Review);
    let why = refused(&node, &["exempt", "no-such-rule", &text(1), "--until", &later]);
    assert!(why.contains("no rule no-such-rule"), "{why}");
    let why = refused(&node, &["exempt", "above-limit", &text(1), "--until", "2199-01-01"]);
    assert!(why.contains("366 days"), "{why}");
    node.stop();
    let (status, found) = replay(&data_dir, &[]);
    assert_eq!((status, &found["equal"]), (Some(0), &true.into()), "{found:#}");
    let dir_text = data_dir.display().to_string();
    let explained =
        command::json(["policy", "explain", "--log", &dir_text, "--id", "exempt", "--json"]);
    let rule = &explained["explained"][0]["rules"][1];
    assert_eq!(
        (&rule["matched"], &rule["not_applied"]),
        (&true.into(), &"exempt".into()),
        "{rule:#}"
    );
}

#[test]
fn one_thing_is_told_as_one_and_nobody_is_said_to_be_missing_who_was_not_asked_for() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let node = Setup::new(&data_dir).start();
    let (address, log) = (node.listen.to_string(), data_dir.display().to_string());
    let told = |args: &[&str], at: &[&str]| {
        let output = command::run([&["policy"], args, at].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let asked = |args: &[&str]| told(args, &["--addr", &address]);
    let made = asked(&["lists", "create", "limits", "--kind", "document"]);
    assert!(made.contains("by document") && !made.contains("in list"), "{made}");
    let payer = text(1);
    assert!(asked(&["lists", "set", "limits", &payer]).contains("in list  yes"));
    let found = asked(&["lists", "find", "limits"]);
    assert!(!found.contains("in list") && !found.contains("changed"), "{found}");
    assert!(
        asked(&["lists", "set", "limits", &payer]).contains("changed  no: it was so already\n")
    );
    let status = asked(&["status"]);
    assert!(status.starts_with("in force  none"), "nothing was to be changed: {status}");
    asked(&["lists", "create", "known-payees", "--kind", "document"]);
    let file = write(dir.path(), "lists.toml", POLICY).display().to_string();
    asked(&["activate", &file]);
    asked(&["lists", "remove", "limits", &payer]);
    let shown = told(&["lists", "show"], &["--log", &log]);
    assert!(shown.ends_with("\n2 lists\n"), "{shown}");
    let later = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9)).to_string();
    asked(&["exempt", "above-limit", &payer, "--until", &later]);
    let shown = told(&["lists", "show"], &["--log", &log]);
    assert!(shown.ends_with("\n1 exemption from a rule\n"), "{shown}");
    let csv = write(dir.path(), "limits.csv", "key,value\n52998224725,5\nx,1\n");
    let output = command::run([
        "policy",
        "lists",
        "import",
        "limits",
        &csv.display().to_string(),
        "--addr",
        &address,
    ]);
    let came = String::from_utf8(output.stdout).expect("text");
    assert_eq!(came, "1 entry new or changed, 0 so already, 1 line refused\n");
    assert_eq!(verdict(&node, "one", 1, 100), Verdict::Review);
    node.stop();
    let replayed = command::run(["log", "replay", &log]);
    let text = String::from_utf8(replayed.stdout).expect("text");
    assert!(text.contains("1 decision recomputed, 1 policy: all are"), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_changes() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("data")).start();
    prepare(&node, dir.path());
    for (args, why) in [
        (&["lists", "set", "nowhere", "52998224725"][..], "there is no list nowhere"),
        (&["lists", "set", "limits", "52998224724"], "check digits"),
        (&["lists", "set", "limits", "10.0.0.0/8"], "key"),
        (&["lists", "create", "limits", "--kind", "device"], "keys of kind document"),
        (
            &["exempt", "above-limit", "::/0", "--kind", "network", "--until", "2027-01-01"],
            "key_kind",
        ),
    ] {
        let text = refused(&node, args);
        assert!(text.contains(why), "{args:?}: {text}");
    }
    let kind = write(dir.path(), "kind.toml", &POLICY.replace("payer.document", "tx.device"));
    let why = refused(&node, &["activate", &kind.display().to_string()]);
    assert!(why.contains("keys of kind document"), "{why}");
    let state = lists(&node, &["find", "limits"]);
    assert_eq!((&state["entries"], &state["sequence"]), (&0.into(), &2.into()), "{state:#}");
    // Many at once are taken in their order, and each is answered.
    let name = ListName::parse("limits").expect("a name");
    let requests: Vec<_> = (1..=300_u64)
        .map(|n| ListRequest::set(name, &text(n), n as i64, 0).expect("short"))
        .chain([ListRequest::create(ListName::parse("more").expect("a name"), ListKeyKind::Device)])
        .chain([ListRequest::set(name, "nobody", 0, 0).expect("short")])
        .chain([ListRequest::remove(name, &text(1)).expect("short")])
        .collect();
    let answers = node.client().lists(&requests);
    assert_eq!(answers.len(), 303);
    for (number, answer) in answers.iter().enumerate() {
        match (number, answer) {
            (301, answer) => assert!(answer.is_err(), "{answer:?}"),
            (_, answer) => assert_eq!(answer.as_ref().map(|state| state.changed), Ok(1)),
        }
    }
    let state = lists(&node, &["find", "limits", &text(300)]);
    assert_eq!((&state["entries"], &state["sequence"]), (&299.into(), &304.into()), "{state:#}");
    node.stop();
}

#[test]
fn a_replay_says_where_the_log_is_older_than_the_lists_of_the_policy() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let setup = Setup::new(&data_dir);
    let node = setup.start();
    for payer in 1..4 {
        assert_eq!(verdict(&node, &format!("before-{payer}"), payer, 100), Verdict::Approve);
    }
    node.stop();
    let other = write(dir.path(), "lists.toml", POLICY).display().to_string();
    let (status, found) = replay(&data_dir, &["--policy", &other]);
    assert_eq!((status, &found["what_if"]["changed"]), (Some(0), &3.into()), "{found:#}");
    let not_known = |of: &Value| of["what_if"]["lists_not_known"].clone();
    let all = ["known-payees", "limits"].map(|list| json!({ "list": list, "decisions": 3 }));
    assert_eq!(not_known(&found), json!(all));
    assert_eq!(found["warnings"].as_array().map(Vec::len), Some(2), "{found:#}");
    let text = command::run(["log", "replay", &data_dir.display().to_string(), "--policy", &other]);
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(text.starts_with("warning: of 3 decisions 3 saw no list known-payees"), "{text}");
    // From when they are there they are known; a list of other keys is another one.
    let node = setup.start();
    lists(&node, &["create", "limits", "--kind", "document"]);
    lists(&node, &["create", "known-payees", "--kind", "device"]);
    verdict(&node, "behind", 1, 100);
    node.stop();
    let (_, found) = replay(&data_dir, &["--policy", &other]);
    let of = |list: &str, decisions: u64| json!({ "list": list, "decisions": decisions });
    assert_eq!(not_known(&found), json!([of("known-payees", 4), of("limits", 3)]));
    let (_, found) = replay(&data_dir, &[]);
    assert_eq!(found["warnings"], json!([]), "nobody asked: {found:#}");
}

#[test]
fn lists_are_imported_line_by_line() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("data")).start();
    prepare(&node, dir.path());
    let mut csv = "key;value;until;reason\n".to_owned();
    (1..=500).for_each(|n| csv.push_str(&format!("{};{};;line {n}\n", text(n), n * 100)));
    csv.push_str("52998224724;1;;\n;1;;\n11222333000181;x;;\n");
    let path = write(dir.path(), "limits.csv", &csv).display().to_string();
    let address = node.listen.to_string();
    let import = || {
        let args = ["policy", "lists", "import", "limits", &path, "--addr", &address, "--json"];
        let output = command::run(args);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), report, String::from_utf8(output.stderr).expect("text"))
    };
    let (status, report, text) = import();
    assert_eq!(status, Some(3), "{report:#}");
    assert_eq!((&report["changed"], &report["refused"]), (&500.into(), &3.into()), "{report:#}");
    assert!(text.contains("line 502: refused") && !text.contains("52998224724"), "{text}");
    let (_, report, _) = import();
    assert_eq!((&report["changed"], &report["unchanged"]), (&0.into(), &500.into()));
    assert_eq!(lists(&node, &["find", "limits"])["entries"], 500);
    node.stop();
}

#[test]
fn a_standby_that_is_promoted_has_them() {
    let pair = Pair::new(2);
    let [primary, standby] = pair.start_both();
    await_in_sync(&primary, &standby);
    prepare(&primary, pair.folder());
    lists(&primary, &["set", "known-payees", &text(2)]);
    lists(&primary, &["set", "limits", &text(5), "--value", "700"]);
    let later = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9)).to_string();
    policy(&primary, &["exempt", "above-limit", &text(6), "--until", &later]);
    lists(&primary, &["set", "limits", &text(6), "--value", "700"]);
    primary.kill();
    ask(&standby, &ClusterRequest::promote(true)).expect("promoted");
    let seen = |id: &str, payer| verdict(&standby, id, payer, 701);
    assert_eq!(seen("limited", 5), Verdict::Deny);
    assert_eq!(seen("exempt", 6), Verdict::Approve);
    lists(&standby, &["remove", "limits", &text(5)]);
    assert_eq!(seen("limited-no-more", 5), Verdict::Approve);
    standby.stop();
    let (status, found) = replay(&pair.data_dir(1), &[]);
    assert_eq!((status, &found["equal"]), (Some(0), &true.into()), "{found:#}");
}
