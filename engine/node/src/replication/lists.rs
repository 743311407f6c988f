//! List files from the primary to its standby: the log says by id which list was loaded, the file
//! comes over a connection of its own.

use super::connection::{Connection, ConnectionFailure};
use super::parts::{self, Parts};
use super::standby::{Following, StandbySession};
use super::{Replication, SILENCE};
use crate::list_files;
use crate::list_files::{LISTS_DIR, kept_path};
use crate::whole_file::{GROUP, WholeFile};
use catraca_wire::replication::Purpose;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Longest list that is taken, bytes: 100 million entries take 1.2 GB.
const MAX_LIST_LEN: u64 = 16 << 30;

/// Sends a list.
pub(super) fn serve(
    replication: &Replication,
    connection: Connection,
    id: u64,
) -> Result<(), ConnectionFailure> {
    let path = kept_path(&replication.setup.data_dir.join(LISTS_DIR), id);
    let mut file = File::open(path)?;
    let file_len = file.metadata()?.len();
    parts::send(&connection.writer(), &mut file, file_len)
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
    let mut connection = standby_session.call(&join, &replication.setup.link_keys())?;
    let folder = replication.setup.data_dir.join(LISTS_DIR);
    let kept = kept_path(&folder, id);
    let mut file = WholeFile::create(&kept, GROUP)?;
    let mut parts = Parts::new(MAX_LIST_LEN);
    let mut heard = Instant::now();
    while !parts.is_whole() {
        standby_session.check()?;
        let Some((kind, frame)) = connection.next()? else {
            if heard.elapsed() > SILENCE {
                return Err(ConnectionFailure::Silent(SILENCE.as_millis()));
            }
            continue;
        };
        heard = Instant::now();
        file.write_all(parts.take(kind, frame)?)?;
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
        bytes = parts.have_len(),
        "the list in use has come from the primary"
    );
    Ok(())
}
