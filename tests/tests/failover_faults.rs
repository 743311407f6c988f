//! What goes wrong with one of two nodes besides its death: a disk that refuses, a standby that hangs, a core that stands still, a node that
//! does not belong.

use catraca_tests::load::Load;
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, decisions};
use catraca_tests::node::{Node, Setup, fail};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::{payments, sandbox};
use catraca_wire::block::FORMAT_VERSION;
use catraca_wire::client::ClientError;
use catraca_wire::frame::{ClusterRequest, ErrorCode};
use catraca_wire::replication::{AcceptFrame, JoinFrame, LINK_HEAD_LEN, Purpose, RefuseFrame, RefuseReason, view};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Exit statuses, as `catraca_engine::fatal::Status` has them.
const CONFIG: i32 = 10;
const DATA_DIRECTORY: i32 = 11;
const DISK_FAILED: i32 = 13;
const STUCK: i32 = 15;
/// Fewest answers before a fault, so that there is something to lose.
const LEAST_ANSWERS: u64 = 200;

/// A pair of which one node's next writes can be made to fail, under load.
fn pair_with_a_weak_disk(weak: usize) -> (Pair, [Node; 2]) {
    let pair = Pair::new(1);
    let start = |index: usize| {
        let mut command = pair.setups[index].command();
        if index == weak {
            sandbox::ignore_file_size_signal(&mut command);
        }
        Node::of(catraca_tests::node::Process::spawn(&mut command), pair.setups[index].clone())
    };
    let first = start(0);
    pair.share_key();
    let second = start(1);
    await_in_sync(&first, &second);
    (pair, [first, second])
}

/// From now on the disk refuses what the node writes.
fn refuse_writes(node: &Node) {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(node.process.pid()), Resource::Fsize, nothing).expect("a limit may be lowered");
}

#[test]
fn a_primary_whose_disk_fails_ends_and_the_standby_has_all_that_was_answered() {
    let (pair, [mut primary, standby]) = pair_with_a_weak_disk(0);
    let load = Load::through_failover(pair.addresses(), "p", 64);
    load.wait_for(LEAST_ANSWERS);
    refuse_writes(&primary);
    assert_eq!(primary.process.wait().code(), Some(DISK_FAILED), "{}", primary.process.stderr());
    ask(&standby, &ClusterRequest::promote(false)).expect("in sync");
    let before = load.answered();
    load.wait_for(before + LEAST_ANSWERS);
    let seen = load.stop();
    assert_all_recorded(&decisions(&pair.data_dir(1)), &seen.answered);
    assert_same_answers(&mut standby.client(), &seen.answered);
}

#[test]
fn a_standby_whose_disk_fails_ends_and_nothing_is_answered_without_it() {
    let (pair, [primary, mut standby]) = pair_with_a_weak_disk(1);
    let load = Load::through_failover(pair.addresses(), "s", 64);
    load.wait_for(LEAST_ANSWERS);
    refuse_writes(&standby);
    assert_eq!(standby.process.wait().code(), Some(DISK_FAILED), "{}", standby.process.stderr());
    let error = primary.client().decide(&payments::payment("after", 1)).expect_err("its commit is unknown");
    assert!(matches!(error, ClientError::Refused(error) if error.code == ErrorCode::Unconfirmed));
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    let seen = load.stop();
    assert_all_recorded(&decisions(&pair.data_dir(1)), &seen.answered);
    assert_same_answers(&mut primary.client(), &seen.answered);
}

#[test]
fn a_standby_that_hangs_is_waited_for_within_bounds() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    // More than may be pending at once, so that the bound is met.
    let loads: Vec<Load> = (0..72).map(|number| Load::through_failover(pair.addresses(), &format!("h{number}"), 1000)).collect();
    loads.iter().for_each(|load| load.wait_for(1));
    standby.process.signal(Signal::STOP);
    primary.wait_until("shedding load", |node| node.metric("catraca_overloaded_total") > 0.0);
    assert!(primary.metric("catraca_pending") <= 65_536.0);
    standby.process.signal(Signal::CONT);
    await_in_sync(&primary, &standby);
    for load in loads {
        let seen = load.stop();
        let shed = [ErrorCode::Overloaded, ErrorCode::Unconfirmed, ErrorCode::Deadline];
        assert!(seen.refused.keys().all(|code| shed.contains(code)), "{:?}", seen.refused);
        assert_all_recorded(&decisions(&pair.data_dir(1)), &seen.answered);
    }
}

#[test]
fn a_core_that_stands_still_ends_the_node() {
    let dir = catraca_tests::node::folder();
    let mut node = Setup::new(dir.path()).start();
    let answered = node.client().decide(&payments::payment("before", 1));
    assert!(answered.is_ok());
    let held = sandbox::hold_thread(node.process.pid(), "shard-0");
    assert_eq!(node.process.wait().code(), Some(STUCK), "{}", node.process.stderr());
    assert!(node.process.stderr().contains("has not moved"));
    drop(held);
}

#[test]
fn a_release_that_panics_ends_as_a_whole() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).expect("the workspace's");
    let release = manifest.split("[profile.release]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("the profile");
    assert!(release.contains("panic = \"abort\""), "one core gone must be the node gone");
}

/// Sends a JOIN and gives what comes back.
fn knock(address: SocketAddr, join: &JoinFrame) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the node takes calls");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    stream.write_all(bytemuck::bytes_of(join)).expect("sent");
    let mut frame = vec![0; LINK_HEAD_LEN];
    stream.read_exact(&mut frame).expect("an answer");
    let length = u32::from_le_bytes(frame[..4].try_into().expect("4 bytes")) as usize;
    frame.resize(length, 0);
    stream.read_exact(&mut frame[LINK_HEAD_LEN..]).expect("the rest");
    frame
}

#[test]
fn a_node_of_another_version_cluster_or_key_is_refused() {
    let pair = Pair::new(1);
    let primary = pair.start(0);
    let address = pair.setups[0].replication;
    let mut join = JoinFrame::empty(0, 0);
    join.format_version = FORMAT_VERSION.into();
    join.purpose = Purpose::Inquiry.to_wire();
    join.shards = 1.into();
    join.node_id = [9; 16];
    let reason =
        |join: &JoinFrame| view::<RefuseFrame>(&knock(address, join)).and_then(|frame| RefuseReason::from_wire(frame.reason));
    assert!(view::<AcceptFrame>(&knock(address, &join)).is_some(), "so far all is right");
    let mut later = join;
    later.format_version = (FORMAT_VERSION + 1).into();
    assert_eq!(reason(&later), Some(RefuseReason::Version));
    let mut elsewhere = join;
    elsewhere.cluster_id = [7; 16];
    assert_eq!(reason(&elsewhere), Some(RefuseReason::Cluster));
    let mut itself = join;
    itself.node_id = primary.process.pid().as_raw_nonzero().get().to_le_bytes().repeat(4).try_into().expect("16 bytes");
    assert!(view::<AcceptFrame>(&knock(address, &itself)).is_some());
    // Another protocol version, and bytes that are no frame, end the connection and nothing else.
    for garbage in [[0xff; 256], [0; 256]] {
        let mut stream = TcpStream::connect(address).expect("the node takes calls");
        stream.write_all(&garbage).expect("sent");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
    }

    // Real nodes that do not belong, each with one sentence and its own status.
    let (status, text) = pair.setups[1].fail();
    assert!(status == DATA_DIRECTORY && text.contains("copy its chain.key"), "{text}");
    std::fs::create_dir_all(pair.data_dir(1)).expect("a folder");
    let key = pair.data_dir(1).join("chain.key");
    std::fs::write(&key, format!("{}\n", "5a".repeat(32))).expect("written");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("own file");
    let (status, text) = pair.setups[1].fail();
    assert!(status == CONFIG && text.contains("another chain key"), "{text}");
    pair.share_key();
    let mut wide = pair.setups[1].clone().shards(2);
    wide.first_core = 0;
    let (status, text) = fail(&mut wide.command());
    assert!(status == CONFIG && text.contains("1 shards, this node 2"), "{text}");
    primary.client().decide(&payments::payment("still", 1)).expect("nobody disturbed it");
}
