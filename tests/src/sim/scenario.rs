//! What a directed run asks for and looks at: a test writes down what goes wrong, step by step, and
//! sees that it did.

use super::network::NODES;
use super::trace::Trace;
use super::world::{MS, Sim};
use super::{Plan, Tally};
use catraca_core::shard::messages::ToShard;
use catraca_wire::frame::{Durability, Role};
use std::cell::RefCell;
use std::rc::Rc;

/// How long two nodes may take to be in sync while nothing disturbs them, milliseconds.
const IN_SYNC_MS: u64 = 10_000;
/// Lines of the trace that a failure shows.
const SHOWN_LINES: usize = 60;

/// How far a promotion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PromotionStep {
    /// The write under way is waited for.
    Stopping,
    /// The new epoch is on its way to the disk.
    Persisting,
    /// It is durable, and nobody decides yet.
    Durable,
    /// The shards decide.
    Promoted,
}

impl PromotionStep {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Stopping, Self::Persisting, Self::Durable, Self::Promoted];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stopping => "death before the write under way ended",
            Self::Persisting => "death while the epoch is written",
            Self::Durable => "death with a durable epoch",
            Self::Promoted => "death as new primary",
        }
    }
}

impl Sim {
    /// A run of a plan, for a test.
    pub fn of(plan: Plan) -> Self {
        Self::new(plan, Rc::new(RefCell::new(Trace::new(false))))
    }

    /// Two nodes in sync with clients at work, of which only happens what a test asks for.
    pub fn in_sync(plan: Plan) -> Self {
        let mut sim = Self::of(plan);
        sim.await_in_sync();
        sim.run_for_ms(100);
        sim
    }

    /// Waits until the nodes are in sync.
    pub fn await_in_sync(&mut self) {
        let reached = self.run_until(IN_SYNC_MS, Self::is_in_sync);
        assert!(reached, "the nodes do not come to be in sync:\n{}", self.story());
    }

    /// Whether one node is primary, answers wait for the other, and that holds the grant.
    pub fn is_in_sync(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let (Some(process), Some(other)) =
            (&self.nodes[leader].process, &self.nodes[1 - leader].process)
        else {
            return false;
        };
        process.state().durability == Durability::Sync
            && process.node.is_in_sync()
            && other.state().in_sync
    }

    /// Everything is mended; the nodes must come to agree, and every promise must have been kept.
    pub fn end(mut self) -> Tally {
        if self.checks.failure().is_none() {
            self.finish();
        }
        if let Some(failure) = self.checks.failure() {
            panic!("{failure}\n{}", self.story());
        }
        self.checks.tally
    }

    /// What is wrong, if anything is, after everything was mended.
    pub fn verdict(mut self) -> Option<String> {
        if self.checks.failure().is_none() {
            self.finish();
        }
        self.checks.failure().map(str::to_owned)
    }

    /// The end of the trace.
    pub fn story(&self) -> String {
        let trace = self.trace.borrow();
        let lines: Vec<&str> = trace.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Whether a line of the trace that is still kept has these words.
    pub fn has_told(&self, words: &str) -> bool {
        self.trace.borrow().lines().any(|line| line.contains(words))
    }

    /// How often something happened so far.
    pub fn times(&self, what: &'static str) -> u64 {
        self.checks.tally.times(what)
    }

    /// The primary, by what the disks say.
    pub fn primary(&self) -> Option<usize> {
        self.leader()
    }

    /// Whether a node runs.
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].process.is_some()
    }

    /// Whether a node has refused to start, its log being damaged.
    pub fn is_stopped_by_damage(&self, node: usize) -> bool {
        self.nodes[node].damaged
    }

    /// What a node durably is.
    pub fn role(&self, node: usize) -> Role {
        self.nodes[node].disk.state.role
    }

    /// The epoch on a node's disk.
    pub fn epoch(&self, node: usize) -> u32 {
        self.nodes[node].disk.state.epoch
    }

    /// What a node's answers durably wait for.
    pub fn durability(&self, node: usize) -> Durability {
        self.nodes[node].disk.state.durability
    }

    /// The last durable record of each stream of a running node.
    pub fn durable(&self, node: usize) -> Vec<u64> {
        self.tails(node)
    }

    /// The last committed record of each stream of a running node.
    pub fn committed(&self, node: usize) -> Vec<u64> {
        let process = self.nodes[node].process.as_ref();
        process.map_or_else(Vec::new, |process| {
            process.cores.iter().map(|c| c.mover.shard.counters().committed_lsn).collect()
        })
    }

    /// Verdicts that a node has sent, duplicates included.
    pub fn verdicts(&self, node: usize) -> u64 {
        self.checks.verdicts[node]
    }

    /// The highest record that a node has given a verdict of.
    pub fn last_answered(&self, node: usize) -> u64 {
        self.checks.last_answered[node]
    }

    /// How many transactions clients wait for.
    pub fn open(&self) -> usize {
        self.clients.iter().map(super::client::Client::open).sum()
    }

    /// Clients want nothing new any more, and go on with what they wait for.
    pub fn rest(&mut self) {
        self.clients.iter_mut().for_each(|client| client.resting = true);
    }

    /// Writes of a node take up to this long.
    pub fn slow_disk(&mut self, node: usize, slowest_ms: u64) {
        self.nodes[node].disk.slowest_ns = slowest_ms * MS;
    }

    /// Writes of a node's state take up to this long.
    pub fn slow_state(&mut self, node: usize, slowest_ms: u64) {
        self.nodes[node].disk.slowest_state_ns = slowest_ms * MS;
    }

    /// Messages take up to this long; some are lost and come later, some come twice, of a thousand.
    pub fn slow_network(&mut self, slowest_ms: u64, lost_permille: u64, twice_permille: u64) {
        (self.net.slowest_ns, self.net.lost_permille, self.net.twice_permille) =
            (slowest_ms * MS, lost_permille, twice_permille);
    }

    /// A node's clock of the day is set to another time, and its other clock runs at another rate
    /// from now on.
    pub fn bend_clock(&mut self, node: usize, jump_ms: i64) {
        self.checks.count("clock jump");
        self.checks.count("clock drift");
        self.nodes[node].clock.jump(jump_ms * MS as i64);
        let now_ns = self.now_ns;
        self.nodes[node].clock.drift(now_ns, &mut self.rng);
    }

    /// Breaks a connection between the nodes.
    pub fn reset(&mut self) {
        self.reset_some(false);
    }

    /// The clients of a run reach a node, or not.
    pub fn part_clients(&mut self, node: usize, parted: bool) {
        for client in NODES..NODES + self.clients.len() {
            self.part_one_way(client, node, parted);
            self.part_one_way(node, client, parted);
        }
    }

    /// How far the promotion of a node is; `None` when none is under way, and none was carried out
    /// by this run of its process.
    pub fn promotion_step(&self, node: usize) -> Option<PromotionStep> {
        let process = self.nodes[node].process.as_ref()?;
        if process.node.is_promoting() && process.state().role == Role::Standby {
            let persisting = process.node.persists_promotion();
            return Some(if persisting {
                PromotionStep::Persisting
            } else {
                PromotionStep::Stopping
            });
        }
        let office = process.node.is_promoting() && process.state().role == Role::Primary;
        let waits = process
            .cores
            .iter()
            .any(|core| core.mail.iter().any(|message| matches!(message, ToShard::TakeOver(_))));
        office.then_some(if waits { PromotionStep::Durable } else { PromotionStep::Promoted })
    }
}
