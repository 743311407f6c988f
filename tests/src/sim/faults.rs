//! What goes wrong, and when: drawn from the run's chance, within what the promises allow.

use super::disk::DiskFault;
use super::event::{Event, Mend, Task};
use super::found::{disk_tails, read_log};
use super::network::NODES;
use super::rng::Rng;
use super::scenario::PromotionStep;
use super::world::{MS, Sim};
use catraca_wire::frame::{Durability, Role};

/// How a promotion is watched on its way: in steps of this length, so many at most.
const MOMENT_NS: u64 = 20_000;
const MOMENTS: usize = 2_000;

/// Of so many jumps of a clock one is by hours: most transactions are refused for their age then,
/// and a run is to meet other things too.
const HOURS_IN: i64 = 3;

/// Of a thousand slow disks those that take their time for the node's state too: all of them would
/// rarely let a standby come in sync.
const SLOW_STATE_PERMILLE: u64 = 300;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerCut,
    BothPowerCuts,
    Stop,
    Part,
    PartOneWay,
    Flap,
    PartClient,
    Reset,
    ClientReset,
    SlowNetwork,
    SlowDisk,
    WriteError,
    WriteLie,
    DiskFull,
    Clock,
    Rot,
    Wipe,
    KillInPromotion,
    KillInCut,
    Starve,
    Terminate,
}

/// Each with its weight.
const FAULTS: [(Fault, u64); 22] = [
    (Fault::Kill, 12),
    (Fault::PowerCut, 10),
    (Fault::BothPowerCuts, 3),
    (Fault::Stop, 10),
    (Fault::Part, 8),
    (Fault::PartOneWay, 6),
    (Fault::Flap, 4),
    (Fault::PartClient, 4),
    (Fault::Reset, 14),
    (Fault::ClientReset, 4),
    (Fault::SlowNetwork, 8),
    (Fault::SlowDisk, 8),
    (Fault::WriteError, 6),
    (Fault::WriteLie, 6),
    (Fault::DiskFull, 9),
    (Fault::Clock, 5),
    (Fault::Rot, 9),
    (Fault::Wipe, 2),
    (Fault::KillInPromotion, 8),
    (Fault::KillInCut, 3),
    (Fault::Starve, 8),
    (Fault::Terminate, 4),
];

/// How hard a run is disturbed.
pub(super) struct Faults {
    /// Between two faults at most, milliseconds.
    longest_pause_ms: u64,
    /// No more of them.
    pub over: bool,
    /// Some runs know some faults only.
    mask: u64,
    /// A node is killed in the middle of its next cut.
    pub kills_in_cut: [bool; NODES],
}

impl Faults {
    pub fn new(rng: &mut Rng) -> Self {
        let mask = if rng.permille(500) { u64::MAX } else { rng.bits() | 1 };
        Self {
            longest_pause_ms: rng.between(60, 1_500),
            over: false,
            mask,
            kills_in_cut: [false; NODES],
        }
    }

    fn draw(&self, rng: &mut Rng) -> Fault {
        let known = || {
            FAULTS
                .iter()
                .enumerate()
                .filter(|(index, _)| self.mask >> index & 1 == 1)
                .map(|(_, fault)| fault)
        };
        let mut pick = rng.between(1, known().map(|(_, weight)| weight).sum());
        for (fault, weight) in known() {
            match pick.checked_sub(*weight) {
                None | Some(0) => return *fault,
                Some(rest) => pick = rest,
            }
        }
        Fault::Kill
    }
}

impl Sim {
    pub(super) fn next_fault(&mut self) {
        if self.faults.over {
            return;
        }
        let pause = self.rng.between(10, self.faults.longest_pause_ms) * MS;
        self.after(pause, Event::Fault);
        let fault = self.faults.draw(&mut self.rng);
        let node = self.rng.index(NODES);
        let short = self.rng.between(20, 1_500) * MS;
        let long = self.rng.between(100, 3_000) * MS;
        match fault {
            Fault::Kill => {
                self.kill(node);
                self.after(short, Event::Mend(Mend::Start(node)));
            }
            Fault::PowerCut => {
                self.cut_power(node);
                self.after(short, Event::Mend(Mend::Start(node)));
            }
            Fault::BothPowerCuts => {
                for node in 0..NODES {
                    self.cut_power(node);
                    let time = self.rng.between(20, 1_500) * MS;
                    self.after(time, Event::Mend(Mend::Start(node)));
                }
            }
            Fault::Stop => {
                self.pause(node);
                self.after(long, Event::Mend(Mend::Resume(node)));
            }
            Fault::Part => {
                self.checks.count("partition");
                for (from, to) in [(0, 1), (1, 0)] {
                    self.set_line(from, to, false);
                    self.after(long, Event::Mend(Mend::Line { from, to }));
                }
            }
            Fault::PartOneWay => {
                self.checks.count("one-way partition");
                self.set_line(node, 1 - node, false);
                self.after(long, Event::Mend(Mend::Line { from: node, to: 1 - node }));
            }
            Fault::Flap => self.mend_flap(node, 1 - node),
            Fault::PartClient => {
                self.checks.count("client cut off");
                let client = NODES + self.rng.index(self.clients.len());
                let (from, to) =
                    if self.rng.permille(500) { (node, client) } else { (client, node) };
                self.set_line(from, to, false);
                self.after(long, Event::Mend(Mend::Line { from, to }));
            }
            Fault::Reset => self.reset_some(false),
            Fault::ClientReset => self.reset_some(true),
            Fault::SlowNetwork => {
                self.net.slowest_ns = self.rng.between(1, 80) * MS;
                self.net.lost_permille = self.rng.between(0, 50);
                self.net.twice_permille = self.rng.between(0, 100);
                self.note(format_args!("the network is slow: {} ms", self.net.slowest_ns / MS));
                self.after(long, Event::Mend(Mend::SlowNetwork));
            }
            Fault::SlowDisk => {
                let slowest = self.rng.between(5, 600) * MS;
                self.nodes[node].disk.slowest_ns = slowest;
                if self.rng.permille(SLOW_STATE_PERMILLE) {
                    self.nodes[node].disk.slowest_state_ns = 4 * slowest;
                }
                self.note(format_args!("node {node}: writes take up to {} ms", slowest / MS));
                self.after(long, Event::Mend(Mend::SlowDisk(node)));
            }
            Fault::WriteError => {
                let fault = if self.rng.permille(500) { DiskFault::Io } else { DiskFault::NoSpace };
                self.break_disk(node, fault);
            }
            Fault::WriteLie => {
                let fault =
                    if self.rng.permille(400) { DiskFault::Lost } else { DiskFault::Misdirected };
                self.break_disk(node, fault);
            }
            Fault::DiskFull => self.fill_disk(node, 3 * long),
            Fault::Clock => {
                let jump = self.rng.between(0, 480_000) as i64 - 240_000;
                self.checks.count("clock jump");
                self.checks.count("clock drift");
                self.nodes[node].clock.jump(jump * MS as i64);
                let now_ns = self.now_ns;
                let drift = self.nodes[node].clock.drift(now_ns, &mut self.rng);
                self.note(format_args!(
                    "node {node}: its clock jumps by {jump} ms and drifts by {drift} ppb"
                ));
                if jump % HOURS_IN == 0 {
                    self.set_clock_by_hours(node, -1);
                    self.after(long / 2, Event::Mend(Mend::ClockForth(node)));
                }
                self.after(long, Event::Mend(Mend::Clock(node)));
            }
            Fault::Rot => self.rot_somewhere(node, short),
            Fault::Wipe => {
                let standby = self.nodes[node].disk.state.role == Role::Standby;
                if standby && self.leader() == Some(1 - node) && self.is_spare(node) {
                    self.wipe(node);
                }
            }
            Fault::KillInPromotion => {
                let step = PromotionStep::ALL[self.rng.index(PromotionStep::ALL.len())];
                if self.leader() == Some(1 - node) && self.may_promote(node) {
                    if step == PromotionStep::Stopping {
                        self.await_write(node);
                    }
                    if self.may_promote(node) && self.promote(node, false) {
                        self.kill_in_promotion(node, step);
                        self.after(short, Event::Mend(Mend::Start(node)));
                    }
                }
            }
            Fault::Terminate => {
                let time = self.rng.between(1, 200) * MS;
                self.terminate(node);
                self.after(time, Event::Mend(Mend::Kill(node)));
                self.after(time + short, Event::Mend(Mend::Start(node)));
            }
            Fault::KillInCut => self.faults.kills_in_cut[node] = true,
            Fault::Starve => {
                let task = Task::ALL[self.rng.index(Task::ALL.len())];
                let until_ns = self.now_ns + short;
                let Some(process) = &mut self.nodes[node].process else { return };
                process.starved = Some((task, until_ns));
                self.checks.count("task starved");
                self.note(format_args!(
                    "node {node}: its task {task:?} is not polled for {} ms",
                    short / MS
                ));
            }
        }
    }

    /// Kills a node that is being promoted once it has come to a step, or has gone past it. The
    /// step at which it was killed.
    pub fn kill_in_promotion(&mut self, node: usize, step: PromotionStep) -> Option<PromotionStep> {
        for _ in 0..MOMENTS {
            if self.promotion_step(node).is_none_or(|reached| reached >= step) {
                break;
            }
            self.run_on(MOMENT_NS);
        }
        let reached = self.promotion_step(node);
        if let Some(reached) = reached {
            self.checks.count(reached.name());
        }
        self.kill(node);
        reached
    }

    /// Waits until a standby writes a block that came, if it soon does.
    pub fn await_write(&mut self, node: usize) -> bool {
        let writes = |sim: &Self| {
            let process = sim.nodes[node].process.as_ref();
            process.is_some_and(|process| {
                (0..process.cores.len()).any(|stream| process.standby.writes(stream))
            })
        };
        for _ in 0..MOMENTS {
            if writes(self) {
                return true;
            }
            self.run_on(MOMENT_NS);
        }
        false
    }

    /// Lets a moment pass within an event.
    fn run_on(&mut self, time_ns: u64) {
        let until = self.now_ns + time_ns;
        while let Some((at, event)) = self.queue.pop(until) {
            self.now_ns = at;
            self.handle(event);
        }
        self.now_ns = until;
    }

    fn mend_flap(&mut self, from: usize, to: usize) {
        self.checks.count("flapping line");
        let times = self.rng.between(2, 12) as u8;
        self.after(0, Event::Mend(Mend::Flap { from, to, times }));
    }

    /// Somebody sets a node's clock of the day, by whole hours.
    pub fn set_clock_by_hours(&mut self, node: usize, hours: i64) {
        self.checks.count("clock set by hours");
        self.note(format_args!("node {node}: its clock is set by {hours} hours"));
        self.nodes[node].clock.jump(hours * 3_600_000 * MS as i64);
    }

    /// A node's disk takes no more segments for a time.
    pub fn fill_disk(&mut self, node: usize, time_ns: u64) {
        let disk = &mut self.nodes[node].disk;
        disk.capacity = disk.streams.iter().map(|stream| stream.segments.len()).sum();
        self.checks.count("disk full");
        self.note(format_args!("node {node}: its disk has no more room"));
        self.after(time_ns, Event::Mend(Mend::Room(node)));
    }

    /// Whether everything that was answered is safe without this node.
    pub(super) fn is_spare(&self, node: usize) -> bool {
        let (this, other) = (&self.nodes[node], &self.nodes[1 - node]);
        let asked = self.operator.solo_at_ns.is_some_and(|at| self.now_ns - at < 3_000 * MS);
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let going_alone =
            asked || processes.into_iter().any(|process| process.node.is_going_alone());
        if other.disk.is_rotten() || other.damaged || going_alone {
            return false;
        }
        match self.leader() {
            // What a standby holds its primary holds, as long as it stays a standby.
            Some(leader) if leader != node => {
                !this.process.as_ref().is_some_and(|process| process.node.is_promoting())
            }
            Some(_) => {
                let (mine, its) = (&this.disk.state, &other.disk.state);
                // A standby that is ahead of its primary since the grant will be cut, and is no
                // longer granted then.
                let granted = its.found(&disk_tails(&this.disk)).in_sync;
                mine.durability == Durability::Sync
                    && granted
                    && its.epoch == mine.epoch
                    && self.may_promote(1 - node)
            }
            None => false,
        }
    }

    /// Damages what is at rest on a node's disk, while the node is down.
    fn rot_somewhere(&mut self, node: usize, time_ns: u64) {
        self.kill(node);
        self.after(time_ns, Event::Mend(Mend::Start(node)));
        if self.is_spare(node) {
            self.rot(node);
        }
    }

    /// The newest blocks of a node that is down are gone, as where its disk was restored from an
    /// older copy: no start can tell.
    pub fn set_back(&mut self, node: usize, blocks: usize) {
        let mut all = Vec::new();
        let read = read_log(&self.nodes[node].disk, |of, block| {
            all.push((
                of,
                block.place.segment as usize,
                block.place.block_offset as usize,
                block.head.padded_len(),
            ));
        });
        assert!(
            read.is_ok() && all.len() > blocks && !self.runs(node),
            "a sound log of a node that is down"
        );
        for &(stream, segment, from, len) in &all[all.len() - blocks..] {
            self.nodes[node].disk.streams[usize::from(stream)].segments[segment][from..from + len]
                .fill(0);
        }
        self.note(format_args!("node {node}: its last {blocks} blocks are gone"));
    }

    /// Alters one block of a node that is down, but so that it can be told: the newest is not lost
    /// as a whole.
    pub fn rot(&mut self, node: usize) -> bool {
        let kind = self.rng.index(4);
        self.rot_as(node, kind)
    }

    /// The same, in one of four ways: a bit has flipped, it was never written, another lies in its
    /// place, its length has changed.
    pub fn rot_as(&mut self, node: usize, kind: usize) -> bool {
        let stream = self.rng.index(usize::from(self.plan.shards));
        let mut blocks = Vec::new();
        let sound = read_log(&self.nodes[node].disk, |of, block| {
            if usize::from(of) == stream {
                blocks.push((
                    block.place.segment as usize,
                    block.place.block_offset as usize,
                    block.head.padded_len(),
                ));
            }
        });
        if sound.is_err()
            || blocks.len() < 3
            || self.nodes[node].process.is_some()
            || self.nodes[node].booting
        {
            return false;
        }
        let which = self.rng.index(blocks.len() - 1);
        let (segment, from, len) = blocks[which];
        self.checks.count(["bit rot", "block zeroed", "block exchanged", "bad length"][kind]);
        let disk = &mut self.nodes[node].disk.streams[stream];
        disk.hole = true;
        let what = match kind {
            0 => {
                let bit = self.rng.index(len * 8);
                disk.segments[segment][from + bit / 8] ^= 1 << (bit % 8);
                "a bit of it has flipped"
            }
            1 => {
                disk.segments[segment][from..from + len].fill(0);
                "it was never written"
            }
            2 => {
                let (other_segment, other, other_len) = blocks[(which + 1) % blocks.len()];
                let len = len.min(other_len);
                let bytes = disk.segments[other_segment][other..other + len].to_vec();
                disk.segments[segment][from..from + len].copy_from_slice(&bytes);
                "another block lies in its place"
            }
            _ => {
                // The length in its head: no part of a head can be torn.
                let byte = from + 44 + self.rng.index(4);
                disk.segments[segment][byte] ^= 0x80;
                "its length has changed"
            }
        };
        self.note(format_args!(
            "node {node}: block {which} of stream {stream}, at {segment}:{from}: {what}"
        ));
        true
    }
}
