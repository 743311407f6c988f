//! Directed runs of the simulator: one fault each, written down step by step. Each sees that the
//! fault happened, what the nodes did about it, and at its end that every promise was kept
//! (`Sim::end`). The README.md has the table of faults that these are rows of.

use catraca_tests::sim::{DiskFault, Plan, Sim, Tally};
use catraca_wire::frame::Role;

/// A run that is one of many.
fn quick(seed: u64) -> Plan {
    Plan { pace_permille: 200, ..Plan::directed(seed) }
}

fn sum(tallies: impl IntoIterator<Item = Tally>) -> Tally {
    let mut sum = Tally::default();
    tallies.into_iter().for_each(|tally| sum.merge(&tally));
    sum
}

/// A node that is down runs again.
fn start_again(sim: &mut Sim, node: usize) {
    sim.start(node);
    assert!(
        sim.run_until(2_000, |sim| sim.runs(node) || sim.is_stopped_by_damage(node)),
        "{}",
        sim.story()
    );
}

/// One node dies at every step of its input and output, from its first start on, and comes back.
fn killed_at_any_step(node: usize, steps: std::ops::RangeInclusive<u64>) {
    let kills = steps.clone().count() as u64;
    let tally = sum(steps.map(|step| {
        let mut sim = Sim::of(Plan { kill_at: Some((node, step)), ..quick(step) });
        assert!(
            sim.run_until(4_000, |sim| sim.times("kill") == 1),
            "step {step} was never reached"
        );
        sim.run_for_ms(150);
        sim.end()
    }));
    assert_eq!(tally.times("kill"), kills);
    assert!(tally.times("write torn") > 0 && tally.times("write dropped") > 0, "{tally:?}");
    assert!(tally.times("write kept unreported") > 0, "{tally:?}");
}

#[test]
fn sim_sigkill_of_the_primary_at_any_io_step() {
    killed_at_any_step(0, 1..=48);
}

#[test]
fn sim_sigkill_of_the_standby_at_any_io_step() {
    killed_at_any_step(1, 1..=48);
}

#[test]
fn sim_power_cut_of_both_nodes_at_once() {
    let tally = sum((1..=24).map(|seed| {
        let mut sim = Sim::in_sync(Plan { pace_permille: 500, ..quick(seed) });
        (0..2).for_each(|node| sim.slow_disk(node, 30));
        sim.run_for_ms(50 + seed);
        (0..2).for_each(|node| sim.cut_power(node));
        (0..2).for_each(|node| sim.start(node));
        sim.run_for_ms(200);
        assert_eq!(sim.primary(), Some(0));
        sim.end()
    }));
    assert_eq!(tally.times("power cut"), 48);
    assert!(tally.times("write torn") > 0 && tally.times("torn ends repaired") > 0, "{tally:?}");
}

#[test]
fn sim_power_cut_of_a_standby_that_catches_up() {
    let tally = sum((1..=120).map(|seed| {
        let mut sim = Sim::in_sync(Plan { pace_permille: 500, ..quick(seed) });
        sim.kill(1);
        assert!(sim.solo(0, true), "its standby is down");
        sim.run_for_ms(200);
        sim.slow_disk(1, 20);
        sim.start(1);
        let several = |sim: &Sim| sim.times("several blocks at once") > 0;
        assert!(sim.run_until(2_000, several), "{}", sim.story());
        sim.run_for_ms(1 + seed % 10);
        sim.cut_power(1);
        start_again(&mut sim, 1);
        assert!(!sim.is_stopped_by_damage(1), "{}", sim.story());
        assert!(
            sim.run_until(4_000, |sim| sim.times("grants") > 1),
            "it catches up all the same\n{}",
            sim.story()
        );
        sim.end()
    }));
    assert!(
        tally.times("holes repaired") > 0
            && tally.times("torn ends repaired") > tally.times("holes repaired"),
        "{tally:?}"
    );
}

#[test]
fn sim_torn_end_is_cleared_even_if_the_clearing_is_cut_off() {
    let tally = sum((1..=40).map(|seed| {
        let mut sim = Sim::in_sync(quick(seed));
        sim.slow_disk(0, 60);
        sim.run_for_ms(40 + seed);
        sim.cut_power(0);
        sim.start(0);
        // While it clears, if it has to, the power goes again.
        sim.run_for_ms(1);
        sim.cut_power(0);
        start_again(&mut sim, 0);
        assert!(!sim.is_stopped_by_damage(0));
        sim.end()
    }));
    assert!(tally.times("write torn") > 0 && tally.times("repair cut off") > 0, "{tally:?}");
    assert!(tally.times("torn ends repaired") > tally.times("repair cut off"), "{tally:?}");
}

/// A node's log is spoilt while it is down: it must not start, the other has everything, and gives
/// it back to the emptied disk.
fn spoilt(node: usize, kind: usize, fault: &'static str, told: &str) {
    for seed in 1..=4 {
        let mut sim = Sim::in_sync(quick(seed));
        sim.kill(node);
        assert!(sim.rot_as(node, kind), "a log of several blocks");
        start_again(&mut sim, node);
        assert!(sim.is_stopped_by_damage(node) && !sim.runs(node), "{}", sim.story());
        assert!(sim.has_told(told), "{told:?} is not in\n{}", sim.story());
        if node == 0 {
            assert!(sim.promote(1, false), "the standby has all that was answered");
            assert!(sim.run_until(1_000, |sim| sim.role(1) == Role::Primary));
        }
        let (verdicts, answering) = (sim.verdicts(1 - node), if node == 0 { 1 } else { 0 });
        if node == 1 {
            assert!(sim.solo(0, true), "its standby is down");
        }
        assert!(
            sim.run_until(2_000, |sim| sim.verdicts(answering) > verdicts),
            "the other goes on"
        );
        sim.wipe(node);
        sim.await_in_sync();
        let tally = sim.end();
        assert_eq!(
            (
                tally.times(fault),
                tally.times("damaged logs refused"),
                tally.times("emptied by the operator")
            ),
            (1, 1, 1)
        );
    }
}

#[test]
fn sim_bit_rot_in_the_middle_stops_the_node_and_is_repaired_from_the_peer() {
    spoilt(0, 0, "bit rot", "is damaged: segment 0");
    spoilt(1, 0, "bit rot", "is damaged: segment 0");
}

#[test]
fn sim_bad_length_field_stops_the_node_and_is_repaired_from_the_peer() {
    spoilt(0, 3, "bad length", "the block's head is unsound");
    spoilt(1, 3, "bad length", "the block's head is unsound");
}

#[test]
fn sim_blocks_zeroed_or_exchanged_at_rest_stop_the_node() {
    spoilt(0, 1, "block zeroed", "a later block of the log stands at");
    spoilt(1, 2, "block exchanged", "is damaged: segment 0");
}

/// A disk says that a write is done which is not there, or not in its place: the next start must
/// find it.
fn lies(node: usize, fault: DiskFault, counted: &[&'static str], shards: u16) -> Tally {
    sum((1..=8).map(|seed| {
        let mut sim = Sim::in_sync(Plan { shards, ..quick(seed) });
        sim.break_disk(node, fault);
        let happened = |sim: &Sim| counted.iter().map(|what| sim.times(what)).sum::<u64>() > 0;
        assert!(sim.run_until(2_000, happened), "{}", sim.story());
        assert!(sim.run_until(4_000, |sim| sim.is_stopped_by_damage(node)
            || sim.times("torn ends repaired") > 0));
        if node == 0 && sim.is_stopped_by_damage(0) {
            assert!(sim.promote(1, false));
        }
        sim.end()
    }))
}

#[test]
fn sim_lost_write_is_found_at_the_next_start() {
    for node in 0..2 {
        let tally = lies(node, DiskFault::Lost, &["write lost"], 1);
        assert_eq!(
            (tally.times("write lost"), tally.times("damaged logs refused")),
            (8, 8),
            "{tally:?}"
        );
    }
}

#[test]
fn sim_misdirected_write_is_found_at_the_next_start() {
    for node in 0..2 {
        let tally = lies(node, DiskFault::Misdirected, &["write misdirected"], 1);
        assert_eq!(
            (tally.times("write misdirected"), tally.times("damaged logs refused")),
            (8, 8),
            "{tally:?}"
        );
    }
}

#[test]
fn sim_write_into_another_stream_is_found_by_its_stream() {
    let tally =
        lies(1, DiskFault::Misdirected, &["write misdirected", "write into another stream"], 2);
    assert!(tally.times("write into another stream") > 0, "{tally:?}");
}

#[test]
fn sim_primary_whose_disk_was_set_back_is_not_followed() {
    let mut sim = Sim::in_sync(quick(1));
    let held = sim.durable(1);
    sim.kill(0);
    sim.set_back(0, 3);
    start_again(&mut sim, 0);
    assert!(sim.run_until(2_000, |sim| sim.has_told("its disk was set back")), "{}", sim.story());
    assert_eq!(sim.times("cuts"), 0, "what was committed is not cut off");
    assert_eq!(sim.durable(1), held);
    assert!(sim.promote(1, false));
    let tally = sim.end();
    assert_eq!(tally.times("promotions"), 1);
}

#[test]
fn sim_standby_whose_disk_was_set_back_is_not_promotable() {
    let mut sim = Sim::in_sync(quick(2));
    sim.run_for_ms(300);
    // Another grant, to the log as it is now.
    sim.kill(1);
    start_again(&mut sim, 1);
    sim.await_in_sync();
    sim.run_for_ms(10);
    sim.kill(1);
    sim.set_back(1, 25);
    start_again(&mut sim, 1);
    assert!(sim.has_told("its log is not the one that its grant was given to"), "{}", sim.story());
    assert!(!sim.promote(1, false), "answers may be missing there");
    sim.await_in_sync();
    assert_eq!(sim.times("refused promotions"), 1);
    sim.end();
}

fn failing_write(node: usize, fault: DiskFault, counted: &'static str) {
    for seed in 1..=6 {
        let mut sim = Sim::in_sync(quick(seed));
        sim.break_disk(node, fault);
        assert!(
            sim.run_until(2_000, |sim| sim.times("ended: disk failed") == 1),
            "{}",
            sim.story()
        );
        assert!(!sim.runs(node), "a failed write is not tried again");
        // Of what both had before, the word may still be on its way.
        sim.run_for_ms(4);
        let acknowledged = sim.last_answered(0);
        sim.run_for_ms(40);
        assert_eq!(
            sim.last_answered(0),
            acknowledged,
            "nothing new is acknowledged with one disk of two"
        );
        let tally = sim.end();
        assert_eq!((tally.times(counted), tally.times("ended: disk failed")), (1, 1));
    }
}

#[test]
fn sim_write_error_ends_the_node_and_nothing_is_acknowledged() {
    failing_write(0, DiskFault::Io, "write error");
    failing_write(1, DiskFault::Io, "write error");
    failing_write(0, DiskFault::NoSpace, "write without room");
    failing_write(1, DiskFault::NoSpace, "write without room");
}

#[test]
fn sim_error_while_the_place_in_the_cluster_is_written_ends_the_node() {
    let tally = sum((1..=6).map(|seed| {
        let mut sim = Sim::in_sync(quick(seed));
        sim.kill(0);
        assert!(sim.promote(1, false));
        sim.break_disk(1, DiskFault::Io);
        assert!(sim.run_until(100, |sim| sim.times("ended: disk failed") == 1), "{}", sim.story());
        assert_eq!(sim.times("promotions"), 0, "nobody decides in an epoch that may be forgotten");
        sim.end()
    }));
    assert_eq!(tally.times("state write error"), 6);
}

#[test]
fn sim_full_disk_refuses_what_is_new_before_it_loses_anything() {
    for node in 0..2 {
        let mut sim = Sim::in_sync(Plan { clients: 5, pace_permille: 700, ..quick(1) });
        sim.fill_disk(node, 20_000_000_000);
        assert!(
            sim.run_until(15_000, |sim| sim.times("refused for want of room") > 50),
            "{}",
            sim.story()
        );
        assert!(sim.runs(0) && sim.runs(1), "both go on");
        assert_eq!(sim.times("ended: disk failed"), 0);
        assert_eq!((sim.times("disk full"), sim.times("standby out of room")), (1, node as u64));
        // What was answered before is still answered to whoever asks again.
        let resends = sim.times("answers to resends");
        assert!(
            sim.run_until(2_000, |sim| sim.times("answers to resends") > resends),
            "{}",
            sim.story()
        );
        sim.end();
    }
}

#[test]
fn sim_slow_disk_sheds_what_it_can_not_hold_and_keeps_to_the_budgets() {
    for node in 0..2 {
        let mut sim = Sim::in_sync(Plan { buffers: 2, clients: 2, ..quick(3) });
        sim.slow_disk(node, 700);
        for _ in 0..2 {
            (0..2).for_each(|client| sim.burst(client, 2_200));
            sim.run_for_ms(300);
        }
        sim.run_for_ms(1_200);
        assert!(sim.times("slow write") > 0, "{}", sim.story());
        // Of a slow standby the primary's own disk knows nothing: there the budgets end what waits.
        let shed = if node == 0 { "overloaded" } else { "unconfirmed" };
        assert!(sim.times(shed) > 0, "{}", sim.story());
        sim.end();
    }
}

#[test]
fn sim_lost_repeated_and_reordered_messages_and_resets() {
    let tally = sum((1..=6).map(|seed| {
        let mut sim = Sim::in_sync(Plan { shards: 2, ..quick(seed) });
        sim.slow_network(30, 40, 200);
        for _ in 0..4 {
            sim.run_for_ms(200);
            sim.reset();
        }
        sim.end()
    }));
    for fault in ["message lost", "message twice", "message slow", "reset"] {
        assert!(tally.times(fault) > 0, "{fault}: {tally:?}");
    }
    assert!(tally.times("sessions") > 6, "resets begin new ones");
}

/// Clients reach both nodes; the nodes do not reach each other as they should, and the standby is
/// promoted.
fn parted(seed: u64, part: impl Fn(&mut Sim)) -> Tally {
    let mut sim = Sim::in_sync(quick(seed));
    part(&mut sim);
    sim.run_for_ms(50);
    assert!(sim.promote(1, false), "{}", sim.story());
    assert!(sim.run_until(1_000, |sim| sim.role(1) == Role::Primary), "{}", sim.story());
    let shared = sim.durable(1)[0];
    assert!(sim.run_until(8_000, |sim| sim.last_answered(1) > shared), "{}", sim.story());
    sim.run_for_ms(300);
    // What both had before may still be answered to who asks again.
    assert!(
        sim.last_answered(0) <= shared && sim.durable(0)[0] > shared,
        "the old one acknowledges nothing new"
    );
    assert!(sim.epoch(1) > sim.epoch(0));
    sim.part_nodes(false);
    sim.await_in_sync();
    assert_eq!((sim.role(0), sim.role(1)), (Role::Standby, Role::Primary));
    sim.end()
}

#[test]
fn sim_partition_leaves_one_acknowledging_primary() {
    let tally = sum((1..=6).map(|seed| parted(seed, |sim| sim.part_nodes(true))));
    assert!(tally.times("message held up") > 0 && tally.times("demotions") == 6, "{tally:?}");
}

#[test]
fn sim_partition_of_one_direction_leaves_one_acknowledging_primary() {
    for (from, to) in [(0, 1), (1, 0)] {
        let tally = sum((1..=4).map(|seed| parted(seed, |sim| sim.part_one_way(from, to, true))));
        assert!(
            tally.times("message held up") > 0 && tally.times("demotions") == 4,
            "{from}: {tally:?}"
        );
    }
}

#[test]
fn sim_flapping_line_leaves_one_acknowledging_primary() {
    let mut sim = Sim::in_sync(quick(5));
    for round in 0..12 {
        sim.part_nodes(round % 2 == 0);
        sim.run_for_ms(60 + round * 70);
        if round == 6 {
            assert!(sim.promote(1, false), "{}", sim.story());
        }
    }
    let tally = sim.end();
    assert!(tally.times("message held up") > 0 && tally.times("sessions") > 2, "{tally:?}");
    assert_eq!((tally.times("promotions"), tally.times("demotions")), (1, 1));
}
