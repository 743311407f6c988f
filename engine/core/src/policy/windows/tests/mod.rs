//! Windows against a list of all payments, and what each promise means in a small case.

mod directed;
mod model;
mod random;
mod together;

use super::*;
use catraca_wire::transaction::Rail;

/// When most tests begin, seconds since 1970 UTC: a local midnight.
const BEGIN_S: u64 = 1_800_000_000 - 1_800_000_000 % 86_400 + 3 * 3_600;
/// Brasília.
const OFFSET_MINUTES: i16 = -180;

/// A well-mixed hash of small numbers.
fn key(tag: u64, number: u64) -> u64 {
    let mut x = (tag << 32 | number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        x = (x ^ x >> 30).wrapping_mul(factor);
    }
    x ^ x >> 31
}

/// The keys of payer, payee and device.
fn keys(payer: u64, payee: u64, device: Option<u64>) -> Keys {
    let pair = |tag, one, other| Some(key(tag, one << 16 | other));
    [
        Some(key(0, payer)),
        Some(key(1, payee)),
        device.map(|device| key(2, device)),
        Some(key(3, payer)),
        Some(key(4, payee)),
        pair(5, payer, payee),
        device.and_then(|device| pair(6, payer, device)),
        device.and_then(|device| pair(7, payee, device)),
    ]
}

/// A Pix of payer 1 to payee 1, some seconds after the begin and decided at once.
fn payment(after_s: u64, amount_centavos: i64) -> Event {
    let time_ns = (BEGIN_S + after_s) * 1_000_000_000;
    Event {
        keys: keys(1, 1, None),
        amount_centavos,
        rail: Rail::Pix.to_wire(),
        event_time_ns: time_ns,
        decided_at_ns: time_ns,
        offset_minutes: OFFSET_MINUTES,
    }
}

fn sliding(span_s: u32, buckets: u8) -> Span {
    Span::Sliding { span_s, buckets }
}

fn asked(subject: Subject, span: Span, function: Function) -> Asked {
    Asked { window: WindowSpec { subject, span, filter: Filter::ALL }, function, including: false }
}

fn windows(asked: &[Asked]) -> Windows {
    Windows::new(asked, [MIN_KEYS; Subject::COUNT]).expect("there can be such windows")
}

fn read(windows: &Windows, event: &Event) -> Vec<Value> {
    let mut values = vec![Value::Missing; windows.asked().len()];
    windows.read(event, &mut values);
    values
}
