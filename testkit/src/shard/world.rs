//! The world: the shards of one node, their disks, the queues between them, and the clients.
//!
//! A [`ShardMover`] moves each shard as the driver does, but each step only when a test asks for it.
//! With every answer the world checks the promise that matters most: no VERDICT whose record is not
//! on the disk.

use super::client::{Client, Reply};
use super::disk::{Disk, Tear};
use super::mover::ShardMover;
use super::options::Options;
use catraca_core::limits::{BROADCAST_QUEUE_LEN, MESH_QUEUE_LEN};
use catraca_core::log::recovery::Recovery;
use catraca_core::log::{SoundBlock, Tail};
use catraca_core::policy::Policy;
use catraca_core::policy::windows::DecidedPayment;
use catraca_core::rebuild::Builder;
use catraca_core::shard::Shard;
use catraca_core::shard::dedupe::{Dedupe, DedupeKey};
use catraca_core::shard::journal::{BlockWrite, Journal, JournalSetup};
use catraca_core::shard::messages::{
    Admission, MeshMessage, Now, Peer, RoleConfig, ShardState, ToControl, ToShard,
};
use catraca_wire::block::{BlockIdentity, ChainKey, MAX_BLOCK_LEN};
use catraca_wire::frame::{
    Durability, FixedFrame, HelloFrame, Role, SubmitFrame, TransactionFields,
};
use catraca_wire::record::RecordHead;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub const KEY: ChainKey = [0x5a; 32];
pub const CLUSTER: [u8; 16] = *b"cluster of tests";
/// 2026-11-23T12:00:00Z.
pub const NOON_NS: u64 = 1_795_435_200_000_000_000;
const SECRET: [u8; 16] = [7; 16];

/// One core: a shard and its disk.
pub struct Core {
    pub mover: ShardMover<Vec<u8>>,
    pub disk: Disk,
    /// What the shard told the control thread.
    pub told: Vec<ToControl>,
}

pub struct World {
    pub options: Options,
    pub cores: Vec<Core>,
    pub clients: Vec<Client>,
    pub now: Now,
    /// Messages between shards: `mesh[to][from]`.
    pub mesh: Vec<Vec<VecDeque<MeshMessage>>>,
    /// Payments that shards decided, for their siblings: `broadcast[to][from]`.
    pub broadcast: Vec<Vec<VecDeque<DecidedPayment>>>,
    epoch: u32,
    /// A write failed: the process has ended, and nothing reaches a client any more.
    pub ended: bool,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A node of one shard.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn of_shards(shards: u16) -> Self {
        Self::with(Options { shards, ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        let mut world = Self {
            cores: Vec::new(),
            clients: Vec::new(),
            now: Now { mono_ns: 1_000_000_000, wall_ns: NOON_NS },
            mesh: Vec::new(),
            broadcast: Vec::new(),
            epoch: 1,
            ended: false,
            options,
        };
        for shard in 0..world.options.shards {
            let Options { segments, segment_len, dedupe_entries, .. } = world.options;
            let disk = Disk::new(CLUSTER, shard, segments, segment_len, NOON_NS);
            world.start_core(
                shard,
                disk,
                Dedupe::new(dedupe_entries, DedupeKey(SECRET)),
                Tail::START,
            );
        }
        world
    }

    fn start_core(&mut self, shard: u16, disk: Disk, dedupe: Dedupe, start: Tail) {
        let identity = BlockIdentity { shard, epoch: self.epoch, cluster_id: CLUSTER };
        let (segment_len, segments_ready) =
            (self.options.segment_len as u64, self.options.segments);
        let journal =
            Journal::new(JournalSetup { identity, key: KEY, start, segment_len, segments_ready });
        let (settings, lists) = (self.options.settings(shard), self.options.lists.clone());
        let (policy, named) = (Policy::blacklist_only().into(), Arc::default());
        let state = ShardState { dedupe, lists, policy, past: None, named };
        let mut role_config = RoleConfig::primary(Durability::Single);
        if shard >= self.options.standbys_from {
            role_config.role = Role::Standby;
        }
        let mut shard = Shard::new(settings, role_config, state, journal);
        for _ in 0..self.options.buffers {
            shard.give_buffer(vec![0; MAX_BLOCK_LEN]);
        }
        self.cores.push(Core { mover: ShardMover::new(shard), disk, told: Vec::new() });
        self.mesh = self
            .cores
            .iter()
            .map(|_| self.cores.iter().map(|_| VecDeque::new()).collect())
            .collect();
        let queues = |_| self.cores.iter().map(|_| VecDeque::new()).collect();
        self.broadcast = self.cores.iter().map(queues).collect();
    }

    /// The power goes and comes back: memory, connections and messages are lost, the disks keep
    /// what they must (and of writes under way what `tear` says), and the node starts from what
    /// recovery finds.
    pub fn crash(&mut self, tear: Tear) {
        let builder =
            Builder::new(self.options.shards, self.options.dedupe_entries, DedupeKey(SECRET));
        let mut starts = Vec::new();
        let mut disks: Vec<Disk> = self.cores.drain(..).map(|core| core.disk).collect();
        for (shard, disk) in disks.iter_mut().enumerate() {
            disk.cut_power(tear);
            disk.fault = None;
            starts.push(recover(shard as u16, disk, &mut |block| builder.take(block)));
        }
        let dedupes = builder.into_dedupes();
        self.epoch += 1;
        self.ended = false;
        self.clients.iter_mut().for_each(|client| client.closed = true);
        for (shard, ((disk, dedupe), start)) in
            disks.into_iter().zip(dedupes).zip(starts).enumerate()
        {
            self.start_core(shard as u16, disk, dedupe, start);
        }
    }

    /// The records of all streams that a reader of the disks finds. Panics where the chain does not
    /// verify.
    pub fn records(&self) -> Vec<RecordHead> {
        self.records_whole().into_iter().map(|(head, _)| head).collect()
    }

    /// The same with their extensions.
    pub fn records_whole(&self) -> Vec<(RecordHead, Vec<u8>)> {
        let mut records = Vec::new();
        for (shard, core) in self.cores.iter().enumerate() {
            let mut disk = core.disk.clone();
            recover(shard as u16, &mut disk, &mut |block| {
                let whole = block.records().map(|(head, extension)| (*head, extension.to_vec()));
                records.extend(whole);
            });
        }
        records
    }

    /// A client that has been welcomed by shard 0.
    pub fn client(&mut self) -> usize {
        self.client_of(0)
    }

    /// A client that has been welcomed by a shard.
    pub fn client_of(&mut self, core: usize) -> usize {
        let client = self.raw_client(core);
        let mut hello = HelloFrame::empty(1);
        (hello.version_min, hello.version_max) = (1, 1);
        self.send(client, bytemuck::bytes_of(&hello));
        assert!(
            matches!(self.clients[client].replies[..], [Reply::Welcome(_)]),
            "{:?}",
            self.clients[client].replies
        );
        client
    }

    /// A client that has not said HELLO.
    pub fn raw_client(&mut self, core: usize) -> usize {
        self.raw_client_at(core, &Peer::default())
    }

    /// The same whose other end is this.
    pub fn raw_client_at(&mut self, core: usize, peer: &Peer) -> usize {
        let id = self.cores[core]
            .mover
            .shard
            .connect(peer, self.now)
            .expect("there is room for the connections of tests");
        self.clients.push(Client::new(core, id));
        self.clients.len() - 1
    }

    /// Sends bytes, of which the server reads what it will.
    pub fn send(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].outgoing.extend(bytes);
        while self.deliver(client, usize::MAX) {}
    }

    /// Sends a transaction.
    pub fn submit(&mut self, client: usize, correlation: u64, transaction: TransactionFields) {
        self.send(client, bytemuck::bytes_of(&super::submit(correlation, transaction)));
    }

    /// Sends a transaction and settles everything: the answer.
    pub fn ask(
        &mut self,
        client: usize,
        correlation: u64,
        transaction: TransactionFields,
    ) -> Reply {
        self.submit(client, correlation, transaction);
        self.settle();
        self.clients[client].answer(correlation)
    }

    /// Lets the server read up to `most` bytes of a connection, as much as it will; `false` when it
    /// read nothing.
    pub fn deliver(&mut self, client: usize, most: usize) -> bool {
        let Client { core, id, closed, .. } = self.clients[client];
        if closed || self.ended {
            return false;
        }
        let allowance = self.cores[core].mover.shard.read_allowance(id);
        if allowance == 0 {
            // The reading task waits until answers have gone out, then has what was kept taken
            // first.
            let readable = std::mem::take(&mut self.clients[client].readable);
            if readable {
                self.feed(client, &[]);
            }
            return readable;
        }
        let len = allowance.min(most).min(self.clients[client].outgoing.len());
        if len == 0 {
            return false;
        }
        let bytes: Vec<u8> = self.clients[client].outgoing.drain(..len).collect();
        self.feed(client, &bytes);
        true
    }

    /// Bytes arrive that were asked for earlier, when more could be taken than now.
    pub fn feed(&mut self, client: usize, bytes: &[u8]) {
        self.feed_late(client, bytes, Duration::ZERO);
    }

    /// The same for bytes that came so long ago.
    pub fn feed_late(&mut self, client: usize, bytes: &[u8], ago: Duration) {
        let Client { core, id, .. } = self.clients[client];
        let received_ns = self.now.mono_ns - ago.as_nanos() as u64;
        self.take_broadcasts(core);
        self.cores[core].mover.receive(id, bytes, received_ns, self.now);
        self.after_work(core, None);
    }

    fn take_broadcasts(&mut self, core: usize) {
        for queue in &mut self.broadcast[core] {
            self.cores[core].mover.take_broadcasts(queue);
        }
    }

    /// The client goes without a word.
    pub fn disconnect(&mut self, client: usize) {
        let Client { core, id, closed, .. } = self.clients[client];
        if !closed {
            self.clients[client].closed = true;
            self.cores[core].mover.shard.disconnect(id);
        }
    }

    /// A client stops taking answers, or goes on.
    pub fn set_deaf(&mut self, client: usize, deaf: bool) {
        self.clients[client].deaf = deaf;
        if !deaf && std::mem::take(&mut self.clients[client].output_due) {
            self.take_output(client);
        }
    }

    /// What the driver does after each piece of work: a block goes to the disk, and what the shard
    /// has for others to their queues.
    fn after_work(&mut self, core: usize, write: Option<BlockWrite<Vec<u8>>>) {
        if let Some(write) = write {
            self.cores[core].disk.begin(write);
        }
        let siblings = self.broadcast.iter_mut().enumerate().filter(|(to, _)| *to != core);
        for (to, queues) in siblings {
            let room = BROADCAST_QUEUE_LEN;
            self.cores[core].mover.deliver(to as u16, &mut queues[core], room);
        }
        loop {
            let Core { mover: ShardMover { shard, .. }, told, .. } = &mut self.cores[core];
            for (to, message) in shard.mesh_out().drain(..) {
                let queue = &mut self.mesh[usize::from(to)][core];
                assert!(queue.len() < 2 * MESH_QUEUE_LEN, "a queue of the mesh overflows");
                queue.push_back(message);
            }
            told.append(shard.control_out());
            let Some(id) = shard.next_dirty() else { return };
            let known = |client: &Client| client.core == core && client.id == id && !client.closed;
            let client =
                self.clients.iter().position(known).expect("only open connections have output");
            self.take_output(client);
        }
    }

    fn take_output(&mut self, client: usize) {
        let Client { core, id, deaf, .. } = self.clients[client];
        if deaf {
            self.clients[client].output_due = true;
            return;
        }
        let mut bytes = Vec::new();
        let closing = self.cores[core].mover.shard.take_output(id, &mut bytes);
        for reply in self.clients[client].take(&bytes) {
            if let Reply::Verdict { answer, .. } = reply {
                let stream = usize::from(answer.shard.to_native());
                let durable = self.cores[stream].disk.durable_lsn;
                assert!(
                    answer.lsn.to_native() <= durable,
                    "answered before its record was durable: {answer:?}"
                );
            }
        }
        if closing {
            self.disconnect(client);
        }
        self.clients[client].readable = true;
    }

    /// Moves one message between two shards; `false` when there is none.
    pub fn carry(&mut self, from: usize, to: usize) -> bool {
        if self.ended {
            return false;
        }
        let Some(message) = self.mesh[to][from].pop_front() else { return false };
        let mesh = [(from as u16, message)];
        self.take_broadcasts(to);
        self.cores[to].mover.messages(mesh, [], self.now);
        self.after_work(to, None);
        true
    }

    /// Hands a shard's next block to its disk, if it has one and the disk is free. Where the shard
    /// holds the block, the time passes that it waits at most.
    pub fn begin_write(&mut self, core: usize) -> bool {
        if self.ended || self.cores[core].disk.is_busy() {
            return false;
        }
        let mut write = self.cores[core].mover.progress(self.now);
        while let Some(until_ns) = self.cores[core].mover.shard.held_until() {
            self.after_work(core, None);
            self.pass(Duration::from_nanos(until_ns.saturating_sub(self.now.mono_ns)));
            write = self.cores[core].mover.progress(self.now);
        }
        let begun = write.is_some();
        self.after_work(core, write);
        begun
    }

    /// Ends the write under way; `false` when there is none. The shard's next block goes to the disk
    /// at once. A failed write ends the node, as `driver/disk.rs` does.
    pub fn finish_write(&mut self, core: usize) -> bool {
        let disk = &mut self.cores[core].disk;
        if self.ended || !disk.is_busy() {
            return false;
        }
        match disk.finish() {
            Ok(buffer) => {
                let write = self.cores[core].mover.written(buffer, self.now);
                self.after_work(core, write);
            }
            Err(_) => self.ended = true,
        }
        true
    }

    /// Time passes; nothing is looked at.
    pub fn pass(&mut self, time: Duration) {
        self.now.mono_ns += time.as_nanos() as u64;
        self.now.wall_ns += time.as_nanos() as u64;
    }

    /// Somebody sets the clock of the day by so much; the other clock goes on.
    pub fn set_clock(&mut self, by_ns: i64) {
        self.now.wall_ns = self.now.wall_ns.saturating_add_signed(by_ns);
    }

    /// All shards look at their deadlines.
    pub fn tick(&mut self) {
        if self.ended {
            return;
        }
        for core in 0..self.cores.len() {
            self.take_broadcasts(core);
            self.cores[core].mover.tick(self.now);
            self.after_work(core, None);
        }
    }

    /// A message of the control thread.
    pub fn control(&mut self, core: usize, message: ToShard) {
        self.cores[core].mover.messages([], [message], self.now);
        self.after_work(core, None);
    }

    /// Opens or ends admission everywhere.
    pub fn admit(&mut self, admission: Admission) {
        for core in 0..self.cores.len() {
            self.control(core, ToShard::Admit(admission));
        }
    }

    /// Everything that can happen without time passing happens, until nothing is left to do. Only for
    /// blocks that are held time passes, by microseconds.
    pub fn settle(&mut self) {
        let cores = self.cores.len();
        loop {
            let mut moved = false;
            for client in 0..self.clients.len() {
                while self.deliver(client, usize::MAX) {
                    moved = true;
                }
            }
            for (from, to) in (0..cores).flat_map(|from| (0..cores).map(move |to| (from, to))) {
                while self.carry(from, to) {
                    moved = true;
                }
            }
            for core in 0..cores {
                moved |= self.begin_write(core) | self.finish_write(core);
            }
            if !moved {
                return;
            }
        }
    }

    /// Bytes of whole SUBMITs that a client sent and the server has taken off the socket.
    pub fn taken_of(&self, client: usize, submits: usize) -> usize {
        submits * SubmitFrame::LEN - self.clients[client].outgoing.len()
    }
}

/// Recovers a stream from its disk, zeroes what is torn, and says where it goes on.
fn recover(shard: u16, disk: &mut Disk, visit: &mut dyn FnMut(&SoundBlock<'_>)) -> Tail {
    let mut recovery = Recovery::new(Some(CLUSTER), shard, Some(&KEY));
    for (index, bytes) in disk.segments().iter().enumerate() {
        let fed = recovery.feed(index as u32, bytes, &mut |block| {
            visit(block);
            ControlFlow::Continue(())
        });
        assert!(fed.is_ok(), "a power cut leaves nothing that stops a node: {fed:?}");
    }
    if let Some(torn) = recovery.torn() {
        disk.zero(torn.segment, torn.from, torn.to);
    }
    let tail = recovery.tail();
    assert!(tail.next_lsn > disk.durable_lsn, "a record that was reported durable is lost");
    disk.durable_lsn = tail.next_lsn - 1;
    *tail
}
