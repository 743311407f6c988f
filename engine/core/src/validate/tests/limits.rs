//! Places, the queue, and tokens.

use super::*;

fn limited(limits: Limits) -> Desk {
    Desk::new(Settings { limits, attempts: 1, ..settings() })
}

#[test]
fn so_many_are_under_way_so_many_wait_and_the_others_are_told_at_once() {
    let mut desk = Desk::new(settings());
    for key in 0..4 {
        desk.ask(key);
    }
    let attempts = desk.attempts();
    assert_eq!(attempts.len(), 4);
    for key in 4..8 {
        desk.ask(key);
    }
    assert!(desk.effects().is_empty());
    desk.ask(8);
    assert_eq!(desk.reply().answer, Err(Why::QueueFull));
    // What waits already is joined.
    desk.ask(7);
    assert!(desk.effects().is_empty());
    desk.came(attempts[0], Outcome::Answer(0));
    let effects = desk.effects();
    assert!(
        matches!(effects[..], [Effect::Reply(_), Effect::Attempt { key: 4, .. }]),
        "{effects:?}"
    );
    let status = desk.status();
    assert_eq!((status.in_flight, status.queued, status.waiting), (4, 3, 8));
}

#[test]
fn who_waits_in_the_queue_keeps_their_deadline() {
    let mut desk = limited(Limits { in_flight: 1, ..settings().limits });
    desk.ask(1);
    let attempt = desk.attempt();
    desk.ask_for(2, 50);
    desk.ask_for(3, 250);
    desk.on(50 * MS);
    assert_eq!(desk.outcomes(), [(2, Err(Why::Deadline), Source::Asked)]);
    assert_eq!(desk.status().queued, 1);
    desk.came(attempt, Outcome::Answer(0));
    let effects = desk.effects();
    assert!(matches!(effects[1], Effect::Attempt { key: 3, .. }), "{effects:?}");
}

#[test]
fn what_no_longer_fits_when_its_turn_comes_is_not_asked() {
    let mut desk = limited(Limits { in_flight: 1, ..settings().limits });
    for key in 100..130 {
        desk.asked_and_came(key, Outcome::Answer(1), 200 * MS);
    }
    desk.ask(1);
    let attempt = desk.attempt();
    desk.ask_for(2, 280);
    desk.ask_for(3, 700);
    desk.on(200 * MS);
    desk.came(attempt, Outcome::Answer(0));
    let effects = desk.effects();
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Reply(reply) if reply.answer.is_err() => Some(reply.answer),
        _ => None,
    });
    assert_eq!(told, Some(Err(Why::Deadline)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Attempt { key: 3, .. })));
}

#[test]
fn what_waits_in_the_queue_is_asked_as_long_as_it_fits_for_anybody() {
    let mut desk = limited(Limits { in_flight: 1, ..settings().limits });
    for key in 100..130 {
        desk.asked_and_came(key, Outcome::Answer(1), 200 * MS);
    }
    desk.ask(1);
    let attempt = desk.attempt();
    desk.ask_for(2, 280);
    let last = desk.ask_for(2, 700);
    desk.on(200 * MS);
    desk.came(attempt, Outcome::Answer(0));
    let effects = desk.effects();
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Attempt { key: 2, token, .. } => Some(*token),
        _ => None,
    });
    assert_eq!(asked, Some(last));
}

#[test]
fn attempts_wait_for_tokens_in_turn() {
    let mut desk = limited(Limits { per_second: 10, burst: 2, queue: 100, ..settings().limits });
    for key in 0..10 {
        desk.ask(key);
    }
    // Two at once, eight in 800 ms, of which the last is too late by nothing.
    let attempts = desk.attempts();
    assert_eq!(attempts.len(), 2);
    desk.ask(10);
    assert_eq!(desk.reply().answer, Err(Why::RateLimited), "its token would be too late");
    for attempt in attempts {
        desk.came(attempt, Outcome::Answer(0));
    }
    for _ in 0..7 {
        desk.on(100 * MS);
        let attempt = desk.attempt();
        desk.came(attempt, Outcome::Answer(0));
        desk.effects();
    }
}

#[test]
fn a_negative_answer_is_paid_for_afterwards() {
    let limits = Limits { per_second: 10, burst: 5, negative_cost: 20, ..settings().limits };
    let mut desk = limited(limits);
    desk.asked_and_came(1, Outcome::Answer(1), 0);
    assert_eq!(desk.status().tokens, Some(4));
    desk.asked_and_came(2, Outcome::Answer(404), 0);
    assert_eq!(desk.status().tokens, Some(-16));
    desk.ask(3);
    assert_eq!(desk.reply().answer, Err(Why::RateLimited), "1,700 ms for one of 800");
    desk.on(S);
    desk.ask(3);
    assert!(desk.effects().is_empty());
    desk.on(700 * MS);
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Answer(1));
    assert_eq!(desk.reply().answer, Ok(1));
    desk.on(100 * S);
    assert_eq!(desk.status().tokens, Some(5));
}

#[test]
fn who_waits_for_a_token_that_is_spent_meanwhile_is_told_why() {
    let limits = Limits { per_second: 10, burst: 1, negative_cost: 20, ..settings().limits };
    let mut desk = limited(limits);
    desk.ask(1);
    let attempt = desk.attempt();
    desk.ask(2);
    desk.came(attempt, Outcome::Answer(404));
    desk.effects();
    desk.on(800 * MS);
    assert_eq!(desk.reply().answer, Err(Why::RateLimited));
}

#[test]
fn no_more_wait_than_there_is_room_for() {
    let mut desk = Desk::new(settings());
    for _ in 0..MAX_WAITING {
        desk.ask(1);
    }
    desk.effects();
    desk.ask(1);
    assert_eq!(desk.reply().answer, Err(Why::QueueFull));
    desk.ask(2);
    assert_eq!(desk.reply().answer, Err(Why::QueueFull));
    desk.on(800 * MS);
    assert_eq!(desk.replies().len(), MAX_WAITING);
    desk.ask(2);
    desk.attempt();
}
