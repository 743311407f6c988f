//! Runs against two fake nodes, one of which takes the other's place.

use crate::fake::cluster::{FakeCluster, Fate};
use catraca_loadgen::options::{Core, Wait};
use catraca_loadgen::{Monitor, Options, Report, run, table};
use catraca_wire::DocumentKey;

const LISTED: [&str; 2] = ["04933228680", "12ABC34501DE35"];
const COUNT: u64 = 2_000;

fn start(fate: Fate) -> FakeCluster {
    start_until(fate, 700)
}

fn start_until(fate: Fate, at: u64) -> FakeCluster {
    FakeCluster::start(
        &LISTED.map(|document| DocumentKey::parse(document).expect("valid").to_wire()),
        64,
        fate,
        at,
    )
}

fn options(addr: String, list: &tempfile::NamedTempFile) -> Options {
    std::fs::write(list.path(), format!("document\n{}\n", LISTED.join("\n"))).expect("writable");
    Options {
        addr,
        connections: 3,
        in_flight: Some(8),
        transactions: Some(COUNT),
        listed_share: 0.25,
        list: Some(list.path().to_owned()),
        documents: 500,
        verify: true,
        core: Core::None,
        // Longer than a busy machine leaves a node that is well alone.
        stall_seconds: 1.5,
        ..Options::default()
    }
}

fn go(cluster: &FakeCluster, change: impl FnOnce(&mut Options)) -> Report {
    let list = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut options = options(cluster.addresses.join(","), &list);
    change(&mut options);
    run(&options, &Monitor::new()).expect("the run begins")
}

fn assert_sound(cluster: &FakeCluster, report: &Report) {
    assert_eq!(report.failure, None);
    assert_eq!(report.violations.total(), 0, "{:?}", report.violation_examples);
    assert_eq!((report.sent, report.answered, report.unanswered), (COUNT, COUNT, 0));
    assert_eq!(cluster.decided(), COUNT as usize, "sent again under the same ids");
}

#[test]
fn a_run_goes_on_where_the_primary_is() {
    for wait in [Wait::Epoll, Wait::Spin] {
        for fate in
            [Fate::Dies, Fate::DiesAlone { hellos: 9 }, Fate::Demoted, Fate::Stops, Fate::Freezes]
        {
            let cluster = start(fate);
            let report = go(&cluster, |options| {
                options.wait = wait;
                // A node that hangs is left where another one decides, not only when the run would
                // call it stalled.
                options.stall_seconds = 600.0;
            });
            assert_sound(&cluster, &report);
            assert_eq!(report.failovers, 1, "{fate:?}");
            assert_eq!(report.errors.len(), 0, "{fate:?}: {:?}", report.errors);
            assert!(
                (1..=24).contains(&report.resent_after_failover),
                "{fate:?}: {}",
                report.resent_after_failover
            );
            assert!(
                (100..=1_024).contains(&report.rechecked_after_failover),
                "{fate:?}: {}",
                report.rechecked_after_failover
            );
            let decided_before =
                u64::from(matches!(fate, Fate::Dies | Fate::DiesAlone { .. } | Fate::Freezes));
            // Others may have been decided, and their answers lost with their connections.
            let possible = decided_before..=report.resent_after_failover;
            assert!(
                possible.contains(&report.duplicates),
                "{fate:?}: {} of {possible:?}",
                report.duplicates
            );
            if fate == Fate::Freezes {
                assert!(
                    report.longest_gap_ms > 500.0,
                    "half a second, and what follows: {}",
                    report.longest_gap_ms
                );
            }
            let text = table::render(&report);
            assert!(text.contains("failovers") && text.contains("sent again"), "{text}");
        }
    }
}

#[test]
fn an_open_loop_goes_on_too_and_sends_what_was_planned() {
    let cluster = start(Fate::DiesAlone { hellos: 4 });
    let report = go(&cluster, |options| {
        options.in_flight = None;
        options.rate = Some(20_000.0);
    });
    assert_sound(&cluster, &report);
    assert_eq!(report.failovers, 1);
    assert!(
        (1..=report.resent_after_failover).contains(&report.duplicates),
        "{}",
        report.duplicates
    );
    assert!(
        report.latency_us.max / 1e3 >= report.longest_gap_ms,
        "{} us, {} ms",
        report.latency_us.max,
        report.longest_gap_ms
    );
}

#[test]
fn one_address_is_enough_where_the_standby_is_named() {
    let cluster = start(Fate::Demoted);
    let report = go(&cluster, |options| {
        options.addr = cluster.addresses[0].clone();
        options.failover_timeout = Some(10.0);
    });
    assert_sound(&cluster, &report);
    assert_eq!(report.failovers, 1);
    // The other one is left at once for the one that it names.
    let cluster = start_until(Fate::Demoted, u64::MAX);
    let report = go(&cluster, |options| {
        options.addr = cluster.addresses[1].clone();
        options.failover_timeout = Some(10.0);
    });
    assert_sound(&cluster, &report);
    assert_eq!(report.failovers, 0);
}

#[test]
fn unconfirmed_is_asked_again_until_it_is_known() {
    let cluster = start(Fate::Unconfirmed { times: 5 });
    let report = go(&cluster, |_| ());
    assert_sound(&cluster, &report);
    assert_eq!((report.failovers, report.resent_after_failover, report.duplicates), (0, 5, 1));
    assert_eq!(report.errors.len(), 0);
    // Without failover it is the answer, as ever.
    let cluster = start(Fate::Unconfirmed { times: 5 });
    let report = go(&cluster, |options| options.failover_timeout = Some(0.0));
    assert_sound(&cluster, &report);
    assert_eq!((report.errors["UNCONFIRMED"], report.resent_after_failover), (1, 0));
}

#[test]
fn a_decision_lost_in_the_failover_is_a_violation() {
    let cluster = start(Fate::Forgets { decisions: 40 });
    let report = go(&cluster, |_| ());
    assert_eq!((report.failure.as_deref(), report.failovers), (None, 1));
    // Of the 40, at most 24 were not answered before; those that were come back as new, and most
    // with another sequence number.
    let lost = report.violations.wrong_duplicate_flag;
    assert!((16..=39).contains(&lost), "{lost}");
    let changed = report.violations.changed_answer;
    assert!((1..=lost).contains(&changed), "{changed} of {lost}");
    assert_eq!(report.violations.total(), lost + changed);
}

#[test]
fn a_run_gives_up_when_nobody_decides() {
    let cluster = start(Fate::DiesAlone { hellos: u64::MAX });
    let report = go(&cluster, |options| options.failover_timeout = Some(0.3));
    let failure = report.failure.clone().expect("nobody decides");
    assert!(failure.contains("no primary answered within --failover-timeout 0.3"), "{failure}");
    assert!(
        (1..=24).contains(&report.unanswered) && report.answered + report.unanswered == report.sent,
        "{failure}"
    );
    assert!(report.longest_gap_ms > 300.0, "{}", report.longest_gap_ms);
    // At most one look at the living node in 20 ms, and one at the start.
    let most = 2 + report.longest_gap_ms as u64 / 20;
    assert!(
        (2..=most).contains(&cluster.unanswered_hellos()),
        "{} of {most}",
        cluster.unanswered_hellos()
    );
}

#[test]
fn without_failover_the_run_ends_as_ever() {
    for (fate, what) in
        [(Fate::Dies, "transactions unanswered: "), (Fate::Freezes, "answered none for 1.5 s")]
    {
        let cluster = start(fate);
        let report = go(&cluster, |options| options.failover_timeout = Some(0.0));
        let failure = report.failure.expect("lost");
        assert!(failure.contains(what), "{failure}");
        assert_eq!((report.failovers, report.rechecked_after_failover), (0, 0));
    }
    let cluster = start(Fate::Demoted);
    let report = go(&cluster, |options| options.addr = cluster.addresses[0].clone());
    assert_eq!((report.failure, report.answered), (None, COUNT));
    assert_eq!(report.errors["NOT_PRIMARY"], COUNT - 700);
}
