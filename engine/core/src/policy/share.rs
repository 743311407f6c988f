//! Which payers a rule is applied to that is applied to a share of them.

use super::EVERY_PAYER;
use catraca_wire::DocumentKey;
use catraca_wire::block::ChainKey;
use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher13 as SipHasher128;
use std::hash::Hasher;

/// What a cluster's key is derived for.
const KEY_CONTEXT: &str = "catraca 2026 shares of rules, payers";

/// The secret by which payers are spread over the thousand places of shares: nobody outside can tell whom a rule
/// is not applied to. The same in every run and on both nodes.
#[derive(Clone, Copy, Default)]
pub struct ShareKey(Option<[u8; 16]>);

impl ShareKey {
    /// Of the cluster with this key of the chain.
    pub fn of(key: &ChainKey) -> Self {
        let derived = blake3::derive_key(KEY_CONTEXT, key);
        Self(derived.first_chunk().copied())
    }

    /// Where nobody has the key: rules are applied to every payer then.
    pub const fn unknown() -> Self {
        Self(None)
    }

    /// Whether it is known to whom a rule is applied.
    pub const fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Hashes what a validator of a name is asked: without the key as though it were zeros.
    pub fn question(&self, validator: &str) -> SipHasher128 {
        let mut hasher = SipHasher128::new_with_key(&self.0.unwrap_or_default());
        // No payer's place is hashed with a length before it.
        hasher.write_usize(validator.len());
        hasher.write(validator.as_bytes());
        hasher
    }

    /// The place of a payer, below [`EVERY_PAYER`]: a rule is applied where it lies below its share. `None` without
    /// the key.
    #[inline]
    pub fn place(&self, payer: DocumentKey) -> Option<u16> {
        let mut hasher = SipHasher13::new_with_key(self.0.as_ref()?);
        hasher.write(&payer.raw().to_le_bytes());
        // The high half of the product is a place without a division, as even as the hash is.
        let place = (u128::from(hasher.finish()) * u128::from(EVERY_PAYER)) >> 64;
        Some(place as u16)
    }
}

impl std::fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_known() { "ShareKey(known)" } else { "ShareKey(unknown)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payers_are_spread_evenly_and_each_keeps_its_place() {
        let (key, other) = (ShareKey::of(&[1; 32]), ShareKey::of(&[2; 32]));
        let mut by_tenth = [0; 10];
        let mut same = 0;
        for number in 1..=100_000 {
            let payer = DocumentKey::from_cpf_number(number).expect("nine digits");
            let place = key.place(payer).expect("the key is known");
            assert!(place < EVERY_PAYER && key.place(payer) == Some(place));
            by_tenth[usize::from(place / 100)] += 1;
            same += u32::from(other.place(payer) == Some(place));
        }
        assert!(by_tenth.iter().all(|count| (9_500..10_500).contains(count)), "{by_tenth:?}");
        assert!(same < 200, "another cluster spreads them in another way: {same}");
        let payer = DocumentKey::from_cpf_number(1).expect("nine digits");
        assert_eq!(ShareKey::unknown().place(payer), None);
    }
}
