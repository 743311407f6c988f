//! The cache that nodes share.

use super::*;

fn shared_settings() -> Settings {
    Settings {
        cache: Caching { good_s: 60, negative_s: 10, stale_s: 600, error_ms: 0 },
        shared: Some(SharedSettings { timeout_ms: 5 }),
        ..settings()
    }
}

const ANSWER: SharedAnswer =
    SharedAnswer { answer: 7, age_ns: 20 * S, good_for_ns: 30 * S, stale_for_ns: 600 * S };

/// Begins a look by a question.
fn look(desk: &mut Desk, key: u128) -> LookId {
    desk.ask(key);
    let looks = desk.looks();
    assert_eq!(looks.len(), 1, "one look");
    looks[0]
}

#[test]
fn an_answer_of_it_is_taken_and_kept() {
    let mut desk = Desk::new(shared_settings());
    let look = look(&mut desk, 1);
    desk.on(2 * MS);
    desk.looked(look, Looked::Found(ANSWER));
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.source), (Ok(7), Source::Shared));
    assert_eq!((reply.age_ms, reply.good_for_ns), (20_000, 30 * S));
    assert_eq!((reply.attempts, reply.waited_us), (0, 2_000));
    // Kept here: nobody looks again.
    desk.on(S);
    desk.ask(1);
    let reply = desk.reply();
    assert_eq!((reply.source, reply.age_ms), (Source::Cache, 21_000));
    let shared = desk.status().shared.unwrap();
    assert_eq!((shared.counters.looks, shared.counters.found, shared.looking), (1, 1, 0));
}

#[test]
fn all_that_wait_for_a_look_are_answered_by_it() {
    let mut desk = Desk::new(shared_settings());
    let look = look(&mut desk, 1);
    desk.ask(1);
    assert_eq!(desk.looks(), [], "one look for a key");
    desk.looked(look, Looked::Found(ANSWER));
    let shared = Source::Shared;
    assert_eq!(desk.outcomes(), [(1, Ok(7), shared), (2, Ok(7), shared)]);
}

#[test]
fn what_it_does_not_know_is_asked_and_put_into_it() {
    let mut desk = Desk::new(shared_settings());
    for looked in [Looked::Nothing, Looked::Failed] {
        let key = u128::from(matches!(looked, Looked::Failed));
        let look = look(&mut desk, key);
        desk.ask(key);
        desk.looked(look, looked);
        let attempt = desk.attempt();
        desk.came(attempt, Outcome::Answer(3));
        let effects = desk.effects();
        assert!(matches!(effects[0], Effect::Fill { answer: 3, is_shared: true, .. }));
        assert_eq!(effects.len(), 3, "and two replies: {effects:?}");
    }
}

#[test]
fn a_look_that_takes_too_long_costs_its_time_and_no_more() {
    let mut desk = Desk::new(shared_settings());
    let look = look(&mut desk, 1);
    desk.on(4 * MS);
    assert_eq!(desk.effects(), []);
    desk.on(MS);
    let attempt = desk.attempt();
    // It comes to something after all: that is not listened to.
    desk.looked(look, Looked::Found(ANSWER));
    assert_eq!(desk.effects(), []);
    desk.came(attempt, Outcome::Answer(3));
    assert_eq!(desk.outcomes(), [(1, Ok(3), Source::Asked)]);
    assert_eq!(desk.status().shared.unwrap().counters.timeouts, 1);
}

#[test]
fn no_look_takes_the_time_of_an_attempt() {
    let mut desk = Desk::new(shared_settings());
    // What answers take becomes known.
    for key in 0..20 {
        let look = look(&mut desk, 1_000 + key);
        desk.looked(look, Looked::Nothing);
        let attempt = desk.attempt();
        desk.on(100 * MS);
        desk.came(attempt, Outcome::Answer(3));
    }
    desk.effects();
    let need_ms = desk.status().most_take_ns.div_ceil(MS);
    desk.ask_for(1, need_ms + 4);
    let effects = desk.effects();
    assert!(matches!(effects[..], [Effect::Attempt { .. }]), "{effects:?}");
    desk.ask_for(2, need_ms + 6);
    let effects = desk.effects();
    assert!(matches!(effects[..], [Effect::Look { .. }]), "{effects:?}");
}

#[test]
fn it_is_looked_into_while_the_validator_fails() {
    let mut desk = Desk::new(shared_settings());
    for key in 100..110 {
        let nothing = look(&mut desk, key);
        desk.looked(nothing, Looked::Nothing);
        let attempt = desk.attempt();
        desk.came(attempt, Outcome::Final);
        desk.effects();
    }
    assert_eq!(desk.status().breaker, BreakerState::Open);
    let found = look(&mut desk, 1);
    desk.looked(found, Looked::Found(ANSWER));
    assert_eq!(desk.outcomes(), [(11, Ok(7), Source::Shared)]);
    let nothing = look(&mut desk, 2);
    desk.looked(nothing, Looked::Nothing);
    assert_eq!(desk.outcomes(), [(12, Err(Why::BreakerOpen), Source::Asked)]);
    // But not where a person has it left alone.
    desk.force(Some(Forced::Open));
    desk.effects();
    desk.ask(3);
    assert_eq!(desk.outcomes(), [(13, Err(Why::ForcedOpen), Source::Asked)]);
}

#[test]
fn a_stale_answer_of_it_is_taken_where_there_is_no_other() {
    let mut desk = Desk::new(shared_settings());
    let stale = SharedAnswer { age_ns: 70 * S, good_for_ns: 0, ..ANSWER };
    let first = look(&mut desk, 1);
    desk.looked(first, Looked::Found(stale));
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Final);
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.source, reply.age_ms), (Ok(7), Source::Stale, 70_000));
    assert_eq!((reply.good_for_ns, reply.attempts), (0, 1));
}

#[test]
fn an_answer_of_it_is_good_no_longer_than_one_that_came_here() {
    let mut desk = Desk::new(shared_settings());
    let first = look(&mut desk, 1);
    let forever = SharedAnswer { good_for_ns: u64::MAX, stale_for_ns: u64::MAX, ..ANSWER };
    desk.looked(first, Looked::Found(forever));
    assert_eq!(desk.reply().good_for_ns, 40 * S, "60 s, of which 20 are over");
    // A negative one has a time of its own, which is over.
    let second = look(&mut desk, 2);
    desk.looked(second, Looked::Found(SharedAnswer { answer: 404, ..forever }));
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Answer(404));
    assert_eq!(desk.outcomes(), [(2, Ok(404), Source::Asked)]);
    // One that is older than this policy keeps any.
    let third = look(&mut desk, 3);
    desk.looked(third, Looked::Found(SharedAnswer { age_ns: 661 * S, ..forever }));
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Final);
    assert_eq!(desk.outcomes(), [(3, Err(Why::Failed), Source::Asked)]);
}

#[test]
fn one_that_fails_is_left_alone_for_a_while() {
    let mut desk = Desk::new(shared_settings());
    for key in 0..10 {
        let look = look(&mut desk, key);
        desk.looked(look, Looked::Failed);
        let attempt = desk.attempt();
        desk.came(attempt, Outcome::Answer(3));
        desk.effects();
    }
    let shared = desk.status().shared.unwrap();
    assert_eq!((shared.breaker, shared.counters.opened), (BreakerState::Open, 1));
    // The validator is asked at once, and what it says goes nowhere.
    desk.ask(100);
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Answer(3));
    assert!(matches!(desk.effects()[0], Effect::Fill { is_shared: false, .. }));
    assert_eq!(desk.status().breaker, BreakerState::Closed, "the validator's own");
    // One look probes, others do not wait for it.
    desk.on(2 * S);
    let probe = look(&mut desk, 101);
    desk.ask(102);
    let attempt = desk.attempt();
    desk.looked(probe, Looked::Nothing);
    let closed = desk.effects().into_iter().any(
        |effect| matches!(effect, Effect::ToldShared(change) if change.now == BreakerState::Closed),
    );
    assert!(closed);
    desk.came(attempt, Outcome::Answer(3));
    desk.effects();
    look(&mut desk, 103);
}

#[test]
fn without_caching_it_is_not_looked_into() {
    let cache = Caching { good_s: 0, negative_s: 0, stale_s: 0, error_ms: 0 };
    let mut desk = Desk::new(Settings { cache, ..shared_settings() });
    desk.ask(1);
    assert!(matches!(desk.effects()[..], [Effect::Attempt { .. }]));
}

#[test]
fn looks_are_bounded_and_end_with_the_rest() {
    let limits = Limits { in_flight: 4, queue: 10, ..settings().limits };
    let mut desk = Desk::new(Settings { limits, ..shared_settings() });
    for key in 0..MAX_LOOKS as u128 {
        look(&mut desk, key);
    }
    desk.ask(u128::MAX);
    assert!(matches!(desk.effects()[..], [Effect::Attempt { .. }]), "it is asked without a look");
    assert_eq!(desk.status().shared.unwrap().looking, MAX_LOOKS);
    desk.asker.stop(&mut desk.effects);
    assert_eq!(desk.replies().len(), MAX_LOOKS + 1);
    assert_eq!(desk.status().shared.unwrap().looking, 0);
}
