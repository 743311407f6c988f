//! What moves a primary's streams: boundaries, blocks and acknowledgements between the node's disk,
//! its live feeds and the network. Which block goes next, and what a standby is told, is said by
//! `catraca_core::replica`.

use super::Broken;
use super::event::Wake;
use super::frames::{NodeFrame, Purpose};
use super::node::durable_tail;
use super::world::Sim;
use catraca_core::replica::node::{Accepted, CallPurpose, Caller, ConnId, Event};
use catraca_core::replica::{FeedStep, FeedView, Feeder, Opening, Question, ReplicaSlot, Reply};
use catraca_core::shard::messages::ToShard;
use catraca_wire::block::sound_head;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Most blocks that wait in a live feed: few, so that some are left out.
const LIVE_BLOCKS: usize = 2;

/// One stream of a session.
#[derive(Default)]
pub(super) struct Feed {
    pub conn: Option<usize>,
    opening: Opening,
    pub feeder: Option<Feeder>,
    /// Its sender is to look at what to send, and is not scheduled.
    starves: bool,
}

/// Blocks on their way from a core to its stream's sender, as in `live_feed.rs` of the program:
/// bounded, and what does not fit is left out.
#[derive(Default)]
pub(super) struct LiveFeed {
    attached: bool,
    /// Each with its first record.
    queue: VecDeque<(u64, Rc<[u8]>)>,
}

impl LiveFeed {
    /// A block goes to the disk; `false` where it is left out.
    pub fn push(&mut self, first_lsn: u64, bytes: &Rc<[u8]>) -> bool {
        let fits = self.queue.len() < LIVE_BLOCKS;
        if self.attached && fits {
            self.queue.push_back((first_lsn, Rc::clone(bytes)));
        }
        fits || !self.attached
    }

    fn detach(&mut self) {
        self.attached = false;
        self.queue.clear();
    }
}

/// The streams of a session.
pub(super) struct Feeds {
    pub session: u64,
    /// Where the acknowledgements count.
    slot: ReplicaSlot,
    /// The connection from node to node.
    pub conn: usize,
    /// The streams behind the first are fed, too.
    feeds_all: bool,
    streams: Vec<Feed>,
}

#[derive(Default)]
pub(super) struct PrimaryStreams {
    pub feeds: Option<Feeds>,
    /// The connection of the inquiry under way.
    pub inquiry: Option<usize>,
    /// What was said to it before the WELCOME.
    pub inquiry_accepted: Option<Accepted>,
    /// Calls that the node has not answered.
    pub calls: BTreeMap<usize, (Caller, CallPurpose)>,
}

impl PrimaryStreams {
    /// The session that a connection belongs to.
    pub fn session_with(&self, conn: usize) -> Option<u64> {
        let feeds = self.feeds.as_ref()?;
        (feeds.conn == conn || feeds.streams.iter().any(|feed| feed.conn == Some(conn)))
            .then_some(feeds.session)
    }
}

impl Sim {
    /// A frame on a connection that the other node dialed.
    pub(super) fn primary_receives(&mut self, node: usize, conn: usize, frame: NodeFrame) {
        match frame {
            NodeFrame::Join(join) => {
                let purpose = match join.purpose {
                    Purpose::Node => CallPurpose::Session { session: self.new_id() },
                    Purpose::Stream { stream, session } => {
                        CallPurpose::Stream { stream: stream as u16, session }
                    }
                    Purpose::Inquiry => CallPurpose::Inquiry,
                };
                let has_handshake = !matches!(purpose, CallPurpose::Stream { .. });
                self.process(node).primary.calls.insert(conn, (join.caller, purpose));
                if has_handshake {
                    self.accept(node, conn, purpose);
                } else {
                    self.called(node, conn);
                }
            }
            NodeFrame::Proof => self.called(node, conn),
            NodeFrame::Node(message) => {
                self.node_event(node, Event::Received { conn: ConnId(conn as u64), message })
            }
            frame => {
                let feeds = self.process(node).primary.feeds.as_ref();
                let stream = feeds.and_then(|feeds| {
                    feeds.streams.iter().position(|feed| feed.conn == Some(conn))
                });
                if let Some(stream) = stream {
                    self.stream_receives(node, stream, frame);
                }
            }
        }
    }

    /// The caller is known.
    fn called(&mut self, node: usize, conn: usize) {
        let Some((caller, purpose)) = self.process(node).primary.calls.get(&conn).cloned() else {
            return;
        };
        self.node_event(node, Event::Called { conn: ConnId(conn as u64), caller, purpose });
    }

    pub(super) fn begin_feeds(
        &mut self,
        node: usize,
        session: u64,
        slot: ReplicaSlot,
        conn: usize,
    ) {
        let streams = (0..self.plan.shards).map(|_| Feed::default()).collect();
        self.note(format_args!("node {node} begins session {session}"));
        let feeds = Feeds { session, slot, conn, feeds_all: false, streams };
        self.process(node).primary.feeds = Some(feeds);
    }

    pub(super) fn feed_all_streams(&mut self, node: usize) {
        if let Some(feeds) = self.process(node).primary.feeds.as_mut() {
            feeds.feeds_all = true;
        }
        (1..self.plan.shards as usize).for_each(|stream| self.feed(node, stream));
    }

    pub(super) fn end_feeds(&mut self, node: usize, conn: usize) {
        self.drop_conn(node, conn);
        let Some(feeds) = self.process(node).primary.feeds.take_if(|feeds| feeds.conn == conn)
        else {
            return;
        };
        for conn in feeds.streams.iter().filter_map(|feed| feed.conn) {
            self.drop_conn(node, conn);
        }
        self.process(node).cores.iter_mut().for_each(|core| core.live.detach());
    }

    pub(super) fn open_feed(&mut self, node: usize, stream: usize, conn: usize) {
        if let Some(feeds) = self.process(node).primary.feeds.as_mut() {
            feeds.streams[stream].conn = Some(conn);
        }
    }

    fn fail_session(&mut self, node: usize, why: &str) {
        if let Some(session) = self.process(node).primary.feeds.as_ref().map(|feeds| feeds.session)
        {
            self.node_event(node, Event::SessionEnded { session, why: why.to_owned() });
        }
    }

    fn stream_receives(&mut self, node: usize, stream: usize, frame: NodeFrame) {
        match frame {
            NodeFrame::Probe { lsn, chain } => {
                self.asks(node, stream, Question::Probe { lsn, chain });
            }
            NodeFrame::Follow { lsn, chain } => {
                self.asks(node, stream, Question::Follow { lsn, chain });
            }
            NodeFrame::Ack { lsn, receipt } => {
                let Some(feeds) = self.process(node).primary.feeds.as_mut() else { return };
                let (session, slot) = (feeds.session, feeds.slot);
                let Some(feeder) = feeds.streams[stream].feeder.as_mut() else { return };
                match feeder.acknowledge(lsn, receipt) {
                    Ok(lsn) => {
                        self.mail(node, stream, ToShard::StandbyDurable { slot, session, lsn });
                        self.session_progress(node, stream);
                        self.feed(node, stream);
                    }
                    Err(fault) => self.fail_session(node, &fault.to_string()),
                }
            }
            _ => {}
        }
    }

    fn asks(&mut self, node: usize, stream: usize, question: Question) {
        let early = self.broken(Broken::EarlyMatch);
        let process = self.process(node);
        let handed = process.cores[stream].blocks.last().map_or(0, |block| block.last_lsn);
        let Some(feeds) = process.primary.feeds.as_mut() else { return };
        match feeds.streams[stream].opening.asks(question, if early { 0 } else { handed }) {
            Ok(()) => self.tell_boundary(node, stream),
            Err(fault) => self.fail_session(node, &fault.to_string()),
        }
    }

    /// Tells the standby what it asked, once that is due.
    pub(super) fn tell_boundary(&mut self, node: usize, stream: usize) {
        let process = self.process(node);
        let blocks = &process.cores[stream].blocks;
        let tail = durable_tail(blocks);
        let Some(feeds) = process.primary.feeds.as_mut() else { return };
        let feed = &mut feeds.streams[stream];
        let Some(lsn) = feed.opening.due(tail) else { return };
        let ends = |block: &&super::node::BlockRef| block.last_lsn == lsn;
        let found = match lsn {
            0 => Some([0; 32]),
            _ => blocks.iter().rev().find(ends).map(|block| block.chain),
        };
        match (feed.opening.tell(tail, 0, found), feed.conn) {
            (Ok(Reply::Match { matches, tail }), Some(conn)) => {
                self.send_frame(node, conn, NodeFrame::Match { matches, tail })
            }
            (Ok(Reply::Match { .. }), None) => {}
            (Ok(Reply::CutOff), _) => unreachable!("nothing is removed from these logs"),
            (Ok(Reply::Feed(feeder)), _) => self.begin_feed(node, stream, feeder),
            (Err(fault), _) => self.fail_session(node, &fault.to_string()),
        }
    }

    fn begin_feed(&mut self, node: usize, stream: usize, feeder: Feeder) {
        let early = self.broken(Broken::CountsBeginner);
        let lsn = feeder.acknowledged();
        let held = if early { self.tails(node)[stream] } else { lsn };
        let Some(feeds) = self.process(node).primary.feeds.as_mut() else { return };
        let (session, slot) = (feeds.session, feeds.slot);
        feeds.streams[stream].feeder = Some(feeder);
        self.note(format_args!("node {node}/{stream} feeds from {lsn} on"));
        self.mail(node, stream, ToShard::StandbyAt { slot, session, lsn: held });
        self.session_progress(node, stream);
        self.feed(node, stream);
    }

    /// Tells the node how far the standby holds a stream, for as long as it wants to know.
    pub(super) fn session_progress(&mut self, node: usize, stream: usize) {
        let process = self.process(node);
        let Some(feeds) = process.primary.feeds.as_ref().filter(|_| !process.node.is_in_sync())
        else {
            return;
        };
        let Some(feeder) = &feeds.streams[stream].feeder else { return };
        let (session, lsn) = (feeds.session, feeder.acknowledged());
        self.node_event(node, Event::Acknowledged { session, stream: stream as u16, lsn });
    }

    /// Sends the blocks that may go now: those handed to the disk, and before them those read from
    /// it.
    pub(super) fn feed(&mut self, node: usize, stream: usize) {
        let is_starved = self.starved_until(node, Wake::Feed { stream }).is_some();
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(feeds) = process.primary.feeds.as_mut() else { return };
        let was_starved = std::mem::replace(&mut feeds.streams[stream].starves, is_starved);
        if is_starved {
            if !was_starved {
                self.wake_in(node, 0, Wake::Feed { stream });
            }
            return;
        }
        loop {
            let host = &mut self.nodes[node];
            let Some(process) = host.process.as_mut() else { return };
            let epoch = process.node.state().epoch;
            let Some(feeds) = process.primary.feeds.as_mut() else { return };
            let held = stream > 0 && !feeds.feeds_all;
            let feed = &mut feeds.streams[stream];
            let (Some(feeder), Some(conn)) = (feed.feeder.as_mut(), feed.conn) else { return };
            let core = &mut process.cores[stream];
            let durable = durable_tail(&core.blocks);
            let step = feeder.step(FeedView {
                held,
                durable,
                handed: core.blocks.last().map_or(0, |block| block.last_lsn),
                attached: core.live.attached,
                live: core.live.queue.front().map(|(first_lsn, _)| *first_lsn),
            });
            let bytes: Rc<[u8]> = match step {
                // It is looked again when a block is handed over or durable.
                FeedStep::Rest | FeedStep::Soon => return,
                FeedStep::Attach => {
                    core.live.attached = true;
                    continue;
                }
                FeedStep::DropLive => {
                    core.live.queue.pop_front();
                    continue;
                }
                FeedStep::SendLive => match core.live.queue.pop_front() {
                    Some((_, bytes)) => bytes,
                    None => return,
                },
                FeedStep::SendFromDisk => {
                    let next =
                        core.blocks.partition_point(|block| block.first_lsn < feeder.next_lsn());
                    let Some(block) = core.blocks.get(next) else { return };
                    let from = block.offset as usize;
                    Rc::from(
                        &host.disk.streams[stream].segments[block.segment as usize]
                            [from..from + block.len],
                    )
                }
            };
            let committed = feeder.committed(durable, core.mover.shard.counters().committed_lsn);
            let sent = sound_head(&bytes).map(|head| feeder.sent(head));
            match sent {
                Some(Ok(())) => {
                    self.send_frame(node, conn, NodeFrame::Block { epoch, committed, bytes })
                }
                Some(Err(fault)) => return self.fail_session(node, &fault.to_string()),
                None => return self.fail_session(node, "a block of this log is unsound"),
            }
        }
    }
}
