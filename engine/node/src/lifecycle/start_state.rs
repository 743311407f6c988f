//! A node's place in its cluster when it starts: whose data directory it is, which epoch it is in,
//! whether it decides or follows.

use crate::config::Config;
use crate::data_dir::{self, DataDir};
use crate::fatal::{Failure, Status};
use crate::log_files::{key, segment};
use crate::replication::{ReplicationSetup, bootstrap, state_file};
use catraca_core::replica::{ReplicaState, StartRefused};
use catraca_tls::NodeTls;
use catraca_wire::block::ChainKey;
use catraca_wire::frame::{Durability, Role};
use std::sync::Arc;
use std::time::Duration;

/// What was found.
pub(super) struct StartState {
    pub data_dir: DataDir,
    pub key: ChainKey,
    pub state: ReplicaState,
    /// Length of the primary's segments, where this node has none yet, bytes.
    pub segment_len: Option<u64>,
}

/// Takes the data directory into use and finds the node's place; a new standby waits for its
/// primary to learn its cluster, over TLS where there is `tls`. `addresses` are where others reach
/// this node: for nodes, for clients.
pub(super) fn find(
    config: &Config,
    shards: u16,
    addresses: &(String, String),
    tls: Option<&Arc<NodeTls>>,
) -> Result<StartState, Failure> {
    let path = &config.data_dir;
    let saved = state_file::load(path)?;
    let configured = config.standby_of.as_deref();
    let follows = match &saved {
        // Where it stands is what it was last told, by a promotion or by another node's; the
        // configuration says where it began.
        Some(state) => {
            state.role == Role::Standby || (state.peer.is_none() && configured.is_some())
        }
        None => configured.is_some(),
    };
    let no_log = !segment::streams(path).is_ok_and(|streams| {
        streams.iter().any(|&stream| {
            segment::segments(path, stream).is_ok_and(|segments| !segments.is_empty())
        })
    });
    let refuse =
        |why: &str| Failure::new(Status::DataDirectory, format!("{}: {why}", path.display()));
    if saved.is_none() && !no_log {
        return Err(refuse(
            "there is a log, and replica.json, which says what this node is to it, is missing: restore it (LOG.md, replica.json)",
        ));
    }
    let had_standby = |state: &ReplicaState| {
        state.role == Role::Primary && state.durability != Durability::Single
    };
    if no_log && !follows && saved.as_ref().is_some_and(had_standby) {
        return Err(refuse(
            "the log is gone: promote the standby, and build this node anew behind it (LOG.md, Building a node anew)",
        ));
    }
    let demoted = follows && saved.as_ref().is_some_and(|state| state.role == Role::Primary);
    let unusable = |e: key::KeyError| Failure::new(Status::DataDirectory, e.to_string());
    let (mut cluster, mut segment_len) = (None, None);
    if follows && (no_log || demoted) {
        std::fs::create_dir_all(path).map_err(|e| {
            Failure::new(
                Status::DataDirectory,
                format!("data directory {} can't be made: {e}", path.display()),
            )
        })?;
        let key = key::load_existing(path).map_err(unusable)?;
        let known = saved
            .as_ref()
            .and_then(|state| state.peer.as_ref())
            .map(|peer| peer.replication_address.as_str());
        if let Some(primary) = configured.or(known) {
            let setup = ReplicationSetup {
                tls: tls.cloned(),
                ..unidentified(config, shards, key, addresses)
            };
            let bootstrapped = bootstrap(primary, &setup)?;
            (cluster, segment_len) =
                (Some(bootstrapped.cluster_id), Some(bootstrapped.segment_len));
        }
    }
    let data_dir = DataDir::open(
        path,
        data_dir::Options {
            allow_volatile: config.allow_volatile_data_dir,
            adopt_copy: config.adopt_copy,
        },
        cluster,
    )?;
    if demoted && cluster.is_some_and(|cluster| cluster != data_dir.cluster_id) {
        let message = "standby_of names a node of another cluster, and this node has a log of its own: check the address, or give it a new data_dir";
        return Err(Failure::new(Status::Config, message.to_owned()));
    }
    // Only now nobody else has it: a run that was about to end may have changed its place since.
    if state_file::load(path)? != saved {
        let message = format!(
            "{}: the node's place changed while this started; start again",
            path.join(state_file::STATE_FILE).display()
        );
        return Err(Failure::new(Status::DataDirectory, message));
    }
    let key = if follows { key::load_existing(path) } else { key::load_or_create(path) }
        .map_err(unusable)?;
    let mut state = match saved {
        Some(state) if follows && state.role == Role::Primary => {
            let primary = configured.unwrap_or_default().to_owned();
            tracing::warn!(
                primary,
                "this node decided alone until now; it becomes a standby, and what its primary lacks goes into quarantine"
            );
            ReplicaState {
                odd_epochs: state.odd_epochs,
                ..ReplicaState::joining(shards, state.epoch, primary)
            }
        }
        Some(state) => state,
        None if follows => {
            ReplicaState::joining(shards, 0, configured.unwrap_or_default().to_owned())
        }
        // A log from before there was this file is of the first epoch.
        None => ReplicaState::single(shards, 0),
    };
    if data_dir.adopted {
        state = adopted(path, state)?;
    }
    if state.shards != shards && state.role == Role::Primary && state.durability == Durability::Sync
    {
        let message = format!(
            "shards is {shards}, but answers wait for a standby with {}: run `catraca solo` first, then start both nodes with the new number",
            state.shards
        );
        return Err(Failure::new(Status::Config, message));
    }
    state.shards = shards;
    if state.role == Role::Primary && configured.is_some() {
        tracing::warn!(
            epoch = state.epoch,
            "this node was made the primary; standby_of says only where it began"
        );
    }
    state_file::save(path, &state).map_err(|e| {
        Failure::new(
            Status::DataDirectory,
            format!("{}: {} can't be written: {e}", path.display(), state_file::STATE_FILE),
        )
    })?;
    Ok(StartState { data_dir, key, state, segment_len })
}

/// What a node is whose data directory is a copy: it may be older than what others were told of the
/// original.
fn adopted(path: &std::path::Path, state: ReplicaState) -> Result<ReplicaState, Failure> {
    if state.role == Role::Standby {
        let epoch = state.epoch;
        return Ok(state.with_membership(epoch, false).expect("it is this node's own epoch"));
    }
    if state.durability != Durability::Single {
        let message = format!(
            "{}: a copy of a primary may lack what its standby holds: promote the standby, and build this node anew behind it (LOG.md, \
             Building a node anew)",
            path.display()
        );
        return Err(Failure::new(Status::DataDirectory, message));
    }
    Ok(state)
}

/// Holds what the node knows of its place to its log, whose streams end with these records
/// ([`ReplicaState::held_to_log`]), and makes that durable.
pub(super) fn hold_to_log(
    data_dir: &DataDir,
    state: &mut ReplicaState,
    log_epoch: u32,
    last_lsns: &[u64],
) -> Result<(), Failure> {
    let path = data_dir.path().join(state_file::STATE_FILE);
    let held = state.held_to_log(log_epoch, last_lsns).map_err(|refused| {
        let message = match refused {
            StartRefused::Lacks => format!(
                "{}: {refused}: promote the standby, and build this node anew behind it",
                data_dir.path().display()
            ),
            StartRefused::LaterEpoch { known, found } => format!(
                "{}: says epoch {known}, and the log has epoch {found}: the file was lost, or set back to an old copy; restore it",
                path.display()
            ),
        };
        Failure::new(Status::DataDirectory, message)
    })?;
    if held == *state {
        return Ok(());
    }
    if state.in_sync && !held.in_sync {
        tracing::warn!(
            "the log is not what it was when this node came in sync; it is not in sync until it has caught up again"
        );
    }
    state_file::save(data_dir.path(), &held).map_err(|e| {
        Failure::new(Status::DataDirectory, format!("{} can't be written: {e}", path.display()))
    })?;
    *state = held;
    Ok(())
}

/// This node to a primary that it asks for its cluster.
fn unidentified(
    config: &Config,
    shards: u16,
    key: ChainKey,
    addresses: &(String, String),
) -> ReplicationSetup {
    ReplicationSetup {
        data_dir: config.data_dir.clone(),
        cluster_id: [0; 16],
        node_id: crate::random::bytes(),
        run: crate::random::bytes(),
        key,
        shards,
        segment_len: 0,
        replication_address: addresses.0.clone(),
        client_address: addresses.1.clone(),
        solo_after: Duration::ZERO,
        cpus: Vec::new(),
        tls: None,
    }
}
