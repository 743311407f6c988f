//! Valid documents of nobody in particular, for tests, benches and load: the same seed and number
//! give the same document.

use catraca_wire::DocumentKey;
use catraca_wire::document::ORDERS_PER_ROOT;

/// Numbers that [`document`] takes: below this all documents of one seed differ.
pub const MAX_SYNTHETIC: u64 = 1_000_000_000;
/// Numeric roots of a CNPJ: 10^8.
const NUMERIC_ROOTS: u64 = 100_000_000;
/// Roots of a CNPJ with letters allowed: 36^8.
const ROOTS: u64 = 36u64.pow(8);
/// CPF numbers: 10^9.
const CPF_NUMBERS: u64 = 1_000_000_000;

/// The `number`th document of a seed: of ten in a row five are CPFs, four CNPJs of digits, one a
/// CNPJ that may have letters.
///
/// All numbers below [`MAX_SYNTHETIC`] give different documents, so that `0..n` can be listed and
/// `n..` can't hit; numbers past it wrap around.
pub fn document(seed: u64, number: u64) -> DocumentKey {
    let number = number % MAX_SYNTHETIC;
    let (row, column) = (number / 10, number % 10);
    let raw = match column {
        0..5 => {
            let cpf = scatter(row * 5 + column, CPF_NUMBERS, seed) as u32;
            match DocumentKey::from_cpf_number(cpf) {
                Some(key) => return key,
                // One of ten numbers that no CPF has: a CNPJ with an order that the others below
                // don't use.
                None => u64::from(cpf / 111_111_111) * ORDERS_PER_ROOT + base36("9999"),
            }
        }
        5..9 => {
            let place = row * 4 + column - 5;
            let digits = format!("{:08}", scatter(place % NUMERIC_ROOTS, NUMERIC_ROOTS, seed));
            base36(&digits) * ORDERS_PER_ROOT + base36(&format!("{:04}", place / NUMERIC_ROOTS + 1))
        }
        // Order A001: a root of digits only can't meet the ones above.
        _ => scatter(row, ROOTS, seed) * ORDERS_PER_ROOT + base36("A001"),
    };
    DocumentKey::from_raw(raw)
        .expect("a root below 36^8 with an order from 1 to ZZZZ is a key: above 0 and below 36^12")
}

/// The `number`th of `count` in an order that depends on the seed: a one-to-one map of `0..count`.
fn scatter(number: u64, count: u64, seed: u64) -> u64 {
    // A step that has no factor in common with 10^k or 36^k walks through all of them.
    let mut step = (super::bucket::mix(seed ^ count) % count) | 1;
    while step.is_multiple_of(3) || step.is_multiple_of(5) {
        step += 2;
    }
    let product = u128::from(number) * u128::from(step)
        + u128::from(super::bucket::mix(seed.wrapping_add(1)) % count);
    (product % u128::from(count)) as u64
}

/// Digits and capital letters as a number in base 36.
fn base36(text: &str) -> u64 {
    text.bytes().fold(0, |number, byte| {
        let value = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' + 10 };
        number * 36 + u64::from(value)
    })
}
