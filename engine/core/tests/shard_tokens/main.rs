//! Tokens in AUTH frames. Here is who sends them; what becomes of handshakes and of open connections is in modules.

mod handshake;
mod renewal;

use catraca_core::limits::{
    FRAME_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_TOKEN_CHECKS, MAX_TOKEN_CHECKS_OF_ADDRESS,
};
use catraca_core::shard::access::{Access, Granted, KnownClient, Permissions, credential_hash};
use catraca_core::shard::messages::{ConnectionId, Peer, Refusal, ToControl, ToShard};
use catraca_testkit::shard::{Options, Reply, World, payer, submit, transaction};
use catraca_wire::frame::{
    AuthFrame, ErrorCode, FLAG_AUTH, FrameKind, HelloFrame, MAX_TOKEN_LEN, OnBehalfFrame,
    PingFrame, SubmitterFields, SubmitterName,
};
use std::sync::Arc;
use std::time::Duration;

const MINUTE_NS: u64 = 60_000_000_000;

fn known(name: &str, permissions: &[&str]) -> KnownClient {
    let mut granted = Permissions::default();
    assert!(permissions.iter().all(|name| granted.grant(name)));
    let name = SubmitterName::parse(name).expect("a name");
    let submitter = SubmitterFields::new(1, name);
    KnownClient { submitter, permissions: granted, ..KnownClient::default() }
}

fn by_tokens(name: &str, permissions: &[&str]) -> KnownClient {
    let tokens = Some(credential_hash(name.as_bytes()));
    KnownClient { tokens, ..known(name, permissions) }
}

/// A credential of more than a HELLO has room for.
fn long() -> Vec<u8> {
    b"a long credential. ".repeat(53)
}

/// Clients by tokens, by a short credential or both, and one by a long credential.
fn access() -> Access {
    let mut access = Access::default();
    for (credential, client) in [
        (&b""[..], by_tokens("bank", &["submit", "lookup", "behalf"])),
        (b"short", by_tokens("branch", &["submit"])),
        (&long(), known("batch", &["submit"])),
        (b"plain", known("plain", &["submit"])),
    ] {
        assert!(access.add(credential, client));
    }
    access
}

fn world() -> World {
    World::with(Options { access: access(), ..Options::default() })
}

fn hello(credential: &[u8]) -> HelloFrame {
    let mut hello = HelloFrame::empty(3);
    (hello.version_min, hello.version_max) = (1, 1);
    hello.credential[..credential.len()].copy_from_slice(credential);
    hello.credential_len = credential.len() as u8;
    hello
}

fn announcing() -> HelloFrame {
    let mut hello = hello(b"");
    hello.header.flags = FLAG_AUTH.into();
    hello.in_flight = 7.into();
    hello
}

fn parts(token: &[u8], correlation: u64) -> Vec<u8> {
    let frames = AuthFrame::of_token(token, correlation).expect("it has a length");
    frames.flat_map(|frame| bytemuck::bytes_of(&frame).to_vec()).collect()
}

/// A connection that is open by a short credential.
fn greeted(w: &mut World, credential: &[u8]) -> usize {
    let client = w.raw_client(0);
    w.send(client, bytemuck::bytes_of(&hello(credential)));
    assert!(matches!(w.clients[client].replies[..], [Reply::Welcome(_)]));
    client
}

/// The token that the control thread is asked to check last, and for whom.
fn checked(w: &mut World) -> Option<(ConnectionId, Vec<u8>)> {
    w.cores[0].told.drain(..).rev().find_map(|told| match told {
        ToControl::CheckToken(0, id, _, token) => Some((id, token)),
        _ => None,
    })
}

fn granted(w: &World, client: &str, permissions: &[&str]) -> Granted {
    let mut scope = Permissions::default();
    assert!(permissions.iter().all(|name| scope.grant(name)));
    let client = credential_hash(client.as_bytes());
    let expires_at_ns = w.now.wall_ns + MINUTE_NS;
    Granted { client, permissions: scope, certificate: None, expires_at_ns, subject: [0; 64] }
}

fn tell(w: &mut World, id: ConnectionId, came: Result<Granted, Refusal>) {
    w.control(0, ToShard::TokenChecked(id, Box::new(came)));
}

/// A connection that came with a token of this client.
fn with_token(w: &mut World, client: &str, permissions: &[&str]) -> usize {
    let peer = Peer::default();
    let number = w.raw_client_at(0, &peer);
    w.send(number, bytemuck::bytes_of(&announcing()));
    w.send(number, &parts(b"an access token", 4));
    let (id, _) = checked(w).expect("it is asked");
    let granted = granted(w, client, permissions);
    tell(w, id, Ok(granted));
    assert!(matches!(
        w.clients[number].replies[..],
        [Reply::Welcome(_), Reply::Authenticated { correlation: 4, .. }]
    ));
    number
}

/// Sends a token, and has the control thread say this of it.
fn renew(w: &mut World, client: usize, correlation: u64, came: Result<Granted, Refusal>) -> Reply {
    w.send(client, &parts(b"another access token", correlation));
    let (id, _) = checked(w).expect("it is asked");
    tell(w, id, came);
    w.clients[client].answer(correlation)
}

const UNSOUND: Refusal = Refusal::new(ErrorCode::Unauthenticated, "its signature is wrong");
