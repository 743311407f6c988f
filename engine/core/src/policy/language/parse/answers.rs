//! What validators answered, in a condition: `validator("…")`.

use super::{Kind, NodeKind, Parser};
use crate::policy::language::error::{Fault, Span};
use crate::policy::language::token::Token;

/// The function that gives what a validator answered.
pub(super) const VALIDATOR: &str = "validator";

impl Parser<'_> {
    /// What a validator answered, if that stands there.
    pub(super) fn answer(&mut self, first: Token) -> Result<Option<Span>, Fault> {
        if self.written(first) != VALIDATOR || !self.takes("(") {
            return Ok(None);
        }
        self.answer_behind(first).map(Some)
    }

    /// What a validator answered, behind the parenthesis.
    pub(super) fn answer_behind(&mut self, first: Token) -> Result<Span, Fault> {
        const HELP: &str = "write validator(\"name\")";
        let name = self.next();
        if name.kind != Kind::Text {
            let message = format!("{} is no name of a validator", self.shown(name));
            return Err(Fault::new(name.span, message, HELP));
        }
        let end = self.expect(")", HELP)?;
        Ok(self.push(NodeKind::Answer { name: name.span }, first.span.to(end.span)))
    }
}
