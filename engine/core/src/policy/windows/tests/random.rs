//! Random payments: late, of the future, of several keys, against the list of all.

use super::model::Model;
use super::*;
use proptest::prelude::*;

/// How far the clock goes on between two payments, and how far a payment's own time is from it.
#[derive(Debug, Clone)]
struct Step {
    on_s: u64,
    late_s: u64,
    ahead_s: u64,
    payer: u64,
    payee: u64,
    device: Option<u64>,
    amount_centavos: i64,
    rail: Rail,
    verdict: Verdict,
}

fn some_steps(payers: u64, payees: u64, may_be_late: bool) -> impl Strategy<Value = Vec<Step>> {
    let on_s = prop_oneof![4 => 0..4u64, 4 => 0..900u64, 3 => 0..20_000u64, 1 => 0..2_000_000u64];
    let late_s = prop_oneof![
        6 => Just(0),
        2 => 0..30u64,
        2 => 0..4_000u64,
        1 => 0..100_000u64,
        1 => 0..9_000_000u64,
    ];
    let late_s = late_s.prop_map(move |late_s| if may_be_late { late_s } else { 0 });
    let ahead_s = prop_oneof![6 => Just(0), 1 => 0..100u64, 1 => 0..10_000_000u64];
    let amount = prop_oneof![9 => 1..2_000_000i64, 1 => 1..6_000_000_000i64];
    let rail = prop::sample::select(vec![Rail::Pix, Rail::Pix, Rail::Ted, Rail::Card]);
    let verdict = prop::sample::select(vec![Verdict::Approve, Verdict::Review, Verdict::Deny]);
    let who = (0..payers, 0..payees, prop::option::of(0..5u64));
    let step =
        (on_s, late_s, ahead_s, who, amount, rail, verdict).prop_map(
            |(on_s, late_s, ahead_s, (payer, payee, device), amount_centavos, rail, verdict)| {
                Step { on_s, late_s, ahead_s, payer, payee, device, amount_centavos, rail, verdict }
            },
        );
    prop::collection::vec(step, 1..200)
}

fn some_window() -> impl Strategy<Value = WindowSpec> {
    let span = prop_oneof![
        Just(sliding(60, 4)),
        Just(sliding(60, 48)),
        Just(sliding(100, 7)),
        Just(sliding(3_600, 24)),
        Just(sliding(86_400, 10)),
        Just(sliding(MAX_SPAN_S, 32)),
        (MIN_SPAN_S..=MAX_SPAN_S, MIN_BUCKETS..=MAX_BUCKETS)
            .prop_map(|(span_s, buckets)| sliding(span_s, buckets)),
        Just(Span::Today),
        (0..24u8, 0..=24u8)
            .prop_filter("hours", |(from, to)| from != to)
            .prop_map(|(from_hour, to_hour)| Span::Night { from_hour, to_hour }),
    ];
    let filter = prop::sample::select(vec![
        Filter::ALL,
        Filter::ALL.verdicts(&[Verdict::Approve]).rails(&[Rail::Pix]),
        Filter::ALL.verdicts(&[Verdict::Review, Verdict::Deny]),
    ]);
    let subject = prop::sample::select(Subject::ALL.to_vec());
    (subject, span, filter).prop_map(|(subject, span, filter)| WindowSpec { subject, span, filter })
}

/// Everything that can be asked of some windows.
fn some_asked() -> impl Strategy<Value = Vec<Asked>> {
    let up_to = prop::sample::select(vec![1, 3, 8, 64, ESTIMATED]);
    let of = prop::sample::select(Member::ALL.to_vec());
    prop::collection::vec((some_window(), of, up_to), 1..=3).prop_map(|windows| {
        let mut asked = Vec::new();
        for (window, of, up_to) in windows {
            let functions = [
                Function::Count,
                Function::Sum,
                Function::Avg,
                Function::Min,
                Function::Max,
                Function::Distinct { of, up_to },
            ];
            for including in [false, true] {
                asked.extend(functions.map(|function| Asked { window, function, including }));
            }
            if matches!(window.span, Span::Sliding { .. }) {
                for function in [Function::SecondsSinceLast, Function::SecondsSinceFirst] {
                    asked.push(Asked { window, function, including: false });
                }
            }
        }
        asked
    })
}

fn events(steps: &[Step]) -> impl Iterator<Item = (Event, Verdict)> {
    let mut now_s = 100_000_000;
    steps.iter().map(move |step| {
        now_s += step.on_s;
        let mut event = payment(now_s, step.amount_centavos);
        event.event_time_ns -= step.late_s * 1_000_000_000;
        event.event_time_ns += step.ahead_s * 1_000_000_000;
        event.keys = keys(step.payer, step.payee, step.device);
        event.rail = step.rail.to_wire();
        (event, step.verdict)
    })
}

fn hold_to_the_model(asked: &[Asked], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut windows = windows(asked);
    let mut model = Model::default();
    for (event, verdict) in events(steps) {
        let values = read(&windows, &event);
        for (asked, &value) in asked.iter().zip(&values) {
            let horizon_s = windows.horizon_s(asked.window.subject);
            if let Err(what) = model.check(asked, &event, value, horizon_s) {
                return Err(TestCaseError::fail(format!(
                    "{asked:?} of {event:?}: {value:?}: {what}"
                )));
            }
        }
        for place in 0..asked.len() {
            if let [count, sum, avg] = asked[place..]
                .first_chunk::<3>()
                .map_or([None; 3], |three| three.map(|asked| Some(asked.function)))
                && (count, sum, avg)
                    == (Some(Function::Count), Some(Function::Sum), Some(Function::Avg))
            {
                let expected = match (values[place], values[place + 1]) {
                    (Value::Present(0), _) | (Value::Missing, _) => Value::Missing,
                    (Value::Present(count), Value::Present(sum)) => Value::Present(sum / count),
                    (Value::Present(count), Value::Saturated(sum)) => Value::Saturated(sum / count),
                    _ => Value::Evicted,
                };
                prop_assert_eq!(values[place + 2], expected);
            }
        }
        windows.add(&event, verdict);
        model.add(event, verdict);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn payments_in_order_read_what_they_may(
        asked in some_asked(), steps in some_steps(3, 6, false)
    ) {
        hold_to_the_model(&asked, &steps)?;
    }

    #[test]
    fn payments_in_any_order_read_what_they_may(
        asked in some_asked(), steps in some_steps(3, 90, true)
    ) {
        hold_to_the_model(&asked, &steps)?;
    }

    /// 64 keys are held of a few more payers, and of many more pairs.
    #[test]
    fn what_was_let_go_is_never_a_zero(
        asked in some_asked(), steps in some_steps(80, 90, true)
    ) {
        hold_to_the_model(&asked, &steps)?;
    }

    /// Written at some point and read again, which changes nothing of what comes.
    #[test]
    fn the_same_payments_give_the_same_state(
        asked in some_asked(), steps in some_steps(80, 90, true), at in 0..160usize
    ) {
        let events: Vec<_> = events(&steps).collect();
        let (before, after) = events.split_at(at.min(events.len()));
        let mut all = windows(&asked);
        events.iter().for_each(|(event, verdict)| all.add(event, *verdict));
        let mut written = windows(&asked);
        before.iter().for_each(|(event, verdict)| written.add(event, *verdict));
        let mut bytes = Vec::new();
        written.write(|part| bytes.extend_from_slice(part));
        prop_assert!(bytes.ends_with(&written.digest()));
        let keys = [MIN_KEYS; Subject::COUNT];
        let mut again = Windows::from_checkpoint(&asked, keys, &bytes).expect("just written");
        for (event, verdict) in after {
            prop_assert_eq!(read(&again, event), read(&written, event));
            written.add(event, *verdict);
            again.add(event, *verdict);
        }
        prop_assert_eq!(written.digest(), all.digest());
        prop_assert_eq!(again.digest(), all.digest());
        prop_assert_eq!(again.late(), all.late());
    }

    /// With a right digest, too: whatever stands in the cells, it is read without a panic or refused.
    #[test]
    fn a_changed_checkpoint_is_refused_or_taken_and_never_panics(
        asked in some_asked(),
        steps in some_steps(3, 6, true),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in 0..3usize,
    ) {
        let events: Vec<_> = events(&steps).collect();
        let mut written = windows(&asked);
        events.iter().for_each(|(event, verdict)| written.add(event, *verdict));
        let mut bytes = Vec::new();
        written.write(|part| bytes.extend_from_slice(part));
        let state = written.digest();
        bytes.truncate(bytes.len() - state.len() - cut);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let digest = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&digest);
        let keys = [MIN_KEYS; Subject::COUNT];
        let mut taken = match Windows::from_checkpoint(&asked, keys, &bytes) {
            Ok(taken) => taken,
            Err(fault) => {
                prop_assert!(digest != state, "{fault}");
                return Ok(());
            }
        };
        prop_assert_eq!(taken.digest(), digest);
        for (event, verdict) in &events {
            prop_assert_eq!(read(&taken, event).len(), asked.len());
            taken.add(event, *verdict);
        }
    }
}
