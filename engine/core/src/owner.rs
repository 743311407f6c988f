//! Which shard decides for a payer.

use catraca_wire::DocumentKey;

/// Where a payer lies among all, spread evenly: each shard owns an equal part of these numbers,
/// whatever their count is.
#[inline]
pub fn position(payer: DocumentKey) -> u64 {
    // Fibonacci hashing spreads consecutive documents.
    payer.raw().wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The shard, of so many, that owns a position.
#[inline]
pub fn owner_of_position(position: u64, shards: u16) -> u16 {
    // The high half of the product picks a shard without a division.
    ((u128::from(position) * u128::from(shards)) >> 64) as u16
}

/// The shard that owns a payer: decides on its transactions and holds their dedupe entries.
#[inline]
pub fn owner(payer: DocumentKey, shards: u16) -> u16 {
    owner_of_position(position(payer), shards)
}
