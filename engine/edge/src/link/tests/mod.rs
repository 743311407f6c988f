//! Tests of what the link decides: a world of made-up nodes, without sockets and without a clock.

mod behalf;
mod world;

use super::exchange::{PING_EVERY_NS, PING_PATIENCE_NS};
use super::{DialError, Outcome, Patience, Request};
use crate::caller::Caller;
use catraca_wire::client::rules::Body;
use catraca_wire::frame::{
    ErrorCode, FrameKind, ListFrame, ListStateFrame, ListStateReply, LookupFrame, Role,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::*;

#[test]
fn many_requests_share_a_connection_and_each_gets_its_own_answer() {
    let mut world = World::new(&["a:1"], 1, 10);
    let early = world.offer("early");
    assert!(world.sent.is_empty(), "there is no connection yet");
    let attempt = world.answer_dial(primary());
    let (second, third) = (world.offer("second"), world.offer("third"));
    assert_eq!(world.sent_on(attempt), [early, second, third]);
    world.receive(attempt, third, refused(ErrorCode::BadField));
    world.receive(attempt, early, decided());
    assert!(matches!(world.ended[&third], Outcome::Refused { in_doubt: false, .. }));
    assert!(matches!(world.ended[&early], Outcome::Decided(_)));
    assert_eq!(world.exchange.unanswered(), 1);
    world.receive(attempt, second, decided());
    assert_eq!(world.exchange.unanswered(), 0);
}

#[test]
fn what_waits_is_bounded_and_a_connection_carries_no_more_than_its_node_allows() {
    let mut world = World::new(&["a:1"], 1, 3);
    let attempt = world.answer_dial(Ok(welcome(Role::Primary, 1, 2, "")));
    let tickets = ["1", "2", "3"].map(|id| world.offer(id));
    assert_eq!(world.exchange.offer(submit(0, "4"), DEADLINE_NS), Err(Outcome::Full));
    assert_eq!(world.sent_on(attempt), tickets[..2], "the third one waits");
    world.receive(attempt, tickets[1], decided());
    assert_eq!(world.sent_on(attempt), tickets);
    world.offer("5");
}

#[test]
fn what_was_on_a_lost_connection_goes_to_the_other_node_in_the_old_order() {
    let mut world = World::new(&["a:1", "b:1"], 1, 10);
    let first = world.answer_dial(primary());
    let tickets = ["1", "2", "3"].map(|id| world.offer(id));
    world.receive(first, tickets[1], decided());
    world.pass(100 * MS);
    world.exchange.lost(first, "reset".to_owned(), world.now_ns);
    world.tick();
    assert!(world.closed.contains(&first));
    assert_eq!(world.dial().1, "b:1", "at once, and the other one");
    let second = world.answer_dial(primary());
    assert_eq!(world.sent_on(second), [tickets[0], tickets[2]]);
    let budgets: Vec<u32> =
        world.sent.iter().filter(|(on, ..)| *on == second).map(|sent| sent.2).collect();
    assert_eq!(budgets, [1_900_000, 1_900_000], "what is left of them");
    world.receive(second, tickets[0], refused(ErrorCode::Overloaded));
    assert!(
        matches!(world.ended[&tickets[0]], Outcome::Refused { in_doubt: true, .. }),
        "the first sending may have been recorded"
    );
}

#[test]
fn a_standby_names_the_primary_and_is_believed_once() {
    let mut world = World::new(&["a:1", "b:1"], 1, 10);
    world.answer_dial(standby("c:9"));
    assert_eq!(world.dial().1, "c:9", "a hint is followed without a pause");
    world.answer_dial(standby("a:1"));
    assert_eq!(world.dial().1, "b:1", "a was asked already; after the first failure, at once");
    world.answer_dial(standby(""));
    let dials = world.dials.len();
    world.tick();
    assert_eq!(world.dials.len(), dials, "all were asked: now there is a pause");
    assert!(world.exchange.next_wake() > world.now_ns);
    assert!(!world.exchange.is_ready(world.now_ns));
    assert!(world.exchange.trouble().contains("is a standby"), "{}", world.exchange.trouble());
    world.pass(600 * MS);
    assert_eq!(world.dials.len(), dials + 1);
}

#[test]
fn a_node_that_decides_no_more_is_left_with_everything() {
    for code in [ErrorCode::NotPrimary, ErrorCode::ShuttingDown] {
        let mut world = World::new(&["a:1", "b:1"], 1, 10);
        let first = world.answer_dial(primary());
        let tickets = ["1", "2"].map(|id| world.offer(id));
        world.receive(first, tickets[0], refused(code));
        assert!(world.ended.is_empty(), "{code}: it is not answered yet");
        let second = world.answer_dial(primary());
        assert_eq!(world.sent_on(second), tickets);
        world.receive(second, tickets[0], refused(ErrorCode::DiskFull));
        world.receive(second, tickets[1], refused(ErrorCode::DiskFull));
        assert!(
            matches!(world.ended[&tickets[0]], Outcome::Refused { in_doubt: false, .. }),
            "both nodes refused it, and it was on no lost connection"
        );
        assert!(matches!(world.ended[&tickets[1]], Outcome::Refused { in_doubt: true, .. }));
    }
    let mut world = World::new(&["a:1"], 1, 10);
    let attempt = world.answer_dial(primary());
    let ticket = world.offer("1");
    world.receive(attempt, ticket, refused(ErrorCode::ShuttingDown));
    assert!(matches!(world.ended[&ticket], Outcome::Refused { .. }), "there is no other node");
}

#[test]
fn a_node_that_is_slow_to_welcome_gets_more_time_when_all_were_tried() {
    let mut world = World::new(&["a:1", "b:1"], 1, 10);
    let mut patience = vec![world.patience];
    for _ in 0..5 {
        world.answer_dial(down());
        world.pass(600 * MS);
        patience.push(world.patience);
    }
    let (short, long) = (Some(Patience::Short), Some(Patience::Long));
    assert_eq!(patience, [short, short, short, short, short, long]);
    world.answer_dial(primary());
    assert!(world.exchange.is_ready(world.now_ns));
}

#[test]
fn a_request_ends_at_its_deadline_and_says_whether_it_was_sent() {
    let mut world = World::new(&["a:1"], 1, 10);
    let never_sent = world.offer("1");
    world.answer_dial(down());
    world.pass(DEADLINE_NS);
    assert!(matches!(&world.ended[&never_sent], Outcome::NoAnswer { in_doubt: false, .. }));
    let mut world = World::new(&["a:1"], 1, 10);
    let attempt = world.answer_dial(primary());
    let sent = world.offer("1");
    for _ in 0..5 {
        world.pass(DEADLINE_NS / 5);
        // The node lives, and forgets this one.
        if let Some((_, ping)) = world.pings.pop() {
            world.receive(attempt, ping, Body::Pong { server_time_ns: 1 });
        }
    }
    assert!(matches!(&world.ended[&sent], Outcome::NoAnswer { in_doubt: true, .. }));
    assert!(world.closed.contains(&attempt), "a node answers within the budget, or is gone");
}

#[test]
fn a_budget_that_is_over_is_not_sent() {
    let mut world = World::new(&["a:1"], 1, 10);
    let ticket = world.offer("1");
    world.answer_dial(down());
    world.pass(BUDGET_NS);
    world.answer_dial(primary());
    assert!(world.sent.is_empty());
    assert!(matches!(&world.ended[&ticket], Outcome::NoAnswer { in_doubt: false, .. }));
}

#[test]
fn a_silent_node_is_left_for_another_primary_of_no_lower_epoch() {
    for (epoch, leaves) in [(0, false), (1, true), (2, true)] {
        let mut world = World::new(&["a:1", "b:1"], 1, 10);
        let first = world.answer_dial(primary());
        let ticket = world.offer("1");
        world.pass(500 * MS);
        assert_eq!(world.dial().1, "b:1", "after half a second somebody else is asked");
        let look = world.answer_dial(Ok(welcome(Role::Primary, epoch, 10, "")));
        assert_eq!(world.closed.contains(&first), leaves, "epoch {epoch}");
        assert_eq!(world.closed.contains(&look), !leaves, "epoch {epoch}");
        assert_eq!(world.sent_on(look), if leaves { vec![ticket] } else { vec![] });
        let dials = world.dials.len();
        world.pass(400 * MS);
        assert_eq!(world.dials.len(), dials, "at most once a second");
    }
}

#[test]
fn unconfirmed_is_an_answer_and_a_reason_to_look() {
    let mut world = World::new(&["a:1", "b:1"], 1, 10);
    let first = world.answer_dial(primary());
    let ticket = world.offer("1");
    world.receive(first, ticket, refused(ErrorCode::Unconfirmed));
    assert!(matches!(world.ended[&ticket], Outcome::Refused { .. }));
    assert_eq!(world.dial().1, "b:1");
    world.answer_dial(standby("a:1"));
    assert!(!world.closed.contains(&first), "it stays where there is no other primary");
}

#[test]
fn a_dead_connection_is_found_without_a_payment() {
    let mut world = World::new(&["a:1"], 1, 10);
    let attempt = world.answer_dial(primary());
    world.pass(PING_EVERY_NS);
    let &[(on, ping)] = &world.pings[..] else { panic!("{:?}", world.pings) };
    assert_eq!(on, attempt);
    world.receive(attempt, ping, Body::Pong { server_time_ns: 1 });
    assert!(world.exchange.is_ready(world.now_ns));
    world.pass(PING_EVERY_NS);
    world.pass(PING_PATIENCE_NS - 1);
    assert!(!world.exchange.is_ready(world.now_ns), "it has been silent for too long");
    assert!(!world.closed.contains(&attempt));
    world.pass(1);
    assert!(world.closed.contains(&attempt));
}

#[test]
fn what_answers_nothing_ends_the_connection_and_what_is_late_does_not() {
    let cases: [(u64, Body, bool); 6] = [
        (99, decided(), true),
        (0, refused(ErrorCode::BadFrame), true),
        (1, Body::Pong { server_time_ns: 1 }, true),
        (1, Body::Welcome(welcome(Role::Primary, 1, 1, "")), true),
        (0, Body::Error(refusal(ErrorCode::Overloaded, true)), true),
        (1, decided(), false),
    ];
    for (correlation, body, ends) in cases {
        let mut world = World::new(&["a:1"], 1, 10);
        let attempt = world.answer_dial(primary());
        let ticket = world.offer("1");
        world.receive(attempt, correlation, body);
        assert_eq!(world.closed.contains(&attempt), ends, "{correlation}");
        assert_eq!(world.ended.contains_key(&ticket), !ends);
    }
    let mut world = World::new(&["a:1"], 1, 10);
    let attempt = world.answer_dial(primary());
    let lookup = Request::repeatable(&Caller::anybody(), &LookupFrame::empty(0), FrameKind::Record);
    let ticket = world.exchange.offer(lookup, 10 * MS).expect("taken");
    world.tick();
    world.pass(10 * MS);
    assert!(matches!(world.ended[&ticket], Outcome::NoAnswer { .. }));
    assert!(!world.closed.contains(&attempt), "a look-up may take long");
    world.receive(attempt, ticket, refused(ErrorCode::NotFound));
    assert!(!world.closed.contains(&attempt), "it was given up, and its answer is late");
}

#[test]
fn a_change_is_sent_once_and_a_look_until_it_is_answered() {
    let (list, of) = (ListFrame::empty(0), FrameKind::ListState);
    let anybody = Caller::anybody();
    let state = || Body::ListState(ListStateReply::from(&ListStateFrame::empty(0)));
    for (request, again) in
        [(Request::once(&anybody, &list, of), 0), (Request::repeatable(&anybody, &list, of), 1)]
    {
        let mut world = World::new(&["a:1"], 1, 10);
        let first = world.answer_dial(primary());
        // One that a node refuses because it is none that may is not done: it goes to the next.
        let ticket = world.exchange.offer(request, DEADLINE_NS).expect("taken");
        world.tick();
        world.receive(first, ticket, refused(ErrorCode::NotPrimary));
        world.pass(MS);
        let second = world.answer_dial(primary());
        assert_eq!(world.sent_on(second), [ticket]);
        world.exchange.lost(second, "reset".to_owned(), world.now_ns);
        world.pass(500 * MS);
        let third = world.answer_dial(primary());
        assert_eq!(world.sent_on(third).len(), again);
        if again == 0 {
            let lost = Outcome::NoAnswer {
                detail: "the connection was lost before the node said what came of it".to_owned(),
                in_doubt: true,
            };
            assert_eq!(world.ended[&ticket], lost);
        } else {
            world.receive(third, ticket, state());
            assert_eq!(world.ended[&ticket], Outcome::Answer(Box::new(state())));
        }
    }
}

#[test]
fn nobody_waits_for_a_node_that_never_takes_this_gateway() {
    let mut world = World::new(&["a:1"], 2, 10);
    let ticket = world.offer("1");
    world.answer_dial(Err(DialError::Refused(refusal(ErrorCode::Unauthenticated, true))));
    assert!(matches!(&world.ended[&ticket], Outcome::Refused { error, .. }
        if error.code == ErrorCode::Unauthenticated));
    let later = world.offer("2");
    assert!(world.ended.contains_key(&later));
}

/// One step of a made-up history.
#[derive(Debug, Clone)]
enum Step {
    Offer,
    Pass(u64),
    Dialled(usize, u8),
    Answer(usize, u8),
    Lost(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Offer),
        2 => (0..900u64).prop_map(|ms| Step::Pass(ms * MS)),
        3 => (any::<usize>(), 0..6u8).prop_map(|(which, what)| Step::Dialled(which, what)),
        5 => (any::<usize>(), 0..8u8).prop_map(|(which, what)| Step::Answer(which, what)),
        1 => any::<usize>().prop_map(Step::Lost),
    ]
}

proptest! {
    /// Whatever comes: each request ends once, and no later than at its deadline; what waits is bounded; and
    /// nothing wakes at once, again and again.
    #[test]
    fn each_request_ends_once_whatever_comes(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new(&["a:1", "b:1"], 2, 8);
        let mut offered = BTreeMap::new();
        for step in steps {
            match step {
                Step::Offer => {
                    let (request, deadline_ns) = (submit(world.now_ns, "x"), world.now_ns + DEADLINE_NS);
                    if let Ok(ticket) = world.exchange.offer(request, deadline_ns) {
                        offered.insert(ticket, deadline_ns);
                    }
                }
                Step::Pass(ns) => world.now_ns += ns,
                Step::Dialled(which, what) if !world.dials.is_empty() => {
                    let (attempt, _) = world.dials.swap_remove(which % world.dials.len());
                    let came = match what {
                        0 => down(),
                        1 => standby("b:1"),
                        2 => Err(DialError::Refused(refusal(ErrorCode::Overloaded, true))),
                        epoch => Ok(welcome(Role::Primary, epoch.into(), 3, "")),
                    };
                    world.exchange.dialled(attempt, came, world.now_ns);
                }
                Step::Answer(which, what) if !world.sent.is_empty() => {
                    let (attempt, ticket, _) = world.sent[which % world.sent.len()];
                    let body = match what {
                        0 => refused(ErrorCode::NotPrimary),
                        1 => refused(ErrorCode::Unconfirmed),
                        2 => Body::Error(refusal(ErrorCode::BadFrame, true)),
                        3 => Body::Pong { server_time_ns: 1 },
                        _ => decided(),
                    };
                    world.exchange.received(attempt, ticket, body, world.now_ns);
                }
                Step::Lost(which) if !world.sent.is_empty() => {
                    let (attempt, ..) = world.sent[which % world.sent.len()];
                    world.exchange.lost(attempt, "reset".to_owned(), world.now_ns);
                }
                Step::Dialled(..) | Step::Answer(..) | Step::Lost(_) => {}
            }
            world.tick();
            prop_assert!(world.exchange.unanswered() <= 8);
            for (ticket, deadline_ns) in &offered {
                prop_assert!(*deadline_ns > world.now_ns || world.ended.contains_key(ticket));
            }
            // What can be done now was done: nothing wakes at once, again and again.
            world.tick();
            world.tick();
            prop_assert!(world.exchange.next_wake() > world.now_ns);
        }
    }
}
