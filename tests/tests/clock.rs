//! The clock of the day is set while a node decides: back by an hour, forth by two. Nothing is
//! lost, decided twice, or left waiting; what is new may be refused for its age, which is judged by
//! the clock that there is.
//!
//! The clock is that of the node alone: libfaketime stands between the program and the kernel, and
//! leaves the other clock as it is.

use catraca_tests::clock::Clock;
use catraca_tests::load::Load;
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, assert_verified, decisions};
use catraca_tests::node::{Setup, folder};
use catraca_tests::pair::{Pair, await_in_sync};
use catraca_wire::frame::ErrorCode;

/// Answers between two settings of the clock.
const ANSWERS: u64 = 300;
/// How the clock is set: seconds off the real time, one after the other.
const OFFSETS_S: [i64; 4] = [-3_600, 3_600, -3_600, 0];

#[test]
fn a_clock_set_back_and_forth_under_load_loses_nothing() {
    let dir = folder();
    let mut setup = Setup::new(&dir.path().join("data"));
    let clock = Clock::of(&mut setup, dir.path());
    let node = setup.start();
    let load = Load::start(&node, "load", 64);
    load.wait_for(ANSWERS);
    for offset_s in OFFSETS_S {
        clock.set(&node, offset_s);
        if offset_s >= 0 {
            // An hour ahead, what is new is an hour old, which it may be.
            let before = load.answered();
            load.wait_for(before + ANSWERS);
        }
    }
    let seen = load.stop();
    assert!(seen.unanswered.is_empty());
    // An hour behind, it comes from too far in the future.
    assert_eq!(
        seen.refused.keys().collect::<Vec<_>>(),
        [&ErrorCode::BadField],
        "{:?}",
        seen.refused
    );
    assert_same_answers(&mut node.client(), &seen.answered);
    node.stop();
    assert_verified(&setup.data_dir, true);
    let recorded = decisions(&setup.data_dir);
    assert_all_recorded(&recorded, &seen.answered);
    assert_eq!(recorded.len(), seen.answered.len(), "nothing that was refused is recorded");
}

#[test]
fn a_pair_whose_clocks_are_set_against_each_other_goes_on() {
    // So far may a transaction's own time be ahead: nothing is refused for it here.
    let mut pair = Pair::new(1).set("event_max_ahead_s", 10_000);
    let folders = [folder(), folder()];
    let clocks: Vec<Clock> = pair
        .setups
        .iter_mut()
        .zip(&folders)
        .map(|(setup, dir)| Clock::of(setup, dir.path()))
        .collect();
    let [primary, standby] = pair.start_both();
    let load = Load::through_failover(pair.addresses(), "load", 64);
    load.wait_for(ANSWERS);
    for offset_s in OFFSETS_S {
        clocks[0].set(&primary, offset_s);
        clocks[1].write(-offset_s);
        let before = load.answered();
        load.wait_for(before + ANSWERS);
    }
    await_in_sync(&primary, &standby);
    let seen = load.stop();
    assert_same_answers(&mut primary.client(), &seen.answered);
    primary.stop();
    standby.stop();
    let logs = [0, 1].map(|index| decisions(&pair.data_dir(index)));
    assert!(logs[0] == logs[1], "the logs differ");
    assert_all_recorded(&logs[0], &seen.answered);
    assert_all_recorded(&logs[1], []);
}
