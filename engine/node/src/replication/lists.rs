//! List files from the primary to its standby: the log says by id which list was loaded, the file
//! comes over a connection of its own.

use super::connection::{Connection, ConnectionFailure};
use super::standby::{Following, StandbySession};
use super::{Replication, SILENCE};
use crate::list_files;
use crate::list_files::{LISTS_DIR, kept_path};
use crate::whole_file::{GROUP, WholeFile};
use catraca_wire::replication::{
    LinkHeadFields, LinkKind, ListPartPrefaceFields, MAX_PART_LEN, Purpose,
};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Longest list that is taken, bytes: 100 million entries take 1.2 GB.
const MAX_LIST_LEN: u64 = 16 << 30;

/// Sends a list.
pub(super) fn serve(
    replication: &Replication,
    mut connection: Connection,
    id: u64,
) -> Result<(), ConnectionFailure> {
    let path = kept_path(&replication.setup.data_dir.join(LISTS_DIR), id);
    let mut file = File::open(path)?;
    let list_len = file.metadata()?.len();
    let mut part = vec![0; MAX_PART_LEN];
    let mut offset = 0;
    while offset < list_len {
        let len = file.read(&mut part)?;
        if len == 0 {
            return Err(ConnectionFailure::Closed);
        }
        let mut preface = ListPartPrefaceFields::empty(0, 0);
        preface.head =
            LinkHeadFields::new(LinkKind::ListPart, size_of::<ListPartPrefaceFields>() + len, 0, 0);
        (preface.list_len, preface.offset) = (list_len.into(), offset.into());
        connection.write(bytemuck::bytes_of(&preface))?;
        connection.write(&part[..len])?;
        offset += len as u64;
    }
    Ok(())
}

/// Fetches a list that the log says is in use, and keeps it once it has proved sound.
pub(super) fn fetch(
    replication: &Replication,
    following: &Following,
    standby_session: &StandbySession,
    id: u64,
) -> Result<(), ConnectionFailure> {
    let mut join = replication.join_frame(Purpose::List, 0, standby_session.session());
    join.list_id = id.into();
    let mut connection = standby_session.call(&join, &replication.setup.key)?;
    let folder = replication.setup.data_dir.join(LISTS_DIR);
    let kept = kept_path(&folder, id);
    let mut file = WholeFile::create(&kept, GROUP)?;
    let mut have = 0;
    let mut heard = Instant::now();
    loop {
        standby_session.check()?;
        let Some((kind, frame)) = connection.next()? else {
            if heard.elapsed() > SILENCE {
                return Err(ConnectionFailure::Silent(SILENCE.as_millis()));
            }
            continue;
        };
        heard = Instant::now();
        if kind != LinkKind::ListPart {
            return Err(ConnectionFailure::Unexpected(kind));
        }
        let (preface, bytes) = frame.split_at(size_of::<ListPartPrefaceFields>());
        let preface: &ListPartPrefaceFields = bytemuck::from_bytes(preface);
        let list_len = preface.list_len.to_native();
        if preface.offset.to_native() != have
            || list_len > MAX_LIST_LEN
            || have + bytes.len() as u64 > list_len
        {
            return Err(ConnectionFailure::Fault(
                "the parts of a list do not fit together".to_owned(),
            ));
        }
        file.write_all(bytes)?;
        have += bytes.len() as u64;
        if have == list_len {
            break;
        }
    }
    file.flush()?;
    let check = |path: &Path| {
        list_files::open(path).map_err(|error| ConnectionFailure::Fault(error.to_string()))
    };
    if check(file.making())?.id() != id {
        return Err(ConnectionFailure::Fault("the list that came is another one".to_owned()));
    }
    file.finish_durably()?;
    following.hold_list(Arc::new(check(&kept)?));
    tracing::info!(
        id = format_args!("{id:016x}"),
        bytes = have,
        "the list in use has come from the primary"
    );
    Ok(())
}
