//! Windows of time on running nodes: they see what was decided before, in whatever policy, over restarts and
//! failovers, under load; and what was recorded of them recomputes from the log.

use catraca_tests::command;
use catraca_tests::load::Load;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::payments::{between, document};
use catraca_tests::policies::{activate, write};
use catraca_wire::client::{Decision, Reply, now_ns};
use catraca_wire::frame::{ClusterRequest, Transaction, Verdict};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// The fourth payment of an hour is reviewed, and whoever had one denied.
const OFTEN: &str = r#"
[[rule]]
id = "often"
when = 'payer.count("1h") >= 3'
verdict = "review"

[[rule]]
id = "high"
when = "tx.amount > reais(1000)"
verdict = "deny"

[[rule]]
id = "after-denial"
when = 'payer.count("1d", "denied") > 0'
verdict = "review"
"#;

/// The same windows, and other rules.
const LESS_OFTEN: &str = r#"
[[rule]]
id = "often"
when = 'payer.count("1h") >= 5'
verdict = "review"

[[rule]]
id = "after-denials"
when = 'payer.count("1d", "denied") > 5'
verdict = "deny"
"#;

/// Other windows.
const SUMS: &str = r#"
[[rule]]
id = "much"
when = 'payer.sum("1h", "incl") > reais(600)'
verdict = "review"
"#;

/// What one payee gets.
const PAYEES: &str = r#"
[[rule]]
id = "collects"
when = 'payee.distinct_payers("1h") >= 3 && payer_to_payee.count("90d") == 0'
verdict = "review"
"#;

fn payment(id: &str, payer: u64, payee: u64, amount_centavos: i64) -> Transaction {
    let mut payment = between(id, document(payer), document(payee), now_ns());
    payment.amount_centavos = amount_centavos;
    payment
}

/// Decides on a payment of R$ 100 of a payer.
fn decide(node: &Node, id: &str, payer: u64) -> Decision {
    node.client().decide(&payment(id, payer, 900, 10_000)).expect("decided")
}

/// Replays a log, all of which must be what was recorded.
fn replay(data_dir: &Path, more: &[&str]) -> Value {
    let data_dir = data_dir.display().to_string();
    let found = command::json([&["log", "replay", &data_dir, "--json"], more].concat());
    assert_eq!((&found["equal"], &found["differing"]), (&true.into(), &0.into()), "{found:#}");
    found
}

#[test]
fn what_was_paid_before_counts_over_policies_restarts_and_shards() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let often = write(dir.path(), "often.toml", OFTEN);
    let less_often = write(dir.path(), "less-often.toml", LESS_OFTEN);
    let sums = write(dir.path(), "sums.toml", SUMS);
    let setup = Setup::new(&data_dir).shards(2);
    let node = setup.start();
    // Decided before there was any policy.
    for id in ["a", "b"] {
        assert_eq!(decide(&node, id, 1).verdict, Verdict::Approve);
    }
    assert_eq!(activate(&node, &often)["version"], 1);
    let third = payment("c", 1, 900, 10_000);
    for duplicate in [false, true, true] {
        // A resend is no payment.
        let decision = node.client().decide(&third).expect("decided");
        assert_eq!((decision.verdict, decision.duplicate), (Verdict::Approve, duplicate));
    }
    assert_eq!(decide(&node, "d", 1).verdict, Verdict::Review, "three were before it");
    assert_eq!(decide(&node, "e", 2).verdict, Verdict::Approve, "of another payer");
    let high = payment("f", 2, 900, 100_001);
    assert_eq!(node.client().decide(&high).expect("decided").verdict, Verdict::Deny);
    assert_eq!(decide(&node, "g", 2).verdict, Verdict::Review, "after a denial");
    node.kill();
    let node = setup.start();
    assert_eq!(decide(&node, "h", 1).verdict, Verdict::Review, "after a restart");
    // The same windows stay.
    assert_eq!(activate(&node, &less_often)["version"], 2);
    assert_eq!(decide(&node, "i", 1).verdict, Verdict::Review, "five were before it");
    assert_eq!(decide(&node, "j", 2).verdict, Verdict::Approve, "three were before it");
    // Other windows are read from the log: R$ 600 with this one.
    assert_eq!(activate(&node, &sums)["version"], 3);
    assert_eq!(decide(&node, "k", 1).verdict, Verdict::Review, "above R$ 600 with this one");
    assert_eq!(decide(&node, "l", 3).verdict, Verdict::Approve);
    node.stop();
    let found = replay(&data_dir, &[]);
    assert_eq!(found["decisions"], 12, "{found:#}");
    assert_eq!(found["windows_recomputed"], 10, "all but those before the first policy");
    let often = often.display().to_string();
    let found = replay(&data_dir, &["--policy", &often]);
    assert_eq!(found["what_if"]["matrix"]["approve"]["review"]["count"], 1, "j: {found:#}");
    // Another number of shards has them, too.
    let node = setup.shards(1).start();
    assert_eq!(decide(&node, "m", 1).verdict, Verdict::Review);
    assert_eq!(decide(&node, "n", 3).verdict, Verdict::Approve);
    node.stop();
    let found = replay(&data_dir, &[]);
    // Payments of one payer are in two streams now: from there on values are taken as recorded.
    let count = |what: &str| found[what].as_u64().expect("a number");
    assert_eq!(count("windows_recomputed") + count("windows_as_recorded"), 12, "{found:#}");
    assert!(count("windows_as_recorded") >= 2, "{found:#}");
}

#[test]
fn several_payments_of_a_payer_in_one_packet_see_each_other() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let often = write(dir.path(), "often.toml", OFTEN);
    let node = Setup::new(&data_dir).shards(1).start();
    activate(&node, &often);
    let payments: Vec<_> =
        (0..40).map(|n| payment(&format!("p{n}"), n / 8 % 2, 900, 10_000)).collect();
    let mut client = node.client();
    let correlations: Vec<_> =
        payments.iter().map(|payment| client.queue(payment).expect("queued")).collect();
    for _ in &payments {
        let Reply { correlation, result } = client.receive().expect("an answer");
        let n = correlations.iter().position(|&sent| sent == correlation).expect("it was sent");
        let before = n / 16 * 8 + n % 8;
        let expected = if before >= 3 { Verdict::Review } else { Verdict::Approve };
        assert_eq!(result.expect("decided").verdict, expected, "payment {n}");
    }
    node.stop();
    assert_eq!(replay(&data_dir, &[])["windows_recomputed"], 40);
}

#[test]
fn a_promoted_standby_knows_what_was_paid() {
    let pair = Pair::new(1);
    let often = write(pair.folder(), "often.toml", OFTEN);
    let payees = write(pair.folder(), "payees.toml", PAYEES);
    let primary = pair.start(0);
    activate(&primary, &often);
    assert_eq!(decide(&primary, "a", 1).verdict, Verdict::Approve);
    pair.share_key();
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    assert_eq!(decide(&primary, "b", 1).verdict, Verdict::Approve);
    for payer in 1..=3 {
        assert_eq!(decide(&primary, &format!("c{payer}"), payer).verdict, Verdict::Approve);
    }
    // A policy with other windows, of which the standby learns by the log.
    assert_eq!(activate(&primary, &payees)["version"], 2);
    assert_eq!(decide(&primary, "d", 4).verdict, Verdict::Review, "three payers were before it");
    standby.process.wait_for_line("windows read", |line| {
        line["fields"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("windows of the policy in force are read"))
    });
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("promoted");
    assert_eq!(decide(&standby, "e", 5).verdict, Verdict::Review, "of a new payer");
    assert_eq!(decide(&standby, "f", 4).verdict, Verdict::Approve, "of one that paid before");
    assert_eq!(activate(&standby, &often)["version"], 3);
    assert_eq!(decide(&standby, "g", 1).verdict, Verdict::Review, "the fourth of the hour");
    standby.stop();
    let found = replay(&pair.data_dir(1), &[]);
    assert!(found["windows_recomputed"].as_u64().expect("a number") >= 9, "{found:#}");
}

#[test]
fn a_payee_is_known_on_every_core_whoever_pays_and_wherever_it_comes_in() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let payees = write(dir.path(), "payees.toml", PAYEES);
    let often = write(dir.path(), "often.toml", OFTEN);
    let setup = Setup::new(&data_dir).shards(2);
    let node = setup.start();
    // Decided before there was any policy, on several cores.
    for payer in 1..=2 {
        assert_eq!(decide(&node, &format!("a{payer}"), payer).verdict, Verdict::Approve);
    }
    assert_eq!(activate(&node, &payees)["version"], 1);
    assert_eq!(decide(&node, "b", 3).verdict, Verdict::Approve, "two payers were before it");
    // Each on a connection of its own, and so on any core.
    for payer in 4..=12 {
        let decision = decide(&node, &format!("c{payer}"), payer);
        assert_eq!(decision.verdict, Verdict::Review, "{} payers were before it", payer - 1);
    }
    assert_eq!(decide(&node, "d", 1).verdict, Verdict::Approve, "this one has paid before");
    let metric = |name: &str| -> u64 {
        let metrics = node.http_get("/metrics").1;
        let values = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    // Payees on each of two cores, and each payer's pair on his own; a tick later.
    let deadline = Instant::now() + Duration::from_secs(30);
    while metric("catraca_window_keys") != 2 + 12
        || metric("catraca_window_payments_from_siblings_total") != 11
    {
        assert!(Instant::now() < deadline, "{}", node.http_get("/metrics").1);
        std::thread::sleep(Duration::from_millis(20));
    }
    node.kill();
    let node = setup.start();
    assert_eq!(decide(&node, "e", 13).verdict, Verdict::Review, "after a restart");
    // A policy without such windows, and back.
    assert_eq!(activate(&node, &often)["version"], 2);
    assert_eq!(decide(&node, "f", 14).verdict, Verdict::Approve);
    assert_eq!(activate(&node, &payees)["version"], 3);
    assert_eq!(decide(&node, "g", 15).verdict, Verdict::Review);
    assert_eq!(decide(&node, "h", 14).verdict, Verdict::Approve, "what it paid in between counts");
    node.stop();
    let found = replay(&data_dir, &[]);
    assert_eq!(
        (&found["windows_recomputed"], &found["windows_concurrent"]),
        (&15.into(), &0.into())
    );
    let payees = payees.display().to_string();
    let found = replay(&data_dir, &["--policy", &payees]);
    assert_eq!(found["what_if"]["matrix"]["approve"]["review"]["count"], 1, "f: {found:#}");
    assert_eq!(found["what_if"]["changed"], 1, "{found:#}");
    let data_dir = data_dir.display().to_string();
    let explain = ["policy", "explain", &payees, "--log", &data_dir, "--id", "g"];
    let text = String::from_utf8_lossy(&command::run(explain).stdout).into_owned();
    assert!(text.contains("at least 4"), "{text}");
}

#[test]
fn windows_come_and_go_under_load_and_every_value_recomputes() {
    let dir = folder();
    let policies = [OFTEN, SUMS, LESS_OFTEN, PAYEES]
        .map(|text| write(dir.path(), &format!("{}.toml", text.len()), text));
    for shards in [1, 2] {
        let data_dir = dir.path().join(format!("data-{shards}"));
        let node = Setup::new(&data_dir).shards(shards).start();
        let load = Load::start(&node, "load", 64);
        for change in 0..8 {
            load.wait_for(load.answered() + 500);
            assert_eq!(activate(&node, &policies[change % 4])["version"], change as u64 + 1);
        }
        load.wait_for(load.answered() + 500);
        drop(load.stop());
        node.stop();
        let found = replay(&data_dir, &[]);
        let recomputed = found["windows_recomputed"].as_u64().expect("a number");
        assert!(recomputed > 3_000, "{found:#}");
        assert_eq!(found["policies"].as_array().map(Vec::len), Some(8));
    }
}

#[test]
fn a_start_reads_the_log_behind_the_checkpoint_of_windows_only() {
    const ANSWERS: u64 = 110_000;
    let dir = folder();
    let data_dir = dir.path().join("data");
    let payees = write(dir.path(), "payees.toml", PAYEES);
    // The shortest segments, so that there are many.
    let setup = Setup::new(&data_dir).shards(2).set("segment_mib", 2);
    let node = setup.start();
    activate(&node, &payees);
    let load = Load::start(&node, "load", 500);
    load.wait_for(ANSWERS);
    drop(load.stop());
    let says = |part: &'static str| {
        move |line: &Value| {
            line["fields"]["message"].as_str().is_some_and(|message| message.contains(part))
        }
    };
    node.process.wait_for_line("a checkpoint", says("the checkpoint of windows is made"));
    for payer in 1..=3 {
        decide(&node, &format!("a{payer}"), payer);
    }
    node.kill();
    let node = setup.start();
    let read = node.process.wait_for_line("windows", says("windows of the policy in force are"));
    let records = read["fields"]["records"].as_u64().expect("a number");
    assert!(records < ANSWERS * 3 / 4, "{records} records were read");
    assert_eq!(decide(&node, "b", 4).verdict, Verdict::Review, "three payers were before it");
    assert_eq!(decide(&node, "c", 1).verdict, Verdict::Approve, "of one that paid before");
    node.stop();
    let found = replay(&data_dir, &[]);
    assert!(found["windows_recomputed"].as_u64().expect("a number") > ANSWERS, "{found:#}");
}
