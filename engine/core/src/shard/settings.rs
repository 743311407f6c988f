//! What a shard is told of its node.

use super::access::Access;
use super::admit::EventTimeLimits;
use crate::calendar::Zone;
use std::sync::Arc;

/// What a shard is told once, when it starts.
#[derive(Clone)]
pub struct ShardSettings {
    /// Which one it is.
    pub shard: u16,
    /// How many there are.
    pub shards: u16,
    /// Identity of the node, for WELCOME.
    pub node_id: [u8; 16],
    /// Most connections.
    pub connections: usize,
    /// Most unanswered requests of a connection.
    pub in_flight: u32,
    /// Bounds of a transaction's own time.
    pub event_time: EventTimeLimits,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Whose days the dates of list entries mean.
    pub zone: Zone,
}
