//! What a standby has and its primary has not: copied into a file of its own, then cleared from the log. Never deleted: a person may want
//! to know what was decided and never answered.

use crate::log::cursor::BlockCursor;
use crate::log::segment::{segment_path, segments, sync_dir};
use crate::log::{LogError, Tail};
use catraca_wire::block::{MAX_BLOCK_LEN, SEGMENT_HEAD_LEN};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Folder of a data directory.
pub const QUARANTINE_DIR: &str = "quarantine";

/// Cuts a stream at a boundary. The file that keeps what was cut off is durable before anything is cleared; the clearing goes from the back,
/// so that one that is interrupted leaves a shorter log, or one that ends torn.
///
/// # Errors
/// Whatever the disk says.
pub fn cut(data_dir: &Path, shard: u16, to: &Tail, end: &Tail) -> Result<PathBuf, LogError> {
    let dir = data_dir.join(QUARANTINE_DIR);
    let path = free_name(&dir, &format!("shard-{shard:04}-lsn-{}-{}-epoch-{}", to.next_lsn, end.next_lsn - 1, end.epoch));
    let io = |what: &'static str| LogError::io(&path, what);
    fs::create_dir_all(&dir).map_err(io("could not make the folder"))?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(io("could not make the file"))?;
    let mut cursor = BlockCursor::new(data_dir, shard, to.segment, to.offset);
    while let Some(block) = cursor.next()? {
        file.write_all(block).map_err(io("could not write the file"))?;
    }
    file.sync_all().and_then(|()| sync_dir(&dir)).and_then(|()| sync_dir(data_dir)).map_err(io("could not sync the file"))?;
    for index in segments(data_dir, shard)?.into_iter().rev().take_while(|&index| index >= to.segment) {
        let from = if index == to.segment { to.offset } else { SEGMENT_HEAD_LEN as u64 };
        let until = if index > end.segment { continue } else { (index == end.segment).then_some(end.offset) };
        let segment = segment_path(data_dir, shard, index);
        clear(&segment, from, until).map_err(LogError::io(&segment, "could not clear what is in quarantine"))?;
    }
    Ok(path)
}

fn free_name(dir: &Path, stem: &str) -> PathBuf {
    let first = dir.join(format!("{stem}.blocks"));
    let mut others = (2u32..).map(|count| dir.join(format!("{stem}-{count}.blocks")));
    if first.exists() { others.find(|path| !path.exists()).unwrap_or(first) } else { first }
}

fn clear(path: &Path, from: u64, until: Option<u64>) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).open(path)?;
    let zeros = vec![0; MAX_BLOCK_LEN];
    let mut to = until.unwrap_or(file.metadata()?.len());
    while to > from {
        let len = (to - from).min(MAX_BLOCK_LEN as u64);
        to -= len;
        file.write_all_at(&zeros[..len as usize], to)?;
        file.sync_all()?;
    }
    Ok(())
}
