//! The state of windows: whatever is added, it is written and read back as it was; and bytes that are not what
//! was written are refused.

use super::input::{Input, spoil};
use catraca_core::policy::windows::{
    Asked, Event, Filter, Function, Keys, MAX_BUCKETS, MAX_SPAN_S, Member, SET_MAX, Span, Subject,
    WindowSpec, Windows,
};
use catraca_wire::extension::WindowValue;
use catraca_wire::frame::Verdict;
use catraca_wire::transaction::Rail;

/// Keys of each table: few, so that some go.
const KEYS: [usize; Subject::COUNT] = [64; Subject::COUNT];
/// Most payments of an input.
const MAX_PAYMENTS: usize = 300;
const BEGIN_S: u64 = 1_795_000_000;

fn asked(input: &mut Input<'_>) -> Asked {
    let subject = Subject::ALL[usize::from(input.byte()) % Subject::COUNT];
    let span = match input.byte() % 4 {
        0 => Span::Today,
        1 => Span::Night { from_hour: input.byte() % 32, to_hour: input.byte() % 32 },
        _ => Span::Sliding {
            span_s: input.number() as u32 % (MAX_SPAN_S + 100),
            buckets: input.byte() % (MAX_BUCKETS + 4),
        },
    };
    let up_to = input.byte() % (SET_MAX as u8 + 3);
    let of = Member::ALL[usize::from(input.byte()) % Member::COUNT];
    let function = match input.byte() % 8 {
        0 => Function::Count,
        1 => Function::Sum,
        2 => Function::Min,
        3 => Function::Max,
        4 => Function::Avg,
        5 => Function::Distinct { of, up_to },
        6 => Function::SecondsSinceLast,
        _ => Function::SecondsSinceFirst,
    };
    let filter = match input.byte() % 3 {
        0 => Filter::ALL.verdicts(&[Verdict::Approve]),
        1 => Filter::ALL.rails(&[Rail::Pix, Rail::Ted]),
        _ => Filter::ALL,
    };
    let including = input.byte() % 2 == 1;
    Asked { window: WindowSpec { subject, span, filter }, function, including }
}

fn event(input: &mut Input<'_>) -> (Event, Verdict) {
    // Well-mixed, as keyed hashes are.
    let mixed = |number: u64| (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let who = input.number();
    let keys: Keys = std::array::from_fn(|subject| {
        let number = who >> (subject % 4) & 0x7f;
        (number & 0x70 != 0x70).then(|| mixed(number))
    });
    let time_s = BEGIN_S + input.number() % 20_000_000;
    let late_s = u64::from(input.byte());
    let event = Event {
        keys,
        amount_centavos: (input.number() as i64).max(1),
        rail: input.byte() % 6,
        event_time_ns: time_s * 1_000_000_000,
        decided_at_ns: (time_s + late_s) * 1_000_000_000,
        offset_minutes: i16::from(input.byte()) - 128,
    };
    let verdict = Verdict::ALL[usize::from(input.byte()) % Verdict::ALL.len()];
    (event, verdict)
}

pub(super) fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let count = usize::from(input.byte() % 8) + 1;
    let asked: Vec<Asked> = (0..count).map(|_| asked(&mut input)).collect();
    let Ok(mut windows) = Windows::new(&asked, KEYS) else { return };
    let payments = input.below(MAX_PAYMENTS);
    let mut values = vec![WindowValue::Evicted; asked.len()];
    for _ in 0..payments {
        if input.is_empty() {
            break;
        }
        let (event, verdict) = event(&mut input);
        windows.read(&event, &mut values);
        windows.add(&event, verdict);
    }
    let mut written = Vec::new();
    windows.write(|part| written.extend_from_slice(part));
    let again = Windows::from_checkpoint(&asked, KEYS, &written).expect("what was written is read");
    assert_eq!(again.digest(), windows.digest());
    let (event, verdict) = event(&mut input);
    let mut of_again = values.clone();
    windows.read(&event, &mut values);
    again.read(&event, &mut of_again);
    assert_eq!(values, of_again, "what is read back says the same");
    let mut spoiled = written.clone();
    spoil(&mut spoiled, &mut input);
    match Windows::from_checkpoint(&asked, KEYS, &spoiled) {
        Ok(mut taken) => {
            assert_eq!(spoiled, written, "only what was written is taken");
            taken.add(&event, verdict);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
