//! A node: from what its disk holds to a running process, and to its end. It does what the program
//! does around the same pure parts.

use super::disk::{Cut, NodeDisk};
use super::event::{Event, Mend, Task, Wake};
use super::found::{recover, truncate};
use super::frames::address;
use super::lists::{self, ProcessLists};
use super::policies::{self, Policies};
use super::primary::{LiveFeed, PrimaryStreams};
use super::replication::TIMING;
use super::setup::{CLUSTER, SECRET, SEGMENT_LEN, journal_setup, settings, shard_state};
use super::standby::StandbyStreams;
use super::validators::Validators;
use super::windows;
use super::world::{MS, Sim};
use super::{Broken, Plan};
use catraca_core::log::damage::{Damage, TornReason};
use catraca_core::log::{SoundBlock, Tail};
use catraca_core::policy::Policy;
use catraca_core::policy::windows::DecidedPayment;
use catraca_core::rebuild::{Builder, Pasts};
use catraca_core::replica::node::{Event as ReplicaEvent, Node, NodeSetup, RequestId};
use catraca_core::replica::{Boundaries, ReplicaState};
use catraca_core::shard::Shard;
use catraca_core::shard::dedupe::{self, Dedupe, DedupeKey};
use catraca_core::shard::journal::{BlockWrite, Journal};
use catraca_core::shard::messages::{ConnectionId, MeshMessage, RoleConfig, ToControl, ToShard};
use catraca_testkit::shard::ShardMover;
use catraca_wire::block::{Chain, MAX_BLOCK_LEN};
use catraca_wire::frame::{Durability, Role};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Arguments;
use std::rc::Rc;
use std::sync::Arc;

/// Segments made ahead of the one in use.
const SEGMENTS_AHEAD: usize = 2;
/// Of a thousand repairs those that a death cuts off. Few starts have anything to repair.
const CUT_OFF_PERMILLE: u64 = 500;

/// Where a block of a stream is.
#[derive(Debug, Clone)]
pub(super) struct BlockRef {
    pub last_lsn: u64,
    pub first_lsn: u64,
    pub chain: Chain,
    pub segment: u32,
    pub offset: u64,
    pub len: usize,
    /// Its bytes, while it is being written.
    pub under_way: Option<Rc<[u8]>>,
}

/// One data core.
pub(super) struct Core {
    pub mover: ShardMover<Vec<u8>>,
    pub mail: VecDeque<ToShard>,
    /// The buffer of the block being written.
    pub writing: Option<Vec<u8>>,
    /// All blocks of the stream.
    pub blocks: Vec<BlockRef>,
    /// Blocks on their way to the standby.
    pub live: LiveFeed,
    /// Segments that the journal knows of.
    pub segments_told: u32,
    /// When a block that is held back is to be asked for again.
    pub held_until_ns: Option<u64>,
}

/// A running process.
pub(super) struct Process {
    pub cores: Vec<Core>,
    /// Messages between cores: to, from.
    pub mesh: VecDeque<(usize, usize, MeshMessage)>,
    /// Payments that cores decided, for their siblings: `broadcast[to][from]`.
    pub broadcast: Vec<Vec<VecDeque<DecidedPayment>>>,
    pub control: VecDeque<ToControl>,
    /// Connections of clients: core and the shard's name for it.
    pub clients: BTreeMap<usize, (usize, ConnectionId)>,
    /// When each transaction that was taken must be answered, on this node's clock.
    pub due: BTreeMap<(usize, u64), u64>,
    /// What it does about the other node.
    pub node: Node,
    /// What has happened, and the node has not heard of.
    pub events: VecDeque<ReplicaEvent>,
    /// What it wants done is being done.
    pub handling: bool,
    /// The operator's commands that are not answered, with when each was given.
    pub requests: BTreeMap<RequestId, u64>,
    /// On its way to the disk.
    pub persisting: Option<ReplicaState>,
    pub primary: PrimaryStreams,
    pub standby: StandbyStreams,
    /// New transactions are refused for want of room.
    pub full: bool,
    /// The epoch in which its shards decide, if they do.
    pub deciding_epoch: Option<u32>,
    /// A standby's tables.
    pub builder: Option<Builder>,
    /// Its policies.
    pub policies: Policies,
    pub validators: Validators,
    /// Its named lists, while it decides.
    pub lists: ProcessLists,
    /// A task that is not polled until then.
    pub starved: Option<(Task, u64)>,
}

impl Process {
    /// What is durable of its place in the cluster.
    pub fn state(&self) -> &ReplicaState {
        self.node.state()
    }
}

/// The disk of a node that was never started, or wiped so many times.
pub(super) fn new_disk(node: usize, shards: u16, wiped: u8) -> NodeDisk {
    let state = match (node, wiped) {
        (0, 0) => ReplicaState::single(shards, 1),
        _ => ReplicaState::joining(shards, 0, address(1 - node)),
    };
    NodeDisk::new([node as u8 + 1 + 16 * wiped; 16], state, shards)
}

fn block_ref(block: &SoundBlock<'_>) -> BlockRef {
    let first_lsn = block.head.first_lsn.to_native();
    BlockRef {
        first_lsn,
        last_lsn: first_lsn + u64::from(block.head.record_count.to_native()) - 1,
        chain: block.head.chain,
        segment: block.place.segment,
        offset: block.place.block_offset,
        len: block.head.padded_len(),
        under_way: None,
    }
}

impl BlockRef {
    pub fn of(block: &SoundBlock<'_>) -> Self {
        block_ref(block)
    }

    pub fn of_write(write: &BlockWrite<Vec<u8>>, bytes: Rc<[u8]>) -> Self {
        let head = catraca_wire::block::sound_head(&bytes).expect("just sealed");
        Self {
            first_lsn: head.first_lsn.to_native(),
            last_lsn: write.last_lsn,
            chain: head.chain,
            segment: write.segment,
            offset: write.offset,
            len: write.len,
            under_way: Some(bytes),
        }
    }
}

impl Sim {
    /// Starts a node that is down. What is torn is cleared first, which takes its time.
    pub fn start(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        if host.process.is_some() || host.booting || host.damaged {
            return;
        }
        host.powered = true;
        host.booting = true;
        host.incarnation += 1;
        self.note(format_args!(
            "node {node} starts as {} of epoch {}",
            self.nodes[node].disk.state.role, self.nodes[node].disk.state.epoch
        ));
        for stream in 0..usize::from(self.plan.shards) {
            let id = self.new_id();
            let disk = &mut self.nodes[node].disk;
            let last_write = disk.state.last_write();
            let disk = &mut disk.streams[stream];
            let mut found = recover(stream as u16, disk, last_write, &mut |_| {});
            if let Some(damage) = found.damage.take() {
                if self.plan.broken == Some(Broken::TruncatedDamage) {
                    truncate(&mut disk.segments, &found.tail);
                    continue;
                }
                let Damage { at, reason } = damage;
                return self.refuse_to_start(
                    node,
                    format_args!("stream {stream} is damaged: {at} {reason}"),
                );
            }
            if let Some(torn) = found.torn {
                disk.begin_zero(id, torn.segment, torn.from, torn.to);
                // Nothing sound stands behind it, so that whatever was missing lay in what is
                // cleared, and comes from the other node again. A disk that lost a write and tore
                // the next one leaves no more than one unfinished write does.
                disk.hole = false;
                if torn.reason == TornReason::BlocksNotWritten {
                    self.checks.count("holes repaired");
                }
                self.checks.count("torn ends repaired");
                self.note(format_args!("node {node}: stream {stream} is torn: {torn}"));
                self.io_step(node);
            }
        }
        if self.nodes[node].disk.streams.iter().any(|disk| disk.hole)
            && !self.broken(Broken::TruncatedDamage)
        {
            return self.checks.fail(format!(
                "node {node} starts although something is missing in the middle of its log"
            ));
        }
        let time = self.rng.between(2, 40) * MS;
        self.wake_in(node, time, Wake::Booted);
        let clears = self.nodes[node].disk.streams.iter().any(super::disk::StreamDisk::is_busy);
        if clears && self.plan.faults && !self.faults.over && self.rng.permille(CUT_OFF_PERMILLE) {
            self.after(time / 2, Event::Mend(Mend::Kill(node)));
            self.after(time, Event::Mend(Mend::Start(node)));
        }
    }

    fn refuse_to_start(&mut self, node: usize, why: Arguments<'_>) {
        self.note(format_args!("node {node} does not start: {why}"));
        let host = &mut self.nodes[node];
        let rotten = host.disk.is_rotten();
        (host.booting, host.damaged) = (false, true);
        for disk in &mut host.disk.streams {
            disk.cut(&mut self.rng);
        }
        self.checks.count("damaged logs refused");
        if !rotten {
            self.checks.fail(format!("node {node} does not start behind a crash alone: {why}"));
        }
    }

    /// Recovery is over: the process runs.
    pub(super) fn booted(&mut self, node: usize) {
        let Plan { shards, broken, solo_after_ms, .. } = self.plan;
        let now_ns = self.now_ns;
        let host = &mut self.nodes[node];
        host.booting = false;
        let state = host.disk.state.clone();
        let builder = Builder::new(shards, dedupe::MIN_ENTRIES, DedupeKey(SECRET));
        let mut recovered = Vec::new();
        for stream in 0..shards {
            let disk = &mut host.disk.streams[usize::from(stream)];
            disk.finish_zero();
            disk.soiled = false;
            let (mut blocks, mut boundaries) = (Vec::new(), Boundaries::default());
            let found = recover(stream, disk, state.last_write(), &mut |block| {
                if broken != Some(Broken::EmptyDedupe) {
                    builder.take(block);
                }
                blocks.push(block_ref(block));
                boundaries.push(Tail::after(block));
            });
            assert!(
                found.torn.is_none() && found.damage.is_none(),
                "what was repaired is sound: {:?} {:?}",
                found.torn,
                found.damage
            );
            recovered.push((found.tail, blocks, boundaries));
        }
        let last_lsns: Vec<u64> = recovered.iter().map(|(tail, ..)| tail.next_lsn - 1).collect();
        let log_epoch = recovered.iter().map(|(tail, ..)| tail.epoch).max().unwrap_or(0);
        let held = match state.held_to_log(log_epoch, &last_lsns) {
            Ok(held) => held,
            Err(refused) => return self.refuse_to_start(node, format_args!("{refused}")),
        };
        // The first segment of each stream is made before a process decides.
        if held.role == Role::Primary && host.disk.lacks_first_segment() {
            return self.disk_failed(node);
        }
        let void = held != state;
        host.disk.state = held.clone();
        let state = held;
        let primary = state.role == Role::Primary;
        let policy_log = builder.policies();
        let named = builder.named().expect("the changes of the simulator are sound");
        let named = lists::of_log(named, broken);
        let mut builder = Some(builder);
        let mut dedupes = if primary {
            builder.take().map(Builder::into_dedupes).unwrap_or_default()
        } else {
            Vec::new()
        };
        let node_setup = NodeSetup {
            shards,
            solo_after_ns: solo_after_ms * MS,
            primary: (node != 0).then(|| address(1 - node)),
            own_address: address(node),
            timing: TIMING,
        };
        let mut process = Process {
            cores: Vec::new(),
            mesh: VecDeque::new(),
            broadcast: vec![vec![VecDeque::new(); shards.into()]; shards.into()],
            control: VecDeque::new(),
            clients: BTreeMap::new(),
            due: BTreeMap::new(),
            node: Node::new(node_setup, state.clone(), now_ns),
            events: VecDeque::new(),
            handling: false,
            requests: BTreeMap::new(),
            persisting: None,
            primary: PrimaryStreams::default(),
            standby: StandbyStreams::default(),
            full: false,
            deciding_epoch: primary.then_some(state.epoch),
            builder,
            policies: Policies::default(),
            validators: Validators::default(),
            lists: ProcessLists::new(named),
            starved: None,
        };
        let policy = policies::in_force(&policy_log, broken);
        process.policies.logged = policy_log;
        let mut pasts = windows::read_from(&host.disk, &policy, shards, None)
            .expect("a log that is repaired can be read");
        if let Some(builder) = &process.builder {
            for (stream, (tail, ..)) in (0..).zip(&recovered) {
                builder.pasts().begin(stream, tail.next_lsn);
            }
            builder.pasts().hold(pasts.take());
        }
        let mut pasts = pasts.into_iter().flat_map(Pasts::into_shards);
        let decides_by = if primary { policy } else { Policy::blacklist_only().into() };
        let mut role_config =
            RoleConfig { role: state.role, ..RoleConfig::primary(state.durability) };
        if broken == Some(Broken::AckBeforeStandby) {
            role_config.durability = Durability::Solo;
        }
        for (stream, (tail, blocks, boundaries)) in recovered.into_iter().enumerate() {
            let stream = stream as u16;
            let dedupe = if primary {
                dedupes.remove(0)
            } else {
                Dedupe::new(dedupe::MIN_ENTRIES, DedupeKey(SECRET))
            };
            let ready = host.disk.streams[usize::from(stream)].segments.len() as u32;
            let journal = Journal::new(journal_setup(stream, state.epoch, &tail, ready));
            let mut shard = Shard::new(
                settings(&self.plan, host.disk.node_id, stream),
                role_config,
                shard_state(dedupe, Arc::clone(&decides_by), pasts.next(), &process.lists.named),
                journal,
            );
            for _ in 0..self.plan.buffers {
                shard.give_buffer(vec![0; MAX_BLOCK_LEN]);
            }
            process.standby.add_stream(stream, boundaries);
            process.cores.push(Core {
                mover: ShardMover::new(shard),
                mail: VecDeque::new(),
                writing: None,
                blocks,
                live: LiveFeed::default(),
                segments_told: ready,
                held_until_ns: None,
            });
        }
        host.process = Some(process);
        let epoch = state.epoch;
        self.note(format_args!(
            "node {node} runs as {} of epoch {epoch}, {} {:?}",
            state.role,
            state.durability,
            self.tails(node)
        ));
        if void {
            self.note(format_args!(
                "node {node}: its log is not the one that its grant was given to"
            ));
        }
        self.make_all_segments(node);
        self.wake_in(node, 10 * MS, Wake::Tick);
        self.wake_in(node, 5 * MS, Wake::Heartbeat);
    }

    /// The last durable record of each stream of a running node.
    pub(super) fn tails(&self, node: usize) -> Vec<u64> {
        let Some(process) = &self.nodes[node].process else { return Vec::new() };
        process.cores.iter().map(|core| durable_tail(&core.blocks)).collect()
    }

    /// The process is over: its memory is lost, its writes may be there or not.
    pub(super) fn end_process(&mut self, node: usize, announced: bool, how: &str) {
        let host = &mut self.nodes[node];
        if host.process.is_none() && !host.booting {
            return;
        }
        if std::mem::take(&mut host.booting) {
            self.checks.count("death while starting");
        }
        host.incarnation += 1;
        host.paused = false;
        host.deferred.clear();
        let cutting = host.process.as_ref().is_some_and(|process| process.standby.is_cutting());
        for disk in &mut host.disk.streams {
            let Some(cut) = disk.cut(&mut self.rng) else { continue };
            self.checks.count(match cut {
                Cut::Dropped => "write dropped",
                Cut::Torn => "write torn",
                Cut::Kept => "write kept unreported",
                Cut::Zeroing if cutting => "death while cutting",
                Cut::Zeroing => "repair cut off",
            });
        }
        let process = host.process.take();
        if let Some(state) = process.as_ref().and_then(|process| process.persisting.as_ref())
            && self.rng.permille(500)
        {
            // The rename was done, and only the word of it is lost.
            self.nodes[node].disk.state = self.on_disk(&self.nodes[node].disk.state, state);
        }
        self.note(format_args!("node {node} is {how}"));
        for conn in 0..self.net.conns.len() {
            for end in 0..2 {
                use super::network::End;
                let entry = &self.net.conns[conn];
                let mine = matches!(entry.ends[end], End::Node { node: n, incarnation } if n == node && incarnation.is_some());
                if mine && entry.open[end] {
                    if announced { self.hang_up(conn, end) } else { self.vanish(conn, end) }
                }
            }
        }
    }

    /// Makes the segments that a stream will need, as far as the disk has room.
    pub(super) fn make_segments(&mut self, node: usize, core: usize) {
        let reuse = self.broken(Broken::ReusedSegment);
        let host = &mut self.nodes[node];
        let Some(process) = host.process.as_mut() else { return };
        let in_use = process.cores[core].blocks.last().map_or(0, |block| block.segment as usize);
        let primary = process.state().role == Role::Primary;
        let mut made = 0;
        while host.disk.streams[core].segments.len() <= in_use + SEGMENTS_AHEAD
            && host.disk.has_room()
        {
            host.disk.streams[core].add_segment(CLUSTER, core as u16, SEGMENT_LEN, reuse);
            self.checks.count("segments");
            made += 1;
        }
        let ready = host.disk.streams[core].segments.len() as u32;
        if primary {
            let told = std::mem::replace(&mut process.cores[core].segments_told, ready);
            if told != ready || made > 0 {
                self.mail(node, core, ToShard::SegmentsReady(ready));
            }
            self.tell_room(node);
        }
    }

    /// Whether a running node's disk has no more room, and soon none at all.
    pub(super) fn is_short_of_room(&self, node: usize) -> bool {
        let host = &self.nodes[node];
        let in_use = |core: &Core| core.blocks.last().map_or(0, |block| block.segment as usize);
        let cores = host.process.iter().flat_map(|process| &process.cores);
        !host.disk.has_room()
            && cores
                .zip(&host.disk.streams)
                .any(|(core, disk)| disk.segments.len() <= in_use(core) + 1)
    }

    pub(super) fn make_all_segments(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            (0..usize::from(self.plan.shards)).for_each(|core| self.make_segments(node, core));
        }
    }

    /// Empties a node's disk: it comes back as somebody else, with nothing.
    pub fn wipe(&mut self, node: usize) {
        self.end_process(node, true, "wiped");
        self.checks.count(if self.nodes[node].damaged {
            "emptied by the operator"
        } else {
            "wipe"
        });
        let wiped = self.nodes[node].disk.node_id[0] / 16 + 1;
        let disk = new_disk(node, self.plan.shards, wiped);
        let host = &mut self.nodes[node];
        host.disk = disk;
        host.damaged = false;
        self.operator.promised[node] = false;
        self.start(node);
    }
}

/// The last durable record of a stream.
pub(super) fn durable_tail(blocks: &[BlockRef]) -> u64 {
    blocks.iter().rev().find(|block| block.under_way.is_none()).map_or(0, |block| block.last_lsn)
}
