//! Windows of time as conditions ask of them, and as they are written:
//!
//! ```text
//! payer.count("1h")   payee.distinct_payers("24h", "pix")   payer.sum("today", "approved", "incl")
//! subject . function ( span, verdicts and rails that count, "incl": with the payment itself )
//! ```
//!
//! A policy asks for each value once, however many of its conditions read it.

use super::error::{Fault, Span as Place};
use super::fields::{Field, Type, Unit};
use crate::policy::lists::{Asked as LookedUp, KeyField, MAX_ASKED as MAX_LOOKED_UP};
use crate::policy::validators::{MAX_VALIDATORS, VALUES_EACH};
use crate::policy::windows::{
    Asked, ESTIMATED, Filter, Function, MAX_ASKED, Member, SET_MAX, Span, Subject, WindowSpec,
};
use catraca_wire::extension::MAX_WINDOW_VALUES;
use catraca_wire::frame::Verdict;
use catraca_wire::list::ListName;
use catraca_wire::transaction::Rail;

/// Into how many buckets a sliding window is cut where its text does not say: its error is a tenth.
pub const DEFAULT_BUCKETS: u8 = 10;
/// The night where a policy does not say: that of Pix, 20:00 to 06:00.
pub const DEFAULT_NIGHT: (u8, u8) = (20, 6);

const SUBJECTS: [(&str, Subject); Subject::COUNT] = [
    ("payer", Subject::Payer),
    ("payee", Subject::Payee),
    ("device", Subject::Device),
    ("payer_account", Subject::PayerAccount),
    ("payee_account", Subject::PayeeAccount),
    ("payer_to_payee", Subject::PayerToPayee),
    ("payer_to_device", Subject::PayerToDevice),
    ("payee_to_device", Subject::PayeeToDevice),
];

/// How many members are told apart where nothing is compared with their number, or not yet.
const fn distinct(of: Member) -> Function {
    Function::Distinct { of, up_to: 1 }
}

const FUNCTIONS: [(&str, Function); 10] = [
    ("count", Function::Count),
    ("sum", Function::Sum),
    ("min", Function::Min),
    ("max", Function::Max),
    ("avg", Function::Avg),
    ("distinct_payers", distinct(Member::Payer)),
    ("distinct_payees", distinct(Member::Payee)),
    ("distinct_devices", distinct(Member::Device)),
    ("seconds_since_last", Function::SecondsSinceLast),
    ("seconds_since_first", Function::SecondsSinceFirst),
];

const VERDICTS: [(&str, Verdict); 3] =
    [("approved", Verdict::Approve), ("reviewed", Verdict::Review), ("denied", Verdict::Deny)];

const RAILS: [(&str, Rail); 5] = [
    ("other", Rail::Other),
    ("pix", Rail::Pix),
    ("ted", Rail::Ted),
    ("boleto", Rail::Boleto),
    ("card", Rail::Card),
];

const INCLUDING: &str = "incl";
const UNITS: [(char, u32); 3] = [('d', 24 * 60 * 60), ('h', 60 * 60), ('m', 60)];
const ARGUMENTS: &str = "first a span, \"10m\", \"24h\", \"30d\", \"today\" or \"night\"; then approved, reviewed, denied, a rail, or incl";

/// The values that the conditions of a policy ask of windows, and look up in lists.
#[derive(Debug, Clone)]
pub struct Asking {
    night: (u8, u8),
    asked: Vec<Asked>,
    looked_up: Vec<LookedUp>,
    validators: Vec<Declared>,
}

/// A validator that conditions may read.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    id: String,
    /// What it may answer; none where it answers a number.
    pub words: Box<[String]>,
}

/// The place of the first value that is looked up, until it is known how many values windows have.
pub(super) const LISTS_FROM: u8 = 128;
const _: () = assert!(MAX_ASKED <= LISTS_FROM as usize);
const _: () = assert!(MAX_LOOKED_UP <= (VALIDATORS_FROM - LISTS_FROM) as usize);

/// The place of the first value of a validator, until it is known how many others there are: of each its answer,
/// and behind it how it stands with that.
pub(super) const VALIDATORS_FROM: u8 = 192;
const _: () = assert!(MAX_VALIDATORS * VALUES_EACH <= (u8::MAX - VALIDATORS_FROM) as usize);

/// A value that a condition asks for, by its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Window(&'a Asked),
    List(&'a LookedUp),
    /// What a validator answered, and its place among those of the policy.
    Answer(&'a Declared, u8),
    /// How it stands with that.
    AnswerState(&'a Declared),
}

impl Value<'_> {
    /// As it is written.
    pub fn name(self) -> String {
        match self {
            Self::Window(asked) => asked.name(),
            Self::List(asked) => asked.name(),
            Self::Answer(validator, _) => format!("validator(\"{}\")", validator.id),
            Self::AnswerState(validator) => format!("no_answer(validator(\"{}\"))", validator.id),
        }
    }

    pub const fn ty(self) -> Type {
        match self {
            Self::Window(asked) => asked.ty(),
            Self::Answer(validator, place) if !validator.words.is_empty() => Type::Answer(place),
            Self::List(_) | Self::Answer(..) | Self::AnswerState(_) => Type::Int(Unit::Plain),
        }
    }

    /// Whether a payment that has the subject may lack it.
    pub const fn is_optional(self) -> bool {
        match self {
            Self::Window(asked) => asked.is_optional(),
            Self::List(_) | Self::Answer(..) => true,
            Self::AnswerState(_) => false,
        }
    }

    /// The field that a payment lacks where it lacks the subject; `None` where it never does, and where
    /// whoever asks for the value has asked for the field.
    pub const fn field(self) -> Option<Field> {
        match self {
            Self::Window(asked) => asked.window.subject.field(),
            Self::List(_) | Self::Answer(..) | Self::AnswerState(_) => None,
        }
    }

    /// What is to be written before it, where it may be missing.
    pub fn guard(self) -> String {
        match self {
            Self::Window(asked) => format!("has({})", asked.name()),
            Self::List(asked) => format!("{} in list(\"{}\")", asked.key.name(), asked.list),
            Self::Answer(..) | Self::AnswerState(_) => format!("has({})", self.name()),
        }
    }
}

impl Default for Asking {
    fn default() -> Self {
        Self::new(DEFAULT_NIGHT)
    }
}

impl Asking {
    /// Nothing so far, where a night is from one local hour to another.
    pub const fn new(night: (u8, u8)) -> Self {
        Self { night, asked: Vec::new(), looked_up: Vec::new(), validators: Vec::new() }
    }

    /// What is asked of windows: conditions read a value by its place here.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// What is looked up in lists: [`Program::link`](super::Program::link) puts these behind the values of
    /// windows.
    pub fn looked_up(&self) -> &[LookedUp] {
        &self.looked_up
    }

    pub(super) fn value(&self, place: u8) -> Value<'_> {
        if let Some(place) = place.checked_sub(VALIDATORS_FROM) {
            let number = place / VALUES_EACH as u8;
            let validator = &self.validators[usize::from(number)];
            return match place % VALUES_EACH as u8 {
                0 => Value::Answer(validator, number),
                _ => Value::AnswerState(validator),
            };
        }
        match place.checked_sub(LISTS_FROM) {
            None => Value::Window(&self.asked[usize::from(place)]),
            Some(place) => Value::List(&self.looked_up[usize::from(place)]),
        }
    }

    /// What the conditions behind this may read of a validator; `false` where there is no room for one more. One
    /// without words answers a number.
    pub fn declare(&mut self, id: &str, words: &[String]) -> bool {
        let values = self.asked.len() + self.looked_up.len() + VALUES_EACH * self.validators.len();
        let has_room =
            self.validators.len() < MAX_VALIDATORS && values + VALUES_EACH <= MAX_WINDOW_VALUES;
        if has_room {
            self.validators.push(Declared { id: id.to_owned(), words: words.into() });
        }
        has_room
    }

    /// The place of a validator's answer, by its name, which stands there without its quotes.
    pub(super) fn answer_of(&self, id: &str, at: Place) -> Result<u8, Fault> {
        let place = self.validators.iter().position(|known| known.id == id);
        place.map(|place| VALIDATORS_FROM + (VALUES_EACH * place) as u8).ok_or_else(|| {
            let known: Vec<_> = self.validators.iter().map(|known| known.id.as_str()).collect();
            let help = match known[..] {
                [] => "declare it by [[validator]]; conditions of validators read no others"
                    .to_owned(),
                _ => format!("there are {}", known.join(", ")),
            };
            Fault::new(at, format!("there is no validator {id:?}"), help)
        })
    }

    /// The words that a validator may answer.
    pub(super) fn words_of(&self, validator: u8) -> &[String] {
        &self.validators[usize::from(validator)].words
    }

    /// The place of what is looked up: a key of the payment, in the list of a name, which stands there
    /// without its quotes.
    pub(super) fn look_up(
        &mut self,
        (key, key_at): (&str, Place),
        (list, list_at): (&str, Place),
    ) -> Result<u8, Fault> {
        let Some(key) = KeyField::named(key) else {
            let known: Vec<_> = KeyField::ALL.iter().map(|field| field.name()).collect();
            let message = format!("{key} is not looked up in lists");
            let help = format!("these are: {}", known.join(", "));
            return Err(Fault::new(key_at, message, help));
        };
        let Some(list) = ListName::parse(list) else {
            let message = format!("{list:?} is no name of a list");
            let help = "it has 1 to 64 of a to z, 0 to 9 and -: list(\"known-payees\")";
            return Err(Fault::new(list_at, message, help));
        };
        let asked = LookedUp { list, key };
        // A list has keys of one kind.
        let is_other = |known: &&LookedUp| known.list == list && known.key.kind() != key.kind();
        if let Some(other) = self.looked_up.iter().find(is_other) {
            let (found, by) = (other.key.kind(), other.key.name());
            let message = format!("{list} has keys of kind {found}: {by} is looked up in it");
            let help = format!("look {} up in a list of kind {}", key.name(), key.kind());
            return Err(Fault::new(key_at.to(list_at), message, help));
        }
        if let Some(known) = self.looked_up.iter().position(|known| *known == asked) {
            return Ok(LISTS_FROM + known as u8);
        }
        self.hold_to_most(key_at.to(list_at), self.looked_up.len(), MAX_LOOKED_UP)?;
        self.looked_up.push(asked);
        Ok(LISTS_FROM + self.looked_up.len() as u8 - 1)
    }

    /// There is room for one more value of a kind, of which there are so many, and of all.
    fn hold_to_most(&self, at: Place, have: usize, most: usize) -> Result<(), Fault> {
        let of_validators = VALUES_EACH * self.validators.len();
        let all = self.asked.len() + self.looked_up.len() + of_validators;
        if have < most && all < MAX_WINDOW_VALUES {
            return Ok(());
        }
        let message = format!(
            "the policy asks for more than {most} such values, or for more than {MAX_WINDOW_VALUES} of windows, lists and validators"
        );
        Err(Fault::new(at, message, "ask for fewer"))
    }

    /// The place of a value: `arguments` are the texts of a call, without their quotes.
    pub(super) fn place(
        &mut self,
        subject: Subject,
        (function, function_at): (&str, Place),
        arguments: &[(&str, Place)],
    ) -> Result<u8, Fault> {
        let Some(&(_, function)) = FUNCTIONS.iter().find(|(name, _)| *name == function) else {
            let known: Vec<_> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
            let message = format!("windows have no {function}");
            return Err(Fault::new(
                function_at,
                message,
                format!("there are {}", known.join(", ")),
            ));
        };
        let Some((&(span, span_at), more)) = arguments.split_first() else {
            return Err(Fault::new(function_at, "the window has no span", ARGUMENTS));
        };
        let span = self.span(span).ok_or_else(|| {
            Fault::new(span_at, format!("{span:?} is no span of time"), ARGUMENTS)
        })?;
        let (mut verdicts, mut rails, mut including) = (Vec::new(), Vec::new(), false);
        for (at, &(word, word_at)) in more.iter().enumerate() {
            if more[..at].iter().any(|(before, _)| *before == word) {
                return Err(Fault::new(word_at, format!("{word:?} stands there twice"), ARGUMENTS));
            }
            if let Some((_, verdict)) = VERDICTS.iter().find(|(name, _)| *name == word) {
                verdicts.push(*verdict);
            } else if let Some((_, rail)) = RAILS.iter().find(|(name, _)| *name == word) {
                rails.push(*rail);
            } else if word == INCLUDING {
                including = true;
            } else {
                let message = format!("{word:?} says nothing of a window");
                return Err(Fault::new(word_at, message, ARGUMENTS));
            }
        }
        let mut filter = Filter::ALL;
        if !verdicts.is_empty() {
            filter = filter.verdicts(&verdicts);
        }
        if !rails.is_empty() {
            filter = filter.rails(&rails);
        }
        let window = WindowSpec { subject, span, filter };
        let asked = Asked { window, function, including };
        let whole = function_at.to(arguments.last().map_or(function_at, |(_, at)| *at));
        asked.check().map_err(|fault| Fault::new(whole, fault.to_string(), ARGUMENTS))?;
        let is_same = |other: &Asked| {
            let same_function = match (other.function, function) {
                (Function::Distinct { of: a, .. }, Function::Distinct { of: b, .. }) => a == b,
                (a, b) => a == b,
            };
            same_function && other.window == window && other.including == including
        };
        if let Some(known) = self.asked.iter().position(is_same) {
            return Ok(known as u8);
        }
        self.hold_to_most(whole, self.asked.len(), MAX_ASKED)?;
        self.asked.push(asked);
        Ok(self.asked.len() as u8 - 1)
    }

    fn span(&self, text: &str) -> Option<Span> {
        match text {
            "today" => return Some(Span::Today),
            "night" => {
                let (from_hour, to_hour) = self.night;
                return Some(Span::Night { from_hour, to_hour });
            }
            _ => {}
        }
        // Without a sign, and one way to write each.
        let number = |text: &str| -> Option<u32> {
            let is_number =
                text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
            text.parse().ok().filter(|_| is_number)
        };
        let (span, buckets) = match text.split_once('/') {
            Some((span, buckets)) => (span, u8::try_from(number(buckets)?).ok()?),
            None => (text, DEFAULT_BUCKETS),
        };
        let &(unit, unit_s) = UNITS.iter().find(|(unit, _)| span.ends_with(*unit))?;
        let span_s = number(span.strip_suffix(unit)?)?.checked_mul(unit_s)?;
        Some(Span::Sliding { span_s, buckets })
    }

    /// A number of distinct ones is compared with this: how many must be told apart.
    pub(super) fn tell_apart(&mut self, place: u8, compared_with: i64) {
        let Some(Function::Distinct { up_to, .. }) = self.function(place) else { return };
        // Beyond those that are told apart they are estimated.
        *up_to = (*up_to).max((compared_with.clamp(0, SET_MAX as i64) + 1) as u8);
    }

    /// A number of distinct ones is used otherwise than in a comparison with a constant.
    pub(super) fn tell_all_apart(&mut self, place: u8) {
        if let Some(Function::Distinct { up_to, .. }) = self.function(place) {
            *up_to = ESTIMATED;
        }
    }

    /// What a window's value is; `None` of what is looked up.
    fn function(&mut self, place: u8) -> Option<&mut Function> {
        self.asked.get_mut(usize::from(place)).map(|asked| &mut asked.function)
    }
}

/// The subject of this name.
pub(super) fn subject(name: &str) -> Option<Subject> {
    SUBJECTS.iter().find(|(known, _)| *known == name).map(|(_, subject)| *subject)
}

impl Subject {
    /// As it is written.
    pub fn name(self) -> &'static str {
        SUBJECTS[self as usize].0
    }

    /// The field that a payment lacks where it lacks the subject; `None` where it never does.
    pub(super) const fn field(self) -> Option<Field> {
        match self {
            Self::Payer | Self::Payee | Self::PayerToPayee => None,
            Self::Device | Self::PayerToDevice | Self::PayeeToDevice => Some(Field::Device),
            Self::PayerAccount => Some(Field::PayerAccount),
            Self::PayeeAccount => Some(Field::PayeeAccount),
        }
    }
}

impl Asked {
    /// As it is written.
    pub fn name(&self) -> String {
        let Self { window: WindowSpec { subject, span, filter }, function, including } = *self;
        let is_same = |known: Function| match (known, function) {
            (Function::Distinct { of: a, .. }, Function::Distinct { of: b, .. }) => a == b,
            (a, b) => a == b,
        };
        let written = FUNCTIONS.iter().find(|(_, known)| is_same(*known));
        let mut name = format!("{}.{}(\"", subject.name(), written.map_or("", |(name, _)| *name));
        match span {
            Span::Today => name.push_str("today"),
            Span::Night { .. } => name.push_str("night"),
            Span::Sliding { span_s, buckets } => {
                let (unit, unit_s) = UNITS
                    .into_iter()
                    .find(|(_, of)| span_s.is_multiple_of(*of))
                    .unwrap_or(('s', 1));
                name.push_str(&format!("{}{unit}", span_s / unit_s));
                if buckets != DEFAULT_BUCKETS {
                    name.push_str(&format!("/{buckets}"));
                }
            }
        }
        name.push('"');
        let mut argument = |word: &str| name.push_str(&format!(", \"{word}\""));
        if filter.takes_some_verdicts() {
            VERDICTS
                .iter()
                .filter(|(_, of)| filter.takes_verdict(*of))
                .for_each(|(w, _)| argument(w));
        }
        if filter.takes_some_rails() {
            RAILS
                .iter()
                .filter(|(_, of)| filter.takes_rail(of.to_wire()))
                .for_each(|(w, _)| argument(w));
        }
        if including {
            argument(INCLUDING);
        }
        name.push(')');
        name
    }

    /// What kind of number it is.
    pub(super) const fn ty(&self) -> Type {
        Type::Int(match self.function {
            Function::Count | Function::Distinct { .. } => Unit::Plain,
            Function::Sum | Function::Min | Function::Max | Function::Avg => Unit::Centavos,
            Function::SecondsSinceLast | Function::SecondsSinceFirst => Unit::Seconds,
        })
    }

    /// Whether a payment that has the subject may lack it: outside the night, and where there is nothing
    /// of which it could be the least, the average or the time.
    pub(super) const fn is_optional(&self) -> bool {
        match (self.window.span, self.function) {
            (Span::Night { .. }, _) => true,
            (_, Function::Count | Function::Sum | Function::Distinct { .. }) => false,
            (_, Function::Min | Function::Max | Function::Avg) => {
                !self.including || self.window.filter.takes_some_rails()
            }
            (_, Function::SecondsSinceLast | Function::SecondsSinceFirst) => true,
        }
    }

    /// For people: a number of the value's unit.
    pub fn text(&self, value: i64) -> String {
        self.ty().text(value)
    }
}
