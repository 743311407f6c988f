//! The queues between the threads of a node. Knows no runtime.

use crate::descriptors::Seldom;
use crate::live_feed::LiveFeed;
use crate::mailbox::Mailbox;
use catraca_core::limits;
use catraca_core::observe::SharedCounters;
use catraca_core::policy::windows::DecidedPayment;
use catraca_core::shard::messages::{Ask, MeshMessage, Peer, ToControl, ToShard};
use catraca_tls::TlsEnd;
use std::os::fd::OwnedFd;

/// A client's connection over TLS on its way to a core: hands were shaken.
pub struct Handed {
    /// Its socket, which waits by itself.
    pub socket: OwnedFd,
    /// What seals and opens.
    pub end: Box<TlsEnd>,
    /// Its other end.
    pub peer: Peer,
}

/// Connections that wait for a core: more come in a moment only where something is wrong.
const HANDED_QUEUE_LEN: usize = 256;

/// The queues that connect cores and the control thread.
pub struct ShardChannels {
    /// Messages between shards: `mesh[to][from]`.
    pub mesh: Vec<Vec<Mailbox<MeshMessage>>>,
    /// Payments that shards decided, for their siblings: `broadcast[to][from]`.
    pub broadcast: Vec<Vec<Mailbox<DecidedPayment>>>,
    /// To each shard from the control thread.
    pub to_shard: Vec<Mailbox<ToShard>>,
    /// To the control thread from all shards.
    pub to_control: Mailbox<ToControl>,
    /// Questions for validators, of all shards.
    pub asks: Mailbox<Ask>,
    /// Counters of each shard.
    pub counters: Vec<SharedCounters>,
    /// Blocks of each shard on their way to the standby.
    pub feeds: Vec<LiveFeed>,
    /// To each core, twice: everything that answers is there, listen; and, at the end of a stop,
    /// listen no more.
    pub listens: Vec<Mailbox<()>>,
    /// Connections over TLS, to each core.
    pub handed: Vec<Mailbox<Handed>>,
    /// Clients' connections that could not be taken, over all cores.
    pub not_taken: Seldom,
}

impl ShardChannels {
    /// Tells each core to begin listening, or to end it.
    pub fn switch_listening(&self) {
        for listens in &self.listens {
            assert!(listens.push(()).is_ok(), "each core has taken what it was told before");
            listens.wake();
        }
    }

    /// The queues of a node with this many shards.
    pub fn new(shards: usize) -> Self {
        // A sibling's forwards and its replies share a queue: room for both at their most.
        let mesh = |_| (0..shards).map(|_| Mailbox::new(2 * limits::MESH_QUEUE_LEN)).collect();
        let broadcast = |to| {
            let len = |from| if from == to { 1 } else { limits::broadcast_queue_len(shards) };
            (0..shards).map(|from| Mailbox::new(len(from))).collect()
        };
        Self {
            mesh: (0..shards).map(mesh).collect(),
            broadcast: (0..shards).map(broadcast).collect(),
            to_shard: (0..shards).map(|_| Mailbox::new(limits::CONTROL_QUEUE_LEN)).collect(),
            to_control: Mailbox::new(limits::CONTROL_QUEUE_LEN * shards),
            asks: Mailbox::new(limits::ASK_QUEUE_LEN),
            counters: (0..shards).map(|_| SharedCounters::default()).collect(),
            feeds: (0..shards).map(|_| LiveFeed::default()).collect(),
            listens: (0..shards).map(|_| Mailbox::new(1)).collect(),
            handed: (0..shards).map(|_| Mailbox::new(HANDED_QUEUE_LEN)).collect(),
            not_taken: Seldom::default(),
        }
    }
}
