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
        let (low, high) = words(text);
        if !all_within(low, &[(b'0', b'9')]) || !all_within(high, &[(b'0', b'9')]) {
            return Err(DocumentError::Character);
        }
        if is_repeated(low, high) {
            return Err(DocumentError::RepeatedDigit);
        }
        let (low, high) = (low - ZEROS, high - ZEROS);
        let first =
            weighted(low, [10, 9, 8, 7, 6, 5, 4, 3]) + weighted(high, [2, 0, 0, 0, 0, 0, 0, 0]);
        let second =
            weighted(low, [11, 10, 9, 8, 7, 6, 5, 4]) + weighted(high, [3, 2, 0, 0, 0, 0, 0, 0]);
        if check_digit(first) != text[9] || check_digit(second) != text[10] {
            return Err(DocumentError::CheckDigit);
        }
        Ok(Self(CPF_TAG | (number(low, 10) * 10 + (high & 0xff))))
    }

    #[inline]
    fn from_cnpj(text: &[u8; DOCUMENT_LEN]) -> Result<Self, DocumentError> {
        let (low, high) = words(text);
        let characters = [(b'0', b'9'), (b'A', b'Z')];
        if !all_within(low, &characters)
            || !all_within(high, &characters)
            || !text[12].is_ascii_digit()
            || !text[13].is_ascii_digit()
        {
            return Err(DocumentError::Character);
        }
        if is_repeated(low, high) {
            return Err(DocumentError::RepeatedDigit);
        }
        // Letters are told by a bit that digits don't have. In base 36 they follow the digits; in the
        // sums they count as their codes do, seven more.
        let base36 = |word: u64| word - ZEROS - ((word >> 6) & ONES) * 7;
        let key = number(base36(low), 36) * 36u64.pow(4) + number(base36(high) << 32, 36);
        let (low, high) = (low - ZEROS, high - ZEROS);
        // Weights 5..2, 9..2 for the first digit; 6..2, 9..2 for the second, which also counts the
        // first.
        let first =
            weighted(low, [5, 4, 3, 2, 9, 8, 7, 6]) + weighted(high, [5, 4, 3, 2, 0, 0, 0, 0]);
        let second =
            weighted(low, [6, 5, 4, 3, 2, 9, 8, 7]) + weighted(high, [6, 5, 4, 3, 2, 0, 0, 0]);
        if check_digit(first) != text[12] || check_digit(second) != text[13] {
            return Err(DocumentError::CheckDigit);
        }
        debug_assert!(key < CNPJ_KEYS);
        Ok(Self(key))
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

// Documents are read eight characters at a time, each in a byte of a word, the first in the lowest:
// every transaction has two, and character by character they took a fifth of its instructions.

/// A byte of 1, and the character '0', in each place.
const ONES: u64 = u64::MAX / 0xff;
const ZEROS: u64 = ONES * b'0' as u64;

/// A document's characters as two words, filled up with its first.
#[inline]
fn words<const N: usize>(text: &[u8; N]) -> (u64, u64) {
    let mut low = [0; 8];
    low.copy_from_slice(&text[..8]);
    let mut high = [text[0]; 8];
    high[..N - 8].copy_from_slice(&text[8..]);
    (u64::from_le_bytes(low), u64::from_le_bytes(high))
}

/// Whether a document's characters are all the same.
#[inline]
fn is_repeated(low: u64, high: u64) -> bool {
    low == high && low == ONES * (low & 0xff)
}

/// Whether each character lies in one of these ranges of ASCII.
#[inline]
fn all_within<const N: usize>(word: u64, ranges: &[(u8, u8); N]) -> bool {
    const TOP: u64 = ONES << 7;
    let ascii = word & !TOP;
    // The top bit of a place: not below the first of a range, and not above the last.
    let within = ranges.iter().fold(0, |within, &(first, last)| {
        let not_below = (ascii | TOP) - ONES * u64::from(first);
        let not_above = ((ONES * u64::from(last)) | TOP) - ascii;
        within | not_below & not_above
    });
    within & !word & TOP == TOP
}

/// The sum of values times weights. No value is above 42 and no weight above 11, so four products fit
/// 16 bits: those of the even places, and of the odd ones, are added by one multiplication each.
#[inline]
fn weighted(values: u64, weights: [u64; 8]) -> u32 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let [a, b, c, d, e, f, g, h] = weights;
    let even = (values & EVEN).wrapping_mul(a << 48 | c << 32 | e << 16 | g) >> 48;
    let odd = ((values >> 8) & EVEN).wrapping_mul(b << 48 | d << 32 | f << 16 | h) >> 48;
    (even + odd) as u32
}

/// The number that eight digits to a base of up to 36 are: of pairs, then of fours, then of all.
#[inline]
fn number(digits: u64, base: u64) -> u64 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    const EVEN_PAIRS: u64 = 0x0000_ffff_0000_ffff;
    let pairs = (digits & EVEN) * base + ((digits >> 8) & EVEN);
    let fours = (pairs & EVEN_PAIRS) * base.pow(2) + ((pairs >> 16) & EVEN_PAIRS);
    (fours & 0xffff_ffff) * base.pow(4) + (fours >> 32)
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

    /// Character by character, as the registries describe it.
    fn plainly(text: &[u8], base: u64, weights: &[u32]) -> Result<u64, DocumentError> {
        let rest = weights.len() - 1;
        let valid = |(i, c): (usize, &u8)| {
            c.is_ascii_digit() || base == 36 && i < rest && c.is_ascii_uppercase()
        };
        if !text.iter().enumerate().all(valid) {
            return Err(DocumentError::Character);
        }
        if text.iter().all(|c| *c == text[0]) {
            return Err(DocumentError::RepeatedDigit);
        }
        for len in [rest, rest + 1] {
            let of = |(c, weight): (&u8, &u32)| u32::from(c - b'0') * weight;
            let sum = text[..len].iter().zip(&weights[rest + 1 - len..]).map(of).sum();
            if check_digit(sum) != text[len] {
                return Err(DocumentError::CheckDigit);
            }
        }
        let value = |c: u8| u64::from(if c > b'9' { c - b'A' + 10 } else { c - b'0' });
        Ok(text[..rest].iter().fold(0, |number, &c| number * base + value(c)))
    }

    fn plain_cpf(text: &[u8; CPF_LEN]) -> Result<u64, DocumentError> {
        let weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
        plainly(text, 10, &weights).map(|number| CPF_TAG | number)
    }

    fn plain_cnpj(text: &[u8; DOCUMENT_LEN]) -> Result<u64, DocumentError> {
        plainly(text, 36, &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
    }

    proptest! {
        /// Any bytes, and valid documents of which one byte was changed to any other.
        #[test]
        fn eight_at_a_time_is_as_one_by_one(
            bytes in any::<[u8; DOCUMENT_LEN]>(),
            number in 1u64..1_000_000_000,
            at in 0..DOCUMENT_LEN,
            byte in any::<u8>(),
        ) {
            let valid = |raw: u64| DocumentKey::from_raw(raw).map(DocumentKey::to_wire);
            let (cpf, cnpj) = (valid(CPF_TAG | number), valid(number * 4_000_000_007 % CNPJ_KEYS));
            for mut text in [Some(bytes), Some(bytes.map(|b| b'0' + b % 43)), cpf, cnpj].into_iter().flatten() {
                for _ in 0..2 {
                    let digits: [u8; CPF_LEN] = *text.first_chunk().expect("it is longer");
                    let read = DocumentKey::from_cpf(&digits).map(DocumentKey::raw);
                    prop_assert_eq!(read, plain_cpf(&digits));
                    let read = DocumentKey::from_cnpj(&text).map(DocumentKey::raw);
                    prop_assert_eq!(read, plain_cnpj(&text));
                    text[at] = byte;
                }
            }
        }
    }

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
