//! No descriptor is left, while a node serves: who is connected is served, everybody else waits,
//! and nothing has to be done but to close something, or to raise the limit.

use bytemuck::bytes_of;
use catraca_tests::load::Load;
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, assert_verified, decisions};
use catraca_tests::node::{LOOK_AGAIN, Node, Process, Setup, folder, free_address};
use catraca_tests::pair::{Pair, await_in_sync};
use catraca_tests::payments::payment;
use catraca_tests::raw::{Raw, hello};
use catraca_wire::block::FORMAT_VERSION;
use catraca_wire::client::ClientError;
use catraca_wire::frame::{BlacklistChange, ErrorCode, WelcomeFrame};
use catraca_wire::replication::{JoinFrame, Purpose};
use rustix::process::{Resource, Rlimit, prlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// What each port says when it can take nobody.
const NOT_TAKEN: [&str; 3] = [
    "a client's connection could not be taken",
    "a call of another node could not be taken",
    "a connection over HTTP could not be taken",
];

/// Descriptors that a node may not open for the moment: below the number of those that it has.
struct Shortage {
    before: Rlimit,
}

impl Shortage {
    fn begin(node: &Node) -> Self {
        let none = Rlimit {
            current: Some(0),
            maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
        };
        let before = prlimit(Some(node.process.pid()), Resource::Nofile, none)
            .expect("a child's limits can be set");
        Self { before }
    }

    fn end(self, node: &Node) {
        prlimit(Some(node.process.pid()), Resource::Nofile, self.before).expect("it was so before");
    }
}

/// Processor time that a process has had.
fn cpu_time(process: &Process) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid().as_raw_nonzero()))
        .expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("behind its name").split(' ').collect();
    // proc(5): of all fields these are the 14th and the 15th, and two lie before the end of the
    // name.
    let ticks: u64 =
        fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(1_000 * ticks / rustix::param::clock_ticks_per_second())
}

fn times_told(process: &Process, what: &str) -> usize {
    process.lines().iter().filter(|line| line.contains(what)).count()
}

fn wait_until_told(process: &Process, what: &str) {
    process.wait_for_line(what, |line| line.to_string().contains(what));
}

/// Waits until the segments that are kept ready are there, so that the next one lacks nothing but a
/// descriptor.
fn await_segments(node: &Node) {
    let last = node.setup.data_dir.join("log/shard-0000/00000002.seg");
    node.wait_until("all segments are prepared", |_| last.exists());
}

/// A node of the same cluster asks who is there: whether it is answered.
fn calls(address: SocketAddr) -> bool {
    let mut join = JoinFrame::empty(0, 0);
    join.format_version = FORMAT_VERSION.into();
    join.purpose = Purpose::Inquiry.to_wire();
    join.shards = 1.into();
    join.node_id = [9; 16];
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    stream.write_all(bytes_of(&join)).is_ok() && stream.read_exact(&mut [0; 16]).is_ok()
}

#[test]
fn ports_without_descriptors_come_back_by_themselves() {
    /// Connections that ask each port at once.
    const FLOOD: usize = 40;
    /// How long it lasts at least: long enough that a loop without a pause would fill a log, and a
    /// processor.
    const LASTS: Duration = Duration::from_secs(4);
    /// Between two lines about one port, as `catraca_node::descriptors` has it.
    const TOLD_EVERY_S: u64 = 5;
    let dir = folder();
    let mut setup = Setup::new(dir.path());
    setup.replication = free_address();
    let node = setup.start();
    let mut witness = node.client();
    witness.decide(&payment("before", 1)).expect("decided");
    let shortage = Shortage::begin(&node);
    let ports = [node.listen, setup.replication, node.http];
    let flood: Vec<TcpStream> = (0..FLOOD)
        .flat_map(|_| ports.map(|port| TcpStream::connect(port).expect("it waits")))
        .collect();
    let began = Instant::now();
    let used = cpu_time(&node.process);
    for what in NOT_TAKEN {
        wait_until_told(&node.process, what);
    }
    let mut number = 1;
    while began.elapsed() < LASTS {
        number += 1;
        witness
            .decide(&payment(&format!("witness-{number}"), number))
            .expect("who is connected is served");
        std::thread::sleep(LOOK_AGAIN * 10);
    }
    // What needs a file is refused, and can be asked for again.
    let path = dir.path().join("chain.key").display().to_string();
    let refused = witness
        .blacklist(&BlacklistChange::load(&path, false).expect("a path"))
        .expect_err("it can't be read");
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.detail.contains("Too many open files")),
        "{refused}"
    );
    let refused = witness.lookup("before", None).expect_err("the log can't be read");
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.code == ErrorCode::Failed),
        "{refused}"
    );
    // An idle node needs next to nothing. Time that others take from it does not count here.
    let (lasted, used) = (began.elapsed(), cpu_time(&node.process) - used);
    assert!(used < lasted / 2, "it used {used:?} of {lasted:?}");
    for what in NOT_TAKEN {
        let told = times_told(&node.process, what);
        assert!(
            told as u64 <= 2 + began.elapsed().as_secs() / TOLD_EVERY_S,
            "{told} times in {:?}: {what}",
            began.elapsed()
        );
    }
    shortage.end(&node);
    let mut raw = Raw::connect(node.listen).expect("it waits");
    let reply = raw.ask(&hello(""));
    assert!(reply.get::<WelcomeFrame>().is_some(), "{:?}", reply.error());
    assert_eq!(node.http_get("/livez").0, 200);
    assert!(calls(setup.replication), "{}", node.process.stderr());
    node.client().decide(&payment("after", 1)).expect("decided");
    witness.lookup("before", None).expect("found");
    drop(flood);
    let text = node.stop();
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn the_next_segment_of_the_log_waits_for_a_descriptor() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    await_segments(&node);
    let load = Load::start(&node, "load", 256);
    load.wait_for(1);
    let shortage = Shortage::begin(&node);
    // It goes on for as long as the segment that is open has room.
    wait_until_told(&node.process, "no descriptor is left");
    shortage.end(&node);
    let before = load.answered();
    load.wait_for(before + 500);
    let seen = load.stop();
    let known = [ErrorCode::Overloaded, ErrorCode::Unconfirmed];
    assert!(
        seen.unanswered.is_empty() && seen.refused.keys().all(|code| known.contains(code)),
        "{:?}",
        seen.refused
    );
    assert_same_answers(&mut node.client(), seen.answered.iter().rev().take(1_000));
    node.stop();
    assert_verified(dir.path(), true);
    assert_all_recorded(&decisions(dir.path()), &seen.answered);
}

#[test]
fn a_standby_waits_for_descriptors_and_comes_back_in_sync() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    await_segments(&standby);
    let load = Load::through_failover(pair.addresses(), "load", 256);
    load.wait_for(1);
    // Its log needs the next segment.
    let shortage = Shortage::begin(&standby);
    wait_until_told(&standby.process, "no descriptor is left");
    shortage.end(&standby);
    let before = load.answered();
    load.wait_for(before + 500);
    // Its session ends, and it has to keep what it was told in it.
    let shortage = Shortage::begin(&standby);
    primary.stop();
    standby
        .process
        .wait_for_line("what it waits for", |line| line["fields"]["what"] == "replica.json");
    shortage.end(&standby);
    // It has to call its primary again and again.
    let waits = |why: &str| {
        standby.process.wait_for_line(why, |line| {
            line["fields"]["why"].as_str().is_some_and(|told| told.contains(why))
        });
    };
    waits("refused");
    let shortage = Shortage::begin(&standby);
    waits("Too many open files");
    shortage.end(&standby);
    let primary = pair.start(0);
    await_in_sync(&primary, &standby);
    let before = load.answered();
    load.wait_for(before + 500);
    let seen = load.stop();
    primary.stop();
    standby.stop();
    for index in [0, 1] {
        assert_verified(&pair.data_dir(index), true);
        assert_all_recorded(&decisions(&pair.data_dir(index)), &seen.answered);
    }
}

/// How many of these the other side has closed.
fn closed(connections: &[TcpStream]) -> usize {
    connections
        .iter()
        .filter(|stream| !matches!((&mut &**stream).read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock))
        .count()
}

#[test]
fn no_port_holds_more_than_its_share() {
    /// As `catraca_core::limits` has them.
    const MAX_HTTP_CONNECTIONS: usize = 128;
    const MAX_CALLS: usize = 256;
    /// Connections of each kind beyond that.
    const MORE: usize = 40;
    let dir = folder();
    let mut setup = Setup::new(dir.path());
    setup.replication = free_address();
    let node = setup.start();
    let mut witness = node.client();
    for (port, most) in [(node.http, MAX_HTTP_CONNECTIONS), (setup.replication, MAX_CALLS)] {
        let connect = |_| {
            let stream = TcpStream::connect(port).expect("it is taken, or closed at once");
            stream.set_nonblocking(true).expect("a socket");
            stream
        };
        let began = Instant::now();
        let mut flood: Vec<TcpStream> = Vec::new();
        // Those that say nothing are closed after a time, and there are more.
        while closed(&flood) < MORE {
            assert!(
                began.elapsed() < PATIENCE,
                "all of {} are open:\n{}",
                flood.len(),
                node.process.stderr()
            );
            let missing = (most + MORE).saturating_sub(flood.len() - closed(&flood));
            flood.extend((0..missing).map(connect));
            std::thread::sleep(LOOK_AGAIN);
        }
        witness.decide(&payment(&format!("witness-{port}"), 1)).expect("others are served");
        node.client().decide(&payment(&format!("new-{port}"), 1)).expect("and may come");
        drop(flood);
        let began = Instant::now();
        while !calls(setup.replication)
            || catraca_tests::node::http_get(node.http, "/livez").is_err()
        {
            assert!(
                began.elapsed() < PATIENCE,
                "{port} does not come back:\n{}",
                node.process.stderr()
            );
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    let text = node.stop();
    assert!(
        text.contains("too many connections over HTTP") && text.contains("too many calls"),
        "{text}"
    );
}
