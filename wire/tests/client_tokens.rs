//! Credentials that a HELLO has no room for: in the handshake, renewed, and after a lost connection.
#![cfg(feature = "client")]

#[path = "support/fake_server.rs"]
mod fake_server;

use catraca_wire::client::{Client, ClientError, ClientOptions};
use catraca_wire::frame::*;
use fake_server::{FakeServer, Peer, options, script, transaction};

/// Reads all parts of a token; gives the correlation of the last one, too.
fn read_token(peer: &mut Peer) -> (u64, String) {
    let mut token = Vec::new();
    loop {
        let frame = peer.read().expect("an AUTH");
        assert_eq!(frame[4], FrameKind::Auth.to_wire());
        let part: &AuthFrame = view(&frame).expect("AUTH's length");
        token.extend_from_slice(part.part_behind(token.len()).expect("it follows"));
        if token.len() == usize::from(part.token_len.to_native()) {
            let token = String::from_utf8(token).expect("text");
            return (part.header.correlation.to_native(), token);
        }
    }
}

fn accept(peer: &mut Peer, correlation: u64, expires_at_ns: u64) {
    let mut state = AuthStateFrame::empty(correlation);
    state.expires_at_ns = expires_at_ns.into();
    peer.write(bytemuck::bytes_of(&state));
}

/// The handshake of a client that comes with this token.
fn greet(peer: &mut Peer, expected: &str, expires_at_ns: u64) {
    // This server says WELCOME before it has read the token: for the client it is the same.
    let hello = peer.welcome(8);
    assert_eq!((hello.header.flags.to_native(), hello.credential_len), (FLAG_AUTH, 0));
    let (correlation, token) = read_token(peer);
    assert_eq!(token, expected);
    accept(peer, correlation, expires_at_ns);
}

fn long(number: usize) -> String {
    format!("token {number:04} ").repeat(100)
}

fn with_token(server: &FakeServer, number: usize) -> ClientOptions {
    ClientOptions { credential: long(number), ..options(server) }
}

#[test]
fn a_long_credential_goes_in_parts_and_its_end_is_known() {
    for (expires_at_ns, known) in [(0, None), (77, Some(77))] {
        let server = FakeServer::start(vec![script(move |mut peer| {
            greet(&mut peer, &long(1), expires_at_ns);
            let submit = peer.submit();
            peer.verdict(&submit, Verdict::Approve, 0);
        })]);
        let mut client = Client::connect(with_token(&server, 1)).expect("welcomed");
        assert_eq!(client.token_expires_at_ns(), known);
        client.decide(&transaction(1)).expect("decided");
        server.finish();
    }
}

#[test]
fn a_refused_token_is_the_end_of_the_handshake() {
    let server = FakeServer::start(vec![script(|mut peer| {
        peer.read().expect("a HELLO");
        let (correlation, _) = read_token(&mut peer);
        peer.error(correlation, ErrorCode::Unauthenticated, 0, true);
    })]);
    match Client::connect(with_token(&server, 1)) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::Unauthenticated),
        other => panic!("{other:?}"),
    }
    server.finish();
}

#[test]
fn a_renewal_passes_what_is_unanswered_and_one_that_is_refused_changes_nothing() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            greet(&mut peer, &long(1), 10);
            let submit = peer.submit();
            let (correlation, token) = read_token(&mut peer);
            assert_eq!(token, long(2));
            peer.verdict(&submit, Verdict::Deny, 0);
            accept(&mut peer, correlation, 20);
            let (correlation, _) = read_token(&mut peer);
            peer.error(correlation, ErrorCode::Forbidden, 0, false);
        }),
        // The connection is lost: what comes next has the newest token that was accepted.
        script(|mut peer| {
            greet(&mut peer, &long(2), 30);
            let submit = peer.submit();
            peer.verdict(&submit, Verdict::Approve, 0);
        }),
    ]);
    let mut client = Client::connect(with_token(&server, 1)).expect("welcomed");
    client.submit(&transaction(1)).expect("sent");
    assert_eq!(client.renew(&long(2)), Ok(Some(20)));
    assert_eq!(client.token_expires_at_ns(), Some(20));
    assert_eq!(client.owed(), 1, "the verdict came meanwhile");
    assert!(client.receive().expect("kept").result.is_ok());
    assert!(matches!(client.renew(&long(3)), Err(ClientError::Refused(_))));
    client.decide(&transaction(2)).expect("decided over another connection");
    assert_eq!(client.token_expires_at_ns(), Some(30));
    assert!(matches!(client.renew(""), Err(ClientError::Argument(_))));
    assert!(matches!(client.renew(&"x".repeat(9_000)), Err(ClientError::Argument(_))));
    server.finish();
}

#[test]
fn a_connection_that_is_lost_while_its_token_is_renewed_is_followed_by_one_with_the_old_token() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            greet(&mut peer, &long(1), 10);
            read_token(&mut peer);
        }),
        script(|mut peer| {
            greet(&mut peer, &long(1), 10);
            // It is asked again: the first answer was lost.
            let (correlation, token) = read_token(&mut peer);
            assert_eq!(token, long(2));
            accept(&mut peer, correlation, 20);
        }),
    ]);
    let mut client = Client::connect(with_token(&server, 1)).expect("welcomed");
    assert_eq!(client.renew(&long(2)), Ok(Some(20)));
    server.finish();
}

/// Long enough for a fake server, which answers at once.
const UNANSWERED_MS: u64 = 1_500;

#[test]
fn a_renewal_that_is_not_answered_leaves_the_connection_and_the_old_token() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            greet(&mut peer, &long(1), 10);
            assert_eq!(read_token(&mut peer).1, long(2));
            // No second AUTH comes before the first one is answered.
            let submit = peer.submit();
            peer.verdict(&submit, Verdict::Approve, 0);
        }),
        script(|mut peer| {
            greet(&mut peer, &long(1), 10);
            let submit = peer.submit();
            peer.verdict(&submit, Verdict::Approve, 0);
        }),
    ]);
    let options = ClientOptions { answer_timeout_ms: UNANSWERED_MS, ..with_token(&server, 1) };
    let mut client = Client::connect(options).expect("welcomed");
    assert!(matches!(client.renew(&long(2)), Err(ClientError::NoAnswer { .. })));
    assert!(matches!(client.renew(&long(3)), Err(ClientError::NoAnswer { .. })));
    assert_eq!(client.token_expires_at_ns(), Some(10));
    client.decide(&transaction(1)).expect("decided over the same connection");
    client.decide(&transaction(2)).expect("decided over another one, with the old token");
    server.finish();
}

#[test]
fn a_late_answer_to_a_renewal_counts() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            greet(&mut peer, &long(1), 10);
            let (correlation, _) = read_token(&mut peer);
            let submit = peer.submit();
            accept(&mut peer, correlation, 20);
            peer.verdict(&submit, Verdict::Approve, 0);
            let (correlation, token) = read_token(&mut peer);
            assert_eq!(token, long(3), "it may be renewed again");
            peer.error(correlation, ErrorCode::Forbidden, 0, false);
        }),
        script(|mut peer| {
            greet(&mut peer, &long(2), 20);
            let submit = peer.submit();
            peer.verdict(&submit, Verdict::Approve, 0);
        }),
    ]);
    let options = ClientOptions { answer_timeout_ms: UNANSWERED_MS, ..with_token(&server, 1) };
    let mut client = Client::connect(options).expect("welcomed");
    assert!(matches!(client.renew(&long(2)), Err(ClientError::NoAnswer { .. })));
    client.decide(&transaction(1)).expect("decided");
    assert_eq!(client.token_expires_at_ns(), Some(20));
    assert!(matches!(client.renew(&long(3)), Err(ClientError::Refused(_))));
    client.decide(&transaction(2)).expect("decided over another connection");
    server.finish();
}

#[test]
fn a_token_that_could_not_be_checked_is_shown_when_the_old_one_has_ended() {
    let server = FakeServer::start(vec![
        script(|mut peer| {
            greet(&mut peer, &long(1), 10);
            let (correlation, _) = read_token(&mut peer);
            peer.error(correlation, ErrorCode::Overloaded, 5, false);
        }),
        script(|mut peer| {
            peer.read().expect("a HELLO");
            let (correlation, token) = read_token(&mut peer);
            assert_eq!(token, long(1), "it may still count");
            peer.error(correlation, ErrorCode::Unauthenticated, 0, true);
        }),
        script(|mut peer| {
            greet(&mut peer, &long(2), 20);
            let submit = peer.submit();
            peer.verdict(&submit, Verdict::Approve, 0);
        }),
    ]);
    let mut client = Client::connect(with_token(&server, 1)).expect("welcomed");
    assert!(matches!(client.renew(&long(2)), Err(ClientError::Refused(_))));
    client.decide(&transaction(1)).expect("decided with the newer token");
    server.finish();
}
