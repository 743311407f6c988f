//! Bytes as they come: in any pieces, broken, half, or too slowly; and connections that go away.

use catraca_core::limits::{FRAME_TIMEOUT, HANDSHAKE_TIMEOUT};
use catraca_core::shard::access::{Access, KnownClient, Permissions};
use catraca_core::shard::messages::{ControlRequest, ToControl};
use catraca_testkit::shard::{Options, Reply, World, payer, submit, transaction};
use catraca_wire::frame::{
    ClusterFrame, ClusterOp, ErrorCode, FrameKind, HelloFrame, LookupFrame, PingFrame, StatsFrame,
    SubmitFrame, TransactionFields, WelcomeFrame,
};
use std::time::Duration;

fn hello() -> HelloFrame {
    let mut hello = HelloFrame::empty(1);
    (hello.version_min, hello.version_max) = (1, 1);
    hello
}

/// A conversation with all kinds of answers that the shard gives by itself.
fn conversation() -> Vec<u8> {
    let mut bad = transaction("bad", payer(1));
    bad.amount_centavos = 0.into();
    let mut bytes = bytemuck::bytes_of(&hello()).to_vec();
    bytes.extend_from_slice(bytemuck::bytes_of(&submit(10, transaction("a", payer(1)))));
    bytes.extend_from_slice(bytemuck::bytes_of(&PingFrame::empty(11)));
    bytes.extend_from_slice(bytemuck::bytes_of(&submit(12, bad)));
    bytes.extend_from_slice(bytemuck::bytes_of(&submit(13, transaction("a", payer(1)))));
    bytes.extend_from_slice(bytemuck::bytes_of(&submit(14, transaction("b", payer(2)))));
    bytes
}

#[test]
fn cut_anywhere_the_bytes_mean_the_same() {
    let bytes = conversation();
    // Small, because a thousand of them are made.
    let world = || World::with(Options { buffers: 1, segments: 1, ..Options::default() });
    let whole = {
        let mut w = world();
        let c = w.raw_client(0);
        w.send(c, &bytes);
        w.settle();
        w.clients[c].replies.clone()
    };
    assert_eq!(whole.len(), 6);
    for cut in 1..bytes.len() {
        let mut w = world();
        let c = w.raw_client(0);
        w.send(c, &bytes[..cut]);
        w.send(c, &bytes[cut..]);
        w.settle();
        assert_eq!(w.clients[c].replies, whole, "cut at {cut}");
    }
    let mut w = world();
    let c = w.raw_client(0);
    for byte in bytes {
        w.send(c, &[byte]);
    }
    w.settle();
    assert_eq!(w.clients[c].replies, whole, "byte by byte");
}

/// What breaks the protocol, after a sound SUBMIT.
#[test]
fn a_broken_frame_ends_the_connection_and_nothing_else() {
    type Breaking = fn(&mut SubmitFrame);
    let breakings: [(&str, Breaking, ErrorCode); 7] = [
        ("length", |f| f.header.length = 191.into(), ErrorCode::BadFrame),
        ("a length beyond all bounds", |f| f.header.length = u32::MAX.into(), ErrorCode::BadFrame),
        ("an unknown kind", |f| f.header.kind = 99, ErrorCode::BadFrame),
        ("a server's kind", |f| f.header.kind = FrameKind::Verdict.to_wire(), ErrorCode::BadFrame),
        ("flags", |f| f.header.flags = 1.into(), ErrorCode::BadFrame),
        ("version", |f| f.header.version = 2, ErrorCode::UnsupportedVersion),
        ("a reserved field", |f| f.reserved = 1.into(), ErrorCode::BadFrame),
    ];
    for (what, breaking, code) in breakings {
        let mut w = World::new();
        let (c, other) = (w.client(), w.client());
        let mut broken = submit(2, transaction("b", payer(1)));
        breaking(&mut broken);
        w.send(
            c,
            bytemuck::cast_slice(&[
                submit(1, transaction("a", payer(1))),
                broken,
                submit(3, transaction("c", payer(1))),
            ]),
        );
        assert!(!w.clients[c].closed, "{what}: what was accepted is answered first");
        w.settle();
        assert!(
            matches!(w.clients[c].replies[1], Reply::Verdict { correlation: 1, .. }),
            "{what}: {:?}",
            w.clients[c].replies
        );
        assert_eq!(
            w.clients[c].replies[2..],
            [Reply::Error { correlation: 2, code, retry_after_ms: 0, closing: true }],
            "{what}: nothing follows the last word"
        );
        assert!(w.clients[c].closed, "{what}");
        assert_eq!(
            w.ask(other, 1, transaction("a", payer(1))).verdict().lsn,
            1,
            "{what}: what was accepted is recorded"
        );
        assert_eq!(w.records().len(), 1, "{what}");
    }
}

#[test]
fn nothing_follows_the_error_that_closes_although_it_was_not_sent_yet() {
    let mut w = World::new();
    let c = w.client();
    w.set_deaf(c, true);
    let mut broken = submit(2, transaction("b", payer(1)));
    broken.header.kind = 99;
    w.send(c, bytemuck::cast_slice(&[submit(1, transaction("a", payer(1))), broken]));
    w.settle();
    w.set_deaf(c, false);
    assert!(matches!(
        w.clients[c].replies[1..],
        [Reply::Verdict { correlation: 1, .. }, Reply::Error { correlation: 2, closing: true, .. }]
    ));
}

fn cluster(correlation: u64, op: ClusterOp) -> ClusterFrame {
    ClusterFrame { op: op.to_wire(), ..ClusterFrame::empty(correlation) }
}

#[test]
fn who_may_see_the_figures_may_describe_the_cluster_and_only_who_administers_may_change_it() {
    for (permissions, allowed) in [
        (
            Permissions { submit: true, lookup: true, ..Permissions::default() },
            [false, false, false],
        ),
        (Permissions { stats: true, ..Permissions::default() }, [true, false, false]),
        (Permissions { admin: true, ..Permissions::default() }, [true, true, true]),
    ] {
        let mut access = Access::default();
        access.add(b"secret", KnownClient { permissions, ..KnownClient::default() });
        let mut w = World::with(Options { access, ..Options::default() });
        let c = w.raw_client(0);
        let mut hello = hello();
        hello.credential[..6].copy_from_slice(b"secret");
        hello.credential_len = 6;
        w.send(c, bytemuck::bytes_of(&hello));
        for (&op, allowed) in ClusterOp::ALL.iter().zip(allowed) {
            let told = |w: &World| {
                let asked = |message: &&ToControl| {
                    matches!(
                        message,
                        ToControl::Request { request: ControlRequest::Cluster(_), .. }
                    )
                };
                w.cores[0].told.iter().filter(asked).count()
            };
            let (before, correlation) = (told(&w), u64::from(op.to_wire()));
            w.send(c, bytemuck::bytes_of(&cluster(correlation, op)));
            w.settle();
            assert_eq!(told(&w) - before, usize::from(allowed), "{op} with {permissions:?}");
            let refused =
                w.clients[c].replies.iter().any(|reply| reply.correlation() == correlation);
            assert_eq!(refused, !allowed, "{op} with {permissions:?}");
        }
    }
}

#[test]
fn handshakes_are_checked() {
    let mut access = Access::default();
    let permissions = Permissions { submit: true, ..Permissions::default() };
    access.add(b"secret", KnownClient { permissions, ..KnownClient::default() });
    let with = |credential: &[u8]| {
        let mut hello = hello();
        hello.credential[..credential.len()].copy_from_slice(credential);
        hello.credential_len = credential.len() as u8;
        hello
    };
    let refused = |change: fn(&mut HelloFrame), code: ErrorCode| {
        let mut w = World::new();
        let c = w.raw_client(0);
        let mut hello = hello();
        change(&mut hello);
        w.send(c, bytemuck::bytes_of(&hello));
        assert_eq!(w.clients[c].answer(1).error(), code);
        assert!(w.clients[c].closed);
    };
    refused(|h| (h.version_min, h.version_max) = (2, 9), ErrorCode::UnsupportedVersion);
    refused(|h| (h.version_min, h.version_max) = (0, 0), ErrorCode::UnsupportedVersion);
    refused(|h| (h.version_min, h.version_max) = (1, 0), ErrorCode::BadFrame);
    refused(|h| h.header.version = 2, ErrorCode::UnsupportedVersion);
    refused(|h| h.credential[1] = b'x', ErrorCode::BadFrame);
    refused(|h| (h.client_name_len, h.client_name[0]) = (1, 0xff), ErrorCode::BadFrame);
    refused(|h| h.credential_len = 65, ErrorCode::BadFrame);
    refused(|h| h.client_name_len = 41, ErrorCode::BadFrame);
    refused(|h| (h.credential_len, h.credential[0]) = (1, b'x'), ErrorCode::Unauthenticated);

    let mut w = World::with(Options { access, in_flight: 100, ..Options::default() });
    for (credential, welcome) in [(&b""[..], false), (b"secrets", false), (b"secret", true)] {
        let c = w.raw_client(0);
        w.send(c, bytemuck::bytes_of(&with(credential)));
        assert_eq!(matches!(w.clients[c].replies[..], [Reply::Welcome(_)]), welcome);
        assert_eq!(w.clients[c].closed, !welcome);
    }
    let known = w.clients.len() - 1;
    for (correlation, frame) in [
        (1, bytemuck::bytes_of(&LookupFrame::empty(1)).to_vec()),
        (2, bytemuck::bytes_of(&StatsFrame::empty(2)).to_vec()),
        (3, bytemuck::bytes_of(&catraca_wire::frame::BlacklistFrame::empty(3)).to_vec()),
        (5, bytemuck::bytes_of(&cluster(5, ClusterOp::Describe)).to_vec()),
    ] {
        w.send(known, &frame);
        assert_eq!(w.clients[known].answer(correlation).error(), ErrorCode::Forbidden);
    }
    assert_eq!(w.ask(known, 4, transaction("a", payer(1))).verdict().flags, 0);
    // In flight: what is asked for, as far as the server allows.
    for (asked, given) in [(0, 100), (7, 7), (1000, 100)] {
        let c = w.raw_client(0);
        let mut hello = with(b"secret");
        hello.in_flight = asked.into();
        w.send(c, bytemuck::bytes_of(&hello));
        let [Reply::Welcome(WelcomeFrame { in_flight, .. })] = w.clients[c].replies[..] else {
            panic!("not welcome")
        };
        assert_eq!(in_flight, given);
    }
    // Before HELLO nothing else, and HELLO once.
    let c = w.raw_client(0);
    w.send(c, bytemuck::bytes_of(&PingFrame::empty(5)));
    assert_eq!(w.clients[c].answer(5).error(), ErrorCode::BadFrame);
    w.send(known, bytemuck::bytes_of(&with(b"secret")));
    assert!(matches!(
        w.clients[known].replies.last(),
        Some(Reply::Error { code: ErrorCode::BadFrame, closing: true, .. })
    ));
}

#[test]
fn who_is_slow_with_hello_or_half_a_frame_is_closed() {
    let mut w = World::new();
    let (silent, trickling, idle, half) =
        (w.raw_client(0), w.raw_client(0), w.client(), w.client());
    let last = |w: &World, c: usize| w.clients[c].replies.last().copied();
    let closing = Some(Reply::Error {
        correlation: 0,
        code: ErrorCode::BadFrame,
        retry_after_ms: 0,
        closing: true,
    });
    let bytes = bytemuck::bytes_of(&hello()).to_vec();
    for byte in &bytes[..100] {
        w.pass(HANDSHAKE_TIMEOUT / 101);
        w.tick();
        w.send(trickling, &[*byte]);
    }
    assert!(!w.clients[trickling].closed);
    w.pass(HANDSHAKE_TIMEOUT / 50);
    w.tick();
    assert_eq!((last(&w, silent), last(&w, trickling)), (closing, closing));

    let frame = submit(1, transaction("a", payer(1)));
    let bytes = bytemuck::bytes_of(&frame);
    w.send(half, &bytes[..20]);
    for byte in &bytes[20..120] {
        w.pass(FRAME_TIMEOUT / 101);
        w.tick();
        w.send(half, &[*byte]);
    }
    assert!(!w.clients[half].closed, "not yet");
    w.pass(FRAME_TIMEOUT / 50);
    w.tick();
    assert_eq!(last(&w, half), closing);
    w.pass(Duration::from_secs(86_400));
    w.tick();
    assert!(!w.clients[idle].closed, "who says nothing at all may stay");
    let late =
        TransactionFields { event_time_ns: w.now.wall_ns.into(), ..transaction("a", payer(1)) };
    assert_eq!(w.ask(idle, 1, late).verdict().lsn, 1);
}

#[test]
fn who_goes_away_leaves_its_transactions_and_takes_nobody_elses_answers() {
    let mut w = World::new();
    let c = w.client();
    w.submit(c, 1, transaction("a", payer(1)));
    w.begin_write(0);
    w.submit(c, 2, transaction("b", payer(1)));
    let slot = w.clients[c].id.slot;
    w.disconnect(c);
    // The same place in the table is used again.
    let next = w.client();
    assert_eq!(w.clients[next].id.slot, slot);
    w.settle();
    assert_eq!(w.clients[next].replies.len(), 1, "only its welcome");
    assert_eq!(w.records().len(), 2);
    assert_eq!(w.ask(next, 2, transaction("b", payer(1))).verdict().lsn, 2);
    assert_eq!(w.cores[0].mover.shard.counters().pending, 0);
    // Half a frame of the one before is nobody's.
    w.send(next, &bytemuck::bytes_of(&submit(3, transaction("c", payer(1))))[..100]);
    w.disconnect(next);
    let third = w.client();
    assert_eq!(w.ask(third, 1, transaction("c", payer(1))).verdict().lsn, 3);
}
