//! Who sends: institutions with ids of their own, requests on behalf of others, rates, and clients that are known
//! no longer.

use catraca_core::shard::access::{Access, Bounds, KnownClient, Permissions};
use catraca_core::shard::messages::{Actor, ControlRequest, ToControl, ToShard};
use catraca_core::shard::rate::Rate;
use catraca_testkit::shard::{Options, Reply, World, payer, transaction};
use catraca_wire::frame::{
    BlacklistFrame, ClusterFrame, ClusterOp, ErrorCode, HelloFrame, LookupFrame, OnBehalfFrame,
    StatsFrame, Submitter, SubmitterFields, SubmitterName, VERDICT_DUPLICATE,
};
use catraca_wire::record::{Reason, Record, RecordHead};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

fn submitter(institution: u16, name: &str) -> SubmitterFields {
    SubmitterFields::new(institution, SubmitterName::parse(name).expect("a name"))
}

fn known(institution: u16, name: &str, permissions: &[&str]) -> KnownClient {
    let mut granted = Permissions::default();
    assert!(permissions.iter().all(|name| granted.grant(name)));
    KnownClient {
        submitter: submitter(institution, name),
        permissions: granted,
        ..KnownClient::default()
    }
}

/// Three clients of two institutions, and a program that speaks for others.
fn access() -> Access {
    let mut access = Access::default();
    for (credential, client) in [
        (b"mar-app", known(1, "mar-app", &["submit", "lookup"])),
        (b"mar-web", known(1, "mar-web", &["submit"])),
        (b"sol-app", known(2, "sol-app", &["submit", "lookup", "all_institutions"])),
        (b"gateway", known(0, "gateway", &["submit", "lookup", "behalf", "all_institutions"])),
    ] {
        assert!(access.add(credential, client));
    }
    access
}

fn world(shards: u16) -> World {
    World::with(Options { access: access(), shards, ..Options::default() })
}

fn hello(credential: &[u8]) -> HelloFrame {
    let mut hello = HelloFrame::empty(0);
    (hello.version_min, hello.version_max) = (1, 1);
    hello.credential[..credential.len()].copy_from_slice(credential);
    hello.credential_len = credential.len() as u8;
    hello
}

fn greet(w: &mut World, core: usize, credential: &[u8]) -> usize {
    let client = w.raw_client(core);
    w.send(client, bytemuck::bytes_of(&hello(credential)));
    assert!(matches!(w.clients[client].replies[..], [Reply::Welcome(_)]));
    client
}

fn on_behalf(institution: u16, name: &str) -> OnBehalfFrame {
    let mut frame = OnBehalfFrame::empty(77);
    frame.principal.submitter = submitter(institution, name);
    frame
}

/// The submitters of the records, by transaction id.
fn submitters(w: &World) -> Vec<(String, Submitter)> {
    let of = |head: &RecordHead| {
        let id = catraca_wire::frame::text_of(&head.transaction.id).to_owned();
        (id, Record::from(head).submitter)
    };
    w.records().iter().map(of).collect()
}

#[test]
fn ids_belong_to_the_institution_on_every_shard() {
    for shards in [1, 2] {
        let mut w = world(shards);
        // Sent to the first core, whoever owns the payer.
        let [app, web, other] =
            [&b"mar-app"[..], b"mar-web", b"sol-app"].map(|name| greet(&mut w, 0, name));
        for number in 0..8 {
            let what = transaction("order", payer(number));
            let first = w.ask(app, number * 10, what).verdict();
            let mut again = what;
            again.trace_id = [7; 16];
            let resent = w.ask(web, number * 10 + 1, again).verdict();
            assert_eq!((resent.shard, resent.lsn), (first.shard, first.lsn));
            assert_eq!((first.flags, resent.flags), (0, VERDICT_DUPLICATE));
            // The same payer and id of another institution, with other content: a decision of its own.
            let mut theirs = what;
            theirs.amount_centavos = 1.into();
            let own = w.ask(other, number * 10 + 2, theirs).verdict();
            assert_eq!(own.flags, 0);
            assert_ne!((own.shard, own.lsn), (first.shard, first.lsn));
            let reused = w.ask(app, number * 10 + 3, theirs);
            assert_eq!(reused.error(), ErrorCode::IdReused, "within one institution");
        }
        let count = |name: &str| {
            let named = Submitter::from(&submitter(if name == "sol-app" { 2 } else { 1 }, name));
            submitters(&w).iter().filter(|(_, submitter)| *submitter == named).count()
        };
        assert_eq!((count("mar-app"), count("mar-web"), count("sol-app")), (8, 0, 8));
    }
}

#[test]
fn what_was_decided_for_whom_is_known_after_a_crash() {
    let mut w = world(1);
    let (app, other) = (greet(&mut w, 0, b"mar-app"), greet(&mut w, 0, b"sol-app"));
    let first = w.ask(app, 1, transaction("order", payer(1))).verdict();
    let own = w.ask(other, 1, transaction("order", payer(1))).verdict();
    w.crash(catraca_testkit::shard::Tear::None);
    let (app, other) = (greet(&mut w, 0, b"mar-web"), greet(&mut w, 0, b"sol-app"));
    let again = w.ask(app, 2, transaction("order", payer(1))).verdict();
    let own_again = w.ask(other, 2, transaction("order", payer(1))).verdict();
    assert_eq!((again.lsn, own_again.lsn), (first.lsn, own.lsn));
    assert_eq!((again.flags, own_again.flags), (VERDICT_DUPLICATE, VERDICT_DUPLICATE));
    assert_eq!((first.reason, again.reason), (Reason::Clear.to_wire(), Reason::Clear.to_wire()));
}

#[test]
fn a_program_speaks_for_others_from_one_frame_to_the_next() {
    let mut w = world(2);
    let gateway = greet(&mut w, 0, b"gateway");
    w.submit(gateway, 1, transaction("own", payer(1)));
    let mut bytes = bytemuck::bytes_of(&on_behalf(1, "loja")).to_vec();
    for number in 2..6 {
        let submit = catraca_testkit::shard::submit(number, transaction("theirs", payer(number)));
        bytes.extend_from_slice(bytemuck::bytes_of(&submit));
    }
    bytes.extend_from_slice(bytemuck::bytes_of(&on_behalf(2, "banca")));
    let submit = catraca_testkit::shard::submit(9, transaction("theirs", payer(2)));
    bytes.extend_from_slice(bytemuck::bytes_of(&submit));
    w.send(gateway, &bytes);
    w.settle();
    for correlation in [1, 2, 3, 4, 5, 9] {
        assert_eq!(w.clients[gateway].answer(correlation).verdict().flags, 0, "{correlation}");
    }
    // What is sent through it and what comes by itself are one.
    let web = greet(&mut w, 1, b"mar-web");
    assert_eq!(w.ask(web, 1, transaction("theirs", payer(2))).verdict().flags, VERDICT_DUPLICATE);
    let mut names: Vec<String> = submitters(&w)
        .iter()
        .map(|(id, of)| {
            let name = catraca_wire::frame::text_of(&of.name).to_owned();
            format!("{id} of {name} {}", of.institution)
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["own of gateway 0", "theirs of banca 2", "theirs of loja 1"]);
}

#[test]
fn who_may_not_speak_for_others_is_let_go_before_anything_follows() {
    let cases: [(&[u8], OnBehalfFrame, ErrorCode); 3] = [
        (b"mar-app", on_behalf(2, "loja"), ErrorCode::Forbidden),
        (
            b"gateway",
            OnBehalfFrame {
                principal: catraca_wire::frame::PrincipalFields {
                    subject: [0xff; 64],
                    ..Default::default()
                },
                ..OnBehalfFrame::empty(77)
            },
            ErrorCode::BadField,
        ),
        (b"gateway", OnBehalfFrame { reserved: [1; 30], ..on_behalf(1, "a") }, ErrorCode::BadFrame),
    ];
    for (credential, frame, code) in cases {
        let mut w = world(1);
        let client = greet(&mut w, 0, credential);
        let mut bytes = bytemuck::bytes_of(&frame).to_vec();
        let submit = catraca_testkit::shard::submit(5, transaction("order", payer(1)));
        bytes.extend_from_slice(bytemuck::bytes_of(&submit));
        w.send(client, &bytes);
        w.settle();
        assert_eq!(w.clients[client].answer(77).error(), code);
        assert!(w.clients[client].closed && w.clients[client].answers(5).is_empty());
        assert!(w.records().is_empty(), "nothing of it is taken for somebody else's");
    }
}

/// Who the control thread is told that asks.
fn actor(w: &mut World, client: usize) -> Actor {
    w.send(client, bytemuck::bytes_of(&LookupFrame::empty(50)));
    let mut actors = w.cores[0].told.iter().filter_map(|told| match told {
        ToControl::Request { actor, request: ControlRequest::Lookup(_), .. } => Some(*actor),
        _ => None,
    });
    actors.next_back().expect("it was asked")
}

#[test]
fn a_look_up_reaches_the_own_institution_unless_it_may_reach_all() {
    let mut w = world(1);
    let app = greet(&mut w, 0, b"mar-app");
    assert_eq!(actor(&mut w, app).reaches(), Some(1));
    let auditor = greet(&mut w, 0, b"sol-app");
    assert_eq!(actor(&mut w, auditor).reaches(), None);
    let gateway = greet(&mut w, 0, b"gateway");
    assert_eq!(actor(&mut w, gateway).reaches(), None);
    w.send(gateway, bytemuck::bytes_of(&on_behalf(1, "loja")));
    let theirs = actor(&mut w, gateway);
    assert_eq!(theirs.reaches(), Some(1), "what a program may is not what those may it speaks for");
    assert_eq!(theirs.principal.submitter.name().as_str(), "loja");
}

#[test]
fn where_a_balancer_says_that_a_client_is_is_where_it_asks_from() {
    let mut w = world(1);
    let [one, other] = [1, 2].map(|number| [number; 16]);
    let direct = w.raw_client(0);
    let told = w.raw_client(0);
    let id = w.clients[told].id;
    w.cores[0].mover.shard.set_remote(id, one);
    for (client, remote) in [(direct, [0; 16]), (told, one)] {
        w.send(client, bytemuck::bytes_of(&hello(b"mar-app")));
        assert_eq!(actor(&mut w, client).principal.remote, remote);
    }
    // Also where it speaks for somebody else.
    let gateway = w.raw_client(0);
    let id = w.clients[gateway].id;
    w.cores[0].mover.shard.set_remote(id, other);
    w.send(gateway, bytemuck::bytes_of(&hello(b"gateway")));
    w.send(gateway, bytemuck::bytes_of(&on_behalf(1, "loja")));
    let actor = actor(&mut w, gateway);
    assert_eq!((actor.via_remote, actor.principal.remote), (other, [0; 16]));
}

#[test]
fn a_client_gets_its_rate_and_is_told_when_to_come_again() {
    let mut access = Access::default();
    let per_second = NonZeroU32::new(100).expect("above 0");
    let burst = NonZeroU32::new(3).expect("above 0");
    let bounds = Bounds { submits: Some(Rate { per_second, burst }), ..Bounds::default() };
    let limited = KnownClient { bounds, ..known(0, "fast", &["submit"]) };
    assert!(access.add(b"limited", limited));
    assert!(access.add(b"free", known(0, "free", &["submit"])));
    let mut w = World::with(Options { access, ..Options::default() });
    let (one, two) = (greet(&mut w, 0, b"limited"), greet(&mut w, 0, b"limited"));
    let free = greet(&mut w, 0, b"free");
    for number in 0..3 {
        w.ask([one, two][number as usize % 2], number, transaction("a", payer(number))).verdict();
    }
    let refused = w.ask(two, 9, transaction("a", payer(9)));
    assert!(
        matches!(
            refused,
            Reply::Error { code: ErrorCode::RateLimited, retry_after_ms: 10, closing: false, .. }
        ),
        "{refused:?}"
    );
    assert_eq!(w.records().len(), 3, "nothing of it was recorded");
    w.ask(free, 1, transaction("b", payer(1))).verdict();
    w.pass(Duration::from_millis(10));
    w.ask(two, 10, transaction("a", payer(9))).verdict();
    assert_eq!(w.ask(one, 11, transaction("a", payer(10))).error(), ErrorCode::RateLimited);
}

/// A client with these bounds, `bounded`, and one without, `free`, who may ask for anything.
fn bounded(bounds: Bounds) -> Access {
    let mut access = Access::default();
    let all = Permissions::NAMES;
    assert!(access.add(b"bounded", KnownClient { bounds, ..known(0, "bounded", &all) }));
    assert!(access.add(b"free", known(0, "free", &all)));
    access
}

#[test]
fn look_ups_and_operations_have_a_rate_of_their_own() {
    let (per_second, burst) =
        (NonZeroU32::new(10).expect("above 0"), NonZeroU32::new(2).expect("above 0"));
    let bounds = Bounds { requests: Some(Rate { per_second, burst }), ..Bounds::default() };
    let mut w = World::with(Options { access: bounded(bounds), ..Options::default() });
    let (client, free) = (greet(&mut w, 0, b"bounded"), greet(&mut w, 0, b"free"));
    let asked = |w: &World| {
        w.cores[0].told.iter().filter(|told| matches!(told, ToControl::Request { .. })).count()
    };
    w.send(client, bytemuck::bytes_of(&LookupFrame::empty(1)));
    w.send(client, bytemuck::bytes_of(&BlacklistFrame::empty(2)));
    w.send(client, bytemuck::bytes_of(&StatsFrame::empty(3)));
    assert!(matches!(
        w.clients[client].answer(3),
        Reply::Error { code: ErrorCode::RateLimited, retry_after_ms: 100, closing: false, .. }
    ));
    assert_eq!(asked(&w), 2);
    // Who looks for the primary finds it, payments are decided, and others ask.
    let mut describe = ClusterFrame::empty(4);
    describe.op = ClusterOp::Describe.to_wire();
    w.send(client, bytemuck::bytes_of(&describe));
    w.send(free, bytemuck::bytes_of(&LookupFrame::empty(5)));
    assert_eq!(asked(&w), 4);
    w.ask(client, 6, transaction("a", payer(1))).verdict();
    w.pass(Duration::from_millis(100));
    w.send(client, bytemuck::bytes_of(&LookupFrame::empty(7)));
    assert_eq!(asked(&w), 5);
}

#[test]
fn a_client_has_as_many_connections_and_frames_as_it_may() {
    let two = NonZeroU32::new(2);
    let bounds = Bounds { connections: two, in_flight: NonZeroU32::new(7), ..Bounds::default() };
    let mut w =
        World::with(Options { access: bounded(bounds), in_flight: 100, ..Options::default() });
    let first = greet(&mut w, 0, b"bounded");
    greet(&mut w, 0, b"bounded");
    let in_flight = |w: &World, client: usize| match &w.clients[client].replies[0] {
        Reply::Welcome(welcome) => welcome.in_flight.to_native(),
        other => panic!("{other:?}"),
    };
    assert_eq!(in_flight(&w, first), 7);
    let third = w.raw_client(0);
    w.send(third, bytemuck::bytes_of(&hello(b"bounded")));
    assert!(matches!(
        w.clients[third].replies[..],
        [Reply::Error { code: ErrorCode::Overloaded, closing: true, .. }]
    ));
    for _ in 0..3 {
        let free = greet(&mut w, 0, b"free");
        assert_eq!(in_flight(&w, free), 100);
    }
    w.disconnect(first);
    let last = greet(&mut w, 0, b"bounded");
    // What it has asked is under way although it is to be closed.
    w.send(last, bytemuck::bytes_of(&LookupFrame::empty(1)));
    w.send(last, &[0xff; 16]);
    let beside = w.raw_client(0);
    w.send(beside, bytemuck::bytes_of(&hello(b"bounded")));
    assert!(matches!(
        w.clients[beside].replies[..],
        [Reply::Error { code: ErrorCode::Overloaded, closing: true, retry_after_ms: 1.., .. }]
    ));
}

#[test]
fn who_is_known_no_longer_is_let_go_at_once_and_others_go_on() {
    let mut w = world(2);
    let [app, web, gateway, other] =
        [&b"mar-app"[..], b"mar-web", b"gateway", b"sol-app"].map(|name| greet(&mut w, 0, name));
    w.send(gateway, bytemuck::bytes_of(&on_behalf(1, "loja")));
    let mut access = Access::default();
    // One gained a permission and a name, one lost its permission to speak for others, one is gone.
    assert!(
        access.add(b"mar-app", known(1, "mar-novo", &["submit", "all_institutions", "lookup"]))
    );
    assert!(access.add(b"gateway", known(0, "gateway", &["submit"])));
    assert!(access.add(b"sol-app", known(2, "sol-app", &[])));
    // What was asked before is answered.
    w.submit(web, 1, transaction("before", payer(1)));
    let access = Arc::new(access);
    for core in 0..2 {
        w.control(core, ToShard::SetAccess(Arc::clone(&access)));
    }
    w.settle();
    w.clients[web].answer(1).verdict();
    for gone in [web, gateway] {
        assert_eq!(w.clients[gone].answer(0).error(), ErrorCode::Unauthenticated);
        assert!(w.clients[gone].closed);
    }
    assert_eq!(actor(&mut w, app).reaches(), None);
    w.ask(app, 2, transaction("after", payer(2))).verdict();
    assert_eq!(w.ask(other, 2, transaction("after", payer(2))).error(), ErrorCode::Forbidden);
    let named = submitters(&w);
    let (_, of) = named.iter().find(|(id, _)| id == "after").expect("recorded");
    assert_eq!(catraca_wire::frame::text_of(&of.name), "mar-novo");
}
