//! The operator: promotes a standby when the primary seems dead (and may be wrong about that), lets
//! a primary go on alone, empties a damaged disk. Sane, and never more than that: who is told that
//! a standby is down for good is not betrayed afterwards.

use super::event::{Event, Mend};
use super::network::NODES;
use super::rng::Rng;
use super::world::{MS, Sim};
use catraca_wire::frame::{Durability, Role};

/// What the operator remembers.
pub(super) struct Operator {
    /// The primary went alone by an override: this node is not promoted before it has caught up.
    pub promised: [bool; NODES],
    /// Sessions up to this number are from before the override.
    promised_at: [u64; NODES],
    /// Since when each node does not answer.
    missing_since_ns: [Option<u64>; NODES],
    /// When a primary was last told to go alone: its standby may have given the grant back, and the
    /// primary not gone yet.
    pub solo_at_ns: Option<u64>,
    patience_ns: u64,
    solo_patience_ns: u64,
    /// Of a thousand looks, those at which a healthy primary is believed dead, or sent alone.
    rash_permille: u64,
    /// Only what must be done for the nodes to agree.
    pub helping: bool,
}

impl Operator {
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            promised: [false; NODES],
            promised_at: [0; NODES],
            missing_since_ns: [None; NODES],
            solo_at_ns: None,
            patience_ns: rng.between(100, 1_500) * MS,
            solo_patience_ns: rng.between(300, 4_000) * MS,
            rash_permille: rng.between(0, 12),
            helping: false,
        }
    }

    /// A standby holds the grant of a session.
    pub fn granted(&mut self, node: usize, session: u64) {
        if session > self.promised_at[node] {
            self.promised[node] = false;
        }
    }
}

impl Sim {
    /// The process ends itself and starts anew.
    pub(super) fn restart(&mut self, node: usize) {
        self.end_process(node, true, "starting anew");
        self.start(node);
    }

    /// A node ends because its disk failed; whoever looks after it starts it again.
    pub(super) fn disk_failed(&mut self, node: usize) {
        self.checks.count("ended: disk failed");
        self.end_process(node, true, "ended: its disk failed");
        let pause = self.rng.between(50, 1500) * MS;
        self.after(pause, Event::Mend(Mend::Start(node)));
    }

    /// Makes a standby the primary; `false` where that is refused or makes no sense.
    pub fn promote(&mut self, node: usize, force: bool) -> bool {
        let host = &self.nodes[node];
        if host.paused || host.process.is_none() {
            return false;
        }
        let done = self.request_promotion(node, force);
        if force && done {
            self.checks.forced = true;
            self.checks.count("promotions by force");
        }
        done
    }

    /// Lets a primary answer alone. `standby_is_down` overrides: the standby is not promoted before
    /// it has caught up.
    pub fn solo(&mut self, node: usize, standby_is_down: bool) -> bool {
        let host = &self.nodes[node];
        if host.paused || host.process.is_none() || host.disk.is_rotten() {
            return false;
        }
        let standby = 1 - node;
        let promoting =
            self.nodes[standby].process.as_ref().is_some_and(|process| process.node.is_promoting());
        if standby_is_down && (promoting || self.leader() != Some(node)) {
            return false;
        }
        self.operator.solo_at_ns = Some(self.now_ns);
        if standby_is_down {
            self.operator.promised[standby] = true;
            self.operator.promised_at[standby] = self.next_id;
        }
        self.note(format_args!(
            "node {node} is to go alone{}",
            if standby_is_down { ": its standby is down" } else { "" }
        ));
        self.go_alone(node, standby_is_down)
    }

    /// Whether the operator would promote a node without force.
    pub(super) fn may_promote(&self, node: usize) -> bool {
        let host = &self.nodes[node];
        // Of a disk that lies nobody knows; a run that promoted its node would lose what two faults
        // at once may lose.
        let state = &host.disk.state;
        !self.operator.promised[node]
            && state.role == Role::Standby
            && !state.primary_may_leave
            && !host.disk.is_rotten()
    }

    pub(super) fn operator_looks(&mut self) {
        let pause = self.rng.between(40, 160) * MS;
        self.after(pause, Event::Operator);
        if !self.plan.operator && !self.operator.helping {
            return;
        }
        let now_ns = self.now_ns;
        for node in 0..NODES {
            let host = &self.nodes[node];
            let there = host.process.is_some() && !host.paused;
            let since = &mut self.operator.missing_since_ns[node];
            *since = if there { None } else { Some(since.unwrap_or(now_ns)) };
        }
        let Some(leader) = self.leader() else { return };
        let standby = 1 - leader;
        if self.operator.helping && !self.nodes[leader].paused {
            // What was asked for before may be carried out only now.
            self.end_held_session(leader);
        }
        if self.nodes[standby].damaged && !self.nodes[leader].damaged {
            return self.wipe(standby);
        }
        let missing = |sim: &Self, node: usize, patience_ns: u64| {
            sim.operator.missing_since_ns[node].is_some_and(|since| now_ns - since > patience_ns)
        };
        let rash = !self.operator.helping && self.rng.permille(self.operator.rash_permille);
        let patience_ns = self.operator.patience_ns;
        if (missing(self, leader, patience_ns) || rash || self.nodes[leader].damaged)
            && self.may_promote(standby)
        {
            self.promote(standby, false);
            return;
        }
        let sound = !self.nodes[standby].disk.is_rotten() && !self.nodes[standby].damaged;
        let forces = self.plan.force
            && !self.operator.helping
            && sound
            && self.nodes[standby].disk.state.role == Role::Standby;
        if forces && (missing(self, leader, patience_ns) || rash) {
            self.promote(standby, true);
            return;
        }
        let state = &self.nodes[leader].disk.state;
        let waits = state.durability == Durability::Sync;
        let unknown = state
            .peer
            .as_ref()
            .is_some_and(|peer| peer.node_id != self.nodes[standby].disk.node_id);
        let running = self.nodes[leader].process.as_ref();
        let lone = running.is_some_and(|process| process.node.session().is_none());
        let gone = missing(self, standby, self.operator.solo_patience_ns) && !self.operator.helping;
        if waits && lone && (gone || unknown) {
            self.solo(leader, true);
        } else if !self.operator.helping && waits && self.rng.permille(self.operator.rash_permille)
        {
            self.solo(leader, false);
        }
    }
}
