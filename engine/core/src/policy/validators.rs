//! Services outside that a policy asks about a payment, as far as deciding goes: when one is asked, what it is
//! sent, and what its answers are called. How it is asked is not known here.
//!
//! A decision sees two values of each, behind those of windows and lists: the answer, and how it stands with it
//! ([`AnswerState`]). They are recorded as the others are, so that a replay needs no service.

use super::language::Program;
use super::lists::KeyField;
use catraca_wire::extension::WindowValue;

/// Most validators of a policy: a payment waits for the slowest that it needs, and each takes two of the values
/// that a record holds.
pub const MAX_VALIDATORS: usize = 8;
/// Values that a decision sees of each.
pub const VALUES_EACH: usize = 2;
/// Most words that a validator may answer.
pub const MAX_WORDS: usize = 64;

macro_rules! answer_states {
    ($($(#[$doc:meta])* $variant:ident = $code:literal: $name:literal;)+) => {
        /// How it stands with an answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum AnswerState {
            $($(#[$doc])* $variant = $code,)+
        }

        impl AnswerState {
            /// As it is recorded; `None` of a number that stands for none.
            pub const fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// For people.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

answer_states! {
    /// The payment is none that the validator is asked about.
    NotAsked = 0: "not asked";
    /// It was asked about this payment.
    Fresh = 1: "fresh";
    /// An earlier answer that is still good.
    Cached = 2: "cached";
    /// An earlier answer that is no longer good, because there was no other.
    Stale = 3: "stale";
    /// There was none in time.
    NoAnswer = 4: "no answer";
}

/// A validator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// Its name: 1 to 64 of `a` to `z`, `0` to `9` and `-`.
    pub id: String,
    /// The payments that it is asked about.
    pub when: Program,
    /// What it is sent of a payment, apart from the amount: payments that are the same in it share an answer.
    pub sends: Box<[KeyField]>,
    /// It is sent the amount, too.
    pub sends_amount: bool,
    /// The words that it may answer, which conditions see as their places; none where it answers a number.
    pub words: Box<[String]>,
    /// How long a payment waits for it at most, milliseconds.
    pub wait_ms: u16,
    /// A decision without an answer, or by a stale one, is marked as degraded.
    pub degrades: bool,
}

impl Validator {
    /// An answer, for people.
    pub fn text(&self, answer: i64) -> String {
        let word = usize::try_from(answer).ok().and_then(|place| self.words.get(place));
        word.map_or_else(|| answer.to_string(), |word| format!("\"{word}\""))
    }
}

/// What a decision sees of a validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// How it stands with the answer.
    pub state: AnswerState,
    /// The answer; `None` where there is none.
    pub answer: Option<i64>,
}

impl Answered {
    /// The payment is none that it is asked about.
    pub const NOT_ASKED: Self = Self { state: AnswerState::NotAsked, answer: None };
    /// There was no answer in time.
    pub const NONE: Self = Self { state: AnswerState::NoAnswer, answer: None };

    /// As the values that a decision sees.
    pub const fn values(self) -> [WindowValue; VALUES_EACH] {
        let answer = match self.answer {
            Some(answer) => WindowValue::Present(answer),
            None => WindowValue::Missing,
        };
        [answer, WindowValue::Present(self.state as i64)]
    }

    /// Out of the values that a decision saw; `None` where they are none of an answer.
    pub fn of(values: &[WindowValue]) -> Option<Self> {
        let (answer, state) = match values {
            [WindowValue::Present(answer), WindowValue::Present(state)] => (Some(*answer), *state),
            [WindowValue::Missing, WindowValue::Present(state)] => (None, *state),
            _ => return None,
        };
        let state = AnswerState::from_code(state)?;
        let has = matches!(state, AnswerState::Fresh | AnswerState::Cached | AnswerState::Stale);
        (has == answer.is_some()).then_some(Self { state, answer })
    }

    /// Whether a decision by it may be another one than it would have been with an answer of now.
    pub const fn is_degraded(self) -> bool {
        matches!(self.state, AnswerState::NoAnswer | AnswerState::Stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decision_sees_of_an_answer_is_read_back() {
        for (state, answer) in [
            (AnswerState::NotAsked, None),
            (AnswerState::Fresh, Some(0)),
            (AnswerState::Cached, Some(-7)),
            (AnswerState::Stale, Some(i64::MAX)),
            (AnswerState::NoAnswer, None),
        ] {
            let answered = Answered { state, answer };
            assert_eq!(Answered::of(&answered.values()), Some(answered));
        }
        for values in [
            [WindowValue::Missing, WindowValue::Present(1)],
            [WindowValue::Present(1), WindowValue::Present(4)],
            [WindowValue::Present(1), WindowValue::Present(5)],
            [WindowValue::Missing, WindowValue::Missing],
            [WindowValue::Evicted, WindowValue::Present(0)],
        ] {
            assert_eq!(Answered::of(&values), None, "{values:?}");
        }
    }
}
