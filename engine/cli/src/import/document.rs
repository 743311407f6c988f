//! The document of a row: what stands where a CPF or a CNPJ belongs, and whose it is.
//!
//! Programs that take a document for a number lose its zeros or fill it up with some, and what they
//! leave can be somebody else's. Where a list says what kind of person a row names, that decides;
//! else a number that may be of two is listed as both, in doubt.

use super::row::Outcome;
use catraca_wire::{DocumentError, DocumentKey, DocumentKind};

/// Digits of a CPF, and of a CNPJ without letters.
const CPF_DIGITS: usize = 11;
const CNPJ_DIGITS: usize = 14;
/// Most zeros that a number is taken to have lost or gained: what a CNPJ has more than a CPF. With
/// each, chance matches more.
const MOST_ZEROS: usize = CNPJ_DIGITS - CPF_DIGITS;

/// What a list says of whose document stands in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Nothing.
    Anybodys,
    /// The column takes one kind only.
    Only(DocumentKind),
    /// The row says the kind of person, in a column of its own.
    PersonOf(DocumentKind),
}

/// The documents that a field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Documents {
    pub(super) first: DocumentKey,
    /// The other one that it may be.
    pub(super) second: Option<DocumentKey>,
    /// It had to be read as something else than it is written.
    pub(super) doubtful: bool,
}

impl Documents {
    const fn sure(first: DocumentKey) -> Self {
        Self { first, second: None, doubtful: false }
    }

    const fn doubtful(first: DocumentKey, second: Option<DocumentKey>) -> Self {
        Self { first, second, doubtful: true }
    }
}

/// Reads the text of a field, without what a spreadsheet puts around it.
pub(super) fn read(text: &str, whose: Whose) -> Result<Documents, Outcome> {
    let written =
        if is_number(text) { Err(DocumentError::Character) } else { DocumentKey::parse(text) };
    let written = written.map_err(Outcome::Document);
    match whose {
        Whose::Only(kind) => {
            match (written, with_zeros_right(text, kind).filter(|_| text.len() == CNPJ_DIGITS)) {
                (Ok(document), _) if document.kind() == kind => Ok(Documents::sure(document)),
                // Filled up to the length of a CNPJ, as where both stand in one field of a
                // database.
                (_, Some(document)) => Ok(Documents::sure(document)),
                (Ok(_), None) => Err(Outcome::WrongKind),
                (Err(outcome), None) => Err(outcome),
            }
        }
        Whose::PersonOf(kind) => match (written, with_zeros_right(text, kind)) {
            (Ok(document), _) if document.kind() == kind => Ok(Documents::sure(document)),
            (_, Some(other)) => Ok(Documents::doubtful(other, None)),
            // The kind of person is wrong, or the document: it is one, and so it is not free.
            (written, None) => written.map(|document| Documents::doubtful(document, None)),
        },
        // A number of 11 digits stays a CPF: one of a hundred is a CNPJ that lost zeros, too, and
        // nobody could list the others.
        Whose::Anybodys if text.len() == CPF_DIGITS => written.map(Documents::sure),
        Whose::Anybodys => match (
            written,
            with_zeros_right(text, DocumentKind::Cpf).filter(|_| text.len() == CNPJ_DIGITS),
        ) {
            (Ok(document), None) => Ok(Documents::sure(document)),
            (Ok(document), Some(other)) => Ok(Documents::doubtful(document, Some(other))),
            (Err(_), Some(other)) => Ok(Documents::doubtful(other, None)),
            (Err(outcome), None) => Err(outcome),
        },
    }
}

/// The kind of document that a kind of person has, as the published lists name it.
pub(super) fn kind_of_person(plain_words: &str) -> Option<DocumentKind> {
    match plain_words {
        "F" | "PF" | "FISICA" | "PESSOA FISICA" => Some(DocumentKind::Cpf),
        "J" | "PJ" | "JURIDICA" | "PESSOA JURIDICA" => Some(DocumentKind::Cnpj),
        _ => None,
    }
}

/// The document of a kind that a number becomes with the zeros that it lost, or without those that
/// it gained.
fn with_zeros_right(text: &str, kind: DocumentKind) -> Option<DocumentKey> {
    let digits = match kind {
        DocumentKind::Cpf => CPF_DIGITS,
        DocumentKind::Cnpj => CNPJ_DIGITS,
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.len().abs_diff(digits) > MOST_ZEROS {
        return None;
    }
    let number = text.trim_start_matches('0');
    let document = DocumentKey::parse(&format!("{number:0>digits$}")).ok()?;
    (document.kind() == kind).then_some(document)
}

/// Whether a spreadsheet made a number with a fraction out of it (`4933228680.0`, `1.4112E13`):
/// without its dot it could be another document. A mask has two dots, or others beside them.
fn is_number(text: &str) -> bool {
    text.bytes().filter(|&byte| byte == b'.').count() == 1 && !text.contains(['-', '/'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> DocumentKey {
        DocumentKey::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_number_is_told_from_a_mask() {
        assert!(["4933228680.0", "1.4112015000E13"].into_iter().all(is_number));
        let documents = [
            "049.332.286-80",
            "049.332.28680",
            "12.ABC.345/01DE-35",
            "04933228680",
            "049332286-80",
            "12ABC345/01DE.35",
        ];
        assert!(!documents.into_iter().any(is_number));
    }

    #[test]
    fn the_kind_of_person_decides_what_a_number_is() {
        use DocumentKind::{Cnpj, Cpf};
        // Both of 40188000100 and 00040188000100 have right check digits.
        let (cpf, cnpj) = (key("40188000100"), key("00040188000100"));
        let doubtful = |document| Ok(Documents::doubtful(document, None));
        for (text, kind, is) in [
            ("40188000100", Cpf, Ok(Documents::sure(cpf))),
            ("40188000100", Cnpj, doubtful(cnpj)),
            ("40188000100", Cnpj, doubtful(cnpj)),
            ("00040188000100", Cnpj, Ok(Documents::sure(cnpj))),
            ("00040188000100", Cpf, doubtful(cpf)),
            ("4933228680", Cpf, doubtful(key("04933228680"))),
            ("00004933228680", Cpf, doubtful(key("04933228680"))),
            // No other reading: the document counts.
            ("04933228680", Cnpj, doubtful(key("04933228680"))),
            ("14112015000156", Cpf, doubtful(key("14112015000156"))),
            ("04933228681", Cpf, Err(Outcome::Document(DocumentError::CheckDigit))),
            ("***.332.286-**", Cpf, Err(Outcome::Document(DocumentError::Masked))),
            ("191", Cnpj, Err(Outcome::Document(DocumentError::Length))),
        ] {
            assert_eq!(read(text, Whose::PersonOf(kind)), is, "{text} of {kind:?}");
        }
    }

    #[test]
    fn a_number_that_may_be_of_two_is_both() {
        let both = Documents::doubtful(key("00040188000100"), Some(key("40188000100")));
        assert_eq!(read("00040188000100", Whose::Anybodys), Ok(both));
        assert_eq!(
            read("00004933228680", Whose::Anybodys),
            Ok(Documents::doubtful(key("04933228680"), None))
        );
        for sure in ["40188000100", "14112015000156", "00.040.188/0001-00", "12.ABC.345/01DE-35"] {
            assert_eq!(read(sure, Whose::Anybodys), Ok(Documents::sure(key(sure))), "{sure}");
        }
        assert_eq!(
            read("4933228680", Whose::Anybodys),
            Err(Outcome::Document(DocumentError::Length))
        );
    }

    #[test]
    fn a_column_of_one_kind_takes_that_kind_only() {
        use DocumentKind::{Cnpj, Cpf};
        assert_eq!(read("40188000100", Whose::Only(Cnpj)), Err(Outcome::WrongKind));
        assert_eq!(read("14112015000156", Whose::Only(Cpf)), Err(Outcome::WrongKind));
        assert_eq!(
            read("00040188000100", Whose::Only(Cnpj)),
            Ok(Documents::sure(key("00040188000100")))
        );
        assert_eq!(
            read("00040188000100", Whose::Only(Cpf)),
            Ok(Documents::sure(key("40188000100")))
        );
        assert_eq!(
            read("00004933228680", Whose::Only(Cpf)),
            Ok(Documents::sure(key("04933228680")))
        );
        assert_eq!(
            read("4933228680", Whose::Only(Cpf)),
            Err(Outcome::Document(DocumentError::Length))
        );
    }

    #[test]
    fn kinds_of_persons_are_told() {
        assert_eq!(
            (kind_of_person("F"), kind_of_person("PESSOA JURIDICA")),
            (Some(DocumentKind::Cpf), Some(DocumentKind::Cnpj))
        );
        assert_eq!((kind_of_person(""), kind_of_person("X")), (None, None));
    }
}
