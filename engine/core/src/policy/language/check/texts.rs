//! Texts of a condition as values, and names that are near each other.

use super::super::error::{Fault, Span};
use super::super::fields::{MAX_TEXT_LEN, Type, Words};
use super::super::parse::NodeKind;
use super::super::program::Step;
use super::Check;

pub(super) fn word(words: Words, text: &str) -> Option<i64> {
    words.iter().find(|(word, _)| *word == text).map(|(_, code)| *code)
}

/// A text as a number: its bytes, the first one highest, zeros behind.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let fits = !text.is_empty() && text.len() <= MAX_TEXT_LEN && text.is_ascii();
    let mut bytes = [0; MAX_TEXT_LEN];
    bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    fits.then_some(u64::from_be_bytes(bytes))
}

/// How many characters of two names differ.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl Check<'_> {
    /// `x.startsWith("…")` and `x.endsWith("…")`.
    pub(super) fn affix(&mut self, kind: NodeKind, span: Span) -> Result<(), Fault> {
        let (argument, x) = (self.pop(), self.pop());
        if x.ty != Type::Text {
            let message = format!("{} is no text", x.ty.name());
            return Err(Fault::new(x.span, message, "compare it by =="));
        }
        let bytes = self.quoted(argument.span, Type::Text)? as u64;
        self.steps.truncate(argument.first);
        let len = 8 - bytes.trailing_zeros() / 8;
        let step = if kind == NodeKind::StartsWith {
            Step::Begins { mask: u64::MAX << (64 - 8 * len), bytes }
        } else {
            Step::Ends { len, bytes: bytes >> (64 - 8 * len) }
        };
        self.push(Type::Bool, span, x.first, step);
        Ok(())
    }
}
