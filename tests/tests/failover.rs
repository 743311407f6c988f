//! Two nodes, one of which dies, sleeps or is cut off: nothing that was answered is lost, changed
//! or done twice, and never do both answer.
//!
//! `CATRACA_FAILOVER_ROUNDS` is how often a primary dies; `scripts/failover-test.sh` runs more.

use catraca_tests::load::{Answered, Load};
use catraca_tests::logs::{
    assert_all_recorded, assert_same_answers, assert_verified, decisions, remembered,
};
use catraca_tests::node::Node;
use catraca_tests::pair::{Pair, ask, await_in_sync, await_place, place};
use catraca_tests::payments;
use catraca_wire::client::{Client, ClientError, ClientOptions};
use catraca_wire::frame::{ClusterRequest, Durability, ErrorCode, Role};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use std::time::Duration;

/// Deaths in one run of the suite.
const ROUNDS: u64 = 4;
/// Fewest answers before a death, so that each has something to lose.
const LEAST_ANSWERS: u64 = 50;
/// Longest time under load before a death: many block writes, so that it comes at any point of one.
const LONGEST_LOAD_US: u64 = 60_000;
/// Deaths that one pair goes through: its log is read whole after each.
const DEATHS_OF_A_PAIR: u64 = 10;

fn rounds() -> u64 {
    std::env::var("CATRACA_FAILOVER_ROUNDS")
        .ok()
        .map_or(ROUNDS, |text| text.parse().expect("CATRACA_FAILOVER_ROUNDS is a number"))
}

fn promote(node: &Node) {
    let state = ask(node, &ClusterRequest::promote(false)).expect("a standby in sync is promoted");
    assert_eq!((state.role, state.durability), (Role::Primary, Durability::Solo));
}

fn refusal(error: ClientError) -> (ErrorCode, String) {
    match error {
        ClientError::Refused(error) => (error.code, error.detail),
        other => panic!("{other}"),
    }
}

fn assert_equal_logs(pair: &Pair) {
    let [a, b] = [0, 1].map(|index| decisions(&pair.data_dir(index)));
    assert_eq!(a.len(), b.len(), "one log is longer");
    assert!(a == b, "the logs differ");
    [0, 1].into_iter().for_each(|index| assert_verified(&pair.data_dir(index), true));
}

/// Kills the primary under load again and again, promotes the standby each time, and lets the
/// killed one come back as standby. Gives how many decisions were answered, and the longest time
/// without an answer.
fn kill_and_promote(rounds: u64, shards: u16, seed: u64) -> (usize, Duration) {
    let pair = Pair::new(shards);
    let [mut primary, mut standby] = pair.start_both();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut all: Vec<Answered> = Vec::new();
    let mut longest_gap = Duration::ZERO;
    let mut serving = 0;
    for round in 0..rounds {
        let load = Load::through_failover(pair.addresses(), &format!("r{round}"), 64);
        load.wait_for(LEAST_ANSWERS);
        std::thread::sleep(Duration::from_micros(random.random_range(0..LONGEST_LOAD_US)));
        primary.kill();
        promote(&standby);
        let before = load.answered();
        load.wait_for(before + LEAST_ANSWERS);
        let returned = pair.start(serving);
        await_in_sync(&standby, &returned);
        let seen = load.stop();
        longest_gap = longest_gap.max(seen.longest_gap);
        serving = 1 - serving;
        assert_all_recorded(&decisions(&pair.data_dir(serving)), &seen.answered);
        assert_same_answers(&mut standby.client(), remembered(&seen.answered));
        all.extend(seen.answered);
        (primary, standby) = (standby, returned);
        assert_eq!(u64::from(place(&primary).epoch), 2 + round, "each promotion is one epoch");
    }
    assert_same_answers(&mut primary.client(), remembered(&all));
    primary.stop();
    standby.stop();
    assert_all_recorded(&decisions(&pair.data_dir(serving)), &all);
    assert_equal_logs(&pair);
    (all.len(), longest_gap)
}

#[test]
fn no_answered_decision_is_lost_when_the_primary_is_killed() {
    let rounds = rounds();
    let (mut answered, mut longest_gap) = (0, Duration::ZERO);
    for first in (0..rounds).step_by(DEATHS_OF_A_PAIR as usize) {
        let (more, gap) = kill_and_promote(DEATHS_OF_A_PAIR.min(rounds - first), 1, first);
        (answered, longest_gap) = (answered + more, longest_gap.max(gap));
        println!(
            "{answered} decisions answered, so far; longest time without an answer {longest_gap:?}"
        );
    }
}

#[test]
fn nor_with_two_shards() {
    kill_and_promote(ROUNDS.div_ceil(4), 2, 2);
}

#[test]
fn a_killed_standby_stops_the_answers_until_it_is_back() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    let load = Load::through_failover(pair.addresses(), "k", 64);
    load.wait_for(LEAST_ANSWERS);
    standby.kill();
    primary.wait_until("without its standby", |node| node.metric("catraca_peer_connected") == 0.0);
    let mut client = primary.client();
    let error = client.decide(&payments::payment("alone", 1)).expect_err("its commit is unknown");
    assert_eq!(refusal(error).0, ErrorCode::Unconfirmed);
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    let now = client.decide(&payments::payment("back", 2)).expect("answered again");
    assert!(!now.duplicate);
    let before = load.answered();
    load.wait_for(before + LEAST_ANSWERS);
    let seen = load.stop();
    assert_same_answers(&mut client, remembered(&seen.answered));
    let answered =
        seen.answered.iter().map(|answered| answered.decision.answer.lsn).max().unwrap_or(0);
    standby.wait_until("its log's end shows", |node| {
        node.metric("catraca_log_durable_lsn") >= answered as f64
    });
    primary.stop();
    standby.stop();
    assert_all_recorded(&decisions(&pair.data_dir(1)), &seen.answered);
    assert_equal_logs(&pair);
}

#[test]
fn a_standby_whose_log_was_emptied_is_not_in_sync_whatever_it_was_told_before() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    let mut client = primary.client();
    client.decide(&payments::payment("before", 1)).expect("decided");
    standby.stop();
    // The grant is of when nothing had been decided yet: the next one is of a log that holds
    // something.
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    standby.stop();
    std::fs::remove_dir_all(pair.data_dir(1).join("log")).expect("a folder");
    let standby = pair.start(1);
    standby.process.wait_for_line("that the grant is void", |line| {
        line["fields"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("not in sync until it has caught up"))
    });
    await_in_sync(&primary, &standby);
    primary.kill();
    promote(&standby);
    assert!(standby.client().lookup("before", None).is_ok());
}

#[test]
fn a_primary_that_slept_through_a_promotion_answers_nothing_more() {
    let pair = Pair::new(1);
    let [first, second] = pair.start_both();
    let load = Load::through_failover(pair.addresses(), "s", 64);
    load.wait_for(LEAST_ANSWERS);
    first.process.signal(Signal::STOP);
    promote(&second);
    let before = load.answered();
    load.wait_for(before + LEAST_ANSWERS);
    first.process.signal(Signal::CONT);
    // A client that only knows the old one, and insists.
    let options = ClientOptions {
        reconnect_attempts: 0,
        ..ClientOptions::new(pair.setups[0].listen.to_string())
    };
    for number in 0..20 {
        let asked = Client::connect(options.clone())
            .and_then(|mut client| client.decide(&payments::payment("late", number)));
        if let Ok(decision) = asked {
            assert_eq!(
                decision.answer.epoch, 2,
                "the old primary decided in an epoch that is over"
            );
        }
    }
    await_in_sync(&second, &first);
    let seen = load.stop();
    assert_same_answers(&mut second.client(), remembered(&seen.answered));
    second.stop();
    first.stop();
    assert_all_recorded(&decisions(&pair.data_dir(0)), &seen.answered);
    assert_equal_logs(&pair);
}

#[test]
fn a_wiped_standby_is_not_promotable_before_it_caught_up() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    let seen = {
        let load = Load::through_failover(pair.addresses(), "w", 64);
        load.wait_for(500);
        load.stop()
    };
    standby.kill();
    std::fs::remove_dir_all(pair.data_dir(1)).expect("its disk is gone");
    pair.share_key();
    // While nobody has said that the old one is gone, its word counts and a new one has no place.
    let fresh = pair.start(1);
    let refused = ask(&fresh, &ClusterRequest::promote(false)).expect_err("it holds nothing");
    assert!(refusal(refused).1.contains("never been connected"));
    let refused =
        ask(&primary, &ClusterRequest::go_solo(false)).expect_err("the standby can't be told");
    assert!(refusal(refused).1.contains("--standby-is-down"));
    ask(&primary, &ClusterRequest::go_solo(true)).expect("the operator's word");
    await_in_sync(&primary, &fresh);
    primary.kill();
    promote(&fresh);
    assert_same_answers(&mut fresh.client(), remembered(&seen.answered));
    fresh.stop();
    assert_all_recorded(&decisions(&pair.data_dir(1)), &seen.answered);
}

#[test]
fn a_standby_describes_itself_and_refuses_to_decide_and_to_look_up() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    primary.client().decide(&payments::payment("seen", 1)).expect("decided");
    let mut reader = Client::connect(ClientOptions {
        role: catraca_wire::client::Wanted::Any,
        ..standby.client_options()
    })
    .expect("a standby takes connections");
    assert_eq!(reader.welcome().role, Role::Standby.to_wire());
    // Who is told personal data is recorded first, and a standby records nothing.
    let unrecorded = reader.lookup("seen", None).expect_err("no primary");
    assert_eq!(refusal(unrecorded).0, ErrorCode::NotPrimary);
    assert!(!reader.stats(u16::MAX).expect("histograms").is_empty());
    let (status, text) = standby.http_get("/readyz");
    assert_eq!((status, text.contains("standby")), (503, true));
    let error = reader.decide(&payments::payment("not-here", 2)).expect_err("no primary");
    assert_eq!(refusal(error).0, ErrorCode::NotPrimary);
    drop(reader);
    primary.stop();
    standby.stop();
    assert_equal_logs(&pair);
}

#[test]
fn a_primary_that_went_alone_takes_its_standby_back() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    ask(&primary, &ClusterRequest::go_solo(false)).expect("the standby can be told");
    await_place("alone", [&primary, &standby], |[primary, standby]| {
        primary.durability == Durability::Solo && !standby.in_sync
    });
    let refused = ask(&standby, &ClusterRequest::promote(false)).expect_err("it may lack answers");
    assert!(refusal(refused).1.contains("not in sync"));
    standby.stop();
    primary.client().decide(&payments::payment("alone", 1)).expect("answers wait for nobody");
    assert_eq!(primary.client().welcome().durability, Durability::Solo.to_wire());
    assert_eq!(primary.metric("catraca_solo"), 1.0);
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    assert_eq!(primary.metric("catraca_solo"), 0.0);
    primary.stop();
    standby.stop();
    assert_equal_logs(&pair);
}
