//! Bad input is normal input: each piece gets its typed error, and costs nobody else anything.

use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::payments::{between, document, payment, submit};
use catraca_tests::raw::{Raw, Reply, hello};
use catraca_wire::client::{Client, ClientError, ClientOptions, now_ns};
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::*;
use catraca_wire::list::{Author, ListName, ListReason};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::net::Shutdown;
use tempfile::TempDir;

/// A node and a client that is connected all the while.
struct Watched {
    node: Node,
    witness: Client,
    decided: u64,
    _dir: TempDir,
}

impl Watched {
    fn start(setup: impl FnOnce(Setup) -> Setup) -> Self {
        let dir = folder();
        let node = setup(Setup::new(dir.path())).start();
        let witness = node.client();
        Self { node, witness, decided: 0, _dir: dir }
    }

    /// The client that was there before still gets decisions.
    fn assert_serves(&mut self, after: &str) {
        self.decided += 1;
        let transaction = payment(&format!("witness-{}", self.decided), self.decided);
        let decision = self
            .witness
            .decide(&transaction)
            .unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert_eq!(decision.verdict, Verdict::Approve, "after {after}");
    }
}

fn ping() -> PingFrame {
    PingFrame::empty(77)
}

/// The last thing that the server says: an ERROR with the closing flag, and nothing behind it.
fn assert_broken_off(replies: &[Reply], code: ErrorCode, correlation: u64, what: &str) {
    let last = replies.last().unwrap_or_else(|| panic!("{what}: closed without a word"));
    assert_eq!(last.error(), Some((code, true)), "{what}");
    assert_eq!(last.correlation(), correlation, "{what}");
}

#[test]
fn frames_that_break_the_protocol_end_their_connection_only() {
    let mut watched = Watched::start(|setup| setup);
    let at = watched.node.listen;
    let altered = |offset: usize, value: u8| {
        let mut bytes = bytemuck::bytes_of(&ping()).to_vec();
        bytes[offset] = value;
        bytes
    };
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("a length below the header's", altered(0, 15)),
        ("a length above the kind's", altered(0, 25)),
        ("a length above the largest frame", altered(2, 1)),
        ("a length of 4 GiB", altered(3, 0xff)),
        ("an unknown kind", altered(4, 99)),
        ("kind 0", altered(4, 0)),
        ("a kind that only servers send", altered(4, FrameKind::Pong.to_wire())),
        ("flags", altered(6, 1)),
        ("a reserved field of PING", altered(20, 1)),
        ("a token without a byte", bytemuck::bytes_of(&AuthFrame::empty(77)).to_vec()),
        ("a second HELLO", {
            let mut frame = hello("");
            frame.header.correlation = 77.into();
            bytemuck::bytes_of(&frame).to_vec()
        }),
    ];
    let versions = [("version 0", 0), ("version 2", 2), ("version 255", 255)];
    let versions =
        versions.map(|(what, version)| (what, altered(5, version), ErrorCode::UnsupportedVersion));
    let bad = bad.into_iter().map(|(what, bytes)| (what, bytes, ErrorCode::BadFrame));
    for (number, (what, bytes, code)) in (0..).zip(bad.chain(versions)) {
        let mut raw = Raw::open(at);
        // Two sound frames before: they are answered all the same, also the one that waits for the
        // disk.
        raw.send(&submit(5, &payment(&format!("before-{number}"), number))).expect("taken");
        raw.send(&PingFrame::empty(6)).expect("taken");
        raw.send_bytes(&bytes).expect("taken");
        // Never read; the connection may even be closed already.
        let _ = raw.send(&PingFrame::empty(8));
        let replies = raw.rest();
        assert!(
            replies
                .iter()
                .any(|reply| reply.correlation() == 5 && reply.kind() == FrameKind::Verdict),
            "{what}"
        );
        assert!(
            replies.iter().any(|reply| reply.correlation() == 6 && reply.kind() == FrameKind::Pong),
            "{what}"
        );
        assert!(replies.iter().all(|reply| reply.correlation() != 8), "{what}: went on reading");
        assert_broken_off(&replies, code, 77, what);
        watched.assert_serves(what);
    }
    let mut reserved = submit(77, &payment("reserved", 1));
    reserved.reserved = 1.into();
    let mut lookup = LookupFrame::empty(77);
    lookup.reserved = 1;
    let mut stats = StatsFrame::empty(77);
    stats.reserved[5] = 1;
    let mut list = BlacklistFrame::empty(77);
    list.reserved_b[25] = 1;
    let mut cluster = ClusterFrame::empty(77);
    cluster.reserved[0] = 1;
    let mut label = LabelFrame::empty(77);
    label.reserved[23] = 1;
    let mut validator = ValidatorFrame::empty(77);
    validator.reserved_a[6] = 1;
    let mut auth = AuthFrame::empty(77);
    (auth.token_len, auth.part[0], auth.reserved[3]) = (1.into(), b'x', 1);
    let mut audit = AuditFrame::empty(77);
    audit.reserved[23] = 1;
    let frames: [&[u8]; 9] = [
        bytemuck::bytes_of(&audit),
        bytemuck::bytes_of(&reserved),
        bytemuck::bytes_of(&lookup),
        bytemuck::bytes_of(&stats),
        bytemuck::bytes_of(&list),
        bytemuck::bytes_of(&cluster),
        bytemuck::bytes_of(&label),
        bytemuck::bytes_of(&validator),
        bytemuck::bytes_of(&auth),
    ];
    for bytes in frames {
        let mut raw = Raw::open(at);
        raw.send_bytes(bytes).expect("taken");
        assert_broken_off(&raw.rest(), ErrorCode::BadFrame, 77, "a reserved field");
        watched.assert_serves("a reserved field");
    }
    watched.node.stop();
}

#[test]
fn a_frame_cut_anywhere_costs_nothing() {
    let mut watched = Watched::start(|setup| setup);
    let whole = submit(1, &payment("cut", 1));
    let bytes = bytemuck::bytes_of(&whole);
    for len in [1, 4, 15, 16, 17, 100, 191] {
        let mut raw = Raw::open(watched.node.listen);
        raw.send_bytes(&bytes[..len]).expect("taken");
        raw.0.shutdown(Shutdown::Write).expect("open");
        assert_eq!(raw.rest(), [], "half a frame has no answer");
        watched.assert_serves("a cut frame");
    }
    // Never came whole, so it was never decided.
    let refused = watched.witness.lookup("cut", None).expect_err("not there");
    assert!(matches!(refused, ClientError::Refused(error) if error.code == ErrorCode::NotFound));
    watched.node.stop();
}

/// Makes a HELLO unsound.
type Breaking = fn(&mut HelloFrame);

#[test]
fn a_handshake_must_be_one() {
    let mut watched = Watched::start(|setup| setup);
    let at = watched.node.listen;
    let mut cases =
        vec![("PING first", bytemuck::bytes_of(&ping()).to_vec(), ErrorCode::BadFrame, 77)];
    cases.push((
        "SUBMIT first",
        bytemuck::bytes_of(&submit(78, &payment("first", 1))).to_vec(),
        ErrorCode::BadFrame,
        78,
    ));
    let mut frame = hello("");
    (frame.version_min, frame.version_max) = (2, 9);
    cases.push((
        "newer versions",
        bytemuck::bytes_of(&frame).to_vec(),
        ErrorCode::UnsupportedVersion,
        0,
    ));
    (frame.version_min, frame.version_max) = (0, 0);
    cases.push((
        "older versions",
        bytemuck::bytes_of(&frame).to_vec(),
        ErrorCode::UnsupportedVersion,
        0,
    ));
    let mut frame = hello("");
    frame.credential_len = 65;
    cases.push((
        "a credential over its field",
        bytemuck::bytes_of(&frame).to_vec(),
        ErrorCode::BadFrame,
        0,
    ));
    let mut frame = hello("");
    frame.client_name_len = 41;
    cases.push((
        "a name over its field",
        bytemuck::bytes_of(&frame).to_vec(),
        ErrorCode::BadFrame,
        0,
    ));
    cases.push((
        "a credential where none is known",
        bytemuck::bytes_of(&hello("x")).to_vec(),
        ErrorCode::Unauthenticated,
        0,
    ));
    let text = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let correlation = u64::from_le_bytes(text[8..16].try_into().expect("8 bytes"));
    // Its version is what comes first in what it says.
    cases.push(("another protocol", text.to_vec(), ErrorCode::UnsupportedVersion, correlation));
    for (what, version) in
        [("HELLO of version 0", 0), ("HELLO of version 2", 2), ("HELLO of version 255", 255)]
    {
        let mut frame = hello("");
        frame.header.version = version;
        cases.push((what, bytemuck::bytes_of(&frame).to_vec(), ErrorCode::UnsupportedVersion, 0));
    }
    let mut announcing = hello("");
    announcing.header.flags = FLAG_AUTH.into();
    let announcing = bytemuck::bytes_of(&announcing).to_vec();
    let token = |text: &[u8]| {
        let frame = AuthFrame::of_token(text, 7).expect("a length").next().expect("a part");
        bytemuck::bytes_of(&frame).to_vec()
    };
    cases.push(("a token before HELLO", token(b"x"), ErrorCode::BadFrame, 7));
    let ping = bytemuck::bytes_of(&PingFrame::empty(7)).to_vec();
    cases.push((
        "PING before the token",
        [&announcing[..], &ping].concat(),
        ErrorCode::BadFrame,
        7,
    ));
    let unknown = [&announcing[..], &token(b"x")].concat();
    cases.push(("a token where none is known", unknown, ErrorCode::Unauthenticated, 7));
    let unsound: [(&str, Breaking); 6] = [
        ("no range of versions", |hello| (hello.version_min, hello.version_max) = (2, 1)),
        ("bytes behind the credential", |hello| hello.credential[63] = b'x'),
        ("bytes behind the name", |hello| hello.client_name[0] = b'x'),
        ("a name that is not UTF-8", |hello| {
            (hello.client_name[0], hello.client_name_len) = (0xff, 1)
        }),
        ("flags of HELLO", |hello| hello.header.flags = 2.into()),
        ("a credential, and a token that follows", |hello| {
            hello.header.flags = FLAG_AUTH.into();
            (hello.credential[0], hello.credential_len) = (b'x', 1);
        }),
    ];
    for (what, unsound) in unsound {
        let mut frame = hello("");
        unsound(&mut frame);
        cases.push((what, bytemuck::bytes_of(&frame).to_vec(), ErrorCode::BadFrame, 0));
    }
    for (what, bytes, code, correlation) in cases {
        let mut raw = Raw::connect(at).expect("connects");
        raw.send_bytes(&bytes).expect("taken");
        let replies = raw.rest();
        assert_eq!(replies.len(), 1, "{what}");
        let said = replies[0].correlation();
        // Where the header itself is unsound, what lies where the correlation would be may come
        // back or not.
        assert!(said == correlation || (what == "another protocol" && said == 0), "{what}");
        assert_eq!(replies[0].error(), Some((code, true)), "{what}");
        watched.assert_serves(what);
    }
    watched.node.stop();
}

/// A transaction with one thing wrong, and the error that it gets.
type Wrong = (&'static str, ErrorCode, fn(&mut TransactionFields));

#[test]
fn a_wrong_field_has_its_error_and_the_connection_goes_on() {
    let mut watched = Watched::start(|setup| setup);
    let mut raw = Raw::open(watched.node.listen);
    let cases: &[Wrong] = &[
        ("payer: a check digit", ErrorCode::BadDocument, |t| t.payer = *b"04933228681\0\0\0"),
        ("payer: one digit eleven times", ErrorCode::BadDocument, |t| {
            t.payer = *b"11111111111\0\0\0"
        }),
        ("payer: filled with digits", ErrorCode::BadDocument, |t| t.payer = *b"04933228680000"),
        ("payer: lower case", ErrorCode::BadDocument, |t| t.payer = *b"12abc34501de35"),
        ("payee: zeros", ErrorCode::BadDocument, |t| t.payee = [0; DOCUMENT_LEN]),
        ("payee: not text", ErrorCode::BadDocument, |t| t.payee = [0xff; DOCUMENT_LEN]),
        ("amount 0", ErrorCode::BadField, |t| t.amount_centavos = 0.into()),
        ("amount -1", ErrorCode::BadField, |t| t.amount_centavos = (-1).into()),
        ("the least amount", ErrorCode::BadField, |t| t.amount_centavos = i64::MIN.into()),
        ("time 0", ErrorCode::BadField, |t| t.event_time_ns = 0.into()),
        ("the end of time", ErrorCode::BadField, |t| t.event_time_ns = u64::MAX.into()),
        ("in an hour", ErrorCode::BadField, |t| {
            t.event_time_ns = (now_ns() + 3_600_000_000_000).into()
        }),
        ("two days ago", ErrorCode::BadField, |t| {
            t.event_time_ns = (now_ns() - 2 * 86_400_000_000_000).into()
        }),
        ("seconds for nanoseconds", ErrorCode::BadField, |t| {
            t.event_time_ns = (now_ns() / 1_000_000_000).into()
        }),
        ("an unknown rail", ErrorCode::BadField, |t| t.rail = 5),
        ("an unknown channel", ErrorCode::BadField, |t| t.channel = 6),
        ("a budget over 2 s", ErrorCode::BadField, |t| t.budget_us = 2_000_001.into()),
        ("half an ISPB", ErrorCode::BadField, |t| t.payer_ispb = *b"1234\0\0\0\0"),
        ("an ISPB with a mark", ErrorCode::BadField, |t| t.payee_ispb = *b"1234567-"),
        ("no id", ErrorCode::BadField, |t| t.id = [0; 32]),
        ("an id with a space", ErrorCode::BadField, |t| t.id[1] = b' '),
        ("an id that goes on behind its end", ErrorCode::BadField, |t| t.id[31] = b'x'),
        ("an id that is not ASCII", ErrorCode::BadField, |t| t.id[0] = 0xc3),
    ];
    for (number, (what, code, spoil)) in (1u64..).zip(cases) {
        let sound = payment("spoilt", number);
        let mut frame = submit(number, &sound);
        spoil(&mut frame.transaction);
        let reply = raw.ask(&frame);
        assert_eq!((reply.error(), reply.correlation()), (Some((*code, false)), number), "{what}");
        watched.assert_serves(what);
    }
    // Nothing was recorded under that id, so it can still be used.
    let reply = raw.ask(&submit(999, &payment("spoilt", 1)));
    let verdict = reply.get::<VerdictFrame>().expect("decided");
    assert_eq!(verdict.answer.flags & VERDICT_DUPLICATE, 0);
    watched.node.stop();
}

#[test]
fn an_id_stands_for_one_content() {
    let mut watched = Watched::start(|setup| setup.shards(2));
    let now = now_ns();
    let first = between("order-1", document(1), document(2), now);
    let decision = watched.witness.decide(&first).expect("decided");
    type Change = (&'static str, fn(&mut Transaction));
    let changes: [Change; 4] = [
        ("amount", |t| t.amount_centavos += 1),
        ("payee", |t| t.payee = document(3).to_wire()),
        ("time", |t| t.event_time_ns += 1),
        ("device", |t| t.device = 7),
    ];
    for (what, change) in changes {
        let mut other = first;
        change(&mut other);
        let error = watched.witness.decide(&other).expect_err(what);
        assert!(
            matches!(&error, ClientError::Refused(error) if error.code == ErrorCode::IdReused),
            "{what}: {error}"
        );
        watched.assert_serves(what);
    }
    // The earlier decision stands; budget and trace are no content; another payer's id is another
    // transaction.
    let again = watched
        .witness
        .decide(&Transaction { budget_us: 500_000, trace_id: [9; 16], ..first })
        .expect("the same");
    assert_eq!(
        (again.answer.lsn, again.answer.shard, again.duplicate),
        (decision.answer.lsn, decision.answer.shard, true)
    );
    let another = watched
        .witness
        .decide(&between("order-1", document(4), document(2), now))
        .expect("another");
    assert!(!another.duplicate);
    watched.node.stop();
}

#[test]
fn a_credential_opens_what_it_is_for_and_nothing_else() {
    let dir = folder();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (till, desk) =
        (write("till.token", "token-of-the-till\n"), write("desk.token", "token-of-the-desk\n"));
    let config = format!(
        "[[clients]]\nname = 'till'\ncredential_file = '{till}'\npermissions = ['submit']\n\
         [[clients]]\nname = 'desk'\ncredential_file = '{desk}'\npermissions = ['lookup', 'stats', 'admin']\n"
    );
    let config = write("catraca.toml", &config);
    let node = Setup::new(&dir.path().join("data")).arg("--config").arg(config).start();
    let with = |credential: &str| {
        Client::connect(ClientOptions {
            credential: credential.to_owned(),
            ..node.client_options()
        })
    };
    for credential in ["", "token-of-the-tilL", "token-of-the-till\n"] {
        let error = with(credential).expect_err("unknown");
        assert!(
            matches!(&error, ClientError::Refused(e) if e.code == ErrorCode::Unauthenticated && e.closing),
            "{error}"
        );
    }
    let forbidden = |error: ClientError| {
        assert!(
            matches!(&error, ClientError::Refused(e) if e.code == ErrorCode::Forbidden && !e.closing),
            "{error}"
        );
    };
    let mut till = with("token-of-the-till").expect("known");
    let mut desk = with("token-of-the-desk").expect("known");
    let transaction = payment("order-1", 1);
    forbidden(desk.decide(&transaction).expect_err("no submit"));
    forbidden(till.lookup("order-1", None).map(drop).expect_err("no lookup"));
    forbidden(till.stats(ALL_SHARDS).map(drop).expect_err("no stats"));
    forbidden(till.blacklist(&BlacklistChange::describe()).map(drop).expect_err("no admin"));
    forbidden(
        till.blacklist(&BlacklistChange::add(document(1), Scope::Exact))
            .map(drop)
            .expect_err("no admin"),
    );
    let source = catraca_wire::extension::LabelSource::parse("desk").expect("sound");
    let label = LabelRequest::new("order-1", None, LabelKind::ConfirmedGood, now_ns(), &source)
        .expect("sound");
    forbidden(till.label(&label).map(drop).expect_err("no admin"));
    let force = ValidatorRequest::force(
        ListName::parse("status").expect("sound"),
        BreakerForce::Open,
        Author::parse("till").expect("sound"),
        ListReason::parse("to pay more").expect("sound"),
    );
    forbidden(till.validator(&force.expect("sound")).map(drop).expect_err("no admin"));
    // Each goes on with what it may do, and what was forbidden was not done.
    assert!(!till.decide(&transaction).expect("decided").duplicate);
    assert_eq!(
        desk.lookup("order-1", None).expect("found").record.transaction.payer,
        transaction.payer
    );
    assert_eq!(desk.blacklist(&BlacklistChange::describe()).expect("told").overlay_entries, 0);
    assert!(!desk.stats(ALL_SHARDS).expect("told").is_empty());
    till.ping().expect("PING needs no permission");
    let written = node.stop();
    assert!(!written.contains("token-of-the"), "a credential is in the program's log");
}

#[test]
fn no_bytes_at_all_stop_the_server() {
    /// Connections, each with its own nonsense.
    const CONNECTIONS: u64 = 300;
    let mut watched = Watched::start(|setup| setup.shards(2));
    for seed in 0..CONNECTIONS {
        let mut random = SmallRng::seed_from_u64(seed);
        // A third says nonsense at once, a third after a handshake, a third sends sound frames with
        // some bytes changed.
        let mut raw = if seed % 3 == 0 {
            Raw::connect(watched.node.listen).expect("connects")
        } else {
            Raw::open(watched.node.listen)
        };
        let mut bytes = Vec::new();
        if seed % 3 == 2 {
            for number in 0..20 {
                bytes.extend_from_slice(bytemuck::bytes_of(&submit(
                    number,
                    &payment(&format!("fuzz-{seed}-{number}"), number),
                )));
            }
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        } else {
            bytes.resize(random.random_range(1..4_000), 0);
            random.fill(bytes.as_mut_slice());
        }
        // The server may have closed before it read all.
        let _ = raw.send_bytes(&bytes);
        let _ = raw.0.shutdown(Shutdown::Write);
        for reply in raw.rest() {
            assert!(
                reply.error().is_some() || reply.get::<VerdictFrame>().is_some(),
                "seed {seed}: {:?}",
                reply.kind()
            );
        }
        if seed % 20 == 0 {
            watched.assert_serves("nonsense");
        }
    }
    watched.assert_serves("all that nonsense");
    watched.node.stop();
}
