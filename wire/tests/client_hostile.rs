//! The client against a server that breaks the protocol, hangs up or says nothing: errors and new
//! connections, never a panic or a guess.
#![cfg(feature = "client")]

#[path = "support/fake_server.rs"]
mod fake_server;

use catraca_wire::client::{Client, ClientError, ClientOptions};
use catraca_wire::frame::*;
use fake_server::{FakeServer, options, script, transaction, verdict_frame};

/// What no server should send, in answer to a SUBMIT. Each costs the connection, and the
/// transaction is sent over the next one.
#[test]
fn a_server_that_breaks_the_protocol_is_left() {
    type Nonsense = Box<dyn FnOnce(&SubmitFrame) -> Vec<u8> + Send>;
    fn changed(at: usize, value: u8) -> Nonsense {
        Box::new(move |submit| {
            let mut frame = verdict_frame(submit, Verdict::Approve, 0);
            frame[at] = value;
            frame
        })
    }
    let nonsense: Vec<(&str, Nonsense)> = vec![
        ("garbage", Box::new(|_| vec![0xff; 300])),
        ("zeros", Box::new(|_| vec![0; 300])),
        (
            "a length over every bound",
            Box::new(|_| [0xff, 0xff, 0xff, 0xff, 10, 1, 0, 0].repeat(2)),
        ),
        ("a length below the header's", changed(0, 15)),
        ("a length of another kind", changed(0, 65)),
        ("an unknown kind", changed(4, 99)),
        ("a client's kind", changed(4, 3)),
        ("another version", changed(5, 2)),
        ("an unknown correlation", changed(8, 200)),
        ("verdict 0", changed(16, 0)),
        ("an unknown verdict", changed(16, 4)),
        (
            "an answer to something else",
            Box::new(|submit| {
                bytemuck::bytes_of(&PongFrame::empty(submit.header.correlation.to_native()))
                    .to_vec()
            }),
        ),
        (
            "an unknown error",
            Box::new(|submit| {
                let mut error = ErrorFrame::new(
                    submit.header.correlation.to_native(),
                    ErrorCode::Failed,
                    0,
                    false,
                    "",
                );
                error.code = 99.into();
                bytemuck::bytes_of(&error).to_vec()
            }),
        ),
        (
            "a detail longer than its field",
            Box::new(|submit| {
                let mut error = ErrorFrame::new(
                    submit.header.correlation.to_native(),
                    ErrorCode::Failed,
                    0,
                    false,
                    "",
                );
                error.detail_len = 129.into();
                bytemuck::bytes_of(&error).to_vec()
            }),
        ),
        (
            "a second WELCOME",
            Box::new(|submit| {
                let mut welcome = WelcomeFrame::empty(submit.header.correlation.to_native());
                (welcome.version, welcome.role, welcome.durability, welcome.in_flight) =
                    (1, 1, 1, 1.into());
                bytemuck::bytes_of(&welcome).to_vec()
            }),
        ),
    ];
    for (name, nonsense) in nonsense {
        let server = FakeServer::start(vec![
            script(move |mut peer| {
                peer.welcome(4);
                let submit = peer.submit();
                peer.write(&nonsense(&submit));
                assert!(peer.read().is_none(), "{name}: the client goes on");
            }),
            script(|mut peer| {
                peer.welcome(4);
                let submit = peer.submit();
                peer.verdict(&submit, Verdict::Deny, 0);
            }),
        ]);
        let mut client = Client::connect(options(&server)).expect("welcomed");
        assert_eq!(client.decide(&transaction(1)).expect(name).verdict, Verdict::Deny, "{name}");
        server.finish();
    }
}

#[test]
fn a_welcome_that_can_not_be_is_refused() {
    let cases: [fn(&mut WelcomeFrame); 5] = [
        |welcome| welcome.version = 2,
        |welcome| welcome.role = 9,
        |welcome| welcome.durability = 0,
        |welcome| welcome.in_flight = 0.into(),
        |welcome| welcome.header.correlation = 4.into(),
    ];
    for change in cases {
        let server = FakeServer::start(vec![script(move |mut peer| {
            peer.read().expect("a HELLO");
            let mut welcome = WelcomeFrame::empty(0);
            (welcome.version, welcome.role, welcome.durability, welcome.in_flight) =
                (1, 1, 1, 1.into());
            change(&mut welcome);
            peer.write(bytemuck::bytes_of(&welcome));
        })]);
        let error = Client::connect(options(&server)).expect_err("nonsense");
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
        server.finish();
    }
}

#[test]
fn a_server_that_only_hangs_up_ends_in_no_answer() {
    let hang_up = || {
        script(|mut peer| {
            peer.welcome(4);
            let _ = peer.read();
        })
    };
    // The first connection and the attempts to replace it.
    let server = FakeServer::start(vec![hang_up(), hang_up(), hang_up()]);
    let mut client = Client::connect(ClientOptions { reconnect_attempts: 2, ..options(&server) })
        .expect("welcomed");
    let error = client.decide(&transaction(1)).expect_err("never answered");
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    server.finish();
}

#[test]
fn silence_ends_with_no_answer() {
    let silent = || {
        script(|mut peer| {
            peer.welcome(4);
            while peer.read().is_some() {}
        })
    };
    let server = FakeServer::start(vec![silent()]);
    let mut client = Client::connect(ClientOptions {
        answer_timeout_ms: 50,
        reconnect_attempts: 0,
        ..options(&server)
    })
    .expect("welcomed");
    let correlation = client.submit(&transaction(1)).expect("sent");
    let reply = client.receive().expect("a reply");
    assert_eq!(reply.correlation, correlation);
    assert!(matches!(reply.result, Err(ClientError::NoAnswer { .. })), "{:?}", reply.result);
    assert_eq!(client.owed(), 0);
    server.finish();
}

#[test]
fn a_refused_handshake_is_final() {
    for code in [ErrorCode::Unauthenticated, ErrorCode::UnsupportedVersion] {
        let server = FakeServer::start(vec![script(move |mut peer| {
            peer.read().expect("a HELLO");
            peer.error(0, code, 0, true);
        })]);
        let refused = Client::connect(options(&server)).expect_err("refused");
        assert!(matches!(&refused, ClientError::Refused(error) if error.code == code), "{refused}");
        server.finish();
    }
}
