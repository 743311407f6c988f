//! How the node of a world is set up.

use catraca_core::blacklist::{Lists, Overlay};
use catraca_core::calendar::Zone;
use catraca_core::limits::BLOCK_BUFFERS;
use catraca_core::shard::ShardSettings;
use catraca_core::shard::access::Access;
use catraca_core::shard::admit::EventTimeLimits;
use catraca_core::shard::dedupe;
use catraca_wire::block::{MAX_BLOCK_LEN, SEGMENT_HEAD_LEN};
use std::sync::Arc;

/// How a node is set up.
#[derive(Clone)]
pub struct Options {
    pub shards: u16,
    pub in_flight: u32,
    pub connections: usize,
    /// Block buffers of each shard.
    pub buffers: usize,
    /// Segments that exist, and of which the journal knows.
    pub segments: u32,
    pub segment_len: usize,
    pub dedupe_entries: usize,
    pub event_time: EventTimeLimits,
    pub access: Access,
    pub lists: Lists,
    /// Shards from this one on are a standby's still: a promotion has not reached them.
    pub standbys_from: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            in_flight: 1024,
            connections: 100,
            buffers: BLOCK_BUFFERS,
            segments: 2,
            segment_len: SEGMENT_HEAD_LEN + MAX_BLOCK_LEN,
            dedupe_entries: dedupe::MIN_ENTRIES,
            event_time: EventTimeLimits {
                age_ns: 24 * 3_600_000_000_000,
                ahead_ns: 300_000_000_000,
            },
            access: Access::open(),
            lists: Lists::new(None, Overlay::new()),
            standbys_from: u16::MAX,
        }
    }
}

impl Options {
    /// What a shard of it is told.
    pub fn settings(&self, shard: u16) -> ShardSettings {
        ShardSettings {
            shard,
            shards: self.shards,
            node_id: [1; 16],
            connections: self.connections,
            in_flight: self.in_flight,
            event_time: self.event_time,
            access: Arc::new(self.access.clone()),
            zone: Zone::default(),
        }
    }
}
