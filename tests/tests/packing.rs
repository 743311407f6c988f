//! Segments packed while nodes run: nothing that was answered is lost or read otherwise, whatever
//! happens to the node, and a standby takes packed segments as it takes others.

use catraca_tests::load::{Load, Seen};
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, assert_verified, decisions};
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync, place};
use catraca_tests::payments::payment;
use catraca_tests::sandbox;
use catraca_wire::block::SEGMENT_HEAD_LEN;
use catraca_wire::frame::{ClusterRequest, Role};
use std::fs;
use std::path::Path;

/// Shortest segments that a node makes, MiB: they fill at once.
const SEGMENT_MIB: u64 = 2;
/// Answers after which several of them are full.
const ANSWERS: u64 = 45_000;
/// Unanswered requests of the load.
const IN_FLIGHT: usize = 500;

fn load(node: &Node, prefix: &str) -> Seen {
    let load = Load::start(node, prefix, IN_FLIGHT);
    load.wait_for(ANSWERS);
    load.stop()
}

/// Names in the first stream's folder that end so.
fn files(data_dir: &Path, end: &str) -> usize {
    let folder = fs::read_dir(data_dir.join("log/shard-0000")).expect("the log");
    folder
        .filter(|entry| {
            entry.as_ref().expect("an entry").file_name().to_string_lossy().ends_with(end)
        })
        .count()
}

fn await_packed(node: &Node, segments: f64) {
    node.wait_until("segments are packed", |node| {
        node.metric("catraca_log_segments_packed_total") >= segments
    });
}

#[test]
fn a_node_packs_what_is_full_and_starts_from_it() {
    let dir = folder();
    let setup = Setup::new(dir.path()).set("segment_mib", SEGMENT_MIB);
    let node = setup.start();
    let seen = load(&node, "first");
    await_packed(&node, 3.0);
    assert!(node.metric("catraca_log_packing_freed_bytes_total") > 0.0);
    assert_eq!(node.metric("catraca_log_unsound_segments"), 0.0);
    assert_same_answers(&mut node.client(), &seen.answered);
    // Everything reads it beside the running node, and after a kill.
    assert_verified(dir.path(), false);
    node.kill();
    assert!(files(dir.path(), ".zseg") >= 3);
    let node = setup.start();
    assert_same_answers(&mut node.client(), &seen.answered);
    let again = load(&node, "second");
    node.stop();
    assert_verified(dir.path(), true);
    let recorded = decisions(dir.path());
    assert_all_recorded(&recorded, &seen.answered);
    assert_all_recorded(&recorded, &again.answered);
}

#[test]
fn a_segment_with_bit_rot_is_told_and_not_packed() {
    let dir = folder();
    let setup = Setup::new(dir.path()).set("segment_mib", SEGMENT_MIB);
    let node = setup.clone().set("pack_segments", false).start();
    load(&node, "load");
    node.stop();
    assert_eq!(files(dir.path(), ".zseg"), 0, "it is switched off");
    let node = setup.start();
    let held = sandbox::hold_thread(node.process.pid(), "upkeep");
    let path = dir.path().join("log/shard-0000/00000000.seg");
    let mut bytes = fs::read(&path).expect("there");
    bytes[SEGMENT_HEAD_LEN - 1] ^= 1;
    fs::write(&path, &bytes).expect("own");
    drop(held);
    node.wait_until("it is told", |node| node.metric("catraca_log_unsound_segments") == 1.0);
    node.process.wait_for_line("which one", |line| {
        line["fields"]["segment"] == 0 && line["level"] == "ERROR"
    });
    await_packed(&node, 2.0);
    assert!(fs::read(&path).expect("there") == bytes, "it stays as it is");
    node.stop();
}

#[test]
fn a_new_standby_catches_up_from_packed_segments() {
    let pair = Pair::new(1).set("segment_mib", SEGMENT_MIB);
    let primary = pair.start(0);
    let seen = load(&primary, "before");
    await_packed(&primary, 3.0);
    pair.share_key();
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    await_packed(&standby, 1.0);
    let after = load(&primary, "after");
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("in sync");
    assert_same_answers(&mut standby.client(), &seen.answered);
    assert_same_answers(&mut standby.client(), &after.answered);
    standby.stop();
    assert_verified(&pair.data_dir(1), true);
    assert_all_recorded(&decisions(&pair.data_dir(1)), &seen.answered);
}

#[test]
fn what_was_packed_alone_is_cut_off_by_a_standby_that_was_promoted() {
    let pair = Pair::new(1).set("segment_mib", SEGMENT_MIB);
    let [primary, standby] = pair.start_both();
    let transaction = payment("shared", 1);
    let shared = primary.client().decide(&transaction).expect("decided");
    standby.kill();
    ask(&primary, &ClusterRequest::go_solo(true)).expect("the operator's word");
    load(&primary, "alone");
    await_packed(&primary, 3.0);
    primary.kill();
    let standby = pair.start(1);
    ask(&standby, &ClusterRequest::promote(true)).expect("the operator accepts the loss");
    let kept = load(&standby, "kept");
    let other = pair.setups[0].clone().arg("--standby-of").arg(pair.setups[1].replication).start();
    await_in_sync(&standby, &other);
    assert_eq!(place(&other).role, Role::Standby);
    let quarantine = fs::read_dir(pair.data_dir(0).join("quarantine")).expect("made");
    let kept_len: u64 = quarantine
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("an entry").len())
        .sum();
    assert!(kept_len > (3 * SEGMENT_MIB) << 20, "all of what was packed is kept: {kept_len} bytes");
    standby.kill();
    ask(&other, &ClusterRequest::promote(false)).expect("in sync");
    assert_same_answers(&mut other.client(), &kept.answered);
    let known = other.client().decide(&transaction).expect("known");
    assert_eq!(known.answer.lsn, shared.answer.lsn);
    other.stop();
    assert_verified(&pair.data_dir(0), true);
    assert_all_recorded(&decisions(&pair.data_dir(0)), &kept.answered);
}
