//! Simulated runs in which anything may go wrong, and proof that the simulator would notice: runs repeat bit for bit, every kind of fault
//! is met, and each promise that is broken on purpose is found within a stated number of seeds.

use catraca_tests::sim::{self, Broken, Plan, Tally};
use std::ops::RangeInclusive;

fn run(seed: u64, broken: Option<Broken>) -> sim::Report {
    sim::run(Plan { broken, ..Plan::of_seed(seed) }, false)
}

fn keeps_every_promise(seeds: RangeInclusive<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let report = run(seed, None);
        let what = report.failure.unwrap_or_default();
        let trace = &report.trace[report.trace.len().saturating_sub(40)..];
        assert!(what.is_empty(), "seed {seed}: {what}\n{}\nAgain: scripts/sim.sh 1 {seed} --trace", trace.join("\n"));
        tally.merge(&report.tally);
    }
    tally
}

// In three tests, so that they share the processors.
#[test]
fn seeds_1_to_120_keep_every_promise_and_meet_every_fault() {
    let tally = keeps_every_promise(1..=120);
    assert_eq!(tally.never(), [""; 0], "a fault that never happens tests nothing");
}

#[test]
fn seeds_121_to_210_keep_every_promise() {
    keeps_every_promise(121..=210);
}

#[test]
fn seeds_211_to_300_keep_every_promise() {
    keeps_every_promise(211..=300);
}

#[test]
fn a_seed_is_one_run() {
    for seed in 1..=8 {
        let (first, second) = (run(seed, None), run(seed, None));
        assert_eq!(first.hash, second.hash, "seed {seed} went two ways");
        assert_eq!(first.trace, second.trace);
        assert_ne!(first.hash, run(seed + 1000, None).hash, "another seed is another run");
    }
}

/// Variants that seeds find, and the number of seeds within which they must.
const FOUND_BY_SEEDS: [(&str, u64); 7] = [
    ("ack-before-sync", 20),
    ("ack-before-standby", 10),
    ("epoch-in-memory", 20),
    ("lower-epoch", 40),
    ("truncated-damage", 30),
    ("empty-dedupe", 10),
    ("reused-segment", 40),
];

fn variant(name: &str) -> Broken {
    let (_, broken) = Broken::ALL.iter().find(|(known, _)| *known == name).expect("a variant");
    *broken
}

#[test]
fn broken_promises_are_found_within_so_many_seeds() {
    for (name, limit) in FOUND_BY_SEEDS {
        let found = (1..=limit).find(|&seed| run(seed, Some(variant(name))).failure.is_some());
        assert!(found.is_some(), "{name} was not found within {limit} seeds");
    }
}
