//! Handshakes between nodes, without sockets.

use super::testing::Certificates;
use super::{Ended, NodeTls, Renewable, TlsEnd};
use std::io::IoSlice;
use std::sync::Arc;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

/// The name of the nodes of the invented cluster.
const NAME: &str = "node.pair.example";

/// Moves what both have to say until neither has more. What each made of it.
fn shaken(dialer: &mut TlsEnd, listener: &mut TlsEnd) -> [Result<(), Ended>; 2] {
    let mut outcomes = [Ok(()), Ok(())];
    let mut buffer = [0; 64];
    while dialer.has_output() || listener.has_output() {
        let mut sealed = Vec::new();
        for turn in 0..2 {
            sealed.clear();
            let (from, to) = match turn {
                0 => (&mut *dialer, &mut *listener),
                _ => (&mut *listener, &mut *dialer),
            };
            from.seal(&[], &mut sealed);
            let mut rest = &sealed[..];
            let outcome = &mut outcomes[1 - turn];
            if outcome.is_ok() {
                let shaken = to.shake(&mut rest);
                *outcome = shaken.and_then(|()| to.open_into(&mut rest, &mut buffer).map(drop));
            }
        }
    }
    outcomes
}

fn met(dialer: &NodeTls, listener: &NodeTls) -> [Result<(), Ended>; 2] {
    let ends = (dialer.dialer(), listener.listener());
    shaken(&mut ends.0.expect("sound"), &mut ends.1.expect("sound"))
}

/// What comes of a client that is no node.
fn dialed_with(client: ClientConfig, node: &NodeTls) -> [Result<(), Ended>; 2] {
    let dialer = ClientConnection::new(Arc::new(client), NAME.try_into().expect("a name"));
    shaken(&mut TlsEnd::new(dialer.expect("sound")), &mut node.listener().expect("sound"))
}

fn assert_refused(outcome: &Result<(), Ended>, why: &str) {
    let refused = outcome.as_ref().expect_err(why).to_string();
    assert!(refused.contains(why), "{why}: {refused}");
}

fn of(certificates: &Certificates, name: &str, authority: &str) -> NodeTls {
    NodeTls::new(certificates.of_node(name, authority), NAME).expect("sound")
}

fn nodes() -> (Certificates, NodeTls) {
    let certificates = Certificates::new();
    certificates.issue("ca", "node-a", NAME, None);
    certificates.issue("ca", "node-b", NAME, None);
    let node = of(&certificates, "node-a", "ca");
    (certificates, node)
}

#[test]
fn nodes_of_a_cluster_meet_and_what_is_sent_together_is_few_records() {
    let (certificates, a) = nodes();
    let b = of(&certificates, "node-b", "ca");
    let (mut dialer, mut listener) = (a.dialer().expect("sound"), b.listener().expect("sound"));
    assert_eq!(shaken(&mut dialer, &mut listener), [Ok(()), Ok(())]);
    assert!(!dialer.is_shaking_hands() && !listener.is_shaking_hands());
    let (head, block) = ([1; 32], vec![2; 20_000]);
    let mut sealed = Vec::new();
    dialer.seal(&[IoSlice::new(&head), IoSlice::new(&block)], &mut sealed);
    let mut records = 0;
    let mut rest = &sealed[..];
    while let [23, 3, 3, high, low, ..] = rest {
        rest = &rest[5 + usize::from(u16::from_be_bytes([*high, *low]))..];
        records += 1;
    }
    assert_eq!((records, rest.len()), (2, 0), "20,032 bytes are two records of up to 16 KiB");
    let (mut opened, mut buffer) = (Vec::new(), [0; 1000]);
    // In pieces, as a socket gives them.
    for piece in sealed.chunks(777) {
        listener.open(piece, &mut buffer, |bytes| opened.extend_from_slice(bytes)).expect("sound");
    }
    assert_eq!(opened, [&head[..], &block].concat());
    sealed.clear();
    listener.seal_end(&mut sealed);
    assert_eq!(dialer.open_into(&mut &sealed[..], &mut buffer), Err(Ended::Said));
}

#[test]
fn whoever_is_no_node_of_the_cluster_is_refused_by_either_side() {
    let (certificates, node) = nodes();
    certificates.issue("foreign", "foreign-node", NAME, None);
    certificates.issue("ca", "ended", NAME, Some(2020));
    certificates.issue("ca", "elsewhere", "node.other.example", None);
    let elsewhere = NodeTls::new(certificates.of_node("elsewhere", "ca"), "node.other.example");
    let elsewhere = elsewhere.expect("sound");
    for (other, why) in [
        (of(&certificates, "foreign-node", "ca"), "UnknownIssuer"),
        (of(&certificates, "ended", "ca"), "expired"),
    ] {
        assert_refused(&met(&other, &node)[1], why);
        assert_refused(&met(&node, &other)[0], why);
    }
    // The dialer looks first, and the listener where the dialer does not.
    assert_refused(&met(&node, &elsewhere)[0], "not valid for name");
    let roots = super::roots(&certificates.path("ca")).expect("authorities");
    let at = |name: &str| certificates.path(name);
    let config = super::files::client_with(&roots, &at("elsewhere"), &at("elsewhere-key"));
    let refused = &dialed_with(config.expect("sound"), &node)[1];
    assert_refused(refused, "not valid for name");
    // One that trusts nobody here is told nothing either.
    let suspicious = of(&certificates, "node-b", "foreign");
    assert!(met(&suspicious, &node)[0].is_err() && met(&node, &suspicious)[1].is_err());
}

#[test]
fn who_shows_no_certificate_or_says_something_else_is_refused() {
    let (certificates, node) = nodes();
    let client = super::client(&super::roots(&certificates.path("ca")).expect("authorities"));
    let name = NAME.try_into().expect("a name");
    let anonymous = tokio_rustls::rustls::ClientConnection::new(std::sync::Arc::new(client), name);
    let mut listener = node.listener().expect("sound");
    let [_, refused] = shaken(&mut TlsEnd::new(anonymous.expect("sound")), &mut listener);
    assert!(matches!(refused, Err(Ended::Broken(_))), "{refused:?}");
    let mut listener = node.listener().expect("sound");
    let refused = listener.shake(&mut &[0_u8; 256][..]);
    assert!(matches!(refused, Err(Ended::Broken(_))), "{refused:?}");
}

#[test]
fn files_are_renewed_and_those_that_are_no_good_change_nothing() {
    let (certificates, node) = nodes();
    let ended = || node.ends().expect("it has an end") < jiff::Timestamp::now();
    assert!(!ended());
    certificates.issue("ca", "node-a", "node.other.example", None);
    let fault = node.renew().expect_err("of another name").to_string();
    assert!(fault.contains("node-a.pem") && fault.contains(NAME), "{fault}");
    assert_eq!(met(&node, &node), [Ok(()), Ok(())]);
    certificates.issue("ca", "node-a", NAME, Some(2020));
    node.renew().expect("it may have ended: the node says so");
    assert!(ended());
    certificates.issue("ca", "node-a", NAME, None);
    node.renew().expect("sound");
    assert!(!ended());
    for name in ["10.0.0.1", "", "no name"] {
        assert!(NodeTls::new(certificates.of_node("node-a", "ca"), name).is_err(), "{name:?}");
    }
}
