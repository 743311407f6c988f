//! What a node does about the other nodes of its cluster, as one state machine: [`Event`]s in,
//! [`Effect`]s out. It knows no socket, no disk, no clock and no thread; whoever moves it hands in
//! the time and does what it says, in the order it says. `catraca_node::replication` moves it with sockets and
//! files, the simulator in `tests/` with fakes, and neither decides anything.
//!
//! ```text
//! mod      the node, timers, operator requests          primary   sessions with standbys, in-sync set, answering alone
//! change   its durable state: persist before send       standby   attempts to follow, membership, promotion
//! event    what comes in                                effect    what goes out
//! silence  how long somebody was not heard
//! ```
//!
//! Blocks and acknowledgements do not pass through here: each stream has its
//! [`Feeder`](super::Feeder) or [`Follower`](super::Follower) in a thread of its own, and the
//! shard's [`CommitTracker`](super::CommitTracker) counts acknowledgements. The node hears of them
//! only while a standby catches up.

mod change;
mod effect;
mod event;
mod primary;
mod silence;
mod standby;

pub use effect::{Effect, Report};
pub use event::{
    Accepted, CallFailure, CallPurpose, Caller, Command, ConnId, Event, NodeMessage, RequestId,
    RequestRefused, Tables, Timing,
};

use super::{NewEpoch, NotPromotable, ReplicaState};
use catraca_wire::frame::Role;
use change::Change;
use primary::{PrimarySession, SoloRequest};
use silence::Silence;
use standby::Standby;
use std::collections::{BTreeMap, VecDeque};

/// Most changes of the durable state that wait for the one before: each is of another kind, or of
/// another session.
const MAX_CHANGES: usize = 64;

/// Most requests that wait: operators are few, and an arbiter sends one at a time.
const MAX_REQUESTS: usize = 64;

/// What does not change while the node runs.
#[derive(Debug, Clone)]
pub struct NodeSetup {
    /// Shards.
    pub shards: u16,
    /// After how long without its standby a primary goes on alone by itself; 0 never.
    pub solo_after_ns: u64,
    /// Where the configuration says that the primary is.
    pub primary: Option<String>,
    /// Its address for other nodes, which it does not call.
    pub own_address: String,
    /// Times.
    pub timing: Timing,
}

/// How far this node's log goes.
pub trait LogEnds {
    /// Streams in it.
    fn streams(&self) -> u16;

    /// The last durable record of a stream; 0 none.
    fn durable_lsn(&self, stream: u16) -> u64;

    /// The last durable record of each stream.
    fn all(&self) -> Vec<u64> {
        (0..self.streams()).map(|stream| self.durable_lsn(stream)).collect()
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    setup: NodeSetup,
    /// As it is on the disk: nothing but [`Event::Persisted`] changes it.
    state: ReplicaState,
    now_ns: u64,
    ticked_ns: u64,
    changes: VecDeque<Change>,
    persisting: Option<(ReplicaState, Change)>,
    /// By identity of the standby.
    sessions: BTreeMap<[u8; 16], PrimarySession>,
    /// Number of the session that began last: one with a lower number was asked for before it.
    last_session: u64,
    /// On a primary: how long it has been without a standby.
    alone: Silence,
    inquire_at_ns: u64,
    solo: Option<SoloRequest>,
    standby: Standby,
    disk_full: bool,
    stopping: bool,
    /// It starts anew: nothing that comes counts any more.
    ended: bool,
    /// Requests that wait for a change under way, each until when.
    requests: VecDeque<(RequestId, Command, u64)>,
    effects: Vec<Effect>,
}

impl Node {
    /// A node that starts with what its disk holds.
    pub fn new(setup: NodeSetup, state: ReplicaState, now_ns: u64) -> Self {
        Self {
            setup,
            state,
            now_ns,
            ticked_ns: now_ns,
            changes: VecDeque::new(),
            persisting: None,
            sessions: BTreeMap::new(),
            last_session: 0,
            alone: Silence::begin(now_ns),
            inquire_at_ns: now_ns,
            solo: None,
            standby: Standby::new(now_ns),
            disk_full: false,
            stopping: false,
            ended: false,
            requests: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// Takes an event, and gives what is to be done about it, in that order.
    pub fn handle(
        &mut self,
        now_ns: u64,
        event: Event,
        log: &dyn LogEnds,
        effects: &mut Vec<Effect>,
    ) {
        if self.ended {
            return;
        }
        self.now_ns = self.now_ns.max(now_ns);
        match event {
            Event::Called { conn, caller, purpose } => self.called(conn, caller, purpose, log),
            Event::Received { conn, message } => {
                if self.standby.is_connected_by(conn) {
                    self.primary_says(message, log);
                } else {
                    self.standby_says(conn, message, log);
                }
            }
            Event::SessionEnded { session, why } => self.end_session(session, &why, log),
            Event::FollowingFailed { attempt, why } if self.standby.attempt() == attempt => {
                self.end_following(&why)
            }
            Event::FollowingFailed { .. } => {}
            Event::Acknowledged { session, stream, lsn } => {
                self.acknowledged(session, stream, lsn, log)
            }
            Event::Waiting { shard, session, answered } => {
                self.shard_waits(shard, session, answered, log)
            }
            Event::Persisted => self.persisted(log),
            Event::CallAnswered { attempt, conn, accepted } => {
                self.call_answered(attempt, conn, accepted, log)
            }
            Event::CallFailed { attempt, failure } => self.call_failed(attempt, failure, log),
            Event::SingleWrites { attempt } => self.writes_are_single(attempt, log),
            Event::FollowingEnded { attempt, committed, tables } => {
                self.following_ended(attempt, committed, tables, log)
            }
            Event::Cutting { stream, last_lsn } => self.cut_stream(stream, last_lsn, log),
            Event::InquiryEnded { answer } => self.inquiry_ended(answer, log),
            Event::Requested { request, command } => {
                if self.requests.len() < MAX_REQUESTS {
                    let until_ns = self.now_ns + self.setup.timing.request_timeout_ns;
                    self.requests.push_back((request, command, until_ns));
                    self.take_waiting_requests(log);
                } else {
                    self.answer(
                        request,
                        Err(RequestRefused::UnderWay("what others have asked for")),
                    );
                }
            }
            Event::DiskFull(full) => self.disk_full = full,
            Event::Stopping => self.stopping = true,
            Event::Tick => self.tick(log),
        }
        effects.append(&mut self.effects);
    }

    /// What is durable of it.
    pub const fn state(&self) -> &ReplicaState {
        &self.state
    }

    /// The number of the session whose standby is connected, if there is one.
    pub fn session(&self) -> Option<u64> {
        self.sessions.values().next().map(|standby| standby.session.id)
    }

    /// On a primary: its standby is in the in-sync set. On a standby: so is it.
    pub fn is_in_sync(&self) -> bool {
        match self.state.role {
            Role::Primary => self.sessions.values().any(|standby| standby.session.is_in_sync()),
            Role::Standby => self.state.in_sync,
        }
    }

    /// A standby whose disk is nearly full.
    pub fn standby_disk_full(&self) -> bool {
        self.sessions.values().any(|standby| standby.disk_full)
    }

    /// It is to be promoted, or was in this run.
    pub fn is_promoting(&self) -> bool {
        self.standby.is_promoting()
            || self
                .requests
                .iter()
                .any(|(_, command, _)| matches!(command, Command::Promote { .. }))
    }

    /// A standby that may join the in-sync set in a later session only, because the operator wants
    /// this node alone.
    pub fn is_held(&self) -> bool {
        self.sessions.values().any(|standby| standby.held)
    }

    /// It is on its way to answer alone.
    pub fn is_going_alone(&self) -> bool {
        self.solo.is_some()
            || self.is_changing(|change| matches!(change, Change::Alone { .. }))
            || self.requests.iter().any(|(_, command, _)| matches!(command, Command::Solo { .. }))
    }

    /// The promotion is being made durable.
    pub fn persists_promotion(&self) -> bool {
        matches!(self.persisting, Some((_, Change::Promote { .. })))
    }

    fn is_changing(&self, which: impl Fn(&Change) -> bool) -> bool {
        self.changes.iter().chain(self.persisting.as_ref().map(|(_, change)| change)).any(which)
    }

    fn report(&mut self, report: Report) {
        self.effects.push(Effect::Report(report));
    }

    fn answer(&mut self, request: RequestId, outcome: Result<(), RequestRefused>) {
        self.effects.push(Effect::Answer { request, outcome });
    }

    /// Takes requests, each when what was wanted before is durable: they are judged by what is.
    fn take_waiting_requests(&mut self, log: &dyn LogEnds) {
        while self.persisting.is_none() && self.changes.is_empty() && !self.ended {
            let Some((request, command, _)) = self.requests.pop_front() else { return };
            match command {
                Command::Promote { force, epoch, tables } => {
                    self.promote(request, force, epoch, tables)
                }
                Command::Solo { standby_is_down } => self.go_solo(request, standby_is_down, log),
            }
        }
    }

    fn tick(&mut self, log: &dyn LogEnds) {
        let deaf_ns = self.now_ns - std::mem::replace(&mut self.ticked_ns, self.now_ns);
        if deaf_ns > self.setup.timing.heartbeat_every_ns {
            self.sessions.values_mut().for_each(|standby| standby.silence.excuse(self.now_ns));
            self.standby.silence.excuse(self.now_ns);
            self.alone.excuse(self.now_ns);
        }
        self.expire_requests();
        match self.state.role {
            Role::Primary => self.primary_tick(log),
            Role::Standby => self.standby_tick(),
        }
    }

    /// Refuses requests that have waited for the change before them too long: whoever sent them
    /// hears rather than hangs, and nothing was begun.
    fn expire_requests(&mut self) {
        while let Some(&(_, _, until_ns)) = self.requests.front()
            && self.now_ns >= until_ns
            && let Some((request, ..)) = self.requests.pop_front()
        {
            self.answer(request, Err(RequestRefused::UnderWay("a write of this node's state")));
        }
    }

    /// A promotion, wanted by an operator or an arbiter.
    fn promote(&mut self, request: RequestId, force: bool, epoch: NewEpoch, tables: Tables) {
        let refused = if self.state.role == Role::Primary {
            Some(NotPromotable::Already(self.state.epoch).into())
        } else if self.standby.is_promoting() {
            Some(RequestRefused::UnderWay("a promotion"))
        } else if self.standby.is_cutting() {
            Some(RequestRefused::UnderWay("the cutting of its log"))
        } else {
            self.weigh_promotion(force, epoch, &tables).err()
        };
        match refused {
            Some(why) => self.answer(request, Err(why)),
            None => self.begin_promotion(request, force, epoch),
        }
    }

    /// The state that a promotion leads to.
    fn weigh_promotion(
        &self,
        force: bool,
        epoch: NewEpoch,
        tables: &Tables,
    ) -> Result<ReplicaState, RequestRefused> {
        let promoted = self.state.promoted(force, epoch)?;
        match (&tables.fault, tables.missing_list) {
            (Some(fault), _) => Err(RequestRefused::Tables(fault.clone())),
            (None, Some(list)) if !force => Err(RequestRefused::MissingList(list)),
            _ => Ok(promoted),
        }
    }
}

#[cfg(test)]
mod tests;
