//! Nodes that lost something of their data directory, or the place that they had: none of them
//! decides on what it does not know.

use catraca_tests::load::Answered;
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, decisions, remembered};
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync, place};
use catraca_tests::payments::payment;
use catraca_wire::frame::{ClusterRequest, Role};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Exit statuses, as `catraca_node::fatal::Status` has them.
const CONFIG: i32 = 10;
const DATA_DIRECTORY: i32 = 11;

fn decide(node: &Node, ids: &str, count: u64) -> Vec<Answered> {
    let mut client = node.client();
    let answered = (0..count).map(|number| {
        let transaction = payment(&format!("{ids}-{number}"), number);
        let decision = client.decide(&transaction).expect("decided");
        Answered { transaction, decision }
    });
    answered.collect()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp is everywhere");
    assert!(status.success());
}

fn is_message(line: &serde_json::Value, part: &str) -> bool {
    line["fields"]["message"].as_str().is_some_and(|message| message.contains(part))
}

#[test]
fn a_standby_that_starts_again_keeps_what_its_primary_has_lost() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    let before = decide(&primary, "before", 20);
    standby.stop();
    primary.stop();
    // The primary's disk is set back to here later on.
    let (log, old) = (pair.data_dir(0).join("log"), pair.folder().join("old"));
    copy(&log, &old);
    let (primary, standby) = (pair.start(0), pair.start(1));
    await_in_sync(&primary, &standby);
    let after = decide(&primary, "after", 20);
    primary.kill();
    fs::remove_dir_all(&log).expect("there");
    copy(&old, &log);
    let primary = pair.start(0);
    let refuses = |node: &Node| {
        node.process
            .wait_for_line("that it does not follow", |line| is_message(line, "does not follow"))
    };
    refuses(&standby);
    // What an operator does first.
    standby.stop();
    let standby = pair.start(1);
    refuses(&standby);
    primary.kill();
    let all = [before, after].concat();
    ask(&standby, &ClusterRequest::promote(false)).expect("it has all that was ever answered");
    assert_same_answers(&mut standby.client(), remembered(&all));
    standby.stop();
    assert_all_recorded(&decisions(&pair.data_dir(1)), &all);
}

#[test]
fn a_standby_whose_place_another_has_is_not_in_sync_any_more() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    standby.kill();
    ask(&primary, &ClusterRequest::go_solo(true)).expect("the operator's word");
    let mut third =
        Setup::new(&pair.folder().join("c")).arg("--standby-of").arg(pair.setups[0].replication);
    third.first_core = 1;
    fs::create_dir_all(&third.data_dir).expect("a folder");
    fs::copy(pair.data_dir(0).join("chain.key"), third.data_dir.join("chain.key"))
        .expect("the key");
    let third = third.start();
    await_in_sync(&primary, &third);
    decide(&primary, "without-b", 20);
    let standby = pair.start(1);
    standby.wait_until("told that its place is taken", |node| !place(node).in_sync);
    let refused =
        ask(&standby, &ClusterRequest::promote(false)).expect_err("it lacks answered decisions");
    assert!(refused.to_string().contains("not in sync"), "{refused}");
    assert_eq!(ask(&third, &ClusterRequest::promote(false)).expect("in sync").role, Role::Primary);
}

#[test]
fn a_node_that_lost_its_place_or_its_log_does_not_start() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    decide(&primary, "some", 5);
    standby.stop();
    primary.stop();
    for (what, word) in [("replica.json", "replica.json"), ("log", "the log is gone")] {
        let (there, aside) = (pair.data_dir(0).join(what), pair.folder().join("aside"));
        fs::rename(&there, &aside).expect("moved");
        let (status, text) = pair.setups[0].fail();
        assert_eq!(status, DATA_DIRECTORY, "{text}");
        assert!(text.contains(word), "{text}");
        let _ = fs::remove_dir_all(&there);
        fs::rename(&aside, &there).expect("moved back");
    }
    // With both it is what it was.
    let primary = pair.start(0);
    assert_eq!(place(&primary).role, Role::Primary);
}

#[test]
fn a_node_with_a_log_of_its_own_does_not_become_the_standby_of_unknown_nodes() {
    let pair = Pair::new(1);
    let primary = pair.start(0);
    let dir = folder();
    let setup = Setup::new(&dir.path().join("other"));
    // It has the same key by mistake: only the cluster tells.
    fs::create_dir_all(&setup.data_dir).expect("a folder");
    fs::copy(pair.data_dir(0).join("chain.key"), setup.data_dir.join("chain.key"))
        .expect("the key");
    let other = setup.start();
    let mut all = decide(&other, "own", 5);
    other.stop();
    let (status, text) = setup.clone().arg("--standby-of").arg(pair.setups[0].replication).fail();
    assert_eq!(status, CONFIG, "{text}");
    assert!(text.contains("another cluster"), "{text}");
    let other = setup.start();
    all.extend(decide(&other, "still", 5));
    assert_same_answers(&mut other.client(), remembered(&all));
    drop(primary);
}
