//! A standby: attempts to follow the primary one after the other, its membership of the in-sync
//! set, and its promotion.

use super::change::Change;
use super::effect::{Effect, Report};
use super::event::{Accepted, CallFailure, ConnId, NodeMessage, RequestId, RequestRefused, Tables};
use super::silence::Silence;
use super::{LogEnds, Node};
use crate::replica::{NewEpoch, Peer};
use catraca_wire::frame::Role;
use catraca_wire::replication::RefuseReason;
use std::collections::{BTreeMap, VecDeque};

/// Most streams that a primary may have: a record's address gives the stream 12 bits.
const MAX_STREAMS: u16 = 1 << 12;
/// Most messages about the membership that wait for the one before: a primary sends the next when
/// the last was answered, but for a REVOKE on an operator's request.
const MAX_ORDERS: usize = 16;

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// None is under way; when the next begins.
    Idle { call_at_ns: u64 },
    /// The primary is called.
    Calling,
    /// It has answered; its epoch is made durable here.
    Submitting,
    /// Its streams are open.
    Following,
    /// Connections are closed; writes may be under way.
    Ending,
}

/// The primary's message about the membership, to be carried out one after the other.
#[derive(Debug, Clone, Copy)]
struct Order {
    epoch: u32,
    in_sync: bool,
}

#[derive(Debug)]
struct Promotion {
    request: RequestId,
    force: bool,
    epoch: NewEpoch,
}

#[derive(Debug)]
pub(super) struct Standby {
    /// Counts attempts; what belongs to an earlier one is void.
    attempt: u64,
    phase: Phase,
    /// Whom it calls in this attempt.
    address: String,
    conn: Option<ConnId>,
    accepted: Option<Accepted>,
    pub silence: Silence,
    said_ns: u64,
    orders: VecDeque<Order>,
    /// One of them is carried out.
    order_under_way: bool,
    /// Following has ended for good, or until the promotion is refused.
    promotion: Option<Promotion>,
    cutting: bool,
    /// By stream: the last record that a cut leaves.
    cut_at: BTreeMap<u16, u64>,
    /// In this attempt: the epoch whose streams were open.
    opened: Option<u32>,
    /// Since when its calls are refused because a node of its identity is connected.
    twin_since_ns: Option<u64>,
    /// Where the node called last said that the primary is.
    hint: Option<String>,
}

impl Standby {
    pub fn new(now_ns: u64) -> Self {
        Self {
            attempt: 0,
            phase: Phase::Idle { call_at_ns: now_ns },
            address: String::new(),
            conn: None,
            accepted: None,
            silence: Silence::begin(now_ns),
            said_ns: 0,
            orders: VecDeque::new(),
            order_under_way: false,
            promotion: None,
            cutting: false,
            cut_at: BTreeMap::new(),
            opened: None,
            twin_since_ns: None,
            hint: None,
        }
    }

    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    pub fn is_promoting(&self) -> bool {
        self.promotion.is_some()
    }

    pub fn is_cutting(&self) -> bool {
        self.cutting
    }

    pub fn is_connected_by(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    /// The node starts anew before long: nobody is called any more.
    pub fn end_for_good(&mut self) {
        self.phase = Phase::Ending;
    }

    /// Whether an attempt is the one under way, and connected.
    pub fn is_current(&self, attempt: u64) -> bool {
        self.connection_of(attempt).is_some()
    }

    /// The connection from node to node of an attempt, while that is under way.
    pub fn connection_of(&self, attempt: u64) -> Option<ConnId> {
        self.conn.filter(|_| self.attempt == attempt)
    }
}

impl Node {
    pub(super) fn standby_tick(&mut self) {
        let (now_ns, timing) = (self.now_ns, self.setup.timing);
        let standby = &mut self.standby;
        match standby.phase {
            Phase::Idle { call_at_ns } if now_ns >= call_at_ns => self.call(),
            Phase::Calling if standby.silence.lasts(now_ns) > timing.call_timeout_ns => {
                self.end_following("the call came to nothing in time");
            }
            Phase::Submitting | Phase::Following => {
                if standby.silence.lasts(now_ns) > timing.heartbeat_timeout_ns {
                    let why = format!(
                        "the primary was silent for {} ms",
                        timing.heartbeat_timeout_ns / 1_000_000
                    );
                    self.end_following(&why);
                } else if let Some(conn) = standby.conn
                    && now_ns.saturating_sub(standby.said_ns) >= timing.heartbeat_every_ns
                {
                    standby.said_ns = now_ns;
                    let message = NodeMessage::Heartbeat { disk_full: self.disk_full };
                    self.effects.push(Effect::Send { conn, message });
                }
            }
            Phase::Idle { .. } | Phase::Calling | Phase::Ending => {}
        }
    }

    /// Calls the primary, or where it may be.
    fn call(&mut self) {
        let now_ns = self.now_ns;
        let is_changing = self.persisting.is_some() || !self.changes.is_empty();
        // JOIN says what is durable: a membership that is on its way to the disk would come behind
        // it.
        if is_changing || self.standby.is_promoting() || self.standby.cutting || self.stopping {
            return;
        }
        let known = self.state.peer.as_ref().map(|peer| peer.replication_address.clone());
        let hint = self.standby.hint.take();
        let addresses: Vec<String> =
            [hint, known, self.setup.primary.clone()].into_iter().flatten().collect();
        let standby = &mut self.standby;
        let Some(address) = addresses.get(standby.attempt as usize % addresses.len().max(1)) else {
            return;
        };
        standby.attempt += 1;
        standby.phase = Phase::Calling;
        standby.silence = Silence::begin(now_ns);
        standby.opened = None;
        standby.address.clone_from(address);
        self.effects.push(Effect::Call { attempt: standby.attempt, address: address.clone() });
    }

    pub(super) fn call_answered(
        &mut self,
        attempt: u64,
        conn: ConnId,
        accepted: Accepted,
        log: &dyn LogEnds,
    ) {
        let standby = &mut self.standby;
        if standby.attempt != attempt || standby.phase != Phase::Calling {
            return;
        }
        standby.phase = Phase::Submitting;
        standby.conn = Some(conn);
        standby.twin_since_ns = None;
        (standby.silence, standby.said_ns) = (Silence::begin(self.now_ns), self.now_ns);
        let Accepted { epoch, odd_epochs, may_leave, streams, .. } = accepted;
        let known_streams = self.setup.shards..=MAX_STREAMS;
        if accepted.role != Role::Primary {
            return self.end_following("it is a standby itself");
        }
        if accepted.shards != self.setup.shards || !known_streams.contains(&streams) {
            return self.end_following(&format!(
                "the primary has {} shards and {streams} streams",
                accepted.shards
            ));
        }
        if (streams..log.streams()).any(|stream| log.durable_lsn(stream) > 0) {
            return self.end_following(
                "this node's log has streams that the primary's has not: build it anew",
            );
        }
        let primary = Peer {
            node_id: accepted.node_id,
            replication_address: standby.address.clone(),
            client_address: accepted.client_address.clone(),
        };
        standby.accepted = Some(accepted);
        self.change(Change::Follow { attempt, epoch, primary, odd_epochs, may_leave }, log);
    }

    pub(super) fn call_failed(&mut self, attempt: u64, failure: CallFailure, log: &dyn LogEnds) {
        if self.standby.attempt != attempt || self.standby.phase != Phase::Calling {
            return;
        }
        self.standby.hint = failure.primary.filter(|primary| *primary != self.setup.own_address);
        let is_twin = failure.refused == Some(RefuseReason::Twin);
        if is_twin {
            self.standby.twin_since_ns.get_or_insert(self.now_ns);
        }
        let since_ns = self.standby.twin_since_ns.unwrap_or(self.now_ns);
        let lasts = self.now_ns.saturating_sub(since_ns) >= self.setup.timing.heartbeat_timeout_ns;
        self.end_following(&failure.why);
        // The primary waits for another standby now, and does not count on this one any more. A
        // twin may be this very node before it started anew, whose connection the primary has not
        // seen to be dead: then it is refused for some heartbeats only.
        if failure.refused == Some(RefuseReason::Taken) || (is_twin && lasts) {
            self.change(Change::Replaced, log);
        }
    }

    /// The primary's epoch is durable here: its streams may come.
    pub(super) fn open_streams(&mut self, attempt: u64) {
        let standby = &mut self.standby;
        let Some(accepted) = standby
            .accepted
            .take()
            .filter(|_| standby.conn.is_some() && standby.attempt == attempt)
        else {
            return;
        };
        standby.phase = Phase::Following;
        let address = standby.address.clone();
        let Accepted { epoch, session, streams, client_address, .. } = accepted;
        standby.opened = Some(epoch);
        let (catching_up, committed) = (self.state.catching_up, self.state.committed.clone());
        self.effects.push(Effect::PrimaryAt { address: client_address, epoch });
        self.report(Report::Following { address, epoch });
        self.effects.push(Effect::OpenStreams {
            attempt,
            session,
            epoch,
            streams,
            catching_up,
            committed,
        });
    }

    /// Ends the attempt under way, if there is one.
    pub(super) fn end_following(&mut self, why: &str) {
        let standby = &mut self.standby;
        if matches!(standby.phase, Phase::Idle { .. } | Phase::Ending) {
            return;
        }
        standby.phase = Phase::Ending;
        (standby.conn, standby.accepted, standby.order_under_way) = (None, None, false);
        standby.orders.clear();
        let (attempt, address) = (standby.attempt, standby.address.clone());
        let is_wanted = self.standby.promotion.is_some() || self.standby.cutting;
        if !self.stopping && !is_wanted {
            self.report(Report::NotFollowing { address, why: why.to_owned() });
        }
        self.effects.push(Effect::EndFollowing { attempt });
    }

    pub(super) fn following_ended(
        &mut self,
        attempt: u64,
        committed: Vec<u64>,
        tables: Tables,
        log: &dyn LogEnds,
    ) {
        let standby = &mut self.standby;
        if standby.attempt != attempt || standby.phase != Phase::Ending {
            return;
        }
        standby.phase = Phase::Idle { call_at_ns: self.now_ns + self.setup.timing.call_pause_ns };
        if let Some(&Promotion { request, force, epoch }) = standby.promotion.as_ref() {
            self.change(Change::Promote { force, epoch, request, tables }, log);
        } else if let Some(epoch) = standby.opened.filter(|_| !standby.cutting) {
            // After a start this node must not cut it off because the primary has lost it.
            let known = |stream: usize| self.state.committed.get(stream).copied().unwrap_or(0);
            if committed.iter().enumerate().any(|(stream, &lsn)| lsn > known(stream)) {
                let committed = ends(&committed, &self.state.committed);
                self.change(Change::Committed { epoch, committed }, log);
            }
        }
    }

    /// A message of the primary.
    pub(super) fn primary_says(&mut self, message: NodeMessage, log: &dyn LogEnds) {
        self.standby.silence = Silence::begin(self.now_ns);
        let (epoch, in_sync) = match message {
            NodeMessage::Heartbeat { .. } => return,
            NodeMessage::Grant { epoch } => (epoch, true),
            NodeMessage::Revoke { epoch } => (epoch, false),
            NodeMessage::Granted | NodeMessage::Revoked => {
                return self.end_following("the primary sent what only a standby sends");
            }
        };
        if self.standby.orders.len() >= MAX_ORDERS {
            return self
                .end_following("the primary sends GRANT and REVOKE without waiting for an answer");
        }
        self.standby.orders.push_back(Order { epoch, in_sync });
        self.next_order(log);
    }

    /// Carries out the next message about the membership. Behind a membership no crash may leave a
    /// hole, so that first no write of several blocks is under way any more.
    fn next_order(&mut self, log: &dyn LogEnds) {
        let standby = &mut self.standby;
        let attempt = standby.attempt;
        let Some(&Order { epoch, in_sync }) =
            standby.orders.front().filter(|_| !standby.order_under_way)
        else {
            return;
        };
        standby.order_under_way = true;
        if in_sync {
            self.effects.push(Effect::SingleWrites { attempt });
        } else {
            self.change(Change::Membership { attempt, epoch, in_sync }, log);
        }
    }

    pub(super) fn writes_are_single(&mut self, attempt: u64, log: &dyn LogEnds) {
        let standby = &self.standby;
        if !standby.is_current(attempt) || !standby.order_under_way {
            return;
        }
        if let Some(&Order { epoch, in_sync: true }) = standby.orders.front() {
            self.change(Change::Membership { attempt, epoch, in_sync: true }, log);
        }
    }

    /// A message about the membership was carried out.
    pub(super) fn membership_taken(&mut self, attempt: u64, log: &dyn LogEnds) {
        if self.standby.is_current(attempt) && self.standby.order_under_way {
            self.standby.order_under_way = false;
            self.standby.orders.pop_front();
            self.next_order(log);
        }
    }

    /// A stream's log parts from the primary's. A membership goes with the log that is left: should
    /// a start find less, because a write that the disk had called done was lost, nothing behind it
    /// would tell any more.
    pub(super) fn cut_stream(&mut self, stream: u16, last_lsn: u64, log: &dyn LogEnds) {
        // A promotion makes this log the cluster's: it is not cut for a primary that it replaces.
        if self.standby.is_promoting() {
            return self.effects.push(Effect::KeepLog { stream });
        }
        self.standby.cut_at.insert(stream, last_lsn);
        let mut ends = log.all();
        // Those of other streams that are to be cut as well: whichever is cut last finds them so.
        for (&stream, &last_lsn) in &self.standby.cut_at {
            if let Some(end) = ends.get_mut(usize::from(stream)) {
                *end = last_lsn;
            }
        }
        self.standby.cutting = true;
        self.end_following("its log must be cut");
        self.change(Change::Cut { stream, ends }, log);
    }

    pub(super) fn begin_promotion(&mut self, request: RequestId, force: bool, epoch: NewEpoch) {
        self.standby.promotion = Some(Promotion { request, force, epoch });
        self.end_following("it is to be promoted");
        // First nothing more is taken and acknowledged, then the new epoch is durable, and only
        // then does anybody decide. Also where nothing is under way what this node holds is asked
        // for again: the request may have waited.
        if matches!(self.standby.phase, Phase::Idle { .. }) {
            self.standby.phase = Phase::Ending;
            self.effects.push(Effect::EndFollowing { attempt: self.standby.attempt });
        }
    }

    /// The promotion is refused after all: the primary may have taken the membership back, or have
    /// loaded another list.
    pub(super) fn promotion_refused(&mut self, request: RequestId, why: RequestRefused) {
        self.standby.promotion = None;
        self.standby.phase =
            Phase::Idle { call_at_ns: self.now_ns + self.setup.timing.call_pause_ns };
        self.report(Report::NotPromoted { why: why.clone() });
        self.answer(request, Err(why));
    }
}

/// The later of each stream's two ends.
fn ends(one: &[u64], other: &[u64]) -> Vec<u64> {
    let at = |ends: &[u64], stream: usize| ends.get(stream).copied().unwrap_or(0);
    (0..one.len().max(other.len())).map(|stream| at(one, stream).max(at(other, stream))).collect()
}
