//! One row: its documents, its dates, its scope, and what becomes of it.
//!
//! What can't be read of a row that names a document never makes the document free: an end that
//! can't be read is none, a start has passed, a scope is the wider one. Dates that contradict each
//! other count as unreadable. Such rows are taken, and counted with their [`Doubts`].

use super::Options;
use super::columns::Columns;
use super::day::{self, Day};
use super::document::{self, Whose};
use super::text::{decoded, meant, plain};
use catraca_core::blacklist::{Draft, Entry};
use catraca_wire::DocumentError;
use catraca_wire::frame::{ListSource, Scope};
use csv::ByteRecord;
use jiff::ToSpan;
use jiff::civil::Date;
use std::fmt;

/// No end lies before this: the law that the oldest of these registers go back to is of 1993.
/// Databases and spreadsheets write such days where there is none: 0001-01-01, 30/12/1899,
/// 01/01/1900, 1970-01-01.
const EARLIEST_END: Date = jiff::civil::date(1980, 1, 1);
/// No entry waits for longer than so many years, a life, for its beginning: 9999-12-31 means that
/// nobody knows.
const LONGEST_WAIT_YEARS: i64 = 100;

/// Characters of a refused document's text that are shown, masked.
pub const MASKED_TEXT_LEN: usize = 24;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It counts on the day.
    Active,
    /// Its last day has passed.
    Expired,
    /// Its first day has not come.
    Future,
    /// Its document is none, or masked.
    Document(DocumentError),
    /// Its document is sound, and not of the kind that its column holds.
    WrongKind,
    /// It has more or fewer fields than the header, and names no sound document.
    WrongFields,
}

/// The reason's name in the file of rejects.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Future => "future",
            Self::Document(DocumentError::Masked) => "masked_document",
            Self::Document(DocumentError::Length) => "document_length",
            Self::Document(DocumentError::Character) => "document_character",
            Self::Document(DocumentError::CheckDigit) => "document_check_digit",
            Self::Document(DocumentError::RepeatedDigit) => "document_repeated_digit",
            Self::WrongKind => "document_wrong_kind",
            Self::WrongFields => "wrong_fields",
        })
    }
}

/// What could not be read of a row whose document is taken all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Doubts {
    /// Its end: it is taken as having none.
    pub open: bool,
    /// Its start: it is taken as having begun.
    pub begun: bool,
    /// Its scope: it is taken as reaching the whole company.
    pub root: bool,
    /// Its fields are more or fewer than the header's, so that none but the document is used.
    pub fields: bool,
    /// Whose document it is: zeros are taken as lost or gained, or both that it may be are listed.
    pub document: bool,
}

impl Doubts {
    /// Whether there is any.
    pub const fn any(self) -> bool {
        self.open || self.begun || self.root || self.fields || self.document
    }
}

/// Their names, as in the file of rejects.
impl fmt::Display for Doubts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.open, "assumed_open"),
            (self.begun, "assumed_begun"),
            (self.root, "assumed_root"),
            (self.fields, "wrong_fields"),
            (self.document, "assumed_document"),
        ];
        let names: Vec<_> =
            names.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect();
        f.write_str(&names.join("+"))
    }
}

/// A row that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) outcome: Outcome,
    pub(super) doubts: Doubts,
    /// Column of the document that the outcome speaks of.
    pub(super) column: usize,
}

/// Reads a row, and adds an entry for each of its sound documents unless its last day has passed.
///
/// A row with several documents of which one can't be read is refused for that one; the others are
/// taken.
pub(super) fn read(
    record: &ByteRecord,
    columns: &Columns,
    source: ListSource,
    options: &Options,
    draft: &mut Draft,
) -> Row {
    let field = |column: usize| decoded(record.get(column).unwrap_or_default());
    let wrong_fields = record.len() != columns.width;
    let mut row = Row {
        outcome: Outcome::Active,
        doubts: Doubts::default(),
        column: columns.documents[0].at,
    };
    let scope;
    let (mut from, mut until) = (None, None);
    if wrong_fields {
        row.doubts.fields = true;
        scope = if source == ListSource::Plain { Scope::Root } else { options.sanctions_scope };
    } else {
        scope = match columns.scope {
            Some(column) => read_scope(meant(&field(column))).unwrap_or_else(|| {
                row.doubts.root = true;
                Scope::Root
            }),
            None if source == ListSource::Plain => Scope::Exact,
            None => options.sanctions_scope,
        };
        let day = |column: Option<usize>| match column
            .map_or(Day::None, |column| Day::read(meant(&field(column))))
        {
            Day::None => (None, false),
            Day::On(date) => (Some(date), false),
            Day::Unreadable => (None, true),
        };
        (from, row.doubts.begun) = day(columns.from);
        (until, row.doubts.open) = day(columns.until);
        if until.is_some_and(|until| until < EARLIEST_END) {
            (until, row.doubts.open) = (None, true);
        }
        if from.is_some_and(|from| from > options.as_of.saturating_add(LONGEST_WAIT_YEARS.years()))
        {
            (from, row.doubts.begun) = (None, true);
        }
        if from.zip(until).is_some_and(|(from, until)| from > until) {
            // One of them is wrong, and which can't be told: it would never count.
            (from, until) = (None, None);
            (row.doubts.begun, row.doubts.open) = (true, true);
        }
        if until.is_some_and(|until| until < options.as_of) {
            row.outcome = Outcome::Expired;
        } else if from.is_some_and(|from| from > options.as_of) {
            row.outcome = Outcome::Future;
        }
    }
    let takes = row.outcome != Outcome::Expired;
    let reason = match columns.reason {
        Some(column) if takes && !wrong_fields => draft.reasons.number(&field(column)),
        _ => 0,
    };
    let person = columns
        .person
        .filter(|_| !wrong_fields)
        .and_then(|column| document::kind_of_person(&plain(meant(&field(column)))));
    let several = columns.documents.len() > 1;
    let (mut named, mut refused) = (0, None);
    for column in &columns.documents {
        let text = field(column.at);
        let text = meant(&text);
        // Where each row fills one of several columns, people write a dash into the others.
        if text.is_empty() || (several && day::is_none(text)) {
            continue;
        }
        let whose =
            column.kind.map(Whose::Only).or(person.map(Whose::PersonOf)).unwrap_or(Whose::Anybodys);
        match document::read(text, whose) {
            Ok(documents) => {
                named += 1;
                row.doubts.document |= documents.doubtful;
                // Only the overlay is no source of a list, and nobody can name it as one.
                let listed = [Some(documents.first), documents.second]
                    .into_iter()
                    .flatten()
                    .filter(|_| takes);
                let entries = listed.filter_map(|document| Entry::new(document, source, scope));
                draft
                    .entries
                    .extend(entries.map(|entry| entry.between(from, until).because(reason)));
            }
            Err(outcome) => refused = refused.or(Some((outcome, column.at))),
        }
    }
    match refused {
        _ if wrong_fields && named == 0 => row.outcome = Outcome::WrongFields,
        Some((outcome, column)) => (row.outcome, row.column) = (outcome, column),
        None if named == 0 => row.outcome = Outcome::Document(DocumentError::Length),
        None => {}
    }
    if named == 0 || !takes {
        row.doubts = Doubts::default();
    }
    row
}

/// A scope's name; nothing means this document.
fn read_scope(text: &str) -> Option<Scope> {
    match text {
        "" => Some(Scope::Exact),
        text => Scope::ALL.iter().copied().find(|scope| scope.name().eq_ignore_ascii_case(text)),
    }
}

/// What stood where a document should, fit to be shown: only the fourth to ninth letter or digit,
/// as in the usual mask of a CPF, and at most [`MASKED_TEXT_LEN`] characters. A wrong document is
/// mostly somebody's with a slip of the pen.
pub fn masked_text(text: &[u8]) -> String {
    let characters = String::from_utf8_lossy(text.trim_ascii());
    let letters = characters.chars().filter(|c| c.is_alphanumeric()).count();
    let mut place = 0;
    let masked = characters.chars().take(MASKED_TEXT_LEN).map(|c| match c {
        '.' | '-' | '/' | '*' => c,
        c if c.is_alphanumeric() => {
            place += 1;
            if letters >= 11 && c.is_ascii_alphanumeric() && (4..=9).contains(&place) {
                c
            } else {
                '*'
            }
        }
        _ => '?',
    });
    masked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_documents_are_shown_masked() {
        assert_eq!(masked_text(b"049.332.286-81"), "***.332.286-**");
        assert_eq!(masked_text(b"12345"), "*****");
        assert_eq!(masked_text(b"=cmd()|'x'"), "?***????*?");
        assert_eq!(masked_text(&[b'1'; 500]).len(), MASKED_TEXT_LEN);
    }
}
