//! Questions of the same key, and retries.

use super::*;

#[test]
fn one_attempt_is_for_all_of_a_key() {
    let mut desk = Desk::new(settings());
    for _ in 0..3 {
        desk.ask(1);
    }
    let attempt = desk.attempt();
    desk.on(40 * MS);
    desk.ask(1);
    desk.came(attempt, Outcome::Answer(5));
    let replies = desk.replies();
    assert_eq!(replies.len(), 4);
    for reply in &replies {
        let source = if reply.token == 1 { Source::Asked } else { Source::Joined };
        assert_eq!((reply.answer, reply.source, reply.attempts), (Ok(5), source, 1));
        assert_eq!(reply.waited_us, if reply.token == 4 { 0 } else { 40_000 });
    }
    desk.ask(1);
    desk.attempt();
}

#[test]
fn the_attempt_goes_on_for_those_whose_time_is_not_over() {
    let mut desk = Desk::new(settings());
    desk.ask_for(1, 50);
    let attempt = desk.attempt();
    desk.ask_for(1, 250);
    desk.on(50 * MS);
    assert_eq!(desk.outcomes(), [(1, Err(Why::Deadline), Source::Asked)]);
    desk.on(50 * MS);
    desk.came(attempt, Outcome::Answer(5));
    assert_eq!(desk.outcomes(), [(2, Ok(5), Source::Joined)]);
}

#[test]
fn what_has_come_before_the_clock_was_looked_at_is_late_only_for_those_who_were_over() {
    let mut desk = Desk::new(settings());
    desk.ask_for(1, 50);
    desk.ask_for(1, 500);
    let attempt = desk.attempt();
    desk.now_ns += 400 * MS;
    desk.came(attempt, Outcome::Answer(5));
    let expected = [(1, Err(Why::Deadline), Source::Asked), (2, Ok(5), Source::Joined)];
    assert_eq!(desk.outcomes(), expected);
}

#[test]
fn a_failure_is_tried_again_for_those_who_have_attempts_and_time_left() {
    let mut desk = Desk::new(settings());
    desk.ask(1);
    let first = desk.attempt();
    desk.came(first, RETRYABLE);
    assert!(desk.replies().is_empty());
    desk.on(25 * MS);
    let second = desk.attempt();
    // This one has an attempt left, but there were no other first attempts to pay for it.
    desk.ask(1);
    assert!(desk.effects().is_empty());
    desk.came(second, RETRYABLE);
    let replies = desk.replies();
    let told: Vec<_> =
        replies.iter().map(|reply| (reply.token, reply.answer, reply.attempts)).collect();
    assert_eq!(told, [(1, Err(Why::Failed), 2), (2, Err(Why::Failed), 1)]);
    assert_eq!(desk.status().counters.unaffordable, 1);
}

#[test]
fn who_joins_the_last_attempt_of_others_has_another_one() {
    let mut desk = Desk::new(settings());
    for key in 100..110 {
        desk.asked_and_came(key, Outcome::Answer(1), 0);
    }
    desk.ask(1);
    let first = desk.attempt();
    desk.came(first, RETRYABLE);
    desk.on(25 * MS);
    let second = desk.attempt();
    desk.ask(1);
    let follower = desk.tokens;
    desk.came(second, RETRYABLE);
    assert_eq!(desk.reply().attempts, 2, "the first one has had its attempts");
    desk.on(50 * MS);
    let effects = desk.effects();
    let [Effect::Attempt { attempt: third, token, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(token, follower, "it is asked for who waits");
    desk.came(third, Outcome::Answer(5));
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.source, reply.attempts), (Ok(5), Source::Joined, 2));
}

#[test]
fn time_outs_are_cancelled_and_tried_again() {
    let mut desk = Desk::new(settings());
    desk.ask(1);
    let first = desk.attempt();
    desk.on(300 * MS);
    assert_eq!(desk.effects(), [Effect::Cancel { attempt: first }]);
    desk.on(25 * MS);
    let second = desk.attempt();
    desk.came(first, Outcome::Answer(7));
    assert!(desk.effects().is_empty(), "it was cancelled");
    desk.on(300 * MS);
    let effects = desk.effects();
    assert_eq!(effects[0], Effect::Cancel { attempt: second });
    let Effect::Reply(reply) = effects[1] else { panic!("{effects:?}") };
    assert_eq!((reply.answer, reply.attempts), (Err(Why::Timeout), 2));
    assert_eq!(desk.status().counters.timeouts, 2);
    let last_error_ns = desk.status().last_error.map(|(_, at_ns)| at_ns).unwrap();
    assert_eq!((last_error_ns - S) / 1_000, u64::from(reply.waited_us));
}

#[test]
fn what_another_attempt_would_meet_as_well_is_not_tried_again() {
    let mut desk = Desk::new(settings());
    let replies = desk.asked_and_came(1, Outcome::Final, MS);
    assert_eq!((replies[0].answer, replies[0].attempts), (Err(Why::Failed), 1));
    assert_eq!(desk.status().retrying, 0);
}

#[test]
fn an_attempt_starts_only_if_it_fits() {
    let mut desk = Desk::new(settings());
    for key in 100..130 {
        desk.asked_and_came(key, Outcome::Answer(1), 200 * MS);
    }
    let need_ns = desk.status().most_take_ns;
    assert!((160 * MS..=200 * MS).contains(&need_ns), "{need_ns}");
    desk.ask_for(1, 150);
    assert_eq!(desk.reply().answer, Err(Why::Deadline));
    // A first attempt fits, and no second one.
    desk.ask_for(1, 300);
    let attempt = desk.attempt();
    desk.on(150 * MS);
    desk.came(attempt, RETRYABLE);
    assert_eq!(desk.reply().answer, Err(Why::Failed));
    // It is known for a while, and then tried again.
    desk.on(60 * S);
    desk.ask_for(1, 150);
    desk.attempt();
}

#[test]
fn what_fails_says_nothing_of_how_long_an_answer_takes() {
    let mut desk = Desk::new(Settings { attempts: 1, ..settings() });
    desk.force(Some(Forced::Closed));
    for key in 0..30 {
        desk.effects();
        desk.asked_and_came(key, Outcome::Answer(1), 10 * MS);
        desk.ask(1_000 + key);
        desk.on(300 * MS);
    }
    desk.effects();
    assert_eq!(desk.status().counters.timeouts, 30);
    desk.ask_for(1, 20);
    desk.attempt();
}

#[test]
fn who_has_no_time_for_a_retry_is_told_at_once_and_the_others_are_not() {
    let mut desk = Desk::new(settings());
    for key in 100..130 {
        desk.asked_and_came(key, Outcome::Answer(1), 200 * MS);
    }
    desk.ask_for(1, 260);
    let attempt = desk.attempt();
    desk.ask_for(1, 800);
    desk.on(150 * MS);
    desk.came(attempt, RETRYABLE);
    assert_eq!(desk.reply().answer, Err(Why::Failed));
    desk.on(25 * MS);
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Answer(1));
    assert_eq!(desk.reply().attempts, 2);
}

#[test]
fn a_retry_waits_as_long_as_the_service_wants_or_is_left_out() {
    let after = |ms: u64| Outcome::Retryable { retry_after_ns: Some(ms * MS) };
    let mut desk = Desk::new(settings());
    desk.ask(1);
    let attempt = desk.attempt();
    desk.came(attempt, after(500));
    desk.ask_for(2, 400);
    assert_eq!(desk.reply().answer, Err(Why::RateLimited), "it holds for other keys as well");
    desk.on(500 * MS - 1);
    assert!(desk.effects().is_empty());
    desk.on(25 * MS + 1);
    let attempt = desk.attempt();
    desk.came(attempt, Outcome::Answer(1));
    assert_eq!(desk.reply().answer, Ok(1));

    desk.on(20 * S);
    desk.ask(3);
    let attempt = desk.attempt();
    desk.came(attempt, after(900));
    assert_eq!(desk.reply().answer, Err(Why::Failed), "that does not fit");
    desk.on(S);
    desk.ask(3);
    let attempt = desk.attempt();
    desk.came(attempt, after(u64::MAX / MS));
    desk.effects();
    desk.on(8 * S);
    desk.ask(3);
    desk.attempt();
}

#[test]
fn retries_are_a_fifth_of_what_is_asked() {
    let mut desk = Desk::new(Settings { attempts: 5, ..settings() });
    desk.force(Some(Forced::Closed));
    desk.effects();
    for key in 0..2_000 {
        desk.ask(key);
        for _ in 0..100 {
            desk.on(MS);
            for attempt in desk.attempts() {
                desk.came(attempt, RETRYABLE);
            }
        }
    }
    let counters = desk.status().counters;
    let seconds = 2_000 * 100 / 1_000;
    assert!(counters.retries <= 400 + seconds / 10 + 1, "{counters:?}");
    assert!(counters.retries >= 400, "{counters:?}");
    assert_eq!(counters.attempts, 2_000 + counters.retries);
}

#[test]
fn back_off_is_drawn_from_the_whole_range() {
    let mut desk = Desk::new(settings());
    let mut pauses_ms = std::collections::BTreeSet::new();
    for key in 0..100 {
        desk.on(11 * S);
        desk.asked_and_came(1_000 + key, Outcome::Answer(1), 0);
        desk.ask(key);
        let attempt = desk.attempt();
        desk.came(attempt, RETRYABLE);
        let begun_ns = desk.now_ns;
        let wake_ns = desk.asker.next_wake_ns().unwrap();
        desk.on(wake_ns.max(begun_ns + 1) - begun_ns);
        let attempt = desk.attempt();
        desk.came(attempt, Outcome::Answer(1));
        pauses_ms.insert((wake_ns - begun_ns) / MS);
        desk.effects();
    }
    assert!(*pauses_ms.first().unwrap() <= 2 && *pauses_ms.last().unwrap() >= 22, "{pauses_ms:?}");
    assert!(*pauses_ms.last().unwrap() <= 25 && pauses_ms.len() > 15, "{pauses_ms:?}");
}
