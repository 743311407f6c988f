//! What is kept, and how long.

use super::*;

const NEVER: Caching = Caching { good_s: 0, negative_s: 0, stale_s: 0, error_ms: 0 };

fn keeping(cache: Caching) -> Desk {
    Desk::new(Settings { cache, attempts: 1, ..settings() })
}

/// For how long an answer of now is told to be good.
fn good_for_ns(desk: &mut Desk, key: u128, answer: i64) -> u64 {
    desk.ask(key);
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Answer(answer));
    let effects = desk.effects();
    let Effect::Fill { good_for_ns, answer: filled, .. } = effects[0] else {
        panic!("it is kept: {effects:?}")
    };
    let Effect::Reply(reply) = effects[1] else { panic!("it is told: {effects:?}") };
    assert_eq!((reply.answer, reply.good_for_ns), (Ok(answer), good_for_ns));
    assert_eq!((filled, reply.source, reply.attempts), (answer, Source::Asked, 1));
    good_for_ns
}

#[test]
fn an_answer_is_good_for_its_time_less_up_to_a_tenth() {
    let mut desk = keeping(Caching { good_s: 100, negative_s: 10, ..NEVER });
    let mut different = std::collections::BTreeSet::new();
    for key in 0..50 {
        let good_for_ns = good_for_ns(&mut desk, key, 1);
        assert!((90 * S..=100 * S).contains(&good_for_ns), "{good_for_ns}");
        different.insert(good_for_ns);
        let negative_for_ns = self::good_for_ns(&mut desk, 1_000 + key, 404);
        assert!((9 * S..=10 * S).contains(&negative_for_ns), "{negative_for_ns}");
    }
    assert!(different.len() > 40, "they do not end together");
}

#[test]
fn a_good_answer_is_taken_with_its_age_and_no_longer() {
    let mut desk = keeping(Caching { good_s: 100, ..NEVER });
    let good_for_ns = good_for_ns(&mut desk, 1, 5);
    desk.on(good_for_ns - 1);
    desk.ask(1);
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.source, reply.attempts), (Ok(5), Source::Cache, 0));
    assert_eq!(u64::from(reply.age_ms), (good_for_ns - 1) / MS);
    assert_eq!(reply.good_for_ns, 1);
    desk.on(1);
    desk.ask(1);
    desk.attempt();
}

#[test]
fn an_answer_that_is_not_kept_is_for_the_payment_alone() {
    let mut desk = keeping(NEVER);
    let replies = desk.asked_and_came(1, Outcome::Answer(5), MS);
    assert_eq!((replies[0].answer, replies[0].good_for_ns), (Ok(5), 0));
    assert_eq!(desk.status().cached, 0);
    desk.ask(1);
    desk.attempt();
}

#[test]
fn a_stale_answer_is_taken_whatever_the_reason_that_there_is_no_other() {
    let mut desk = keeping(Caching { stale_s: 1_000, ..NEVER });
    desk.asked_and_came(1, Outcome::Answer(5), 0);
    desk.on(2 * S);
    let stale = |reply: Reply, age_ms| {
        assert_eq!((reply.answer, reply.source), (Ok(5), Source::Stale));
        assert_eq!((reply.age_ms, reply.good_for_ns), (age_ms, 0));
    };
    stale(desk.asked_and_came(1, RETRYABLE, 0)[0], 2_000);
    stale(desk.asked_and_came(1, Outcome::Final, 0)[0], 2_000);
    // Its own deadline.
    desk.ask_for(1, 100);
    desk.on(100 * MS);
    stale(desk.reply(), 2_100);
    desk.on(S);
    desk.force(Some(Forced::Open));
    desk.effects();
    desk.ask(1);
    stale(desk.reply(), 3_100);
    desk.on(1_000 * S);
    desk.ask(1);
    assert_eq!(desk.reply().answer, Err(Why::ForcedOpen), "that is too old");
}

#[test]
fn that_there_was_no_answer_is_kept_for_a_moment_only() {
    let mut desk = keeping(Caching { good_s: 100, error_ms: 100, ..NEVER });
    desk.asked_and_came(1, RETRYABLE, 0);
    desk.on(89 * MS);
    desk.ask(1);
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.source), (Err(Why::Failed), Source::Cache));
    desk.ask(2);
    desk.attempt();
    desk.on(11 * MS);
    desk.ask(1);
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Answer(3));
    desk.effects();
    desk.ask(1);
    assert_eq!(desk.reply().answer, Ok(3));
}

#[test]
fn an_answer_that_is_late_for_all_is_kept_and_replied_to_nobody() {
    let mut desk = keeping(Caching { good_s: 100, ..NEVER });
    desk.ask_for(1, 50);
    let attempt = desk.attempt();
    desk.on(50 * MS);
    assert_eq!(desk.reply().answer, Err(Why::Deadline));
    desk.on(50 * MS);
    desk.came(attempt, Outcome::Answer(5));
    let effects = desk.effects();
    assert!(matches!(effects[..], [Effect::Fill { key: 1, answer: 5, .. }]), "{effects:?}");
    assert_eq!(desk.status().counters.late, 1);
    desk.ask(1);
    assert_eq!(desk.reply().source, Source::Cache);
}

#[test]
fn a_hot_answer_is_asked_for_anew_by_one_attempt_and_nobody_waits() {
    let mut desk = keeping(Caching { good_s: 100, ..NEVER });
    let good_for_ns = good_for_ns(&mut desk, 1, 5);
    self::good_for_ns(&mut desk, 2, 6);
    for _ in 0..3 {
        desk.ask(1);
    }
    desk.on(good_for_ns * 9 / 10 - S);
    desk.ask(1);
    assert_eq!(desk.attempts().len(), 0, "it is good for long yet");
    desk.on(2 * S);
    let token = desk.ask(1);
    let effects = desk.effects();
    let [Effect::Attempt { attempt, key: 1, token: of, .. }, Effect::Reply(reply)] = effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((of, reply.token, reply.source), (token, token, Source::Cache));
    for _ in 0..20 {
        desk.ask(1);
    }
    let outcomes = desk.outcomes();
    assert!(
        outcomes.iter().all(|(_, answer, source)| (*answer, *source) == (Ok(5), Source::Cache))
    );
    assert_eq!(outcomes.len(), 20);
    desk.ask(2);
    assert_eq!(desk.attempts().len(), 0, "that one is not hot");
    desk.came(attempt, Outcome::Answer(7));
    desk.effects();
    desk.ask(1);
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.age_ms), (Ok(7), 0));
    assert_eq!(desk.status().counters.refreshes, 1);
}

#[test]
fn an_answer_that_is_hot_in_a_cache_in_front_is_kept_warm_once() {
    let mut desk = keeping(Caching { good_s: 100, stale_s: 100, ..NEVER });
    let good_for_ns = good_for_ns(&mut desk, 1, 5);
    let keep_warm = |desk: &mut Desk, key| {
        desk.asker.keep_warm(key, 70, desk.now_ns, &mut desk.effects);
        desk.effects()
    };
    assert_eq!(keep_warm(&mut desk, 1), [], "it is good for long yet");
    assert_eq!(keep_warm(&mut desk, 2), [], "there is no answer");
    desk.on(good_for_ns - good_for_ns / 100 * REFRESH_PERCENT);
    let effects = keep_warm(&mut desk, 1);
    let [Effect::Attempt { attempt, key: 1, token: 70, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(keep_warm(&mut desk, 1), []);
    desk.came(attempt, Outcome::Answer(6));
    let effects = desk.effects();
    assert!(matches!(effects[..], [Effect::Fill { key: 1, answer: 6, .. }]), "{effects:?}");
    desk.on(100 * S);
    assert_eq!(keep_warm(&mut desk, 1), [], "a stale one has nothing to keep warm");
}

#[test]
fn a_refresh_that_fails_is_not_tried_again_and_harms_nobody() {
    let mut desk = keeping(Caching { good_s: 100, error_ms: 60_000, ..NEVER });
    let good_for_ns = good_for_ns(&mut desk, 1, 5);
    for _ in 0..3 {
        desk.ask(1);
    }
    desk.on(good_for_ns - S);
    desk.effects();
    desk.ask(1);
    let attempt = desk.attempt();
    desk.came(attempt, RETRYABLE);
    desk.ask(1);
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.source), (Ok(5), Source::Cache));
    desk.on(S);
    desk.ask(1);
    assert_eq!(desk.reply().answer, Err(Why::Failed), "kept, as any error is");
}

#[test]
fn who_comes_when_the_answer_has_ended_joins_its_refresh() {
    let mut desk = keeping(Caching { good_s: 100, ..NEVER });
    let good_for_ns = good_for_ns(&mut desk, 1, 5);
    for _ in 0..3 {
        desk.ask(1);
    }
    desk.on(good_for_ns - MS);
    desk.effects();
    desk.ask(1);
    let attempt = desk.attempt();
    desk.on(MS);
    desk.ask(1);
    assert!(desk.effects().is_empty());
    desk.came(attempt, Outcome::Answer(6));
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.source, reply.attempts), (Ok(6), Source::Joined, 1));
}

#[test]
fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
    let mut desk =
        keeping(Caching { good_s: 0, stale_s: 1_000_000, negative_s: 0, error_ms: 60_000 });
    for key in 0..MAX_ANSWERS as u128 + 10 {
        desk.asked_and_came(key, Outcome::Answer(1), 1);
    }
    assert_eq!(desk.status().cached, MAX_ANSWERS);
    desk.force(Some(Forced::Open));
    desk.effects();
    for (key, expected) in [(9, Err(Why::ForcedOpen)), (10, Ok(1))] {
        desk.ask(key);
        assert_eq!(desk.reply().answer, expected, "key {key}");
    }
    desk.force(Some(Forced::Closed));
    desk.effects();
    for key in 0..MAX_ERRORS as u128 + 10 {
        desk.asked_and_came(1 << 100 | key, RETRYABLE, 1);
    }
    assert_eq!(desk.status().errors, MAX_ERRORS);
}
