//! What goes wrong with one of two nodes besides its death: a disk that refuses, a standby that
//! hangs, a core that stands still, a node that does not belong.

use catraca_tests::disk::{ballast, inside, mounted};
use catraca_tests::load::Load;
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, decisions, remembered};
use catraca_tests::node::{Node, Process, Setup, fail, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync, place};
use catraca_tests::raw::Raw;
use catraca_tests::{payments, sandbox};
use catraca_wire::block::FORMAT_VERSION;
use catraca_wire::client::ClientError;
use catraca_wire::frame::{ClusterRequest, ErrorCode, VerdictFrame};
use catraca_wire::replication::{
    AcceptFrame, JoinFrame, LINK_HEAD_LEN, Purpose, RefuseFrame, RefuseReason, view,
};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Exit statuses, as `catraca_node::fatal::Status` has them.
const CONFIG: i32 = 10;
const DATA_DIRECTORY: i32 = 11;
const DISK_FAILED: i32 = 13;
const STUCK: i32 = 15;
/// Health is answered within this time beside scrapes that wait: a core that stands still ends the
/// node after 10 s, and each of these scrapes would wait for 2.
const HEALTH_WITHIN: Duration = Duration::from_secs(8);
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
        Node::of(Process::spawn(&mut command), pair.setups[index].clone())
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
    assert_same_answers(&mut standby.client(), remembered(&seen.answered));
}

#[test]
fn a_standby_whose_disk_fails_ends_and_nothing_is_answered_without_it() {
    let (pair, [primary, mut standby]) = pair_with_a_weak_disk(1);
    let load = Load::through_failover(pair.addresses(), "s", 64);
    load.wait_for(LEAST_ANSWERS);
    refuse_writes(&standby);
    assert_eq!(standby.process.wait().code(), Some(DISK_FAILED), "{}", standby.process.stderr());
    let error =
        primary.client().decide(&payments::payment("after", 1)).expect_err("its commit is unknown");
    assert!(matches!(error, ClientError::Refused(error) if error.code == ErrorCode::Unconfirmed));
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    let seen = load.stop();
    assert_all_recorded(&decisions(&pair.data_dir(1)), &seen.answered);
    assert_same_answers(&mut primary.client(), remembered(&seen.answered));
}

/// More than may be pending in one shard.
const FLOOD: u64 = 80_000;
/// Connections that it comes on.
const FLOOD_CONNECTIONS: u64 = 5;
/// As `catraca_core::limits` has it.
const MAX_PENDING: f64 = 65_536.0;

/// A pair whose clients may have many open at once.
fn wide_pair() -> (Pair, [Node; 2]) {
    let pair = Pair::new(1).set("in_flight", FLOOD / FLOOD_CONNECTIONS);
    let nodes = pair.start_both();
    (pair, nodes)
}

/// Sends more than may be pending while `hold` holds something still, and sees that what is too
/// much is shed at once, and everything answered within its budget. Gives what was decided.
fn flood<H>(primary: &Node, hold: impl FnOnce() -> H, let_go: impl FnOnce(H)) -> Vec<u64> {
    let mut connections: Vec<Raw> =
        (0..FLOOD_CONNECTIONS).map(|_| Raw::open(primary.listen)).collect();
    let held = hold();
    let began = Instant::now();
    for (number, raw) in connections.iter_mut().enumerate() {
        let first = number as u64 * FLOOD / FLOOD_CONNECTIONS;
        let frames: Vec<u8> = (first..first + FLOOD / FLOOD_CONNECTIONS)
            .flat_map(|id| {
                bytemuck::bytes_of(&payments::submit(
                    id,
                    &payments::payment(&format!("flood-{id}"), id),
                ))
                .to_vec()
            })
            .collect();
        raw.send_bytes(&frames).expect("the node reads as much as it said it would");
    }
    primary.wait_until("shedding load", |node| node.metric("catraca_overloaded_total") > 0.0);
    assert!(primary.metric("catraca_pending") <= MAX_PENDING, "more is pending than may be");
    let mut decided = Vec::new();
    let mut refused = HashMap::new();
    let mut held = Some((held, let_go));
    for raw in &mut connections {
        for _ in 0..FLOOD / FLOOD_CONNECTIONS {
            let reply = raw.receive().expect("an answer in time").expect("an answer, not the end");
            match reply.error() {
                Some((code, _)) => *refused.entry(code).or_insert(0) += 1,
                None => {
                    assert!(reply.get::<VerdictFrame>().is_some(), "{reply:?}");
                    decided.push(reply.correlation());
                }
            }
        }
        // What holds still is let go once the first connection has all its answers: they did not
        // wait for it.
        if let Some((held, let_go)) = held.take() {
            assert!(
                refused.contains_key(&ErrorCode::Unconfirmed) && decided.is_empty(),
                "{refused:?}, {} decided",
                decided.len()
            );
            assert!(began.elapsed() < SLOWEST_ANSWERS, "the answers took {:?}", began.elapsed());
            let_go(held);
        }
    }
    let known = [ErrorCode::Overloaded, ErrorCode::Unconfirmed, ErrorCode::Late];
    assert!(refused.keys().all(|code| known.contains(code)), "{refused:?}");
    assert!(refused.contains_key(&ErrorCode::Overloaded), "{refused:?}");
    decided
}

/// The budget of 2 s, and what sending and receiving a flood takes an unoptimised program: an
/// answer that waited for what is held would never come.
const SLOWEST_ANSWERS: Duration = Duration::from_secs(20);

/// Once both agree: what was decided has one record, in both logs.
fn settle(pair: &Pair, [primary, standby]: [Node; 2], decided: &[u64]) {
    await_in_sync(&primary, &standby);
    primary.stop();
    standby.stop();
    let logs = [0, 1].map(|index| decisions(&pair.data_dir(index)));
    assert!(logs[0] == logs[1], "the logs differ");
    assert_all_recorded(&logs[0], []);
    let recorded: HashSet<_> = logs[0].values().map(|(record, _)| record.transaction.id).collect();
    assert!(!recorded.is_empty(), "what was pending is recorded");
    for id in decided {
        let transaction = payments::payment(&format!("flood-{id}"), *id);
        assert!(recorded.contains(&transaction.id), "flood-{id} was decided and is not in the log");
    }
}

#[test]
fn a_standby_that_hangs_is_waited_for_within_bounds() {
    let (pair, [primary, standby]) = wide_pair();
    let decided = flood(
        &primary,
        || standby.process.signal(Signal::STOP),
        |()| standby.process.signal(Signal::CONT),
    );
    settle(&pair, [primary, standby], &decided);
}

#[test]
fn a_standby_whose_disk_is_slow_is_waited_for_within_bounds() {
    let (pair, [primary, standby]) = wide_pair();
    let hold = || sandbox::hold_thread(standby.process.pid(), "stream-0");
    let decided = flood(&primary, hold, drop);
    settle(&pair, [primary, standby], &decided);
}

#[test]
fn a_primary_whose_disk_is_slow_sheds_what_is_too_much() {
    let (pair, [primary, standby]) = wide_pair();
    let hold = || sandbox::hold_thread(primary.process.pid(), "log-0");
    let decided = flood(&primary, hold, drop);
    settle(&pair, [primary, standby], &decided);
}

#[test]
fn a_standby_whose_disk_fills_up_ends_admission_before_anything_waits_for_it() {
    let pair = Pair::new(1).set("allow_volatile_data_dir", true).set("disk_reserve_mib", 16);
    let primary = pair.start(0);
    pair.share_key();
    let standby = Node::of(
        Process::spawn(&mut mounted(&pair.setups[1], "tmpfs", "size=64m")),
        pair.setups[1].clone(),
    );
    await_in_sync(&primary, &standby);
    let mut client = primary.client();
    let before = payments::payment("before", 1);
    client.decide(&before).expect("both have room");
    let file = inside(&standby.process, &standby.setup.data_dir).join("ballast");
    ballast(&file, 40 * 1024 * 1024);
    primary.wait_until("the standby's full disk was noticed", |node| {
        node.http_get("/readyz") == (503, "the standby's disk is nearly full\n".to_owned())
    });
    let mut number = 0;
    primary.wait_until("what is new is refused", |_| {
        number += 1;
        match client.decide(&payments::payment(&format!("full-{number}"), number)) {
            Ok(_) => false,
            Err(ClientError::Refused(error)) => {
                assert_eq!(error.code, ErrorCode::DiskFull, "{}", error.detail);
                true
            }
            Err(other) => panic!("{other}"),
        }
    });
    assert!(client.decide(&before).is_ok_and(|again| again.duplicate), "what is old is answered");
    std::fs::remove_file(&file).expect("there");
    primary.wait_until("it decides again", |_| {
        client.decide(&payments::payment(&format!("full-{number}"), number)).is_ok()
    });
}

#[test]
fn a_state_that_can_not_be_written_hangs_neither_health_nor_the_session() {
    let pair = Pair::new(1);
    let primary = pair.start(0);
    pair.share_key();
    // As a disk that takes a second and more for the state: what rests on it waits, and nothing
    // else.
    let held = sandbox::hold_thread(primary.process.pid(), "replica-state");
    let standby = pair.start(1);
    standby.wait_until("it follows", |node| place(node).connected);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        assert_eq!(primary.http_get("/livez").0, 200);
        assert_eq!(primary.http_get("/readyz").0, 200);
        assert!(
            primary.http_get("/metrics").1.contains("catraca_peer_connected 1"),
            "heartbeats go on"
        );
        assert!(place(&primary).connected && !place(&primary).in_sync);
        std::thread::sleep(Duration::from_millis(100));
    }
    primary
        .client()
        .decide(&payments::payment("meanwhile", 1))
        .expect("answers do not wait for the standby before it is durable");
    drop(held);
    await_in_sync(&primary, &standby);
}

#[test]
fn scrapes_that_wait_for_a_core_keep_nobody_from_health() {
    let dir = folder();
    let mut node = Setup::new(dir.path()).start();
    node.client().decide(&payments::payment("before", 1)).expect("decided");
    let held = sandbox::hold_thread(node.process.pid(), "shard-0-1");
    std::thread::scope(|scope| {
        for _ in 0..100 {
            // The node ends before all of them are answered.
            scope.spawn(|| {
                TcpStream::connect(node.setup.http).and_then(|mut scrape| {
                    scrape.write_all(
                        b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n",
                    )?;
                    scrape.read_to_end(&mut Vec::new())
                })
            });
        }
        std::thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        assert!(matches!(node.http_get("/livez").0, 200 | 503));
        assert_eq!(node.http_get("/readyz").0, 200);
        assert!(began.elapsed() < HEALTH_WITHIN, "health waited for a core: {:?}", began.elapsed());
        node.process.signal(Signal::KILL);
        drop(held);
    });
    node.process.wait();
}

#[test]
fn a_core_that_stands_still_ends_the_node() {
    let dir = folder();
    let mut node = Setup::new(dir.path()).start();
    node.client().decide(&payments::payment("before", 1)).expect("decided");
    let held = sandbox::hold_thread(node.process.pid(), "shard-0-1");
    node.process.wait_for_line("why it ends", |line| {
        line["fields"]["message"].as_str().is_some_and(|message| message.contains("has not moved"))
    });
    // A thread that is held keeps what is left of its process in the kernel's books.
    drop(held);
    assert_eq!(node.process.wait().code(), Some(STUCK), "{}", node.process.stderr());
}

#[test]
fn a_release_that_panics_ends_as_a_whole() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .expect("the workspace's");
    let release = manifest
        .split("[profile.release]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("the profile");
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
    let reason = |join: &JoinFrame| {
        view::<RefuseFrame>(&knock(address, join))
            .and_then(|frame| RefuseReason::from_wire(frame.reason))
    };
    assert!(view::<AcceptFrame>(&knock(address, &join)).is_some(), "so far all is right");
    let mut later = join;
    later.format_version = (FORMAT_VERSION + 1).into();
    assert_eq!(reason(&later), Some(RefuseReason::Version));
    let mut elsewhere = join;
    elsewhere.cluster_id = [7; 16];
    assert_eq!(reason(&elsewhere), Some(RefuseReason::Cluster));
    let mut itself = join;
    itself.node_id = primary
        .process
        .pid()
        .as_raw_nonzero()
        .get()
        .to_le_bytes()
        .repeat(4)
        .try_into()
        .expect("16 bytes");
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
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("own file");
    let (status, text) = pair.setups[1].fail();
    assert!(status == CONFIG && text.contains("another chain key"), "{text}");
    pair.share_key();
    let mut wide = pair.setups[1].clone().shards(2);
    wide.first_core = 0;
    let (status, text) = fail(&mut wide.command());
    assert!(status == CONFIG && text.contains("1 shards, this node 2"), "{text}");
    primary.client().decide(&payments::payment("still", 1)).expect("nobody disturbed it");
}
