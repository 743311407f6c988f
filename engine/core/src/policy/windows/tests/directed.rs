//! What each promise means, in a small case.

use super::*;

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

#[test]
fn a_sliding_window_forgets_after_its_span_and_at_most_a_bucket() {
    let mut windows = windows(&[asked(Subject::Payer, sliding(3_600, 12), Function::Sum)]);
    windows.add(&payment(7, 500), Verdict::Approve);
    for (after_s, sum) in [(7, 500), (3_606, 500), (3_898, 500), (3_899, 0), (9_000, 0)] {
        assert_eq!(read(&windows, &payment(after_s, 1)), [Value::Present(sum)], "{after_s}");
    }
}

#[test]
fn functions_say_what_they_are_for() {
    let span = sliding(3_600, 12);
    let of = Member::Payee;
    let functions = [
        (Function::Count, Value::Present(0), Value::Present(3)),
        (Function::Sum, Value::Present(0), Value::Present(1_001)),
        (Function::Min, Value::Missing, Value::Present(1)),
        (Function::Max, Value::Missing, Value::Present(700)),
        (Function::Avg, Value::Missing, Value::Present(333)),
        (Function::Distinct { of, up_to: 8 }, Value::Present(0), Value::Present(2)),
        (Function::SecondsSinceLast, Value::Missing, Value::Present(40)),
        (Function::SecondsSinceFirst, Value::Missing, Value::Present(100)),
    ];
    let mut windows = windows(&functions.map(|(f, ..)| asked(Subject::Payer, span, f)));
    let before = functions.map(|(_, before, _)| before);
    assert_eq!(read(&windows, &payment(0, 1)), before);
    for (after_s, amount, payee) in [(0, 300, 1), (50, 1, 2), (60, 700, 1)] {
        let event = Event { keys: keys(1, payee, None), ..payment(after_s, amount) };
        windows.add(&event, Verdict::Approve);
    }
    assert_eq!(read(&windows, &payment(100, 1)), functions.map(|(.., after)| after));
    let other = Event { keys: keys(2, 1, None), ..payment(100, 1) };
    assert_eq!(read(&windows, &other), before, "another payer");
}

#[test]
fn with_itself_a_payment_counts_as_though_it_were_in_the_window() {
    let with = |function, filter| Asked {
        window: WindowSpec { subject: Subject::Payer, span: Span::Today, filter },
        function,
        including: true,
    };
    let pix = Filter::ALL.rails(&[Rail::Pix]).verdicts(&[Verdict::Approve]);
    let of = Member::Payee;
    let distinct = Function::Distinct { of, up_to: 4 };
    let mut windows = windows(&[
        with(Function::Sum, pix),
        with(Function::Sum, Filter::ALL.rails(&[Rail::Ted])),
        with(Function::Min, pix),
        with(distinct, pix),
    ]);
    windows.add(&payment(0, 300), Verdict::Approve);
    windows.add(&payment(1, 300), Verdict::Deny);
    let (own, none) = (Value::Present, Value::Present(0));
    assert_eq!(read(&windows, &payment(2, 20)), [own(320), none, own(20), own(1)]);
    let to_another = Event { keys: keys(1, 2, None), ..payment(2, 900) };
    assert_eq!(read(&windows, &to_another), [own(1_200), none, own(300), own(2)]);
}

#[test]
fn a_night_is_one_on_both_sides_of_midnight_and_nothing_by_day() {
    let night = Span::Night { from_hour: 20, to_hour: 6 };
    let mut windows = windows(&[
        asked(Subject::Payer, night, Function::Sum),
        asked(Subject::Payer, Span::Today, Function::Sum),
    ]);
    for (after_s, amount) in [(20 * HOUR_S, 100), (23 * HOUR_S, 20), (DAY_S + 5 * HOUR_S, 3)] {
        windows.add(&payment(after_s, amount), Verdict::Approve);
    }
    let at = |after_s| read(&windows, &payment(after_s, 1));
    assert_eq!(at(DAY_S - 1), [Value::Present(123), Value::Present(120)]);
    assert_eq!(at(DAY_S + 6 * HOUR_S - 1), [Value::Present(123), Value::Present(3)]);
    assert_eq!(at(DAY_S + 6 * HOUR_S), [Value::Missing, Value::Present(3)]);
    assert_eq!(at(DAY_S + 20 * HOUR_S), [Value::Present(0), Value::Present(3)]);
    assert_eq!(windows.late(), 0);
}

#[test]
fn a_late_payment_counts_where_it_belongs_or_nowhere() {
    let mut windows = windows(&[
        asked(Subject::Payer, sliding(60, 12), Function::Count),
        asked(Subject::Payer, sliding(3_600, 12), Function::Count),
    ]);
    windows.add(&payment(2_000, 1), Verdict::Approve);
    windows.add(&payment(1_000, 1), Verdict::Approve);
    assert_eq!(windows.late(), 1, "too late for the minute, not for the hour");
    assert_eq!(read(&windows, &payment(2_000, 1)), [Value::Present(1), Value::Present(2)]);
    // What the minute held then is gone, and of the hour up to then a part; both say so.
    assert_eq!(read(&windows, &payment(1_000, 1)), [Value::Evicted, Value::Saturated(1)]);
    assert_eq!(read(&windows, &payment(5_000, 1)), [Value::Present(0), Value::Present(1)]);
}

#[test]
fn a_payment_of_the_future_counts_now_and_pushes_nothing_out() {
    let mut windows = windows(&[asked(Subject::Payer, sliding(60, 12), Function::Count)]);
    windows.add(&payment(0, 1), Verdict::Approve);
    let mut ahead = payment(10, 1);
    ahead.event_time_ns += 30 * DAY_S * 1_000_000_000;
    windows.add(&ahead, Verdict::Approve);
    assert_eq!(read(&windows, &payment(20, 1)), [Value::Present(2)]);
    assert_eq!(read(&windows, &ahead), [Value::Present(2)]);
    assert_eq!(read(&windows, &payment(100, 1)), [Value::Present(0)]);
}

#[test]
fn a_full_cell_says_at_least() {
    let span = sliding(60, 4);
    let functions = [Function::Count, Function::Sum, Function::Max, Function::Avg];
    let mut windows = windows(&functions.map(|f| asked(Subject::Payer, span, f)));
    for _ in 0..u16::MAX - 1 {
        windows.add(&payment(0, 2), Verdict::Approve);
    }
    let values = |count, sum| [Value::Present(count), Value::Present(sum)];
    assert_eq!(read(&windows, &payment(0, 1))[..2], values(65_534, 131_068));
    windows.add(&payment(0, i64::MAX), Verdict::Approve);
    windows.add(&payment(0, i64::MAX), Verdict::Approve);
    let full = Value::Saturated(u32::MAX.into());
    let expected = [Value::Saturated(65_535), full, full, Value::Evicted];
    assert_eq!(read(&windows, &payment(0, 1)), expected);
}

#[test]
fn a_full_set_says_at_least_until_who_left_it_is_out_of_the_window() {
    let distinct = Function::Distinct { of: Member::Payee, up_to: 64 };
    let mut windows = windows(&[asked(Subject::Payer, sliding(3_600, 12), distinct)]);
    let to = |payee, after_s| Event { keys: keys(1, payee, None), ..payment(after_s, 1) };
    for payee in 0..64 {
        windows.add(&to(payee, 0), Verdict::Approve);
    }
    assert_eq!(read(&windows, &payment(1, 1)), [Value::Present(64)]);
    windows.add(&to(64, 1_800), Verdict::Approve);
    assert_eq!(read(&windows, &payment(1_800, 1)), [Value::Saturated(64)]);
    assert_eq!(read(&windows, &payment(4_000, 1)), [Value::Present(1)]);
}

#[test]
fn beyond_a_full_set_there_is_an_estimate_with_the_error_that_is_stated() {
    let distinct = Function::Distinct { of: Member::Payer, up_to: ESTIMATED };
    let mut windows = windows(&[asked(Subject::Payee, sliding(3_600, 12), distinct)]);
    let from = |payee, payer: u64, after_s| Event {
        keys: keys(payee << 20 | payer, payee, None),
        ..payment(after_s, 1)
    };
    let payees = 60;
    let estimate = |windows: &Windows, payee, after_s| read(windows, &from(payee, 1, after_s))[0];
    let mut squares = Vec::new();
    for payee in 0..payees {
        for payer in 0..64 {
            windows.add(&from(payee, payer, payer), Verdict::Approve);
        }
        assert_eq!(estimate(&windows, payee, 100), Value::Present(64), "as many are told apart");
        for payer in 0..3_000 {
            // Each twice, which makes none of them two.
            windows.add(&from(payee, payer, 200 + payer / 2), Verdict::Approve);
            windows.add(&from(payee, payer, 201 + payer / 2), Verdict::Approve);
        }
        let Value::Estimated(number) = estimate(&windows, payee, 1_800) else {
            panic!("{:?}", estimate(&windows, payee, 1_800))
        };
        let error = number as f64 / 3_000.0 - 1.0;
        assert!(error.abs() < 0.5, "four times the standard error: {number}");
        squares.push(error * error);
        // Some 1,000 of them are left in the window, and then none: exact again.
        let Value::Estimated(fewer) = estimate(&windows, payee, 4_800) else { panic!("still") };
        assert!((300..2_200).contains(&fewer), "{fewer}");
        assert_eq!(estimate(&windows, payee, 6_000), Value::Present(0));
        for payer in 0..50 {
            windows.add(&from(payee, payer, 6_000 + payer), Verdict::Approve);
        }
        assert_eq!(estimate(&windows, payee, 6_100), Value::Present(50), "payee {payee}");
    }
    let standard_error = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
    assert!((0.08..0.17).contains(&standard_error), "12.5 % are stated: {standard_error}");
}

#[test]
fn who_was_let_go_is_told_for_as_long_as_a_window_reaches_back() {
    let span = sliding(3_600, 12);
    let functions = [
        Function::Count,
        Function::Max,
        Function::Avg,
        Function::SecondsSinceLast,
        Function::SecondsSinceFirst,
    ];
    let mut windows = windows(&functions.map(|f| asked(Subject::Payer, span, f)));
    let of = |payer, after_s| Event { keys: keys(payer, 1, None), ..payment(after_s, 9) };
    for payer in 0..MIN_KEYS as u64 {
        windows.add(&of(payer, payer), Verdict::Approve);
    }
    // Payer 0 is used again, so that payers 1 to 4 go.
    windows.add(&of(0, 70), Verdict::Approve);
    assert_eq!(windows.horizon_s(Subject::Payer), 0);
    windows.add(&of(100, 80), Verdict::Approve);
    assert_eq!(windows.keys(Subject::Payer), (MIN_KEYS - 3, 4));
    assert_eq!(u64::from(windows.horizon_s(Subject::Payer)), BEGIN_S + 4);
    assert_eq!(read(&windows, &of(1, 90)), [Value::Evicted; 5]);
    assert_eq!(read(&windows, &of(0, 90))[0], Value::Present(2), "its entry is older than that");
    // Who came after someone had gone may have been the one.
    let known = [
        Value::Saturated(1),
        Value::Saturated(9),
        Value::Evicted,
        Value::Present(10),
        Value::Saturated(10),
    ];
    assert_eq!(read(&windows, &of(100, 90)), known);
    let nothing =
        [Value::Present(0), Value::Missing, Value::Missing, Value::Missing, Value::Missing];
    assert_eq!(read(&windows, &of(1, 3_604)), nothing, "what went is out of the window");
}

#[test]
fn the_newest_payment_of_who_was_let_go_is_what_counts() {
    let mut windows = windows(&[asked(Subject::Payer, sliding(3_600, 12), Function::Count)]);
    windows.add(&payment(100, 1), Verdict::Approve);
    windows.add(&payment(50, 1), Verdict::Approve);
    for payer in 2..2 + 2 * MIN_KEYS as u64 {
        let event = Event { keys: keys(payer, 1, None), ..payment(60, 1) };
        windows.add(&event, Verdict::Approve);
    }
    assert_eq!(u64::from(windows.horizon_s(Subject::Payer)), BEGIN_S + 100);
    assert_eq!(read(&windows, &payment(3_699, 1)), [Value::Evicted]);
}

/// Against a plain hand that goes slot by slot.
#[test]
fn whoever_was_used_within_a_round_stays() {
    const KEYS: usize = 256;
    let count = [asked(Subject::Payer, sliding(MAX_SPAN_S, 12), Function::Count)];
    let mut windows = Windows::new(&count, [KEYS; Subject::COUNT]).expect("there can be");
    let (mut slots, mut hand): (Vec<(Option<u64>, bool)>, usize) = (Vec::new(), 0);
    let mut free: Vec<usize> = Vec::new();
    for number in 0..5_000u64 {
        // All are used once before the first goes, then some more often than others.
        let payer = match number {
            0..512 => number % KEYS as u64,
            _ => key(9, number) % 700 * (key(10, number) % 700) / 700,
        };
        let event = Event { keys: keys(payer, 1, None), ..payment(number, 1) };
        let held = slots.iter().position(|&(held, _)| held == Some(payer));
        let any_went = windows.keys(Subject::Payer).1 > 0;
        let is_gone = read(&windows, &event) == [Value::Evicted];
        assert_eq!(is_gone, held.is_none() && any_went, "{number}");
        windows.add(&event, Verdict::Approve);
        if let Some(slot) = held {
            slots[slot].1 = true;
        } else if slots.len() < KEYS {
            slots.push((Some(payer), false));
        } else {
            // Sixteen at once, where there is no room.
            let count = if free.is_empty() { 16 } else { 0 };
            for _ in 0..count {
                while slots[hand].0.is_none() || std::mem::take(&mut slots[hand].1) {
                    hand = (hand + 1) % KEYS;
                }
                slots[hand].0 = None;
                free.push(hand);
                hand = (hand + 1) % KEYS;
            }
            let slot = free.pop().expect("some went");
            slots[slot] = (Some(payer), false);
        }
    }
    let (held, let_go) = windows.keys(Subject::Payer);
    assert!(held == KEYS - free.len() && let_go > 500, "{let_go}");
}

#[test]
fn the_last_is_not_known_where_a_later_one_may_have_gone() {
    let mut windows =
        windows(&[asked(Subject::Payer, sliding(3_600, 12), Function::SecondsSinceLast)]);
    windows.forget_up_to((BEGIN_S + 100) * 1_000_000_000);
    windows.add(&payment(90, 1), Verdict::Approve);
    assert_eq!(read(&windows, &payment(200, 1)), [Value::Evicted]);
    windows.add(&payment(101, 1), Verdict::Approve);
    assert_eq!(read(&windows, &payment(200, 1)), [Value::Present(99)]);
}

#[test]
fn what_is_forgotten_at_the_begin_is_told() {
    let mut windows = windows(&[asked(Subject::Payer, sliding(3_600, 12), Function::Count)]);
    windows.forget_up_to(BEGIN_S * 1_000_000_000);
    assert_eq!(read(&windows, &payment(100, 1)), [Value::Evicted]);
    windows.add(&payment(100, 1), Verdict::Approve);
    assert_eq!(read(&windows, &payment(200, 1)), [Value::Saturated(1)]);
    assert_eq!(read(&windows, &payment(3_600, 1)), [Value::Present(1)]);
}

#[test]
fn what_is_not_of_a_payment_is_missing() {
    let span = sliding(60, 4);
    let mut windows = windows(&[
        asked(Subject::Device, span, Function::Count),
        asked(Subject::Payer, span, Function::Distinct { of: Member::Device, up_to: 2 }),
    ]);
    windows.add(&payment(0, 1), Verdict::Approve);
    assert_eq!(read(&windows, &payment(0, 1)), [Value::Missing, Value::Present(0)]);
    assert_eq!(windows.keys(Subject::Device), (0, 0));
}

#[test]
fn a_payment_that_no_window_takes_takes_no_memory() {
    let approved = Filter::ALL.verdicts(&[Verdict::Approve]);
    let mut one = asked(Subject::Payer, sliding(60, 4), Function::Count);
    one.window.filter = approved;
    let mut windows = windows(&[one]);
    windows.add(&payment(0, 1), Verdict::Deny);
    assert_eq!(windows.keys(Subject::Payer), (0, 0));
    windows.add(&payment(0, 1), Verdict::Approve);
    assert_eq!(windows.keys(Subject::Payer), (1, 0));
}

/// What a policy for Pix asks of a payer.
fn pix_payer(buckets: u8) -> Windows {
    let payer = |span, function| asked(Subject::Payer, span, function);
    let (hour, day) = (sliding(3_600, buckets), sliding(86_400, buckets));
    let limits = [Span::Today, Span::Night { from_hour: 20, to_hour: 6 }].map(|span| {
        let mut asked = payer(span, Function::Sum);
        asked.window.filter = Filter::ALL.verdicts(&[Verdict::Approve]).rails(&[Rail::Pix]);
        asked
    });
    let distinct = Function::Distinct { of: Member::Payee, up_to: 8 };
    windows(&[
        payer(hour, Function::Count),
        payer(hour, Function::Sum),
        payer(day, Function::Count),
        payer(day, Function::Sum),
        payer(day, distinct),
        limits[0],
        limits[1],
    ])
}

#[test]
fn a_key_takes_no_more_than_it_must() {
    let windows = pix_payer(10);
    assert_eq!(windows.bytes_per_key(Subject::Payer), 248 + 16);
    assert_eq!(windows.bytes_per_key(Subject::Payee), 0, "nothing is asked of it");
    assert_eq!(pix_payer(24).bytes_per_key(Subject::Payer), 416 + 16);
    let memory: usize = windows.index_memory().map(|memory| memory.len()).sum();
    assert_eq!(memory, 16 * MIN_KEYS);
}

#[test]
fn what_can_not_be_asked_is_refused() {
    let new = |asked: &[Asked]| Windows::new(asked, [MIN_KEYS; Subject::COUNT]).err();
    let payer = |span, function| asked(Subject::Payer, span, function);
    let count = |span| payer(span, Function::Count);
    let hour = sliding(3_600, 12);
    for (asked, fault) in [
        (count(sliding(59, 4)), WindowsFault::Span),
        (count(sliding(MAX_SPAN_S + 1, 4)), WindowsFault::Span),
        (count(sliding(60, 3)), WindowsFault::Buckets),
        (count(sliding(60, 49)), WindowsFault::Buckets),
        (count(Span::Night { from_hour: 24, to_hour: 6 }), WindowsFault::Hours),
        (count(Span::Night { from_hour: 6, to_hour: 6 }), WindowsFault::Hours),
        (payer(hour, Function::Distinct { of: Member::Payee, up_to: 0 }), WindowsFault::Distinct),
        (payer(hour, Function::Distinct { of: Member::Payee, up_to: 66 }), WindowsFault::Distinct),
        (payer(Span::Today, Function::SecondsSinceLast), WindowsFault::Seconds),
        (
            Asked { including: true, ..payer(hour, Function::SecondsSinceFirst) },
            WindowsFault::Seconds,
        ),
    ] {
        assert_eq!(new(&[asked]), Some(fault), "{asked:?}");
    }
    let mut nothing = count(hour);
    nothing.window.filter = Filter::ALL.rails(&[]);
    assert_eq!(new(&[nothing]), Some(WindowsFault::Filter));
    assert_eq!(new(&[count(hour); MAX_ASKED]), None);
    assert_eq!(new(&[count(hour); MAX_ASKED + 1]), Some(WindowsFault::Asked));
    let many: Vec<Asked> = (1..45).map(|hours| count(sliding(hours * 3_600, 48))).collect();
    assert!(matches!(new(&many), Some(WindowsFault::Entry { len }) if len > MAX_ENTRY_LEN));
    for keys in [0, 32, 100, MAX_KEYS * 2] {
        let fault = Windows::new(&[count(hour)], [keys; Subject::COUNT]).err();
        assert_eq!(fault, Some(WindowsFault::Keys { keys }));
    }
}

#[test]
fn a_checkpoint_is_of_its_own_windows_and_whole() {
    let count = [asked(Subject::Payer, sliding(3_600, 12), Function::Count)];
    let mut written = windows(&count);
    written.add(&payment(0, 1), Verdict::Approve);
    let mut bytes = Vec::new();
    written.write(|part| bytes.extend_from_slice(part));
    let take = |asked: &[Asked], keys, bytes: &[u8]| {
        Windows::from_checkpoint(asked, [keys; Subject::COUNT], bytes)
            .map(|w| read(&w, &payment(1, 1)))
    };
    assert_eq!(take(&count, MIN_KEYS, &bytes), Ok(vec![Value::Present(1)]));
    assert_eq!(take(&count, 128, &bytes), Err(CheckpointFault::Keys { keys: 64 }));
    let fault = CheckpointFault::Windows(WindowsFault::Keys { keys: 1 });
    assert_eq!(take(&count, 1, &bytes), Err(fault));
    let sum = [asked(Subject::Payer, sliding(3_600, 12), Function::Sum)];
    assert_eq!(take(&sum, MIN_KEYS, &bytes), Err(CheckpointFault::Other));
    assert_eq!(take(&[sum[0]; 2], MIN_KEYS, &bytes), Err(CheckpointFault::Other));
    for at in 0..bytes.len() {
        assert_eq!(take(&count, MIN_KEYS, &bytes[..at]), Err(CheckpointFault::Damaged), "{at}");
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(take(&count, MIN_KEYS, &changed), Err(CheckpointFault::Damaged), "{at}");
    }
}

/// What a build writes another one of the same version reads: a change of this state is one of the
/// version.
#[test]
fn the_state_after_these_payments_is_the_same_everywhere() {
    let mut windows = pix_payer(10);
    for number in 0..500 {
        let mut event = payment(number * 61, 1 + number as i64 * 977 % 50_000);
        event.keys = keys(number % 70, number % 11, Some(number % 3));
        windows.add(&event, Verdict::ALL[number as usize % 3]);
    }
    assert_eq!(hex::encode(&windows.digest()[..8]), "f90522fc4ed2012a");
}
