//! Handshakes that wait for their tokens.

use super::*;

#[test]
fn a_long_credential_is_known_however_its_bytes_are_cut() {
    let mut bytes = bytemuck::bytes_of(&announcing()).to_vec();
    bytes.extend(parts(&long(), 4));
    bytes.extend_from_slice(bytemuck::bytes_of(&submit(5, transaction("a", payer(1)))));
    let world =
        || World::with(Options { access: access(), buffers: 1, segments: 1, ..Options::default() });
    for cut in (1..bytes.len()).step_by(7).chain([128, 640, 1_152]) {
        let mut w = world();
        let c = w.raw_client(0);
        w.send(c, &bytes[..cut]);
        w.send(c, &bytes[cut..]);
        w.settle();
        let [Reply::Welcome(welcome), Reply::Authenticated { correlation, expires_at_ns }, verdict] =
            w.clients[c].replies[..]
        else {
            panic!("cut at {cut}: {:?}", w.clients[c].replies);
        };
        assert_eq!((welcome.header.correlation, welcome.in_flight), (3.into(), 7.into()));
        assert_eq!((correlation, expires_at_ns), (4, 0), "it has no end");
        verdict.verdict();
        assert!(checked(&mut w).is_none(), "nobody else is asked");
    }
    // One that differs in its last byte is nobody's.
    let mut other = long();
    *other.last_mut().expect("it is long") ^= 1;
    let mut w = World::with(Options { access: known_only(), ..Options::default() });
    let c = w.raw_client(0);
    w.send(c, bytemuck::bytes_of(&announcing()));
    w.send(c, &parts(&other, 4));
    let Reply::Error { code: ErrorCode::Unauthenticated, closing: true, .. } =
        w.clients[c].answer(4)
    else {
        panic!("{:?}", w.clients[c].replies);
    };
    assert!(w.clients[c].closed && checked(&mut w).is_none());
}

/// Clients without tokens of an issuer.
fn known_only() -> Access {
    let mut access = Access::default();
    assert!(access.add(&long(), known("batch", &["submit"])));
    access
}

#[test]
fn a_token_lets_in_with_what_client_and_scope_have_in_common() {
    let mut w = world();
    let c = with_token(&mut w, "bank", &["submit", "stats"]);
    assert!(matches!(
        w.clients[c].replies[1],
        Reply::Authenticated { expires_at_ns, .. } if expires_at_ns == w.now.wall_ns + MINUTE_NS
    ));
    w.ask(c, 5, transaction("a", payer(1))).verdict();
    for frame in [
        bytemuck::bytes_of(&catraca_wire::frame::LookupFrame::empty(6)).to_vec(),
        bytemuck::bytes_of(&catraca_wire::frame::StatsFrame::empty(7)).to_vec(),
    ] {
        w.send(c, &frame);
    }
    for correlation in [6, 7] {
        assert_eq!(w.clients[c].answer(correlation).error(), ErrorCode::Forbidden);
    }
    // Frames that came behind the token wait for its answer.
    let c = w.raw_client(0);
    w.send(c, bytemuck::bytes_of(&announcing()));
    w.send(c, &parts(b"a token", 4));
    w.send(c, bytemuck::bytes_of(&submit(5, transaction("b", payer(2)))));
    w.settle();
    assert!(w.clients[c].replies.is_empty());
    let (id, token) = checked(&mut w).expect("it is asked");
    assert_eq!(token, b"a token");
    let scope = granted(&w, "bank", &["submit"]);
    tell(&mut w, id, Ok(scope));
    w.settle();
    w.clients[c].answer(5).verdict();
}

#[test]
fn a_token_of_nobody_ends_the_handshake() {
    let retry = Refusal::retry(ErrorCode::Overloaded, 1_000, "the issuer's keys are not known");
    let world = world();
    let expired = Granted { expires_at_ns: 1, ..granted(&world, "bank", &["submit"]) };
    let bound = Granted { certificate: Some([9; 32]), ..granted(&world, "bank", &["submit"]) };
    for (came, expected) in [
        (Err(UNSOUND), ErrorCode::Unauthenticated),
        (Ok(granted(&world, "stranger", &["submit"])), ErrorCode::Unauthenticated),
        (Ok(expired), ErrorCode::Unauthenticated),
        (Ok(bound), ErrorCode::Unauthenticated),
        (Err(retry), ErrorCode::Overloaded),
    ] {
        let mut w = self::world();
        let c = w.raw_client(0);
        w.send(c, bytemuck::bytes_of(&announcing()));
        w.send(c, &parts(b"a token", 4));
        let (id, _) = checked(&mut w).expect("it is asked");
        tell(&mut w, id, came);
        let Reply::Error { code, closing: true, retry_after_ms, .. } = w.clients[c].answer(4)
        else {
            panic!("{:?}", w.clients[c].replies);
        };
        assert_eq!(code, expected);
        assert_eq!(retry_after_ms > 0, code == ErrorCode::Overloaded);
        assert!(w.clients[c].closed);
        w.pass(Duration::from_secs(2));
        w.tick();
        let refused = |told: &ToControl| matches!(told, ToControl::Refused(of) if of.act == Some(FrameKind::Auth));
        let is_told = w.cores[0].told.iter().any(refused);
        assert_eq!(is_told, code != ErrorCode::Overloaded, "the audit trail has who was refused");
    }
}

#[test]
fn what_breaks_the_order_of_the_handshake_ends_it() {
    let long = long();
    let whole = parts(&long, 4);
    let ping = bytemuck::bytes_of(&PingFrame::empty(4)).to_vec();
    let with = |token_len: u16, offset: u16| {
        let mut frame = AuthFrame::empty(4);
        (frame.token_len, frame.offset) = (token_len.into(), offset.into());
        bytemuck::bytes_of(&frame).to_vec()
    };
    let mut reserved = AuthFrame::of_token(b"a", 4).expect("sound").next().expect("one");
    reserved.reserved = [1; 4];
    let mut behind = AuthFrame::of_token(b"a", 4).expect("sound").next().expect("one");
    behind.part[1] = b'b';
    for (what, bytes) in [
        ("a frame before the token", ping.clone()),
        ("a frame between its parts", [&whole[..512], &ping].concat()),
        ("a second HELLO", bytemuck::bytes_of(&announcing()).to_vec()),
        ("the second part first", whole[512..].to_vec()),
        ("a part twice", [&whole[..512], &whole[..512]].concat()),
        ("another length", [whole[..512].to_vec(), with(900, 488)].concat()),
        ("length 0", with(0, 0)),
        ("length 8193", with(8_193, 0)),
        ("an offset past the end", with(10, 10)),
        ("a reserved field", bytemuck::bytes_of(&reserved).to_vec()),
        ("a byte behind its end", bytemuck::bytes_of(&behind).to_vec()),
    ] {
        let mut w = world();
        let c = w.raw_client(0);
        w.send(c, bytemuck::bytes_of(&announcing()));
        w.send(c, &bytes);
        let [Reply::Error { code, closing, .. }] = w.clients[c].replies[..] else {
            panic!("{what}: {:?}", w.clients[c].replies);
        };
        assert_eq!((code, closing), (ErrorCode::BadFrame, true), "{what}");
        assert!(w.clients[c].closed, "{what}");
    }
    // Before HELLO; and HELLO with both, or with another flag.
    let mut both = announcing();
    (both.credential_len, both.credential[0]) = (1, b'x');
    let mut flags = hello(b"short");
    flags.header.flags = 2.into();
    for bytes in [&whole[..], bytemuck::bytes_of(&both), bytemuck::bytes_of(&flags)] {
        let mut w = world();
        let c = w.raw_client(0);
        w.send(c, bytes);
        assert_eq!(w.clients[c].replies[0].error(), ErrorCode::BadFrame);
        assert!(w.clients[c].closed);
    }
}

#[test]
fn the_handshake_has_its_time_and_no_more() {
    let just_before = HANDSHAKE_TIMEOUT - Duration::from_millis(1);
    for (sent, expected) in [
        (Vec::new(), ErrorCode::BadFrame),
        (parts(&long(), 4)[..600].to_vec(), ErrorCode::BadFrame),
        // It is not the client's fault.
        (parts(b"a token", 4), ErrorCode::Overloaded),
    ] {
        let mut w = world();
        let c = w.raw_client(0);
        w.send(c, bytemuck::bytes_of(&announcing()));
        w.pass(just_before);
        w.send(c, &sent);
        w.tick();
        assert!(w.clients[c].replies.is_empty());
        w.pass(Duration::from_millis(1));
        w.tick();
        assert_eq!(w.clients[c].answer(0).error(), expected);
        assert!(w.clients[c].closed);
        // What comes of it later finds nobody, and a place is free again.
        if let Some((id, _)) = checked(&mut w) {
            let late = granted(&w, "bank", &["submit"]);
            tell(&mut w, id, Ok(late));
        }
        with_token(&mut w, "bank", &["submit"]);
    }
}

/// The other end of connections from an address.
fn of_address(number: u8) -> Peer {
    let mut remote = [0; 16];
    (remote[10], remote[11], remote[12], remote[15]) = (0xff, 0xff, 10, number);
    Peer { remote, ..Peer::default() }
}

#[test]
fn one_address_keeps_nobody_of_another_one_out() {
    let mut w = world();
    for number in 0..=MAX_TOKEN_CHECKS_OF_ADDRESS {
        let c = w.raw_client_at(0, &of_address(1));
        w.send(c, bytemuck::bytes_of(&announcing()));
        w.send(c, &parts(b"a token", 4));
        let is_asked = checked(&mut w).is_some();
        assert_eq!(is_asked, number < MAX_TOKEN_CHECKS_OF_ADDRESS, "{number}");
    }
    let other = w.raw_client_at(0, &of_address(2));
    w.send(other, bytemuck::bytes_of(&announcing()));
    w.send(other, &parts(b"a token", 4));
    assert!(checked(&mut w).is_some());
    // Of IPv6 a network is one: whoever has it has its addresses.
    for number in 0..=MAX_TOKEN_CHECKS_OF_ADDRESS as u8 {
        let mut remote = [0x20; 16];
        remote[15] = number;
        let c = w.raw_client_at(0, &Peer { remote, ..Peer::default() });
        w.send(c, bytemuck::bytes_of(&announcing()));
        w.send(c, &parts(b"a token", 4));
        let is_asked = checked(&mut w).is_some();
        assert_eq!(is_asked, usize::from(number) < MAX_TOKEN_CHECKS_OF_ADDRESS, "{number}");
    }
}

#[test]
fn so_many_tokens_are_checked_at_once_and_others_come_again() {
    let mut w = world();
    let mut asked = Vec::new();
    for number in 0..MAX_TOKEN_CHECKS {
        let c = w.raw_client_at(0, &of_address((number / MAX_TOKEN_CHECKS_OF_ADDRESS) as u8));
        w.send(c, bytemuck::bytes_of(&announcing()));
        w.send(c, &parts(b"a token", 4));
        asked.push(checked(&mut w).expect("there is a place").0);
    }
    let flood = w.raw_client(0);
    w.send(flood, bytemuck::bytes_of(&announcing()));
    w.send(flood, &parts(b"a token", 4));
    assert!(matches!(
        w.clients[flood].answer(4),
        Reply::Error { code: ErrorCode::Overloaded, closing: true, retry_after_ms: 1.., .. }
    ));
    // Who is known by a credential needs no place, nor do those who are open already.
    let known = greeted(&mut w, b"plain");
    w.send(known, &parts(&b"x".repeat(70), 4));
    assert!(matches!(
        w.clients[known].answer(4),
        Reply::Error { code: ErrorCode::Overloaded, closing: false, .. }
    ));
    w.ask(known, 5, transaction("a", payer(1))).verdict();
    let c = w.raw_client(0);
    w.send(c, bytemuck::bytes_of(&announcing()));
    w.send(c, &parts(&long(), 4));
    assert!(matches!(w.clients[c].replies[0], Reply::Welcome(_)));
    // Those that went away meanwhile give their places back.
    for client in 0..MAX_TOKEN_CHECKS {
        w.disconnect(client);
    }
    for id in asked {
        tell(&mut w, id, Err(UNSOUND));
    }
    with_token(&mut w, "bank", &["submit"]);
}

#[test]
fn a_certificate_that_a_token_is_bound_to_has_to_be_the_connections() {
    let mut w = world();
    let peer = Peer { certificate: [9; 32], ..Peer::default() };
    let c = w.raw_client_at(0, &peer);
    w.send(c, bytemuck::bytes_of(&announcing()));
    w.send(c, &parts(b"a token", 4));
    let (id, _) = checked(&mut w).expect("it is asked");
    let own = Granted { certificate: Some([9; 32]), ..granted(&w, "bank", &["submit"]) };
    tell(&mut w, id, Ok(own));
    assert!(matches!(w.clients[c].replies[0], Reply::Welcome(_)));
    let other = Granted { certificate: Some([8; 32]), ..own };
    assert_eq!(renew(&mut w, c, 5, Ok(other)).error(), ErrorCode::Unauthenticated);
    w.ask(c, 6, transaction("a", payer(1))).verdict();
}

#[test]
fn the_longest_token_is_handed_on_whole() {
    let mut w = world();
    let c = w.raw_client(0);
    let token: Vec<u8> = (0..MAX_TOKEN_LEN).map(|at| b'a' + (at % 26) as u8).collect();
    w.send(c, bytemuck::bytes_of(&announcing()));
    for byte in parts(&token, 4) {
        w.send(c, &[byte]);
    }
    assert_eq!(checked(&mut w).map(|(_, token)| token), Some(token));
}
