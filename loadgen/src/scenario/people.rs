//! Who pays and is paid: invented people and companies that follow from the seed and a number, so
//! that none of them takes any memory.

use super::chance::{keyed, scale};
use crate::documents::WireDocument;
use catraca_wire::DocumentKey;

/// How many numbers a CPF can have before its check digits.
const CPF_NUMBERS: u64 = 1_000_000_000;
/// Step from one person's number to the next: without a divisor in common with [`CPF_NUMBERS`], so
/// that all numbers differ.
const CPF_STEP: u64 = 618_033_989;
/// How many roots a CNPJ of digits can have.
const ROOTS: u64 = 100_000_000;
/// Step from one company's root to the next, as [`CPF_STEP`].
const ROOT_STEP: u64 = 61_803_399;
/// Institutions where accounts are: invented ISPBs.
const ISPBS: [[u8; 8]; 5] = [*b"90000001", *b"90000002", *b"90000003", *b"90000004", *b"90000005"];

/// What numbers are drawn for. Each has a meaning of its own, for ever: the stream of a seed
/// depends on them.
pub(super) mod purpose {
    pub const HONEST: u64 = 1;
    pub const FRAUDS: u64 = 2;
    pub const FIRST_CPF: u64 = 3;
    pub const FIRST_ROOT: u64 = 4;
    pub const ACCOUNT: u64 = 5;
    pub const PIX_KEY: u64 = 6;
    pub const ISPB: u64 = 7;
    pub const DEVICE: u64 = 8;
    pub const REGULAR_PAYEE: u64 = 9;
    pub const NEW_DEVICE: u64 = 10;
    pub const SALARY: u64 = 11;
    pub const PRICE: u64 = 12;
    pub const OPENING: u64 = 13;
    pub const ID: u64 = 14;
    pub const TIMES: u64 = 15;
    pub const COMPUTER: u64 = 16;
    pub const SUPPLIER: u64 = 17;
}

/// One who pays or is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A person with a CPF.
    Person(u32),
    /// A company with a CNPJ.
    Company(u32),
}

impl Who {
    /// A number of its own among people and companies.
    fn number(self) -> u64 {
        match self {
            Self::Person(index) => u64::from(index),
            Self::Company(index) => 1 << 32 | u64::from(index),
        }
    }
}

/// One side of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// The document, check digits included.
    pub document: WireDocument,
    /// Hash of the account.
    pub account: u64,
    /// The institution of the account.
    pub ispb: [u8; 8],
}

/// The people of a seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct People {
    seed: u64,
}

impl People {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Document, account and institution.
    pub fn party(&self, who: Who) -> Party {
        let key = match who {
            Who::Person(index) => self.cpf(u64::from(index)),
            Who::Company(index) => self.cnpj(u64::from(index)),
        };
        let ispb = keyed(self.seed, purpose::ISPB, who.number());
        Party {
            document: key.to_wire(),
            account: keyed(self.seed, purpose::ACCOUNT, who.number()),
            ispb: ISPBS[scale(ispb, ISPBS.len() as u64) as usize],
        }
    }

    /// Hash of the Pix key under which someone is paid.
    pub fn pix_key(&self, who: Who) -> [u8; 16] {
        let half = |part: u64| keyed(self.seed, purpose::PIX_KEY, 2 * who.number() + part);
        (u128::from(half(0)) << 64 | u128::from(half(1))).to_le_bytes()
    }

    /// Hash of a device of someone: the first one, or one that came later.
    pub fn device(&self, who: Who, later: u64) -> u64 {
        keyed(self.seed, purpose::DEVICE, who.number() << 20 | later)
    }

    /// Numbers in steps that meet none twice. One digit throughout is no CPF: half-way round no
    /// other person is, and no such number.
    fn cpf(&self, index: u64) -> DocumentKey {
        let first = keyed(self.seed, purpose::FIRST_CPF, 0) % CPF_NUMBERS;
        let number = (first + index * CPF_STEP) % CPF_NUMBERS;
        [number, (number + CPF_NUMBERS / 2) % CPF_NUMBERS]
            .into_iter()
            .find_map(|number| DocumentKey::from_cpf_number(number as u32))
            .expect("of two numbers half-way apart at most one has one digit throughout")
    }

    /// Head offices. Every other company has letters, as those founded since July 2026 may have.
    fn cnpj(&self, index: u64) -> DocumentKey {
        let first = keyed(self.seed, purpose::FIRST_ROOT, 0) % ROOTS;
        let mut left = (first + index * ROOT_STEP) % ROOTS;
        let mut values = [0; 12];
        for value in values[..8].iter_mut().rev() {
            *value = left % 10;
            left /= 10;
        }
        if index % 2 == 1 {
            for value in &mut values[..2] {
                *value += 10;
            }
        }
        values[11] = 1;
        let raw = values.iter().fold(0, |raw, value| raw * 36 + value);
        DocumentKey::from_raw(raw).expect("twelve characters that are not all 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::DocumentKind;
    use std::collections::HashSet;

    #[test]
    fn everybody_is_somebody_else_with_a_valid_document() {
        let people = People::new(7);
        let mut documents = HashSet::new();
        let mut accounts = HashSet::new();
        for index in 0..20_000 {
            for (who, kind) in
                [(Who::Person(index), DocumentKind::Cpf), (Who::Company(index), DocumentKind::Cnpj)]
            {
                let party = people.party(who);
                let key = DocumentKey::from_wire(&party.document).expect("valid");
                assert_eq!(key.kind(), kind);
                assert!(documents.insert(party.document) && accounts.insert(party.account));
                assert_ne!(people.device(who, 0), people.device(who, 1));
            }
        }
        assert_ne!(People::new(8).party(Who::Person(0)), people.party(Who::Person(0)));
    }

    #[test]
    fn one_digit_throughout_is_stepped_over() {
        let people = People::new(7);
        let first = keyed(7, purpose::FIRST_CPF, 0) % CPF_NUMBERS;
        // The person whose number would be 333333333, found by the inverse of the step.
        const INVERSE: u64 = 1_536_909;
        assert_eq!(u128::from(INVERSE) * u128::from(CPF_STEP) % u128::from(CPF_NUMBERS), 1);
        let distance = CPF_NUMBERS + 333_333_333 - first;
        let index = u128::from(distance) * u128::from(INVERSE) % u128::from(CPF_NUMBERS);
        assert_eq!(people.cpf(index as u64).cpf_number(), Some(833_333_333));
    }
}
