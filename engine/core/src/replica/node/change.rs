//! Changes of a node's durable state. **Persist before send**: one change is made durable at a
//! time, and what it allows, every message and everything told to a shard that rests on it, is an
//! effect of [`Node::follow_up`], which runs when [`Event::Persisted`](super::Event) has come and
//! at no other time. Whatever else a node sends rests on what was durable before: heartbeats,
//! REVOKE, WELCOME, refusals.

use super::effect::{Effect, Report};
use super::event::{NodeMessage, RequestId, RequestRefused, Tables};
use super::silence::Silence;
use super::{LogEnds, MAX_CHANGES, Node};
use crate::replica::{NewEpoch, Peer, ReplicaState, WaitsFor};
use catraca_wire::frame::{Durability, Role};

/// A change that something led to.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A standby behind the primary that has accepted it, in the attempt of this number.
    Follow { attempt: u64, epoch: u32, primary: Peer, odd_epochs: bool, may_leave: bool },
    /// The standby joins the in-sync set of an epoch, or leaves it, because its primary says so.
    Membership { attempt: u64, epoch: u32, in_sync: bool },
    /// Another standby has this one's place.
    Replaced,
    /// What the primary of an epoch has called committed.
    Committed { epoch: u32, committed: Vec<u64> },
    /// A stream is to be cut, and its membership goes with what is left.
    Cut { stream: u16, ends: Vec<u64> },
    /// Answers wait for the standby of this session.
    WithStandby { session: u64 },
    /// Answers wait for nobody; `overridden` whatever the standby holds, an operator override: it
    /// will not be promoted.
    Alone { overridden: bool, why: &'static str, request: Option<RequestId> },
    /// A standby becomes the primary.
    Promote { force: bool, epoch: NewEpoch, request: RequestId, tables: Tables },
    /// A higher epoch exists.
    Demoted { epoch: u32, by: Option<Peer> },
}

impl Change {
    /// Whether this one makes an earlier one of no use that waits still.
    fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            // Of an attempt that has ended since.
            (Self::Follow { .. }, Self::Follow { .. } | Self::Membership { .. })
            | (Self::Replaced, Self::Replaced)
            | (Self::Committed { .. }, Self::Committed { .. })
            | (Self::WithStandby { .. }, Self::WithStandby { .. })
            | (Self::Demoted { .. }, Self::Demoted { .. })
            | (Self::Alone { request: None, .. }, Self::Alone { request: None, .. }) => true,
            (Self::Membership { attempt, .. }, Self::Membership { attempt: before, .. }) => {
                attempt != before
            }
            (Self::Cut { stream, .. }, Self::Cut { stream: before, .. }) => stream == before,
            _ => false,
        }
    }
}

impl Node {
    /// Asks for a change. While the disk hangs changes wait, and what comes again and again waits
    /// once.
    pub(super) fn change(&mut self, change: Change, log: &dyn LogEnds) {
        if let Change::Demoted { epoch, .. } = change {
            if epoch <= self.state.epoch {
                return;
            }
            // Nothing that this epoch's primary wanted counts any more.
            self.changes.retain(|waiting| matches!(waiting, Change::Demoted { .. }));
            if self.is_demoted_by(epoch) {
                return;
            }
            if self.persisting.is_some() {
                self.effects.push(Effect::Hurry);
            }
        }
        self.changes.retain(|waiting| !change.replaces(waiting));
        self.changes.push_back(change);
        assert!(
            self.changes.len() <= MAX_CHANGES + usize::from(log.streams()),
            "changes of the durable state pile up: {:?}",
            self.changes
        );
        self.persist_next(log);
    }

    /// Whether an epoch that ends this primary's, of this number or a higher one, is on its way to
    /// the disk.
    fn is_demoted_by(&self, epoch: u32) -> bool {
        self.is_changing(
            |change| matches!(change, Change::Demoted { epoch: known, .. } if *known >= epoch),
        )
    }

    fn persist_next(&mut self, log: &dyn LogEnds) {
        while self.persisting.is_none() && !self.ended {
            let Some(change) = self.changes.pop_front() else { return };
            let Some(new) = self.weigh(&change, log) else { continue };
            if new == self.state {
                self.follow_up(change, log);
                continue;
            }
            assert!(new.epoch >= self.state.epoch, "an epoch never goes back");
            self.effects.push(Effect::Persist(new.clone()));
            self.persisting = Some((new, change));
        }
    }

    /// What the state would be after a change; `None` where the time for it is over, or its rules
    /// forbid it.
    fn weigh(&mut self, change: &Change, log: &dyn LogEnds) -> Option<ReplicaState> {
        let is_standby = self.state.role == Role::Standby;
        match change {
            Change::Follow { attempt, epoch, primary, odd_epochs, may_leave } => {
                if !self.standby.is_current(*attempt) || !is_standby {
                    return None;
                }
                match self.state.following(*epoch, primary.clone(), *odd_epochs, *may_leave) {
                    Ok(new) => Some(new),
                    Err(fenced) => {
                        self.end_following(&fenced.to_string());
                        None
                    }
                }
            }
            Change::Membership { attempt, epoch, in_sync } => {
                if !self.standby.is_current(*attempt) || !is_standby {
                    return None;
                }
                match self.state.with_membership(*epoch, *in_sync) {
                    Ok(new) => Some(new.with_ends(if *in_sync { log.all() } else { Vec::new() })),
                    Err(fenced) => {
                        self.end_following(&fenced.to_string());
                        None
                    }
                }
            }
            Change::Replaced => (is_standby && self.state.in_sync)
                .then(|| self.state.with_membership(self.state.epoch, false).ok())
                .flatten(),
            Change::Committed { epoch, committed } => (is_standby && self.state.epoch == *epoch)
                .then(|| self.state.knowing(committed.clone())),
            Change::Cut { ends, .. } => is_standby.then(|| {
                if self.state.in_sync {
                    self.state.with_ends(ends.clone())
                } else {
                    self.state.clone()
                }
            }),
            Change::WithStandby { session } => {
                let standby = self.session_of(*session).filter(|standby| !standby.held)?;
                let had = log.all();
                // The standby has been told of it before it opened the streams whose
                // acknowledgements these are.
                let primary_may_leave = self.setup.solo_after_ns > 0;
                let state = self.state.with_standby(standby.peer.clone()).with_ends(had);
                Some(ReplicaState { primary_may_leave, ..state })
            }
            Change::Alone { overridden, request, .. } => {
                self.weigh_alone(*overridden, *request, log)
            }
            Change::Promote { force, epoch, request, tables } => {
                match self.weigh_promotion(*force, *epoch, tables) {
                    Ok(new) => Some(new),
                    Err(why) => {
                        self.promotion_refused(*request, why);
                        None
                    }
                }
            }
            Change::Demoted { epoch, by } => self.state.demoted(*epoch, by.clone()),
        }
    }

    fn weigh_alone(
        &mut self,
        overridden: bool,
        request: Option<RequestId>,
        log: &dyn LogEnds,
    ) -> Option<ReplicaState> {
        // A session that began meanwhile may be with a standby in the in-sync set: it calls anew,
        // and is told.
        let members: Vec<u64> = self
            .sessions
            .values()
            .filter(|standby| standby.session.may_be_in_sync())
            .map(|s| s.session.id)
            .collect();
        // By itself a primary leaves nobody who is there: a standby may have come back while this
        // waited for the disk.
        let is_back = request.is_none() && !self.sessions.is_empty();
        let allowed =
            self.state.role == Role::Primary && (overridden || members.is_empty()) && !is_back;
        if !allowed {
            if let Some(request) = request {
                self.answer(request, Err(RequestRefused::NotConfirmed));
            }
            return None;
        }
        for session in members {
            self.end_session(session, "the standby must be told that it is left behind", log);
        }
        Some(self.state.alone())
    }

    /// The change under way is durable.
    pub(super) fn persisted(&mut self, log: &dyn LogEnds) {
        let (state, change) = self
            .persisting
            .take()
            .expect("the mover reports one write for each that was asked for");
        self.state = state;
        self.follow_up(change, log);
        self.persist_next(log);
        self.take_waiting_requests(log);
    }

    /// What a durable change allows.
    fn follow_up(&mut self, change: Change, log: &dyn LogEnds) {
        match change {
            Change::Follow { attempt, .. } => self.open_streams(attempt),
            Change::Membership { attempt, epoch, in_sync } => {
                self.report(Report::Membership { in_sync, epoch });
                if let Some(conn) = self.standby.connection_of(attempt) {
                    if in_sync {
                        self.effects.push(Effect::HasAll { attempt });
                        self.effects.push(Effect::Send { conn, message: NodeMessage::Granted });
                    } else {
                        self.effects.push(Effect::Send { conn, message: NodeMessage::Revoked });
                        // Waits for what is being written, which REVOKED need not.
                        self.effects.push(Effect::SeveralWrites { attempt });
                    }
                }
                self.membership_taken(attempt, log);
            }
            Change::Replaced => self.report(Report::Replaced),
            Change::Committed { .. } => {}
            Change::Cut { stream, .. } => {
                self.effects.push(Effect::Cut { stream });
                // A node whose log is cut starts anew, but other streams may wait for the same
                // permission.
                self.standby.end_for_good();
            }
            // A node that knows of a higher epoch widens nothing.
            Change::WithStandby { .. } | Change::Alone { .. }
                if self.is_demoted_by(self.state.epoch.saturating_add(1)) => {}
            Change::WithStandby { session } => {
                self.report(Report::CaughtUp);
                self.effects.push(Effect::TellShards {
                    durability: Durability::Sync,
                    session,
                    waits_for: WaitsFor::FIRST,
                });
                // No shard writes the streams behind its own any more: all of them was committed
                // long ago.
                for stream in self.setup.shards..log.streams() {
                    self.shard_waits(stream, session, log.durable_lsn(stream), log);
                }
            }
            Change::Alone { why, request, .. } => {
                // A session that nobody holds back began while this was being written.
                let begun: Vec<u64> = self
                    .sessions
                    .values()
                    .filter(|standby| !standby.held)
                    .map(|s| s.session.id)
                    .collect();
                for session in begun {
                    self.end_session(session, "answers wait for it no more", log);
                }
                self.report(Report::Alone { why });
                self.effects.push(Effect::TellShards {
                    durability: Durability::Solo,
                    session: 0,
                    waits_for: WaitsFor::FIRST,
                });
                if let Some(request) = request {
                    self.answer(request, Ok(()));
                }
            }
            Change::Promote { request, force, .. } => {
                let (epoch, durability) = (self.state.epoch, self.state.durability);
                (self.alone, self.inquire_at_ns) = (Silence::begin(self.now_ns), self.now_ns);
                self.effects.push(Effect::TakeOver { epoch, durability, force, request });
            }
            Change::Demoted { epoch, .. } => {
                self.report(Report::Demoted { epoch });
                self.effects.push(Effect::Restart);
                self.ended = true;
            }
        }
    }
}
