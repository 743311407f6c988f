//! Validators of running nodes: an invented provider answers, fails and hangs, and every payment is decided within its
//! budget, once; what was recorded recomputes from the log.

use catraca_tests::command;
use catraca_tests::load::Load;
use catraca_tests::node::{Node, Setup, folder, free_address};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::policies::{activate, policy, write};
use catraca_tests::services::{
    Provider, SUSPENDED, decide, payment, policy_text, replays, validators,
};
use catraca_wire::client::now_ns;
use catraca_wire::frame::{ClusterRequest, VERDICT_DEGRADED, Verdict};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[test]
fn a_payment_gets_the_verdict_of_its_own_answer() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let node = Setup::new(&dir.path().join("data")).shards(2).start();
    activate(&node, &write(dir.path(), "policy.toml", &policy_text(service.address, "")));
    for payer in [SUSPENDED, 1, 2, SUSPENDED, 3] {
        let decided = decide(&node, &format!("p{payer}-{}", now_ns()), payer, 10_000);
        let expected = if payer == SUSPENDED { Verdict::Deny } else { Verdict::Approve };
        assert_eq!(decided.verdict, expected, "{payer}");
        assert_eq!(decided.answer.flags & VERDICT_DEGRADED, 0);
    }
    // Below the amount nobody is asked.
    assert_eq!(decide(&node, "small", SUSPENDED, 100).verdict, Verdict::Approve);
    // Figures are made every now and then.
    node.wait_until("its figures", |node| {
        let shown = validators(node);
        let status = &shown["validators"][0]["status"];
        status["breaker"] == "closed" && status["questions"].as_u64() >= Some(4)
    });
    let (_, metrics) = node.http_get("/metrics");
    assert!(metrics.contains("catraca_validator_usable{validator=\"status\"} 1"), "{metrics}");
    node.stop();
    replays(&dir.path().join("data"));
    let log = dir.path().join("data").display().to_string();
    // Another policy asks about the small payment, too, which nobody did.
    let wider = policy_text(service.address, "").replace("tx.amount > reais(50)", "true");
    let wider = write(dir.path(), "wider.toml", &wider).display().to_string();
    let replay = command::json(["log", "replay", &log, "--policy", &wider, "--json"]);
    assert_eq!(replay["what_if"]["answers_not_known"], 1, "{replay}");
    assert_eq!(replay["what_if"]["changed"], 1, "{replay}");
    let stored = command::json(["log", "show", &log, "--transaction", "small", "--json"]);
    assert!(stored.to_string().contains("small"));
}

#[test]
fn without_answers_payments_are_decided_in_time_and_marked_and_the_breaker_opens_and_closes() {
    let dir = folder();
    let phases = "[[phase]]\nafter_ms = 0\nfail = \"hang\"\n";
    let hanging = Provider::start(dir.path(), free_address(), phases);
    let node = Setup::new(&dir.path().join("data")).start();
    let breaker = "breaker = { least_attempts = 3, open_ms = 300, most_open_ms = 300 }";
    let text = policy_text(hanging.address, breaker);
    activate(&node, &write(dir.path(), "policy.toml", &text));
    for n in 0..4 {
        let began = Instant::now();
        let decided = decide(&node, &format!("hangs-{n}"), n, 10_000);
        assert_eq!(decided.verdict, Verdict::Review);
        assert_ne!(decided.answer.flags & VERDICT_DEGRADED, 0);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let opened =
        |node: &Node| validators(node)["validators"][0]["status"]["opened"].as_u64() >= Some(1);
    node.wait_until("the breaker has opened", opened);
    let address = hanging.address;
    drop(hanging);
    // The service is well again, in the same place.
    let _well = Provider::start(dir.path(), address, "");
    let closes = |node: &Node| {
        let decided = decide(node, &format!("again-{}", now_ns()), SUSPENDED, 10_000);
        decided.verdict == Verdict::Deny && decided.answer.flags & VERDICT_DEGRADED == 0
    };
    node.wait_until("the breaker has closed", closes);
    node.stop();
    let replay = replays(&dir.path().join("data"));
    assert!(replay["decisions"].as_u64() >= Some(5), "{replay}");
}

#[test]
fn a_change_of_policy_and_a_stop_answer_what_waits_within_its_budget() {
    let dir = folder();
    let hanging =
        Provider::start(dir.path(), free_address(), "[[phase]]\nafter_ms = 0\nfail = \"hang\"\n");
    let node = Setup::new(&dir.path().join("data")).start();
    // Every payment of the load waits.
    let text =
        policy_text(hanging.address, "attempts = 1").replace("tx.amount > reais(50)", "true");
    activate(&node, &write(dir.path(), "policy.toml", &text));
    let load = Load::start(&node, "load", 64);
    load.wait_for(1);
    let other = text.replace("verdict = \"deny\"", "verdict = \"review\"");
    activate(&node, &write(dir.path(), "other.toml", &other));
    load.wait_for(100);
    policy(&node, &["rollback"]);
    load.wait_for(200);
    let seen = load.stop();
    assert!(seen.refused.is_empty() && seen.unanswered.is_empty(), "{:?}", seen.refused);
    node.stop();
    replays(&dir.path().join("data"));
}

#[test]
fn a_promoted_standby_asks_for_itself_and_decides_once() {
    let dir = folder();
    let service =
        Provider::start(dir.path(), free_address(), "[[phase]]\nafter_ms = 0\ndelay_ms = 60\n");
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    activate(&primary, &write(dir.path(), "policy.toml", &policy_text(service.address, "")));
    let before = payment("before", SUSPENDED, 10_000);
    let first = primary.client().decide(&before).expect("decided");
    assert_eq!(first.verdict, Verdict::Deny);
    // Every payment of the load waits.
    let every = policy_text(service.address, "").replace("tx.amount > reais(50)", "true");
    activate(&primary, &write(dir.path(), "every.toml", &every));
    let load = Load::through_failover(pair.addresses(), "load", 32);
    load.wait_for(64);
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("a standby in sync is promoted");
    let answered = load.answered();
    load.wait_for(answered + 64);
    assert_eq!(decide(&standby, "after", SUSPENDED, 10_000).verdict, Verdict::Deny);
    let again = standby.client().decide(&before).expect("decided");
    assert_eq!((again.duplicate, again.answer.lsn), (true, first.answer.lsn));
    let seen = load.stop();
    assert!(seen.refused.is_empty(), "{:?}", seen.refused);
    let returned = pair.start(0);
    await_in_sync(&standby, &returned);
    standby.stop();
    returned.stop();
    replays(&pair.data_dir(1));
}

#[test]
fn a_policy_whose_validator_cannot_be_asked_is_refused_and_the_one_before_stays() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("data")).start();
    let secret = "secret_headers = { authorization = { file = \"/nowhere/token\" } }";
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let path = write(dir.path(), "policy.toml", &policy_text(address, secret));
    let listen = node.listen.to_string();
    let refused =
        command::run(["policy", "activate", &path.display().to_string(), "--addr", &listen]);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("validator status can't be asked"), "{told}");
    assert!(told.contains("/nowhere/token"), "{told}");
    assert_eq!(decide(&node, "as-before", 1, 10_000).verdict, Verdict::Approve);
    let sound = write(dir.path(), "sound.toml", &policy_text(address, ""));
    let sound = sound.display().to_string();
    let tried = command::run(["policy", "candidate", &sound, "--hours", "1", "--addr", &listen]);
    assert!(!tried.status.success());
    node.stop();
}
