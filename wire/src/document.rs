//! Brazilian taxpayer documents: CPF (people) and CNPJ (companies).
//!
//! Text is parsed once, at the edge, into a [`DocumentKey`]; everything inside works with keys,
//! which can't be wrong.
//!
//! Sources: CPF, the modulus-11 rule of Receita Federal; CNPJ with letters, IN RFB 2.229/2024, in
//! force since July 2026: the value of a character is its ASCII code minus 48, so `A` counts 17.

use std::fmt;

/// Length in bytes of a document on the wire: 14 ASCII bytes, a CPF left-aligned and zero-filled.
pub const DOCUMENT_LEN: usize = 14;
const CPF_LEN: usize = 11;
/// 36^12: one past the largest CNPJ key.
const CNPJ_KEYS: u64 = 36u64.pow(12);
/// 36^4: how many branch orders a CNPJ root can have.
pub const ORDERS_PER_ROOT: u64 = 36u64.pow(4);
/// Set in the key of a CPF, clear in the key of a CNPJ.
const CPF_TAG: u64 = 1 << 63;

/// Whose document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// A natural person's, 11 digits.
    Cpf,
    /// A legal person's, 14 characters.
    Cnpj,
}

/// Why a text is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DocumentError {
    /// Neither 11 nor 14 characters once the mask is taken off.
    #[error("a document has 11 (CPF) or 14 (CNPJ) characters")]
    Length,
    /// A character that this kind of document can't have in that place.
    #[error("a character that a document can't have in that place")]
    Character,
    /// The check digits don't follow from the rest.
    #[error("the check digits are wrong")]
    CheckDigit,
    /// One digit repeated throughout: passes the arithmetic, never issued.
    #[error("one digit repeated throughout is no document")]
    RepeatedDigit,
    /// Digits hidden with `*`, as in published lists of people: names nobody exactly.
    #[error("the document is masked")]
    Masked,
}

/// A valid document as one number.
///
/// CPF: bit 63 set, the first nine digits as an integer below. CNPJ: bit 63 clear, the first twelve
/// characters in base 36 (`0-9A-Z`). The check digits follow from the rest and are not held. The
/// order of keys has no meaning outside one kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey(u64);

impl DocumentKey {
    /// Reads the canonical form: 14 bytes, upper case, a CPF left-aligned and zero-filled.
    ///
    /// # Errors
    /// What [`DocumentError`] lists; a mask or a lower-case letter is [`DocumentError::Character`].
    #[inline]
    pub fn from_wire(bytes: &[u8; DOCUMENT_LEN]) -> Result<Self, DocumentError> {
        // A CPF is told from a CNPJ by its three trailing zero bytes.
        if bytes[CPF_LEN..] == [0, 0, 0] {
            let mut digits = [0u8; CPF_LEN];
            digits.copy_from_slice(&bytes[..CPF_LEN]);
            if digits[CPF_LEN - 1] == 0 {
                return Err(DocumentError::Length);
            }
            Self::from_cpf(&digits)
        } else {
            Self::from_cnpj(bytes)
        }
    }

    /// Reads what people type and lists publish: with or without mask, letters of either case,
    /// spaces around.
    ///
    /// # Errors
    /// What [`DocumentError`] lists.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let mut characters = [0u8; DOCUMENT_LEN];
        let mut len = 0;
        for c in text.trim().chars() {
            match c {
                '.' | '-' | '/' | ' ' => continue,
                '*' => return Err(DocumentError::Masked),
                c if c.is_ascii_alphanumeric() => {
                    if len == DOCUMENT_LEN {
                        return Err(DocumentError::Length);
                    }
                    characters[len] = c.to_ascii_uppercase() as u8;
                    len += 1;
                }
                _ => return Err(DocumentError::Character),
            }
        }
        match len {
            CPF_LEN => {
                let mut digits = [0u8; CPF_LEN];
                digits.copy_from_slice(&characters[..CPF_LEN]);
                Self::from_cpf(&digits)
            }
            DOCUMENT_LEN => Self::from_cnpj(&characters),
            _ => Err(DocumentError::Length),
        }
    }

    #[inline]
    fn from_cpf(text: &[u8; CPF_LEN]) -> Result<Self, DocumentError> {
        let mut first_sum = 0u32;
        let mut second_sum = 0u32;
        let mut number = 0u64;
        let mut bad = false;
        let mut differ = 0u8;
        for (i, &c) in text.iter().enumerate() {
            let digit = c.wrapping_sub(b'0');
            bad |= digit > 9;
            differ |= c ^ text[0];
            let digit = u32::from(digit);
            if i < 9 {
                first_sum = first_sum.wrapping_add(digit * (10 - i as u32));
                number = number * 10 + u64::from(digit);
            }
            if i < 10 {
                second_sum = second_sum.wrapping_add(digit * (11 - i as u32));
            }
        }
        if bad {
            return Err(DocumentError::Character);
        }
        if differ == 0 {
            return Err(DocumentError::RepeatedDigit);
        }
        if check_digit(first_sum) != text[9] || check_digit(second_sum) != text[10] {
            return Err(DocumentError::CheckDigit);
        }
        Ok(Self(CPF_TAG | number))
    }

    #[inline]
    fn from_cnpj(text: &[u8; DOCUMENT_LEN]) -> Result<Self, DocumentError> {
        // Weights 5..2, 9..2 for the first digit; 6..2, 9..2 for the second, which also counts the
        // first.
        const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
        let mut first_sum = 0u32;
        let mut second_sum = 0u32;
        let mut number = 0u64;
        let mut bad = false;
        let mut differ = 0u8;
        for (i, &c) in text[..12].iter().enumerate() {
            bad |= !(c.is_ascii_digit() || c.is_ascii_uppercase());
            differ |= c ^ text[0];
            let value = u32::from(c.wrapping_sub(b'0'));
            first_sum += value * WEIGHTS[i + 1];
            second_sum += value * WEIGHTS[i];
            let base36 =
                if c > b'9' { c.wrapping_sub(b'A').wrapping_add(10) } else { c.wrapping_sub(b'0') };
            number = number.wrapping_mul(36).wrapping_add(u64::from(base36));
        }
        bad |= !text[12].is_ascii_digit() | !text[13].is_ascii_digit();
        if bad {
            return Err(DocumentError::Character);
        }
        if differ | (text[12] ^ text[0]) | (text[13] ^ text[0]) == 0 {
            return Err(DocumentError::RepeatedDigit);
        }
        let first = check_digit(first_sum);
        second_sum += u32::from(first - b'0') * WEIGHTS[12];
        if first != text[12] || check_digit(second_sum) != text[13] {
            return Err(DocumentError::CheckDigit);
        }
        debug_assert!(number < CNPJ_KEYS);
        Ok(Self(number))
    }

    /// The key of a CPF from its first nine digits; `None` for a repeated digit or a number of more
    /// than nine digits.
    pub fn from_cpf_number(number: u32) -> Option<Self> {
        (number <= 999_999_999 && !number.is_multiple_of(111_111_111))
            .then_some(Self(CPF_TAG | u64::from(number)))
    }

    /// The key as an integer, for files; [`Self::from_raw`] takes it back.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// A key from a file; `None` if no document has it.
    pub fn from_raw(raw: u64) -> Option<Self> {
        if raw & CPF_TAG != 0 {
            Self::from_cpf_number(u32::try_from(raw & !CPF_TAG).ok()?)
        } else {
            (raw < CNPJ_KEYS && raw != 0).then_some(Self(raw))
        }
    }

    /// CPF or CNPJ.
    pub const fn kind(self) -> DocumentKind {
        if self.0 & CPF_TAG != 0 { DocumentKind::Cpf } else { DocumentKind::Cnpj }
    }

    /// The first nine digits of a CPF as a number below 10^9; `None` for a CNPJ.
    pub const fn cpf_number(self) -> Option<u32> {
        match self.kind() {
            DocumentKind::Cpf => Some((self.0 & !CPF_TAG) as u32),
            DocumentKind::Cnpj => None,
        }
    }

    /// The root of a CNPJ (its first eight characters in base 36, below 36^8): the company,
    /// whatever the branch. `None` for a CPF.
    pub const fn cnpj_root(self) -> Option<u64> {
        match self.kind() {
            DocumentKind::Cpf => None,
            DocumentKind::Cnpj => Some(self.0 / ORDERS_PER_ROOT),
        }
    }

    /// The canonical 14 bytes, check digits included.
    pub fn to_wire(self) -> [u8; DOCUMENT_LEN] {
        let mut text = [0u8; DOCUMENT_LEN];
        match self.kind() {
            DocumentKind::Cpf => {
                let mut number = self.0 & !CPF_TAG;
                for i in (0..9).rev() {
                    text[i] = b'0' + (number % 10) as u8;
                    number /= 10;
                }
                for place in [9usize, 10] {
                    let sum = (0..place)
                        .map(|i| u32::from(text[i] - b'0') * (place as u32 + 1 - i as u32))
                        .sum();
                    text[place] = check_digit(sum);
                }
            }
            DocumentKind::Cnpj => {
                let mut number = self.0;
                for i in (0..12).rev() {
                    let value = (number % 36) as u8;
                    text[i] = if value < 10 { b'0' + value } else { b'A' + value - 10 };
                    number /= 36;
                }
                for place in [12usize, 13] {
                    // Weights run 2..=9 from the right, over and over.
                    let sum = (0..place)
                        .map(|i| u32::from(text[i] - b'0') * (2 + (place - 1 - i) as u32 % 8))
                        .sum();
                    text[place] = check_digit(sum);
                }
            }
        }
        text
    }

    /// The document in full, without mask. Personal data: only for an authorised answer, never for
    /// a log or a metric.
    pub fn to_canonical(self) -> String {
        let wire = self.to_wire();
        let len = if self.kind() == DocumentKind::Cpf { CPF_LEN } else { DOCUMENT_LEN };
        wire[..len].iter().map(|&b| char::from(b)).collect()
    }
}

/// Prints masked, so that a stray `{:?}` or `{}` gives nobody away: `***.456.789-**`; a CNPJ,
/// public by law, keeps its root.
impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let canonical = self.to_canonical();
        match self.kind() {
            DocumentKind::Cpf => write!(f, "***.{}.{}-**", &canonical[3..6], &canonical[6..9]),
            DocumentKind::Cnpj => {
                write!(f, "{}.{}.{}/****-**", &canonical[..2], &canonical[2..5], &canonical[5..8])
            }
        }
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The check character of a weighted sum: 11 minus the remainder of the division by 11, or 0 where
/// that has two digits.
#[inline]
fn check_digit(sum: u32) -> u8 {
    let remainder = sum % 11;
    if remainder < 2 { b'0' } else { b'0' + (11 - remainder) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Vectors made with python-stdnum 2.2 as the oracle.
    const VECTORS: &str = include_str!("../vectors/documents.tsv");

    #[test]
    fn every_published_vector_holds() {
        let mut seen = 0;
        for line in VECTORS.lines().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [input, kind, expected] = fields[..] else { panic!("not three fields: {line:?}") };
            let parsed = DocumentKey::parse(input);
            match kind {
                "invalid" => {
                    let reason = match parsed {
                        Err(DocumentError::Length) => "length",
                        Err(DocumentError::Character) => "character",
                        Err(DocumentError::CheckDigit) => "check_digit",
                        Err(DocumentError::RepeatedDigit) => "repeated_digit",
                        Err(DocumentError::Masked) => "masked",
                        Ok(_) => "valid",
                    };
                    assert_eq!(reason, expected, "{input:?}");
                }
                _ => {
                    let key = parsed.unwrap_or_else(|e| panic!("{input:?}: {e}"));
                    assert_eq!(key.to_canonical(), expected, "{input:?}");
                    assert_eq!(key.kind() == DocumentKind::Cpf, kind == "cpf", "{input:?}");
                    assert_eq!(DocumentKey::from_wire(&key.to_wire()), Ok(key));
                    assert_eq!(DocumentKey::from_raw(key.raw()), Some(key));
                }
            }
            seen += 1;
        }
        assert_eq!(seen, 486, "the vectors file lost lines");
    }

    #[test]
    fn facts_from_receita() {
        let example = DocumentKey::parse("12.ABC.345/01DE-35").expect("Receita's own example");
        assert_eq!(example.to_canonical(), "12ABC34501DE35");
        DocumentKey::parse("00000000000191").expect("Banco do Brasil is valid");
        let one = DocumentKey::parse("ABCDEFGH000195").expect("valid");
        let other = DocumentKey::parse("ABCDEFGH000276").expect("valid");
        assert_ne!(one, other);
        assert_eq!(one.cnpj_root(), other.cnpj_root());
    }

    #[test]
    fn the_wire_takes_the_canonical_form_only() {
        assert_eq!(DocumentKey::from_wire(b"12abc34501de35"), Err(DocumentError::Character));
        assert_eq!(DocumentKey::from_wire(&[0; 14]), Err(DocumentError::Length));
        assert_eq!(DocumentKey::from_wire(b"0493322868\0\0\0\0"), Err(DocumentError::Length));
        assert_eq!(DocumentKey::from_wire(b"04933228680\0\0 "), Err(DocumentError::Character));
        assert!(DocumentKey::from_wire(b"04933228680\0\0\0").is_ok());
    }

    #[test]
    fn printing_masks() {
        let cpf = DocumentKey::parse("04933228680").expect("valid");
        assert_eq!(format!("{cpf} {cpf:?}"), "***.332.286-** ***.332.286-**");
        assert_eq!(
            DocumentKey::parse("12ABC34501DE35").expect("valid").to_string(),
            "12.ABC.345/****-**"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::array::uniform14(any::<u8>()), text in ".{0,24}") {
            if let Ok(key) = DocumentKey::from_wire(&bytes) {
                prop_assert_eq!(key.to_wire(), bytes);
            }
            let _ = DocumentKey::parse(&text);
        }

        #[test]
        fn keys_round_trip(number in 0u32..1_000_000_000, raw in 1u64..CNPJ_KEYS) {
            if let Some(cpf) = DocumentKey::from_cpf_number(number) {
                prop_assert_eq!(DocumentKey::from_wire(&cpf.to_wire()), Ok(cpf));
            }
            let cnpj = DocumentKey::from_raw(raw).expect("in range");
            prop_assert_eq!(DocumentKey::from_wire(&cnpj.to_wire()), Ok(cnpj));
        }
    }
}
