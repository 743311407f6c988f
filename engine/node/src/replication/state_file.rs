//! `replica.json`: a node's [`ReplicaState`], replaced as a whole and durably.

use crate::data_dir::parse_id;
use crate::fatal::{Failure, Status};
use crate::whole_file;
use catraca_core::replica::{Peer, ReplicaState};
use catraca_wire::block::FORMAT_VERSION;
use catraca_wire::frame::{Durability, Role};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// Name of the file in a data directory.
pub const STATE_FILE: &str = "replica.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPeer {
    node_id: String,
    replication_address: String,
    client_address: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format_version: u16,
    epoch: u32,
    role: String,
    durability: String,
    odd_epochs: bool,
    in_sync: bool,
    /// Left out where it is false, as earlier builds wrote the file, and read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    catching_up: bool,
    granted_at: Vec<u64>,
    committed: Vec<u64>,
    primary_may_leave: bool,
    shards: u16,
    peer: Option<StoredPeer>,
}

fn stored(state: &ReplicaState) -> Stored {
    Stored {
        format_version: FORMAT_VERSION,
        epoch: state.epoch,
        role: state.role.name().to_owned(),
        durability: state.durability.name().to_owned(),
        odd_epochs: state.odd_epochs,
        in_sync: state.in_sync,
        catching_up: state.catching_up,
        granted_at: state.in_sync_at.clone(),
        committed: state.committed.clone(),
        primary_may_leave: state.primary_may_leave,
        shards: state.shards,
        peer: state.peer.as_ref().map(|peer| StoredPeer {
            node_id: hex::encode(peer.node_id),
            replication_address: peer.replication_address.clone(),
            client_address: peer.client_address.clone(),
        }),
    }
}

fn state(stored: Stored) -> Option<ReplicaState> {
    let peer = match stored.peer {
        None => None,
        Some(peer) => Some(Peer {
            node_id: parse_id(&peer.node_id)?,
            replication_address: peer.replication_address,
            client_address: peer.client_address,
        }),
    };
    Some(ReplicaState {
        epoch: stored.epoch,
        role: *Role::ALL.iter().find(|role| role.name() == stored.role)?,
        durability: *Durability::ALL
            .iter()
            .find(|durability| durability.name() == stored.durability)?,
        odd_epochs: stored.odd_epochs,
        in_sync: stored.in_sync,
        catching_up: stored.catching_up,
        in_sync_at: stored.granted_at,
        committed: stored.committed,
        primary_may_leave: stored.primary_may_leave,
        shards: stored.shards,
        peer,
    })
}

/// Reads the state; `None` where a node has none yet.
///
/// # Errors
/// [`Status::DataDirectory`], naming the file.
pub fn load(data_dir: &Path) -> Result<Option<ReplicaState>, Failure> {
    let path = data_dir.join(STATE_FILE);
    let refuse = |why: String| {
        let message = format!(
            "{}: {why}; a node that does not know its epoch must not decide: restore the file from a copy",
            path.display()
        );
        Failure::new(Status::DataDirectory, message)
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(format!("can't be read ({error})"))),
    };
    let stored: Stored = serde_json::from_slice(&text)
        .map_err(|error| refuse(format!("is not readable ({error})")))?;
    if stored.format_version != FORMAT_VERSION {
        return Err(refuse(format!(
            "has format version {}, this program reads {FORMAT_VERSION}",
            stored.format_version
        )));
    }
    state(stored)
        .map(Some)
        .ok_or_else(|| refuse("holds a role, durability or id that can't be".to_owned()))
}

/// Replaces the state: durable when this returns.
///
/// # Errors
/// Whatever the disk says; the old state or the new one is there then.
pub fn save(data_dir: &Path, state: &ReplicaState) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(&stored(state)).map_err(io::Error::other)?;
    text.push(b'\n');
    whole_file::write_durably(&data_dir.join(STATE_FILE), whole_file::PUBLIC, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_and_a_broken_one_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(load(dir.path()).expect("none"), None);
        let peer = Peer {
            node_id: [7; 16],
            replication_address: "h:1".to_owned(),
            client_address: "h:2".to_owned(),
        };
        let state = ReplicaState::single(2, 5).with_standby(peer);
        save(dir.path(), &state).expect("written");
        assert_eq!(load(dir.path()).expect("sound"), Some(state));
        let path = dir.path().join(STATE_FILE);
        let text = fs::read_to_string(&path).expect("there");
        for (from, to) in [
            ("\"primary\"", "\"king\""),
            ("\"epoch\": 5", "\"epoch\": -5"),
            ("\"format_version\": 1", "\"format_version\": 9"),
        ] {
            assert!(text.contains(from), "{text}");
            fs::write(&path, text.replace(from, to)).expect("written");
            let failure = load(dir.path()).expect_err(to);
            assert!(failure.message.contains("replica.json"), "{failure}");
        }
    }
}
