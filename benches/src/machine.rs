//! One shard, one connection, and a disk that has written a block before it was asked. A
//! [`ShardMover`] takes the steps of the driver.

use crate::Frames;
use catraca_core::blacklist::{Entry, Lists, Overlay, Snapshot};
use catraca_core::calendar::Zone;
use catraca_core::limits::BLOCK_BUFFERS;
use catraca_core::log::Tail;
use catraca_core::policy::Policy;
use catraca_core::policy::windows::{Past, WindowsKey};
use catraca_core::shard::access::Access;
use catraca_core::shard::admit::EventTimeLimits;
use catraca_core::shard::dedupe::{Dedupe, DedupeKey};
use catraca_core::shard::journal::{BlockWrite, Journal, JournalSetup};
use catraca_core::shard::messages::{
    Ask, ConnectionId, Now, Peer, RoleConfig, ShardState, ToShard,
};
use catraca_core::shard::{Shard, ShardSettings};
use catraca_testkit::shard::ShardMover;
use catraca_wire::block::{BlockIdentity, MAX_BLOCK_LEN};
use catraca_wire::frame::{Durability, FixedFrame, HelloFrame, ListSource, Scope, WelcomeFrame};
use jiff::civil::date;
use std::sync::Arc;

/// 2026-11-23T12:00:00Z: when the benches begin.
pub const WALL_NS: u64 = 1_795_435_200_000_000_000;
/// Key of the chain.
pub const CHAIN_KEY: [u8; 32] = [0x5a; 32];
/// Length of a segment, bytes: the default of a node.
const SEGMENT_LEN: u64 = 128 * 1024 * 1024;
/// A day, nanoseconds: no transaction of the benches is too old.
const DAY_NS: u64 = 86_400_000_000_000;

/// A list of the first `entries` documents of [`Frames`].
pub fn list(entries: u64) -> Arc<Snapshot> {
    let entry = |document| {
        Entry::new(document, ListSource::Plain, Scope::Exact).expect("plain is a source of lists")
    };
    let entries = Frames::listed(entries).map(entry).collect();
    Arc::new(
        Snapshot::from_entries(entries, date(2026, 11, 22), 1)
            .expect("invented documents spread over a table"),
    )
}

/// How a machine is set up.
pub struct Setup {
    /// The list.
    pub list: Arc<Snapshot>,
    /// Entries of the dedupe table.
    pub dedupe_entries: usize,
    /// Cluster that the log names.
    pub cluster_id: [u8; 16],
    /// What decides besides the list.
    pub policy: Arc<Policy>,
}

/// The machine.
pub struct Machine {
    mover: ShardMover<Vec<u8>>,
    connection: ConnectionId,
    now: Now,
    answers: Vec<u8>,
}

/// Windows of a policy without a payment, where it reads any.
fn past_of(policy: &Policy) -> Option<Box<Past>> {
    let past = Past::new(policy, 1, WindowsKey::of(&CHAIN_KEY));
    past.expect("there can be such windows").map(Box::new)
}

impl Machine {
    /// A machine whose connection has been welcomed.
    pub fn new(setup: &Setup) -> Self {
        let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id: setup.cluster_id };
        let journal = JournalSetup {
            identity,
            key: CHAIN_KEY,
            start: Tail::START,
            segment_len: SEGMENT_LEN,
            segments_ready: u32::MAX,
        };
        let settings = ShardSettings {
            shard: 0,
            shards: 1,
            node_id: [1; 16],
            connections: 1,
            in_flight: 4096,
            event_time: EventTimeLimits { age_ns: DAY_NS, ahead_ns: DAY_NS },
            access: Arc::new(Access::open()),
            zone: Zone::default(),
        };
        let dedupe = Dedupe::new(setup.dedupe_entries, DedupeKey([7; 16]));
        // As a node's thread does ahead of its core. Where that can't be, the first pass pays.
        let (index, ring) = dedupe.memory();
        let _ = index.take(0, index.len()).and_then(|()| ring.take(0, ring.len()));
        let mut shard = Shard::new(
            settings,
            RoleConfig::primary(Durability::Single),
            ShardState {
                dedupe,
                lists: Lists::new(Some(Arc::clone(&setup.list)), Overlay::new()),
                policy: Arc::clone(&setup.policy),
                past: past_of(&setup.policy),
                named: Arc::default(),
            },
            Journal::new(journal),
        );
        for _ in 0..BLOCK_BUFFERS {
            shard.give_buffer(vec![0; MAX_BLOCK_LEN]);
        }
        let now = Now { mono_ns: 1_000_000_000, wall_ns: WALL_NS };
        let connection = shard.connect(&Peer::default(), now).expect("one connection is allowed");
        let mut hello = HelloFrame::empty(1);
        (hello.version_min, hello.version_max) = (1, 1);
        let mover = ShardMover::new(shard);
        let mut machine = Self { mover, connection, now, answers: Vec::new() };
        assert_eq!(machine.decide(bytemuck::bytes_of(&hello)).len(), WelcomeFrame::LEN);
        machine
    }

    /// Time passes.
    pub fn pass(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        self.now.wall_ns += ns;
    }

    /// Monotonic clock, nanoseconds.
    pub fn mono_ns(&self) -> u64 {
        self.now.mono_ns
    }

    /// Wall clock, nanoseconds since 1970 UTC.
    pub fn wall_ns(&self) -> u64 {
        self.now.wall_ns
    }

    /// From the bytes of requests to the bytes of their answers. Each block goes through `disk` on
    /// its way.
    #[inline]
    pub fn decide_through(
        &mut self,
        requests: &[u8],
        mut disk: impl FnMut(&BlockWrite<Vec<u8>>),
    ) -> &[u8] {
        self.mover.receive(self.connection, requests, self.now.mono_ns, self.now);
        let mut next = self.mover.begin_write(self.now);
        while let Some(write) = next {
            disk(&write);
            next = self.mover.written(write.buffer, self.now);
        }
        self.take_answers()
    }

    /// Takes the shard's questions for validators.
    pub fn take_asks(&mut self, into: &mut Vec<Ask>) {
        into.extend(self.mover.shard.asks_out().drain(..));
    }

    /// From what came of validators to the bytes of the answers of payments that waited for it. A block
    /// that is held back for others leaves when its time is over.
    #[inline]
    pub fn take(&mut self, came: impl IntoIterator<Item = ToShard>) -> &[u8] {
        self.mover.messages([], came, self.now);
        loop {
            let mut next = self.mover.begin_write(self.now);
            while let Some(write) = next {
                next = self.mover.written(write.buffer, self.now);
            }
            let Some(held_until_ns) = self.mover.shard.held_until() else { break };
            self.pass(held_until_ns.saturating_sub(self.now.mono_ns).max(1));
        }
        self.take_answers()
    }

    #[inline]
    fn take_answers(&mut self) -> &[u8] {
        let shard = &mut self.mover.shard;
        shard.control_out().clear();
        self.answers.clear();
        while let Some(connection) = shard.next_dirty() {
            let closing = shard.take_output(connection, &mut self.answers);
            assert!(!closing, "the requests of benches are sound");
        }
        &self.answers
    }

    /// The same with a disk that keeps nothing.
    #[inline]
    pub fn decide(&mut self, requests: &[u8]) -> &[u8] {
        self.decide_through(requests, |_| {})
    }
}
