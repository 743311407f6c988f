//! The world: one queue of events, two nodes, their disks and clocks, the network, the clients, the
//! operator.

use super::checks::Checks;
use super::client::Client;
use super::clock::Clock;
use super::disk::{DiskFault, NodeDisk};
use super::event::{Deferred, Event, Mend, Queue, Wake};
use super::faults::Faults;
use super::network::{NODES, Network};
use super::node::Process;
use super::operator::Operator;
use super::rng::Rng;
use super::shared_cache::SharedCache;
use super::trace::Trace;
use super::{Broken, Plan};
use catraca_core::replica::node::Event as ReplicaEvent;
use std::cell::RefCell;
use std::fmt::Arguments;
use std::rc::Rc;

/// What the seeds of the policies, and of the lists, are told apart by.
const POLICY_SEED: u64 = 0x706f_6c69_6379;
/// Likewise for validators.
const VALIDATOR_SEED: u64 = 0x7661_6c69_6461_7465;
const LIST_SEED: u64 = 0x6c69_7374;
pub(super) const MS: u64 = 1_000_000;

/// One machine.
pub(super) struct Node {
    pub disk: NodeDisk,
    pub clock: Clock,
    pub powered: bool,
    pub paused: bool,
    /// Counts the runs of the process, begun or not.
    pub incarnation: u64,
    /// The process; none while the node is down or starts.
    pub process: Option<Process>,
    pub booting: bool,
    /// It refused to start: its log is damaged.
    pub damaged: bool,
    /// Reads and writes of its disk so far: what was begun, and what has ended.
    pub io_steps: u64,
    pub deferred: Deferred,
}

/// One run.
pub struct Sim {
    pub(super) now_ns: u64,
    pub(super) queue: Queue,
    pub(super) rng: Rng,
    /// For policies alone: runs without any are what they were.
    pub(super) policy_rng: Rng,
    pub(super) validator_rng: Rng,
    pub(super) shared_cache: SharedCache,
    pub(super) list_rng: Rng,
    pub(super) plan: Plan,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Network,
    pub(super) clients: Vec<Client>,
    pub(super) operator: Operator,
    pub(super) faults: Faults,
    /// What was promised, and whether it was kept.
    pub checks: Checks,
    pub(super) trace: Rc<RefCell<Trace>>,
    pub(super) next_id: u64,
}

impl Sim {
    /// A world at its beginning: both nodes are about to start, clients are about to dial.
    pub fn new(plan: Plan, trace: Rc<RefCell<Trace>>) -> Self {
        let mut rng = Rng::new(plan.seed);
        let nodes = (0..NODES)
            .map(|node| Node {
                disk: super::node::new_disk(node, plan.shards, 0),
                clock: Clock::new(rng.between(1, 1_000_000) * MS),
                powered: true,
                paused: false,
                incarnation: 0,
                process: None,
                booting: false,
                damaged: false,
                io_steps: 0,
                deferred: Deferred::new(),
            })
            .collect();
        let mut sim = Self {
            now_ns: 0,
            queue: Queue::default(),
            nodes,
            net: Network::new(plan.clients),
            clients: (0..plan.clients)
                .map(|client| Client::new(client, plan.pace_permille))
                .collect(),
            operator: Operator::new(&mut rng),
            faults: Faults::new(&mut rng),
            checks: Checks::default(),
            trace,
            next_id: 0,
            rng,
            policy_rng: Rng::new(plan.seed ^ POLICY_SEED),
            validator_rng: Rng::new(plan.seed ^ VALIDATOR_SEED),
            shared_cache: SharedCache::default(),
            list_rng: Rng::new(plan.seed ^ LIST_SEED),
            plan,
        };
        for node in 0..NODES {
            sim.start(node);
        }
        for client in 0..sim.plan.clients {
            let at = sim.rng.between(1, 30) * MS;
            sim.at(at, Event::Client(client));
        }
        sim.at(100 * MS, Event::Operator);
        if sim.plan.policies {
            sim.at(150 * MS, Event::Policy);
            sim.at(120 * MS, Event::List);
        }
        if sim.plan.faults {
            let at = sim.rng.between(100, 900) * MS;
            sim.at(at, Event::Fault);
        }
        sim
    }

    /// Adds to the trace.
    pub(super) fn note(&self, line: Arguments<'_>) {
        self.trace.borrow_mut().note(self.now_ns, line);
    }

    pub(super) fn broken(&self, how: Broken) -> bool {
        self.plan.broken == Some(how)
    }

    pub(super) fn at(&mut self, at_ns: u64, event: Event) {
        self.queue.push(at_ns, event);
    }

    pub(super) fn after(&mut self, delay_ns: u64, event: Event) {
        self.queue.push(self.now_ns + delay_ns, event);
    }

    /// Wakes the run of a node's process that is on now, after some time.
    pub(super) fn wake_in(&mut self, node: usize, delay_ns: u64, wake: Wake) {
        let incarnation = self.nodes[node].incarnation;
        self.after(delay_ns, Event::Node { node, incarnation, wake });
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The process of a node that is known to run.
    pub(super) fn process(&mut self, node: usize) -> &mut Process {
        self.nodes[node].process.as_mut().expect("events reach running processes only")
    }

    /// Lets this much time pass.
    pub fn run_for_ms(&mut self, time_ms: u64) {
        let until = self.now_ns + time_ms * MS;
        while self.checks.failure().is_none() {
            let Some((at, event)) = self.queue.pop(until) else { break };
            self.now_ns = at;
            self.handle(event);
        }
        self.now_ns = self.now_ns.max(until);
    }

    /// Lets time pass until something is so, at most this long; whether it was.
    pub fn run_until(&mut self, limit_ms: u64, so: impl Fn(&Self) -> bool) -> bool {
        let end = self.now_ns + limit_ms * MS;
        while !so(self) && self.now_ns < end && self.checks.failure().is_none() {
            self.run_for_ms(1);
        }
        so(self)
    }

    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { conn, from } => self.deliver(conn, from),
            Event::Node { node, incarnation, wake } => {
                let host = &mut self.nodes[node];
                if host.incarnation != incarnation || !host.powered {
                } else if host.paused {
                    host.deferred.push_back(event);
                } else if let Some(until_ns) = self.starved_until(node, wake) {
                    self.queue.push(until_ns, event);
                } else {
                    self.wake(node, wake);
                }
            }
            Event::Disk { node, stream, id } => self.disk_ends(node, stream, id),
            Event::Client(client) => self.client_looks(client),
            Event::Fault => self.next_fault(),
            Event::Mend(mend) => self.mend(mend),
            Event::Operator => self.operator_looks(),
            Event::Policy => self.policy_wanted(),
            Event::List => self.list_wanted(),
        }
    }

    /// When the task that would do this is polled again, where it is not polled now.
    pub(super) fn starved_until(&self, node: usize, wake: Wake) -> Option<u64> {
        let (task, until_ns) = self.nodes[node].process.as_ref()?.starved?;
        (self.now_ns < until_ns && task.does(wake)).then_some(until_ns)
    }

    fn wake(&mut self, node: usize, wake: Wake) {
        match wake {
            Wake::Booted => self.booted(node),
            _ if self.nodes[node].process.is_none() => {}
            Wake::Tick => self.tick(node),
            Wake::Heartbeat => self.pass_time(node),
            Wake::Mail { core } => self.read_mail(node, core),
            Wake::Control => self.read_control(node),
            Wake::PolicyAgain => self.policy_again(node),
            Wake::WindowsAgain => self.windows_again(node),
            Wake::StandbyWindows => self.standby_reads_windows(node),
            Wake::Attempt { number } => self.attempt_came(node, number),
            Wake::Looked { number } => self.looked(node, number),
            Wake::Validators => self.validators_tick(node),
            Wake::Mesh => self.read_mesh(node),
            Wake::Written { stream, failed } => self.written(node, stream, failed),
            Wake::Held { core } => self.progress(node, core),
            Wake::Persisted => self.persisted(node),
            Wake::CutStep => self.cut_step(node),
            Wake::Feed { stream } => self.feed(node, stream),
            Wake::SegmentsMade { core } => self.make_segments(node, core),
        }
    }

    fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Start(node) => self.start(node),
            Mend::Resume(node) => self.resume(node),
            Mend::Line { from, to } => self.set_line(from, to, true),
            Mend::Flap { from, to, times } => {
                self.set_line(from, to, times % 2 == 0);
                if times > 0 {
                    let pause = self.rng.between(20, 300) * MS;
                    self.after(pause, Event::Mend(Mend::Flap { from, to, times: times - 1 }));
                }
            }
            Mend::SlowDisk(node) => self.nodes[node].disk.mend_speed(),
            Mend::Kill(node) => self.kill(node),
            Mend::SlowNetwork => self.net.slowest_ns = super::network::USUAL_NS,
            Mend::Room(node) => {
                self.nodes[node].disk.capacity = usize::MAX;
                self.make_all_segments(node);
            }
            Mend::Clock(node) => self.nodes[node].clock.set_right(),
            Mend::ClockForth(node) => self.set_clock_by_hours(node, 2),
        }
    }

    /// SIGSTOP: the process gets no time; what is sent to it waits in its sockets.
    pub fn pause(&mut self, node: usize) {
        if self.nodes[node].process.is_some() && !self.nodes[node].paused {
            self.checks.count("stop");
            self.note(format_args!("node {node} is stopped"));
            self.nodes[node].paused = true;
        }
    }

    /// SIGCONT.
    pub fn resume(&mut self, node: usize) {
        if std::mem::take(&mut self.nodes[node].paused) {
            self.note(format_args!("node {node} goes on"));
            while let Some(event) = self.nodes[node].deferred.pop_front() {
                self.after(0, event);
            }
        }
    }

    /// SIGKILL: memory is lost; the machine goes on and closes the connections.
    pub fn kill(&mut self, node: usize) {
        self.count_end(node, "kill");
        self.end_process(node, true, "killed");
    }

    /// SIGTERM: the node knows that its end is near.
    pub fn terminate(&mut self, node: usize) {
        if self.nodes[node].process.is_some() && !self.nodes[node].paused {
            self.checks.count("asked to stop");
            self.note(format_args!("node {node} is asked to stop"));
            self.node_event(node, ReplicaEvent::Stopping);
        }
    }

    fn count_end(&mut self, node: usize, how: &'static str) {
        if self.nodes[node].process.is_some() || self.nodes[node].booting {
            self.checks.count(how);
        }
    }

    /// The power goes.
    pub fn cut_power(&mut self, node: usize) {
        self.count_end(node, "power cut");
        self.end_process(node, false, "without power");
        self.nodes[node].powered = false;
    }

    /// The next write to a node's disk fails.
    pub fn break_disk(&mut self, node: usize, fault: DiskFault) {
        self.note(format_args!("node {node}: the next write meets {fault:?}"));
        self.nodes[node].disk.fault = Some(fault);
    }

    /// No message passes between the nodes, in neither direction, or they do again.
    pub fn part_nodes(&mut self, parted: bool) {
        self.set_line(0, 1, !parted);
        self.set_line(1, 0, !parted);
    }

    /// Messages of one host pass to another, or not.
    pub fn part_one_way(&mut self, from: usize, to: usize, parted: bool) {
        self.set_line(from, to, !parted);
    }

    /// Everything that was broken is mended, except what an operator has to.
    pub(super) fn mend_everything(&mut self) {
        self.note(format_args!("everything is mended"));
        self.faults.over = true;
        self.mend_lines();
        (self.net.slowest_ns, self.net.lost_permille, self.net.twice_permille) =
            (super::network::USUAL_NS, 0, 0);
        for node in 0..NODES {
            self.nodes[node].disk.fault = None;
            self.nodes[node].disk.mend_speed();
            self.nodes[node].disk.capacity = usize::MAX;
            self.nodes[node].clock.set_right();
            self.resume(node);
            if self.nodes[node].disk.is_rotten() {
                // Somebody sees that its disk is not well, and looks.
                self.kill(node);
            }
            self.start(node);
            self.make_all_segments(node);
            self.end_held_session(node);
        }
    }
}
