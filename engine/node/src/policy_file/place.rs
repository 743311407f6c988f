//! Where in a policy's file something stands, as people read it.

use std::ops::Range;
use toml::Spanned;

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// How many characters it is about, 1 at least.
    pub width: usize,
    /// The line itself.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// The text of a policy's file.
pub(super) struct File<'t> {
    pub text: &'t str,
}

impl File<'_> {
    /// Where a part of a string's content stands in the file. A string with escapes is told as a whole.
    pub fn within(&self, string: &Spanned<String>, part: Range<usize>) -> Range<usize> {
        let (whole, content) = (string.span(), string.get_ref().as_str());
        let written = &self.text[whole.clone()];
        match written.find(content) {
            Some(at) if !content.is_empty() => {
                let start = whole.start + at;
                start + part.start..start + part.end
            }
            _ => whole,
        }
    }

    /// Line and column of a place, and where its line begins and ends.
    pub fn place(&self, at: usize) -> (usize, usize, &str) {
        let before = &self.text[..at.min(self.text.len())];
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[begin..].split('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, before[begin..].chars().count() + 1, line)
    }

    pub fn fault(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> PolicyFault {
        let (line, column, text) = self.place(span.start);
        let about = self.text.get(span).unwrap_or_default();
        let width = about.split('\n').next().unwrap_or_default().chars().count().max(1);
        PolicyFault {
            line,
            column,
            width,
            text: text.trim_end().to_owned(),
            message: message.into(),
            help: help.into(),
        }
    }
}
