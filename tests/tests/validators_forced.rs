//! Breakers of validators that a person forces: on a running node, over changes of policy and a promotion; in the log
//! of both nodes, and in what decisions say of it.

use catraca_tests::command;
use catraca_tests::logs::assert_verified;
use catraca_tests::node::{Node, Setup, folder, free_address};
use catraca_tests::pair::{Pair, ask};
use catraca_tests::policies::{activate, policy, write};
use catraca_tests::services::{
    Provider, SUSPENDED, asked, decide, policy_text, replays, validators,
};
use catraca_wire::frame::{ClusterRequest, VERDICT_DEGRADED, Verdict};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// Says something of the breaker of the validator.
fn force(node: &Node, id: &str, state: &str) -> Output {
    let address = node.listen.to_string();
    let args = ["validators", "force", id, state, "--reason", "manutenção", "--author", "ana"];
    command::run([&args[..], &["--addr", &address, "--json"]].concat())
}

/// As [`force`], which must succeed: how the breaker stood, and how it stands.
fn forced(node: &Node, state: &str) -> (Value, Value) {
    let output = force(node, "status", state);
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["changed"], told["before"] != told["breaker"], "{told}");
    (told["before"].clone(), told["breaker"].clone())
}

fn breaker(node: &Node) -> Value {
    validators(node)["validators"][0]["status"]["breaker"].clone()
}

/// What a log says of forced breakers: open, closed or auto, in its order.
fn history(dir: &Path) -> Vec<String> {
    let told = command::json(["validators", "history", &dir.display().to_string(), "--json"]);
    let all = told["forced"].as_array().expect("a list");
    for one in all {
        assert_eq!((&one["validator"], &one["author"]), (&json!("status"), &json!("ana")));
        assert_eq!(one["reason"], "manutenção");
    }
    all.iter().map(|one| one["force"].as_str().expect("a word").to_owned()).collect()
}

#[test]
fn a_breaker_that_is_forced_open_stays_so_until_it_is_taken_back_and_is_logged() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let service = Provider::start(dir.path(), free_address(), "");
    let setup = Setup::new(&data_dir).shards(2);
    let node = setup.start();
    let none = force(&node, "status", "open");
    let told = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(1), "{told}");
    assert!(told.contains("no validator status: the policy in force asks none"), "{told}");
    let text = policy_text(service.address, "");
    activate(&node, &write(dir.path(), "policy.toml", &text));
    let other = force(&node, "risk", "open");
    let told = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(1), "{told}");
    assert!(told.contains("no validator risk: the policy in force asks status"), "{told}");
    assert_eq!(forced(&node, "open"), (json!("closed"), json!("forced_open")));
    assert_eq!(forced(&node, "open"), (json!("forced_open"), json!("forced_open")));
    assert_eq!(breaker(&node), "forced_open");
    let left_alone = |node: &Node, id: &str, payer: u64| {
        let began = Instant::now();
        let decided = decide(node, id, payer, 10_000);
        assert_eq!(decided.verdict, Verdict::Review);
        assert_ne!(decided.answer.flags & VERDICT_DEGRADED, 0);
        assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    };
    left_alone(&node, "forced-1", 1);
    let (_, metrics) = node.http_get("/metrics");
    let gauge = "catraca_validator_breaker_forced{validator=\"status\"} 1";
    assert!(metrics.contains(gauge), "{metrics}");
    // Another policy that asks it in the same way.
    let same = text.replace("verdict = \"deny\"", "verdict = \"review\"");
    activate(&node, &write(dir.path(), "same.toml", &same));
    assert_eq!(breaker(&node), "forced_open");
    left_alone(&node, "forced-2", 2);
    policy(&node, &["rollback"]);
    left_alone(&node, "forced-3", 3);
    assert_eq!(forced(&node, "auto"), (json!("forced_open"), json!("closed")));
    assert_eq!(decide(&node, "after", SUSPENDED, 10_000).verdict, Verdict::Deny);
    assert_eq!(forced(&node, "open"), (json!("closed"), json!("forced_open")));
    // One that asks it otherwise: what was said of it holds.
    let otherwise = text.replace("timeout_ms = 300", "timeout_ms = 350");
    activate(&node, &write(dir.path(), "otherwise.toml", &otherwise));
    assert_eq!(breaker(&node), "forced_open");
    left_alone(&node, "forced-4", 4);
    assert_eq!(forced(&node, "open"), (json!("forced_open"), json!("forced_open")));
    let said = node.stop();
    assert!(said.contains("is forced by command") && said.contains("WARN"), "{said}");
    // A start begins without it.
    let node = setup.start();
    assert_eq!(breaker(&node), "closed");
    assert_eq!(decide(&node, "again", SUSPENDED, 10_000).verdict, Verdict::Deny);
    node.stop();
    assert_eq!(history(&data_dir), ["open", "open", "auto", "open", "open"]);
    replays(&data_dir);
    assert_verified(&data_dir, true);
    let log = data_dir.display().to_string();
    let asked = asked(&data_dir, "forced-1");
    assert!(asked.starts_with("1:nowhere:forced_open:attempts=0:"), "{asked}");
    let exported = command::run(["log", "export", &log, "--format", "ndjson"]).stdout;
    let exported = String::from_utf8(exported).expect("text");
    let record = exported.lines().find(|line| line.contains("\"validator_forced\""));
    let record: Value = serde_json::from_str(record.expect("it is there")).expect("JSON");
    assert_eq!(
        (&record["forced_validator"], &record["forced"]),
        (&json!("status"), &json!("open"))
    );
    let by = (&record["forced_by"], &record["forced_because"]);
    assert_eq!(by, (&json!("ana"), &json!("manutenção")));
}

#[test]
fn a_service_whose_breaker_is_forced_closed_is_asked_whatever_it_fails() {
    let dir = folder();
    let failing =
        Provider::start(dir.path(), free_address(), "[[phase]]\nafter_ms = 0\nstatus = 503\n");
    let node = Setup::new(&dir.path().join("data")).start();
    let breaker = "breaker = { least_attempts = 3, open_ms = 60000 }\nattempts = 1";
    let text = policy_text(failing.address, breaker);
    activate(&node, &write(dir.path(), "policy.toml", &text));
    assert_eq!(forced(&node, "closed"), (json!("closed"), json!("forced_closed")));
    for payer in 0..8 {
        let decided = decide(&node, &format!("fails-{payer}"), payer, 10_000);
        assert_eq!(decided.verdict, Verdict::Review);
    }
    node.wait_until("each was asked", |node| {
        let status = validators(node)["validators"][0]["status"].clone();
        let is_forced = status["breaker"] == "forced_closed" && status["opened"] == 0;
        is_forced && status["failures"].as_u64() == Some(8)
    });
    assert_eq!(forced(&node, "auto"), (json!("forced_closed"), json!("closed")));
    for payer in 10..13 {
        decide(&node, &format!("fails-{payer}"), payer, 10_000);
    }
    node.wait_until("its own judgement", |node| {
        let status = validators(node)["validators"][0]["status"].clone();
        status["breaker"] == "open" && status["opened"] == 1
    });
    assert_eq!(forced(&node, "closed"), (json!("open"), json!("forced_closed")));
    node.stop();
    replays(&dir.path().join("data"));
}

#[test]
fn a_standby_has_what_was_forced_in_its_log_and_begins_without_it() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    activate(&primary, &write(dir.path(), "policy.toml", &policy_text(service.address, "")));
    let refused = force(&standby, "status", "open");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("NOT_PRIMARY"), "{told}");
    assert_eq!(forced(&primary, "open"), (json!("closed"), json!("forced_open")));
    assert_eq!(decide(&primary, "before", SUSPENDED, 10_000).verdict, Verdict::Review);
    assert_eq!(history(&pair.data_dir(1)), ["open"], "it was there before it was answered");
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("a standby in sync is promoted");
    assert_eq!(decide(&standby, "after", SUSPENDED, 10_000).verdict, Verdict::Deny);
    assert_eq!(forced(&standby, "open"), (json!("closed"), json!("forced_open")));
    standby.stop();
    assert_eq!(history(&pair.data_dir(1)), ["open", "open"]);
    assert_verified(&pair.data_dir(1), true);
    replays(&pair.data_dir(1));
}
