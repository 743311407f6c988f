//! What moves a standby's streams: from the network to the node's disk, acknowledgements back, and
//! the cutting of what is not shared.

use super::Broken;
use super::event::{Event as WorldEvent, Mend, Wake};
use super::found::ends_clean;
use super::frames::{Join, NodeFrame, Purpose, address, node_at, peer};
use super::network::{End, Payload};
use super::node::BlockRef;
use super::setup::{CLUSTER, KEY, SEGMENT_LEN};
use super::windows;
use super::world::{MS, Sim};
use catraca_core::log::Tail;
use catraca_core::log::clearing::{ClearStep, Clearing};
use catraca_core::replica::node::{
    Accepted, CallFailure, Caller, ConnId, Event, NodeMessage, Tables,
};
use catraca_core::replica::{Boundaries, Follower, Next, Placed, Taken};
use catraca_wire::frame::Role;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// One stream that is followed.
pub(super) struct FollowStream {
    pub follower: Follower,
    conn: Option<usize>,
    inbox: VecDeque<NodeFrame>,
    writing: Option<Writing>,
}

/// What a follower has on its way to the disk: one block, or several one behind the other.
struct Writing {
    bytes: Rc<[u8]>,
    blocks: usize,
    /// In which attempt to follow it came.
    attempt: u64,
}

/// What is being cut off: bytes still to be zeroed, the last first.
pub(super) struct Cut {
    stream: usize,
    steps: Clearing,
}

#[derive(Default)]
pub(super) struct StandbyStreams {
    /// The connection from node to node.
    pub conn: Option<usize>,
    /// The attempt to follow that it belongs to.
    pub attempt: u64,
    pub session: u64,
    /// What the primary said before its WELCOME.
    accepted: Option<Accepted>,
    pub streams: Vec<FollowStream>,
    /// Where streams are to be cut.
    cut_at: BTreeMap<usize, Tail>,
    cut: Option<Cut>,
    /// Several blocks may be written at once.
    catching_up: bool,
    /// The attempt in which the node waits for the end of writes of several blocks.
    wants_single: Option<u64>,
    /// The attempt whose end the node waits for.
    ending: Option<u64>,
}

impl StandbyStreams {
    pub fn add_stream(&mut self, stream: u16, boundaries: Boundaries) {
        let follower = Follower::new(stream, CLUSTER, KEY, SEGMENT_LEN as u64, boundaries);
        self.streams.push(FollowStream {
            follower,
            conn: None,
            inbox: VecDeque::new(),
            writing: None,
        });
    }

    pub fn holds(&self, conn: usize) -> bool {
        self.conn == Some(conn) || self.streams.iter().any(|stream| stream.conn == Some(conn))
    }

    /// How many frames wait on each stream for the write before them.
    pub fn inbox_lens(&self) -> impl Iterator<Item = usize> {
        self.streams.iter().map(|stream| stream.inbox.len())
    }

    pub fn is_cutting(&self) -> bool {
        self.cut.is_some()
    }

    /// Whether the write under way on a stream is a follower's.
    pub fn writes(&self, stream: usize) -> bool {
        self.streams[stream].writing.is_some()
    }
}

impl Sim {
    /// Calls another node.
    pub(super) fn call_node(&mut self, node: usize, purpose: Purpose, to: usize) -> usize {
        let incarnation = self.nodes[node].incarnation;
        let node_id = self.nodes[node].disk.node_id;
        let is_silent = self.broken(Broken::LowerEpoch);
        let state = self.process(node).node.state();
        let caller = Caller {
            peer: peer(node, node_id),
            run: [incarnation as u8; 16],
            epoch: if is_silent { 0 } else { state.epoch },
            shards: state.shards,
            role: state.role,
            in_sync: state.role == Role::Standby && state.in_sync,
        };
        let conn = self.dial(End::Node { node, incarnation: Some(incarnation) }, to);
        self.send(conn, 0, Payload::Frame(NodeFrame::Join(Join { purpose, caller })));
        conn
    }

    pub(super) fn call_primary(&mut self, node: usize, attempt: u64, address: &str) {
        let conn = self.call_node(node, Purpose::Node, node_at(address));
        let standby = &mut self.process(node).standby;
        (standby.attempt, standby.conn, standby.accepted) = (attempt, Some(conn), None);
    }

    /// Closes the connections of an attempt, and waits for what is being written.
    pub(super) fn end_attempt(&mut self, node: usize, attempt: u64) {
        let standby = &mut self.process(node).standby;
        let mut conns: Vec<usize> = standby.conn.take().into_iter().collect();
        for stream in &mut standby.streams {
            stream.inbox.clear();
            conns.extend(stream.conn.take());
        }
        (standby.ending, standby.wants_single) = (Some(attempt), None);
        for conn in conns {
            self.drop_conn(node, conn);
        }
        self.attempt_ended(node);
    }

    fn attempt_ended(&mut self, node: usize) {
        let standby = &mut self.process(node).standby;
        if standby.streams.iter().any(|stream| stream.writing.is_some()) {
            return;
        }
        let committed = standby.streams.iter().map(|stream| stream.follower.committed()).collect();
        if let Some(attempt) = standby.ending.take() {
            self.node_event(
                node,
                Event::FollowingEnded { attempt, committed, tables: Tables::default() },
            );
        }
    }

    /// A frame on a connection that this node dialed.
    pub(super) fn standby_receives(&mut self, node: usize, conn: usize, frame: NodeFrame) {
        let lower_is_taken = self.broken(Broken::LowerEpoch);
        let process = self.process(node);
        let seen = process.node.state().epoch;
        let believed = |epoch: u32| if lower_is_taken { epoch.max(seen) } else { epoch };
        if process.primary.inquiry == Some(conn) {
            if let NodeFrame::Accept(accepted) = frame {
                process.primary.inquiry_accepted = Some(accepted);
                self.send_frame(node, conn, NodeFrame::Proof);
            } else if let NodeFrame::Refuse { .. } = frame {
                process.primary.inquiry = None;
                self.drop_conn(node, conn);
                self.node_event(node, Event::InquiryEnded { answer: None });
            } else if let NodeFrame::Welcome = frame
                && let Some(accepted) = process.primary.inquiry_accepted.take()
            {
                process.primary.inquiry = None;
                self.drop_conn(node, conn);
                let lower = lower_is_taken && accepted.epoch < seen;
                let epoch = if lower { seen + 1 } else { accepted.epoch };
                let address = address(self.other_end(node, conn));
                let answer = Some((Accepted { epoch, ..accepted }, address));
                self.node_event(node, Event::InquiryEnded { answer });
            }
            return;
        }
        let standby = &mut process.standby;
        let attempt = standby.attempt;
        if let Some(stream) = standby.streams.iter().position(|stream| stream.conn == Some(conn)) {
            if let NodeFrame::Refuse { reason, .. } = frame {
                return self
                    .node_event(node, Event::FollowingFailed { attempt, why: reason.to_string() });
            }
            let frame = match frame {
                NodeFrame::Block { epoch, committed, bytes } => {
                    NodeFrame::Block { epoch: believed(epoch), committed, bytes }
                }
                other => other,
            };
            standby.streams[stream].inbox.push_back(frame);
            return self.read_stream(node, stream);
        }
        if standby.conn != Some(conn) {
            return;
        }
        let id = ConnId(conn as u64);
        match frame {
            NodeFrame::Accept(accepted) => {
                standby.accepted = Some(accepted);
                self.send_frame(node, conn, NodeFrame::Proof);
            }
            NodeFrame::Welcome => {
                let Some(accepted) = standby.accepted.take() else { return };
                standby.session = accepted.session;
                let accepted = Accepted { epoch: believed(accepted.epoch), ..accepted };
                self.node_event(node, Event::CallAnswered { attempt, conn: id, accepted });
            }
            NodeFrame::Refuse { reason, primary } => {
                let primary = Some(primary).filter(|primary| !primary.is_empty());
                let failure =
                    CallFailure { refused: Some(reason), primary, why: reason.to_string() };
                self.node_event(node, Event::CallFailed { attempt, failure });
            }
            NodeFrame::Node(message) => {
                let message = match message {
                    NodeMessage::Grant { epoch } => NodeMessage::Grant { epoch: believed(epoch) },
                    NodeMessage::Revoke { epoch } => NodeMessage::Revoke { epoch: believed(epoch) },
                    other => other,
                };
                self.node_event(node, Event::Received { conn: id, message });
            }
            _ => {}
        }
    }

    /// No write of several blocks begins any more; the node hears when none is under way.
    pub(super) fn await_single_writes(&mut self, node: usize, attempt: u64) {
        let standby = &mut self.process(node).standby;
        (standby.catching_up, standby.wants_single) = (false, Some(attempt));
        self.writes_may_be_single(node);
    }

    fn writes_may_be_single(&mut self, node: usize) {
        let patient = !self.broken(Broken::GrantDuringBlocks);
        let standby = &mut self.process(node).standby;
        let several = |stream: &FollowStream| {
            stream.writing.as_ref().is_some_and(|writing| writing.blocks > 1)
        };
        if patient && standby.wants_single.is_some() && standby.streams.iter().any(several) {
            self.checks.count("grants that waited");
        } else if let Some(attempt) = standby.wants_single.take() {
            self.node_event(node, Event::SingleWrites { attempt });
        }
    }

    pub(super) fn allow_several_writes(&mut self, node: usize, attempt: u64) {
        let standby = &mut self.process(node).standby;
        standby.catching_up |= standby.attempt == attempt && standby.conn.is_some();
    }

    /// The primary's epoch is durable here: each stream gets its connection.
    pub(super) fn open_streams(
        &mut self,
        node: usize,
        epoch: u32,
        catching_up: bool,
        committed: &[u64],
    ) {
        let standby = &mut self.process(node).standby;
        standby.catching_up = catching_up;
        let (session, conn) = (standby.session, standby.conn);
        let Some(primary) = conn.map(|conn| self.other_end(node, conn)) else { return };
        for stream in 0..usize::from(self.plan.shards) {
            let conn = self.call_node(node, Purpose::Stream { stream, session }, primary);
            let of = &mut self.process(node).standby.streams[stream];
            of.conn = Some(conn);
            of.follower.remember(epoch, committed.get(stream).copied().unwrap_or(0));
            let next = of.follower.begin(epoch);
            self.follow_step(node, stream, next);
        }
    }

    fn follow_step(&mut self, node: usize, stream: usize, next: Next) {
        let Some(conn) = self.process(node).standby.streams[stream].conn else { return };
        match next {
            Next::Probe { lsn, chain } => {
                self.send_frame(node, conn, NodeFrame::Probe { lsn, chain })
            }
            Next::Follow { lsn, chain } => {
                self.send_frame(node, conn, NodeFrame::Follow { lsn, chain })
            }
            Next::Cut { to } => {
                self.process(node).standby.cut_at.insert(stream, to);
                self.node_event(
                    node,
                    Event::Cutting { stream: stream as u16, last_lsn: to.next_lsn - 1 },
                );
            }
        }
    }

    /// Takes what came for a stream, up to a block that must be written first.
    fn read_stream(&mut self, node: usize, stream: usize) {
        loop {
            let of = &mut self.process(node).standby.streams[stream];
            if of.writing.is_some() {
                return;
            }
            let Some(frame) = of.inbox.pop_front() else { return };
            let conn = of.conn;
            match frame {
                NodeFrame::Match { matches, tail } => match of.follower.matched(matches, tail) {
                    Ok(next) => self.follow_step(node, stream, next),
                    Err(fault) => return self.follow_fault(node, &fault),
                },
                NodeFrame::Block { epoch, committed, bytes } => {
                    match of.follower.take(epoch, committed, &bytes) {
                        Ok(Taken::Write(placed)) => {
                            let writing = self.gather(node, stream, bytes);
                            let placed = Placed { len: writing.bytes.len(), ..placed };
                            if !self.write_followed(node, stream, placed, writing) {
                                return;
                            }
                        }
                        Ok(Taken::Known { lsn, receipt }) => {
                            if let Some(conn) = conn {
                                self.send_frame(node, conn, NodeFrame::Ack { lsn, receipt });
                            }
                        }
                        Ok(Taken::Old) => {}
                        Err(fault) => return self.follow_fault(node, &fault),
                    }
                }
                _ => {}
            }
        }
    }

    /// Puts what waits behind a block into the same write, where that is allowed.
    fn gather(&mut self, node: usize, stream: usize, first: Rc<[u8]>) -> Writing {
        let always = self.broken(Broken::BlocksWithGrant);
        let standby = &mut self.process(node).standby;
        let attempt = standby.attempt;
        let of = &mut standby.streams[stream];
        let (mut gathered, mut blocks) = (Vec::new(), 1);
        let together = standby.catching_up || always;
        while let Some(NodeFrame::Block { epoch, committed, bytes }) =
            of.inbox.front().filter(|_| together)
        {
            if of.follower.join(*epoch, *committed, bytes).is_none() {
                break;
            }
            if gathered.is_empty() {
                gathered.extend_from_slice(&first);
            }
            gathered.extend_from_slice(bytes);
            blocks += 1;
            of.inbox.pop_front();
        }
        if blocks == 1 {
            return Writing { bytes: first, blocks, attempt };
        }
        self.checks.count("several blocks at once");
        Writing { bytes: gathered.into(), blocks, attempt }
    }

    fn follow_fault(&mut self, node: usize, fault: &catraca_core::replica::FollowFault) {
        let attempt = self.process(node).standby.attempt;
        self.node_event(node, Event::FollowingFailed { attempt, why: fault.to_string() });
    }

    fn write_followed(
        &mut self,
        node: usize,
        stream: usize,
        placed: Placed,
        writing: Writing,
    ) -> bool {
        let reused = self.broken(Broken::ReusedSegment);
        let id = self.new_id();
        let disk = &mut self.nodes[node].disk;
        while disk.streams[stream].segments.len() <= placed.segment as usize {
            if !disk.has_room() {
                self.disk_failed(node);
                return false;
            }
            disk.streams[stream].add_segment(CLUSTER, stream as u16, SEGMENT_LEN, reused);
        }
        disk.streams[stream].begin(
            id,
            placed.segment,
            placed.offset,
            Rc::clone(&writing.bytes),
            reused,
        );
        self.process(node).standby.streams[stream].writing = Some(writing);
        self.io_step(node);
        self.make_segments(node, stream);
        self.end_later(node, stream, id);
        true
    }

    /// What came is durable: its records are applied, and it is acknowledged.
    pub(super) fn follower_written(&mut self, node: usize, stream: usize) {
        let empty_dedupe = self.broken(Broken::EmptyDedupe);
        let counts_twice = self.broken(Broken::WindowsCountedTwice);
        let process = self.process(node);
        let of = &mut process.standby.streams[stream];
        let Some(Writing { bytes, attempt, .. }) = of.writing.take() else { return };
        for block in of.follower.blocks_of(&bytes) {
            process.cores[stream].blocks.push(BlockRef::of(&block));
            if let Some(builder) = process.builder.as_ref().filter(|_| !empty_dedupe) {
                builder.take(&block);
                if counts_twice {
                    windows::count_again(builder.pasts(), &block);
                }
            }
        }
        let takes_policies = stream == 0;
        let (lsn, receipt) = of.follower.written();
        let conn = of.conn.filter(|_| attempt == process.standby.attempt);
        self.note(format_args!("node {node}/{stream} holds up to {lsn}"));
        if let Some(conn) = conn {
            self.send_frame(node, conn, NodeFrame::Ack { lsn, receipt });
        }
        if takes_policies && self.plan.policies {
            let pause = self.policy_rng.between(1, 60) * MS;
            self.wake_in(node, pause, Wake::StandbyWindows);
        }
        self.writes_may_be_single(node);
        self.attempt_ended(node);
        self.read_stream(node, stream);
    }

    /// What is not the primary's goes into quarantine, and is then zeroed block by block from the
    /// back, each durable before the next: so whatever is left by a crash is a log that ends with
    /// at most one incomplete block.
    pub(super) fn begin_cut(&mut self, node: usize, stream: usize) {
        let to =
            self.process(node).standby.cut_at.remove(&stream).expect("the node was told of it");
        self.note(format_args!("node {node}/{stream} cuts its log behind {}", to.next_lsn - 1));
        let blocks = &self.process(node).cores[stream].blocks;
        let gone = blocks.iter().filter(|block| block.first_lsn >= to.next_lsn);
        let places: Vec<_> =
            gone.map(|block| (block.segment, block.offset, block.len as u64)).collect();
        let disk = &mut self.nodes[node].disk;
        let mut steps = Clearing::default();
        for &(segment, from, len) in &places {
            let bytes = disk.streams[stream].segments[segment as usize]
                [from as usize..(from + len) as usize]
                .to_vec();
            disk.quarantine.push((stream as u16, bytes));
            steps.block(segment, from, len);
        }
        self.checks.count("cuts");
        self.process(node).standby.cut = Some(Cut { stream, steps });
        self.wake_in(node, MS, Wake::CutStep);
    }

    /// A stream is not cut after all.
    pub(super) fn keep_log(&mut self, node: usize, stream: usize) {
        self.process(node).standby.cut_at.remove(&stream);
    }

    /// The next block is zeroed; behind the last the node starts anew.
    pub(super) fn cut_step(&mut self, node: usize) {
        let id = self.new_id();
        let Some(cut) = self.process(node).standby.cut.as_mut() else { return };
        let (stream, next) = (cut.stream, cut.steps.next());
        let busy = self.process(node).standby.writes(stream);
        assert!(!busy, "a stream is not written while it is cut");
        let disk = &mut self.nodes[node].disk.streams[stream];
        disk.finish_zero();
        match next {
            Some(ClearStep { segment, from, to }) => {
                disk.begin_zero(id, segment, from, to);
                let time = self.rng.between(100_000, 3 * MS);
                self.wake_in(node, time, Wake::CutStep);
                if self.faults.kills_in_cut[node] && !self.faults.over && self.rng.permille(300) {
                    self.faults.kills_in_cut[node] = false;
                    let pause = self.rng.between(1, 500) * MS;
                    self.after(time / 2, WorldEvent::Mend(Mend::Kill(node)));
                    self.after(time + pause, WorldEvent::Mend(Mend::Start(node)));
                }
                self.io_step(node);
            }
            None => {
                // A write that was lost, and that only what is cut off by now lay behind, is lost
                // at the end: nothing tells of it any more.
                disk.hole &= !ends_clean(stream as u16, disk);
                self.restart(node);
            }
        }
    }
}
