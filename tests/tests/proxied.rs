//! The PROXY protocol before a real node: whose header is believed, what the audit trail makes of it, and headers that are
//! wrong, torn or never come.

use catraca_tests::command;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::payments::payment;
use catraca_tests::raw::{Raw, hello_of, stream_from};
use catraca_tests::tls;
use catraca_tls::testing::Certificates;
use catraca_wire::client::Client;
use catraca_wire::frame::{
    ErrorCode, FixedFrame, FrameKind, HEADER_LEN, HeaderFields, LookupFrame, WelcomeFrame, fill,
    view,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whose headers are believed, and somebody else.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 7400\r\n";
/// A stream over IPv4, 12 bytes of addresses.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc0\0\x02\x01\x0f\xa0\x1c\xe8";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const REFUSED: &str = "catraca_proxy_connections_refused_total";
/// How long a header, a HELLO and a handshake may take at the node, with room for a busy machine.
const SLOW: std::ops::Range<Duration> = Duration::from_millis(4_500)..Duration::from_secs(20);
/// How often a flood is repeated: more than hands are shaken and headers waited for at once.
const FLOOD: usize = 600;
/// In which a node serves others beside a flood: far less than the flood's time-outs.
const SOON: Duration = Duration::from_secs(3);

/// A node behind a balancer, a client that was there before, and one that decided a payment to ask for.
struct World {
    node: Node,
    tls: SocketAddr,
    certificates: Certificates,
    witness: Client,
    decided: u64,
    data: TempDir,
}

impl World {
    fn start() -> Self {
        let (data, certificates) = (folder(), Certificates::new());
        let file = |name: &str| certificates.path(name).display().to_string();
        let node = Setup::new(data.path())
            .set("listen_tls", "127.0.0.1:0")
            .set("tls_certificate_file", file("server"))
            .set("tls_key_file", file("server-key"))
            .set("log_level", "debug")
            .set("proxy_from", format!("['{BALANCER}', '10.0.0.0/24']"))
            .start();
        let ready =
            node.process.wait_for_line("ready", |line| line["fields"]["message"] == "ready");
        let tls = ready["fields"]["listen_tls"].as_str().expect("it is told");
        let tls = tls.parse().expect("an address");
        let witness = node.client();
        let mut world = Self { node, tls, certificates, witness, decided: 0, data };
        world.assert_serves("nothing");
        world
    }

    /// The client that was there before still gets decisions.
    fn assert_serves(&mut self, after: &str) {
        self.decided += 1;
        let payment = payment(&format!("order-{}", self.decided), self.decided);
        let decided = self.witness.decide(&payment);
        decided.unwrap_or_else(|error| panic!("after {after}: {error}"));
    }

    fn connect(&self, from: Ipv4Addr) -> Raw {
        Raw::connect_from(from, self.node.listen).expect("the node takes connections")
    }

    /// Connections that were closed for their header, for this reason.
    fn refused(&self, reason: &str) -> u64 {
        let (_, text) = self.node.http_get("/metrics");
        let begins = format!("{REFUSED}{{reason=\"{reason}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&begins));
        line.unwrap_or_else(|| panic!("no {begins}in {text}")).parse().expect("a number")
    }

    /// Where somebody asked from, by his name, once so many are in the trail.
    fn remotes(&self, count: usize) -> BTreeMap<String, String> {
        let data_dir = self.data.path().display().to_string();
        let began = Instant::now();
        loop {
            let output = command::run(["audit", "export", &data_dir]);
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).expect("text");
            let entries = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let remotes: BTreeMap<_, _> = entries
                .map(|entry: Value| (text(&entry["subject"]), text(&entry["remote"])))
                .collect();
            if remotes.len() >= count {
                return remotes;
            }
            assert!(began.elapsed() < SLOW.end, "{remotes:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// HELLO of somebody, and a look-up, which the audit trail has.
fn asks(name: &str) -> Vec<u8> {
    let mut lookup = LookupFrame::empty(7);
    fill(&mut lookup.id, "order-1");
    [bytes_of(&hello_of(name)), bytes_of(&lookup)].concat()
}

fn bytes_of<T: bytemuck::NoUninit>(frame: &T) -> &[u8] {
    bytemuck::bytes_of(frame)
}

/// Takes both answers.
fn assert_answered(raw: &mut Raw, name: &str) {
    let [welcome, found] = [0, 1].map(|_| {
        let reply = raw.receive().unwrap_or_else(|error| panic!("{name}: {error}"));
        reply.unwrap_or_else(|| panic!("{name}: closed"))
    });
    assert_eq!(welcome.kind(), FrameKind::Welcome, "{name}: {:?}", welcome.error());
    assert_eq!(found.kind(), FrameKind::Record, "{name}: {:?}", found.error());
    assert_eq!(found.correlation(), 7);
}

/// The error with which the node closes a connection.
fn last_word(raw: &mut Raw) -> Option<(ErrorCode, bool)> {
    raw.rest().last().expect("a last word").error()
}

#[test]
fn the_audit_trail_has_whom_a_balancer_names_and_nobody_elses_word() {
    let mut world = World::start();
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 7400\r\n";
    let mut long = V2.to_vec();
    long[14..16].copy_from_slice(&4_096_u16.to_be_bytes());
    long.resize(16 + 4_096, 4);
    let cases: [(&str, Ipv4Addr, &[u8], &str); 8] = [
        ("v1", BALANCER, V1, "192.0.2.7"),
        ("v2", BALANCER, V2, "192.0.2.8"),
        ("six", BALANCER, six, "2001:db8::7"),
        ("long", BALANCER, &long, "192.0.2.8"),
        ("unknown", BALANCER, b"PROXY UNKNOWN\r\n", "127.0.0.2"),
        ("local", BALANCER, LOCAL, "127.0.0.2"),
        ("nobody", STRANGER, b"", "127.0.0.3"),
        ("direct", Ipv4Addr::LOCALHOST, b"", "127.0.0.1"),
    ];
    let mut expected = BTreeMap::new();
    for (name, from, header, remote) in cases {
        let whole = [header, &asks(name)].concat();
        // In one piece, in two, and, where it is short, byte by byte.
        let cuts = [whole.len(), header.len().max(1), 1];
        for (place, cut) in cuts.into_iter().enumerate().filter(|_| header.len() < 1_000) {
            let name = format!("{name}-{place}");
            let whole = [header, &asks(&name)].concat();
            let mut raw = world.connect(from);
            for piece in whole.chunks(cut) {
                raw.send_bytes(piece).expect("taken");
                if place > 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            assert_answered(&mut raw, &name);
            expected.insert(name, remote.to_owned());
        }
        let mut raw = world.connect(from);
        raw.send_bytes(&whole).expect("taken");
        assert_answered(&mut raw, name);
        expected.insert(name.to_owned(), remote.to_owned());
    }
    assert_eq!(world.remotes(expected.len()), expected);
    assert_eq!(world.node.metric(REFUSED), 0.0);
    world.assert_serves("headers");
    let said = world.node.stop();
    let is_told = |line: &&str| line.contains("127.0.0.2") && line.contains("192.0.2.7");
    assert_eq!(
        said.lines().filter(is_told).count(),
        4,
        "both addresses, for whoever looks closely"
    );
}

#[test]
fn what_a_balancer_does_not_say_or_says_wrongly_ends_its_connection() {
    let mut world = World::start();
    let oversized = [&V2[..14], &[0x10, 0x01]].concat();
    let endless = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
    let hello = asks("nobody");
    let cases: [(&str, &[u8], &str); 7] = [
        ("no header", &hello, "malformed"),
        ("TLS instead", b"\x16\x03\x01\x02\0\x01\0\x01\xfc", "malformed"),
        ("no address", b"PROXY TCP4 999.0.2.7 192.0.2.1 4000 80\r\n", "malformed"),
        ("too long", &oversized, "oversized"),
        ("endless", &endless, "oversized"),
        ("half of v1", &V1[..20], "torn"),
        ("half of v2", &V2[..20], "torn"),
    ];
    for (what, bytes, reason) in cases {
        let before = world.refused(reason);
        let mut raw = world.connect(BALANCER);
        raw.send_bytes(bytes).expect("taken");
        let _ = raw.0.shutdown(Shutdown::Write);
        assert!(raw.rest().is_empty(), "{what}: not without a word");
        world.node.wait_until(what, |_| world.refused(reason) == before + 1);
        world.assert_serves(what);
    }
    // From a stranger a header is no frame, and from nobody else either.
    let counted = world.node.metric(REFUSED);
    for (from, header) in [(STRANGER, V1), (STRANGER, V2), (Ipv4Addr::LOCALHOST, V1)] {
        let mut raw = world.connect(from);
        raw.send_bytes(header).expect("taken");
        assert_eq!(last_word(&mut raw), Some((ErrorCode::UnsupportedVersion, true)), "{header:?}");
    }
    // Nor are two of them one.
    let mut raw = world.connect(BALANCER);
    raw.send_bytes(&[V1, V2, &hello].concat()).expect("taken");
    assert_eq!(last_word(&mut raw), Some((ErrorCode::UnsupportedVersion, true)));
    assert_eq!(world.node.metric(REFUSED), counted);
    world.assert_serves("strangers");
    let said = world.node.stop();
    let told = said.lines().filter(|line| line.contains("for its PROXY header")).count();
    assert!((1..=3).contains(&told), "told now and then: {told}");
    assert!(said.contains("\"balancer\":\"127.0.0.2\""), "{said}");
}

#[test]
fn headers_that_do_not_come_hold_up_nobody() {
    let mut world = World::start();
    let began = Instant::now();
    let stall = |address: SocketAddr| -> Vec<Raw> {
        let beginnings = [&b""[..], b"P", &V1[..30], &V2[..14], &V2[..20]];
        let flood = beginnings.iter().cycle().take(FLOOD).map(|begun| {
            let mut raw = Raw::connect_from(BALANCER, address).expect("taken");
            // Where too many wait it may be closed already.
            let _ = raw.send_bytes(begun);
            raw
        });
        flood.collect()
    };
    let (clear, sealed) = (stall(world.node.listen), stall(world.tls));
    // Others are served in clear, those behind the same balancer too.
    let asked = Instant::now();
    world.assert_serves("a flood");
    for (from, header, name) in [(BALANCER, V1, "amid"), (STRANGER, b"", "beside")] {
        let mut raw = world.connect(from);
        raw.send_bytes(&[header, &asks(name)].concat()).expect("taken");
        assert_answered(&mut raw, name);
    }
    // Over TLS too many of the balancer's are closed, and others go on.
    shake(&world, STRANGER, b"", "sealed");
    assert!(began.elapsed() < SLOW.start, "the flood was over before others were served");
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    assert!(world.refused("too_many") >= (FLOOD - 256) as u64 - 1);
    for raw in clear.into_iter().chain(sealed) {
        let mut raw = raw;
        let replies = raw.rest();
        let is_told = replies.iter().all(|reply| reply.error().is_some_and(|(_, closes)| closes));
        assert!(is_told && replies.len() < 2, "{replies:?}");
    }
    assert!(SLOW.contains(&began.elapsed()), "{:?}", began.elapsed());
    let all = 2 * FLOOD as u64;
    let counted = || world.refused("slow") + world.refused("too_many");
    world.node.wait_until("each is counted", |_| counted() >= all);
    assert_eq!(counted(), all, "once");
    shake(&world, BALANCER, V1, "after");
    // Behind a header a HELLO is waited for, and counts as no header.
    let mut raw = world.connect(BALANCER);
    raw.send_bytes(V1).expect("taken");
    assert_eq!(last_word(&mut raw), Some((ErrorCode::BadFrame, true)));
    assert_eq!(world.refused("slow") + world.refused("too_many"), all);
    world.assert_serves("all that");
    world.node.stop();
}

/// Sends a header, shakes hands behind it, and asks.
fn shake(world: &World, from: Ipv4Addr, header: &[u8], name: &str) {
    let mut stream = stream_from(from, world.tls).expect("the node takes connections");
    stream.set_read_timeout(Some(SLOW.end)).expect("a time-out");
    stream.write_all(header).expect("taken");
    let shaken = tls::shake(stream, &world.certificates.path("ca"), None);
    let mut stream = shaken.unwrap_or_else(|error| panic!("{name}: {error}"));
    stream.write_all(&asks(name)).expect("taken");
    let mut replies = [0; WelcomeFrame::LEN + HEADER_LEN];
    stream.read_exact(&mut replies).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (welcome, found) = replies.split_at(WelcomeFrame::LEN);
    let kind = |frame: &[u8]| view::<HeaderFields>(&frame[..HEADER_LEN]).map(|header| header.kind);
    assert_eq!(kind(welcome), Some(FrameKind::Welcome.to_wire()), "{name}");
    assert_eq!(kind(found), Some(FrameKind::Record.to_wire()), "{name}");
}

#[test]
fn the_header_stands_before_tls_and_the_trail_has_what_it_says() {
    let mut world = World::start();
    let cases: [(&str, Ipv4Addr, &[u8], &str); 4] = [
        ("v1", BALANCER, V1, "192.0.2.7"),
        ("v2", BALANCER, V2, "192.0.2.8"),
        ("local", BALANCER, LOCAL, "127.0.0.2"),
        ("nobody", STRANGER, b"", "127.0.0.3"),
    ];
    for (name, from, header, _) in cases {
        shake(&world, from, header, name);
    }
    let expected = cases.map(|(name, _, _, remote)| (name.to_owned(), remote.to_owned()));
    assert_eq!(world.remotes(cases.len()), BTreeMap::from(expected));
    // Without one, with one that is torn, and with a stranger's no hands are shaken.
    let ca = world.certificates.path("ca");
    for (from, header, reason) in [
        (BALANCER, &b""[..], Some("malformed")),
        (BALANCER, b"PROXY TCP9 ", Some("malformed")),
        (STRANGER, V1, None),
        (STRANGER, V2, None),
    ] {
        let before = reason.map(|reason| world.refused(reason));
        let mut stream = stream_from(from, world.tls).expect("taken");
        stream.set_read_timeout(Some(SLOW.end)).expect("a time-out");
        // The rest of a line that never was sound.
        let rest: &[u8] = if header.len() == 11 { b"1 2 3 4\r\n" } else { b"" };
        stream.write_all(&[header, rest].concat()).expect("taken");
        assert!(tls::shake(stream, &ca, None).is_err(), "{header:?}");
        if let (Some(reason), Some(before)) = (reason, before) {
            world.node.wait_until(reason, |_| world.refused(reason) == before + 1);
        }
        world.assert_serves("that");
    }
    let mut stream = stream_from(BALANCER, world.tls).expect("taken");
    stream.write_all(&V2[..20]).expect("taken");
    stream.shutdown(Shutdown::Write).expect("open");
    let _ = stream.read_to_end(&mut Vec::new());
    world.node.wait_until("torn", |_| world.refused("torn") == 1);
    world.node.stop();
}

#[test]
fn what_is_no_network_is_named_before_a_start() {
    let dir = folder();
    for (value, said) in [
        ("['10.0.0.0/33']", "proxy_from: \"10.0.0.0/33\": an address or a network belongs there"),
        ("['0.0.0.0/0']", "proxy_from: \"0.0.0.0/0\": that is everybody"),
        ("['127.0.0.1', 'balancer']", "proxy_from: \"balancer\""),
    ] {
        let setup = Setup::new(dir.path()).set("proxy_from", value);
        for setup in [setup.clone().arg("--check-config"), setup] {
            let (status, told) = setup.fail();
            assert!(status == 10 && told.contains(said), "{value}: {status} {told}");
        }
    }
}
