//! Directed runs of the simulator about epochs: pauses, promotions and their interruptions, clocks,
//! what is not shared yet, and clients that ask again. Each sees that it happened, and at its end
//! that every promise was kept (`Sim::end`).

use catraca_tests::sim::{Plan, PromotionStep, Sim, Tally};
use catraca_wire::frame::{Durability, Role};

/// A run that is one of many.
fn quick(seed: u64) -> Plan {
    Plan { pace_permille: 200, ..Plan::directed(seed) }
}

#[test]
fn sim_sigstop_promote_sigcont() {
    for seed in 1..=12 {
        let mut sim = Sim::in_sync(quick(seed));
        sim.run_for_ms(seed * 3);
        sim.pause(0);
        sim.run_for_ms(30);
        assert!(sim.promote(1, false), "{}", sim.story());
        assert!(sim.run_until(1_000, |sim| sim.role(1) == Role::Primary), "{}", sim.story());
        let shared = sim.durable(1)[0];
        assert!(sim.run_until(2_000, |sim| sim.verdicts(1) > 20), "{}", sim.story());
        sim.resume(0);
        assert!(sim.run_until(3_000, |sim| sim.role(0) == Role::Standby), "{}", sim.story());
        // The standby's word for what it took over may have waited in the old one's sockets.
        assert!(sim.last_answered(0) <= shared, "it acknowledges nothing more");
        let tally = sim.end();
        assert_eq!(
            (tally.times("stop"), tally.times("promotions"), tally.times("demotions")),
            (1, 1, 1)
        );
    }
}

#[test]
fn sim_clocks_jump_and_drift() {
    for seed in 1..=6 {
        let mut sim = Sim::in_sync(quick(seed));
        sim.bend_clock(0, 200_000);
        sim.bend_clock(1, -200_000);
        sim.run_for_ms(300);
        sim.kill(0);
        assert!(sim.promote(1, false));
        sim.run_for_ms(300);
        sim.bend_clock(1, 150_000);
        sim.start(0);
        sim.run_for_ms(300);
        let tally = sim.end();
        assert_eq!(
            (tally.times("clock jump"), tally.times("clock drift"), tally.times("promotions")),
            (3, 3, 1)
        );
    }
}

#[test]
fn sim_clock_set_an_hour_back_and_forth_two_under_load() {
    for seed in 1..=6 {
        let mut sim = Sim::in_sync(quick(seed));
        let served = |sim: &mut Sim, node: usize| {
            let before = sim.verdicts(node);
            sim.run_for_ms(300);
            sim.verdicts(node) - before
        };
        for hours in [-1, 2, -1] {
            sim.set_clock_by_hours(0, hours);
            // An hour ahead everything is of an age that may be; an hour behind, what is new comes
            // from too far in the future.
            let verdicts = served(&mut sim, 0);
            assert!(
                hours == -1 || verdicts > 0,
                "seed {seed}: nothing is decided with the clock set by {hours} h"
            );
        }
        assert!(
            served(&mut sim, 0) > 0,
            "seed {seed}: nothing is decided with the clock set right"
        );
        // The one that takes over has another time of day than the one before.
        sim.set_clock_by_hours(1, 1);
        sim.kill(0);
        assert!(sim.promote(1, false));
        assert!(served(&mut sim, 1) > 0, "seed {seed}: nothing is decided an hour ahead");
        sim.set_clock_by_hours(1, -2);
        sim.start(0);
        sim.run_for_ms(300);
        let tally = sim.end();
        assert_eq!((tally.times("clock set by hours"), tally.times("promotions")), (5, 1));
    }
}

/// Kills the node that is being promoted at a step; it comes back, and either is the primary or
/// follows, but never as a second one.
fn dies_in_promotion(step: PromotionStep, old_is_alive: bool) {
    let mut met = 0;
    for seed in 1..=12 {
        let mut sim = Sim::in_sync(Plan { pace_permille: 600, ..quick(seed) });
        // The primary is there and is believed dead, or it is.
        if !old_is_alive {
            sim.kill(0);
        }
        if step == PromotionStep::Stopping && !sim.await_write(1) {
            continue;
        }
        let before = sim.epoch(1);
        assert!(sim.promote(1, false), "{}", sim.story());
        let reached = sim.kill_in_promotion(1, step);
        sim.start(1);
        assert!(sim.run_until(1_000, |sim| sim.runs(1)), "{}", sim.story());
        assert!(sim.epoch(1) >= before, "an epoch never goes back");
        if reached != Some(step) {
            continue;
        }
        met += 1;
        let is_primary = sim.role(1) == Role::Primary;
        match step {
            PromotionStep::Stopping => assert!(!is_primary, "it had not begun"),
            PromotionStep::Persisting => {
                assert_eq!(is_primary, sim.epoch(1) > before, "one or the other, whole")
            }
            PromotionStep::Durable | PromotionStep::Promoted => {
                assert!(is_primary && sim.epoch(1) > before)
            }
        }
        if !is_primary && !old_is_alive {
            assert!(sim.promote(1, false), "it still holds the grant");
        }
        sim.run_for_ms(200);
        sim.end();
    }
    assert!(met >= 3, "{step:?} was met {met} times");
}

#[test]
fn sim_death_while_the_last_write_before_a_promotion_ends() {
    dies_in_promotion(PromotionStep::Stopping, true);
}

#[test]
fn sim_death_while_the_epoch_of_a_promotion_is_written() {
    dies_in_promotion(PromotionStep::Persisting, true);
    dies_in_promotion(PromotionStep::Persisting, false);
}

#[test]
fn sim_death_between_the_epoch_of_a_promotion_and_taking_over() {
    dies_in_promotion(PromotionStep::Durable, true);
    dies_in_promotion(PromotionStep::Durable, false);
}

#[test]
fn sim_death_as_new_primary() {
    dies_in_promotion(PromotionStep::Promoted, true);
    dies_in_promotion(PromotionStep::Promoted, false);
}

/// A primary without its standby, with transactions that are on its own disk only.
fn with_an_unshared_tail(seed: u64) -> Sim {
    let mut sim = Sim::in_sync(quick(seed));
    sim.part_nodes(true);
    sim.run_for_ms(250);
    let (here, shared) = (sim.durable(0), sim.durable(1));
    assert!(here[0] > shared[0] && sim.open() > 0, "{here:?} {shared:?}");
    sim.rest();
    sim.kill(0);
    sim
}

#[test]
fn sim_primary_that_restarts_does_not_count_its_unshared_tail_as_committed() {
    for seed in 1..=6 {
        let mut sim = with_an_unshared_tail(seed);
        let (verdicts, unconfirmed) = (sim.verdicts(0), sim.times("unconfirmed"));
        sim.start(0);
        // The clients ask again for what is on its disk.
        assert!(
            sim.run_until(6_000, |sim| sim.times("unconfirmed") >= unconfirmed + 5),
            "{}",
            sim.story()
        );
        assert_eq!(
            sim.verdicts(0),
            verdicts,
            "a resend is no reason to answer what the standby lacks"
        );
        assert!(sim.committed(0)[0] < sim.durable(0)[0]);
        let resends = sim.times("answers to resends");
        sim.part_nodes(false);
        assert!(sim.run_until(6_000, |sim| sim.open() == 0), "{}", sim.story());
        assert!(
            sim.times("answers to resends") > resends,
            "now they are answered, and each has one record"
        );
        sim.end();
    }
}

#[test]
fn sim_unshared_tail_of_a_demoted_primary_goes_into_quarantine() {
    for seed in 1..=6 {
        let mut sim = with_an_unshared_tail(seed);
        assert!(sim.promote(1, false));
        sim.run_for_ms(100);
        sim.part_nodes(false);
        sim.start(0);
        assert!(sim.run_until(6_000, |sim| sim.times("cuts") == 1), "{}", sim.story());
        sim.await_in_sync();
        assert_eq!((sim.role(0), sim.role(1)), (Role::Standby, Role::Primary));
        sim.end();
    }
}

#[test]
fn sim_death_while_an_unshared_tail_is_cut_off() {
    let mut tally = Tally::default();
    for seed in 1..=24 {
        let mut sim = with_an_unshared_tail(seed);
        assert!(sim.promote(1, false));
        sim.part_nodes(false);
        sim.start(0);
        assert!(sim.run_until(6_000, |sim| sim.times("cuts") == 1), "{}", sim.story());
        sim.run_for_ms(seed % 8);
        sim.cut_power(0);
        sim.start(0);
        sim.run_for_ms(100);
        assert!(!sim.is_stopped_by_damage(0), "{}", sim.story());
        tally.merge(&sim.end());
    }
    assert!(tally.times("death while cutting") >= 5, "{tally:?}");
}

#[test]
fn sim_wiped_standby_is_not_promotable_before_it_caught_up() {
    for seed in 1..=6 {
        let mut sim = Sim::in_sync(quick(seed));
        sim.wipe(1);
        sim.run_for_ms(150);
        assert!(!sim.promote(1, false), "it holds nothing");
        assert!(sim.times("refused calls") > 0, "the place is that of the one that was lost");
        assert!(sim.solo(0, true), "the operator gives the place away");
        assert!(sim.run_until(1_000, |sim| sim.durability(0) == Durability::Solo));
        assert!(!sim.promote(1, false), "it has not caught up");
        sim.await_in_sync();
        assert_eq!(sim.durable(1).len(), 1);
        sim.kill(0);
        assert!(sim.promote(1, false), "{}", sim.story());
        let tally = sim.end();
        assert_eq!(
            (tally.times("wipe"), tally.times("refused promotions"), tally.times("promotions")),
            (1, 2, 1)
        );
    }
}

#[test]
fn sim_primary_goes_alone_only_after_the_grant_is_given_back() {
    for seed in 1..=6 {
        let mut sim = Sim::in_sync(quick(seed));
        assert!(sim.solo(0, false));
        assert!(
            sim.run_until(1_000, |sim| sim.durability(0) == Durability::Solo),
            "{}",
            sim.story()
        );
        assert!(!sim.promote(1, false), "answers may be given without it");
        let tally = sim.end();
        assert_eq!(
            (tally.times("revocations"), tally.times("gone alone"), tally.times("promotions")),
            (1, 1, 0)
        );
    }
}

#[test]
fn sim_grant_that_waits_for_a_write_is_taken_before_it_is_given_back() {
    let mut met = 0;
    for seed in 1..=30 {
        let mut sim = Sim::in_sync(Plan { pace_permille: 500, ..quick(seed) });
        sim.kill(1);
        assert!(sim.solo(0, true), "its standby is down");
        sim.run_for_ms(100 + seed);
        sim.slow_disk(1, 60);
        sim.start(1);
        let revocations = sim.times("revocations");
        if !sim.run_until(4_000, |sim| sim.times("grants that waited") > 0) {
            sim.end();
            continue;
        }
        met += 1;
        assert!(sim.solo(0, false));
        assert!(
            sim.run_until(4_000, |sim| sim.durability(0) == Durability::Solo),
            "{}",
            sim.story()
        );
        assert!(sim.times("revocations") > revocations, "{}", sim.story());
        assert!(!sim.promote(1, false), "answers may be given without it");
        sim.end();
    }
    assert!(met >= 5, "the moment came {met} times");
}

#[test]
fn sim_clients_that_ask_again_after_an_unknown_outcome_get_the_same_decision() {
    for seed in 1..=6 {
        let mut sim = Sim::in_sync(quick(seed));
        sim.slow_disk(1, 40);
        sim.burst(0, 40);
        sim.burst(1, 40);
        sim.run_for_ms(15 + seed);
        sim.kill(0);
        assert!(sim.open() > 0, "outcomes are unknown");
        assert!(sim.promote(1, false));
        assert!(
            sim.run_until(10_000, |sim| sim.role(1) == Role::Primary && sim.verdicts(1) > 0),
            "{}",
            sim.story()
        );
        sim.rest();
        assert!(sim.run_until(10_000, |sim| sim.open() == 0), "{}", sim.story());
        assert!(sim.times("answers to resends") > 0, "some had been recorded");
        sim.end();
    }
}
