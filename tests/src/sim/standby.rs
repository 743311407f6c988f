//! A standby's side of replication: dialing, following, cutting what is not shared, and taking over.

use super::Broken;
use super::durable::Change;
use super::event::{Event, Mend, Wake};
use super::link::{Accept, DIAL_PAUSE_NS, Join, Link, Purpose, peer};
use super::network::{End, Payload};
use super::node::{BlockRef, CLUSTER, KEY, SEGMENT_LEN, ends_clean};
use super::world::{MS, Sim};
use catraca_engine::log::Tail;
use catraca_engine::log::clearing::{ClearStep, Clearing};
use catraca_engine::replica::{Boundaries, Follower, Next, Placed, Taken};
use catraca_wire::frame::Role;
use std::collections::VecDeque;
use std::rc::Rc;

/// One stream that is followed.
pub(super) struct FollowStream {
    pub follower: Follower,
    conn: Option<usize>,
    inbox: VecDeque<Link>,
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
pub(super) struct StandbyLink {
    pub conn: Option<usize>,
    /// Counts the attempts to follow; what belongs to an earlier one is void.
    pub attempt: u64,
    pub session: u64,
    pub heard_ns: u64,
    pub streams: Vec<FollowStream>,
    /// Following has ended for good, or until a promotion is refused: forced or not.
    promoting: Option<bool>,
    cut: Option<Cut>,
    /// Several blocks may be written at once.
    pub catching_up: bool,
    /// The primary's words about the grant that are still to be carried out, one after the other: the attempt in which each came, its epoch, and
    /// whether it gives the grant.
    words: VecDeque<(u64, u32, bool)>,
    /// One of them is on its way to the disk.
    word_under_way: bool,
}

impl StandbyLink {
    pub fn add_stream(&mut self, stream: u16, boundaries: Boundaries) {
        let follower = Follower::new(stream, CLUSTER, KEY, SEGMENT_LEN as u64, boundaries);
        self.streams.push(FollowStream { follower, conn: None, inbox: VecDeque::new(), writing: None });
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

    pub fn is_promoting(&self) -> bool {
        self.promoting.is_some()
    }

    /// Whether the write under way on a stream is a follower's.
    pub fn writes(&self, stream: usize) -> bool {
        self.streams[stream].writing.is_some()
    }
}

impl Sim {
    /// Dials the primary, unless something of the last attempt is still under way.
    pub(super) fn dial_primary(&mut self, node: usize) {
        let peer_node = self.peer_of(node);
        let incarnation = Some(self.nodes[node].incarnation);
        let now_ns = self.now_ns;
        let node_id = self.nodes[node].disk.node_id;
        let process = self.process(node);
        let state = &process.state;
        let standby = &process.standby;
        if state.role != Role::Standby || standby.promoting.is_some() || standby.cut.is_some() || standby.conn.is_some() {
            return;
        }
        // JOIN says what is durable: a grant that is on its way to the disk would come behind it.
        let busy = process.persisting.is_some() || !process.changes.is_empty();
        if busy || standby.streams.iter().any(|stream| stream.writing.is_some()) {
            return self.wake_in(node, 5 * MS, Wake::Dial);
        }
        let join =
            Join { purpose: Purpose::Node, node, node_id, epoch: state.epoch, shards: state.shards, in_sync: state.in_sync };
        let conn = self.dial(End::Node { node, incarnation }, peer_node);
        let standby = &mut self.process(node).standby;
        standby.attempt += 1;
        (standby.conn, standby.heard_ns) = (Some(conn), now_ns);
        self.send(conn, 0, Payload::Link(Link::Join(join)));
    }

    /// A session, or the attempt at one, is over on this side.
    pub(super) fn stop_following(&mut self, node: usize, why: &str) {
        let standby = &mut self.process(node).standby;
        let Some(conn) = standby.conn.take() else { return };
        standby.attempt += 1;
        standby.words.clear();
        standby.word_under_way = false;
        let mut conns = vec![conn];
        for stream in &mut standby.streams {
            stream.inbox.clear();
            conns.extend(stream.conn.take());
        }
        self.note(format_args!("node {node} stops following: {why}"));
        for conn in conns {
            self.drop_link(node, conn);
        }
        let pause = DIAL_PAUSE_NS + self.rng.between(0, DIAL_PAUSE_NS);
        self.wake_in(node, pause, Wake::Dial);
    }

    /// A frame on a connection that this node dialed.
    pub(super) fn standby_receives(&mut self, node: usize, conn: usize, link: Link) {
        let now_ns = self.now_ns;
        let process = self.process(node);
        if process.primary.inquiry == Some(conn) {
            if let Link::Accept(accept) = link {
                self.inquiry_answered(node, conn, accept);
            }
            return;
        }
        let standby = &mut process.standby;
        if !standby.holds(conn) {
            return;
        }
        standby.heard_ns = now_ns;
        let attempt = standby.attempt;
        if let Some(stream) = standby.streams.iter().position(|stream| stream.conn == Some(conn)) {
            if let Link::Refuse { reason, .. } = link {
                return self.stop_following(node, reason.name());
            }
            standby.streams[stream].inbox.push_back(link);
            return self.read_stream(node, stream);
        }
        match link {
            Link::Accept(accept) => self.accepted(node, accept),
            Link::Refuse { reason, .. } => self.stop_following(node, reason.name()),
            Link::Grant { epoch } | Link::Revoke { epoch } => {
                standby.words.push_back((attempt, epoch, matches!(link, Link::Grant { .. })));
                self.take_word(node);
            }
            _ => {}
        }
    }

    /// Takes the next word about the grant; the grant itself once no write of several blocks is under way any more.
    fn take_word(&mut self, node: usize) {
        let patient = !self.broken(Broken::GrantDuringBlocks);
        let standby = &mut self.process(node).standby;
        let Some(&(attempt, epoch, granted)) = standby.words.front().filter(|_| !standby.word_under_way) else { return };
        if granted {
            standby.catching_up = false;
            let several = |stream: &FollowStream| stream.writing.as_ref().is_some_and(|writing| writing.blocks > 1);
            if patient && standby.streams.iter().any(several) {
                self.checks.count("grants that waited");
                return;
            }
        }
        standby.words.pop_front();
        standby.word_under_way = true;
        self.change(node, Change::Grant { attempt, epoch, granted });
    }

    /// A word about the grant is durable, or void.
    pub(super) fn word_taken(&mut self, node: usize) {
        self.process(node).standby.word_under_way = false;
        self.take_word(node);
    }

    fn accepted(&mut self, node: usize, accept: Accept) {
        if accept.role != Role::Primary {
            return self.stop_following(node, "the other node is no primary");
        }
        let standby = &mut self.process(node).standby;
        standby.session = accept.session;
        let attempt = standby.attempt;
        let primary = peer(accept.node, accept.node_id);
        self.change(
            node,
            Change::Follow { attempt, epoch: accept.epoch, primary, odd_epochs: accept.odd_epochs, may_leave: accept.may_leave },
        );
    }

    /// The primary's epoch is durable here: each stream gets its connection.
    pub(super) fn open_streams(&mut self, node: usize, attempt: u64) {
        let peer_node = self.peer_of(node);
        let incarnation = Some(self.nodes[node].incarnation);
        let node_id = self.nodes[node].disk.node_id;
        let process = self.process(node);
        let (epoch, shards) = (process.state.epoch, process.state.shards);
        if process.standby.attempt != attempt || process.standby.conn.is_none() {
            return;
        }
        process.standby.catching_up = process.state.catching_up;
        let session = process.standby.session;
        for stream in 0..usize::from(self.plan.shards) {
            let conn = self.dial(End::Node { node, incarnation }, peer_node);
            let join = Join { purpose: Purpose::Stream { stream, session }, node, node_id, epoch, shards, in_sync: false };
            self.send(conn, 0, Payload::Link(Link::Join(join)));
            let of = &mut self.process(node).standby.streams[stream];
            of.conn = Some(conn);
            let next = of.follower.begin(epoch);
            self.follow_step(node, stream, next);
        }
    }

    fn follow_step(&mut self, node: usize, stream: usize, next: Next) {
        let Some(conn) = self.process(node).standby.streams[stream].conn else { return };
        match next {
            Next::Probe { lsn, chain } => self.send_link(node, conn, Link::Probe { lsn, chain }),
            Next::Follow { lsn, chain } => self.send_link(node, conn, Link::Follow { lsn, chain }),
            Next::Cut { to } => self.begin_cut(node, stream, to),
        }
    }

    /// Takes what came for a stream, up to a block that must be written first.
    fn read_stream(&mut self, node: usize, stream: usize) {
        loop {
            let of = &mut self.process(node).standby.streams[stream];
            if of.writing.is_some() {
                return;
            }
            let Some(link) = of.inbox.pop_front() else { return };
            let conn = of.conn;
            match link {
                Link::Match { matches, tail } => match of.follower.matched(matches, tail) {
                    Ok(next) => self.follow_step(node, stream, next),
                    Err(fault) => return self.follow_fault(node, &fault),
                },
                Link::Block { epoch, committed, bytes } => match of.follower.take(epoch, committed, &bytes) {
                    Ok(Taken::Write(placed)) => {
                        let writing = self.gather(node, stream, bytes);
                        let placed = Placed { len: writing.bytes.len(), ..placed };
                        if !self.write_followed(node, stream, placed, writing) {
                            return;
                        }
                    }
                    Ok(Taken::Known { lsn, receipt }) => {
                        if let Some(conn) = conn {
                            self.send_link(node, conn, Link::Ack { lsn, receipt });
                        }
                    }
                    Ok(Taken::Old) => {}
                    Err(fault) => return self.follow_fault(node, &fault),
                },
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
        while let Some(Link::Block { epoch, committed, bytes }) = of.inbox.front().filter(|_| together) {
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

    fn follow_fault(&mut self, node: usize, fault: &catraca_engine::replica::FollowFault) {
        self.stop_following(node, &fault.to_string());
    }

    fn write_followed(&mut self, node: usize, stream: usize, placed: Placed, writing: Writing) -> bool {
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
        disk.streams[stream].begin(id, placed.segment, placed.offset, Rc::clone(&writing.bytes), reused);
        self.process(node).standby.streams[stream].writing = Some(writing);
        self.io_step(node);
        self.make_segments(node, stream);
        self.end_later(node, stream, id);
        true
    }

    /// What came is durable: its records are applied, and it is acknowledged.
    pub(super) fn follower_written(&mut self, node: usize, stream: usize) {
        let empty_dedupe = self.broken(Broken::EmptyDedupe);
        let process = self.process(node);
        let of = &mut process.standby.streams[stream];
        let Some(Writing { bytes, attempt, .. }) = of.writing.take() else { return };
        for block in of.follower.blocks_of(&bytes) {
            process.cores[stream].blocks.push(BlockRef::of(&block));
            if let Some(builder) = process.builder.as_ref().filter(|_| !empty_dedupe) {
                builder.take(&block);
            }
        }
        let (lsn, receipt) = of.follower.written();
        let conn = of.conn.filter(|_| attempt == process.standby.attempt);
        self.note(format_args!("node {node}/{stream} holds up to {lsn}"));
        if let Some(conn) = conn {
            self.send_link(node, conn, Link::Ack { lsn, receipt });
        }
        self.take_word(node);
        if self.process(node).standby.promoting.is_some() {
            self.promote_when_idle(node);
        } else {
            self.read_stream(node, stream);
        }
    }

    /// What is not the primary's goes into quarantine, and is then zeroed block by block from the back, each durable before the next:
    /// so whatever is left by a crash is a log that ends with at most one incomplete block.
    fn begin_cut(&mut self, node: usize, stream: usize, to: Tail) {
        self.note(format_args!("node {node}/{stream} cuts its log behind {}", to.next_lsn - 1));
        let blocks = &self.process(node).cores[stream].blocks;
        let gone = blocks.iter().filter(|block| block.first_lsn >= to.next_lsn);
        let places: Vec<_> = gone.map(|block| (block.segment, block.offset, block.len as u64)).collect();
        let disk = &mut self.nodes[node].disk;
        let mut steps = Clearing::default();
        for &(segment, from, len) in &places {
            let bytes = disk.streams[stream].segments[segment as usize][from as usize..(from + len) as usize].to_vec();
            disk.quarantine.push((stream as u16, bytes));
            steps.block(segment, from, len);
        }
        self.checks.count("cuts");
        self.bind_grant(node, stream, to.next_lsn - 1);
        self.process(node).standby.cut = Some(Cut { stream, steps });
        self.stop_following(node, "its log must be cut");
        self.wake_in(node, MS, Wake::CutStep);
    }

    /// The grant, if it is held, goes with the log that the cut leaves.
    fn bind_grant(&mut self, node: usize, stream: usize, last_lsn: u64) {
        let mut ends = self.tails(node);
        ends[stream] = last_lsn;
        if self.process(node).state.in_sync {
            let state = self.process(node).state.granted_to(ends);
            self.nodes[node].disk.state = state.clone();
            self.process(node).state = state;
        }
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
                    self.after(time / 2, Event::Mend(Mend::Kill(node)));
                    self.after(time + pause, Event::Mend(Mend::Start(node)));
                }
                self.io_step(node);
            }
            None => {
                // A write that was lost, and that only what is cut off by now lay behind, is lost at the end: nothing tells of it any more.
                disk.hole &= !ends_clean(stream as u16, disk);
                self.restart(node);
            }
        }
    }

    /// The operator's command, to a standby; `true` when it is carried out.
    pub(super) fn take_office(&mut self, node: usize, force: bool) -> bool {
        let process = self.process(node);
        if process.standby.promoting.is_some() || process.standby.cut.is_some() {
            return false;
        }
        if let Err(why) = process.state.promoted(force) {
            self.note(format_args!("node {node} is not promoted: {why}"));
            self.checks.count("refused promotions");
            return false;
        }
        self.note(format_args!("node {node} is to be promoted{}", if force { " by force" } else { "" }));
        self.process(node).standby.promoting = Some(force);
        self.stop_following(node, "it is to be promoted");
        self.promote_when_idle(node);
        true
    }

    /// The write under way is finished before the log is taken over.
    fn promote_when_idle(&mut self, node: usize) {
        let standby = &self.process(node).standby;
        let Some(force) = standby.promoting else { return };
        if standby.streams.iter().all(|stream| stream.writing.is_none()) {
            self.change(node, Change::Promote { force });
        }
    }

    /// The promotion was refused after all.
    pub(super) fn go_on_following(&mut self, node: usize) {
        self.process(node).standby.promoting = None;
        self.wake_in(node, DIAL_PAUSE_NS, Wake::Dial);
    }
}
