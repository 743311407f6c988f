//! What validators answered, in a condition.

use super::super::asking::VALIDATORS_FROM;
use super::super::error::{Fault, Span};
use super::super::fields::Type;
use super::super::guards::Input;
use super::super::parse::Binary;
use super::super::program::Step;
use super::texts::distance;
use super::{Check, Operand};
use crate::policy::validators::AnswerState;

/// The function that says that there was no answer.
pub(super) const NO_ANSWER: &str = "no_answer";

impl Check<'_> {
    /// `validator("…")`.
    pub(super) fn answer(&mut self, span: Span, name: Span) -> Result<(), Fault> {
        let first = self.steps.len();
        let inside = Span { start: name.start + 1, end: name.end - 1 };
        let place = self.asking.answer_of(self.written(inside), name)?;
        self.reads.push((Input::Window(place), span));
        self.windows.push(place);
        self.push(self.asking.value(place).ty(), span, first, Step::Window(place));
        Ok(())
    }

    /// `no_answer(validator("…"))`: it was asked, and did not answer in time.
    pub(super) fn no_answer(&mut self, span: Span, x: &Operand) -> Result<(), Fault> {
        let Some(place) = x.window.filter(|place| *place >= VALIDATORS_FROM) else {
            let message = "only a validator can leave a question without an answer";
            let help = format!("write {NO_ANSWER}(validator(\"name\"))");
            return Err(Fault::new(x.span, message, help));
        };
        // The state stands behind the answer, which is not read.
        self.reads.pop();
        self.windows.push(place + 1);
        self.steps.truncate(x.first);
        self.steps.push(Step::Window(place + 1));
        self.steps.push(Step::Constant(AnswerState::NoAnswer as i64));
        self.push(Type::Bool, span, x.first, Step::Binary(Binary::Equal));
        Ok(())
    }

    /// What a word stands for as an answer of a validator.
    pub(super) fn answered_word(
        &self,
        span: Span,
        validator: u8,
        text: &str,
    ) -> Result<i64, Fault> {
        let words = self.asking.words_of(validator);
        let place = words.iter().position(|word| word == text);
        place.map(|place| place as i64).ok_or_else(|| {
            let near = words.iter().map(|word| (distance(word, text), word)).min();
            let help = match near.filter(|(distance, _)| *distance <= 2) {
                Some((_, near)) => format!("did you mean \"{near}\"?"),
                None => format!("it answers {}", words.join(", ")),
            };
            Fault::new(span, format!("the validator never answers \"{text}\""), help)
        })
    }
}
