//! What a standby has and its primary has not: copied into a file of its own, then cleared from the log. Never deleted: a person may want
//! to know what was decided and never answered.

use crate::log::clearing::{ClearStep, Clearing};
use crate::log::cursor::BlockCursor;
use crate::log::segment::{segment_path, sync_dir};
use crate::log::{LogError, Tail};
use catraca_wire::block::MAX_BLOCK_LEN;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Folder of a data directory.
pub const QUARANTINE_DIR: &str = "quarantine";

/// Cuts a stream at a boundary. The file that keeps what was cut off is durable before anything is cleared; the clearing goes block by
/// block from the back, so that one that is interrupted leaves a shorter log, or one that ends torn.
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
    let mut clearing = Clearing::default();
    while let Some(block) = cursor.next_block()? {
        let len = block.len() as u64;
        file.write_all(block).map_err(io("could not write the file"))?;
        let (segment, behind) = cursor.place();
        clearing.block(segment, behind - len, len);
    }
    if clearing.end() != Some((end.segment, end.offset)) {
        let changed = io::Error::other("the log does not end where it did");
        return Err(io("could not copy all that is to be cleared")(changed));
    }
    file.sync_all().and_then(|()| sync_dir(&dir)).and_then(|()| sync_dir(data_dir)).map_err(io("could not sync the file"))?;
    let mut open: Option<(u32, File)> = None;
    for step in clearing {
        let segment = segment_path(data_dir, shard, step.segment);
        clear(&mut open, &segment, step).map_err(LogError::io(&segment, "could not clear what is in quarantine"))?;
    }
    Ok(path)
}

fn free_name(dir: &Path, stem: &str) -> PathBuf {
    let first = dir.join(format!("{stem}.blocks"));
    let mut others = (2u32..).map(|count| dir.join(format!("{stem}-{count}.blocks")));
    if first.exists() { others.find(|path| !path.exists()).unwrap_or(first) } else { first }
}

fn clear(open: &mut Option<(u32, File)>, path: &Path, step: ClearStep) -> io::Result<()> {
    static ZEROS: [u8; MAX_BLOCK_LEN] = [0; MAX_BLOCK_LEN];
    let file = match open.take() {
        Some((segment, file)) if segment == step.segment => file,
        _ => OpenOptions::new().write(true).open(path)?,
    };
    file.write_all_at(&ZEROS[..(step.to - step.from) as usize], step.from)?;
    file.sync_data()?;
    *open = Some((step.segment, file));
    Ok(())
}
