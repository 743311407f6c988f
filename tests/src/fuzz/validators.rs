//! Who was asked about a payment, as a decision's record says it among what rules and windows came to, sound and
//! spoilt: what is read is written again as the same bytes.

use super::input::{Input, spoil};
use catraca_wire::extension::{
    AnswerSource, AskedValidator, BreakerState, DecisionExtension, MAX_ASKED_VALIDATORS,
    MAX_RULE_WORDS, MAX_VALIDATORS_SECTION_LEN, MAX_WINDOW_VALUES, NoAnswer, RulesSeen,
    SECTION_VALIDATORS, WindowValue, read_asked, read_windows, write_asked,
};

/// Most values of windows beside them.
const MAX_VALUES: usize = 5;
/// Lengths of the section's head and of each that was asked, and where in each there are zeros, which nobody reads.
const HEAD_LEN: usize = 8;
const ASKED_LEN: usize = 32;
const HEAD_ZEROS: std::ops::Range<usize> = 4..8;
const ASKED_ZEROS: std::ops::Range<usize> = 5..8;

fn one_of<T: Copy>(all: &[T], input: &mut Input<'_>) -> T {
    all[usize::from(input.byte()) % all.len()]
}

fn asked(input: &mut Input<'_>) -> AskedValidator {
    let mut key = [0; 16];
    let piece = input.piece(key.len());
    key[..piece.len()].copy_from_slice(piece);
    AskedValidator {
        validator: input.byte(),
        source: one_of(AnswerSource::ALL, input),
        no_answer: one_of(NoAnswer::ALL, input),
        breaker: one_of(BreakerState::ALL, input),
        attempts: input.byte(),
        waited_us: input.number() as u32,
        age_ms: input.number() as u32,
        key,
    }
}

fn value(input: &mut Input<'_>) -> WindowValue {
    match input.byte() % 3 {
        0 => WindowValue::Missing,
        1 => WindowValue::Evicted,
        _ => WindowValue::Present(input.number() as i64),
    }
}

/// What windows said, where there is such a section.
fn of_windows(extension: &[u8]) -> Option<Vec<WindowValue>> {
    let mut values = [WindowValue::Missing; MAX_WINDOW_VALUES];
    let count = read_windows(extension, &mut values)?;
    Some(values[..count].to_vec())
}

fn written(asked: &[AskedValidator]) -> Vec<u8> {
    // What was there before must not show.
    let mut bytes = [0xff; MAX_VALIDATORS_SECTION_LEN];
    write_asked(asked, &mut bytes).to_vec()
}

/// The first section of validators, with zeros where nobody reads; the sections before it are sound.
fn section(extension: &[u8]) -> Vec<u8> {
    let number = |at: usize| u16::from_le_bytes([extension[at], extension[at + 1]]);
    let mut at = 0;
    while number(at) != SECTION_VALIDATORS {
        at += usize::from(number(at + 2));
    }
    let mut section = extension[at..][..usize::from(number(at + 2))].to_vec();
    section[HEAD_ZEROS].fill(0);
    for one in section[HEAD_LEN..].chunks_exact_mut(ASKED_LEN) {
        one[ASKED_ZEROS].fill(0);
    }
    section
}

pub(super) fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let count = usize::from(input.byte()) % (MAX_ASKED_VALIDATORS + 1);
    let first: Vec<_> = (0..count).map(|_| asked(&mut input)).collect();
    let values = usize::from(input.byte()) % (MAX_VALUES + 1);
    let values: Vec<_> = (0..values).map(|_| value(&mut input)).collect();
    let rules = RulesSeen {
        offset_minutes: -180,
        settled_by: None,
        score_sum: 0,
        matched: [0; MAX_RULE_WORDS],
        failed: [0; MAX_RULE_WORDS],
        exempt: [0; MAX_RULE_WORDS],
    };
    let mut memory = DecisionExtension::default();
    let mut extension = memory.fill(1, &rules, &values, &first).to_vec();
    assert_eq!(read_asked(&extension), first, "it is read as it was written");
    assert_eq!(RulesSeen::read(&extension), Some(rules));
    let seen = of_windows(&extension);
    assert_eq!(seen.as_deref().unwrap_or_default(), values);

    spoil(&mut extension, &mut input);
    let again = read_asked(&extension);
    assert!(again.len() <= MAX_ASKED_VALIDATORS);
    if !again.is_empty() {
        assert_eq!(written(&again), section(&extension), "there is one way to write it");
        assert_eq!(read_asked(&written(&again)), again);
        // What is read depends on no other section.
        let extension = memory.fill(1, &rules, &values, &again);
        assert_eq!(read_asked(extension), again);
        assert_eq!(of_windows(extension), seen);
    }
    // The input itself, as nobody would have written it.
    assert!(read_asked(data).len() <= MAX_ASKED_VALIDATORS);
}
