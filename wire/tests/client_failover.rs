//! The client and a cluster: it finds the primary, follows when another node becomes it, and sends
//! again what is unanswered.
#![cfg(feature = "client")]

#[path = "support/fake_server.rs"]
mod fake_server;

use catraca_wire::client::{Client, ClientError, ClientOptions, Wanted};
use catraca_wire::frame::*;
use fake_server::{FakeServer, Script, options, script, transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A primary that answers so many transactions, and hangs up.
fn primary(answers: usize, flags: u8) -> Script {
    script(move |mut peer| {
        peer.welcome(8);
        for _ in 0..answers {
            let submit = peer.submit();
            peer.verdict(&submit, Verdict::Approve, flags);
        }
    })
}

/// A standby that names a primary, and waits until the client leaves.
fn standby(named: &str) -> Script {
    let named = named.to_owned();
    script(move |mut peer| {
        peer.welcome_as(Role::Standby, &named, 8);
        assert_eq!(peer.read(), None, "the client leaves a standby without a word");
    })
}

fn both(first: &FakeServer, second: &FakeServer) -> ClientOptions {
    ClientOptions {
        addresses: vec![first.address.clone(), second.address.clone()],
        ..options(first)
    }
}

#[test]
fn a_standby_is_left_for_the_primary_that_it_names_and_that_one_is_remembered() {
    let second = FakeServer::start(vec![primary(1, 0), primary(1, 0)]);
    let first = FakeServer::start(vec![standby(&second.address)]);
    let mut client = Client::connect(options(&first)).expect("one hop away");
    assert_eq!(client.welcome().role, Role::Primary.to_wire());
    client.decide(&transaction(1)).expect("decided");
    // The standby has gone, and so has the connection: the learned address is all there is.
    first.finish();
    client.decide(&transaction(2)).expect("decided");
    second.finish();
}

#[test]
fn a_standby_that_names_nobody_or_nonsense_is_left_for_the_next_address() {
    for named in ["", "not an address\n"] {
        let first = FakeServer::start(vec![standby(named)]);
        let second = FakeServer::start(vec![primary(1, 0)]);
        let mut client = Client::connect(both(&first, &second)).expect("the second address");
        client.decide(&transaction(1)).expect("decided");
        first.finish();
        second.finish();
    }
}

#[test]
fn not_primary_in_the_middle_of_a_pipeline_moves_everything_to_the_new_primary() {
    let first = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(8);
        let submits: Vec<_> = (0..4).map(|_| peer.submit()).collect();
        peer.verdict(&submits[1], Verdict::Approve, 0);
        for submit in [&submits[2], &submits[0]] {
            peer.error(submit.header.correlation.to_native(), ErrorCode::NotPrimary, 0, false);
        }
        assert_eq!(peer.read(), None, "the client leaves");
    })]);
    let second = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(8);
        for amount in [1, 3, 4] {
            let submit = peer.submit();
            assert_eq!(
                submit.transaction.amount_centavos.to_native(),
                amount,
                "the old order, without what was answered"
            );
            let left_us = submit.transaction.budget_us.to_native();
            assert!(left_us > 0 && left_us < MAX_BUDGET_US, "what remains of the budget");
            // The last one had reached the old primary's standby.
            peer.verdict(&submit, Verdict::Deny, if amount == 4 { VERDICT_DUPLICATE } else { 0 });
        }
    })]);
    let mut client = Client::connect(both(&first, &second)).expect("welcomed");
    for amount in 1..=4 {
        client.submit(&transaction(amount)).expect("sent");
    }
    let answers: Vec<(u64, bool)> = (0..4)
        .map(|_| client.receive().expect("a reply").result.expect("decided"))
        .map(|decision| (decision.answer.lsn, decision.duplicate))
        .collect();
    assert_eq!(answers, [(2, false), (1, false), (3, false), (4, true)]);
    first.finish();
    second.finish();
}

#[test]
fn a_stopping_node_is_left_where_there_is_another() {
    let stopping = || {
        script(|mut peer| {
            peer.welcome(8);
            let submit = peer.submit();
            peer.error(submit.header.correlation.to_native(), ErrorCode::ShuttingDown, 0, false);
            assert_eq!(peer.read(), None, "the client leaves");
        })
    };
    let (first, second) =
        (FakeServer::start(vec![stopping()]), FakeServer::start(vec![primary(1, 0)]));
    let mut client = Client::connect(both(&first, &second)).expect("welcomed");
    client.submit(&transaction(1)).expect("sent");
    client.receive().expect("a reply").result.expect("decided");
    first.finish();
    second.finish();

    let alone = FakeServer::start(vec![stopping()]);
    let mut client = Client::connect(options(&alone)).expect("welcomed");
    let refused = client.decide(&transaction(1)).expect_err("nobody else to ask");
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.code == ErrorCode::ShuttingDown),
        "{refused}"
    );
    drop(client);
    alone.finish();
}

#[test]
fn without_a_primary_the_client_gives_up_at_the_deadline_and_says_so() {
    const PAUSE: Duration = Duration::from_millis(20);
    let met = Arc::new(AtomicU32::new(0));
    // More standbys than the client can meet; they are left unfinished.
    let standbys = |first: Option<Script>, named: String| {
        let rest = std::iter::repeat_with(|| {
            let (met, named) = (Arc::clone(&met), named.clone());
            script(move |mut peer| {
                peer.welcome_as(Role::Standby, &named, 8);
                met.fetch_add(1, Ordering::Relaxed);
            })
        });
        FakeServer::start(first.into_iter().chain(rest.take(10_000)).collect())
    };
    let demoted = script(|mut peer| {
        peer.welcome(8);
        let submit = peer.submit();
        peer.error(submit.header.correlation.to_native(), ErrorCode::NotPrimary, 0, false);
    });
    let second = standbys(None, String::new());
    let first = standbys(Some(demoted), second.address.clone());
    let (base_ms, attempts) = (PAUSE.as_millis() as u64, u32::MAX);
    let options = ClientOptions {
        reconnect_attempts: attempts,
        reconnect_base_ms: base_ms,
        reconnect_max_ms: base_ms,
        ..both(&first, &second)
    };
    let mut client = Client::connect(options.clone()).expect("welcomed");
    let began = Instant::now();
    let Err(ClientError::NoAnswer { detail }) =
        client.decide(&Transaction { budget_us: 1_000_000, ..transaction(1) })
    else {
        panic!("nobody decides")
    };
    let elapsed = began.elapsed();
    assert!(detail.starts_with("no primary: "), "{detail}");
    assert!(detail.contains(&format!("{} is a standby", second.address)), "{detail}");
    assert!(elapsed >= Duration::from_millis(1_000), "the budget is used: {elapsed:?}");
    // Half of a pause is chance; two nodes are met between two pauses, and two before the first.
    let most = 2 * (elapsed.as_millis() / (PAUSE.as_millis() / 2) + 2);
    let met = met.load(Ordering::Relaxed);
    assert!(met > 2 && u128::from(met) <= most, "{met} connections in {elapsed:?}");

    let error = Client::connect(options).expect_err("two standbys");
    let expected =
        format!("no primary: {} is a standby; {} is a standby", first.address, second.address);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_primary_that_is_gone_and_back_gets_what_is_unanswered() {
    let first = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(8);
        peer.submit();
    })]);
    let address = first.address.clone();
    let (came_back, back) = channel();
    let named = address.clone();
    let second = FakeServer::start(vec![script(move |mut peer| {
        // Its scripts are over and the listener with them: nobody is there but whom this starts.
        first.finish();
        came_back
            .send(FakeServer::start_at(&named, vec![primary(1, VERDICT_DUPLICATE)]))
            .expect("the test waits");
        peer.welcome_as(Role::Standby, &named, 8);
        assert_eq!(peer.read(), None, "the client leaves");
    })]);
    let addresses = vec![address, second.address.clone()];
    let mut client =
        Client::connect(ClientOptions { addresses, ..options(&second) }).expect("welcomed");
    let decision = client.decide(&transaction(1)).expect("decided");
    assert!(decision.duplicate);
    second.finish();
    back.recv().expect("sent").finish();
}

#[test]
fn who_wants_any_node_stays_with_a_standby() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.welcome_as(Role::Standby, "127.0.0.1:1", 8);
        let request =
            *view::<ClusterFrame>(&peer.read().expect("a CLUSTER")).expect("CLUSTER's length");
        assert_eq!((request.op, request.force), (ClusterOp::Promote.to_wire(), 1));
        let mut state = ClusterStateFrame::empty(request.header.correlation.to_native());
        (state.role, state.durability, state.in_sync) =
            (Role::Standby.to_wire(), Durability::Sync.to_wire(), 1);
        (state.epoch, state.behind_records, state.silence_ms) =
            (3.into(), 7.into(), NEVER_HEARD.into());
        fill(&mut state.primary, "127.0.0.1:1");
        peer.write(bytemuck::bytes_of(&state));
        let submit = peer.submit();
        peer.error(submit.header.correlation.to_native(), ErrorCode::NotPrimary, 0, false);
    })]);
    let mut client =
        Client::connect(ClientOptions { role: Wanted::Any, ..options(&server) }).expect("welcomed");
    let state = client.cluster(&ClusterRequest::promote(true)).expect("answered");
    assert_eq!((state.role, state.durability, state.epoch), (Role::Standby, Durability::Sync, 3));
    assert_eq!((state.in_sync, state.connected, state.behind_records), (true, false, 7));
    assert_eq!((state.silence_ms, state.peer_node_id, state.peer), (None, None, None));
    assert_eq!(state.primary.as_deref(), Some("127.0.0.1:1"));
    let refused = client.decide(&transaction(1)).expect_err("a standby");
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.code == ErrorCode::NotPrimary),
        "{refused}"
    );
    server.finish();
}

#[test]
fn a_blacklist_change_that_a_standby_refused_is_the_callers_to_repeat() {
    let change = |peer: &mut fake_server::Peer| {
        let frame = peer.read().expect("a BLACKLIST");
        view::<BlacklistFrame>(&frame).expect("BLACKLIST's length").header.correlation.to_native()
    };
    let first = FakeServer::start(vec![script(move |mut peer| {
        peer.welcome(8);
        peer.submit();
        let correlation = change(&mut peer);
        peer.error(correlation, ErrorCode::NotPrimary, 0, false);
        assert_eq!(peer.read(), None, "the client leaves");
    })]);
    let second = FakeServer::start(vec![script(move |mut peer| {
        peer.welcome(8);
        let submit = peer.submit();
        peer.verdict(&submit, Verdict::Approve, 0);
        let correlation = change(&mut peer);
        peer.write(bytemuck::bytes_of(&BlacklistStateFrame::empty(correlation)));
    })]);
    let mut client = Client::connect(both(&first, &second)).expect("welcomed");
    client.submit(&transaction(1)).expect("sent");
    let refused = client.blacklist(&BlacklistChange::describe()).expect_err("not here");
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.code == ErrorCode::NotPrimary),
        "{refused}"
    );
    client.blacklist(&BlacklistChange::describe()).expect("the new primary");
    client.receive().expect("a reply").result.expect("decided");
    first.finish();
    second.finish();
}

/// A node that takes everything and confirms nothing: its standby is gone.
fn cut_off(answers: usize) -> Script {
    script(move |mut peer| {
        peer.welcome(8);
        for _ in 0..answers {
            let submit = peer.submit();
            peer.error(submit.header.correlation.to_native(), ErrorCode::Unconfirmed, 0, false);
        }
        // What came since and was not answered goes with the client.
        while peer.read().is_some() {}
    })
}

#[test]
fn a_primary_that_confirms_nothing_is_left_where_there_is_another() {
    let first = FakeServer::start(vec![cut_off(1)]);
    let second = FakeServer::start(vec![primary(2, 0)]);
    let mut client = Client::connect(both(&first, &second)).expect("welcomed");
    for amount in [1, 2] {
        client.submit(&transaction(amount)).expect("sent");
    }
    let refused = client.receive().expect("a reply").result.expect_err("not confirmed");
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.code == ErrorCode::Unconfirmed),
        "{refused}"
    );
    // The one behind it was not answered, and goes along.
    assert_eq!(client.receive().expect("a reply").result.expect("decided").answer.lsn, 2);
    assert_eq!(client.decide(&transaction(3)).expect("decided").answer.lsn, 3);
    drop(client);
    first.finish();
    second.finish();
}

/// A node that takes everything and says nothing: it hangs.
fn silent() -> Script {
    script(|mut peer| {
        peer.welcome(8);
        while peer.read().is_some() {}
    })
}

#[test]
fn a_primary_that_hangs_is_left_where_there_is_another() {
    let first = FakeServer::start(vec![silent()]);
    let second = FakeServer::start(vec![primary(3, 0)]);
    let mut client = Client::connect(both(&first, &second)).expect("welcomed");
    for amount in [1, 2] {
        client.submit(&transaction(amount)).expect("sent");
    }
    // Both go along, in the old order and within their budgets.
    for lsn in [1, 2] {
        assert_eq!(client.receive().expect("a reply").result.expect("decided").answer.lsn, lsn);
    }
    assert_eq!(client.decide(&transaction(3)).expect("decided").answer.lsn, 3);
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn an_answer_that_lies_there_is_taken_before_anybody_is_asked() {
    let first = FakeServer::start(vec![primary(2, 0)]);
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    other.set_nonblocking(true).expect("a listener");
    let addresses = vec![first.address.clone(), other.local_addr().expect("bound").to_string()];
    let mut client =
        Client::connect(ClientOptions { addresses, ..options(&first) }).expect("welcomed");
    client.submit(&transaction(1)).expect("sent");
    // The caller is away for longer than a silence lasts.
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(client.receive().expect("a reply").result.expect("decided").answer.lsn, 1);
    assert!(other.accept().is_err(), "nobody else was asked");
    assert_eq!(client.decide(&transaction(2)).expect("decided").answer.lsn, 2);
    drop(client);
    first.finish();
}

#[test]
fn a_primary_that_is_slow_is_kept_where_there_is_no_other() {
    let (told, looked) = std::sync::mpsc::channel();
    let first = FakeServer::start(vec![script(move |mut peer| {
        peer.welcome(8);
        let submit = peer.submit();
        // However long the client takes to look.
        looked.recv().expect("the client looks at the other address");
        peer.verdict(&submit, Verdict::Approve, 0);
    })]);
    let second = FakeServer::start(vec![script(move |mut peer| {
        peer.welcome_as(Role::Standby, "", 8);
        told.send(()).expect("somebody waits for it");
    })]);
    let mut client = Client::connect(both(&first, &second)).expect("welcomed");
    assert_eq!(client.decide(&transaction(1)).expect("decided").answer.lsn, 1);
    first.finish();
    second.finish();
}

#[test]
fn one_that_confirms_nothing_is_kept_where_there_is_no_other() {
    let first = FakeServer::start(vec![script(|mut peer| {
        peer.welcome(8);
        for _ in 0..20 {
            let submit = peer.submit();
            peer.error(submit.header.correlation.to_native(), ErrorCode::Unconfirmed, 0, false);
        }
        let submit = peer.submit();
        peer.verdict(&submit, Verdict::Approve, 0);
    })]);
    let looks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&looks);
    let standby = script(move |mut peer| {
        peer.welcome_as(Role::Standby, "", 8);
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let second = FakeServer::start(vec![standby]);
    let mut client = Client::connect(both(&first, &second)).expect("welcomed");
    for amount in 1..=20 {
        let error = client.decide(&transaction(amount)).expect_err("not confirmed");
        assert!(
            matches!(&error, ClientError::Refused(error) if error.code == ErrorCode::Unconfirmed),
            "{error}"
        );
    }
    assert_eq!(client.decide(&transaction(21)).expect("decided").answer.lsn, 21);
    first.finish();
    second.finish();
    assert_eq!(looks.load(Ordering::Relaxed), 1, "now and then, not each time");
}
