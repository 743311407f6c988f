//! A primary's sessions with its standbys: who is let in, when answers wait for one, and when they
//! wait for nobody.

use super::change::Change;
use super::effect::{Effect, Report};
use super::event::{Accepted, CallPurpose, Caller, ConnId, NodeMessage, RequestId, RequestRefused};
use super::silence::Silence;
use super::{LogEnds, Node};
use crate::replica::{Peer, ReplicaSlot, Session, Step};
use catraca_wire::frame::{Durability, Role};
use catraca_wire::replication::RefuseReason;

/// Most standbys that a primary has at a time: what an answer waits for is one of them.
const MAX_STANDBYS: usize = 1;
/// Where the acknowledgements of that one count.
const SLOT: ReplicaSlot = ReplicaSlot::FIRST;

/// A session with a standby.
#[derive(Debug)]
pub(super) struct PrimarySession {
    pub session: Session,
    /// The connection from node to node.
    pub conn: ConnId,
    pub peer: Peer,
    /// The run of the standby's program.
    run: [u8; 16],
    pub silence: Silence,
    said_ns: u64,
    /// The operator wants the node alone: the standby joins the in-sync set in no session but a
    /// later one.
    pub held: bool,
    /// By the standby's last heartbeat.
    pub disk_full: bool,
}

/// An operator's request to answer alone that waits for the standby to leave the in-sync set.
#[derive(Debug)]
pub(super) struct SoloRequest {
    request: RequestId,
    session: u64,
    standby_is_down: bool,
    until_ns: u64,
}

impl Node {
    /// Another node called.
    pub(super) fn called(
        &mut self,
        conn: ConnId,
        caller: Caller,
        purpose: CallPurpose,
        log: &dyn LogEnds,
    ) {
        let is_session = |id: u64| self.session_of(id).is_some();
        let over = || (RefuseReason::Session, "the session is over: begin another".to_owned());
        let refused = match purpose {
            // Before all else, whoever calls and whatever for: this primary's epoch is over.
            _ if self.state.role == Role::Primary && caller.epoch > self.state.epoch => Some((
                RefuseReason::Epoch,
                "the caller has seen a later epoch than this node's".to_owned(),
            )),
            CallPurpose::Inquiry => None,
            // Its handshake took so long that another one has begun: what it said of itself is old.
            CallPurpose::Session { session } if session < self.last_session => Some(over()),
            CallPurpose::Session { .. } => self.refuses(&caller),
            CallPurpose::Stream { session, .. } | CallPurpose::List { session }
                if !is_session(session) =>
            {
                Some(over())
            }
            CallPurpose::Stream { stream, .. } if stream >= log.streams() => {
                Some((RefuseReason::Unknown, format!("there is no stream {stream}")))
            }
            CallPurpose::Stream { .. } | CallPurpose::List { .. } => None,
        };
        match (refused, purpose) {
            (Some((reason, text)), _) => self.refuse(conn, caller, reason, text, log),
            (None, CallPurpose::Session { session }) => {
                self.begin_session(conn, caller, session, log)
            }
            (None, _) => self.effects.push(Effect::Welcome { conn }),
        }
    }

    fn refuse(
        &mut self,
        conn: ConnId,
        caller: Caller,
        reason: RefuseReason,
        text: String,
        log: &dyn LogEnds,
    ) {
        if reason == RefuseReason::Twin {
            let connected = self
                .sessions
                .get(&caller.peer.node_id)
                .map_or_else(String::new, |s| s.peer.replication_address.clone());
            self.report(Report::Twin {
                connected,
                caller: caller.peer.replication_address.clone(),
            });
        }
        let primary = self.state.peer.as_ref().filter(|_| self.state.role == Role::Standby);
        let primary = primary.map_or_else(String::new, |peer| peer.replication_address.clone());
        self.effects.push(Effect::Refuse { conn, reason, text, primary });
        if reason == RefuseReason::Epoch {
            // It has proved to be of this cluster, so it does know of a higher epoch.
            let by = Some(caller.peer).filter(|_| caller.role == Role::Primary);
            self.change(Change::Demoted { epoch: caller.epoch, by }, log);
        }
    }

    /// Why a caller can't be this node's standby, if so.
    fn refuses(&self, caller: &Caller) -> Option<(RefuseReason, String)> {
        let known = self.sessions.get(&caller.peer.node_id);
        if known.is_none() && self.sessions.len() >= MAX_STANDBYS {
            return Some((
                RefuseReason::Taken,
                "another standby is connected: stop it first".to_owned(),
            ));
        }
        if let Some(known) = known.filter(|known| self.is_twin(known, caller)) {
            let there = &known.peer.replication_address;
            let text = format!(
                "a standby of the same identity is connected from {there}: is one data directory a copy of the other?"
            );
            return Some((RefuseReason::Twin, text));
        }
        // A standby that is being made the registered one is it already: nobody takes its place.
        let state = match &self.persisting {
            Some((state, Change::WithStandby { .. })) => state,
            _ => &self.state,
        };
        let reason = state.admits(&caller.peer.node_id, caller.epoch, caller.shards).err()?;
        let text = match reason {
            RefuseReason::Shards => {
                format!("the primary has {} shards and the standby {}: they must be equal", self.state.shards, caller.shards)
            }
            RefuseReason::Taken => {
                "another standby's acknowledgements count: `catraca solo --standby-is-down` on the primary gives its place away"
                    .to_owned()
            }
            other => other.to_string(),
        };
        Some((reason, text))
    }

    /// Whether the caller has the identity of the standby that is connected, without being it come
    /// back: one that was not heard for two heartbeats may have lost the connection before this
    /// node knows.
    fn is_twin(&self, known: &PrimarySession, caller: &Caller) -> bool {
        let alive = known.silence.lasts(self.now_ns) < 2 * self.setup.timing.heartbeat_every_ns;
        alive && known.run != caller.run
    }

    fn begin_session(&mut self, conn: ConnId, caller: Caller, id: u64, log: &dyn LogEnds) {
        if let Some(before) =
            self.sessions.get(&caller.peer.node_id).map(|before| before.session.id)
        {
            self.end_session(before, "the standby has called anew", log);
        }
        self.last_session = id;
        let mut session = Session::new(id, caller.peer.node_id, &log.all(), caller.in_sync);
        self.effects.push(Effect::BeginSession { session: id, slot: SLOT, conn });
        self.effects.push(Effect::Welcome { conn });
        self.report(Report::StandbyConnected {
            address: caller.peer.replication_address.clone(),
            in_sync: caller.in_sync,
        });
        if caller.in_sync && self.state.durability != Durability::Sync {
            // What it was told has ended while it was away: it hears that before anything else.
            session.revoke();
            self.effects.push(Effect::Send {
                conn,
                message: NodeMessage::Revoke { epoch: self.state.epoch },
            });
        }
        let now_ns = self.now_ns;
        let standby = PrimarySession {
            session,
            conn,
            run: caller.run,
            silence: Silence::begin(now_ns),
            said_ns: now_ns,
            held: false,
            disk_full: false,
            peer: caller.peer,
        };
        self.sessions.insert(standby.peer.node_id, standby);
        self.feed_all_streams(id);
    }

    /// Has all streams of a session fed once they may be.
    fn feed_all_streams(&mut self, id: u64) {
        if self.session_of_mut(id).is_some_and(|standby| standby.session.begins_to_feed_all()) {
            self.effects.push(Effect::FeedAllStreams { session: id });
        }
    }

    pub(super) fn session_of(&self, id: u64) -> Option<&PrimarySession> {
        self.sessions.values().find(|standby| standby.session.id == id)
    }

    fn session_of_mut(&mut self, id: u64) -> Option<&mut PrimarySession> {
        self.sessions.values_mut().find(|standby| standby.session.id == id)
    }

    /// Ends a session, if it is under way.
    pub(super) fn end_session(&mut self, id: u64, why: &str, log: &dyn LogEnds) {
        let Some(node_id) = self.session_of(id).map(|standby| standby.peer.node_id) else { return };
        let Some(standby) = self.sessions.remove(&node_id) else { return };
        self.alone = Silence::begin(self.now_ns);
        self.effects.push(Effect::EndSession { session: id, conn: standby.conn });
        if !self.stopping {
            self.report(Report::StandbyGone {
                why: why.to_owned(),
                durability: self.state.durability,
            });
        }
        if let Some(solo) = self.solo.take_if(|solo| solo.session == id) {
            self.decide_solo(&solo, false, log);
        }
    }

    /// A message of a standby.
    pub(super) fn standby_says(&mut self, conn: ConnId, message: NodeMessage, log: &dyn LogEnds) {
        let now_ns = self.now_ns;
        let Some(standby) = self.sessions.values_mut().find(|standby| standby.conn == conn) else {
            return;
        };
        standby.silence = Silence::begin(now_ns);
        let id = standby.session.id;
        match message {
            NodeMessage::Granted => {
                let step = standby.session.granted();
                self.step(id, step, log);
            }
            NodeMessage::Revoked => {
                standby.session.revoked();
                let left = !standby.session.may_be_in_sync();
                self.feed_all_streams(id);
                if let Some(solo) = self.solo.take_if(|solo| left && solo.session == id) {
                    self.decide_solo(&solo, true, log);
                }
            }
            NodeMessage::Heartbeat { disk_full } => standby.disk_full = disk_full,
            NodeMessage::Grant { .. } | NodeMessage::Revoke { .. } => {
                self.end_session(id, "the standby sent what only a primary sends", log);
            }
        }
    }

    pub(super) fn acknowledged(&mut self, session: u64, stream: u16, lsn: u64, log: &dyn LogEnds) {
        let durable = log.durable_lsn(stream);
        let Some(standby) = self.session_of_mut(session) else { return };
        let step = standby.session.progress(usize::from(stream), lsn, durable);
        self.feed_all_streams(session);
        self.step(session, step, log);
    }

    pub(super) fn shard_waits(
        &mut self,
        shard: u16,
        session: u64,
        answered: u64,
        log: &dyn LogEnds,
    ) {
        // Between an earlier session's request and this one's the shard may have answered alone.
        let Some(standby) = self.session_of_mut(session) else { return };
        let step = standby.session.waits(usize::from(shard), answered);
        self.feed_all_streams(session);
        self.step(session, step, log);
    }

    fn step(&mut self, session: u64, step: Option<Step>, log: &dyn LogEnds) {
        match step {
            None => {}
            Some(Step::Wait) => self.change(Change::WithStandby { session }, log),
            Some(Step::Grant) => {
                let epoch = self.state.epoch;
                if let Some(conn) = self.session_of(session).map(|standby| standby.conn) {
                    self.effects.push(Effect::Send { conn, message: NodeMessage::Grant { epoch } });
                }
            }
            Some(Step::InSync) => self.report(Report::InSync),
        }
    }

    /// The operator wants this primary to answer alone.
    pub(super) fn go_solo(&mut self, request: RequestId, standby_is_down: bool, log: &dyn LogEnds) {
        let refused = match (self.state.role, self.state.durability) {
            (Role::Standby, _) => Some(RequestRefused::IsStandby),
            (Role::Primary, Durability::Single) => Some(RequestRefused::HasNoStandby),
            (Role::Primary, Durability::Solo) => return self.answer(request, Ok(())),
            (Role::Primary, Durability::Sync) if self.solo.is_some() => {
                Some(RequestRefused::UnderWay("another request to answer alone"))
            }
            (Role::Primary, Durability::Sync) => None,
        };
        if let Some(why) = refused {
            return self.answer(request, Err(why));
        }
        let until_ns = self.now_ns + self.setup.timing.request_timeout_ns;
        let epoch = self.state.epoch;
        let Some(standby) = self.sessions.values_mut().next() else {
            let solo = SoloRequest { request, session: 0, standby_is_down, until_ns };
            return self.decide_solo(&solo, false, log);
        };
        standby.held = true;
        standby.session.hold();
        let solo = SoloRequest { request, session: standby.session.id, standby_is_down, until_ns };
        if !standby.session.may_be_in_sync() {
            return self.decide_solo(&solo, true, log);
        }
        standby.session.revoke();
        let conn = standby.conn;
        self.effects.push(Effect::Send { conn, message: NodeMessage::Revoke { epoch } });
        self.solo = Some(solo);
    }

    /// The standby has left the in-sync set, or it can't be waited for any longer.
    fn decide_solo(&mut self, solo: &SoloRequest, left: bool, log: &dyn LogEnds) {
        if left || solo.standby_is_down {
            let why = "an operator's command";
            return self.change(
                Change::Alone { overridden: !left, why, request: Some(solo.request) },
                log,
            );
        }
        let is_there = self.session_of(solo.session).is_some();
        self.answer(
            solo.request,
            Err(if is_there { RequestRefused::NotConfirmed } else { RequestRefused::NotThere }),
        );
        // A session that is held back would never again come in sync: the standby calls anew.
        self.end_session(solo.session, "it did not confirm that it is left out", log);
    }

    pub(super) fn primary_tick(&mut self, log: &dyn LogEnds) {
        let (now_ns, timing) = (self.now_ns, self.setup.timing);
        let silent =
            |standby: &&PrimarySession| standby.silence.lasts(now_ns) > timing.heartbeat_timeout_ns;
        let silent: Vec<u64> =
            self.sessions.values().filter(silent).map(|standby| standby.session.id).collect();
        for id in silent {
            self.end_session(
                id,
                &format!("it was silent for {} ms", timing.heartbeat_timeout_ns / 1_000_000),
                log,
            );
        }
        let message = NodeMessage::Heartbeat { disk_full: self.disk_full };
        for standby in self.sessions.values_mut() {
            if now_ns.saturating_sub(standby.said_ns) >= timing.heartbeat_every_ns {
                standby.said_ns = now_ns;
                self.effects.push(Effect::Send { conn: standby.conn, message });
            }
        }
        if let Some(solo) = self.solo.take_if(|solo| now_ns >= solo.until_ns) {
            self.decide_solo(&solo, false, log);
        }
        if self.sessions.is_empty() && !self.stopping {
            self.leave_by_itself(log);
            self.inquire();
        }
    }

    /// Goes alone once the configured time without a standby is over.
    fn leave_by_itself(&mut self, log: &dyn LogEnds) {
        // Not before the standby knows that this may happen: it would be promoted without knowing.
        let may_leave = self.state.primary_may_leave && self.setup.solo_after_ns > 0;
        let waits = self.state.durability == Durability::Sync && !self.is_going_alone();
        if may_leave && waits && self.alone.lasts(self.now_ns) >= self.setup.solo_after_ns {
            self.change(
                Change::Alone { overridden: true, why: "solo_after_ms is over", request: None },
                log,
            );
        }
    }

    /// Asks the node that was its standby whether a higher epoch has begun.
    fn inquire(&mut self) {
        if self.now_ns < self.inquire_at_ns {
            return;
        }
        if let Some(address) = self.state.peer.as_ref().map(|peer| peer.replication_address.clone())
        {
            // One that gets no answer is given up by then.
            self.inquire_at_ns = self.now_ns + self.setup.timing.call_timeout_ns;
            self.effects.push(Effect::Inquire { address });
        }
    }

    pub(super) fn inquiry_ended(&mut self, answer: Option<(Accepted, String)>, log: &dyn LogEnds) {
        self.inquire_at_ns = self.now_ns + self.setup.timing.inquire_every_ns;
        if let Some((other, replication_address)) = answer
            && other.role == Role::Primary
        {
            let by = Some(Peer {
                node_id: other.node_id,
                replication_address,
                client_address: other.client_address,
            });
            self.change(Change::Demoted { epoch: other.epoch, by }, log);
        }
    }
}
