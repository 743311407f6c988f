//! Open connections: tokens that are renewed, refused, and come to their end.

use super::*;
use catraca_wire::frame::LookupFrame;
use catraca_wire::short_text::ShortText;

#[test]
fn a_token_is_renewed_while_the_connection_goes_on() {
    let mut w = world();
    let c = with_token(&mut w, "bank", &["submit"]);
    w.pass(Duration::from_secs(50));
    // Frames may come between its parts, and behind them, and count by the one before.
    let token = parts(&b"n".repeat(1_000), 10);
    w.send(c, &token[..512]);
    w.submit(c, 11, transaction("a", payer(1)));
    w.send(c, &token[512..]);
    w.ask(c, 12, transaction("b", payer(1))).verdict();
    let (id, _) = checked(&mut w).expect("it is asked");
    let renewed = granted(&w, "bank", &["lookup"]);
    tell(&mut w, id, Ok(renewed));
    assert!(matches!(
        w.clients[c].answer(10),
        Reply::Authenticated { expires_at_ns, .. } if expires_at_ns == w.now.wall_ns + MINUTE_NS
    ));
    let refused = w.ask(c, 13, transaction("c", payer(1)));
    assert_eq!(refused.error(), ErrorCode::Forbidden, "the new one has another scope");
    w.pass(Duration::from_secs(30));
    w.tick();
    assert!(!w.clients[c].closed, "the end of the first one is past");
    w.pass(Duration::from_secs(30));
    w.tick();
    assert_eq!(w.clients[c].answer(0).error(), ErrorCode::Unauthenticated);
    assert!(w.clients[c].closed);
}

#[test]
fn a_renewal_that_is_refused_changes_nothing() {
    let mut w = world();
    let c = with_token(&mut w, "bank", &["submit"]);
    let other = granted(&w, "branch", &["submit"]);
    let overloaded = Refusal::retry(ErrorCode::Overloaded, 1_000, "no keys");
    for (correlation, came, expected) in [
        (10, Err(UNSOUND), ErrorCode::Unauthenticated),
        (11, Ok(other), ErrorCode::Forbidden),
        (12, Err(overloaded), ErrorCode::Overloaded),
    ] {
        let reply = renew(&mut w, c, correlation, came);
        assert!(
            matches!(reply, Reply::Error { code, closing: false, .. } if code == expected),
            "{reply:?}"
        );
        let id = format!("t{correlation}");
        w.ask(c, 100 + correlation, transaction(&id, payer(1))).verdict();
    }
    // Of somebody who is known by a credential, too.
    w.send(c, &parts(&long(), 13));
    assert_eq!(w.clients[c].answer(13).error(), ErrorCode::Forbidden);
    w.pass(Duration::from_secs(60));
    w.tick();
    assert!(w.clients[c].closed, "the first one ends when it ends");
}

#[test]
fn who_came_with_a_credential_may_go_on_with_a_token_and_nobody_with_somebody_elses() {
    let mut w = world();
    let [branch, plain] = [&b"short"[..], b"plain"].map(|name| greeted(&mut w, name));
    let own = granted(&w, "branch", &["submit"]);
    assert!(matches!(renew(&mut w, branch, 4, Ok(own)), Reply::Authenticated { .. }));
    assert_eq!(renew(&mut w, plain, 4, Ok(own)).error(), ErrorCode::Forbidden);
    w.pass(Duration::from_secs(60));
    w.tick();
    assert!(w.clients[branch].closed, "from then on the token counts");
    assert!(!w.clients[plain].closed);
    // Where nobody is asked who it is, there is nobody to go on as.
    let mut w = World::new();
    let c = w.client();
    w.send(c, &parts(&b"x".repeat(70), 4));
    assert!(matches!(
        w.clients[c].answer(4),
        Reply::Error { code: ErrorCode::Unauthenticated, closing: false, .. }
    ));
}

#[test]
fn what_was_asked_before_the_end_of_a_token_is_answered() {
    let mut w = world();
    let c = with_token(&mut w, "bank", &["submit"]);
    w.pass(Duration::from_secs(59));
    w.submit(c, 5, transaction("a", payer(1)));
    // A renewal is under way as well, and comes too late.
    w.send(c, &parts(b"another", 6));
    let (id, _) = checked(&mut w).expect("it is asked");
    w.pass(Duration::from_secs(1));
    w.tick();
    w.submit(c, 7, transaction("b", payer(1)));
    assert!(!w.clients[c].closed);
    w.settle();
    w.clients[c].answer(5).verdict();
    let renewed = granted(&w, "bank", &["submit"]);
    tell(&mut w, id, Ok(renewed));
    assert!(matches!(
        w.clients[c].replies[3..],
        [
            Reply::Error { correlation: 6, closing: false, .. },
            Reply::Error { correlation: 0, code: ErrorCode::Unauthenticated, closing: true, .. }
        ]
    ));
    assert!(w.clients[c].closed);
    assert_eq!(w.records().len(), 1, "what came behind its end is not taken");
}

#[test]
fn one_token_is_checked_at_a_time() {
    let mut w = world();
    let c = with_token(&mut w, "bank", &["submit"]);
    w.send(c, &parts(b"another", 6));
    let (id, _) = checked(&mut w).expect("it is asked");
    w.send(c, &parts(b"and another", 7));
    tell(&mut w, id, Err(UNSOUND));
    assert_eq!(w.clients[c].answer(6).error(), ErrorCode::Unauthenticated);
    assert_eq!(w.clients[c].answer(7).error(), ErrorCode::BadFrame);
    assert!(w.clients[c].closed);
}

#[test]
fn a_reload_reaches_those_who_came_with_tokens() {
    let mut w = world();
    let narrowed = with_token(&mut w, "bank", &["submit", "lookup"]);
    let gone = with_token(&mut w, "branch", &["submit"]);
    // One more waits for its token.
    let waits = w.raw_client(0);
    w.send(waits, bytemuck::bytes_of(&announcing()));
    w.send(waits, &parts(b"a token", 4));
    let (id, _) = checked(&mut w).expect("it is asked");
    let mut access = Access::default();
    assert!(access.add(b"plain", known("plain", &["submit"])));
    assert!(access.add(b"", by_tokens("bank", &["lookup", "admin"])));
    w.control(0, ToShard::SetAccess(Arc::new(access)));
    assert_eq!(w.clients[gone].answer(0).error(), ErrorCode::Unauthenticated);
    assert!(w.clients[gone].closed);
    let refused = w.ask(narrowed, 5, transaction("a", payer(1)));
    assert_eq!(refused.error(), ErrorCode::Forbidden, "the client may not any more");
    w.send(narrowed, bytemuck::bytes_of(&catraca_wire::frame::PolicyFrame::empty(6)));
    assert_eq!(w.clients[narrowed].answer(6).error(), ErrorCode::Forbidden, "the token never did");
    // It is renewed as the client that has another place now.
    let renewed = granted(&w, "bank", &["lookup"]);
    assert!(matches!(renew(&mut w, narrowed, 7, Ok(renewed)), Reply::Authenticated { .. }));
    let branch = granted(&w, "branch", &["submit"]);
    tell(&mut w, id, Ok(branch));
    assert_eq!(w.clients[waits].answer(4).error(), ErrorCode::Unauthenticated);
}

#[test]
fn who_speaks_on_behalf_of_others_does_so_by_its_new_token_or_keeps_the_old_one() {
    let mut w = world();
    let c = with_token(&mut w, "bank", &["submit", "behalf"]);
    let mut frame = OnBehalfFrame::empty(9);
    frame.principal.submitter = known("loja", &[]).submitter;
    w.send(c, bytemuck::bytes_of(&frame));
    let less = granted(&w, "bank", &["submit"]);
    assert_eq!(renew(&mut w, c, 10, Ok(less)).error(), ErrorCode::Forbidden);
    let same = granted(&w, "bank", &["submit", "behalf"]);
    assert!(matches!(renew(&mut w, c, 11, Ok(same)), Reply::Authenticated { .. }));
    w.ask(c, 12, transaction("a", payer(1))).verdict();
    assert_eq!(w.records()[0].submitter, frame.principal.submitter, "it is still theirs");
}

#[test]
fn a_standby_takes_tokens_and_says_that_it_is_one() {
    let mut w = World::with(Options { access: access(), standbys_from: 0, ..Options::default() });
    let c = with_token(&mut w, "bank", &["submit"]);
    let Reply::Welcome(welcome) = w.clients[c].replies[0] else { panic!("not welcome") };
    assert_eq!(welcome.role, catraca_wire::frame::Role::Standby.to_wire());
    assert_eq!(w.ask(c, 5, transaction("a", payer(1))).error(), ErrorCode::NotPrimary);
    let renewed = granted(&w, "bank", &["submit"]);
    assert!(matches!(renew(&mut w, c, 6, Ok(renewed)), Reply::Authenticated { .. }));
}

#[test]
fn the_trail_is_told_the_person_of_the_token_that_counts() {
    let mut w = world();
    let named = |w: &World, subject: &str| {
        let subject = ShortText::parse(subject).expect("short").to_wire();
        Granted { subject, ..granted(w, "bank", &["lookup"]) }
    };
    let client = w.raw_client(0);
    let mut hello = announcing();
    hello.client_name[..4].copy_from_slice(b"tool");
    hello.client_name_len = 4;
    w.send(client, bytemuck::bytes_of(&hello));
    w.send(client, &parts(b"an access token", 4));
    let (id, _) = checked(&mut w).expect("it is asked");
    let of_client = granted(&w, "bank", &["lookup"]);
    tell(&mut w, id, Ok(of_client));
    let subject = |w: &mut World| {
        w.send(client, bytemuck::bytes_of(&LookupFrame::empty(9)));
        w.cores[0].told.drain(..).rev().find_map(|told| match told {
            ToControl::Request { actor, .. } => Some(actor.principal.subject().as_str().to_owned()),
            _ => None,
        })
    };
    assert_eq!(subject(&mut w).as_deref(), Some("tool"), "what the client says of itself");
    for (correlation, person) in [(5, "ana"), (6, "rui")] {
        let granted = named(&w, person);
        renew(&mut w, client, correlation, Ok(granted));
        assert_eq!(subject(&mut w).as_deref(), Some(person));
    }
    let of_client = granted(&w, "bank", &["lookup"]);
    renew(&mut w, client, 7, Ok(of_client));
    assert_eq!(subject(&mut w).as_deref(), Some(""), "no longer the person before");
}

#[test]
fn half_a_token_on_an_open_connection_is_not_waited_for_for_ever() {
    let mut w = world();
    let c = greeted(&mut w, b"plain");
    w.send(c, &parts(&b"n".repeat(1_000), 10)[..512]);
    w.ask(c, 11, transaction("a", payer(1))).verdict();
    w.pass(FRAME_TIMEOUT);
    w.tick();
    assert_eq!(w.clients[c].answer(0).error(), ErrorCode::BadFrame);
    assert!(w.clients[c].closed);
}
