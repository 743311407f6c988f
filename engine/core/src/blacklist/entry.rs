//! What a snapshot is made of: entries, the reasons that some of them give, and when their sources
//! were published.

use super::format::SNAPSHOT_SOURCES;
use crate::calendar::day_number;
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::{DocumentKey, DocumentKind};
use jiff::civil::Date;
use std::collections::HashMap;

/// Longest reason that is kept, bytes: a sentence. What is behind it is cut off.
pub const MAX_REASON_LEN: usize = 160;
/// Most different reasons that are kept: their numbers fill two bytes, and at their longest they
/// take 11 MB. Entries with further ones are listed without their reasons.
pub const MAX_REASONS: usize = u16::MAX as usize;

/// One line of a list: a document, who lists it, how far that reaches, and when. 16 bytes, because
/// there may be 200 million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    document: DocumentKey,
    from: u16,
    until: u16,
    reason: u16,
    source: ListSource,
    scope: Scope,
}

const _: () = assert!(size_of::<Entry>() == 16);

impl Entry {
    /// An entry without dates. A CPF has no branches: its scope is always exact.
    /// [`ListSource::Overlay`] is no source of a snapshot: `None`.
    pub fn new(document: DocumentKey, source: ListSource, scope: Scope) -> Option<Self> {
        let scope = if document.kind() == DocumentKind::Cpf { Scope::Exact } else { scope };
        let place = usize::from(source.to_wire()) - 1;
        (place < SNAPSHOT_SOURCES).then_some(Self {
            document,
            from: 0,
            until: 0,
            reason: 0,
            source,
            scope,
        })
    }

    /// The same entry from one day through another, both included; `None` sets no bound.
    ///
    /// A day outside of those that have a number is taken as the nearest of them, but for an end
    /// behind them, which is none.
    #[must_use]
    pub fn between(self, from: Option<Date>, until: Option<Date>) -> Self {
        let until = until.map(day_number).filter(|&until| until < u16::MAX);
        Self { from: from.map_or(0, day_number), until: until.unwrap_or(0), ..self }
    }

    /// The same entry with a reason, as [`Reasons::number`] gave it.
    #[must_use]
    pub const fn because(self, reason: u16) -> Self {
        Self { reason, ..self }
    }

    /// The document that is listed.
    pub const fn document(&self) -> DocumentKey {
        self.document
    }

    /// How far that reaches.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether it counts on a day, in days since 1970-01-01.
    pub const fn counts_on(&self, day: u16) -> bool {
        counts_on(self.from, self.until, day)
    }

    /// Who lists it.
    pub(super) const fn source(&self) -> ListSource {
        self.source
    }

    /// First day; 0 always.
    pub(super) const fn from(&self) -> u16 {
        self.from
    }

    /// Last day; 0 without end.
    pub(super) const fn until(&self) -> u16 {
        self.until
    }

    /// Number of its reason; 0 none.
    pub(super) const fn reason(&self) -> u16 {
        self.reason
    }

    /// Whether it has a first or a last day.
    pub(super) const fn is_dated(&self) -> bool {
        self.from != 0 || self.until != 0
    }
}

/// Whether a line with these bounds counts on a day.
#[inline]
pub(super) const fn counts_on(from: u16, until: u16, day: u16) -> bool {
    from <= day && (until == 0 || day <= until)
}

/// The reasons of entries, each once.
#[derive(Debug, Clone, Default)]
pub struct Reasons {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u16>,
    not_kept: u64,
}

impl Reasons {
    /// The number of a reason, from 1; 0 for none, and where there are too many. Documents in it
    /// are masked, control characters are spaces, and what is longer than [`MAX_REASON_LEN`] is cut
    /// off.
    pub fn number(&mut self, text: &str) -> u16 {
        let text = presentable(text);
        if text.is_empty() {
            return 0;
        }
        if let Some(&number) = self.numbers.get(text.as_str()) {
            return number;
        }
        if self.texts.len() == MAX_REASONS {
            self.not_kept += 1;
            return 0;
        }
        let text: Box<str> = text.into();
        self.texts.push(text.clone());
        let number = self.texts.len() as u16;
        self.numbers.insert(text, number);
        number
    }

    /// Entries whose reasons were not kept, because there were too many.
    pub const fn not_kept(&self) -> u64 {
        self.not_kept
    }

    /// The texts in the order of their numbers.
    pub(super) fn texts(&self) -> &[Box<str>] {
        &self.texts
    }
}

/// A reason fit to be shown.
fn presentable(text: &str) -> String {
    let mut shown = String::new();
    for word in
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
    {
        if !shown.is_empty() {
            shown.push(' ');
        }
        push_masked(&mut shown, word);
    }
    shown.truncate(shown.floor_char_boundary(MAX_REASON_LEN));
    shown
}

/// Appends a word with the documents in it masked: the word as a whole, else each of its runs of
/// digits.
fn push_masked(shown: &mut String, word: &str) {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if let Ok(document) = DocumentKey::parse(core) {
        shown.push_str(&document.to_string());
        return;
    }
    let in_document = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '/');
    let mut rest = word;
    while !rest.is_empty() {
        let run = rest.len() - rest.trim_start_matches(in_document).len();
        let (run, behind) = rest.split_at(run);
        let document =
            |text: &str| DocumentKey::parse(text.trim_matches(|c: char| !c.is_ascii_digit()));
        match document(run) {
            Ok(document) => shown.push_str(&document.to_string()),
            // A slash is part of a CNPJ, and parts a CPF from what follows.
            Err(_) => {
                let parts = run.split('/').map(|part| {
                    document(part).map_or_else(|_| part.to_owned(), |found| found.to_string())
                });
                shown.push_str(&parts.collect::<Vec<_>>().join("/"));
            }
        }
        let next = behind.find(in_document).unwrap_or(behind.len());
        shown.push_str(&behind[..next]);
        rest = &behind[next..];
    }
}

/// Everything that a snapshot is built from.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The entries, in any order.
    pub entries: Vec<Entry>,
    /// The reasons that they name.
    pub reasons: Reasons,
    /// By source, in order of the codes: the day of which the list is; 0 unknown.
    pub source_days: [u16; SNAPSHOT_SOURCES],
}

impl Draft {
    /// Takes note of the day of which a list of a source is. Of several lists of one source the
    /// oldest counts, and one whose day is not known makes it unknown.
    pub fn published(&mut self, source: ListSource, first_of_source: bool, day: u16) {
        if let Some(known) = self.source_days.get_mut(usize::from(source.to_wire()) - 1) {
            *known = if first_of_source { day } else { day.min(*known) };
        }
    }
}

impl From<Vec<Entry>> for Draft {
    fn from(entries: Vec<Entry>) -> Self {
        Self { entries, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn reasons_are_kept_once_and_fit_to_be_shown() {
        let mut reasons = Reasons::default();
        assert_eq!(
            (reasons.number("fraud"), reasons.number("  fraud\n"), reasons.number(" \t")),
            (1, 1, 0)
        );
        assert_eq!(reasons.number("partner of 049.332.286-80,\u{1b}[31m see 12ABC34501DE35"), 2);
        assert_eq!(&*reasons.texts()[1], "partner of ***.332.286-** [31m see 12.ABC.345/****-**");
        let inside = [
            "CPF:04933228680",
            "(cpf04933228680)",
            "nº049.332.286-80/2026",
            "a/04933228680",
            "CPF=04933228680;14112015000156",
        ];
        for text in inside {
            let number = reasons.number(text);
            let shown = &*reasons.texts()[usize::from(number) - 1];
            assert!(!shown.contains("049") && !shown.contains("14112015000156"), "{shown}");
        }
        let long = reasons.number(&"\u{e7}".repeat(MAX_REASON_LEN));
        assert_eq!(reasons.texts()[usize::from(long) - 1].len(), MAX_REASON_LEN);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut reasons = Reasons::default();
        for n in 0..MAX_REASONS {
            assert_eq!(usize::from(reasons.number(&format!("reason {n}"))), n + 1);
        }
        assert_eq!(
            (reasons.number("one more"), reasons.number("reason 7"), reasons.not_kept()),
            (0, 8, 1)
        );
    }

    #[test]
    fn days_without_a_number_never_free_anybody() {
        let document = DocumentKey::parse("04933228680").expect("valid");
        let entry =
            Entry::new(document, ListSource::Plain, Scope::Exact).expect("a source of lists");
        let ancient = entry.between(Some(date(1900, 1, 1)), Some(date(9999, 12, 31)));
        assert!(counts_on(ancient.from(), ancient.until(), 1) && ancient.until() == 0);
        assert!(
            !entry.between(Some(date(2300, 1, 1)), None).is_dated()
                || entry.between(Some(date(2300, 1, 1)), None).from() == u16::MAX
        );
        assert!(!entry.between(None, None).is_dated());
    }

    #[test]
    fn of_several_lists_of_a_source_the_oldest_counts() {
        let mut draft = Draft::default();
        draft.published(ListSource::Plain, true, 20);
        draft.published(ListSource::Plain, false, 30);
        assert_eq!(draft.source_days, [0, 0, 0, 20]);
        draft.published(ListSource::Plain, false, 0);
        draft.published(ListSource::Overlay, true, 9);
        assert_eq!(draft.source_days, [0; 4]);
    }
}
