//! Policies on a running node: taken into force, refused, rolled back; over restarts, a failover and what
//! is cut off; and recomputed from the log.

use catraca_tests::command;
use catraca_tests::load::Load;
use catraca_tests::logs::assert_verified;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::payments::{between, document};
use catraca_tests::policies::{activate, policy, write};
use catraca_wire::client::{Decision, now_ns};
use catraca_wire::frame::{ClusterRequest, Verdict};
use serde_json::Value;
use std::path::Path;

const STRICT: &str = r#"
thresholds = { review = 400, deny = 900 }

[[rule]]
id = "high"
when = "tx.amount > reais(1000)"
score = 450

[[rule]]
id = "very-high"
when = "tx.amount > reais(15000)"
verdict = "deny"
"#;

const LENIENT: &str = r#"
[[rule]]
id = "very-high"
when = "tx.amount > reais(15000)"
verdict = "review"
"#;

/// Decides on a payment of so many centavos.
fn decide(node: &Node, id: &str, amount_centavos: i64) -> Decision {
    let mut payment = between(id, document(1), document(2), now_ns());
    payment.amount_centavos = amount_centavos;
    node.client().decide(&payment).expect("decided")
}

fn verdict(node: &Node, id: &str, amount_centavos: i64) -> (Verdict, u32, u16) {
    let decision = decide(node, id, amount_centavos);
    (decision.verdict, decision.answer.policy_version, decision.answer.score)
}

/// Replays a log; gives the exit status and what was found.
fn replay(data_dir: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let data_dir = data_dir.display().to_string();
    let output = command::run([&["log", "replay", &data_dir, "--json"], more].concat());
    let found = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), found)
}

#[test]
fn a_policy_decides_from_its_activation_on_and_survives_restarts() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let setup = Setup::new(&data_dir).shards(2);
    let (strict, lenient) =
        (write(dir.path(), "strict.toml", STRICT), write(dir.path(), "lenient.toml", LENIENT));
    let node = setup.start();
    assert_eq!(verdict(&node, "before", 200_000), (Verdict::Approve, 0, 0));
    assert_eq!(policy(&node, &["status"])["version"], 0);
    let state = activate(&node, &strict);
    assert_eq!((&state["version"], &state["changed"]), (&1.into(), &true.into()), "{state:#}");
    assert_eq!(activate(&node, &strict)["changed"], false, "it is in force");
    assert_eq!(verdict(&node, "low", 100_000), (Verdict::Approve, 1, 0));
    let high = decide(&node, "high", 100_001);
    assert_eq!(
        (high.verdict, high.answer.score, high.answer.matched_rules),
        (Verdict::Review, 450, 1 << 4)
    );
    assert_eq!(verdict(&node, "very-high", 1_500_001), (Verdict::Deny, 1, 450));
    assert_eq!(node.metric("catraca_policy_version"), 1.0);
    node.kill();
    let node = setup.start();
    assert_eq!(verdict(&node, "restarted", 100_001), (Verdict::Review, 1, 450));
    assert_eq!(activate(&node, &lenient)["version"], 2);
    assert_eq!(verdict(&node, "lenient", 100_001), (Verdict::Approve, 2, 0));
    assert_eq!(verdict(&node, "other", 1_500_001), (Verdict::Review, 2, 0));
    let state = policy(&node, &["rollback"]);
    assert_eq!((&state["version"], &state["previous_version"]), (&3.into(), &2.into()));
    assert_eq!(verdict(&node, "rolled-back", 100_001), (Verdict::Review, 3, 450));
    node.stop();
    // Who decides after a start with another number of shards has it, too.
    let node = setup.shards(1).start();
    assert_eq!(verdict(&node, "one-shard", 100_001), (Verdict::Review, 3, 450));
    let state = policy(&node, &["rollback"]);
    assert_eq!((&state["version"], &state["rules"]), (&4.into(), &1.into()));
    node.stop();
    assert_verified(&data_dir, true);
    let (status, found) = replay(&data_dir, &[]);
    assert_eq!((status, &found["equal"]), (Some(0), &true.into()), "{found:#}");
    assert_eq!((&found["decisions"], &found["differing"]), (&9.into(), &0.into()));
    assert_eq!(found["policies"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_look_up_tells_the_reasons_of_the_policy_that_decided_and_of_no_other() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("data")).start();
    let text = STRICT.replace(
        "verdict = \"deny\"",
        "verdict = \"deny\"\nreason = { code = \"limit\", pt = \"Acima do limite\", en = \"Above the limit\" }",
    );
    let strict = write(dir.path(), "strict.toml", &text);
    let lenient = write(dir.path(), "lenient.toml", LENIENT);
    let other = write(dir.path(), "other.toml", &LENIENT.replace("15000", "16000"));
    let address = node.listen.to_string();
    let lookup = |id: &str, policy: &Path, more: &[&str]| {
        let policy = policy.display().to_string();
        command::run([&["lookup", id, "--policy", &policy, "--addr", &address], more].concat())
    };
    let refused = |id: &str, policy: &Path| {
        let output = lookup(id, policy, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    decide(&node, "before", 1_500_001);
    activate(&node, &strict);
    decide(&node, "denied", 1_500_001);
    decide(&node, "approved", 100);
    for _ in 0..2 {
        let output = lookup("denied", &strict, &["--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&found["verdict"], &found["policy_version"]), (&"deny".into(), &1.into()));
        let rules = found["rules"].as_array().expect("rules");
        let told: Vec<_> = rules.iter().map(|rule| (&rule["id"], &rule["settled"])).collect();
        assert_eq!(told, [(&"high".into(), &false.into()), (&"very-high".into(), &true.into())]);
        assert!(rules[0]["reason"].is_null());
        assert_eq!(rules[1]["reason"]["pt"], "Acima do limite");
        let text = String::from_utf8(lookup("denied", &strict, &[]).stdout).expect("text");
        assert!(text.contains("  rule           very-high, which settled it\n"), "{text}");
        assert!(text.contains(" limit: Acima do limite / Above the limit\n"), "{text}");
        assert!(text.contains("because rule very-high of the policy decided it\n"), "{text}");
        // Without the policy's text rules have numbers, from 1.
        let plain = command::run(["lookup", "denied", "--addr", &address]);
        let plain = String::from_utf8(plain.stdout).expect("text");
        assert!(plain.contains("because rule 2 of the policy decided it\n"), "{plain}");
        assert!(plain.contains("version 1, rules 1 2 matched (numbered from 1)\n"), "{plain}");
        let found = &found;
        assert_eq!((&found["rules_matched"], &found["settled_by"]), (&"1 2".into(), &2.into()));
        let plain = command::run(["lookup", "approved", "--addr", &address, "--json"]);
        let plain: Value = serde_json::from_slice(&plain.stdout).expect("JSON");
        assert!(plain.get("rules").is_none(), "nobody asked: {plain:#}");
        let none = lookup("approved", &strict, &["--json"]);
        let none: Value = serde_json::from_slice(&none.stdout).expect("JSON");
        assert_eq!(none["rules"].as_array().map(Vec::len), Some(0));
        // The next time it is the policy before.
        activate(&node, &lenient);
    }
    assert!(refused("denied", &lenient).contains("not the policy that decided"));
    assert!(refused("before", &strict).contains("there was no policy"));
    activate(&node, &other);
    assert!(refused("denied", &strict).contains("neither in force nor the one before"));
    node.stop();
}

#[test]
fn what_is_no_policy_is_refused_and_the_one_in_force_stays() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("data")).start();
    let strict = write(dir.path(), "strict.toml", STRICT);
    activate(&node, &strict);
    let address = node.listen.to_string();
    let refused = |path: &Path| {
        let path = path.display().to_string();
        let output = command::run(["policy", "activate", &path, "--addr", &address]);
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let wrong = write(dir.path(), "wrong.toml", &STRICT.replace("tx.amount", "tx.amont"));
    let (status, text) = refused(&wrong);
    assert_eq!(status, Some(3));
    assert!(text.contains("wrong.toml:6:9: there is no field tx.amont"), "{text}");
    let (status, _) = refused(&dir.path().join("missing.toml"));
    assert_eq!(status, Some(1));
    // The node reads the file itself: it must be the text that was checked.
    let mut client = node.client();
    let path = strict.display().to_string();
    let other = catraca_wire::frame::PolicyChange::activate(&path, [1; 32]).expect("short");
    let error = client.policy(&other).expect_err("another text");
    assert!(error.to_string().contains("not the one that was checked"), "{error}");
    let folder = catraca_wire::frame::PolicyChange::activate("/", [1; 32]).expect("short");
    assert!(client.policy(&folder).expect_err("a folder").to_string().contains("no file"));
    let stale = catraca_wire::frame::PolicyChange::rollback([1; 32]);
    assert!(
        client
            .policy(&stale)
            .expect_err("stale")
            .to_string()
            .contains("another policy is in force")
    );
    let output = command::run(["policy", "rollback", "--addr", &address]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && text.contains("knows none from before"), "{text}");
    assert_eq!(verdict(&node, "still", 100_001), (Verdict::Review, 1, 450));
    node.stop();
}

#[test]
fn a_standby_has_the_policy_and_decides_by_it_once_it_is_promoted() {
    let pair = Pair::new(1);
    let strict = write(pair.folder(), "strict.toml", STRICT);
    let lenient = write(pair.folder(), "lenient.toml", LENIENT);
    let primary = pair.start(0);
    activate(&primary, &strict);
    pair.share_key();
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    assert_eq!(activate(&primary, &lenient)["version"], 2);
    assert_eq!(verdict(&primary, "before", 1_500_001), (Verdict::Review, 2, 0));
    let output = command::run(["policy", "status", "--addr", &standby.listen.to_string()]);
    assert_eq!(output.status.code(), Some(1), "a standby does not say: {output:?}");
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("promoted");
    assert_eq!(verdict(&standby, "after", 1_500_001), (Verdict::Review, 2, 0));
    assert_eq!(policy(&standby, &["rollback"])["version"], 3);
    assert_eq!(verdict(&standby, "rolled-back", 100_001), (Verdict::Review, 3, 450));
    standby.stop();
    let (status, found) = replay(&pair.data_dir(1), &[]);
    assert_eq!((status, &found["differing"]), (Some(0), &0.into()), "{found:#}");
}

#[test]
fn policies_come_and_go_under_load_and_every_decision_recomputes() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let node = Setup::new(&data_dir).shards(2).start();
    let policies =
        [write(dir.path(), "strict.toml", STRICT), write(dir.path(), "lenient.toml", LENIENT)];
    let load = Load::start(&node, "load", 64);
    for change in 0..10 {
        load.wait_for(load.answered() + 200);
        let state = activate(&node, &policies[change % 2]);
        assert_eq!(state["version"], change as u64 + 1);
    }
    load.wait_for(load.answered() + 200);
    let seen = load.stop();
    drop(seen);
    node.stop();
    let (status, found) = replay(&data_dir, &[]);
    assert_eq!((status, &found["equal"]), (Some(0), &true.into()), "{found:#}");
    assert!(found["decisions"].as_u64().expect("a number") > 2_000, "{found:#}");
    assert_eq!(found["policies"].as_array().map(Vec::len), Some(10));
    // What another policy would have done: nothing else, or everything.
    let all = write(
        dir.path(),
        "all.toml",
        "[[rule]]\nid = \"all\"\nwhen = \"true\"\nverdict = \"deny\"\n",
    );
    let all = all.display().to_string();
    let (status, found) = replay(&data_dir, &["--policy", &all, "--max-changed-percent", "1"]);
    assert_eq!(status, Some(3), "more would change");
    let what_if = &found["what_if"];
    let decisions = found["decisions"].as_u64().expect("a number");
    let denied: u64 = ["approve", "review", "deny"]
        .iter()
        .map(|from| what_if["matrix"][from]["deny"]["count"].as_u64().expect("a number"))
        .sum();
    assert_eq!((denied, what_if["decisions"].as_u64()), (decisions, Some(decisions)));
    assert_eq!(what_if["rules"][0]["matched"]["count"].as_u64(), Some(decisions));
    let same = what_if["matrix"]["deny"]["deny"]["count"].as_u64().expect("a number");
    assert_eq!(what_if["changed"].as_u64(), Some(decisions - same));
    let (status, _) = replay(&data_dir, &["--policy", &all, "--max-changed-percent", "100"]);
    assert_eq!(status, Some(0));
}

#[test]
fn a_rule_with_a_share_meets_the_same_payers_always_and_recomputes() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let rule = |share: &str| {
        format!("[[rule]]\nid = \"some\"\nwhen = \"true\"\nverdict = \"deny\"\n{share}")
    };
    let half = write(dir.path(), "half.toml", &rule("share = 500\n"));
    let more = write(dir.path(), "more.toml", &rule("share = 800\n"));
    let all = write(dir.path(), "all.toml", &rule("")).display().to_string();
    let setup = Setup::new(&data_dir).shards(2);
    let decide_on = |node: &Node, name: &str| -> Vec<bool> {
        let mut client = node.client();
        let decide = |payer| {
            let payment =
                between(&format!("{name}{payer}"), document(payer), document(9_999), now_ns());
            client.decide(&payment).expect("decided").verdict == Verdict::Deny
        };
        (0..400).map(decide).collect()
    };
    let node = setup.start();
    activate(&node, &half);
    let first = decide_on(&node, "a");
    let denied = first.iter().filter(|denied| **denied).count();
    assert!((150..250).contains(&denied), "{denied} of 400");
    node.kill();
    let node = setup.start();
    assert_eq!(decide_on(&node, "b"), first, "after a restart");
    activate(&node, &more);
    let second = decide_on(&node, "c");
    assert!(first.iter().zip(&second).all(|(first, second)| *second || !first), "those stay in it");
    node.stop();
    let (status, found) = replay(&data_dir, &["--policy", &more.display().to_string()]);
    assert_eq!((status, &found["differing"]), (Some(0), &0.into()), "{found:#}");
    let changed = second.iter().zip(&first).filter(|(second, first)| second != first).count();
    assert_eq!(found["what_if"]["changed"], 2 * changed);
    let (_, found) = replay(&data_dir, &["--policy", &all]);
    let approved = |verdicts: &[bool]| verdicts.iter().filter(|denied| !**denied).count();
    assert_eq!(found["what_if"]["changed"], 2 * approved(&first) + approved(&second));
    assert_eq!(found["shares_known"], true);
    let key = data_dir.join("chain.key");
    std::fs::rename(&key, dir.path().join("chain.key")).expect("moved");
    let (status, found) = replay(&data_dir, &[]);
    assert_eq!((status, &found["shares_known"]), (Some(0), &false.into()), "{found:#}");
    std::fs::rename(dir.path().join("chain.key"), &key).expect("moved back");
    let explained = command::json([
        "policy",
        "explain",
        "--log",
        &data_dir.display().to_string(),
        "--id",
        "a0",
        "--json",
    ]);
    let not_applied = if first[0] { Value::Null } else { "outside_share".into() };
    assert_eq!(explained["explained"][0]["rules"][0]["not_applied"], not_applied, "{explained:#}");
    assert_eq!(explained["explained"][0]["rules"][0]["share_permille"], 500);
}

#[test]
fn where_two_persons_have_to_agree_one_alone_takes_no_policy_into_force() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let mut config = "two_person_policies = true\n".to_owned();
    let tokens = ["ana", "bruno"].map(|name| {
        let token = write(dir.path(), &format!("{name}.token"), &format!("token-of-{name}\n"));
        let token = token.display().to_string();
        config += &format!(
            "[[clients]]\nname = '{name}'\ncredential_file = '{token}'\npermissions = ['submit', 'admin']\n"
        );
        token
    });
    let [ana, bruno] = &tokens;
    let config = write(dir.path(), "catraca.toml", &config).display().to_string();
    let node = Setup::new(&data_dir).arg("--config").arg(config).start();
    let strict = write(dir.path(), "strict.toml", STRICT).display().to_string();
    let lenient = write(dir.path(), "lenient.toml", LENIENT).display().to_string();
    let address = node.listen.to_string();
    let run = |args: &[&str], token: &str| {
        let more = ["--addr", &address, "--credential-file", token, "--json"];
        let output = command::run([&["policy"], args, &more].concat());
        let state: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.code(), state)
    };
    for _ in 0..2 {
        let (status, state) = run(&["activate", &strict], ana);
        assert_eq!(
            (status, &state["version"], &state["changed"]),
            (Some(3), &0.into(), &false.into())
        );
        assert_eq!(state["waits_for_approval"].as_str().map(str::len), Some(32), "{state:#}");
    }
    let exchanged =
        ["policy", "activate", &lenient, "--addr", &address, "--credential-file", bruno];
    let refused = command::run(exchanged);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("another policy waits for approval"), "{why}");
    let (status, state) = run(&["activate", &strict], bruno);
    assert_eq!((status, &state["version"], &state["changed"]), (Some(0), &1.into(), &true.into()));
    assert_eq!(state["waits_for_approval"], Value::Null);
    assert_eq!(run(&["activate", &strict], bruno).0, Some(0), "it is in force");
    let id = state["id"].as_str().expect("it has one");
    assert_eq!(run(&["activate", &strict, "--id", &id[..16]], bruno).0, Some(0));
    let other =
        command::run(["policy", "activate", &lenient, "--id", &id[..16], "--addr", &address]);
    assert_eq!(other.status.code(), Some(1), "the file is another one: {other:?}");
    assert_eq!(run(&["activate", &lenient], bruno).0, Some(3));
    assert_eq!(run(&["activate", &lenient], ana).1["version"], 2);
    assert_eq!(run(&["rollback"], ana).1["version"], 3, "one is enough to take it back");
    assert_eq!(run(&["rollback"], ana).0, Some(3), "and not to bring it back");
    assert_eq!(run(&["rollback"], bruno).1["version"], 4);
    node.stop();
    let data_dir = data_dir.display().to_string();
    let found = command::json(["policy", "history", &data_dir, "--json"]);
    let by: Vec<_> = (0..4)
        .map(|at| &found["policies"][at])
        .map(|policy| (policy["author"].as_str(), policy["approver"].as_str()))
        .collect();
    assert_eq!(
        by,
        [
            (Some("ana"), Some("bruno")),
            (Some("bruno"), Some("ana")),
            (Some("ana"), None),
            (Some("ana"), Some("bruno"))
        ]
    );
}

#[test]
fn a_replay_without_the_list_that_decided_is_not_equal() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let csv = write(dir.path(), "list.csv", &format!("document\n{}\n", document(2).to_canonical()));
    let list = dir.path().join("list.catraca").display().to_string();
    let source = format!("plain={}", csv.display());
    command::json(["blacklist", "build", "--source", &source, "--out", &list, "--json"]);
    let node = Setup::new(&data_dir).start();
    let address = node.listen.to_string();
    command::json(["blacklist", "load", &list, "--addr", &address, "--json"]);
    assert_eq!(verdict(&node, "listed", 100).0, Verdict::Deny);
    node.stop();
    let (status, found) = replay(&data_dir, &[]);
    assert_eq!(
        (status, &found["equal"], &found["without_list"]),
        (Some(0), &true.into(), &0.into())
    );
    std::fs::remove_dir_all(data_dir.join("lists")).expect("there");
    let (status, found) = replay(&data_dir, &[]);
    assert_eq!(
        (status, &found["equal"], &found["without_list"]),
        (Some(3), &false.into(), &1.into())
    );
    assert_eq!(found["missing_lists"].as_array().map(Vec::len), Some(1), "{found:#}");
    let warning = found["warnings"][0].as_str().expect("a sentence");
    assert!(warning.contains(found["missing_lists"][0].as_str().expect("an id")), "{warning}");
    let text = command::run(["log", "replay", &data_dir.display().to_string()]).stdout;
    let text = String::from_utf8(text).expect("text");
    assert!(text.starts_with(&format!("warning: {warning}\n")), "{text}");
}
