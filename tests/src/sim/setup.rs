//! What the nodes are made of: one key, one cluster, and the parts of the program as a start puts
//! them together.

use super::Plan;
use catraca_core::blacklist::{Lists, Overlay};
use catraca_core::calendar::Zone;
use catraca_core::log::Tail;
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::Policy;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::windows::Past;
use catraca_core::shard::ShardSettings;
use catraca_core::shard::access::Access;
use catraca_core::shard::admit::EventTimeLimits;
use catraca_core::shard::dedupe::Dedupe;
use catraca_core::shard::journal::JournalSetup;
use catraca_core::shard::messages::ShardState;
use catraca_wire::block::{BlockIdentity, ChainKey, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN};
use std::sync::Arc;

pub(super) const KEY: ChainKey = [0x5a; 32];
pub(super) const CLUSTER: [u8; 16] = *b"cluster of tests";
pub(super) const SECRET: [u8; 16] = [7; 16];
/// As short as a segment may be for the journal, so that runs go over several.
pub(super) const SEGMENT_LEN: usize = SEGMENT_HEAD_LEN + MAX_BLOCK_LEN;

pub(super) fn journal_setup(
    stream: u16,
    epoch: u32,
    tail: &Tail,
    segments_ready: u32,
) -> JournalSetup {
    JournalSetup {
        identity: BlockIdentity { shard: stream, epoch, cluster_id: CLUSTER },
        key: KEY,
        start: *tail,
        segment_len: SEGMENT_LEN as u64,
        segments_ready,
    }
}

pub(super) fn shard_state(
    dedupe: Dedupe,
    policy: Arc<Policy>,
    past: Option<Box<Past>>,
    named: &NamedLists,
) -> ShardState {
    let named = Arc::new(InForce::new(named, policy.rules(), ShareKey::of(&KEY)));
    ShardState { dedupe, lists: Lists::new(None, Overlay::new()), policy, past, named }
}

pub(super) fn settings(plan: &Plan, node_id: [u8; 16], shard: u16) -> ShardSettings {
    ShardSettings {
        shard,
        shards: plan.shards,
        node_id,
        connections: 64,
        in_flight: 16_384,
        event_time: EventTimeLimits { age_ns: 24 * 3_600_000_000_000, ahead_ns: 300_000_000_000 },
        access: Arc::new(Access::open()),
        zone: Zone::default(),
    }
}
