//! How a node ends: in order when told to, at once when its disk fails.

use catraca_tests::load::{Load, Seen};
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, assert_verified, decisions};
use catraca_tests::node::{Node, Process, Setup, folder};
use catraca_tests::sandbox;
use catraca_wire::frame::ErrorCode;
use rustix::process::{Resource, Rlimit, Signal, prlimit};

#[test]
fn a_stop_under_load_answers_what_it_accepted_and_ends_well() {
    for shards in [1, 2] {
        let dir = folder();
        let node = Setup::new(dir.path()).shards(shards).start();
        let loads: Vec<Load> =
            (0..3).map(|number| Load::start(&node, &format!("load{number}"), 200)).collect();
        loads.iter().for_each(|load| load.wait_for(500));
        node.stop();
        let seen: Vec<Seen> = loads.into_iter().map(Load::join).collect();
        let recorded = decisions(dir.path());
        let mut answered = 0;
        for seen in &seen {
            assert!(
                seen.refused.keys().all(|code| *code == ErrorCode::ShuttingDown),
                "{:?}",
                seen.refused
            );
            assert_all_recorded(&recorded, &seen.answered);
            answered += seen.answered.len();
        }
        // Not one more: what was recorded was accepted, and what was accepted was answered.
        assert_eq!(recorded.len(), answered);
        assert_verified(dir.path(), true);
        let node = Setup::new(dir.path()).shards(shards).start();
        for seen in &seen {
            assert_same_answers(&mut node.client(), seen.answered.iter().rev().take(1_000));
        }
        node.stop();
    }
}

#[test]
fn an_interrupt_stops_like_a_term() {
    let dir = folder();
    let mut node = Setup::new(dir.path()).start();
    node.process.signal(Signal::INT);
    assert_eq!(node.process.wait().code(), Some(0), "{}", node.process.stderr());
}

#[test]
fn a_write_that_fails_ends_the_node_and_acknowledges_nothing_more() {
    /// `catraca_node::fatal::Status::DiskFailed`.
    const DISK_FAILED: i32 = 13;
    let dir = folder();
    let setup = Setup::new(dir.path());
    let mut command = setup.command();
    sandbox::ignore_file_size_signal(&mut command);
    let mut node = Node::of(Process::spawn(&mut command), setup.clone());
    let load = Load::start(&node, "load", 64);
    load.wait_for(200);
    // From here on the kernel refuses writes behind the first 64 KiB of a file.
    let small = Rlimit { current: Some(65_536), maximum: Some(65_536) };
    prlimit(Some(node.process.pid()), Resource::Fsize, small).expect("a child's limits can be set");
    let status = node.process.wait();
    let text = node.process.stderr();
    assert_eq!(status.code(), Some(DISK_FAILED), "{text}");
    let told = text.lines().filter(|line| line.contains("writing the log failed")).count();
    assert_eq!(told, 1, "{text}");
    assert!(text.contains(".seg offset"), "the file and the place are named: {text}");
    let seen = load.join();
    assert!(!seen.unanswered.is_empty());
    assert_all_recorded(&decisions(dir.path()), &seen.answered);
    // On a sound disk it goes on, and knows all that it ever told anybody.
    let node = setup.start();
    assert_same_answers(&mut node.client(), &seen.answered);
    node.stop();
    assert_verified(dir.path(), true);
}
