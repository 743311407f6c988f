//! More load than a node can take: what was intended, sent and left unsent adds up, and the node
//! decides what was sent.

use catraca_loadgen::options::{Arrivals, Core, Wait};
use catraca_loadgen::{Monitor, Options, run};
use catraca_tests::logs::{assert_verified, decisions};
use catraca_tests::node::{Setup, folder};

/// The highest rate that the load generator plans, a hundred times what a node was ever seen to
/// take.
const RATE: f64 = 1e8;
/// How long it is asked for.
const SECONDS: f64 = 0.5;

#[test]
fn a_rate_far_above_what_is_possible_is_reported_to_the_last_transaction() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let options = Options {
        addr: node.listen.to_string(),
        connections: 2,
        rate: Some(RATE),
        arrivals: Arrivals::Fixed,
        seconds: Some(SECONDS),
        warmup: Some(0.0),
        documents: 1_000,
        core: Core::None,
        wait: Wait::Epoll,
        // Longer than a busy machine leaves the node alone.
        stall_seconds: 30.0,
        ..Options::default()
    };
    let report = run(&options, &Monitor::new()).expect("the run begins");
    assert_eq!(
        (report.failure.as_deref(), report.violations.total()),
        (None, 0),
        "{}",
        report.to_json()
    );
    let intended = (RATE * SECONDS) as u64;
    assert_eq!(
        (report.intended, report.sent + report.unsent),
        (Some(intended), intended),
        "{}",
        report.to_json()
    );
    assert!(
        report.sent > 0 && report.unsent > report.sent,
        "{} sent, {} unsent",
        report.sent,
        report.unsent
    );
    assert_eq!((report.answered, report.unanswered), (report.sent, 0));
    assert!(catraca_loadgen::table::render(&report).contains("did not keep up"));
    node.stop();
    assert_verified(dir.path(), true);
    // What was decided is what the report says, and nothing that was not sent.
    assert_eq!(decisions(dir.path()).len() as u64, report.verdicts.values().sum::<u64>());
}
