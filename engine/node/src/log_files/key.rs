//! `chain.key`: the key of the log's chain, 64 hexadecimal characters and a newline, readable by
//! its owner only.

use super::segment;
use crate::whole_file;
use catraca_wire::block::ChainKey;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Name of the key's file in a data directory.
pub const KEY_FILE: &str = "chain.key";
const KEY_TEXT_LEN: usize = 64;

/// Why there is no key. Never holds any of the file's content.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or made.
    #[error("{}: could not {action} the chain's key: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}: is no chain key: 64 hexadecimal characters and a newline belong there", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Everybody on the machine can read it.
    #[error("{}: other users can read the chain's key; run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// A standby has no key yet.
    #[error("{}: is missing; a standby needs the primary's: copy its chain.key here, readable by its owner only (chmod 600)", path.display())]
    Wanted {
        /// The file.
        path: PathBuf,
    },
    /// There is a log, but not its key.
    #[error("{}: is missing, yet a log exists that was written with it; restore it from where it is kept", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a key file.
///
/// # Errors
/// [`KeyError::Io`] (its source tells a missing file), [`KeyError::Malformed`].
pub fn load(path: &Path) -> Result<ChainKey, KeyError> {
    let mut text = Vec::with_capacity(KEY_TEXT_LEN + 2);
    File::open(path)
        .and_then(|file| file.take(KEY_TEXT_LEN as u64 + 2).read_to_end(&mut text))
        .map_err(|source| KeyError::Io { path: path.to_owned(), action: "read", source })?;
    parse(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
}

/// The key of a data directory, which must be there: a standby's is the primary's, brought by a
/// person.
///
/// # Errors
/// All of [`KeyError`].
pub fn load_existing(data_dir: &Path) -> Result<ChainKey, KeyError> {
    let path = data_dir.join(KEY_FILE);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.permissions().mode() & 0o007 != 0 => {
            Err(KeyError::Exposed { path })
        }
        Ok(_) => load(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyError::Wanted { path }),
        Err(source) => Err(KeyError::Io { path, action: "read", source }),
    }
}

/// The key of a data directory; made from the system's random numbers where there is neither a key
/// nor a log.
///
/// # Errors
/// All of [`KeyError`].
pub fn load_or_create(data_dir: &Path) -> Result<ChainKey, KeyError> {
    let path = data_dir.join(KEY_FILE);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.permissions().mode() & 0o007 != 0 => {
            Err(KeyError::Exposed { path })
        }
        Ok(_) => load(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A folder that can't be listed counts as a log: a new key beside an old log would be
            // worse than an error.
            let has_log = match segment::streams(data_dir) {
                Ok(shards) => shards.iter().any(|&shard| {
                    segment::segments(data_dir, shard).is_ok_and(|found| !found.is_empty())
                }),
                Err(super::LogError::NoLog { .. }) => false,
                Err(_) => true,
            };
            if has_log {
                return Err(KeyError::Lost { path });
            }
            create(&path).map_err(|source| KeyError::Io { path, action: "create", source })
        }
        Err(source) => Err(KeyError::Io { path, action: "read", source }),
    }
}

fn create(path: &Path) -> io::Result<ChainKey> {
    let key: ChainKey = crate::random::bytes();
    let text = hex::encode(key) + "\n";
    whole_file::write_durably(path, whole_file::PRIVATE, text.as_bytes())?;
    Ok(key)
}

fn parse(text: &[u8]) -> Option<ChainKey> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let mut key = [0; KEY_TEXT_LEN / 2];
    hex::decode_to_slice(digits, &mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let key = load_or_create(dir.path()).expect("made");
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(dir.path()).expect("read"), key);
        assert_eq!(fs::read(&path).expect("readable").len(), 65);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("own file");
        assert!(matches!(load_or_create(dir.path()), Err(KeyError::Exposed { .. })));
        assert_eq!(load(&path).expect("tools read it all the same"), key);
    }

    #[test]
    fn what_is_no_key_is_refused_without_telling_it() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(KEY_FILE);
        for bad in [
            "".to_owned(),
            "00".repeat(31),
            "0g".repeat(32),
            "00".repeat(33),
            "+1".repeat(32),
            format!("{}\n\n", "00".repeat(32)),
        ] {
            fs::write(&path, &bad).expect("written");
            let error = load(&path).expect_err("no key");
            assert!(matches!(error, KeyError::Malformed { .. }), "{bad:?}");
            assert!(bad.is_empty() || !error.to_string().contains(&bad));
        }
    }

    #[test]
    fn no_new_key_beside_an_old_log() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let new = segment::NewSegment {
            cluster_id: [1; 16],
            shard: 0,
            index: 0,
            segment_len: 65_536,
            created_at_ns: 1,
        };
        segment::create(dir.path(), &new).expect("room for 64 KiB");
        assert!(matches!(load_or_create(dir.path()), Err(KeyError::Lost { .. })));
    }
}
