//! Two nodes, each in a network of its own with a cable between them: the cable is cut, cut in one
//! direction, and flaps. Needs root, for network namespaces (`ip netns`).

use catraca_tests::load::Load;
use catraca_tests::logs::{
    assert_all_recorded, assert_same_answers, assert_verified, decisions, remembered,
};
use catraca_tests::network::Cable;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{ask, await_in_sync_in};
use catraca_wire::frame::ClusterRequest;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

const LEAST_ANSWERS: u64 = 100;
/// Unanswered payments of each load.
const IN_FLIGHT: usize = 64;

struct Apart {
    cable: Cable,
    dir: TempDir,
    nodes: [Node; 2],
}

fn setup(cable: &Cable, dir: &TempDir, end: usize) -> Setup {
    let mut setup = Setup::new(&dir.path().join(["a", "b"][end])).set("plain", "true");
    setup.listen = "127.0.0.1:7400".parse().expect("an address");
    setup.replication = format!("{}:7401", cable.address(end)).parse().expect("an address");
    setup.first_core = end as u16;
    setup.wrapper = cable.wrapper(end);
    if end == 1 {
        setup.arg("--standby-of").arg(format!("{}:7401", cable.address(0)))
    } else {
        setup
    }
}

impl Apart {
    fn start() -> Self {
        let cable = Cable::lay();
        let dir = folder();
        let first = setup(&cable, &dir, 0).start();
        fs::create_dir_all(dir.path().join("b")).expect("a folder");
        fs::copy(dir.path().join("a/chain.key"), dir.path().join("b/chain.key"))
            .expect("the first node has made its key");
        let second = setup(&cable, &dir, 1).start();
        let apart = Self { cable, dir, nodes: [first, second] };
        apart.await_in_sync(0);
        apart
    }

    fn await_in_sync(&self, primary: usize) {
        await_in_sync_in(
            &self.cable,
            [(primary, &self.nodes[primary]), (1 - primary, &self.nodes[1 - primary])],
        );
    }

    /// Load on one node, from beside it.
    fn load(&self, end: usize, prefix: &str) -> Load {
        let address = self.nodes[end].listen.to_string();
        let prefix = prefix.to_owned();
        // A thread's network is that of the thread which started it.
        self.cable.at(end, move || Load::through_failover(vec![address], &prefix, IN_FLIGHT))
    }

    fn promote(&self, end: usize) {
        let node = &self.nodes[end];
        let outcome = self.cable.at(end, || ask(node, &ClusterRequest::promote(false)));
        outcome.expect("a standby in sync is promoted, whether its primary can be reached or not");
    }
}

/// The cable is cut in some way, the standby promoted, and the cable mended: only one node answers
/// at any time.
fn one_primary_through(cut: impl Fn(&Cable), mend: impl Fn(&Cable)) {
    let apart = Apart::start();
    let old = apart.load(0, "old");
    old.wait_for(LEAST_ANSWERS);
    cut(&apart.cable);
    apart.promote(1);
    let answered_by_then = old.answered();
    let new = apart.load(1, "new");
    new.wait_for(LEAST_ANSWERS);
    // What was answered before may be counted late. What is asked after it needs the standby: it is
    // never answered, so the old primary gives no more answers than it owed.
    let more = old.answered() - answered_by_then;
    assert!(more <= IN_FLIGHT as u64, "the old primary gave {more} answers beside the new one");
    mend(&apart.cable);
    apart.await_in_sync(1);
    let new_seen = new.stop();
    // Word of the standby that was under way when the cable was cut may have come after it was
    // mended: what it let the old primary answer is in the new one's log, as is checked below, and
    // nothing else may be answered.
    let old_seen = old.abandon();
    assert!(old_seen.answered.iter().all(|answered| answered.decision.answer.epoch == 1));
    assert!(new_seen.answered.iter().all(|answered| answered.decision.answer.epoch == 2));
    let all = [old_seen.answered, new_seen.answered].concat();
    let node = &apart.nodes[1];
    apart.cable.at(1, || assert_same_answers(&mut node.client(), remembered(&all)));
    finish(apart, &all);
}

fn finish(apart: Apart, answered: &[catraca_tests::load::Answered]) {
    let Apart { cable, dir, nodes } = apart;
    nodes.into_iter().for_each(|node| drop(node.stop()));
    let logs = ["a", "b"].map(|name| decisions(&dir.path().join(name)));
    assert_all_recorded(&logs[0], answered);
    assert!(logs[0] == logs[1], "the logs differ");
    ["a", "b"].iter().for_each(|name| assert_verified(&dir.path().join(name), true));
    drop(cable);
}

#[test]
fn a_cut_cable_leaves_one_primary() {
    one_primary_through(Cable::cut, Cable::mend);
}

#[test]
fn a_cable_cut_in_one_direction_leaves_one_primary() {
    one_primary_through(|cable| cable.block(0), |cable| cable.unblock(0));
}

#[test]
fn a_flapping_cable_loses_nothing() {
    let apart = Apart::start();
    let load = apart.load(0, "flap");
    for round in 0..8 {
        load.wait_for((round + 1) * LEAST_ANSWERS / 4);
        apart.cable.cut();
        std::thread::sleep(Duration::from_millis(40 * (round % 4)));
        apart.cable.mend();
    }
    apart.await_in_sync(0);
    let seen = load.stop();
    finish(apart, &seen.answered);
}
