//! Values of windows in a condition: what is asked, and how it stands with it.

use super::super::asking;
use super::super::error::{Fault, Span};
use super::super::fields::Type;
use super::super::guards::Input;
use super::super::parse::Binary;
use super::super::program::{State, Step};
use super::{Check, Operand};

/// The functions that say how it stands with a value of a window, besides `has`.
pub(super) const STATES: [(&str, State); 2] = [("known", State::Known), ("exact", State::Exact)];

impl Check<'_> {
    /// A value of a window.
    pub(super) fn window(
        &mut self,
        span: Span,
        subject: Span,
        function: Span,
        arguments: std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        let (text, tree, first) = (self.text, self.tree, self.steps.len());
        let inside = |span: Span| Span { start: span.start + 1, end: span.end - 1 };
        let arguments: Vec<_> = tree.constants[arguments]
            .iter()
            .map(|node| (&text[inside(node.span).range()], node.span))
            .collect();
        let subject = asking::subject(self.written(subject)).expect("the parser knows subjects");
        let place = self.asking.place(subject, (&text[function.range()], function), &arguments)?;
        self.reads.push((Input::Window(place), span));
        self.windows.push(place);
        self.push(self.asking.value(place).ty(), span, first, Step::Window(place));
        Ok(())
    }

    /// What is looked up in a list: the place of its value.
    pub(super) fn look_up(&mut self, key: Span, name: Span) -> Result<u8, Fault> {
        let inside = Span { start: name.start + 1, end: name.end - 1 };
        let (text, asking) = (self.text, &mut *self.asking);
        asking.look_up((&text[key.range()], key), (&text[inside.range()], name))
    }

    /// How it stands with a value of a window, of which nothing else is read here.
    pub(super) fn state(&mut self, span: Span, x: &Operand, state: State) -> Result<(), Fault> {
        let Some(place) = x.window else {
            let message = "only a value of a window can be in doubt";
            return Err(Fault::new(x.span, message, "write known(payer.count(\"1h\"))"));
        };
        let asked = self.asking.value(place);
        let is_optional = asked.is_optional() || asked.field().is_some();
        if state == State::Has && !is_optional {
            let message = format!("every transaction has {}", asked.name());
            return Err(Fault::new(x.span, message, "leave has() out"));
        }
        if state == State::Exact {
            self.asking.tell_all_apart(place);
        }
        self.reads.pop();
        self.steps.truncate(x.first);
        self.push(Type::Bool, span, x.first, Step::State(state, place));
        Ok(())
    }

    /// What is compared with a constant says how many distinct ones are told apart.
    pub(super) fn tell_apart(&mut self, operator: Binary, a: &Operand, b: &Operand) {
        for (side, other) in [(a, b), (b, a)] {
            let Some(place) = side.window else { continue };
            match other.constant.filter(|_| operator.is_comparison()) {
                Some(constant) => self.asking.tell_apart(place, constant),
                None => self.asking.tell_all_apart(place),
            }
        }
    }
}
