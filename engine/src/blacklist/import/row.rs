//! One row: its document, its dates, its scope, and what becomes of it.

use super::Options;
use super::columns::Columns;
use crate::blacklist::Entry;
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::{DocumentError, DocumentKey};
use csv::ByteRecord;
use jiff::civil::Date;
use std::fmt;

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
    /// A date is none.
    BadDate,
    /// Its scope is neither `exact` nor `root`.
    BadScope,
    /// It has more or fewer fields than the header.
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
            Self::BadDate => "bad_date",
            Self::BadScope => "bad_scope",
            Self::WrongFields => "wrong_fields",
        })
    }
}

/// Reads a row. The entry is there exactly if the outcome is [`Outcome::Active`].
pub(super) fn read(record: &ByteRecord, columns: &Columns, source: ListSource, options: &Options) -> (Outcome, Option<Entry>) {
    match entry(record, columns, source, options) {
        Ok(entry) => (Outcome::Active, Some(entry)),
        Err(outcome) => (outcome, None),
    }
}

fn entry(record: &ByteRecord, columns: &Columns, source: ListSource, options: &Options) -> Result<Entry, Outcome> {
    if record.len() != columns.width {
        return Err(Outcome::WrongFields);
    }
    let field = |column: usize| record.get(column).unwrap_or_default().trim_ascii();
    // A document is ASCII; anything else has a character that can't be there.
    let text = std::str::from_utf8(field(columns.document)).map_err(|_| Outcome::Document(DocumentError::Character))?;
    let document = DocumentKey::parse(text).map_err(Outcome::Document)?;
    let scope = match columns.scope.map(field) {
        None => {
            if source == ListSource::Plain {
                Scope::Exact
            } else {
                options.sanctions_scope
            }
        }
        Some(b"") => Scope::Exact,
        Some(text) if text.eq_ignore_ascii_case(b"exact") => Scope::Exact,
        Some(text) if text.eq_ignore_ascii_case(b"root") => Scope::Root,
        Some(_) => return Err(Outcome::BadScope),
    };
    let from = columns.from.map_or(Ok(None), |column| date(field(column)))?;
    let until = columns.until.map_or(Ok(None), |column| date(field(column)))?;
    if until.is_some_and(|until| until < options.as_of) {
        return Err(Outcome::Expired);
    }
    if from.is_some_and(|from| from > options.as_of) {
        return Err(Outcome::Future);
    }
    // Only the overlay is no source of a list, and nobody can name it as one.
    Entry::new(document, source, scope).ok_or(Outcome::BadScope)
}

/// A date as published (`dd/MM/yyyy`) or as ISO has it (`yyyy-MM-dd`); an empty one sets no bound.
fn date(text: &[u8]) -> Result<Option<Date>, Outcome> {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0i16, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i16::from(digit - b'0')))
    };
    let (year, month, day) = match text {
        [] => return Ok(None),
        [d1, d2, b'/', m1, m2, b'/', year @ ..] if year.len() == 4 => (number(year), number(&[*m1, *m2]), number(&[*d1, *d2])),
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] => (number(&[*y1, *y2, *y3, *y4]), number(&[*m1, *m2]), number(&[*d1, *d2])),
        _ => return Err(Outcome::BadDate),
    };
    let (Some(year), Some(month), Some(day)) = (year, month, day) else { return Err(Outcome::BadDate) };
    // Two digits fit an i8.
    Date::new(year, month as i8, day as i8).map(Some).map_err(|_| Outcome::BadDate)
}

/// What stood where a document should, fit to be shown: only the fourth to ninth letter or digit, as in the usual mask of a CPF, and
/// at most [`MASKED_TEXT_LEN`] characters. A wrong document is mostly somebody's with a slip of the pen.
pub fn masked_text(text: &[u8]) -> String {
    let characters = String::from_utf8_lossy(text.trim_ascii());
    let letters = characters.chars().filter(|c| c.is_alphanumeric()).count();
    let mut place = 0;
    let masked = characters.chars().take(MASKED_TEXT_LEN).map(|c| match c {
        '.' | '-' | '/' | '*' => c,
        c if c.is_alphanumeric() => {
            place += 1;
            if letters >= 11 && c.is_ascii_alphanumeric() && (4..=9).contains(&place) { c } else { '*' }
        }
        _ => '?',
    });
    masked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_strict() {
        let day = |year, month, day| Ok(Some(Date::new(year, month, day).expect("a date")));
        assert_eq!(date(b""), Ok(None));
        assert_eq!(date(b"29/02/2024"), day(2024, 2, 29));
        assert_eq!(date(b"2026-11-22"), day(2026, 11, 22));
        assert_eq!(date(b"31/12/9999"), day(9999, 12, 31));
        for bad in [
            "29/02/2023",
            "1/2/2024",
            "2024/01/01",
            "00/01/2024",
            "aa/bb/cccc",
            "2026-13-01",
            "22-11-2026",
            "22/11/26",
            "+1/01/2024",
        ] {
            assert_eq!(date(bad.as_bytes()), Err(Outcome::BadDate), "{bad}");
        }
    }

    #[test]
    fn refused_documents_are_shown_masked() {
        assert_eq!(masked_text(b"049.332.286-81"), "***.332.286-**");
        assert_eq!(masked_text(b"12345"), "*****");
        assert_eq!(masked_text(b"=cmd()|'x'"), "?***????*?");
        assert_eq!(masked_text(&[b'1'; 500]).len(), MASKED_TEXT_LEN);
    }
}
