//! The hashes by which the dedupe table knows a transaction, and their keys.

use catraca_wire::DocumentKey;
use catraca_wire::block::ChainKey;
use catraca_wire::frame::{TRANSACTION_ID_LEN, TransactionFields};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// What a cluster's key is derived for.
const KEY_CONTEXT: &str = "catraca 2026 dedupe table, fingerprints";

/// Secret keys of a table's hashes: who does not know them can't choose ids that collide.
#[derive(Clone, Copy)]
pub struct DedupeKey(pub [u8; 16]);

impl DedupeKey {
    /// Of the cluster with this key of the chain: the same in every run and on both nodes, so that
    /// fingerprints may lie beside the log for the next start. A key drawn anew by each process
    /// takes with it what somebody has learned of it; this one has to last as long as the chain's.
    /// It can: no fingerprint is ever sent, and an answer tells of two of them only whether 96 bits
    /// agree. Whoever has the chain's key has this one too, and could write a whole log already.
    pub fn of(key: &ChainKey) -> Self {
        let mut secret = [0; 16];
        secret.copy_from_slice(&blake3::derive_key(KEY_CONTEXT, key)[..16]);
        Self(secret)
    }

    /// The seed of the content's hash: half of the key, which XXH3 may betray to whoever sees what
    /// it makes of known content. So that never leaves the memory as it is.
    fn content_seed(&self) -> u64 {
        let mut seed = [0; 8];
        seed.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(seed)
    }

    /// The hashes of a transaction. The institution, the payer and the id make the key; what may
    /// differ in a resend (budget, trace id, the client's name) is left out of the content.
    #[inline]
    pub fn fingerprint(
        &self,
        institution: u16,
        payer: DocumentKey,
        transaction: &TransactionFields,
    ) -> Fingerprint {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        let mut text = [0; 8 + TRANSACTION_ID_LEN];
        text[..8].copy_from_slice(&payer.raw().to_le_bytes());
        text[8..].copy_from_slice(&transaction.id);
        hasher.write(&text);
        // In front of nothing: most nodes have one institution, and its hashes are the shorter ones.
        if institution != 0 {
            hasher.write(&institution.to_le_bytes());
        }
        let hash = hasher.finish128();
        let content = TransactionFields { budget_us: 0.into(), trace_id: [0; 16], ..*transaction };
        // The id is in the key already; from the payee on everything is content.
        let content = &bytemuck::bytes_of(&content)[TRANSACTION_ID_LEN..];
        let content = xxhash_rust::xxh3::xxh3_64_with_seed(content, self.content_seed());
        Fingerprint { key: hash.h1, key_more: hash.h2 as u32, content }
    }
}

/// The hash of (institution, payer, id), and of the content that a resend must repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    pub(crate) key: u64,
    pub(crate) key_more: u32,
    pub(crate) content: u64,
}
