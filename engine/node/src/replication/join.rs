//! Who this node is to the other one.

use super::connection::LinkKeys;
use catraca_tls::NodeTls;
use catraca_wire::address::Host;
use catraca_wire::block::{ChainKey, FORMAT_VERSION};
use catraca_wire::frame::{Role, fill};
use catraca_wire::replication::{JoinFrame, Purpose};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Who this node is to the other one.
#[derive(Debug, Clone)]
pub struct ReplicationSetup {
    /// Folder of the log and of `replica.json`.
    pub data_dir: PathBuf,
    /// Cluster.
    pub cluster_id: [u8; 16],
    /// Node.
    pub node_id: [u8; 16],
    /// Random, of this run of the program.
    pub run: [u8; 16],
    /// Key of the chain, which both nodes prove to have.
    pub key: ChainKey,
    /// Shards of the node.
    pub shards: u16,
    /// Length of its segments, bytes.
    pub segment_len: u64,
    /// Where other nodes reach this one, as it tells them.
    pub replication_address: String,
    /// Where clients reach this one, as it tells other nodes.
    pub client_address: String,
    /// After how long without the standby a primary goes on alone by itself; zero never.
    pub solo_after: Duration,
    /// Processors for the threads.
    pub cpus: Vec<usize>,
    /// What hands are shaken with over TLS; none where nodes speak in clear.
    pub tls: Option<Arc<NodeTls>>,
}

impl ReplicationSetup {
    /// What this node proves itself with.
    pub(super) fn link_keys(&self) -> LinkKeys {
        LinkKeys { chain: self.key, tls: self.tls.clone() }
    }
}

/// A JOIN of this node.
pub(super) fn join_of(
    setup: &ReplicationSetup,
    purpose: Purpose,
    stream: u16,
    epoch: u32,
) -> JoinFrame {
    let mut join = JoinFrame::empty(stream, epoch);
    join.format_version = FORMAT_VERSION.into();
    join.shards = setup.shards.into();
    join.purpose = purpose.to_wire();
    join.role = Role::Standby.to_wire();
    join.cluster_id = setup.cluster_id;
    join.node_id = setup.node_id;
    join.run = setup.run;
    join.nonce = crate::random::bytes();
    fill(&mut join.replication_address, &setup.replication_address);
    fill(&mut join.client_address, &setup.client_address);
    join
}

/// The address that a socket listens on, for others. `host` was checked with the configuration.
pub fn advertised(host: Option<&str>, listen: SocketAddr) -> String {
    let host = host.and_then(|host| Host::parse(host).ok()).unwrap_or(Host::Ip(listen.ip()));
    host.with_port(listen.port())
}
