//! The breaker alone.

use super::*;
use proptest::prelude::*;

const S: u64 = 1_000 * MS;
const SETTINGS: BreakerSettings = BreakerSettings {
    failures_percent: 50,
    least_attempts: 5,
    window_s: 30,
    slow_ms: 200,
    open_ms: 1_000,
    most_open_ms: 10_000,
    probes: 1,
};

fn bad(breaker: &mut Breaker, now_ns: u64) -> Option<BreakerChange> {
    breaker.came(breaker.generation(), false, 0, now_ns, &mut Chance::new(now_ns))
}

fn good(breaker: &mut Breaker, now_ns: u64) -> Option<BreakerChange> {
    breaker.came(breaker.generation(), true, 0, now_ns, &mut Chance::new(now_ns))
}

/// An open one; since when, and until when.
fn opened(settings: BreakerSettings) -> (Breaker, u64) {
    let mut breaker = Breaker::new(settings);
    for second in 0..4 {
        assert_eq!(bad(&mut breaker, second * S), None);
    }
    let change = bad(&mut breaker, 4 * S).expect("five of five failed");
    assert_eq!((change.before, change.now), (BreakerState::Closed, BreakerState::Open));
    let until_ns = breaker.wake_ns().unwrap();
    assert_eq!(until_ns, 4 * S + change.open_ns);
    (breaker, until_ns)
}

proptest! {
    /// Against the list of all attempts, judged anew each time.
    #[test]
    fn it_opens_by_the_share_of_the_window(
        (percent, least, window_s) in (1..=100u8, 1..8u16, 1..20u16),
        steps in prop::collection::vec((prop_oneof![4 => 0..3 * S, 1 => 0..9_000 * S], any::<bool>()), 1..100),
    ) {
        let settings = BreakerSettings {
            failures_percent: percent,
            least_attempts: least,
            window_s,
            ..SETTINGS
        };
        let mut breaker = Breaker::new(settings);
        let (mut all, mut now_ns) = (Vec::new(), 0);
        for (on_ns, is_bad) in steps {
            now_ns += on_ns;
            all.push((now_ns, is_bad));
            let of_window = all.iter().rev().enumerate().take_while(|(place, (came_ns, _))| {
                let age_ns = now_ns - came_ns;
                age_ns < MOST_AGE_NS
                    && (*place < usize::from(least) || age_ns < u64::from(window_s) * S)
            });
            let of_window: Vec<_> = of_window.map(|(_, (_, is_bad))| *is_bad).collect();
            let bad_ones = of_window.iter().filter(|is_bad| **is_bad).count();
            let opens = of_window.len() >= usize::from(least)
                && bad_ones * 100 >= of_window.len() * usize::from(percent);
            let change = if is_bad { bad(&mut breaker, now_ns) } else { good(&mut breaker, now_ns) };
            prop_assert_eq!(change.is_some(), opens);
            if opens {
                breaker.force(Some(Forced::Closed));
                breaker.force(None);
                all.clear();
            }
        }
    }
}

#[test]
fn one_call_a_minute_opens_it_after_the_least_number() {
    let mut breaker = Breaker::new(SETTINGS);
    for minute in 0..4 {
        assert_eq!(bad(&mut breaker, minute * 60 * S), None);
    }
    assert!(bad(&mut breaker, 4 * 60 * S).is_some());
}

#[test]
fn failures_of_hours_ago_are_none_of_now() {
    let mut breaker = Breaker::new(SETTINGS);
    for _ in 0..4 {
        assert_eq!(bad(&mut breaker, 0), None);
    }
    assert_eq!(bad(&mut breaker, 3_600 * S), None);
}

#[test]
fn ten_thousand_calls_a_second_open_it_within_a_tenth() {
    let mut breaker = Breaker::new(SETTINGS);
    let mut now_ns = 0;
    for _ in 0..300_000 {
        now_ns += 100_000;
        assert_eq!(good(&mut breaker, now_ns), None);
    }
    let failed_ns = now_ns;
    while breaker.is_closed() {
        now_ns += 100_000;
        bad(&mut breaker, now_ns);
    }
    assert!(now_ns - failed_ns <= 100 * MS, "{} ns", now_ns - failed_ns);
    assert!(breaker.window.last.capacity() <= 4 * MOST_COUNTED);
}

#[test]
fn slow_answers_are_bad_ones() {
    let mut breaker = Breaker::new(SETTINGS);
    let mut took = |took_ns| breaker.came(0, true, took_ns, 0, &mut Chance::new(0));
    for _ in 0..10 {
        assert_eq!(took(200 * MS), None);
    }
    for _ in 0..9 {
        assert_eq!(took(200 * MS + 1), None);
    }
    assert!(took(200 * MS + 1).is_some(), "ten of twenty");
}

#[test]
fn it_stays_open_twice_as_long_each_time_that_a_probe_fails() {
    let (mut breaker, mut until_ns) = opened(SETTINGS);
    assert_eq!(breaker.refuses(), Some(Why::BreakerOpen));
    for expected_s in [2, 4, 8, 10, 10, 10] {
        assert_eq!(breaker.pass(until_ns - 1), None);
        assert_eq!(breaker.pass(until_ns).unwrap().now, BreakerState::HalfOpen);
        assert_eq!(breaker.refuses(), None);
        breaker.start();
        assert_eq!(breaker.refuses(), Some(Why::BreakerOpen), "one probe in all");
        let change = bad(&mut breaker, until_ns).unwrap();
        let range = expected_s * S * 8 / 10..=expected_s * S;
        assert!(range.contains(&change.open_ns), "{} ns of {expected_s} s", change.open_ns);
        until_ns += change.open_ns;
    }
    breaker.pass(until_ns);
    breaker.start();
    assert_eq!(good(&mut breaker, until_ns).unwrap().now, BreakerState::Closed);
    for _ in 0..5 {
        bad(&mut breaker, until_ns);
    }
    assert!(breaker.wake_ns().unwrap() <= until_ns + S, "from the beginning again");
}

#[test]
fn it_closes_when_all_probes_were_answered() {
    let (mut breaker, until_ns) = opened(BreakerSettings { probes: 3, ..SETTINGS });
    breaker.pass(until_ns);
    for _ in 0..3 {
        assert_eq!(breaker.refuses(), None);
        breaker.start();
    }
    assert_eq!(breaker.refuses(), Some(Why::BreakerOpen));
    assert_eq!(good(&mut breaker, until_ns), None);
    assert_eq!(good(&mut breaker, until_ns), None);
    assert_eq!(breaker.refuses(), Some(Why::BreakerOpen), "three in all, not at once");
    assert_eq!(good(&mut breaker, until_ns).unwrap().now, BreakerState::Closed);
}

#[test]
fn what_an_earlier_generation_comes_to_is_not_counted() {
    let (mut breaker, until_ns) = opened(SETTINGS);
    breaker.pass(until_ns);
    let probe = breaker.start();
    let mut chance = Chance::new(0);
    for earlier in 0..probe {
        assert_eq!(breaker.came(earlier, true, 0, until_ns, &mut chance), None);
        assert_eq!(breaker.came(earlier, false, 0, until_ns, &mut chance), None);
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(breaker.came(probe, true, 0, until_ns, &mut chance).is_some());
}

#[test]
fn a_person_has_the_last_word() {
    let (mut breaker, until_ns) = opened(SETTINGS);
    assert_eq!(breaker.force(None), None, "nothing was said");
    assert_eq!(breaker.force(Some(Forced::Closed)).unwrap().now, BreakerState::ForcedClosed);
    assert_eq!(breaker.force(Some(Forced::Closed)), None, "it was said already");
    for _ in 0..100 {
        assert_eq!(bad(&mut breaker, until_ns), None);
    }
    assert_eq!(breaker.refuses(), None);
    assert_eq!(breaker.force(Some(Forced::Open)).unwrap().now, BreakerState::ForcedOpen);
    assert_eq!(breaker.pass(u64::MAX), None);
    assert_eq!(breaker.refuses(), Some(Why::ForcedOpen));
    assert_eq!(breaker.force(None).unwrap().now, BreakerState::Closed);
}
