//! One stream to the standby: finds where both logs part, then sends block after block, new ones
//! from the data core's feed and older ones from the disk.

use super::Replication;
use super::connection::{Connection, ConnectionFailure, Writer, head_of};
use crate::live_feed::LiveFeed;
use crate::log_files::cursor::{BlockCursor, find_boundary};
use crate::log_files::log_start;
use catraca_core::replica::{
    FeedFault, FeedStep, FeedView, Feeder, Opening, Question, ReplicaSlot, Reply,
};
use catraca_core::shard::messages::ToShard;
use catraca_wire::block::sound_head;
use catraca_wire::replication::{
    AckFrame, BlockPrefaceFields, FollowFrame, LinkHeadFields, LinkKind, MatchFrame, ProbeFrame,
    view,
};
use crossbeam::sync::Parker;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the sender sleeps with nothing to send; it is woken before.
const IDLE: Duration = Duration::from_millis(100);
/// How long it waits for a block that the feed left out to be durable.
const GAP: Duration = Duration::from_millis(1);

impl Replication {
    /// The streams behind the first are fed, too.
    pub(super) fn feed_all_streams(&self, session: u64) {
        self.feeds_all.store(session, Ordering::Relaxed);
        self.channels.feeds.iter().for_each(LiveFeed::wake);
    }

    /// A stream waits until the standby holds the first one.
    fn holds(&self, session: u64, stream: u16) -> bool {
        stream > 0 && self.feeds_all.load(Ordering::Relaxed) != session
    }
}

/// Serves a stream's connection until the session ends.
pub(super) fn serve(
    replication: &Arc<Replication>,
    mut connection: Connection,
    stream: u16,
    id: u64,
) -> Result<(), ConnectionFailure> {
    if !replication.adopt(id, connection.socket()) {
        return Err(ConnectionFailure::Closed);
    }
    // A session that ends while this is read may be followed by one of another slot.
    let slot = *replication.slot.lock();
    if !replication.is_current(id) {
        return Err(ConnectionFailure::Closed);
    }
    let writer = connection.writer();
    let Some((feeder, cursor)) = find_start(replication, &mut connection, stream, id)? else {
        return Ok(());
    };
    let start = feeder.acknowledged();
    let is_live = stream < replication.setup.shards;
    if is_live {
        replication.tell(usize::from(stream), ToShard::StandbyAt { slot, session: id, lsn: start });
    }
    let feeder = Arc::new(Mutex::new(feeder));
    replication.watch_feeder(id, stream, &feeder);
    replication.progress(id, stream, start);
    let feed = is_live.then(|| &replication.channels.feeds[usize::from(stream)]);
    let (acks, shared) = (Arc::clone(replication), Arc::clone(&feeder));
    replication
        .spawn("acks", move || {
            crate::threads::prefer(stream);
            if let Err(failure) = take_acks(&acks, &mut connection, &shared, stream, id, slot) {
                acks.session_failed(id, format!("stream {stream}: {failure}"));
            }
            if is_live {
                acks.channels.feeds[usize::from(stream)].wake();
            }
        })
        .map_err(|failure| ConnectionFailure::Fault(failure.message))?;
    crate::threads::prefer(stream);
    // One sender a stream: the session before this one has let go, or will as soon as its socket is
    // seen to be closed. It lets go of the feed before the next one takes the parker.
    let parker = feed.map(LiveFeed::parker);
    let mut sender = Sender { replication, stream, id, feeder: &feeder, cursor, writer, feed };
    let outcome = sender.run(parker.as_deref());
    if let Some(feed) = feed {
        feed.attach(false);
    }
    drop(parker);
    outcome
}

/// Tells the standby of boundaries until it asks for what follows one; `None` when the session is
/// over.
fn find_start(
    replication: &Replication,
    connection: &mut Connection,
    stream: u16,
    id: u64,
) -> Result<Option<(Feeder, BlockCursor)>, ConnectionFailure> {
    let epoch = replication.epoch();
    let mut opening = Opening::default();
    while replication.is_current(id) {
        let Some((kind, frame)) = connection.next()? else { continue };
        let question = question_of(frame).ok_or(ConnectionFailure::Unexpected(kind))?;
        opening.asks(question, handed_lsn(replication, stream)).map_err(fault)?;
        let (lsn, durable) = loop {
            if !replication.is_current(id) {
                return Ok(None);
            }
            let durable = replication.durable_lsn(stream);
            match opening.due(durable) {
                Some(lsn) => break (lsn, durable),
                None => std::thread::sleep(GAP),
            }
        };
        // What lies behind that is on its way to the disk still, or never was here.
        let found = (lsn <= durable)
            .then(|| find_boundary(&replication.setup.data_dir, stream, lsn))
            .transpose()
            .map_err(|error| ConnectionFailure::Fault(error.to_string()))?
            .flatten();
        let begins = log_start::tail(&replication.setup.data_dir, stream)
            .map_err(|error| ConnectionFailure::Fault(error.to_string()))?;
        let chain = found.as_ref().map(|found| found.chain);
        match opening.tell(durable, begins.next_lsn - 1, chain).map_err(fault)? {
            Reply::Match { matches, tail } => {
                let mut reply = MatchFrame::empty(stream, epoch);
                (reply.matches, reply.tail_lsn) = (u8::from(matches), tail.into());
                connection.send(&reply)?;
            }
            Reply::CutOff => {
                // The standby ends the session: it begins there, or it can't follow.
                super::log_start::serve(replication, connection, stream)?;
            }
            Reply::Feed(feeder) => {
                let found = found.expect("it was found, or nothing would follow it");
                return Ok(Some((feeder, found.cursor)));
            }
        }
    }
    Ok(None)
}

fn question_of(frame: &[u8]) -> Option<Question> {
    view::<ProbeFrame>(frame)
        .map(|probe| Question::Probe { lsn: probe.lsn.to_native(), chain: probe.chain })
        .or_else(|| {
            view::<FollowFrame>(frame)
                .map(|follow| Question::Follow { lsn: follow.lsn.to_native(), chain: follow.chain })
        })
}

/// The last record of a stream that was handed to the disk in this run.
fn handed_lsn(replication: &Replication, stream: u16) -> u64 {
    let feed = replication.channels.feeds.get(usize::from(stream));
    feed.filter(|_| stream < replication.setup.shards).map_or(0, LiveFeed::handed_lsn)
}

fn fault(fault: FeedFault) -> ConnectionFailure {
    ConnectionFailure::Fault(fault.to_string())
}

fn take_acks(
    replication: &Replication,
    connection: &mut Connection,
    feeder: &Mutex<Feeder>,
    stream: u16,
    id: u64,
    slot: ReplicaSlot,
) -> Result<(), ConnectionFailure> {
    let is_live = stream < replication.setup.shards;
    while replication.is_current(id) {
        let Some((kind, frame)) = connection.next()? else { continue };
        let ack = view::<AckFrame>(frame).ok_or(ConnectionFailure::Unexpected(kind))?;
        let acknowledged = feeder
            .lock()
            .acknowledge(ack.lsn.to_native(), ack.receipt.to_native())
            .map_err(fault)?;
        if is_live {
            replication.tell(
                usize::from(stream),
                ToShard::StandbyDurable { slot, session: id, lsn: acknowledged },
            );
            replication.channels.feeds[usize::from(stream)].wake();
        }
        replication.progress(id, stream, acknowledged);
    }
    Ok(())
}

struct Sender<'l> {
    replication: &'l Replication,
    stream: u16,
    id: u64,
    feeder: &'l Mutex<Feeder>,
    /// At the next block to send.
    cursor: BlockCursor,
    writer: Writer,
    feed: Option<&'l LiveFeed>,
}

impl Sender<'_> {
    fn run(&mut self, parker: Option<&Parker>) -> Result<(), ConnectionFailure> {
        let epoch = self.replication.epoch();
        let rest = |time| match parker {
            Some(parker) => parker.park_timeout(time),
            None => std::thread::sleep(GAP),
        };
        let mut head: Option<Vec<u8>> = None;
        while self.replication.is_current(self.id) {
            head = head.or_else(|| self.feed.and_then(LiveFeed::pop));
            let view = FeedView {
                held: self.replication.holds(self.id, self.stream),
                durable: self.replication.durable_lsn(self.stream),
                handed: self.feed.map_or(0, LiveFeed::handed_lsn),
                attached: self.feed.is_none_or(LiveFeed::is_attached),
                live: head
                    .as_deref()
                    .map(|block| sound_head(block).map_or(0, |head| head.first_lsn.to_native())),
            };
            let step = self.feeder.lock().step(view);
            match (step, self.feed) {
                (FeedStep::SendLive | FeedStep::DropLive, Some(feed)) => {
                    let Some(block) = head.take() else { continue };
                    if step == FeedStep::SendLive {
                        self.send(epoch, &block)?;
                        self.cursor.pass(block.len() as u64, self.replication.setup.segment_len);
                    }
                    feed.recycle(block);
                }
                (FeedStep::SendFromDisk, _) => self.send_from_disk(epoch)?,
                (FeedStep::Attach, Some(feed)) => feed.attach(true),
                (FeedStep::Soon, _) => rest(GAP),
                // Only a stream with a live feed has something to do about it.
                (
                    FeedStep::Rest | FeedStep::SendLive | FeedStep::DropLive | FeedStep::Attach,
                    _,
                ) => rest(IDLE),
            }
        }
        Ok(())
    }

    fn send_from_disk(&mut self, epoch: u32) -> Result<(), ConnectionFailure> {
        let preface = self.preface(epoch);
        let block = self
            .cursor
            .next_durable()
            .map_err(|error| ConnectionFailure::Fault(error.to_string()))?;
        let block = block.ok_or_else(|| {
            ConnectionFailure::Fault("a durable block can't be read back".to_owned())
        })?;
        deliver(&self.writer, self.feeder, preface, block)
    }

    fn send(&mut self, epoch: u32, block: &[u8]) -> Result<(), ConnectionFailure> {
        let preface = self.preface(epoch);
        deliver(&self.writer, self.feeder, preface, block)
    }

    fn preface(&self, epoch: u32) -> BlockPrefaceFields {
        let mut preface = BlockPrefaceFields::empty(self.stream, epoch);
        let durable = self.replication.durable_lsn(self.stream);
        preface.durable_lsn = durable.into();
        let counters = &self.replication.channels.counters;
        let committed = self.feed.map_or(0, |_| {
            let said = counters[usize::from(self.stream)].read().committed_lsn;
            self.feeder.lock().committed(durable, said)
        });
        preface.committed_lsn = committed.into();
        preface
    }
}

fn deliver(
    writer: &Writer,
    feeder: &Mutex<Feeder>,
    mut preface: BlockPrefaceFields,
    block: &[u8],
) -> Result<(), ConnectionFailure> {
    let head = sound_head(block)
        .ok_or_else(|| ConnectionFailure::Fault("a block of this log is unsound".to_owned()))?;
    feeder.lock().sent(head).map_err(fault)?;
    let length = size_of::<BlockPrefaceFields>() + block.len();
    let (stream, epoch) = {
        let head = head_of(bytemuck::bytes_of(&preface));
        (head.stream.to_native(), head.epoch.to_native())
    };
    preface.head = LinkHeadFields::new(LinkKind::Block, length, stream, epoch);
    // In one call, and so mostly in one packet.
    writer.send_parts(bytemuck::bytes_of(&preface), block)
}
