//! The data directory: whose it is, that nobody else uses it, and that it can hold a durable log.
//!
//! ```text
//! LOCK            held by the running node; says which file it was when the identity was bound to it
//! identity.json   cluster and node, format version
//! replica.json    epoch, role, and what answers wait for
//! chain.key       key of the log's chain, mode 0600
//! log/shard-NNNN/ streams
//! lists/          snapshots taken into use, by id
//! quarantine/     records that this node had and its primary had not
//! ```

use crate::fatal::{Failure, Status};
use crate::list_files::LISTS_DIR;
use crate::whole_file;
use catraca_wire::block::{BLOCK_ALIGN, FORMAT_VERSION};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, StatxFlags, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// `f_type` of tmpfs (linux/magic.h): what is written there is gone after a restart.
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// `f_type` of ramfs (linux/magic.h).
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// Name of the file that says who the node is.
const IDENTITY_FILE: &str = "identity.json";
/// Longest content of LOCK that is looked at, bytes: two numbers take 50.
const MAX_BINDING_LEN: u64 = 256;

/// How a data directory is taken into use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Allow one whose contents do not survive a restart. For tests.
    pub allow_volatile: bool,
    /// Operator override: this copy is the node from now on, and the original will not run again.
    pub adopt_copy: bool,
}

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Version of the data directory's formats.
    pub format_version: u16,
    /// Cluster, 32 hex digits.
    pub cluster_id: String,
    /// Node, 32 hex digits.
    pub node_id: String,
}

/// A data directory that this process holds.
pub struct DataDir {
    path: PathBuf,
    /// Cluster.
    pub cluster_id: [u8; 16],
    /// Node.
    pub node_id: [u8; 16],
    /// It was a copy until now, and is the node by an operator override: its log may be older than
    /// what the node knew.
    pub adopted: bool,
    _lock: File,
}

fn refuse(message: String) -> Failure {
    Failure::new(Status::DataDirectory, message)
}

impl DataDir {
    /// Takes a data directory into use, and makes it where it is missing. A new one becomes part of
    /// `cluster`, or of a new cluster.
    ///
    /// # Errors
    /// [`Status::DataDirectory`]: one sentence that names the directory, what is wrong with it, and
    /// what to do.
    pub fn open(path: &Path, options: Options, cluster: Option<[u8; 16]>) -> Result<Self, Failure> {
        let Options { allow_volatile, adopt_copy } = options;
        let shown = path.display();
        let denied = |what: &str, e: std::io::Error| {
            refuse(format!(
                "data directory {shown}: {what}: {e}; check that it is writable, or choose another with --data-dir"
            ))
        };
        fs::create_dir_all(path).map_err(|e| denied("can't be made", e))?;
        let has_identity = path.join(IDENTITY_FILE).exists();
        let mut lock = File::options()
            .create(!has_identity || adopt_copy)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("LOCK"))
            .map_err(|e| match e.kind() {
                // It is left out by what copies folders, and by nothing else.
                std::io::ErrorKind::NotFound => refuse(copied(path)),
                _ => denied("its LOCK can't be written", e),
            })?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            return Err(refuse(format!(
                "data directory {shown} is in use by another node ({error}); stop that one, or choose another with --data-dir"
            )));
        }
        if !allow_volatile {
            let volatile = rustix::fs::statfs(path)
                .is_ok_and(|s| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&(s.f_type & 0xffff_ffff)));
            if volatile {
                return Err(refuse(format!(
                    "data directory {shown} is on a file system in memory, where no decision survives a restart; choose one on a disk"
                )));
            }
        }
        direct_io(path)?;
        for folder in ["log", "lists"] {
            fs::create_dir_all(path.join(folder))
                .map_err(|e| denied("its folders can't be made", e))?;
        }
        let adopted = bind(&mut lock, path, adopt_copy)?;
        for folder in [path, &path.join(LISTS_DIR)] {
            whole_file::clear_leftovers(folder);
        }
        let identity = identity(path, cluster)?;
        let number = |text: &str| {
            parse_id(text).ok_or_else(|| {
                refuse(format!(
                    "{}: an id is not 32 hex digits; restore the file from a copy",
                    path.join(IDENTITY_FILE).display()
                ))
            })
        };
        Ok(Self {
            path: path.to_owned(),
            cluster_id: number(&identity.cluster_id)?,
            node_id: number(&identity.node_id)?,
            adopted,
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where snapshots in use are kept.
    pub fn lists_dir(&self) -> PathBuf {
        self.path.join(LISTS_DIR)
    }
}

fn copied(path: &Path) -> String {
    format!(
        "data directory {} is a copy: two nodes with one identity would decide beside each other, or take each other's place. Start the \
         original; if that is gone for good, start once with --adopt-copy. A new standby begins with an empty data directory and the key",
        path.display()
    )
}

/// Binds the identity to the LOCK file, and gives whether a copy was adopted: to its inode and the
/// time of its birth, which no copy keeps, and which stay over restarts, mounts and renames. A file
/// system id is no part of it: that of xfs follows the device's number, which another boot may
/// change.
fn bind(lock: &mut File, path: &Path, adopt_copy: bool) -> Result<bool, Failure> {
    let denied = |e: std::io::Error| refuse(format!("{}: {e}", path.join("LOCK").display()));
    let stat =
        rustix::fs::statx(&*lock, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)
            .map_err(|e| denied(e.into()))?;
    // Where the file system keeps no time of birth the inode alone must do.
    let birth = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
        "unknown".to_owned()
    } else {
        format!("{}.{:09}", stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
    };
    let own = format!("inode {} born {birth}\n", stat.stx_ino);
    let mut found = String::new();
    (&*lock).take(MAX_BINDING_LEN).read_to_string(&mut found).map_err(denied)?;
    if found == own {
        if adopt_copy {
            tracing::warn!(
                "--adopt-copy is of no use here: this data directory is no copy. Leave it out, or it hides the next one"
            );
        }
        return Ok(false);
    }
    // An empty one is new, or from before identities were bound.
    if !found.is_empty() {
        if !adopt_copy {
            return Err(refuse(copied(path)));
        }
        tracing::warn!(data_dir = %path.display(), "a copy is the node from now on, by an operator override");
    }
    let write = || {
        lock.set_len(0)?;
        lock.write_all_at(own.as_bytes(), 0)?;
        lock.sync_all()
    };
    write().map_err(denied)?;
    Ok(adopt_copy)
}

fn identity(path: &Path, cluster: Option<[u8; 16]>) -> Result<Identity, Failure> {
    let file = path.join(IDENTITY_FILE);
    let shown = file.display();
    match fs::read(&file) {
        Ok(text) => {
            let identity: Identity = serde_json::from_slice(&text).map_err(|e| {
                refuse(format!("{shown} is not readable: {e}; restore it from a copy"))
            })?;
            if identity.format_version != FORMAT_VERSION {
                return Err(refuse(format!(
                    "{shown}: the data has format version {}, this program reads version {FORMAT_VERSION}; use the program that wrote it",
                    identity.format_version
                )));
            }
            Ok(identity)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let streams = fs::read_dir(path.join("log")).is_ok_and(|mut d| d.next().is_some());
            if streams {
                return Err(refuse(format!(
                    "{shown} is missing beside a log; restore it from a copy"
                )));
            }
            let cluster = cluster.unwrap_or_else(crate::random::bytes);
            let identity = Identity {
                format_version: FORMAT_VERSION,
                cluster_id: hex::encode(cluster),
                node_id: hex::encode(crate::random::bytes::<16>()),
            };
            let mut text = serde_json::to_vec_pretty(&identity)
                .map_err(|e| refuse(format!("{shown} can't be written: {e}")))?;
            text.push(b'\n');
            whole_file::write_durably(&file, whole_file::PUBLIC, &text)
                .map_err(|e| refuse(format!("{shown} can't be written: {e}")))?;
            Ok(identity)
        }
        Err(error) => Err(refuse(format!("{shown} can't be read: {error}"))),
    }
}

/// 16 bytes from 32 hexadecimal digits.
pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).ok()?;
    Some(id)
}

/// Writes one block past the page cache, as the log will be.
fn direct_io(path: &Path) -> Result<(), Failure> {
    /// A block's memory, aligned as direct I/O asks for.
    #[repr(align(4096))]
    struct Aligned([u8; BLOCK_ALIGN]);
    let probe = path.join("direct-io.probe");
    let attempt = || -> rustix::io::Result<()> {
        let fd = rustix::fs::open(
            &probe,
            OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC,
            Mode::from_raw_mode(0o600),
        )?;
        let block = Box::new(Aligned([0; BLOCK_ALIGN]));
        rustix::io::pwrite(&fd, &block.0, 0).map(drop)
    };
    let outcome = attempt();
    // Nothing of value is in it; a leftover is overwritten by the next start.
    let _ = fs::remove_file(&probe);
    outcome.map_err(|error| {
        let shown = path.display();
        match error {
            rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT => refuse(format!("data directory {shown}: the disk is full; free some space")),
            rustix::io::Errno::INVAL => refuse(format!("data directory {shown} is on a file system without direct I/O (O_DIRECT); choose ext4 or xfs on a disk")),
            other => refuse(format!("data directory {shown} can't be written directly: {other}; check that it is writable, or choose another with --data-dir")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLATILE: Options = Options { allow_volatile: true, adopt_copy: false };
    const ADOPTING: Options = Options { allow_volatile: true, adopt_copy: true };

    #[test]
    fn an_identity_stays_and_two_nodes_do_not_share() {
        let dir = tempfile::tempdir_in(".").expect("a folder");
        let first = DataDir::open(dir.path(), VOLATILE, None).expect("fresh");
        let held = DataDir::open(dir.path(), VOLATILE, None).err().expect("in use");
        assert!(held.message.contains("in use by another node"), "{held}");
        let ids = (first.cluster_id, first.node_id);
        drop(first);
        let again = DataDir::open(dir.path(), VOLATILE, None).expect("free again");
        assert_eq!((again.cluster_id, again.node_id), ids);
        drop(again);
        let file = dir.path().join("identity.json");
        let text = fs::read_to_string(&file)
            .expect("there")
            .replace("\"format_version\": 1", "\"format_version\": 2");
        fs::write(&file, text).expect("written");
        let newer = DataDir::open(dir.path(), VOLATILE, None).err().expect("another version");
        assert!(newer.message.contains("format version 2"), "{newer}");
    }

    fn copy(from: &Path, to: &Path, with: &[&str]) {
        fs::create_dir_all(to).expect("a folder");
        for name in with {
            fs::copy(from.join(name), to.join(name)).expect("copied");
        }
    }

    #[test]
    fn a_copy_is_refused_until_it_is_adopted() {
        let dir = tempfile::tempdir_in(".").expect("a folder");
        let [original, whole, partial, moved] =
            ["original", "whole", "partial", "moved"].map(|name| dir.path().join(name));
        let ids = |held: DataDir| (held.cluster_id, held.node_id);
        let own = ids(DataDir::open(&original, VOLATILE, None).expect("fresh"));
        copy(&original, &whole, &["LOCK", IDENTITY_FILE]);
        copy(&original, &partial, &[IDENTITY_FILE]);
        for copied in [&whole, &partial] {
            let refused = DataDir::open(copied, VOLATILE, None).err().expect("a copy");
            assert_eq!(refused.status, Status::DataDirectory);
            assert!(
                refused.message.contains("is a copy") && refused.message.contains("--adopt-copy"),
                "{refused}"
            );
            assert_eq!(ids(DataDir::open(copied, ADOPTING, None).expect("adopted")), own);
            assert_eq!(
                ids(DataDir::open(copied, VOLATILE, None).expect("it is no copy any more")),
                own
            );
        }
        // The original is no copy, and neither is a folder under another name.
        assert_eq!(ids(DataDir::open(&original, VOLATILE, None).expect("as ever")), own);
        fs::rename(&original, &moved).expect("moved");
        assert_eq!(ids(DataDir::open(&moved, VOLATILE, None).expect("as ever")), own);
        // A folder from before identities were bound has an empty LOCK.
        File::create(moved.join("LOCK")).expect("emptied");
        assert_eq!(ids(DataDir::open(&moved, VOLATILE, None).expect("bound now")), own);
        copy(&moved, &whole, &["LOCK"]);
        assert!(DataDir::open(&whole, VOLATILE, None).is_err());
    }

    #[test]
    fn where_nothing_can_be_written_is_said() {
        let failure =
            DataDir::open(Path::new("/proc/catraca"), VOLATILE, None).err().expect("not writable");
        assert_eq!(failure.status, Status::DataDirectory);
        assert!(failure.message.contains("/proc/catraca"), "{failure}");
    }

    #[test]
    fn memory_is_no_disk() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            panic!("/dev/shm is expected on Linux")
        };
        let failure = DataDir::open(dir.path(), Options::default(), None).err().expect("volatile");
        assert!(failure.message.contains("in memory"), "{failure}");
    }
}
