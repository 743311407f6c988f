//! One stream from the primary: `socket → epoch fence → disk → acknowledgement`, in one thread, so
//! that nothing is handed over on the way; then the records go into the tables that a promotion
//! needs. While the standby catches up, what has come meanwhile is written at once.

use super::connection::{Connection, ConnectionFailure};
use super::log_start::removed;
use super::mover::Input;
use super::standby::{Following, StandbySession};
use super::{Replication, cut};
use crate::block_file::{BlockFile, DirectBlock};
use crate::descriptors::{Exhaustible, wait_for};
use crate::fatal::{self, Failure, Status};
use crate::log_files::segment::{self, NewSegment, segment_path};
use crate::pages::is_aligned;
use crate::wall_clock::wall_ns;
use crate::whole_file;
use catraca_core::replica::{FollowFault, Follower, Next, Taken};
use catraca_core::shard::journal::BlockMemory;
use catraca_core::shard::messages::ToControl;
use catraca_wire::replication::{
    AckFrame, BlockPrefaceFields, FollowFrame, LinkKind, MatchFrame, ProbeFrame, Purpose, view,
};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How often it is looked whether the next segment is ready.
const SEGMENT_POLL: Duration = Duration::from_millis(1);

/// A stream of a standby.
pub(super) struct Stream {
    pub follower: Follower,
    file: BlockFile,
    memory: DirectBlock,
}

impl Stream {
    pub fn new(follower: Follower, file: BlockFile) -> Self {
        Self { follower, file, memory: DirectBlock::new() }
    }
}

/// Follows a stream until the session ends.
pub(super) fn run(
    replication: &Replication,
    following: &Following,
    standby_session: &StandbySession,
    number: u16,
) -> Result<(), ConnectionFailure> {
    let join = replication.join_frame(Purpose::Stream, number, standby_session.session());
    let mut connection = standby_session.call(&join, &replication.setup.link_keys())?;
    crate::threads::prefer(number);
    let stream = following.stream(number);
    let mut stream = stream.lock();
    find_boundary(
        replication,
        following,
        standby_session,
        number,
        &mut connection,
        &mut stream.follower,
    )?;
    let writer = connection.writer();
    loop {
        standby_session.check()?;
        // With the grant blocks are written one by one, from where they lie.
        let came =
            if *following.catching_up() { connection.next()? } else { connection.next_alone()? };
        let Some((kind, frame)) = came else { continue };
        if kind == LinkKind::FilePart {
            let first = (kind, frame.to_vec());
            let follower = &mut stream.follower;
            // It was asked for what follows, and nothing does before this.
            return removed(replication, standby_session, number, &mut connection, first, follower)
                .and(Err(ConnectionFailure::Unexpected(LinkKind::FilePart)));
        }
        if kind != LinkKind::Block {
            return Err(ConnectionFailure::Unexpected(kind));
        }
        let (preface, block) = preface_of(frame);
        let epoch = preface.head.epoch.to_native();
        let durable = preface.durable_lsn.to_native();
        let mut ack = AckFrame::empty(number, standby_session.epoch());
        match stream
            .follower
            .take(epoch, preface.committed_lsn.to_native(), block)
            .map_err(fault)?
        {
            Taken::Write(place) => {
                let stream = &mut *stream;
                if let Err(over) =
                    prepare(replication, standby_session, number, stream, place.segment)
                {
                    stream.follower.not_written();
                    return Err(over);
                }
                let mut group = Group { len: place.len, durable };
                // Held until the write is done: the grant may not come before the last write of
                // several blocks has ended.
                let catching_up = following.catching_up();
                let bytes = if *catching_up || !is_aligned(block) {
                    stream.memory.bytes_mut()[..block.len()].copy_from_slice(block);
                    if *catching_up {
                        gather(&mut connection, stream, &mut group);
                    }
                    &stream.memory.bytes()[..group.len]
                } else {
                    block
                };
                stream.file.write(place.segment, place.offset, bytes);
                drop(catching_up);
                let sound = stream.follower.blocks_of(bytes);
                let (lsn, receipt) = stream.follower.written();
                (ack.lsn, ack.receipt) = (lsn.into(), receipt.into());
                // A grant that follows the acknowledgement is of a log that reaches to here.
                following.note(number, lsn, group.durable);
                // The primary waits for this; the tables need it whether the primary is still there
                // or not, for the log has it now.
                let sent = writer.send(&ack);
                sound.for_each(|block| following.builder.take(&block));
                sent?;
            }
            Taken::Known { lsn, receipt } => {
                (ack.lsn, ack.receipt) = (lsn.into(), receipt.into());
                writer.send(&ack)?;
            }
            Taken::Old => {}
        }
    }
}

/// Finds the last boundary that both logs have, and asks for what comes behind it.
fn find_boundary(
    replication: &Replication,
    following: &Following,
    standby_session: &StandbySession,
    number: u16,
    connection: &mut Connection,
    follower: &mut Follower,
) -> Result<(), ConnectionFailure> {
    let mut next = follower.begin(standby_session.epoch());
    loop {
        match next {
            Next::Probe { lsn, chain } => {
                let mut probe = ProbeFrame::empty(number, standby_session.epoch());
                (probe.lsn, probe.chain) = (lsn.into(), chain);
                connection.send(&probe)?;
                next = loop {
                    standby_session.check()?;
                    let Some((kind, frame)) = connection.next()? else { continue };
                    if kind == LinkKind::FilePart {
                        let first = (kind, frame.to_vec());
                        break removed(
                            replication,
                            standby_session,
                            number,
                            connection,
                            first,
                            follower,
                        )?;
                    }
                    let reply =
                        view::<MatchFrame>(frame).ok_or(ConnectionFailure::Unexpected(kind))?;
                    following.told(number, reply.tail_lsn.to_native());
                    break follower
                        .matched(reply.matches == 1, reply.tail_lsn.to_native())
                        .map_err(fault)?;
                };
            }
            Next::Cut { to } => return cut(replication, number, &to, follower),
            Next::Follow { lsn, chain } => {
                let mut follow = FollowFrame::empty(number, standby_session.epoch());
                (follow.lsn, follow.chain) = (lsn.into(), chain);
                connection.send(&follow)?;
                return Ok(());
            }
        }
    }
}

fn fault(fault: FollowFault) -> ConnectionFailure {
    if let FollowFault::LostCommitted { .. } = fault {
        tracing::error!(%fault, "this standby does not follow");
    }
    ConnectionFailure::Fault(fault.to_string())
}

/// Cuts off what the primary does not have, once the node permits it, and starts it anew without
/// that.
fn cut(
    replication: &Replication,
    number: u16,
    to: &catraca_core::log::Tail,
    follower: &Follower,
) -> Result<(), ConnectionFailure> {
    let end = follower.tail();
    let (go, permission) = sync_channel(1);
    replication.input(Input::Cutting { stream: number, last_lsn: to.next_lsn - 1, go });
    // Without it the node starts anew for another reason.
    permission.recv().map_err(|_| ConnectionFailure::Closed)?;
    let _turn = replication.turn.for_cut();
    match cut::cut(&replication.setup.data_dir, number, to, &end) {
        Ok(quarantine) => {
            tracing::warn!(
                stream = number,
                records = end.next_lsn - to.next_lsn,
                quarantine = %quarantine.display(),
                "this node held records that its primary lacks: they are in quarantine. Both nodes never acknowledged them; if this one answered \
                 alone (solo), clients may have been answered"
            );
            replication.start_anew()
        }
        Err(error) => fatal::end(&Failure::new(
            Status::DiskFailed,
            format!("what the primary lacks could not be put into quarantine: {error}"),
        )),
    }
}

/// What is written at once.
struct Group {
    /// Bytes of it.
    len: usize,
    /// The last record that the primary is known to have.
    durable: u64,
}

/// Puts what has come behind the block to be written into the same write, as far as it goes there.
/// What does not is left to be taken by itself.
fn gather(connection: &mut Connection, stream: &mut Stream, group: &mut Group) {
    while let Ok(Some((LinkKind::Block, frame))) = connection.ready() {
        let (preface, block) = preface_of(frame);
        let joined = stream.follower.join(
            preface.head.epoch.to_native(),
            preface.committed_lsn.to_native(),
            block,
        );
        let Some(len) = joined else { break };
        stream.memory.bytes_mut()[group.len..len].copy_from_slice(block);
        *group = Group { len, durable: preface.durable_lsn.to_native() };
        let Ok(Some(_)) = connection.next() else {
            unreachable!("the frame that was looked at can be taken")
        };
    }
}

fn preface_of(frame: &[u8]) -> (&BlockPrefaceFields, &[u8]) {
    let (preface, block) = frame.split_at(size_of::<BlockPrefaceFields>());
    (bytemuck::from_bytes(preface), block)
}

/// Has a segment open for writing. An error means that the session was over before it was there.
fn prepare(
    replication: &Replication,
    standby_session: &StandbySession,
    number: u16,
    stream: &mut Stream,
    segment: u32,
) -> Result<(), ConnectionFailure> {
    if !stream.file.is_open(segment) {
        wait_for_segment(replication, standby_session, number, segment)?;
        stream.file.open(segment, || standby_session.check().is_ok())?;
    }
    Ok(())
}

/// Waits until a segment is there, and has the one after it prepared. A stream of an earlier layout
/// has nobody who prepares ahead.
fn wait_for_segment(
    replication: &Replication,
    standby_session: &StandbySession,
    number: u16,
    index: u32,
) -> Result<(), ConnectionFailure> {
    let path = segment_path(&replication.setup.data_dir, number, index);
    if number < replication.setup.shards {
        let news = ToControl::SegmentTaken { shard: number, segment: index };
        replication.channels.to_control.put(news);
        // On a full disk it does not come: a promotion must not wait for it.
        while !path.exists() {
            standby_session.check()?;
            std::thread::sleep(SEGMENT_POLL);
        }
        // It is seen before its name is durable, and what is written to it is acknowledged.
        let folder = path.parent().expect("a segment lies in its stream's folder");
        let synced = wait_for(
            "the log",
            || standby_session.check().is_ok(),
            || whole_file::sync_dir(folder),
        );
        if let Err(error) = synced {
            if error.is_exhaustion() {
                return Err(error.into());
            }
            fatal::end(&Failure::new(
                Status::DiskFailed,
                format!("{} can't be synced: {error}", folder.display()),
            ));
        }
        return Ok(());
    }
    if !path.exists() {
        let new = NewSegment {
            cluster_id: replication.setup.cluster_id,
            shard: number,
            index,
            segment_len: replication.setup.segment_len,
            created_at_ns: wall_ns(),
        };
        let made = wait_for(
            "the log",
            || standby_session.check().is_ok(),
            || segment::create(&replication.setup.data_dir, &new),
        );
        if let Err(error) = made {
            if error.is_exhaustion() {
                return Err(ConnectionFailure::Fault(error.to_string()));
            }
            fatal::end(&Failure::new(Status::DiskFailed, error.to_string()));
        }
    }
    Ok(())
}
