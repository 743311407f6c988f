//! Where a stream begins, from a primary whose oldest segments were removed to a standby that has none
//! of it: the file `log.start`, in place of what the standby asked for.

use super::Replication;
use super::connection::{Connection, ConnectionFailure};
use super::parts::{self, Parts};
use super::standby::StandbySession;
use crate::fatal::{self, Failure, Status};
use crate::log_files::segment::{make_stream_dir, stream_dir};
use crate::log_files::{log_start, removal};
use crate::whole_file::{GROUP, write_durably};
use catraca_core::log::start::{LogStart, MAX_LOG_START_LEN, Purpose};
use catraca_core::replica::{Follower, Next};
use catraca_wire::replication::LinkKind;
use std::fs;

/// Sends where a stream begins.
pub(super) fn serve(
    replication: &Replication,
    connection: &mut Connection,
    stream: u16,
) -> Result<(), ConnectionFailure> {
    let bytes = fs::read(log_start::path(&replication.setup.data_dir, stream))?;
    parts::send(&connection.writer(), &mut &bytes[..], bytes.len() as u64)
}

/// Takes it, in place of what was asked: `first` is its first piece. Gives what to ask next; a stream
/// without a block begins there from now on, and the node starts anew.
pub(super) fn removed(
    replication: &Replication,
    standby_session: &StandbySession,
    stream: u16,
    connection: &mut Connection,
    first: (LinkKind, Vec<u8>),
    follower: &mut Follower,
) -> Result<Next, ConnectionFailure> {
    let mut parts = Parts::new(MAX_LOG_START_LEN as u64);
    let mut bytes = parts.take(first.0, &first.1)?.to_vec();
    while !parts.is_whole() {
        standby_session.check()?;
        let Some((kind, frame)) = connection.next()? else { continue };
        bytes.extend_from_slice(parts.take(kind, frame)?);
    }
    let setup = &replication.setup;
    let start =
        LogStart::parse(Purpose::Start, &bytes, Some(setup.cluster_id), stream, Some(&setup.key));
    let start = start.map_err(|fault| {
        ConnectionFailure::Fault(format!("where the primary's stream {stream} begins: {fault}"))
    })?;
    let next = follower.removed(start.last_lsn(), &start.tail.previous_chain).map_err(|fault| {
        tracing::error!(stream, %fault, "this standby does not follow");
        ConnectionFailure::Fault(fault.to_string())
    })?;
    if let Some(next) = next {
        return Ok(next);
    }
    let path = log_start::path(&setup.data_dir, stream);
    let _turn = replication.turn.for_cut();
    // A stream that no shard writes has no folder before its first block.
    let folder = stream_dir(&setup.data_dir, stream);
    let taken = make_stream_dir(&setup.data_dir, &folder)
        .map_err(|error| error.to_string())
        .and_then(|()| write_durably(&path, GROUP, &bytes).map_err(|error| error.to_string()))
        .and_then(|()| removal::finish(&setup.data_dir, stream).map_err(|e| e.to_string()));
    if let Err(error) = taken {
        let message = format!("where the log begins could not be written: {error}");
        fatal::end(&Failure::new(Status::DiskFailed, message));
    }
    tracing::warn!(
        stream,
        begins_behind_lsn = start.last_lsn(),
        "the primary's oldest log is removed: this node's log begins where the primary's does"
    );
    replication.start_anew()
}
