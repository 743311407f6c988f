//! A world for the real shard: fake disks, a fake clock, fake clients, and a mesh whose messages
//! are moved by hand. Beneath it what moves one shard, for whoever has a world of their own: the
//! simulator, the benches.
//!
//! Everything is one thread and one order of events, so that a test says exactly what happens when,
//! and a failure repeats.

mod client;
mod disk;
mod mover;
mod options;
mod world;

pub use client::{Client, Reply};
pub use disk::{Disk, Fault, Tear};
pub use mover::ShardMover;
pub use options::Options;
pub use world::{CLUSTER, KEY, NOON_NS, World};

use bytemuck::Zeroable;
use catraca_core::blacklist::synthetic::document;
use catraca_core::shard::owner;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{SubmitFrame, TransactionFields, transaction_id};

/// Seed of the invented documents.
const SEED: u64 = 11;
/// Every transaction of these tests is paid to this document, unless it says otherwise.
pub fn payee() -> DocumentKey {
    document(SEED, 1_000_000)
}

/// The `number`th payer.
pub fn payer(number: u64) -> DocumentKey {
    document(SEED, number)
}

/// The `number`th payer that `shard` of `shards` owns.
pub fn payer_of(shard: u16, shards: u16, number: usize) -> DocumentKey {
    let mut owned = (0..).map(payer).filter(|&payer| owner(payer, shards) == shard);
    owned.nth(number).expect("documents spread over all shards")
}

/// A transaction of 10 reais, which happened at noon.
pub fn transaction(id: &str, payer: DocumentKey) -> TransactionFields {
    let mut t = TransactionFields::zeroed();
    t.id = transaction_id(id).expect("ids of tests are ids");
    t.payer = payer.to_wire();
    t.payee = payee().to_wire();
    t.amount_centavos = 1_000.into();
    t.event_time_ns = NOON_NS.into();
    t
}

/// Its frame.
pub fn submit(correlation: u64, transaction: TransactionFields) -> SubmitFrame {
    let mut frame = SubmitFrame::empty(correlation);
    frame.transaction = transaction;
    frame
}
