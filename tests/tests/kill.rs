//! A node that dies in the middle: nothing that was answered is lost, changed or done twice.
//!
//! `CATRACA_KILL_ROUNDS` is how often it dies; `scripts/kill-test.sh` runs more.

use catraca_tests::load::{Answered, Load};
use catraca_tests::logs::{
    assert_all_recorded, assert_same_answers, assert_verified, decisions, remembered,
};
use catraca_tests::node::{Setup, folder};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// Deaths in one run of the suite.
const ROUNDS: u64 = 20;
/// Fewest answers before a death, so that each has something to lose.
const LEAST_ANSWERS: u64 = 50;
/// Longest time under load before a death: many block writes, so that it comes at any point of one.
const LONGEST_LOAD_US: u64 = 60_000;

fn rounds() -> u64 {
    std::env::var("CATRACA_KILL_ROUNDS")
        .ok()
        .map_or(ROUNDS, |text| text.parse().expect("CATRACA_KILL_ROUNDS is a number"))
}

/// Kills a node under load again and again, each time started with the next of these numbers of
/// shards.
fn kill_again_and_again(rounds: u64, shards: &[u16], seed: u64) {
    let dir = folder();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut all: Vec<Answered> = Vec::new();
    let mut last: Vec<Answered> = Vec::new();
    for round in 0..=rounds {
        let count = shards[(round % shards.len() as u64) as usize];
        let node = Setup::new(dir.path()).shards(count).start();
        // Started again, and not yet under load: what is in the log now is what survived.
        assert_all_recorded(&decisions(dir.path()), &all);
        assert_same_answers(&mut node.client(), remembered(&last));
        assert_verified(dir.path(), true);
        if round == rounds {
            assert_same_answers(&mut node.client(), remembered(&all));
            node.stop();
            assert_verified(dir.path(), true);
            break;
        }
        let load = Load::start(&node, &format!("r{round}"), 64);
        load.wait_for(LEAST_ANSWERS);
        std::thread::sleep(Duration::from_micros(random.random_range(0..LONGEST_LOAD_US)));
        node.kill();
        let seen = load.join();
        assert!(seen.refused.is_empty(), "{:?}", seen.refused);
        assert!(!seen.unanswered.is_empty(), "it died idle, which proves nothing");
        all.extend_from_slice(&seen.answered);
        last = seen.answered;
    }
    println!("{} answered decisions over {rounds} deaths", all.len());
}

#[test]
fn no_answered_decision_is_lost_when_the_node_is_killed() {
    kill_again_and_again(rounds(), &[1], 1);
}

#[test]
fn nor_with_two_shards_that_forward_to_each_other() {
    kill_again_and_again(rounds().div_ceil(4), &[2], 2);
}

#[test]
fn nor_when_it_starts_again_with_another_number_of_shards() {
    kill_again_and_again(rounds().div_ceil(4), &[2, 1], 3);
}
