//! Clients that are slow, silent or many: bounded, closed after a time, and no burden on the
//! others.

use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::payments::{payment, submit};
use catraca_tests::raw::{Raw, hello};
use catraca_wire::client::Client;
use catraca_wire::frame::{ErrorCode, FixedFrame, SubmitFrame, VerdictFrame};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Far more than any time-out of the server's: what takes longer never ends.
const PATIENCE: Duration = Duration::from_secs(25);
/// Between two looks at whether others are still served.
const BEAT: Duration = Duration::from_secs(1);

fn assert_serves(witness: &mut Client, number: &mut u64) {
    *number += 1;
    witness
        .decide(&payment(&format!("witness-{number}"), *number))
        .expect("others keep their service");
}

/// Memory of the node's process, bytes.
fn resident_len(node: &Node) -> u64 {
    let pid = node.process.pid().as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("the kernel tells the memory in use");
    let kib: u64 =
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}

#[test]
fn a_client_that_reads_nothing_is_bounded_and_closed_in_the_end() {
    /// What one connection may cost at most, with room for the witness's own: far below what it was
    /// sent.
    const MOST_GROWTH: u64 = 32 * 1024 * 1024;
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let (mut witness, mut number) = (node.client(), 0);
    assert_serves(&mut witness, &mut number);
    let before = resident_len(&node);
    let mut raw = Raw::open(node.listen);
    raw.0.set_write_timeout(Some(BEAT)).expect("not zero");
    // The same transaction over and over: each has an answer, and none is read.
    let frames: Vec<u8> = (0..1_000)
        .flat_map(|c| bytemuck::bytes_of(&submit(c, &payment("again", 1))).to_vec())
        .collect();
    let began = Instant::now();
    let (mut sent, mut at, mut blocked) = (0u64, 0, false);
    let end = loop {
        match raw.0.write(&frames[at..]) {
            Ok(len) => (sent, at) = (sent + len as u64, (at + len) % frames.len()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // The server has stopped reading; nobody else notices.
                blocked = true;
                assert_serves(&mut witness, &mut number);
                assert!(
                    resident_len(&node) < before + MOST_GROWTH,
                    "its unread answers pile up in the server's memory"
                );
                // More than the 10 s: the kernel's probes of a full window move some bytes, ever
                // more rarely, and each counts as progress.
                assert!(began.elapsed() < 4 * PATIENCE, "it was never closed");
            }
            Err(error) => break error.kind(),
        }
    };
    assert!(blocked, "the server went on reading after {sent} bytes");
    assert!(matches!(end, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{end:?}");
    node.wait_until("only the witness is connected", |node| {
        node.metric("catraca_connections") == 1.0
    });
    assert_serves(&mut witness, &mut number);
    node.stop();
}

#[test]
fn a_client_that_sends_a_byte_a_second_does_not_hold_others_up() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let (mut witness, mut number) = (node.client(), 0);
    let mut raw = Raw::open(node.listen);
    let frame = submit(1, &payment("slow", 1));
    let began = Instant::now();
    for byte in bytemuck::bytes_of(&frame) {
        assert!(began.elapsed() < PATIENCE, "half a frame was never given up");
        if raw.send_bytes(&[*byte]).is_err() || node.metric("catraca_connections") == 1.0 {
            break;
        }
        assert_serves(&mut witness, &mut number);
        std::thread::sleep(BEAT);
    }
    let replies = raw.rest();
    assert!(
        replies.iter().all(|reply| reply.error() == Some((ErrorCode::BadFrame, true))),
        "{replies:?}"
    );
    assert_serves(&mut witness, &mut number);
    node.stop();
}

#[test]
fn half_a_handshake_is_closed_after_a_time() {
    /// Half-open connections at once.
    const HALF_OPEN: usize = 300;
    let dir = folder();
    let node = Setup::new(dir.path()).shards(2).start();
    let (mut witness, mut number) = (node.client(), 0);
    let hello = hello("");
    let began = Instant::now();
    let open: Vec<Raw> = (0..HALF_OPEN)
        .map(|count| {
            let mut raw = Raw::connect(node.listen).expect("connects");
            raw.send_bytes(&bytemuck::bytes_of(&hello)[..count % 128]).expect("taken");
            raw
        })
        .collect();
    assert_serves(&mut witness, &mut number);
    for mut raw in open {
        let replies = raw.rest();
        assert!(
            replies.iter().all(|reply| reply.error() == Some((ErrorCode::BadFrame, true))),
            "{replies:?}"
        );
    }
    assert!(began.elapsed() < PATIENCE, "they were not closed by the server's time-out");
    assert_serves(&mut witness, &mut number);
    node.stop();
}

#[test]
fn ten_thousand_connections_are_served_and_the_next_is_refused() {
    /// `max_connections`, its default too.
    const MOST: usize = 10_000;
    /// Descriptors that the test needs besides.
    const SPARE: u64 = 200;
    let mut limit = getrlimit(Resource::Nofile);
    let needed = MOST as u64 + SPARE;
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "this machine allows {:?} descriptors, {needed} are needed: raise `ulimit -Hn`",
        limit.maximum
    );
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit).expect("below the hard limit");
    }
    let dir = folder();
    let node = Setup::new(dir.path()).set("max_connections", MOST).start();
    let (mut witness, mut number) = (node.client(), 0);
    let mut open = Vec::with_capacity(MOST);
    for count in 1..MOST {
        open.push(Raw::open(node.listen));
        if count % 1_000 == 0 {
            assert_serves(&mut witness, &mut number);
        }
    }
    node.wait_until("as many connections as there may be", |node| {
        node.metric("catraca_connections") == MOST as f64
    });
    for _ in 0..3 {
        let mut next = Raw::connect(node.listen).expect("the kernel takes it");
        let replies = next.rest();
        assert_eq!(replies.len(), 1, "{replies:?}");
        assert_eq!(replies[0].error(), Some((ErrorCode::Overloaded, true)));
    }
    // All are alive: some of them, all over, decide.
    for (correlation, raw) in (1..).zip(open.iter_mut().step_by(97)) {
        let reply =
            raw.ask(&submit(correlation, &payment(&format!("crowd-{correlation}"), correlation)));
        assert!(reply.get::<VerdictFrame>().is_some(), "{:?}", reply.error());
    }
    assert_serves(&mut witness, &mut number);
    // One leaves, one may come.
    open.pop();
    node.wait_until("a connection less", |node| {
        node.metric("catraca_connections") == (MOST - 1) as f64
    });
    drop(Raw::open(node.listen));
    drop(open);
    node.wait_until("only the witness is connected", |node| {
        node.metric("catraca_connections") == 1.0
    });
    assert_serves(&mut witness, &mut number);
    node.stop();
}

#[test]
fn who_has_said_all_still_gets_the_answers() {
    /// Frames before the half-close: several blocks' worth, within the connection's limit of
    /// unanswered ones.
    const FRAMES: u64 = 900;
    let dir = folder();
    let node = Setup::new(dir.path()).shards(2).start();
    let mut raw = Raw::open(node.listen);
    let mut bytes = Vec::with_capacity(FRAMES as usize * SubmitFrame::LEN);
    for number in 0..FRAMES {
        bytes.extend_from_slice(bytemuck::bytes_of(&submit(
            number,
            &payment(&format!("last-{number}"), number),
        )));
    }
    raw.send_bytes(&bytes).expect("taken");
    raw.0.shutdown(Shutdown::Write).expect("open");
    let mut answered: Vec<u64> = raw
        .rest()
        .iter()
        .filter(|reply| reply.get::<VerdictFrame>().is_some())
        .map(catraca_tests::raw::Reply::correlation)
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, (0..FRAMES).collect::<Vec<_>>());
    node.stop();
}
