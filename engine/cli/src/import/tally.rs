//! What was found in a list, counted; and how much of it may be refused or doubtful before the list
//! is none to be trusted.

use super::row::{Doubts, Outcome};
use catraca_wire::DocumentError;
use catraca_wire::frame::ListSource;

/// Share of its rows, percent, that a plain list may have refused: its keeper can mend them, and
/// each names somebody who stays free. So in a list of less than a hundred rows a single one is too
/// many.
pub const PLAIN_REJECTS_PERCENT: u8 = 1;
/// Share of its rows, percent, that a published list may have refused, masked ones too. Nobody here
/// can mend them. Above this it is another layout.
pub const PUBLISHED_REJECTS_PERCENT: u8 = 20;
/// Share of its rows, percent, that a published list may have refused for anything but a mask. Some
/// in a hundred have wrong digits as published; above twice that it was damaged on the way, as by a
/// spreadsheet.
pub const PUBLISHED_DAMAGED_PERCENT: u8 = 10;
/// Doubtful rows that a plain list may have: none, its keeper can mend them.
pub const PLAIN_DOUBTFUL: u64 = 0;
/// Share of its rows, percent, that a published list may have doubtful: dates that no calendar has
/// occur as published, about one in a hundred. Each is listed, so that more of them would deny more
/// than they protect.
pub const PUBLISHED_DOUBTFUL_PERCENT: u64 = 2;

/// What was found in a list, or in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rows but for the header.
    pub rows: u64,
    /// Rows that count on the day.
    pub active: u64,
    /// Rows whose last day has passed.
    pub expired: u64,
    /// Rows whose first day has not come.
    pub future: u64,
    /// Rows with a document partly hidden.
    pub masked_document: u64,
    /// Rows with neither 11 nor 14 characters for a document.
    pub document_length: u64,
    /// Rows with a character in the document that can't be there.
    pub document_character: u64,
    /// Rows with wrong check digits.
    pub document_check_digit: u64,
    /// Rows with one digit repeated for a document.
    pub document_repeated_digit: u64,
    /// Rows with a CPF in a column of CNPJs, or the other way round.
    pub document_wrong_kind: u64,
    /// Rows with more or fewer fields than the header and no sound document.
    pub wrong_fields: u64,
    /// Rows whose document is taken although not all of them could be read.
    pub doubtful: u64,
    /// Of the doubtful rows, those taken as having no end.
    pub assumed_open: u64,
    /// Of the doubtful rows, those taken as having begun.
    pub assumed_begun: u64,
    /// Of the doubtful rows, those taken as reaching the whole company.
    pub assumed_root: u64,
    /// Of the doubtful rows, those with more or fewer fields than the header.
    pub doubtful_fields: u64,
    /// Of the doubtful rows, those whose number is taken as having lost or gained zeros, or as two
    /// documents.
    pub assumed_document: u64,
}

impl Tally {
    /// Rows with a document that is none, for whatever reason but a mask.
    pub const fn invalid_document(&self) -> u64 {
        self.document_length
            + self.document_character
            + self.document_check_digit
            + self.document_repeated_digit
            + self.document_wrong_kind
    }

    /// Rows that name a document which could not be read, so that it stays free.
    pub const fn refused(&self) -> u64 {
        self.invalid_document() + self.masked_document + self.wrong_fields
    }

    /// Counts one row.
    pub const fn add(&mut self, outcome: Outcome, doubts: Doubts) {
        self.rows += 1;
        let counter = match outcome {
            Outcome::Active => &mut self.active,
            Outcome::Expired => &mut self.expired,
            Outcome::Future => &mut self.future,
            Outcome::Document(DocumentError::Masked) => &mut self.masked_document,
            Outcome::Document(DocumentError::Length) => &mut self.document_length,
            Outcome::Document(DocumentError::Character) => &mut self.document_character,
            Outcome::Document(DocumentError::CheckDigit) => &mut self.document_check_digit,
            Outcome::Document(DocumentError::RepeatedDigit) => &mut self.document_repeated_digit,
            Outcome::WrongKind => &mut self.document_wrong_kind,
            Outcome::WrongFields => &mut self.wrong_fields,
        };
        *counter += 1;
        self.doubtful += doubts.any() as u64;
        self.assumed_open += doubts.open as u64;
        self.assumed_begun += doubts.begun as u64;
        self.assumed_root += doubts.root as u64;
        self.doubtful_fields += doubts.fields as u64;
        self.assumed_document += doubts.document as u64;
    }

    /// Adds another list's counts.
    pub const fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.active += other.active;
        self.expired += other.expired;
        self.future += other.future;
        self.masked_document += other.masked_document;
        self.document_length += other.document_length;
        self.document_character += other.document_character;
        self.document_check_digit += other.document_check_digit;
        self.document_repeated_digit += other.document_repeated_digit;
        self.document_wrong_kind += other.document_wrong_kind;
        self.wrong_fields += other.wrong_fields;
        self.doubtful += other.doubtful;
        self.assumed_open += other.assumed_open;
        self.assumed_begun += other.assumed_begun;
        self.assumed_root += other.assumed_root;
        self.doubtful_fields += other.doubtful_fields;
        self.assumed_document += other.assumed_document;
    }
}

/// How much of a list may be refused or doubtful; what is not said is the default of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tolerance {
    /// Share of its rows refused, percent.
    pub rejects_percent: Option<u8>,
    /// Doubtful rows.
    pub doubtful: Option<u64>,
}

/// More of a list than tolerated could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Intolerable {
    /// Rows refused.
    #[error(
        "{refused} of {rows} rows name a document that can't be read and would stay free, more than the {percent} % that may; \
         see which with --rejects FILE, mend the list, or allow more with --max-rejects PERCENT"
    )]
    Rejects {
        /// How many.
        refused: u64,
        /// Of how many.
        rows: u64,
        /// The share allowed.
        percent: u8,
    },
    /// Rows refused for anything but a mask.
    #[error(
        "{damaged} of {rows} rows have a document with wrong digits or none, more than the {percent} % that may and more than are \
         published so: the list was damaged on the way, as by a spreadsheet; see which with --rejects FILE, download it again, or allow \
         more with --max-rejects PERCENT"
    )]
    Damaged {
        /// How many.
        damaged: u64,
        /// Of how many.
        rows: u64,
        /// The share allowed.
        percent: u8,
    },
    /// Rows taken in doubt.
    #[error(
        "{doubtful} rows can't be read in full and would be listed without an end, a start or a scope, or as somebody else's too, more than the {most} that may; \
         see which with --rejects FILE, mend the list (a column cpf or cnpj says whose a number is), or list them so with --max-doubtful N"
    )]
    Doubtful {
        /// How many.
        doubtful: u64,
        /// How many may be.
        most: u64,
    },
}

impl Tolerance {
    /// Holds what was found in a list of a kind against what is tolerated.
    ///
    /// # Errors
    /// [`Intolerable`].
    pub fn hold(&self, kind: ListSource, tally: &Tally) -> Result<(), Intolerable> {
        let plain = kind == ListSource::Plain;
        let (refused, rows) = (tally.refused(), tally.rows);
        let too_many = |count: u64, percent: u8| {
            u128::from(count) * 100 > u128::from(rows) * u128::from(percent)
        };
        let percent = self.rejects_percent.unwrap_or(if plain {
            PLAIN_REJECTS_PERCENT
        } else {
            PUBLISHED_REJECTS_PERCENT
        });
        if too_many(refused, percent) {
            return Err(Intolerable::Rejects { refused, rows, percent });
        }
        let percent = self.rejects_percent.unwrap_or(if plain {
            PLAIN_REJECTS_PERCENT
        } else {
            PUBLISHED_DAMAGED_PERCENT
        });
        let damaged = refused - tally.masked_document;
        if too_many(damaged, percent) {
            return Err(Intolerable::Damaged { damaged, rows, percent });
        }
        // Of a small published list one row at least.
        let published = || (rows * PUBLISHED_DOUBTFUL_PERCENT / 100).max(1);
        let most =
            self.doubtful.unwrap_or_else(|| if plain { PLAIN_DOUBTFUL } else { published() });
        if tally.doubtful > most {
            return Err(Intolerable::Doubtful { doubtful: tally.doubtful, most });
        }
        Ok(())
    }
}
