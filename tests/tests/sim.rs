//! Simulated runs in which anything may go wrong, and proof that the simulator would notice: runs
//! repeat bit for bit, every kind of fault is met, and each promise that is broken on purpose is
//! found within a stated number of seeds.

use catraca_tests::sim::{self, Broken, Plan, Sim, Tally};
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
        assert!(
            what.is_empty(),
            "seed {seed}: {what}\n{}\nAgain: scripts/sim.sh 1 {seed} --trace",
            trace.join("\n")
        );
        tally.merge(&report.tally);
    }
    tally
}

/// Seeds of each thread.
const SEEDS: u64 = 100;

#[test]
fn seeds_1_to_300_keep_every_promise_and_meet_every_fault() {
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let firsts = [1, 1 + SEEDS, 1 + 2 * SEEDS];
        let threads =
            firsts.map(|first| scope.spawn(move || keeps_every_promise(first..=first + SEEDS - 1)));
        for thread in threads {
            tally.merge(&thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    assert_eq!(tally.never(), [""; 0], "a fault that never happens tests nothing");
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
const FOUND_BY_SEEDS: [(&str, u64); 18] = [
    ("ack-before-sync", 20),
    ("ack-before-standby", 20),
    ("epoch-in-memory", 40),
    ("lower-epoch", 60),
    ("truncated-damage", 60),
    ("empty-dedupe", 20),
    ("reused-segment", 160),
    ("counts-beginner", 80),
    ("policy-on-one-shard", 80),
    ("policy-forgotten", 40),
    ("list-on-one-shard", 60),
    ("lists-forgotten", 60),
    ("windows-lost", 60),
    ("windows-counted-twice", 60),
    ("broadcast-not-taken", 120),
    ("broadcast-lost", 160),
    ("candidate-forgets", 160),
    ("answers-mixed-up", 20),
];
/// Variants that take a certain moment, which a directed run looks for, and the number of its seeds
/// within which they must be found.
const FOUND_BY_DIRECTED_SEEDS: [(&str, Directed, u64); 4] = [
    ("early-match", calls_anew_during_a_write, 40),
    ("grant-during-blocks", granted_during_a_write, 40),
    ("blocks-with-grant", loses_power_during_a_write_in_sync, 40),
    ("send-before-persist", dies_when_it_has_answered_in_a_new_epoch, 40),
];

type Directed = fn(Plan) -> (Sim, bool);

fn variant(name: &str) -> Broken {
    let (_, broken) = Broken::ALL.iter().find(|(known, _)| *known == name).expect("a variant");
    *broken
}

#[test]
fn broken_promises_are_found_within_so_many_seeds() {
    for (name, limit) in FOUND_BY_SEEDS {
        let found = (1..=limit).find(|&seed| run(seed, Some(variant(name))).failure.is_some());
        assert!(found.is_some(), "{name} was not found within {limit} seeds");
        println!("{name}: seed {}", found.unwrap_or_default());
    }
}

#[test]
fn broken_promises_that_take_a_certain_moment_are_found_too() {
    assert_eq!(
        FOUND_BY_SEEDS.len() + FOUND_BY_DIRECTED_SEEDS.len(),
        Broken::ALL.len(),
        "each variant is in one of the tables"
    );
    for (name, directed, limit) in FOUND_BY_DIRECTED_SEEDS {
        let of = |seed, broken| directed(Plan { broken, ..Plan::directed(seed) });
        let found = (1..=limit).find(|&seed| of(seed, Some(variant(name))).0.verdict().is_some());
        assert!(found.is_some(), "{name} was not found within {limit} seeds");
        println!("{name}: directed seed {}", found.unwrap_or_default());
        // The same runs, with nothing broken.
        let mut met = 0;
        for seed in 1..=limit {
            let (sim, is_met) = of(seed, None);
            met += u64::from(is_met);
            sim.end();
        }
        assert!(met >= 5, "{name}: the moment came {met} times");
    }
}

/// The standby calls anew while a block that it holds is still being written at the primary, which
/// then dies as soon as it has answered.
fn calls_anew_during_a_write(plan: Plan) -> (Sim, bool) {
    let mut sim = Sim::in_sync(plan);
    sim.slow_disk(0, 600);
    let ahead = |sim: &Sim| sim.durable(1) > sim.durable(0);
    if !sim.run_until(1_000, ahead) {
        return (sim, false);
    }
    sim.reset();
    let sessions = sim.times("sessions");
    sim.run_until(400, |sim| sim.times("sessions") > sessions);
    let met = sim.times("sessions") > sessions && ahead(&sim);
    if sim.run_until(100, |sim| sim.times("cuts") > 0) {
        sim.part_nodes(true);
        sim.run_until(1_000, |sim| {
            sim.last_answered(0) > sim.durable(1).first().copied().unwrap_or(u64::MAX)
        });
    }
    sim.kill(0);
    sim.run_until(100, |sim| sim.runs(1));
    sim.promote(1, false);
    (sim, met)
}

/// The grant reaches a standby while it writes several blocks at once, and its power goes as soon
/// as it holds the grant.
fn granted_during_a_write(plan: Plan) -> (Sim, bool) {
    let mut sim = Sim::in_sync(Plan { pace_permille: 500, ..plan });
    sim.kill(1);
    sim.solo(0, true);
    sim.run_for_ms(100 + plan.seed % 100);
    sim.slow_disk(1, 60);
    sim.start(1);
    let grants = sim.times("grants");
    sim.run_until(4_000, |sim| sim.times("grants") > grants);
    let met = sim.times("grants that waited") > 0;
    sim.cut_power(1);
    sim.start(1);
    (sim, met)
}

/// A standby is promoted, answers, and dies at once: its epoch must be on the disk by then, or it
/// comes back as the old primary's standby.
fn dies_when_it_has_answered_in_a_new_epoch(plan: Plan) -> (Sim, bool) {
    let mut sim = Sim::in_sync(Plan { pace_permille: 500, ..plan });
    sim.kill(0);
    sim.slow_state(1, 400);
    let before = sim.verdicts(1);
    sim.promote(1, false);
    let met = sim.run_until(2_000, |sim| sim.verdicts(1) > before);
    sim.kill(1);
    sim.start(0);
    sim.start(1);
    (sim, met)
}

/// A standby in sync has a slow disk, so that blocks wait for it, and its power goes while it
/// writes.
fn loses_power_during_a_write_in_sync(plan: Plan) -> (Sim, bool) {
    let mut sim = Sim::in_sync(Plan { pace_permille: 500, ..plan });
    sim.slow_disk(1, 60);
    sim.run_for_ms(200 + plan.seed % 100);
    let met = sim.is_in_sync() && sim.await_write(1);
    sim.cut_power(1);
    sim.start(1);
    (sim, met)
}
