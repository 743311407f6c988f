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
use crate::policy::windows::{
    Asked, Filter, Function, MAX_ASKED, Member, SET_MAX, Span, Subject, WindowSpec,
};
use catraca_wire::frame::Verdict;
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

/// The values that the conditions of a policy ask of windows.
#[derive(Debug, Clone)]
pub struct Asking {
    night: (u8, u8),
    asked: Vec<Asked>,
}

impl Default for Asking {
    fn default() -> Self {
        Self::new(DEFAULT_NIGHT)
    }
}

impl Asking {
    /// Nothing so far, where a night is from one local hour to another.
    pub const fn new(night: (u8, u8)) -> Self {
        Self { night, asked: Vec::new() }
    }

    /// What is asked: conditions read a value by its place here.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    pub(super) fn value(&self, place: u8) -> &Asked {
        &self.asked[usize::from(place)]
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
        if self.asked.len() == MAX_ASKED {
            let message = format!("the policy asks for more than {MAX_ASKED} values of windows");
            return Err(Fault::new(whole, message, "ask for fewer"));
        }
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
    pub(super) fn tell_apart(
        &mut self,
        place: u8,
        compared_with: i64,
        at: Place,
    ) -> Result<(), Fault> {
        let Function::Distinct { up_to, .. } = &mut self.asked[usize::from(place)].function else {
            return Ok(());
        };
        if compared_with >= SET_MAX as i64 {
            let message = format!("distinct ones are counted up to {SET_MAX}");
            let help = format!("compare with at most {}", SET_MAX - 1);
            return Err(Fault::new(at, message, help));
        }
        *up_to = (*up_to).max((compared_with.max(0) + 1) as u8);
        Ok(())
    }

    /// A number of distinct ones is used otherwise than in a comparison with a constant.
    pub(super) fn tell_all_apart(&mut self, place: u8) {
        if let Function::Distinct { up_to, .. } = &mut self.asked[usize::from(place)].function {
            *up_to = SET_MAX as u8;
        }
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
