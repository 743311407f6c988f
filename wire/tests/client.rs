//! The client against a server that does what servers do, and what they should not.
#![cfg(feature = "client")]

#[path = "support/fake_server.rs"]
mod fake_server;

use catraca_wire::client::{Client, ClientError, ClientOptions, ServerError};
use catraca_wire::document::DocumentKey;
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::*;
use catraca_wire::record::{RECORD_VERSION, Reason, RecordHead, RecordKind};
use fake_server::{FakeServer, options, script, transaction, verdict_frame};

#[test]
fn a_transaction_is_decided_and_the_handshake_says_who_we_are() {
    let server = FakeServer::start(vec![script(|mut peer| {
        let hello = peer.welcome(8);
        assert_eq!((hello.credential_len, text_of(&hello.credential)), (6, "sesame"));
        assert_eq!((text_of(&hello.client_name), hello.in_flight.to_native()), ("till-4", 3));
        let submit = peer.submit();
        assert_eq!(Transaction::from(&submit.transaction), transaction(5));
        peer.verdict(&submit, Verdict::Deny, VERDICT_DEGRADED | VERDICT_SHADOW_DISAGREES);
    })]);
    let mut client = Client::connect(ClientOptions {
        credential: "sesame".into(),
        client_name: "till-4".into(),
        in_flight: 3,
        ..options(&server)
    })
    .expect("welcomed");
    assert_eq!(client.welcome().in_flight, 8);
    let decision = client.decide(&transaction(5)).expect("decided");
    assert_eq!((decision.verdict, decision.answer.lsn), (Verdict::Deny, 5));
    assert!(!decision.duplicate && decision.degraded && decision.shadow_disagrees);
    server.finish();
}

#[test]
fn answers_out_of_order_find_their_requests() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(100);
        let submits: Vec<_> = (0..50).map(|_| peer.submit()).collect();
        // All in one write, so that replies also arrive many to a read.
        let replies: Vec<u8> = submits
            .iter()
            .rev()
            .flat_map(|submit| verdict_frame(submit, Verdict::Approve, 0))
            .collect();
        peer.write(&replies);
    })]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    let sent: Vec<u64> =
        (1..=50).map(|amount| client.queue(&transaction(amount)).expect("queued")).collect();
    assert_eq!(client.owed(), 50);
    let mut received = Vec::new();
    while client.owed() > 0 {
        let reply = client.receive().expect("a reply");
        assert_eq!(sent[reply.result.expect("decided").answer.lsn as usize - 1], reply.correlation);
        received.push(reply.correlation);
    }
    received.reverse();
    assert_eq!(received, sent);
    assert_eq!(client.receive(), Err(ClientError::NothingInFlight));
    server.finish();
}

#[test]
fn replies_cut_anywhere_are_put_together() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(10);
        let submit = peer.submit();
        for byte in verdict_frame(&submit, Verdict::Review, 0) {
            peer.write(&[byte]);
        }
    })]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    assert_eq!(client.decide(&transaction(1)).expect("decided").verdict, Verdict::Review);
    server.finish();
}

#[test]
fn no_more_than_in_flight_is_unanswered() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(2);
        for _ in 0..5 {
            let first = peer.submit();
            let second = peer.submit();
            peer.stream.set_nonblocking(true).expect("loopback");
            let mut more = [0];
            assert!(peer.stream.peek(&mut more).is_err(), "a third frame was sent");
            peer.stream.set_nonblocking(false).expect("loopback");
            peer.verdict(&second, Verdict::Approve, 0);
            peer.verdict(&first, Verdict::Approve, 0);
        }
    })]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    for amount in 1..=10 {
        client.submit(&transaction(amount)).expect("sent");
    }
    let mut amounts: Vec<u64> = (0..10)
        .map(|_| client.receive().expect("reply").result.expect("decided").answer.lsn)
        .collect();
    amounts.sort_unstable();
    assert_eq!(amounts, (1..=10).collect::<Vec<_>>());
    server.finish();
}

#[test]
fn what_is_unanswered_is_sent_again_over_a_new_connection() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            peer.welcome(10);
            let submits: Vec<_> = (0..4).map(|_| peer.submit()).collect();
            peer.verdict(&submits[1], Verdict::Approve, 0);
            // Half an answer, and gone.
            peer.write(&verdict_frame(&submits[2], Verdict::Approve, 0)[..40]);
        }),
        // A connection that is gone before its WELCOME.
        script(|mut peer| drop(peer.read())),
        script(|mut peer| {
            // A smaller limit than before holds for what is sent again too.
            peer.welcome(2);
            let mut before = 0;
            for _ in 0..3 {
                let submit = peer.submit();
                assert_ne!(submit.transaction.amount_centavos, 2, "this one was answered");
                assert!(submit.transaction.amount_centavos.to_native() > before, "the old order");
                before = submit.transaction.amount_centavos.to_native();
                let budget_us = submit.transaction.budget_us.to_native();
                assert!(budget_us > 0 && budget_us < MAX_BUDGET_US, "what remains of it");
                peer.verdict(&submit, Verdict::Deny, VERDICT_DUPLICATE);
            }
        }),
    ]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    for amount in 1..=4 {
        client.submit(&transaction(amount)).expect("sent");
    }
    let mut answers: Vec<(u64, bool)> = (0..4)
        .map(|_| client.receive().expect("reply").result.expect("decided"))
        .map(|decision| (decision.answer.lsn, decision.duplicate))
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, [(1, true), (2, false), (3, true), (4, true)]);
    assert_eq!(client.welcome().in_flight, 2);
    server.finish();
}

#[test]
fn decide_waits_and_goes_round_as_the_errors_say() {
    let second = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(4);
        let submit = peer.submit();
        peer.verdict(&submit, Verdict::Approve, 0);
    })]);
    let first = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(4);
        for code in [ErrorCode::Overloaded, ErrorCode::RateLimited, ErrorCode::NotPrimary] {
            let submit = peer.submit();
            assert_eq!(submit.transaction.id, transaction(3).id);
            peer.error(submit.header.correlation.to_native(), code, 1, false);
        }
    })]);
    let addresses = vec![first.address.clone(), second.address.clone()];
    let mut client =
        Client::connect(ClientOptions { addresses, ..options(&first) }).expect("welcomed");
    assert_eq!(client.decide(&transaction(3)).expect("decided").verdict, Verdict::Approve);
    first.finish();
    second.finish();
}

#[test]
fn errors_arrive_typed_and_the_connection_goes_on() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(4);
        for &code in ErrorCode::ALL.iter().filter(|&&code| code != ErrorCode::NotPrimary) {
            let submit = peer.submit();
            peer.error(submit.header.correlation.to_native(), code, 9, false);
        }
    })]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    // NOT_PRIMARY is no answer: tests/client_failover.rs.
    for &code in ErrorCode::ALL.iter().filter(|&&code| code != ErrorCode::NotPrimary) {
        let correlation = client.submit(&transaction(1)).expect("sent");
        let reply = client.receive().expect("a reply");
        let expected =
            ServerError { code, retry_after_ms: 9, detail: "a reason".into(), closing: false };
        assert_eq!(
            (reply.correlation, reply.result),
            (correlation, Err(ClientError::Refused(expected)))
        );
    }
    server.finish();
}

#[test]
fn after_a_closing_error_the_others_are_sent_again() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            peer.welcome(4);
            let (first, _second) = (peer.submit(), peer.submit());
            peer.error(first.header.correlation.to_native(), ErrorCode::BadFrame, 0, true);
            while peer.read().is_some() {}
        }),
        script(|mut peer| {
            peer.welcome(4);
            let second = peer.submit();
            assert_eq!(second.transaction.amount_centavos, 2);
            peer.verdict(&second, Verdict::Approve, 0);
        }),
    ]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    client.submit(&transaction(1)).expect("sent");
    client.submit(&transaction(2)).expect("sent");
    let Err(ClientError::Refused(refused)) = client.receive().expect("a reply").result else {
        panic!("an error")
    };
    assert_eq!((refused.code, refused.closing), (ErrorCode::BadFrame, true));
    assert_eq!(client.receive().expect("a reply").result.expect("decided").answer.lsn, 2);
    server.finish();
}

#[test]
fn the_next_address_is_tried_where_nobody_listens() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(4);
    })]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound")
        .to_string();
    let addresses = vec![nobody.clone(), server.address.clone()];
    Client::connect(ClientOptions { addresses, ..options(&server) })
        .expect("the second one listens");
    let error = Client::connect(ClientOptions::new(&nobody)).expect_err("nobody listens");
    assert!(
        matches!(&error, ClientError::Connect { address, .. } if *address == nobody),
        "{error}"
    );
    let error = Client::connect(ClientOptions::new("no port")).expect_err("no address");
    assert!(
        matches!(&error, ClientError::Argument(why) if why.contains("a port from 1 to 65535")),
        "{error}"
    );
    server.finish();
}

#[test]
fn a_blacklist_change_is_not_sent_twice() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            peer.welcome(4);
            let frame = peer.read().expect("a BLACKLIST");
            let change =
                BlacklistChange::from(view::<BlacklistFrame>(&frame).expect("BLACKLIST's length"));
            assert_eq!(
                (change.op, change.scope),
                (BlacklistOp::Add.to_wire(), Scope::Root.to_wire())
            );
            assert_eq!(&change.document, b"12ABC34501DE35");
        }),
        script(|mut peer| {
            peer.welcome(4);
            let frame = peer.read().expect("a BLACKLIST");
            let change = view::<BlacklistFrame>(&frame).expect("BLACKLIST's length");
            assert_eq!(change.op, BlacklistOp::Describe.to_wire());
            let mut state = BlacklistStateFrame::empty(change.header.correlation.to_native());
            state.snapshot_entries = 12.into();
            peer.write(bytemuck::bytes_of(&state));
        }),
    ]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    let company = DocumentKey::parse("12ABC34501DE35").expect("valid");
    let lost =
        client.blacklist(&BlacklistChange::add(company, Scope::Root)).expect_err("no answer");
    assert!(matches!(lost, ClientError::NoAnswer { .. }), "{lost}");
    assert_eq!(
        client.blacklist(&BlacklistChange::describe()).expect("described").snapshot_entries,
        12
    );
    assert!(
        BlacklistChange::load("", false).is_err()
            && BlacklistChange::load(&"x".repeat(257), false).is_err()
    );
    assert_eq!(
        BlacklistChange::load("/lists/a", true).map(|change| (change.path_len, change.force)),
        Ok((8, 1))
    );
    server.finish();
}

#[test]
fn lookup_stats_and_ping_between_transactions() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(8);
        let submit = peer.submit();
        let lookup =
            *view::<LookupFrame>(&peer.read().expect("a LOOKUP")).expect("LOOKUP's length");
        assert_eq!((text_of(&lookup.id), text_of(&lookup.payer)), ("order-1", "04933228680"));
        // The decision comes while the record is waited for.
        peer.verdict(&submit, Verdict::Approve, 0);
        peer.write(&record(&lookup, &submit, b"12345678"));

        let frame = peer.read().expect("a STATS");
        let stats = view::<StatsFrame>(&frame).expect("STATS's length");
        assert_eq!(stats.shard, ALL_SHARDS);
        for (stage, flags) in [(Stage::Ingress, FLAG_MORE), (Stage::Total, 0)] {
            // One is near the bound.
            let encoded = vec![stage.to_wire(); if flags == 0 { 3 } else { MAX_REPLY_LEN - 32 }];
            peer.write(&histogram(stats.header.correlation.to_native(), stage, flags, &encoded));
        }

        let ping = *view::<PingFrame>(&peer.read().expect("a PING")).expect("PING's length");
        let mut pong = PongFrame::empty(ping.header.correlation.to_native());
        pong.server_time_ns = 77.into();
        peer.write(bytemuck::bytes_of(&pong));

        let lookup =
            *view::<LookupFrame>(&peer.read().expect("a LOOKUP")).expect("LOOKUP's length");
        peer.error(lookup.header.correlation.to_native(), ErrorCode::NotFound, 0, false);
    })]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    let correlation = client.submit(&transaction(1)).expect("sent");
    let stored = client.lookup("order-1", DocumentKey::parse("04933228680").ok()).expect("stored");
    assert_eq!((stored.verdict, stored.reason), (Verdict::Deny, Some(Reason::PayerListed)));
    assert_eq!(
        (stored.record.transaction, &stored.extension[..]),
        (transaction(1), &b"12345678"[..])
    );
    assert!(!format!("{stored:?}").contains("04933228680"), "no document in full");

    let histograms = client.stats(ALL_SHARDS).expect("histograms");
    let summary: Vec<_> =
        histograms.iter().map(|h| (h.stage, h.encoded.len(), h.uptime_ns)).collect();
    assert_eq!(summary, [(Stage::Ingress, MAX_REPLY_LEN - 32, 5), (Stage::Total, 3, 5)]);
    assert_eq!(client.ping(), Ok(77));
    let missing = client.lookup("order-2", None).expect_err("not found");
    assert!(
        matches!(&missing, ClientError::Refused(error) if error.code == ErrorCode::NotFound),
        "{missing}"
    );
    assert!(matches!(client.lookup("two words", None), Err(ClientError::Argument(_))));
    assert_eq!(
        client.receive().map(|reply| (reply.correlation, reply.result.is_ok())),
        Ok((correlation, true))
    );
    server.finish();
}

#[test]
fn labels_come_behind_the_decision_that_was_looked_up_and_belong_to_it() {
    let label = |lsn: u64| Label {
        kind: LabelKind::Chargeback,
        known_at_ns: 7,
        source: LabelSource::parse("visa").expect("sound"),
        shard: 0,
        lsn,
    };
    let submit = {
        let mut frame = SubmitFrame::empty(0);
        frame.transaction = TransactionFields::from(&transaction(1));
        frame
    };
    let answers = move |labels: &'static [u64]| {
        script(move |mut peer| {
            peer.welcome(8);
            let lookup =
                *view::<LookupFrame>(&peer.read().expect("a LOOKUP")).expect("LOOKUP's length");
            assert_eq!(lookup.labels, 1);
            let mut frames = vec![record(&lookup, &submit, b"")];
            frames.extend(labels.iter().map(|&lsn| label_record(&lookup, &label(lsn))));
            let last = frames.len() - 1;
            for (number, mut frame) in frames.into_iter().enumerate() {
                frame[6] = u8::from(number < last);
                peer.write(&frame);
            }
        })
    };
    // The record of the fake server has the number 0.
    for (labels, wanted) in [(&[0, 0][..], Some(2)), (&[], Some(0)), (&[0, 1], None)] {
        let server = FakeServer::start(vec![answers(labels)]);
        let mut options = options(&server);
        options.answer_timeout_ms = 500;
        let mut client = Client::connect(options).expect("welcomed");
        let found = client.lookup_with_labels("order-1", None);
        assert_eq!(found.as_ref().ok().map(|(_, labels)| labels.len()), wanted, "{found:?}");
        if let Ok((stored, labels)) = found {
            assert_eq!(stored.record.transaction, transaction(1));
            assert!(labels.iter().all(|found| (found.label, found.lsn) == (label(0), 9)));
        }
        drop(client);
        server.finish();
    }
}

fn label_record(lookup: &LookupFrame, label: &Label) -> Vec<u8> {
    let mut frame = record(lookup, &SubmitFrame::empty(0), &label.to_section());
    let mut head = label.to_record(&lookup.id, &lookup.payer, 5);
    head.lsn = 9.into();
    head.extension_len = (label.to_section().len() as u16).into();
    let at = size_of::<RecordPlaceFields>();
    frame[at..at + size_of::<RecordHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    frame
}

fn record(lookup: &LookupFrame, submit: &SubmitFrame, extension: &[u8]) -> Vec<u8> {
    let length = size_of::<RecordPlaceFields>() + size_of::<RecordHead>() + extension.len();
    let mut place: RecordPlaceFields = bytemuck::Zeroable::zeroed();
    place.header =
        HeaderFields::new(FrameKind::Record, length, 0, lookup.header.correlation.to_native());
    place.extension_len = (extension.len() as u16).into();
    let mut head: RecordHead = bytemuck::Zeroable::zeroed();
    head.kind = RecordKind::Decision.to_wire();
    head.version = RECORD_VERSION;
    head.extension_len = place.extension_len;
    head.verdict = Verdict::Deny.to_wire();
    head.reason = Reason::PayerListed.to_wire();
    head.transaction = submit.transaction;
    [bytemuck::bytes_of(&place), bytemuck::bytes_of(&head), extension].concat()
}

fn histogram(correlation: u64, stage: Stage, flags: u16, encoded: &[u8]) -> Vec<u8> {
    let mut head: HistogramHeadFields = bytemuck::Zeroable::zeroed();
    head.header = HeaderFields::new(
        FrameKind::Histogram,
        size_of::<HistogramHeadFields>() + encoded.len(),
        flags,
        correlation,
    );
    head.stage = stage.to_wire();
    head.encoded_len = (encoded.len() as u32).into();
    head.uptime_ns = 5.into();
    [bytemuck::bytes_of(&head), encoded].concat()
}

#[test]
fn with_nothing_unanswered_nothing_is_waited_for() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(10);
        let submit = peer.submit();
        peer.verdict(&submit, Verdict::Approve, 0);
        assert_eq!(peer.read(), None, "the client leaves");
    })]);
    let mut client = Client::connect(options(&server)).expect("welcomed");
    client.decide(&transaction(1)).expect("decided");
    let began = std::time::Instant::now();
    assert_eq!(client.receive(), Err(ClientError::NothingInFlight));
    // Far from both: at once, or when the answered transaction's 2.5 s are over.
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
    drop(client);
    server.finish();
}
