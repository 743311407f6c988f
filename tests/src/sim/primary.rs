//! A primary's side of replication: sessions, feeding, grants; and asking whether somebody else reigns by now.

use super::Broken;
use super::durable::Change;
use super::event::Wake;
use super::link::{Accept, DIAL_PAUSE_NS, Join, Link, Purpose, peer};
use super::network::{End, Payload};
use super::node::durable_tail;
use super::world::{MS, Sim};
use catraca_engine::replica::{Feeder, Peer, Session, Step};
use catraca_engine::shard::messages::ToShard;
use catraca_wire::block::{Chain, sound_head};
use catraca_wire::frame::{Durability, Role};
use catraca_wire::replication::RefuseReason;
use std::rc::Rc;

/// One stream of a session.
#[derive(Default)]
pub(super) struct Feed {
    pub conn: Option<usize>,
    pub feeder: Option<Feeder>,
    /// A probe waits for what was handed to the disk when it came, up to a record, to be durable.
    probe: Option<(u64, Chain, u64)>,
}

/// A session.
pub(super) struct Active {
    pub session: Session,
    pub conn: usize,
    pub peer: Peer,
    pub heard_ns: u64,
    streams: Vec<Feed>,
    /// The operator wants the node alone once the grant is given back; `true` where that is to be whatever the standby says.
    going_alone: Option<bool>,
    /// No grant in this session.
    pub held: bool,
    /// By the standby's last life sign its disk is nearly full.
    pub standby_full: bool,
}

#[derive(Default)]
pub(super) struct PrimaryLink {
    pub active: Option<Active>,
    /// When it last had a standby, or began.
    alone_since_ns: u64,
    pub inquiry: Option<usize>,
}

impl PrimaryLink {
    /// Of a process that begins now.
    pub fn new(now_ns: u64) -> Self {
        Self { alone_since_ns: now_ns, ..Self::default() }
    }

    pub fn is_going_alone(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.going_alone.is_some())
    }

    pub fn holds(&self, conn: usize) -> bool {
        let Some(active) = &self.active else { return false };
        active.conn == conn || active.streams.iter().any(|feed| feed.conn == Some(conn))
    }
}

impl Sim {
    /// A frame on a connection that the other node dialed.
    pub(super) fn primary_receives(&mut self, node: usize, conn: usize, link: Link) {
        if let Link::Join(join) = link {
            return self.join(node, conn, join);
        }
        let now_ns = self.now_ns;
        let Some(active) = self.process(node).primary.active.as_mut() else { return };
        if active.conn == conn {
            active.heard_ns = now_ns;
            match link {
                Link::Granted => {
                    if let Some(step) = active.session.granted() {
                        self.step(node, step);
                    }
                }
                Link::Revoked => self.revoked(node),
                Link::Beat { full } => active.standby_full = full,
                _ => {}
            }
        } else if let Some(stream) = active.streams.iter().position(|feed| feed.conn == Some(conn)) {
            active.heard_ns = now_ns;
            self.stream_receives(node, stream, link);
        }
    }

    fn join(&mut self, node: usize, conn: usize, join: Join) {
        let now_ns = self.now_ns;
        let session_id = self.new_id();
        let may_leave = self.plan.solo_after_ms > 0;
        let node_id = self.nodes[node].disk.node_id;
        let process = self.process(node);
        let state = &process.state;
        let accept = |session| {
            let (epoch, role, odd_epochs) = (state.epoch, state.role, state.odd_epochs);
            Link::Accept(Accept { node, node_id, epoch, role, odd_epochs, may_leave, session })
        };
        let refused = match join.purpose {
            Purpose::Inquiry => {
                let reply = accept(0);
                return self.send_link(node, conn, reply);
            }
            Purpose::Stream { stream, session } => match &mut process.primary.active {
                Some(active) if active.session.id == session => {
                    active.streams[stream].conn = Some(conn);
                    return;
                }
                _ => Some(RefuseReason::Session),
            },
            Purpose::Node => {
                let other = process.primary.active.as_ref().is_some_and(|active| active.session.node_id != join.node_id);
                let admitted = state.admits(&join.node_id, join.epoch, join.shards);
                admitted.err().or(other.then_some(RefuseReason::Taken))
            }
        };
        if let Some(reason) = refused {
            let epoch = join.epoch;
            self.note(format_args!("node {node} refuses a connection: {reason}"));
            self.checks.count("refused calls");
            self.send_link(node, conn, Link::Refuse { reason });
            self.drop_link(node, conn);
            if reason == RefuseReason::Epoch {
                self.change(node, Change::Deposed { epoch, by: None });
            }
            return;
        }
        let reply = accept(session_id);
        let revoke = join.in_sync && state.durability != Durability::Sync;
        let epoch = state.epoch;
        self.end_session(node, "the standby has dialed anew");
        let durable = self.tails(node);
        let session = Session::new(session_id, join.node_id, &durable, join.in_sync);
        let streams = durable.iter().map(|_| Feed::default()).collect();
        self.process(node).primary.active = Some(Active {
            session,
            conn,
            peer: peer(join.node, join.node_id),
            heard_ns: now_ns,
            streams,
            going_alone: None,
            held: false,
            standby_full: false,
        });
        self.note(format_args!(
            "node {node} begins session {session_id} with node {}{}",
            join.node,
            if join.in_sync { ", in sync" } else { "" }
        ));
        self.checks.count("sessions");
        self.send_link(node, conn, reply);
        if revoke {
            if let Some(active) = self.process(node).primary.active.as_mut() {
                active.session.revoke();
            }
            self.send_link(node, conn, Link::Revoke { epoch });
        }
    }

    /// A session is over on this side.
    pub(super) fn end_session(&mut self, node: usize, why: &str) {
        let now_ns = self.now_ns;
        let Some(active) = self.process(node).primary.active.take() else { return };
        self.process(node).primary.alone_since_ns = now_ns;
        self.note(format_args!("node {node} ends session {}: {why}", active.session.id));
        self.drop_link(node, active.conn);
        for conn in active.streams.iter().filter_map(|feed| feed.conn) {
            self.drop_link(node, conn);
        }
        if active.going_alone == Some(true) {
            self.change(node, Change::Alone { by_word: true });
        }
    }

    fn stream_receives(&mut self, node: usize, stream: usize, link: Link) {
        match link {
            Link::Probe { lsn, chain } => {
                let process = self.process(node);
                let handed = process.cores[stream].blocks.last().map_or(0, |block| block.last_lsn);
                let Some(active) = process.primary.active.as_mut() else { return };
                active.streams[stream].probe = Some((lsn, chain, handed));
                self.answer_probe(node, stream);
            }
            Link::Follow { lsn, chain } => {
                let tail = self.tails(node)[stream];
                let Some(active) = self.process(node).primary.active.as_mut() else { return };
                active.streams[stream].feeder = Some(Feeder::new(lsn, chain));
                let step = active.session.progress(stream, lsn, tail);
                self.note(format_args!("node {node}/{stream} feeds from {lsn} on"));
                self.mail(node, stream, ToShard::StandbyAt(lsn));
                self.steps(node, step);
                self.feed(node, stream);
            }
            Link::Ack { lsn, receipt } => {
                let Some(active) = self.process(node).primary.active.as_mut() else { return };
                let Some(feeder) = active.streams[stream].feeder.as_mut() else { return };
                match feeder.acknowledge(lsn, receipt) {
                    Ok(lsn) => {
                        self.mail(node, stream, ToShard::StandbyDurable(lsn));
                        self.session_progress(node, stream);
                        self.feed(node, stream);
                    }
                    Err(fault) => self.end_session(node, &fault.to_string()),
                }
            }
            _ => {}
        }
    }

    /// Answers a probe once everything that had been handed to the disk when it came is durable. The standby may hold such a block, and
    /// have acknowledged it in an earlier session: told that it is not here, it would cut it off while that word still counts.
    pub(super) fn answer_probe(&mut self, node: usize, stream: usize) {
        let early = self.broken(Broken::EarlyMatch);
        let process = self.process(node);
        let blocks = &process.cores[stream].blocks;
        let tail = durable_tail(blocks);
        let Some(active) = process.primary.active.as_mut() else { return };
        let feed = &mut active.streams[stream];
        let Some((lsn, chain, _)) = feed.probe.take_if(|(_, _, handed)| early || *handed <= tail) else { return };
        let there = |block: &super::node::BlockRef| block.last_lsn == lsn && block.chain == chain && lsn <= tail;
        let matches = lsn == 0 || blocks.iter().rev().any(there);
        if let Some(conn) = feed.conn {
            self.send_link(node, conn, Link::Match { matches, tail });
        }
    }

    /// Tells the session how far a stream is.
    pub(super) fn session_progress(&mut self, node: usize, stream: usize) {
        let tail = self.tails(node)[stream];
        let Some(active) = self.process(node).primary.active.as_mut() else { return };
        let Some(feeder) = &active.streams[stream].feeder else { return };
        let step = active.session.progress(stream, feeder.acknowledged(), tail);
        self.steps(node, step);
    }

    pub(super) fn gated(&mut self, node: usize, stream: usize, session: u64, answered: u64) {
        let active = self.process(node).primary.active.as_mut();
        let Some(active) = active.filter(|active| active.session.id == session) else { return };
        let step = active.session.gated(stream, answered);
        self.steps(node, step);
    }

    fn steps(&mut self, node: usize, step: Option<Step>) {
        if let Some(step) = step {
            self.step(node, step);
        }
    }

    fn step(&mut self, node: usize, step: Step) {
        let epoch = self.process(node).state.epoch;
        let Some(active) = &self.process(node).primary.active else { return };
        let (session, conn) = (active.session.id, active.conn);
        self.note(format_args!("node {node}: session {session} comes to {step:?}"));
        match step {
            Step::Gate => self.change(node, Change::WithStandby { session }),
            Step::Grant => self.send_link(node, conn, Link::Grant { epoch }),
            Step::InSync => {}
        }
    }

    /// Sends the blocks that may go now: those handed to the disk, and before them those read from it.
    pub(super) fn feed(&mut self, node: usize, stream: usize) {
        loop {
            let host = &mut self.nodes[node];
            let Some(process) = host.process.as_mut() else { return };
            let epoch = process.state.epoch;
            let Some(active) = process.primary.active.as_mut() else { return };
            let feed = &mut active.streams[stream];
            let (Some(feeder), Some(conn)) = (feed.feeder.as_mut(), feed.conn) else { return };
            if !feeder.has_room() {
                return;
            }
            let core = &process.cores[stream];
            let next = core.blocks.partition_point(|block| block.first_lsn < feeder.next_lsn());
            let Some(block) = core.blocks.get(next) else { return };
            let bytes: Rc<[u8]> = match &block.under_way {
                Some(bytes) => Rc::clone(bytes),
                None => {
                    let from = block.offset as usize;
                    Rc::from(&host.disk.streams[stream].segments[block.segment as usize][from..from + block.len])
                }
            };
            let committed = core.shard.counters().committed_lsn;
            let sent = sound_head(&bytes).map(|head| feeder.sent(head));
            match sent {
                Some(Ok(())) => self.send_link(node, conn, Link::Block { epoch, committed, bytes }),
                Some(Err(fault)) => return self.end_session(node, &fault.to_string()),
                None => return self.end_session(node, "a block of this log is unsound"),
            }
        }
    }

    /// A primary that has been without its standby for long enough goes on alone, if it is set up to.
    pub(super) fn leave_by_itself(&mut self, node: usize) {
        let (after_ns, now_ns) = (self.plan.solo_after_ms * MS, self.now_ns);
        let process = self.process(node);
        let waits = process.state.durability == Durability::Sync && !process.is_going_alone();
        if after_ns > 0 && waits && now_ns - process.primary.alone_since_ns >= after_ns {
            self.checks.count("gone alone by itself");
            self.change(node, Change::Alone { by_word: true });
        }
    }

    /// The operator wants the node alone; `true` when it will be, or is.
    pub(super) fn go_alone(&mut self, node: usize, standby_is_down: bool) -> bool {
        let epoch = self.process(node).state.epoch;
        if self.process(node).state.role != Role::Primary {
            return false;
        }
        let Some(active) = self.process(node).primary.active.as_mut() else {
            if standby_is_down {
                self.change(node, Change::Alone { by_word: true });
            }
            return standby_is_down;
        };
        active.held = true;
        active.session.hold();
        if active.session.may_hold_grant() {
            active.going_alone = Some(standby_is_down);
            active.session.revoke();
            let conn = active.conn;
            self.send_link(node, conn, Link::Revoke { epoch });
        } else {
            self.change(node, Change::Alone { by_word: standby_is_down });
        }
        true
    }

    /// A standby that the operator left out comes back when it dials anew.
    pub(super) fn end_held_session(&mut self, node: usize) {
        let process = self.nodes[node].process.as_ref();
        if process.and_then(|process| process.primary.active.as_ref()).is_some_and(|active| active.held) {
            self.end_session(node, "the operator wants the standby back");
        }
    }

    fn revoked(&mut self, node: usize) {
        let Some(active) = self.process(node).primary.active.as_mut() else { return };
        active.session.revoked();
        if !active.session.may_hold_grant()
            && let Some(by_word) = active.going_alone.take()
        {
            self.change(node, Change::Alone { by_word });
        }
    }

    /// A primary without a standby asks its peer from time to time who reigns.
    pub(super) fn inquire(&mut self, node: usize) {
        self.wake_in(node, 5 * DIAL_PAUSE_NS, Wake::Inquire);
        let peer_node = self.peer_of(node);
        let incarnation = Some(self.nodes[node].incarnation);
        let node_id = self.nodes[node].disk.node_id;
        let process = self.process(node);
        if process.state.role != Role::Primary || process.primary.active.is_some() || process.state.peer.is_none() {
            return;
        }
        let (epoch, shards) = (process.state.epoch, process.state.shards);
        if let Some(old) = process.primary.inquiry.take() {
            self.drop_link(node, old);
        }
        let conn = self.dial(End::Node { node, incarnation }, peer_node);
        self.process(node).primary.inquiry = Some(conn);
        let join = Join { purpose: Purpose::Inquiry, node, node_id, epoch, shards, in_sync: false };
        self.send(conn, 0, Payload::Link(Link::Join(join)));
    }

    /// The answer to an inquiry.
    pub(super) fn inquiry_answered(&mut self, node: usize, conn: usize, accept: Accept) {
        self.process(node).primary.inquiry = None;
        self.drop_link(node, conn);
        let lower_is_taken = self.broken(Broken::LowerEpoch);
        let state = &self.process(node).state;
        if accept.role == Role::Primary && (accept.epoch > state.epoch || lower_is_taken && accept.epoch < state.epoch) {
            self.note(format_args!("node {node} learns that node {} reigns in epoch {}", accept.node, accept.epoch));
            let by = Some(peer(accept.node, accept.node_id));
            self.change(node, Change::Deposed { epoch: accept.epoch, by });
        }
    }
}
