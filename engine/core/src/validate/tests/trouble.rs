//! A validator that fails, a person who steps in, the end, and clocks.

use super::*;

/// One that has just opened, by ten failures.
fn opened(settings: Settings) -> Desk {
    let mut desk = Desk::new(Settings { attempts: 1, ..settings });
    for key in 0..10 {
        assert_eq!(desk.status().breaker, BreakerState::Closed);
        desk.asked_and_came(1_000 + key, RETRYABLE, MS);
    }
    assert_eq!(desk.status().breaker, BreakerState::Open);
    desk
}

#[test]
fn while_it_is_open_nothing_is_asked_and_then_one_probe_is() {
    let mut desk = opened(settings());
    assert_eq!(desk.status().counters.opened, 1);
    desk.ask(1);
    let reply = desk.reply();
    assert_eq!((reply.answer, reply.breaker), (Err(Why::BreakerOpen), BreakerState::Open));
    let open_until_ns = desk.status().open_until_ns.unwrap();
    desk.on(open_until_ns - desk.now_ns);
    assert_eq!(desk.status().breaker, BreakerState::HalfOpen);
    desk.effects();
    desk.ask(1);
    let probe = desk.attempt();
    for key in [1, 2] {
        desk.ask(key);
        assert_eq!(desk.reply().answer, Err(Why::BreakerOpen), "others are told at once");
    }
    desk.came(probe, Outcome::Answer(404));
    let effects = desk.effects();
    let [Effect::Reply(reply), Effect::Told(change)] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(reply.answer, Ok(404));
    assert_eq!(change.now, BreakerState::Closed, "a negative answer is an answer");
    desk.ask(2);
    desk.attempt();
}

/// A service that answers after 10 ms, and from 5 to 15 seconds not at all, asked so often; what came of each
/// question, by the second in which it was asked, and the attempts of each.
fn outage(every_us: u64) -> (Vec<Vec<Reply>>, Vec<u32>) {
    const SECONDS: usize = 30;
    let limits = Limits { in_flight: 64, queue: 1_000, ..settings().limits };
    let breaker = BreakerSettings { most_open_ms: 2_000, ..settings().breaker };
    let mut desk = Desk::new(Settings { limits, breaker, ..settings() });
    let (mut replies, mut attempts) = (vec![Vec::new(); SECONDS], vec![0; SECONDS]);
    let mut service = std::collections::VecDeque::new();
    let begun_ns = desk.now_ns;
    let second = |ns: u64| (((ns - begun_ns) / S) as usize).min(SECONDS - 1);
    for question in 0..SECONDS as u64 * 1_000_000 / every_us {
        desk.on(every_us * 1_000);
        while service.front().is_some_and(|(at_ns, _)| *at_ns <= desk.now_ns) {
            let (_, attempt) = service.pop_front().unwrap();
            desk.came(attempt, Outcome::Answer(1));
        }
        desk.ask(question.into());
        for effect in desk.effects() {
            match effect {
                Effect::Attempt { attempt, .. } => {
                    attempts[second(desk.now_ns)] += 1;
                    if !(5..15).contains(&second(desk.now_ns)) {
                        service.push_back((desk.now_ns + 10 * MS, attempt));
                    }
                }
                Effect::Reply(reply) => {
                    let waited_ns = u64::from(reply.waited_us) * 1_000;
                    replies[second(desk.now_ns - waited_ns)].push(reply);
                }
                _ => {}
            }
        }
    }
    (replies, attempts)
}

#[test]
fn an_outage_costs_few_attempts_and_ends_soon_after_it_is_over() {
    for every_us in [500, 20_000, 250_000] {
        let (replies, attempts) = outage(every_us);
        let answered = |second: usize| replies[second].iter().filter(|one| one.answer.is_ok());
        for second in (1..4).chain(18..29) {
            let all = replies[second].len();
            assert_eq!(answered(second).count(), all, "each {every_us} us, second {second}");
        }
        for second in 9..15 {
            assert_eq!(answered(second).count(), 0);
            let probed = attempts[second];
            assert!(probed <= 3, "each {every_us} us, second {second}: {probed} attempts");
            // The probe waits, and nobody else.
            let waited = replies[second].iter().filter(|reply| reply.waited_us > 0).count();
            assert!(waited <= 3, "each {every_us} us, second {second}: {waited} have waited");
        }
    }
}

#[test]
fn what_waits_when_it_opens_is_told_at_once() {
    let limits = Limits { in_flight: 10, queue: 20, ..settings().limits };
    let mut desk = Desk::new(Settings { limits, ..settings() });
    for key in 0..30 {
        desk.ask(key);
    }
    let attempts = desk.attempts();
    desk.came(attempts[0], RETRYABLE);
    assert_eq!((desk.attempts().len(), desk.status().retrying), (1, 1));
    for attempt in &attempts[1..] {
        desk.came(*attempt, Outcome::Final);
    }
    let status = desk.status();
    assert_eq!(status.breaker, BreakerState::Open);
    assert_eq!((status.queued, status.retrying), (0, 0));
    let outcomes = desk.outcomes();
    let told = |why| outcomes.iter().filter(|(_, answer, _)| *answer == Err(why)).count();
    // Of 20 in the queue 9 had started; and the one that was to be tried again.
    assert_eq!((told(Why::Failed), told(Why::BreakerOpen)), (9, 12));
    assert_eq!(outcomes[0], (1, Err(Why::BreakerOpen), Source::Asked));
    // What is under way goes on, for those who wait for it.
    assert_eq!((status.in_flight, status.waiting), (9, 9));
}

#[test]
fn an_answer_of_an_earlier_generation_is_kept_and_closes_nothing() {
    let cache = Caching { good_s: 100, ..settings().cache };
    let mut desk = Desk::new(Settings { attempts: 1, cache, ..settings() });
    desk.ask(1);
    let early = desk.attempt();
    for key in 0..10 {
        desk.asked_and_came(1_000 + key, Outcome::Final, MS);
    }
    desk.now_ns = desk.status().open_until_ns.unwrap();
    desk.asker.tick(desk.now_ns, &mut desk.effects);
    desk.effects();
    assert_eq!(desk.status().breaker, BreakerState::HalfOpen);
    // Its time was over meanwhile; the one that has not come to that is in the breaker's own tests.
    desk.came(early, Outcome::Answer(5));
    assert_eq!(desk.status().breaker, BreakerState::HalfOpen);

    let mut desk = Desk::new(Settings { attempts: 1, cache, ..settings() });
    desk.ask(1);
    let early = desk.attempt();
    desk.force(Some(Forced::Open));
    desk.effects();
    desk.came(early, Outcome::Answer(5));
    assert_eq!(desk.reply().answer, Ok(5));
    desk.ask(1);
    assert_eq!(desk.reply().source, Source::Cache);
    assert_eq!(desk.status().breaker, BreakerState::ForcedOpen);
}

#[test]
fn what_was_never_sent_counts_nothing() {
    let limits = Limits { in_flight: 1, queue: 0, per_second: 1, burst: 1, negative_cost: 1 };
    let mut desk = Desk::new(Settings { attempts: 1, limits, ..settings() });
    desk.ask(1);
    let attempt = desk.attempt();
    for key in 0..100 {
        desk.ask(2 + key);
        let why = desk.reply().answer.unwrap_err();
        assert!(matches!(why, Why::QueueFull | Why::RateLimited), "{why:?}");
    }
    desk.came(attempt, Outcome::Answer(1));
    assert_eq!(desk.status().breaker, BreakerState::Closed);
    // A deadline that is over counts nothing, as the attempt goes on.
    let breaker = BreakerSettings { least_attempts: 2, ..settings().breaker };
    let mut desk = Desk::new(Settings { breaker, ..settings() });
    for key in 0..3 {
        desk.ask_for(key, 10);
        let attempt = desk.attempt();
        desk.on(20 * MS);
        assert_eq!(desk.reply().answer, Err(Why::Deadline));
        desk.came(attempt, Outcome::Answer(1));
        desk.effects();
    }
    assert_eq!(desk.status().breaker, BreakerState::Closed);
}

#[test]
fn a_person_opens_and_closes_it() {
    let mut desk = Desk::new(Settings { attempts: 1, ..settings() });
    for key in 0..6 {
        desk.ask(key);
    }
    assert_eq!(desk.attempts().len(), 4);
    desk.force(Some(Forced::Open));
    let effects = desk.effects();
    assert!(matches!(effects[0], Effect::Told(change) if change.now == BreakerState::ForcedOpen));
    assert_eq!(effects.len(), 3, "the two of the queue: {effects:?}");
    desk.ask(9);
    assert_eq!(desk.reply().answer, Err(Why::ForcedOpen));
    desk.on(10 * S);
    desk.force(Some(Forced::Closed));
    desk.effects();
    for key in 0..50 {
        desk.asked_and_came(key, Outcome::Final, 0);
    }
    assert_eq!(desk.status().breaker, BreakerState::ForcedClosed);
    desk.force(None);
    assert_eq!(desk.status().breaker, BreakerState::Closed);
    for key in 0..10 {
        desk.effects();
        desk.asked_and_came(key, Outcome::Final, 0);
    }
    assert_eq!(desk.status().breaker, BreakerState::Open);
}

#[test]
fn the_end_is_told_to_all_and_nothing_is_asked_any_more() {
    let cache = Caching { good_s: 100, stale_s: 100, ..settings().cache };
    let mut desk = Desk::new(Settings { cache, ..settings() });
    desk.asked_and_came(50, Outcome::Answer(1), 0);
    for key in 0..6 {
        desk.ask(key);
    }
    let attempts = desk.attempts();
    desk.asker.stop(&mut desk.effects);
    let effects = desk.effects();
    let told = effects.iter().filter(
        |effect| matches!(effect, Effect::Reply(reply) if reply.answer == Err(Why::Stopped)),
    );
    assert_eq!(told.count(), 6);
    for attempt in attempts {
        assert!(effects.contains(&Effect::Cancel { attempt }));
        desk.came(attempt, Outcome::Answer(1));
    }
    desk.ask(50);
    assert_eq!(desk.reply().answer, Err(Why::Stopped));
    desk.asker.stop(&mut desk.effects);
    desk.on(1_000 * S);
    assert!(desk.effects().is_empty());
    assert_eq!(desk.asker.next_wake_ns(), None);
}

#[test]
fn a_deadline_that_is_over_or_far_away_is_kept_to() {
    let mut desk = Desk::new(Settings { timeout_ms: 800, ..settings() });
    desk.ask_for(1, 0);
    assert_eq!(desk.reply().answer, Err(Why::Deadline));
    let question = Question { key: 1, deadline_ns: u64::MAX, token: 99 };
    desk.asker.ask(question, desk.now_ns, &mut desk.effects);
    desk.on(799 * MS);
    assert!(desk.replies().is_empty());
    desk.on(MS);
    assert_eq!(desk.reply().token, 99, "nobody waits longer than the policy says");
}

#[test]
fn clocks_that_jump_stand_still_or_go_back_do_no_harm() {
    let limits = Limits { per_second: 3, burst: 2, negative_cost: 50, ..settings().limits };
    let mut desk = Desk::new(Settings { limits, ..settings() });
    let mut replied = 0;
    for (key, now_ns) in [5 * S, 5 * S, S, 0, u64::MAX / 2, S, u64::MAX - 1, u64::MAX, u64::MAX, 0]
        .into_iter()
        .enumerate()
    {
        desk.now_ns = now_ns;
        for key in [key as u128, 77] {
            let question = Question { key, deadline_ns: u64::MAX, token: 1 };
            desk.asker.ask(question, now_ns, &mut desk.effects);
        }
        desk.asker.tick(now_ns, &mut desk.effects);
        let effects = desk.effects();
        replied += effects.iter().filter(|effect| matches!(effect, Effect::Reply(_))).count();
        for effect in effects {
            if let Effect::Attempt { attempt, .. } = effect {
                desk.came(attempt, Outcome::Answer(404));
            }
        }
        replied += desk.replies().len();
        desk.status();
    }
    desk.asker.stop(&mut desk.effects);
    assert_eq!(replied + desk.replies().len(), 20);
}
