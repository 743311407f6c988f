//! Bounds that are no settings and that several modules keep to, each with its reason. What bounds
//! one module stands in it; settings and their bounds are in `engine/node/src/config.rs`.

use std::time::Duration;

/// Most shards of a node. A record's address gives the stream 12 bits.
pub const MAX_SHARDS: usize = 64;
/// Unanswered transactions that one shard holds at once, over all connections. 65,536 records are
/// 16 MiB of log: what is accepted always fits the block buffers below, so that acceptance never
/// waits for memory.
pub const MAX_PENDING: usize = 65_536;
/// Block buffers of one shard: one being written, the rest filling. 20 MiB, room for
/// [`MAX_PENDING`] plain records and a block to spare.
pub const BLOCK_BUFFERS: usize = 20;
/// SUBMITs parsed, hashed and prefetched before the first of them is decided. Long enough to hide a
/// cache miss behind the others, short enough that what was prefetched is still in the first-level
/// cache.
pub const DECISION_BATCH: usize = 32;
/// Forwards that one shard may have pending at another: the length of the queue between them in
/// each direction, so that neither an accepted forward nor its reply ever finds the queue full.
pub const MESH_QUEUE_LEN: usize = 4096;
/// Decided payments on their way from one shard to another, and those that wait in front of that queue: some
/// milliseconds of a core with all that it can do. 1 MB each. Past that the shard answers OVERLOADED.
pub const BROADCAST_QUEUE_LEN: usize = 4096;

/// Room of a queue from one of so many shards to another, so that all of them together stay below some 300 MB.
pub const fn broadcast_queue_len(shards: usize) -> usize {
    let share = 2 * BROADCAST_QUEUE_LEN / shards;
    if share > BROADCAST_QUEUE_LEN {
        BROADCAST_QUEUE_LEN
    } else if share < 256 {
        256
    } else {
        share
    }
}

/// Requests that one shard may have open with the control thread (LOOKUP, STATS, BLACKLIST). They
/// are rare and slow; more than this is a flood.
pub const MAX_CONTROL_REQUESTS: usize = 64;
/// So many of them may be open for a LOOKUP to be let through: what many clients send, and a flood of which must not keep
/// operators out.
pub const MAX_CONTROL_LOOKUPS: usize = MAX_CONTROL_REQUESTS * 3 / 4;
/// So many of them may be open for a request that helps a cluster (CLUSTER) to be let through: what an operator needs finds
/// room where look-ups wait.
pub const MAX_CONTROL_REQUESTS_OF_CLUSTER: usize = MAX_CONTROL_REQUESTS + MAX_CONTROL_REQUESTS / 4;
/// Tokens of one shard that are being checked at once. A check takes some 60 µs of the control thread, or 1.5 s at most
/// where the issuer's keys have to be fetched; apart from the requests above, so that strangers take no operator's place.
pub const MAX_TOKEN_CHECKS: usize = 64;
/// So many of them at most came from one address, or from one network of IPv6: a stranger keeps nobody else out.
pub const MAX_TOKEN_CHECKS_OF_ADDRESS: usize = 8;
/// What is asked of a client whose token can't be checked now, milliseconds: the first pause before an issuer is asked again.
pub const TOKEN_RETRY_MS: u32 = 1_000;
/// Length of the queues between the control thread and a core: what [`MAX_CONTROL_REQUESTS`] can
/// cause, and the thread's own messages.
pub const CONTROL_QUEUE_LEN: usize = 1024;
/// Questions for validators on their way from the cores: 1 MB. What finds no room waits on its core, with the payment,
/// and is tried again with the next piece of work.
pub const ASK_QUEUE_LEN: usize = 4096;
/// Connections over HTTP at once; more are closed. Some monitors and an operator need a dozen.
pub const MAX_HTTP_CONNECTIONS: usize = 128;
/// Calls of other nodes at once: a session's connections twice over, and some of unknown nodes.
/// More are closed at once.
pub const MAX_CALLS: usize = 256;
/// Bytes of answers that a connection may leave unread before the server stops reading its
/// requests.
pub const MAX_UNREAD_ANSWERS_LEN: usize = 128 * 1024;
/// Bytes read from a socket at once: 1,365 SUBMITs. One buffer per core, shared by its connections.
pub const READ_BUFFER_LEN: usize = 256 * 1024;
/// Time for a new connection's HELLO.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the rest of a frame once its first byte has come.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a peer may refuse to take its answers before it is closed.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection is asked for a sign of life after this time; the kernel's default is two
/// hours.
pub const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(30);
/// Between two such questions without an answer.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// So many without an answer, and the peer is gone.
pub const KEEP_ALIVE_PROBES: u32 = 3;
/// A client that vanished without a word keeps its connection for no longer than this.
pub const DEAD_PEER_AFTER: Duration = Duration::from_secs(
    KEEP_ALIVE_IDLE.as_secs() + KEEP_ALIVE_INTERVAL.as_secs() * KEEP_ALIVE_PROBES as u64,
);
/// How often a shard looks at its deadlines. The error of a missed budget comes at most this late.
pub const TICK: Duration = Duration::from_millis(10);
/// Time for a graceful stop: the longest budget, and as much again as a tick and a slow disk need.
pub const STOP_TIMEOUT: Duration = Duration::from_millis(3_000);
/// What OVERLOADED asks a client to wait, milliseconds: a few block writes.
pub const OVERLOADED_RETRY_MS: u32 = 5;
/// What DISK_FULL asks a client to wait, milliseconds: an operator has to act.
pub const DISK_FULL_RETRY_MS: u32 = 1_000;
/// What SHUTTING_DOWN asks a client to wait, milliseconds: a restart.
pub const SHUTTING_DOWN_RETRY_MS: u32 = 500;
/// A core that has not ticked for this long is stuck and the node ends: its siblings must not serve
/// on beside a hole.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);
