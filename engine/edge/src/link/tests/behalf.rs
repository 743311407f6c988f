//! A program that asks for others at nodes that do not let it.

use super::world::*;
use crate::link::{DialError, Exchange, Outcome, Request};
use catraca_wire::client::rules::Body;
use catraca_wire::frame::{
    ErrorCode, FrameKind, ListFrame, PrincipalFields, SubmitterFields, Transaction,
};

fn submitter() -> SubmitterFields {
    SubmitterFields { institution: 7.into(), ..Default::default() }
}

fn principal() -> PrincipalFields {
    PrincipalFields { submitter: submitter(), ..Default::default() }
}

fn offer(world: &mut World, id: &str) -> u64 {
    let transaction = Transaction::pix(id, "04933228680", "12ABC34501DE35", 1, 1).expect("sound");
    let end_ns = world.now_ns + BUDGET_NS;
    let request = Request::submit_for(Some(submitter()), &transaction, end_ns);
    let ticket = world.exchange.offer(request, world.now_ns + DEADLINE_NS).expect("taken");
    world.tick();
    ticket
}

fn forbid(world: &mut World, attempt: u64) {
    world.receive(attempt, 0, Body::Error(refusal(ErrorCode::Forbidden, true)));
}

fn is_forbidden(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { error, in_doubt: false }
        if error.code == ErrorCode::Forbidden)
}

#[test]
fn who_may_not_speak_for_others_has_recorded_nothing_and_stays_refused() {
    let mut world = World::new(&["a:1"], 1, 10);
    let mut attempt = world.answer_dial(primary());
    let tickets = ["1", "2"].map(|id| offer(&mut world, id));
    assert_eq!(world.sent_on(attempt), tickets);
    forbid(&mut world, attempt);
    for ticket in tickets {
        assert!(is_forbidden(&world.ended[&ticket]), "{:?}", world.ended[&ticket]);
    }
    // Each attempt is welcomed, and changes nothing.
    for round in 0..4 {
        world.pass(600 * MS);
        attempt = world.answer_dial(primary());
        assert!(world.behalfs.contains(&attempt), "{round}: it asks before it carries anything");
        let later = offer(&mut world, "later");
        assert!(is_forbidden(&world.ended[&later]), "{round}: nobody waits in vain");
        assert!(world.sent_on(attempt).is_empty());
        assert!(!world.exchange.is_ready(world.now_ns), "{round}");
        assert!(world.exchange.trouble().contains("FORBIDDEN"), "{}", world.exchange.trouble());
        assert!(world.exchange.refused().is_some());
        forbid(&mut world, attempt);
        assert!(world.closed.contains(&attempt));
    }
    // The operator has given the permission.
    world.pass(600 * MS);
    attempt = world.answer_dial(primary());
    let (on, ping) = *world.pings.last().expect("a PING behind ON_BEHALF");
    assert_eq!(on, attempt);
    world.receive(attempt, ping, Body::Pong { server_time_ns: 1 });
    assert!(world.exchange.is_ready(world.now_ns) && world.exchange.refused().is_none());
    let allowed = offer(&mut world, "allowed");
    assert_eq!(world.sent_on(attempt), [allowed]);
    world.receive(attempt, allowed, decided());
    assert!(matches!(world.ended[&allowed], Outcome::Decided(_)));
}

#[test]
fn who_speaks_for_others_from_the_start_is_ready_when_a_node_lets_it() {
    let exchange = Exchange::new(&["a:1".to_owned()], 1, 10, 7).speaking_for(&principal());
    let mut world = World::of(exchange);
    let attempt = world.answer_dial(primary());
    let ticket = offer(&mut world, "1");
    assert!(!world.exchange.is_ready(world.now_ns));
    assert!(world.sent_on(attempt).is_empty() && !world.ended.contains_key(&ticket));
    let (_, ping) = world.pings[0];
    world.receive(attempt, ping, Body::Pong { server_time_ns: 1 });
    assert!(world.exchange.is_ready(world.now_ns));
    assert_eq!(world.sent_on(attempt), [ticket]);
    assert_eq!(world.behalfs, [attempt], "it is said once");
}

#[test]
fn a_change_behind_a_refusal_to_speak_is_not_done_and_says_so() {
    let mut world = World::new(&["a:1"], 1, 10);
    let attempt = world.answer_dial(primary());
    let request = Request::Ask {
        behalf: Some(Box::new(principal())),
        frame: bytemuck::bytes_of(&ListFrame::empty(0)).to_vec(),
        answered_by: FrameKind::ListState,
        is_repeatable: false,
    };
    let ticket = world.exchange.offer(request, DEADLINE_NS).expect("taken");
    world.tick();
    forbid(&mut world, attempt);
    assert!(is_forbidden(&world.ended[&ticket]), "{:?}", world.ended[&ticket]);
}

#[test]
fn what_a_node_may_have_done_before_it_forbade_stays_in_doubt() {
    let mut world = World::new(&["a:1"], 1, 10);
    let attempt = world.answer_dial(primary());
    let (answered, open) = (offer(&mut world, "1"), offer(&mut world, "2"));
    world.receive(attempt, answered, decided());
    forbid(&mut world, attempt);
    assert!(matches!(&world.ended[&open], Outcome::Refused { in_doubt: true, .. }));
    // One that was lost before is in doubt whatever a refusal says.
    let mut world = World::new(&["a:1"], 1, 10);
    let first = world.answer_dial(primary());
    let ticket = offer(&mut world, "1");
    world.exchange.lost(first, "reset".to_owned(), world.now_ns);
    world.tick();
    let second = world.answer_dial(primary());
    assert_eq!(world.sent_on(second), [ticket]);
    forbid(&mut world, second);
    assert!(matches!(&world.ended[&ticket], Outcome::Refused { in_doubt: true, .. }));
}

#[test]
fn a_credential_that_is_refused_is_a_refusal_of_the_link() {
    let mut world = World::new(&["a:1"], 1, 10);
    world.answer_dial(Err(DialError::Refused(refusal(ErrorCode::Unauthenticated, true))));
    assert!(world.exchange.refused().is_some());
    world.pass(600 * MS);
    world.answer_dial(primary());
    assert!(world.exchange.refused().is_none() && world.exchange.is_ready(world.now_ns));
}
