//! The clock of the day is set while a node decides: back by an hour, forth by two. Nothing is
//! lost, decided twice, or left waiting; what is new may be refused for its age, which is judged by
//! the clock that there is.
//!
//! The clock is that of the node alone: libfaketime stands between the program and the kernel, and
//! leaves the other clock as it is.

use catraca_tests::load::Load;
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, assert_verified, decisions};
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, await_in_sync};
use catraca_wire::client::now_ns;
use catraca_wire::frame::ErrorCode;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Answers between two settings of the clock.
const ANSWERS: u64 = 300;
/// How the clock is set: seconds off the real time, one after the other.
const OFFSETS_S: [i64; 4] = [-3_600, 3_600, -3_600, 0];

/// A clock that can be set.
struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Of a node that is to be started.
    fn of(setup: &mut Setup, folder: &Path) -> Self {
        let library = std::fs::read_dir("/usr/lib").expect("a folder").flatten();
        let library = library
            .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists());
        let library = library
            .expect("libfaketime is needed: `scripts/setup.sh tests`, or the package faketime");
        let clock = Self { file: folder.join("clock") };
        clock.write(0);
        setup.wrapper = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.file.display()),
            // Looked at each second of the real time.
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ];
        clock
    }

    /// The file is never there in part.
    fn write(&self, offset_s: i64) {
        let whole = self.file.with_extension("new");
        std::fs::write(&whole, format!("{offset_s:+}\n")).expect("written");
        std::fs::rename(whole, &self.file).expect("the same folder");
    }

    /// Sets it, and waits until the node sees it.
    fn set(&self, node: &Node, offset_s: i64) {
        self.write(offset_s);
        let mut client = node.client();
        let near = Duration::from_secs(600).as_nanos() as u64;
        node.wait_until("the clock was set", |_| {
            let shown = client.ping().expect("alive");
            shown.abs_diff(now_ns().saturating_add_signed(offset_s * 1_000_000_000)) < near
        });
    }
}

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
