//! Changes of a node's durable place in its cluster: one at a time, and nothing follows from one before it is on the disk.

use super::event::Wake;
use super::link::Link;
use super::node::{journal_setup, shard_state};
use super::world::{MS, Sim};
use super::{Broken, Plan};
use catraca_engine::rebuild::Builder;
use catraca_engine::replica::{Peer, ReplicaState};
use catraca_engine::shard::messages::{TakeOver, ToShard};
use catraca_wire::frame::{Durability, Role};

/// A change that somebody wants.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A standby behind the primary that has accepted it, in the attempt of this number.
    Follow {
        attempt: u64,
        epoch: u32,
        primary: Peer,
        odd_epochs: bool,
        may_leave: bool,
    },
    /// The grant comes, or goes.
    Grant {
        attempt: u64,
        epoch: u32,
        granted: bool,
    },
    /// Answers wait for the standby of this session.
    WithStandby {
        session: u64,
    },
    /// Answers wait for nobody; `by_word` whatever the standby holds, because the operator says that it is not promoted.
    Alone {
        by_word: bool,
    },
    Promote {
        force: bool,
    },
    Deposed {
        epoch: u32,
        by: Option<Peer>,
    },
}

/// What a disk holds after a change.
pub(super) fn on_disk(plan: &Plan, before: &ReplicaState, new: &ReplicaState) -> ReplicaState {
    let epoch = if plan.broken == Some(Broken::EpochInMemory) { before.epoch } else { new.epoch };
    ReplicaState { epoch, ..new.clone() }
}

impl Sim {
    /// Asks for a change.
    pub(super) fn change(&mut self, node: usize, change: Change) {
        self.process(node).changes.push_back(change);
        self.persist_next(node);
    }

    fn persist_next(&mut self, node: usize) {
        while self.process(node).persisting.is_none() {
            let Some(change) = self.process(node).changes.pop_front() else { return };
            let Some(new) = self.weigh(node, &change) else { continue };
            let process = self.process(node);
            if new == process.state {
                self.follow_up(node, change);
                if self.nodes[node].process.is_none() {
                    return;
                }
                continue;
            }
            process.persisting = Some((new, change));
            let time = self.rng.between(100_000, 4 * MS);
            self.wake_in(node, time, Wake::Persisted);
            self.io_step(node);
        }
    }

    /// What the state would be after a change; `None` where the time for it is over, or its rules forbid it.
    fn weigh(&mut self, node: usize, change: &Change) -> Option<ReplicaState> {
        let lower_is_taken = self.broken(Broken::LowerEpoch);
        let process = self.process(node);
        let state = process.state.clone();
        let current = |attempt: u64| process.standby.conn.is_some() && process.standby.attempt == attempt;
        match change {
            Change::Follow { attempt, epoch, primary, odd_epochs, may_leave } => {
                if !current(*attempt) || state.role != Role::Standby {
                    return None;
                }
                let unfenced = ReplicaState { epoch: state.epoch.min(*epoch), ..state.clone() };
                let of = if lower_is_taken { &unfenced } else { &state };
                match of.following(*epoch, primary.clone(), *odd_epochs, *may_leave) {
                    Ok(new) => Some(new),
                    Err(fenced) => {
                        self.note(format_args!("node {node}: {fenced}"));
                        self.stop_following(node, "fenced");
                        None
                    }
                }
            }
            Change::Grant { attempt, epoch, granted } => {
                if !current(*attempt) || state.role != Role::Standby {
                    return None;
                }
                let held = if *granted { self.tails(node) } else { Vec::new() };
                state.with_grant(*epoch, *granted).ok().map(|state| state.granted_to(held))
            }
            Change::WithStandby { session } => {
                let active = process.primary.active.as_ref().filter(|active| active.session.id == *session && !active.held)?;
                Some(state.with_standby(active.peer.clone()))
            }
            Change::Alone { by_word } => {
                // A session that began meanwhile may be with a standby that holds the grant: it calls anew, and is told.
                let held = process.primary.active.as_ref().is_some_and(|active| active.session.may_hold_grant());
                if held && *by_word {
                    self.end_session(node, "the standby must be told that it is left behind");
                }
                (state.role == Role::Primary && (*by_word || !held)).then(|| state.alone())
            }
            Change::Promote { force } => match state.promoted(*force) {
                Ok(new) => Some(new),
                Err(why) => {
                    self.note(format_args!("node {node} is not promoted: {why}"));
                    self.checks.count("refused promotions");
                    self.go_on_following(node);
                    None
                }
            },
            Change::Deposed { epoch, by } if lower_is_taken && state.role == Role::Primary && *epoch <= state.epoch => {
                ReplicaState { epoch: epoch - 1, ..state.clone() }.deposed(*epoch, by.clone())
            }
            Change::Deposed { epoch, by } => state.deposed(*epoch, by.clone()),
        }
    }

    /// A change is durable.
    pub(super) fn persisted(&mut self, node: usize) {
        if self.state_write_fails(node) {
            return;
        }
        let Some((state, change)) = self.process(node).persisting.take() else { return };
        self.io_step(node);
        let disk = &mut self.nodes[node].disk;
        disk.state = on_disk(&self.plan, &disk.state, &state);
        self.note(format_args!(
            "node {node} is durably {} of epoch {}, {}{}",
            state.role,
            state.epoch,
            state.durability,
            if state.in_sync { ", in sync" } else { "" }
        ));
        self.process(node).state = state;
        self.follow_up(node, change);
        if self.nodes[node].process.is_some() {
            self.persist_next(node);
        }
    }

    /// A failing disk fails here, too: the process ends, and may find the change made or not.
    fn state_write_fails(&mut self, node: usize) -> bool {
        let fault = &mut self.nodes[node].disk.fault;
        if fault.take_if(|fault| !fault.lies()).is_none() {
            return false;
        }
        self.checks.count("state write error");
        self.disk_failed(node);
        true
    }

    /// What a durable change allows.
    fn follow_up(&mut self, node: usize, change: Change) {
        match change {
            Change::Follow { attempt, .. } => self.open_streams(node, attempt),
            Change::Grant { attempt, granted, .. } => {
                self.checks.count(if granted { "grants" } else { "revocations" });
                if granted {
                    let session = self.process(node).standby.session;
                    self.operator.granted(node, session);
                }
                let process = self.process(node);
                let standby = &mut process.standby;
                let conn = standby.conn.filter(|_| standby.attempt == attempt);
                if conn.is_some() {
                    standby.catching_up = process.state.catching_up;
                }
                if let Some(conn) = conn {
                    self.send_link(node, conn, if granted { Link::Granted } else { Link::Revoked });
                    self.word_taken(node);
                }
            }
            Change::WithStandby { session } => self.mail_all(node, Durability::Sync, session),
            Change::Alone { .. } => {
                // A session that nobody wants held back began while this was being written, where the program would have had it wait.
                if self.process(node).primary.active.as_ref().is_some_and(|active| !active.held) {
                    self.end_session(node, "answers wait for it no more");
                }
                self.checks.count("gone alone");
                self.mail_all(node, Durability::Solo, 0);
            }
            Change::Promote { .. } => self.take_over(node),
            Change::Deposed { .. } => {
                self.checks.count("depositions");
                self.restart(node);
            }
        }
    }

    fn mail_all(&mut self, node: usize, durability: Durability, session: u64) {
        for core in 0..usize::from(self.plan.shards) {
            self.mail(node, core, ToShard::Durability { durability, session });
        }
    }

    /// A standby, durably the primary of a new epoch, begins to decide.
    fn take_over(&mut self, node: usize) {
        let process = self.process(node);
        let epoch = process.state.epoch;
        process.reign = Some(epoch);
        let dedupes = process.builder.take().map(Builder::into_dedupes).expect("a standby keeps its tables");
        for (core, dedupe) in dedupes.into_iter().enumerate() {
            let ready = self.nodes[node].disk.streams[core].segments.len() as u32;
            let process = self.process(node);
            process.cores[core].segments_told = ready;
            let journal = journal_setup(core as u16, epoch, &process.standby.streams[core].follower.tail(), ready);
            let take_over = TakeOver { state: shard_state(dedupe), journal, durability: Durability::Solo };
            self.mail(node, core, ToShard::TakeOver(Box::new(take_over)));
        }
        self.checks.count("promotions");
        self.make_all_segments(node);
        self.wake_in(node, MS, Wake::Inquire);
    }
}
