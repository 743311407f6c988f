//! One stream to the standby: finds where both logs part, then sends block after block, new ones
//! from the data core's feed and older ones from the disk.

use super::connection::{Connection, ConnectionFailure, head_of};
use super::{Replication, locked};
use crate::live_feed::LiveFeed;
use crate::log_files::cursor::{BlockCursor, find_boundary};
use catraca_core::replica::Feeder;
use catraca_core::shard::messages::ToShard;
use catraca_wire::block::{Chain, sound_head};
use catraca_wire::replication::{
    AckFrame, BlockPrefaceFields, FollowFrame, LinkHeadFields, LinkKind, MatchFrame, ProbeFrame,
    view,
};
use crossbeam::sync::Parker;
use std::io::{IoSlice, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the sender sleeps with nothing to send; it is woken before.
const IDLE: Duration = Duration::from_millis(100);
/// How long it waits for a block that the feed left out to be durable.
const GAP: Duration = Duration::from_millis(1);

/// Serves a stream's connection until the session ends.
pub(super) fn serve(
    replication: &Arc<Replication>,
    mut connection: Connection,
    stream: u16,
    id: u64,
) -> Result<(), ConnectionFailure> {
    if !replication.adopt(id, connection.handle()?) {
        return Err(ConnectionFailure::Closed);
    }
    let writer = connection.handle()?;
    let Some((feeder, cursor)) = find_start(replication, &mut connection, stream, id)? else {
        return Ok(());
    };
    let start = feeder.acknowledged();
    let is_live = stream < replication.setup.shards;
    if is_live {
        replication.tell(usize::from(stream), ToShard::StandbyAt { session: id, lsn: start });
    }
    let feeder = Arc::new(Mutex::new(feeder));
    replication.watch_feeder(id, stream, &feeder);
    replication.progress(id, stream, start);
    let feed = is_live.then(|| &replication.channels.feeds[usize::from(stream)]);
    let (acks, shared) = (Arc::clone(replication), Arc::clone(&feeder));
    replication
        .spawn("acks", move || {
            crate::threads::prefer(stream);
            if let Err(failure) = take_acks(&acks, &mut connection, &shared, stream, id) {
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

/// Answers probes until the standby asks for what follows; `None` when the session is over.
fn find_start(
    replication: &Replication,
    connection: &mut Connection,
    stream: u16,
    id: u64,
) -> Result<Option<(Feeder, BlockCursor)>, ConnectionFailure> {
    let epoch = replication.epoch();
    while replication.is_current(id) {
        let Some((kind, frame)) = connection.next()? else { continue };
        if !wait_for_handed(replication, stream, id) {
            break;
        }
        let durable = replication.durable_lsn(stream);
        let find = |lsn: u64, chain: &Chain| {
            if lsn > durable {
                return Ok(None);
            }
            let found = find_boundary(&replication.setup.data_dir, stream, lsn)
                .map_err(|e| ConnectionFailure::Fault(e.to_string()))?;
            Ok::<_, ConnectionFailure>(found.filter(|found| found.chain == *chain))
        };
        if let Some(probe) = view::<ProbeFrame>(frame) {
            let mut reply = MatchFrame::empty(stream, epoch);
            reply.matches = u8::from(find(probe.lsn.to_native(), &probe.chain)?.is_some());
            reply.tail_lsn = durable.into();
            connection.send(&reply)?;
        } else if let Some(follow) = view::<FollowFrame>(frame) {
            let lsn = follow.lsn.to_native();
            let found = find(lsn, &follow.chain)?;
            let found = found.ok_or_else(|| {
                ConnectionFailure::Fault(format!(
                    "the standby wants what follows record {lsn}, which is not here"
                ))
            })?;
            return Ok(Some((Feeder::new(lsn, found.chain), found.cursor)));
        } else {
            return Err(ConnectionFailure::Unexpected(kind));
        }
    }
    Ok(None)
}

/// Waits until everything handed to the disk so far is durable; `false` when the session is over.
/// The standby may hold such a block, and have acknowledged it in the session before this one: were
/// it told that the block is not here, it would cut it off, while here the old acknowledgement
/// still counted and answered from the block as soon as the disk was done.
fn wait_for_handed(replication: &Replication, stream: u16, id: u64) -> bool {
    let handed = if stream < replication.setup.shards {
        replication.channels.feeds[usize::from(stream)].handed_lsn()
    } else {
        0
    };
    while replication.durable_lsn(stream) < handed {
        if !replication.is_current(id) {
            return false;
        }
        std::thread::sleep(GAP);
    }
    true
}

fn take_acks(
    replication: &Replication,
    connection: &mut Connection,
    feeder: &Mutex<Feeder>,
    stream: u16,
    id: u64,
) -> Result<(), ConnectionFailure> {
    let is_live = stream < replication.setup.shards;
    while replication.is_current(id) {
        let Some((kind, frame)) = connection.next()? else { continue };
        let ack = view::<AckFrame>(frame).ok_or(ConnectionFailure::Unexpected(kind))?;
        let acknowledged = locked(feeder)
            .acknowledge(ack.lsn.to_native(), ack.receipt.to_native())
            .map_err(|fault| ConnectionFailure::Fault(fault.to_string()))?;
        if is_live {
            replication.tell(
                usize::from(stream),
                ToShard::StandbyDurable { session: id, lsn: acknowledged },
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
    writer: TcpStream,
    feed: Option<&'l LiveFeed>,
}

impl Sender<'_> {
    fn run(&mut self, parker: Option<&Parker>) -> Result<(), ConnectionFailure> {
        let epoch = self.replication.epoch();
        let rest = |time| match parker {
            Some(parker) => parker.park_timeout(time),
            None => std::thread::sleep(GAP),
        };
        let mut held: Option<Vec<u8>> = None;
        while self.replication.is_current(self.id) {
            let (has_room, next) = {
                let feeder = locked(self.feeder);
                (feeder.has_room(), feeder.next_lsn())
            };
            if !has_room {
                rest(IDLE);
                continue;
            }
            if let (Some(feed), Some(block)) =
                (self.feed, held.take().or_else(|| self.feed.and_then(LiveFeed::pop)))
            {
                let first = sound_head(&block).map_or(0, |head| head.first_lsn.to_native());
                if first > next {
                    // Blocks were left out before it: they come from the disk first.
                    held = Some(block);
                } else {
                    if first == next {
                        self.send(epoch, &block)?;
                        self.cursor.pass(block.len() as u64, self.replication.setup.segment_len);
                    }
                    feed.recycle(block);
                    continue;
                }
            }
            if self.replication.durable_lsn(self.stream) >= next {
                self.send_from_disk(epoch)?;
            } else if let Some(feed) = self.feed.filter(|feed| !feed.is_attached()) {
                feed.attach(true);
            } else {
                // One that was handed over before the feed was attached comes from the disk, as
                // soon as it is there.
                let missed = self.feed.is_some_and(|feed| feed.handed_lsn() >= next);
                rest(if held.is_some() || missed { GAP } else { IDLE });
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
        deliver(&mut self.writer, self.feeder, preface, block)
    }

    fn send(&mut self, epoch: u32, block: &[u8]) -> Result<(), ConnectionFailure> {
        let preface = self.preface(epoch);
        deliver(&mut self.writer, self.feeder, preface, block)
    }

    fn preface(&self, epoch: u32) -> BlockPrefaceFields {
        let mut preface = BlockPrefaceFields::empty(self.stream, epoch);
        let durable = self.replication.durable_lsn(self.stream);
        preface.durable_lsn = durable.into();
        // What both disks have is committed, whatever answers wait for; the shard's counter, which
        // is published at its ticks, knows of more where they wait for nobody.
        let both = durable.min(locked(self.feeder).acknowledged());
        let counters = &self.replication.channels.counters;
        let committed = self
            .feed
            .map_or(0, |_| counters[usize::from(self.stream)].read().committed_lsn.max(both));
        preface.committed_lsn = committed.into();
        preface
    }
}

fn deliver(
    writer: &mut TcpStream,
    feeder: &Mutex<Feeder>,
    mut preface: BlockPrefaceFields,
    block: &[u8],
) -> Result<(), ConnectionFailure> {
    let head = sound_head(block)
        .ok_or_else(|| ConnectionFailure::Fault("a block of this log is unsound".to_owned()))?;
    locked(feeder).sent(head).map_err(|fault| ConnectionFailure::Fault(fault.to_string()))?;
    let length = size_of::<BlockPrefaceFields>() + block.len();
    let (stream, epoch) = {
        let head = head_of(bytemuck::bytes_of(&preface));
        (head.stream.to_native(), head.epoch.to_native())
    };
    preface.head = LinkHeadFields::new(LinkKind::Block, length, stream, epoch);
    // In one call, and so mostly in one packet.
    let mut slices = [IoSlice::new(bytemuck::bytes_of(&preface)), IoSlice::new(block)];
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match writer.write_vectored(rest)? {
            0 => return Err(ConnectionFailure::Closed),
            written => IoSlice::advance_slices(&mut rest, written),
        }
    }
    Ok(())
}
