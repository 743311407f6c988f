//! The rules of a policy, checked and compiled.

use super::language::Program;
use super::lists::Asked as LookedUp;
use super::validators::{AnswerState, Answered, VALUES_EACH, Validator};
use super::windows::{
    Asked, CheckpointFault, MAX_KEYS, MIN_KEYS, Span, Subject, Windows, WindowsFault,
};
use catraca_wire::extension::{MAX_RULE_WORDS, WindowValue};
use catraca_wire::frame::Verdict;
use catraca_wire::transaction::Rail;
use std::ops::RangeInclusive;

/// Most rules of a policy: the matched ones are bits of a record's extension.
pub const MAX_RULES: usize = 256;
/// Highest score of a rule, and of a decision; a rule's may be as far below zero.
pub const MAX_SCORE: i64 = 1000;
/// Most segments: a decision looks at each.
pub const MAX_SEGMENTS: usize = 32;
const _: () = assert!(MAX_RULES == 64 * MAX_RULE_WORDS);

/// A bit for each rule of a policy, in its order.
pub type RuleWords = [u64; MAX_RULE_WORDS];

/// What a rule may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleVerdict {
    /// Let it through. Beats nothing, unless it `overrides` what the other rules and the score say.
    Allow {
        /// Whether it does.
        overrides: bool,
    },
    /// Have a person look at it.
    Review,
    /// Refuse it.
    Deny,
}

impl RuleVerdict {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Review => "review",
            Self::Deny => "deny",
        }
    }
}

/// What a rule does where it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleEffect {
    /// What it adds to the score.
    pub score: i64,
    /// What it decides.
    pub verdict: Option<RuleVerdict>,
    /// It is evaluated and recorded, and has no effect.
    pub shadow: bool,
}

impl RuleEffect {
    /// Whether it speaks against a payment. Such a rule matches where its condition has no result: what
    /// can't be told lets no payment through.
    pub const fn is_against(&self) -> bool {
        match self.verdict {
            Some(RuleVerdict::Review | RuleVerdict::Deny) => true,
            Some(RuleVerdict::Allow { .. }) => false,
            None => self.score > 0,
        }
    }
}

impl RuleEffect {
    /// Whether a rule of this effect changes nothing wherever another one, which stands before it, matches, too.
    fn is_nothing_beside(&self, other: &Self) -> bool {
        let strength = |verdict| match verdict {
            Some(RuleVerdict::Deny) => 2,
            Some(RuleVerdict::Review) => 1,
            Some(RuleVerdict::Allow { .. }) | None => 0,
        };
        let is_verdict_alone = self.score == 0 && self.is_against();
        is_verdict_alone
            && !self.shadow
            && !other.shadow
            && strength(other.verdict) >= strength(self.verdict)
    }
}

/// The share of a rule that is applied to every payer.
pub const EVERY_PAYER: u16 = 1_000;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id, which no other rule of the policy has.
    pub id: String,
    /// When it matches.
    pub when: Program,
    /// What it does.
    pub effect: RuleEffect,
    /// The local days of transactions that it looks at, days since 1970-01-01.
    pub days: RangeInclusive<u16>,
    /// Of a thousand payers those that it is applied to, 1 to [`EVERY_PAYER`]: always the same ones, and with a
    /// larger share others beside them. Where it matches a payment of another payer it is recorded, and does
    /// nothing.
    pub share_permille: u16,
}

impl Rule {
    /// Whether this rule changes nothing, because another one, which stands before it, matches wherever it does: so
    /// far as their effects, days and shares say.
    pub fn is_nothing_beside(&self, other: &Self) -> bool {
        self.effect.is_nothing_beside(&other.effect)
            && other.days.start() <= self.days.start()
            && self.days.end() <= other.days.end()
            && self.share_permille <= other.share_permille
    }
}

/// Days of a rule that is valid always.
pub const EVERY_DAY: RangeInclusive<u16> = 0..=u16::MAX;

/// Scores from which a payment is reviewed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Reviewed from here, 1 to 1001; 1001 never.
    pub review: u16,
    /// Denied from here, 1 to 1001; 1001 never.
    pub deny: u16,
}

impl Thresholds {
    /// No score decides anything.
    pub const NEVER: Self = Self { review: MAX_SCORE as u16 + 1, deny: MAX_SCORE as u16 + 1 };

    /// What a score comes to.
    pub const fn verdict(self, score: u16) -> Verdict {
        if score >= self.deny {
            Verdict::Deny
        } else if score >= self.review {
            Verdict::Review
        } else {
            Verdict::Approve
        }
    }
}

/// Thresholds of some payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Of this rail; `None` all.
    pub rail: Option<Rail>,
    /// Of payers that are companies, or people; `None` both.
    pub payer_is_cnpj: Option<bool>,
    /// Their thresholds.
    pub thresholds: Thresholds,
}

/// Who decides on listed parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListsDecide {
    /// The lists: a listed payer or payee is denied, whatever the rules say.
    #[default]
    Deny,
    /// The rules, which see `payer.listed` and `payee.listed`.
    Rules,
}

/// Keys of each subject that a node keeps where a policy does not say: those of a million payers.
pub const DEFAULT_WINDOW_KEYS: u32 = 1 << 20;

/// What the conditions of a policy ask of windows of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsAsked {
    /// The values, which conditions read by their places; at most
    /// [`MAX_ASKED`](super::windows::MAX_ASKED).
    pub asked: Box<[Asked]>,
    /// Keys of each subject that the node keeps: of those of a payer its shards keep a part each, of all others
    /// each of them keeps so many.
    pub keys: u32,
}

impl Default for WindowsAsked {
    fn default() -> Self {
        Self { asked: Box::default(), keys: DEFAULT_WINDOW_KEYS }
    }
}

impl WindowsAsked {
    /// Windows without a payment, of one of so many shards; `None` where nothing is asked.
    ///
    /// # Errors
    /// What is asked can't be, or needs too much.
    pub fn empty(&self, shards: u16) -> Result<Option<Windows>, WindowsFault> {
        if self.asked.is_empty() {
            return Ok(None);
        }
        Windows::new(&self.asked, self.keys_of(shards)).map(Some)
    }

    /// Windows of one of so many shards out of their checkpoint.
    ///
    /// # Errors
    /// The bytes are not of such windows.
    pub fn restored(&self, shards: u16, bytes: &[u8]) -> Result<Windows, CheckpointFault> {
        Windows::from_checkpoint(&self.asked, self.keys_of(shards), bytes)
    }

    fn keys_of(&self, shards: u16) -> [usize; Subject::COUNT] {
        Subject::ALL.map(|subject| {
            let keys = self.keys as usize;
            // Each shard has its own payers, and everybody's payees.
            let own = if subject.is_of_payer() { keys.div_ceil(usize::from(shards)) } else { keys };
            own.next_power_of_two().clamp(MIN_KEYS, MAX_KEYS)
        })
    }

    /// Whether there can be such windows.
    ///
    /// # Errors
    /// What is asked can't be, or needs too much.
    pub fn check(&self) -> Result<(), WindowsFault> {
        Windows::new(&self.asked, [MIN_KEYS; Subject::COUNT]).map(drop)
    }

    /// Memory that it needs on a node of so many shards, bytes, and of that what a payer needs.
    pub fn bytes(&self, shards: u16) -> (u64, usize) {
        let Ok(windows) = Windows::new(&self.asked, [MIN_KEYS; Subject::COUNT]) else {
            return (0, 0);
        };
        let keys = u64::from(self.keys.next_power_of_two());
        let of = |subject: Subject| windows.bytes_per_key(subject);
        let tables = |subject: Subject| if subject.is_of_payer() { 1 } else { u64::from(shards) };
        let bytes = |subject| of(subject) as u64 * keys * tables(subject);
        (Subject::ALL.into_iter().map(bytes).sum(), of(Subject::Payer))
    }

    /// How far back it looks, nanoseconds: what happened longer before a payment is in no window of it.
    pub fn looks_back_ns(&self) -> u64 {
        /// A night and the day before it.
        const CALENDAR_S: u64 = 2 * 24 * 60 * 60;
        let looks_back_s = |asked: &Asked| match asked.window.span {
            span @ Span::Sliding { span_s, .. } => u64::from(span_s) + u64::from(span.bucket_s()),
            Span::Today | Span::Night { .. } => CALENDAR_S,
        };
        self.asked.iter().map(looks_back_s).max().unwrap_or(0) * 1_000_000_000
    }

    /// The first value of a subject that not the payer alone decides on: its payments are those of
    /// several shards.
    pub fn across_shards(&self) -> Option<&Asked> {
        self.asked.iter().find(|asked| !asked.window.subject.is_of_payer())
    }
}

/// The rules of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// In the policy's order, at most [`MAX_RULES`].
    pub rules: Box<[Rule]>,
    /// Thresholds of payments that are in no segment.
    pub thresholds: Thresholds,
    /// The first that a payment is in counts; at most [`MAX_SEGMENTS`].
    pub segments: Box<[Segment]>,
    /// Who decides on listed parties.
    pub listed: ListsDecide,
    /// What its conditions ask of windows.
    pub windows: WindowsAsked,
    /// What its conditions look up in lists: values behind those of windows.
    pub lists: Box<[LookedUp]>,
    /// Whom it asks outside: two values of each, behind those of lists.
    pub validators: Box<[Validator]>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rules: Box::default(),
            thresholds: Thresholds::NEVER,
            segments: Box::default(),
            listed: ListsDecide::Deny,
            windows: WindowsAsked::default(),
            lists: Box::default(),
            validators: Box::default(),
        }
    }
}

impl Rules {
    /// How many values its conditions read: of windows, behind them of lists, and behind them of validators.
    pub const fn values(&self) -> usize {
        self.answers_from() + VALUES_EACH * self.validators.len()
    }

    /// The place of the first value of a validator.
    pub const fn answers_from(&self) -> usize {
        self.windows.asked.len() + self.lists.len()
    }

    /// The validator whose answer a value is, and how it stands with that otherwise: by the value's place.
    fn validator_at(&self, place: usize) -> Option<(&Validator, bool)> {
        let behind = place.checked_sub(self.answers_from())?;
        let validator = self.validators.get(behind / VALUES_EACH)?;
        Some((validator, behind % VALUES_EACH == 0))
    }

    /// A value that its conditions read, as it is written, by its place.
    pub fn value_name(&self, place: usize) -> String {
        match (self.windows.asked.get(place), self.validator_at(place)) {
            (Some(asked), _) => asked.name(),
            (None, Some((validator, true))) => format!("validator(\"{}\")", validator.id),
            (None, Some((validator, false))) => format!("state of validator(\"{}\")", validator.id),
            (None, None) => self.lists[place - self.windows.asked.len()].name(),
        }
    }

    /// A number of a value's unit, for people.
    pub fn value_text(&self, place: usize, number: i64) -> String {
        match (self.windows.asked.get(place), self.validator_at(place)) {
            (Some(asked), _) => asked.text(number),
            (None, Some((validator, true))) => validator.text(number),
            (None, Some((_, false))) => match AnswerState::from_code(number) {
                Some(state) => state.name().to_owned(),
                None => number.to_string(),
            },
            (None, None) => number.to_string(),
        }
    }

    /// Whether a decision that sees these values lacked an answer that counts.
    pub fn is_degraded(&self, values: &[WindowValue]) -> bool {
        let answers = values[self.answers_from()..].chunks_exact(VALUES_EACH);
        self.validators.iter().zip(answers).any(|(validator, values)| {
            validator.degrades && Answered::of(values).is_some_and(Answered::is_degraded)
        })
    }

    /// Says of each validator that it was not asked: in values that a decision sees.
    pub fn ask_nobody(&self, values: &mut [WindowValue]) {
        for of_validator in values[self.answers_from()..].chunks_exact_mut(VALUES_EACH) {
            of_validator.copy_from_slice(&Answered::NOT_ASKED.values());
        }
    }

    /// Says of each validator what another policy recorded that asks one of the same name for the same words; that it
    /// was not asked where there is none.
    pub fn take_answers(&self, values: &mut [WindowValue], of: &Self, recorded: &[WindowValue]) {
        self.ask_nobody(values);
        let answers = values[self.answers_from()..].chunks_exact_mut(VALUES_EACH);
        for (validator, into) in self.validators.iter().zip(answers) {
            let is_same =
                |other: &Validator| other.id == validator.id && other.words == validator.words;
            let place = of.validators.iter().position(is_same);
            let from = place.and_then(|place| {
                recorded.get(of.answers_from() + VALUES_EACH * place..)?.get(..VALUES_EACH)
            });
            if let Some(from) = from {
                into.copy_from_slice(from);
            }
        }
    }

    /// Whether one is in shadow.
    pub fn has_shadow(&self) -> bool {
        self.rules.iter().any(|rule| rule.effect.shadow)
    }

    /// Words that hold a bit for each rule.
    pub const fn words(&self) -> usize {
        self.rules.len().div_ceil(64)
    }

    /// Thresholds of a payment.
    pub fn thresholds_of(&self, rail: u8, payer_is_cnpj: bool) -> Thresholds {
        let is_in = |segment: &&Segment| {
            segment.rail.is_none_or(|of| of.to_wire() == rail)
                && segment.payer_is_cnpj.is_none_or(|of| of == payer_is_cnpj)
        };
        self.segments.iter().find(is_in).map_or(self.thresholds, |segment| segment.thresholds)
    }
}
