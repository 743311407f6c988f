//! A policy that is tried beside the one in force: it sees what is decided, decides nothing, and what it would have
//! done is what a replay with it says.

use catraca_tests::command;
use catraca_tests::load::Load;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::payments::{between, document};
use catraca_tests::policies::{policy, write};
use catraca_wire::client::now_ns;
use catraca_wire::frame::Verdict;
use serde_json::Value;
use std::time::{Duration, Instant};

const IN_FORCE: &str =
    "[[rule]]\nid = \"high\"\nwhen = \"tx.amount > reais(1000)\"\nverdict = \"review\"\n";

/// Denies what the other one reviews, and reviews the third payment of an hour.
const TRIED: &str = r#"
[[rule]]
id = "high"
when = "tx.amount > reais(1000)"
verdict = "deny"

[[rule]]
id = "often"
when = 'payer.count("1h") >= 2'
verdict = "review"
"#;

fn decide(node: &Node, id: &str, payer: u64, amount_centavos: i64) -> Verdict {
    let mut payment = between(id, document(payer), document(900), now_ns());
    payment.amount_centavos = amount_centavos;
    node.client().decide(&payment).expect("decided").verdict
}

/// What came of so many payments: they are looked at behind their answers.
fn compared(node: &Node, file: &str, payments: u64) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let came = policy(node, &["compare", file]);
        if came["payments"] == payments {
            return came;
        }
        assert!(Instant::now() < until, "{payments} are wanted: {came:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The series of the policy that is tried, as `/metrics` has them.
fn series(node: &Node) -> Vec<String> {
    let (_, text) = node.http_get("/metrics");
    let shown = text.lines().filter(|line| line.starts_with("catraca_candidate_"));
    shown.map(str::to_owned).collect()
}

#[test]
fn a_scrape_has_what_came_of_it_without_anybody_asking() {
    let dir = folder();
    let tried = write(dir.path(), "tried.toml", TRIED).display().to_string();
    let node = Setup::new(&dir.path().join("data")).shards(2).start();
    let none = ["catraca_candidate_until_timestamp_seconds 0.0"];
    assert_eq!(series(&node), none);
    policy(&node, &["candidate", &tried, "--until", "2099-01-01T00:00:00Z"]);
    assert_eq!(series(&node).len(), 1 + 2 * 9 + 2, "from its first moment on");
    assert_eq!(node.metric("catraca_candidate_payments_total"), 0.0);
    assert_eq!(node.metric("catraca_candidate_until_timestamp_seconds"), 4_070_908_800.0);
    for (id, payer, amount_centavos) in
        [("a", 1, 100), ("b", 1, 200), ("c", 1, 300), ("d", 2, 100_001), ("e", 3, 100_002)]
    {
        assert_eq!(decide(&node, id, payer, amount_centavos), Verdict::Approve);
    }
    node.wait_until("what came of it is collected", |node| {
        node.metric("catraca_candidate_payments_total") == 5.0
    });
    let shown = series(&node);
    for wanted in [
        "payments_total{in_force=\"approve\",candidate=\"approve\"} 2",
        "payments_total{in_force=\"approve\",candidate=\"review\"} 1",
        "payments_total{in_force=\"approve\",candidate=\"deny\"} 2",
        "payments_total{in_force=\"deny\",candidate=\"approve\"} 0",
        "centavos_total{in_force=\"approve\",candidate=\"approve\"} 300",
        "centavos_total{in_force=\"approve\",candidate=\"review\"} 300",
        "centavos_total{in_force=\"approve\",candidate=\"deny\"} 200003",
        "left_out_total 0",
        "left_out_centavos_total 0",
    ] {
        let wanted = format!("catraca_candidate_{wanted}");
        assert!(shown.contains(&wanted), "{wanted}: {shown:#?}");
    }
    policy(&node, &["candidate", "--end"]);
    assert_eq!(series(&node), none);
    node.stop();
}

#[test]
fn what_it_would_have_done_is_counted_and_nothing_is_done() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let in_force = write(dir.path(), "in-force.toml", IN_FORCE).display().to_string();
    let tried = write(dir.path(), "tried.toml", TRIED).display().to_string();
    let node = Setup::new(&data_dir).shards(2).start();
    let address = node.listen.to_string();
    let none = command::run(["policy", "compare", "--addr", &address]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    policy(&node, &["activate", &in_force]);
    // Paid before it is tried, and in its windows all the same.
    assert_eq!(decide(&node, "a", 1, 10_000), Verdict::Approve);
    let begun = policy(&node, &["candidate", &tried, "--until", "2099-01-01"]);
    assert_eq!((&begun["payments"], &begun["left_out"]), (&0.into(), &0.into()), "{begun:#}");
    let past =
        command::run(["policy", "candidate", &tried, "--until", "2020-01-01", "--addr", &address]);
    assert_eq!(past.status.code(), Some(1), "{past:?}");
    for (id, payer, amount_centavos, verdict) in [
        ("b", 1, 10_000, Verdict::Approve),
        ("c", 1, 10_000, Verdict::Approve),
        ("d", 2, 100_001, Verdict::Review),
        ("e", 3, 5_000, Verdict::Approve),
    ] {
        assert_eq!(decide(&node, id, payer, amount_centavos), verdict, "{id}");
    }
    let came = compared(&node, &tried, 4);
    let cell = |from: &str, to: &str| came["matrix"][from][to]["count"].as_u64();
    assert_eq!(cell("approve", "approve"), Some(2), "{came:#}");
    assert_eq!(cell("approve", "review"), Some(1), "the third of an hour");
    assert_eq!(cell("review", "deny"), Some(1));
    assert_eq!(came["matrix"]["review"]["deny"]["centavos"], "100001");
    assert_eq!((&came["changed"], &came["rules"][1]["id"]), (&2.into(), &"often".into()));
    assert_eq!(came["rules"][1]["changed"]["count"], 1);
    // The policy in force may change meanwhile.
    let other = IN_FORCE.replace("1000", "40");
    let other = write(dir.path(), "other.toml", &other).display().to_string();
    policy(&node, &["activate", &other]);
    assert_eq!(decide(&node, "f", 3, 5_000), Verdict::Review);
    assert_eq!(compared(&node, &tried, 5)["matrix"]["review"]["approve"]["count"], 1);
    let wrong = command::run(["policy", "compare", &in_force, "--addr", &address]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let ended = policy(&node, &["candidate", "--end"]);
    assert_eq!(ended["payments"], 5, "what came of it is told once more");
    let again = command::run(["policy", "candidate", "--end", "--addr", &address]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    node.stop();
    // A replay with it says the same of the same payments.
    let dir = data_dir.display().to_string();
    let found = command::json(["log", "replay", &dir, "--policy", &tried, "--json"]);
    assert_eq!(found["what_if"]["matrix"]["approve"]["review"]["count"], 1, "{found:#}");
    assert_eq!(found["what_if"]["changed"], 3);
}

#[test]
fn under_load_each_payment_is_counted_or_said_to_be_left_out() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let tried = write(dir.path(), "tried.toml", TRIED).display().to_string();
    let node = Setup::new(&data_dir).shards(1).start();
    policy(&node, &["candidate", &tried]);
    let load = Load::start(&node, "load", 256);
    load.wait_for(5_000);
    drop(load.stop());
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let came = policy(&node, &["compare", &tried]);
        let count = |what: &str| came[what].as_u64().expect("a number");
        let seen = count("payments") + count("left_out");
        let metric = |verdict: &str| node.metric(&format!("catraca_{verdict}_total"));
        let decided: f64 = ["approved", "reviewed", "denied"].into_iter().map(metric).sum();
        if seen >= 5_000 && seen as f64 == decided {
            for what in ["payments", "left_out"] {
                let shown = node.metric(&format!("catraca_candidate_{what}_total"));
                assert_eq!(shown, count(what) as f64, "{what}");
            }
            break;
        }
        assert!(Instant::now() < until, "{seen} of {decided}: {came:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
    node.stop();
}

#[test]
fn the_demo_of_policies_shows_what_it_says() {
    let dir = folder();
    let data_dir = dir.path().join("demo").display().to_string();
    let shown = command::json(["demo", "--policies", "--data-dir", &data_dir, "--json"]);
    assert_eq!((&shown["ok"], &shown["tested"]["wrong"]), (&true.into(), &0.into()), "{shown:#}");
    for run in ["first", "second"] {
        let flagged = &shown[run]["flagged"];
        let permille = |what: &str| flagged[what].as_u64().expect("a share");
        assert!(permille("precision_permille") > 400, "{flagged:#}");
        assert!(permille("recall_permille") > 500, "{flagged:#}");
    }
    assert_eq!(shown["compared"]["payments"], 40_000);
    assert!(shown["compared"]["changed"].as_u64().expect("a number") > 0);
    let replayed = &shown["replayed"];
    assert_eq!((&replayed["equal"], &replayed["decisions"]), (&true.into(), &80_000.into()));
    assert_eq!(replayed["windows_recomputed"], 80_000);
}
