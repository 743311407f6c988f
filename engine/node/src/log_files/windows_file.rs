//! The checkpoint of a policy's windows: their state before a segment of each stream, so that a start reads the log
//! behind it only. No part of the log: it is held to what the log has there, left out where it is unsound or of
//! other windows, and may be removed.
//!
//! ```text
//! "catraca windows\n" 16 | version 4 | shards 2 | streams 2 | cluster 16 | time zone, BLAKE3 of its name 32
//! each stream: segment 4 | 0 4 | next_lsn 8 | chain value of the block before 32
//! each shard:  length 8 | state of its windows
//! keyed BLAKE3 of all before 32
//! ```
//!
//! All numbers are little-endian. The key is derived from the chain's: whoever has not that key can't make one.

use super::cursor::segment_start;
use super::error::LogError;
use super::lookup::OwnLog;
use super::segment::log_dir;
use crate::whole_file::{GROUP, WholeFile};
use catraca_core::log::Tail;
use catraca_core::policy::Policy;
use catraca_core::rebuild::Pasts;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"catraca windows\n";
/// Rises with every change of what is written.
const VERSION: u32 = 1;
const KEY_CONTEXT: &str = "catraca 2026 checkpoint of windows";
const DIGEST_LEN: usize = blake3::OUT_LEN;
const SHARDS_AT: usize = 20;
const HEAD_LEN: usize = 72;
const PLACE_LEN: usize = 48;
/// The longest state of a shard that is read, bytes: more is no such file.
const MAX_STATE_LEN: u64 = 64 << 30;

/// `DIR/log/windows`.
pub fn path(data_dir: &Path) -> PathBuf {
    log_dir(data_dir).join("windows")
}

/// Writes the checkpoint: windows that have all before these places, each the beginning of a segment.
///
/// # Errors
/// [`LogError::Io`].
pub fn write(
    log: &OwnLog,
    policy: &Policy,
    pasts: &Pasts,
    places: &BTreeMap<u16, Tail>,
) -> Result<(), LogError> {
    let path = path(&log.data_dir);
    let written = || -> io::Result<()> {
        let mut out =
            Written { file: WholeFile::create(&path, GROUP)?, digest: hasher(log), failed: Ok(()) };
        out.part(&head(log, policy, pasts.shards(), places.len()));
        for Tail { segment, next_lsn, previous_chain, .. } in places.values() {
            out.part(&segment.to_le_bytes());
            out.part(&[0; 4]);
            out.part(&next_lsn.to_le_bytes());
            out.part(previous_chain);
        }
        for shard in 0..pasts.shards() {
            let windows = pasts.shard(shard).expect("all are here").windows();
            let mut len = 0_u64;
            windows.write(|bytes| len += bytes.len() as u64);
            out.part(&len.to_le_bytes());
            windows.write(|bytes| out.part(bytes));
        }
        let Written { mut file, digest, failed } = out;
        failed?;
        file.write_in_pieces(digest.finalize().as_bytes())?;
        file.finish()
    };
    written().map_err(LogError::io(&path, "could not write the checkpoint of windows"))
}

/// The file being written, and the digest of what was. The first failure counts.
struct Written {
    file: WholeFile,
    digest: blake3::Hasher,
    failed: io::Result<()>,
}

impl Written {
    fn part(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        if self.failed.is_ok() {
            self.failed = self.file.write_in_pieces(bytes);
        }
    }
}

fn hasher(log: &OwnLog) -> blake3::Hasher {
    blake3::Hasher::new_keyed(&blake3::derive_key(KEY_CONTEXT, &log.key))
}

fn head(log: &OwnLog, policy: &Policy, shards: u16, streams: usize) -> Vec<u8> {
    let zone = blake3::hash(policy.zone().to_string().as_bytes());
    [
        MAGIC.as_slice(),
        &VERSION.to_le_bytes(),
        &shards.to_le_bytes(),
        &(streams as u16).to_le_bytes(),
        &log.cluster_id,
        zone.as_bytes(),
    ]
    .concat()
}

const _: () = assert!(HEAD_LEN == MAGIC.len() + 4 + 2 + 2 + 16 + DIGEST_LEN);

/// How many segments of all streams lie before the checkpoint, as it says; `None` where there is none of so many
/// shards.
pub fn segments(log: &OwnLog, shards: u16) -> Option<u32> {
    let file = File::open(path(&log.data_dir)).ok()?;
    let mut reading = Reading { file: BufReader::new(file), digest: hasher(log) };
    let head = reading.part(HEAD_LEN).ok()?;
    (head[SHARDS_AT..SHARDS_AT + 2] == shards.to_le_bytes()).then_some(())?;
    let mut segments = 0_u32;
    for _ in 0..shards {
        segments = segments.saturating_add(reading.number::<4>().ok()? as u32);
        reading.part(PLACE_LEN - 4).ok()?;
    }
    Some(segments)
}

/// Windows of a policy out of the checkpoint, and from where each stream is read on; `None` where there is none of
/// such windows, of a node with so many shards, and of what the log has there.
pub fn read(log: &OwnLog, policy: &Policy, shards: u16) -> Option<(Pasts, BTreeMap<u16, Tail>)> {
    let path = path(&log.data_dir);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the checkpoint of windows can't be read");
            return None;
        }
    };
    let reading = Reading { file: BufReader::new(file), digest: hasher(log) };
    let read = reading.all(log, policy, shards);
    read.inspect_err(|why| {
        tracing::info!(why, path = %path.display(), "the checkpoint of windows is not used: the log is read for them");
    })
    .ok()
}

struct Reading {
    file: BufReader<File>,
    digest: blake3::Hasher,
}

impl Reading {
    fn part(&mut self, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        // A length that is wrong takes no memory.
        let read = (&mut self.file).take(len as u64).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string())?;
        if bytes.len() < len {
            return Err("it ends too early".to_owned());
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }

    fn number<const LEN: usize>(&mut self) -> Result<u64, String> {
        let mut word = [0; 8];
        word[..LEN].copy_from_slice(&self.part(LEN)?);
        Ok(u64::from_le_bytes(word))
    }

    fn all(
        mut self,
        log: &OwnLog,
        policy: &Policy,
        shards: u16,
    ) -> Result<(Pasts, BTreeMap<u16, Tail>), String> {
        let expected = head(log, policy, shards, shards.into());
        if self.part(expected.len())? != expected {
            return Err(
                "it is of another version, cluster, number of shards or time zone".to_owned()
            );
        }
        let mut places = BTreeMap::new();
        for stream in 0..shards {
            let (segment, _) = (self.number::<4>()? as u32, self.number::<4>()?);
            let next_lsn = self.number::<8>()?;
            let previous_chain = self.part(32)?;
            let there = segment_start(&log.data_dir, stream, segment).ok().flatten();
            let is_of_log = |there: &Tail| {
                there.segment == segment
                    && there.next_lsn == next_lsn
                    && there.previous_chain[..] == previous_chain[..]
            };
            let Some(there) = there.filter(is_of_log) else {
                return Err("the log has something else in its place".to_owned());
            };
            places.insert(stream, there);
        }
        let last_lsns: Vec<u64> = places.values().map(|place| place.next_lsn - 1).collect();
        let pasts = Pasts::new(policy, shards, &log.key).map_err(|error| error.to_string())?;
        let mut pasts = pasts.ok_or("the policy reads no windows")?;
        for shard in 0..shards {
            let len = self.number::<8>()?;
            if len > MAX_STATE_LEN {
                return Err("it is damaged".to_owned());
            }
            let state = self.part(len as usize)?;
            let restored = pasts.restore(shard, &state, &last_lsns);
            restored.map_err(|fault| fault.to_string())?;
        }
        let digest = self.digest.clone().finalize();
        let is_sound = digest.as_bytes()[..] == self.part(DIGEST_LEN)?[..];
        let is_all = self.file.read(&mut [0]).map_err(|error| error.to_string())? == 0;
        if is_sound && is_all { Ok((pasts, places)) } else { Err("it is damaged".to_owned()) }
    }
}
