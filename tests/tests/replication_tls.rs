//! Two nodes that speak TLS to each other: they decide, fail over and come back; who is no node of
//! the cluster is refused, in either direction; certificates are exchanged without a restart.

use catraca_tests::load::Load;
use catraca_tests::logs::{
    assert_all_recorded, assert_same_answers, assert_verified, decisions, remembered,
};
use catraca_tests::node::{Node, Process, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync, place};
use catraca_tests::payments::payment;
use catraca_tls::testing::Certificates;
use catraca_wire::frame::{ClusterRequest, Role};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The name of the nodes of the invented cluster.
const NAME: &str = "node.pair.example";
/// Fewest answers before something happens, so that it has something to lose.
const LEAST_ANSWERS: u64 = 50;
/// Unanswered payments of each load.
const IN_FLIGHT: usize = 64;
/// Callers that never shake hands, at once: more than the node has places for calls.
const SILENT_CALLERS: usize = 300;
/// Longest wait for a socket that the node has to close.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    pair: Pair,
    certificates: Certificates,
}

/// A node that shows the certificate of this name, and takes those of an authority for a name.
fn with_tls(setup: Setup, certificates: &Certificates, shows: &str, by: &str, name: &str) -> Setup {
    let at = |file: &str| certificates.path(file).display().to_string();
    setup
        .set("replication_tls_certificate_file", at(shows))
        .set("replication_tls_key_file", at(&format!("{shows}-key")))
        .set("replication_tls_ca_file", at(by))
        .set("replication_tls_name", name)
}

impl World {
    fn new(shards: u16) -> Self {
        let (mut pair, certificates) = (Pair::new(shards), Certificates::new());
        for (setup, shows) in pair.setups.iter_mut().zip(["node-a", "node-b"]) {
            certificates.issue("ca", shows, NAME, None);
            *setup = with_tls(setup.clone(), &certificates, shows, "ca", NAME);
        }
        Self { pair, certificates }
    }

    /// The second node's setup, without TLS.
    fn plain_standby(&self) -> Setup {
        let mut setup = self.pair.setups[1].clone();
        setup.settings.retain(|(key, _)| !key.starts_with("replication_tls"));
        setup
    }
}

fn has(part: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["fields"].to_string().contains(part)
}

/// The first node says that it refused a call, and why.
fn await_refused(node: &Node, why: &'static str) {
    node.process.wait_for_line(why, |line| {
        let is_refusal =
            line["fields"]["message"] == "a call on the port for other nodes was refused";
        is_refusal && line["level"] == "WARN" && has(why)(line)
    });
}

/// The node closes a connection, and says no more than an alert of TLS on it.
fn assert_closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut said = Vec::new();
    let ended = stream.read_to_end(&mut said);
    let is_over = ended.as_ref().err().is_none_or(|e| e.kind() == ErrorKind::ConnectionReset);
    assert!(is_over && matches!(said[..], [] | [21, 3, _, 0, 2, ..]), "{ended:?} {said:?}");
}

#[test]
fn a_pair_decides_fails_over_and_comes_back_over_tls() {
    let World { pair, certificates: _held } = World::new(2);
    let [mut primary, mut standby] = pair.start_both();
    for (round, serving) in [(0, 0), (1, 1)] {
        let load = Load::through_failover(pair.addresses(), &format!("r{round}"), IN_FLIGHT);
        load.wait_for(LEAST_ANSWERS);
        primary.kill();
        let state = ask(&standby, &ClusterRequest::promote(false)).expect("it is in sync");
        assert_eq!(state.role, Role::Primary);
        let before = load.answered();
        load.wait_for(before + LEAST_ANSWERS);
        let returned = pair.start(serving);
        await_in_sync(&standby, &returned);
        let seen = load.stop();
        assert_all_recorded(&decisions(&pair.data_dir(1 - serving)), &seen.answered);
        assert_same_answers(&mut standby.client(), remembered(&seen.answered));
        (primary, standby) = (standby, returned);
    }
    primary.stop();
    standby.stop();
    let [a, b] = [0, 1].map(|index| decisions(&pair.data_dir(index)));
    assert!(a == b, "the logs differ");
    [0, 1].into_iter().for_each(|index| assert_verified(&pair.data_dir(index), true));
}

/// Hands on what goes between two nodes, and keeps it.
struct Wire {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    /// To a node.
    fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&seen);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(node) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (from, to) = (from.expect("a descriptor"), to.expect("a descriptor"));
                    let keeps = Arc::clone(&keeps);
                    std::thread::spawn(move || hand_on(from, to, &keeps));
                }
            }
        });
        Self { address, seen }
    }

    fn has_seen(&self, text: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, keeps: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        keeps.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..len]);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn what_goes_between_nodes_is_not_to_be_read() {
    const ID: &str = "seen-on-the-way";
    let World { pair: sealed, certificates } = World::new(1);
    for (mut pair, is_sealed) in [(sealed, true), (Pair::new(1), false)] {
        let wire = Wire::to(pair.setups[0].replication);
        *pair.setups[1].args.last_mut().expect("--standby-of") = wire.address.to_string();
        let [primary, standby] = pair.start_both();
        primary.client().decide(&payment(ID, 1)).expect("decided, and so at the standby");
        assert_ne!(wire.has_seen(ID), is_sealed, "sealed: {is_sealed}");
        if is_sealed {
            let metrics = primary.http_get("/metrics").1;
            let line =
                "catraca_tls_certificate_expiry_timestamp_seconds{certificate=\"replication\"} ";
            assert!(metrics.lines().any(|text| text.starts_with(line)), "{metrics}");
            // Nobody is answered in clear beside it.
            let mut clear = TcpStream::connect(pair.setups[0].replication).expect("taken");
            clear.write_all(&[0; 256]).expect("sent");
            assert_closed(&mut clear);
            await_refused(&primary, "does not speak TLS");
        }
        primary.client().decide(&payment("goes-on", 1)).expect("the session stays");
        primary.stop();
        standby.stop();
    }
    drop(certificates);
}

#[test]
fn nobody_joins_in_clear_and_nobody_is_joined_in_clear() {
    let world = World::new(1);
    let primary = world.pair.start(0);
    world.pair.share_key();
    let (status, told) = world.plain_standby().fail();
    assert!(status == 10 && told.contains("the other side speaks TLS"), "{status}: {told}");
    await_refused(&primary, "does not speak TLS");
    primary.stop();
    // The other way round: the primary speaks in clear.
    let mut setup = world.pair.setups[0].clone();
    setup.settings.retain(|(key, _)| !key.starts_with("replication_tls"));
    let primary = setup.start();
    let standby = Process::spawn(&mut world.pair.setups[1].command());
    standby.wait_for_line("why it waits", has("before the handshake of TLS was over"));
    await_refused(&primary, "the other side speaks TLS");
    primary.stop();
}

#[test]
fn whose_certificate_is_wrong_does_not_join_until_it_is_right() {
    let world = World::new(1);
    let (certificates, pair) = (&world.certificates, &world.pair);
    certificates.issue("foreign", "stranger", NAME, None);
    let primary = pair.start(0);
    pair.share_key();
    let plain = world.plain_standby();
    // Of another authority: it does not trust the primary, and where it does, it is not trusted.
    let stranger = with_tls(plain.clone(), certificates, "stranger", "foreign", NAME);
    let process = Process::spawn(&mut stranger.command());
    process.wait_for_line("why it waits", has("UnknownIssuer"));
    await_refused(&primary, "UnknownCA");
    drop(process);
    let trusting = with_tls(plain.clone(), certificates, "stranger", "ca", NAME);
    let process = Process::spawn(&mut trusting.command());
    await_refused(&primary, "UnknownIssuer");
    process.wait_for_line("why it waits", has("UnknownCA"));
    drop(process);
    // Of the right authority, for another name.
    certificates.issue("ca", "elsewhere", "node.other.example", None);
    let elsewhere = with_tls(plain, certificates, "elsewhere", "ca", "node.other.example");
    let process = Process::spawn(&mut elsewhere.command());
    process.wait_for_line("why it waits", has("not valid for name"));
    await_refused(&primary, "received fatal alert: BadCertificate");
    drop(process);
    // One that has ended, until there is a new one.
    certificates.issue("ca", "node-b", NAME, Some(2020));
    let mut process = Process::spawn(&mut pair.setups[1].command());
    await_refused(&primary, "certificate expired");
    assert!(!process.has_ended());
    certificates.issue("ca", "node-b", NAME, None);
    let standby = Node::of(process, pair.setups[1].clone());
    await_in_sync(&primary, &standby);
    primary.client().decide(&payment("joined", 1)).expect("decided");
    primary.stop();
    standby.stop();
}

#[test]
fn certificates_and_authorities_are_exchanged_without_a_restart() {
    let World { pair, certificates } = World::new(1);
    let [primary, standby] = pair.start_both();
    let mut client = primary.client();
    let read_anew = |node: &Node, file: &'static str| {
        let told = || {
            let lines = node.process.lines();
            let fits = |line: &&String| {
                line.contains("certificates were read anew") && line.contains(file)
            };
            lines.iter().filter(fits).count()
        };
        let before = told();
        node.process.signal(Signal::HUP);
        node.wait_until("its certificates are read anew", |_| told() > before);
    };
    // First both trust both authorities, then each gets a certificate of the new one, then the old
    // one goes.
    let [old, new] = ["ca", "foreign"]
        .map(|name| fs::read_to_string(certificates.path(name)).expect("an authority"));
    certificates.write("ca", &format!("{old}{new}"));
    read_anew(&primary, "node-a");
    read_anew(&standby, "node-b");
    certificates.issue("foreign", "node-a", NAME, None);
    certificates.issue("foreign", "node-b", NAME, None);
    read_anew(&primary, "node-a");
    read_anew(&standby, "node-b");
    certificates.write("ca", &new);
    read_anew(&primary, "node-a");
    read_anew(&standby, "node-b");
    client.decide(&payment("session-of-before", 1)).expect("the session stays");
    assert_eq!(place(&standby).epoch, 1);
    // New connections are by the new ones.
    standby.kill();
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    client.decide(&payment("session-of-after", 1)).expect("decided");
    // What is no good leaves what there was.
    certificates.write("node-a", "half a fi");
    primary.process.signal(Signal::HUP);
    primary.process.wait_for_line("what is wrong", has("certificates can't be used"));
    standby.kill();
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    primary.stop();
    standby.stop();
}

#[test]
fn who_never_shakes_hands_is_let_go_and_keeps_no_standby_out() {
    let World { pair, certificates: _held } = World::new(1);
    let [primary, standby] = pair.start_both();
    standby.kill();
    let mut silent = Vec::new();
    for number in 0..SILENT_CALLERS {
        let mut stream = TcpStream::connect(pair.setups[0].replication).expect("taken");
        // A third says nothing, a third the beginning of a handshake, a third something else.
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stream.write_all(&[22, 3, 1, 2, 0, 1]),
            _ => stream.write_all(b"GET / HTTP/1.1\r\n\r\n"),
        };
        silent.push(stream);
    }
    // They have their time, and then there is room again.
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    silent.iter_mut().for_each(assert_closed);
    // Refusals are told now and then, each time with the newest.
    primary.wait_until("that it took too long is told", |node| {
        let mut stream = TcpStream::connect(node.setup.replication).expect("taken");
        assert_closed(&mut stream);
        node.process.stderr().contains("the handshake of TLS was not over")
    });
    primary.client().decide(&payment("after", 1)).expect("decided");
    primary.stop();
    standby.stop();
}

#[test]
fn all_of_it_is_set_or_nothing() {
    let (data, certificates) = (folder(), Certificates::new());
    certificates.issue("ca", "node-a", NAME, None);
    let whole = with_tls(Setup::new(data.path()), &certificates, "node-a", "ca", NAME);
    let without = |key: &str| {
        let mut setup = whole.clone();
        setup.settings.retain(|(set, _)| set != key);
        setup
    };
    let with = |key: &str, value: String| without(key).set(key, value);
    let missing = certificates.path("missing").display().to_string();
    let other_key = certificates.path("server-key").display().to_string();
    for (setup, said) in [
        (without("replication_tls_certificate_file"), "no replication_tls_certificate_file"),
        (without("replication_tls_key_file"), "no replication_tls_key_file"),
        (without("replication_tls_ca_file"), "no replication_tls_ca_file"),
        (without("replication_tls_name"), "no replication_tls_name"),
        (with("replication_tls_name", "10.0.0.1".to_owned()), "no name of the DNS"),
        (with("replication_tls_name", "node.other".to_owned()), "a certificate for node.other"),
        (with("replication_tls_ca_file", missing), "missing.pem"),
        (with("replication_tls_key_file", other_key), "server-key.pem"),
    ] {
        let (status, told) = setup.arg("--check-config").fail();
        assert!(status == 10 && told.contains(said), "{said}: {status} {told}");
    }
    let (status, told) = with("replication_tls_name", "node.other".to_owned()).fail();
    assert!(status == 10 && told.contains("a certificate for node.other"), "{status} {told}");
}
