//! The keys of a payment: keyed hashes of whom it is about, so that nobody can choose accounts or devices
//! that lie in each other's way.

use super::Event;
use super::spec::{Keys, Subject};
use catraca_wire::DocumentKey;
use catraca_wire::block::ChainKey;
use catraca_wire::frame::TransactionFields;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// What a cluster's key is derived for.
const KEY_CONTEXT: &str = "catraca 2026 windows of time, keys";

/// The secret of a cluster's keys: the same in every run and on both nodes, so that states are the same.
#[derive(Clone, Copy)]
pub struct WindowsKey([u8; 32]);

impl WindowsKey {
    /// Of the cluster with this key of the chain.
    pub fn of(key: &ChainKey) -> Self {
        Self(blake3::derive_key(KEY_CONTEXT, key))
    }

    /// A key for what leaves nothing behind: tests, and cases that are made up.
    pub const fn without_secret() -> Self {
        Self([7; 32])
    }

    /// A payment as windows see it. The transaction is validated; its amount is above 0.
    #[inline]
    pub fn event(
        &self,
        payer: DocumentKey,
        payee: DocumentKey,
        transaction: &TransactionFields,
        decided_at_ns: u64,
        offset_minutes: i16,
    ) -> Event {
        let account = |value: u64| (value != 0).then(|| self.hash(value));
        let device = transaction.device.to_native();
        let payer = self.hash(payer.raw());
        let payee = self.hash(payee.raw());
        let device = (device != 0).then(|| self.hash(device));
        let mut keys: Keys = [None; Subject::COUNT];
        keys[Subject::Payer as usize] = Some(payer);
        keys[Subject::Payee as usize] = Some(payee);
        keys[Subject::Device as usize] = device;
        keys[Subject::PayerAccount as usize] = account(transaction.payer_account.to_native());
        keys[Subject::PayeeAccount as usize] = account(transaction.payee_account.to_native());
        keys[Subject::PayerToPayee as usize] = Some(self.pair(payer, payee));
        keys[Subject::PayerToDevice as usize] = device.map(|device| self.pair(payer, device));
        keys[Subject::PayeeToDevice as usize] = device.map(|device| self.pair(payee, device));
        Event {
            keys,
            amount_centavos: transaction.amount_centavos.to_native(),
            rail: transaction.rail,
            event_time_ns: transaction.event_time_ns.to_native(),
            decided_at_ns,
            offset_minutes,
        }
    }

    #[inline]
    fn hash(&self, value: u64) -> u64 {
        let secret = self.0.first_chunk().expect("a key has 16 bytes");
        let mut hasher = SipHasher13::new_with_key(secret);
        hasher.write(&value.to_le_bytes());
        hasher.finish()
    }

    /// Of two hashes, the first of which is not the second: which is first counts.
    #[inline]
    fn pair(&self, first: u64, second: u64) -> u64 {
        let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| self.0[at + byte]));
        let product = u128::from(first ^ half(16)) * u128::from(second.rotate_left(32) ^ half(24));
        (product as u64) ^ (product >> 64) as u64
    }
}
