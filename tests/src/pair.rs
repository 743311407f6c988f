//! A primary and its standby, as processes of their own on fixed ports of this machine.

use crate::load::pair_options;
use crate::network::Cable;
use crate::node::{Node, Setup, folder, free_address_on};
use catraca_wire::client::{Client, ClientError, ClientOptions, ClusterState, Wanted};
use catraca_wire::frame::{ClusterRequest, Durability, Role};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for a standby to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two nodes of one cluster, by name; which of them is the primary changes.
pub struct Pair {
    /// How they are started.
    pub setups: [Setup; 2],
    dir: TempDir,
}

impl Pair {
    /// Two nodes that were never started, the second one the standby of the first.
    pub fn new(shards: u16) -> Self {
        Self::on(IpAddr::from([127, 0, 0, 1]), shards)
    }

    /// The same, on another address of this machine.
    ///
    /// # Panics
    /// When the machine does not have the address.
    pub fn on(ip: IpAddr, shards: u16) -> Self {
        let dir = folder();
        let setups = [0, 1].map(|index| {
            let mut setup = Setup::new(&dir.path().join(["a", "b"][index])).shards(shards);
            setup.listen = free_address_on(ip);
            setup.replication = free_address_on(ip);
            setup.http.set_ip(ip);
            setup.first_core = if shards == 1 { index as u16 } else { 0 };
            setup
        });
        let mut pair = Self { setups, dir };
        let primary = pair.setups[0].replication;
        pair.setups[1] = pair.setups[1].clone().arg("--standby-of").arg(primary);
        pair
    }

    /// With a setting of both nodes.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        self.setups = self.setups.map(|setup| setup.set(key, &value));
        self
    }

    /// The folder of both data directories.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Where clients reach both.
    pub fn addresses(&self) -> Vec<String> {
        self.setups.iter().map(|setup| setup.listen.to_string()).collect()
    }

    /// A data directory.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.setups[index].data_dir.clone()
    }

    /// Starts a node, as it was or is to be.
    pub fn start(&self, index: usize) -> Node {
        self.setups[index].start()
    }

    /// Gives the second node the key of the first one, as an operator does.
    ///
    /// # Panics
    /// When the first one was never started.
    pub fn share_key(&self) {
        let [from, to] = [0, 1].map(|index| self.data_dir(index).join("chain.key"));
        fs::create_dir_all(self.data_dir(1)).expect("a folder");
        fs::copy(from, to).expect("the first node has made its key");
    }

    /// Starts both and waits until the second one is in sync.
    pub fn start_both(&self) -> [Node; 2] {
        let first = self.start(0);
        self.share_key();
        let second = self.start(1);
        await_in_sync(&first, &second);
        [first, second]
    }

    /// A client that follows the primary.
    ///
    /// # Panics
    /// When neither node takes connections.
    pub fn client(&self) -> Client {
        Client::connect(pair_options(&self.addresses())).expect("a node takes connections")
    }
}

/// What a node says of its place.
///
/// # Panics
/// When it does not answer.
pub fn place(node: &Node) -> ClusterState {
    ask(node, &ClusterRequest::describe()).expect("every node describes itself")
}

/// Asks one node, whatever it is.
///
/// # Errors
/// What it answered.
pub fn ask(node: &Node, request: &ClusterRequest) -> Result<ClusterState, ClientError> {
    let options =
        ClientOptions { role: Wanted::Any, answer_timeout_ms: 20_000, ..node.client_options() };
    Client::connect(options)?.cluster(request)
}

/// Waits until the standby may be promoted without loss, and both know.
///
/// # Panics
/// When that does not come.
pub fn await_in_sync(primary: &Node, standby: &Node) {
    await_place("in sync", [primary, standby], are_in_sync);
}

fn are_in_sync([primary, standby]: [&ClusterState; 2]) -> bool {
    primary.role == Role::Primary
        && standby.role == Role::Standby
        && primary.durability == Durability::Sync
        && primary.epoch == standby.epoch
        && [primary, standby].iter().all(|node| node.in_sync && node.connected)
}

/// The same for two nodes at the ends of a cable: the primary first, each with its end.
///
/// # Panics
/// When that does not come.
pub fn await_in_sync_in(cable: &Cable, nodes: [(usize, &Node); 2]) {
    let began = Instant::now();
    loop {
        let places =
            nodes.map(|(end, node)| cable.at(end, || ask(node, &ClusterRequest::describe()).ok()));
        if let [Some(primary), Some(standby)] = &places
            && are_in_sync([primary, standby])
        {
            return;
        }
        if began.elapsed() > PATIENCE {
            let written = nodes.map(|(_, node)| node.process.stderr());
            panic!("never in sync: {places:#?}\n{}\n{}", written[0], written[1]);
        }
        std::thread::sleep(crate::node::LOOK_AGAIN);
    }
}

/// Waits until something holds of both nodes' places. A node that starts anew in between is asked
/// again.
///
/// # Panics
/// When it does not come to hold.
pub fn await_place(what: &str, nodes: [&Node; 2], holds: impl Fn([&ClusterState; 2]) -> bool) {
    let began = Instant::now();
    loop {
        let places = nodes.map(|node| ask(node, &ClusterRequest::describe()).ok());
        if let [Some(a), Some(b)] = &places
            && holds([a, b])
        {
            return;
        }
        if began.elapsed() > PATIENCE {
            let written = nodes.map(|node| node.process.stderr());
            panic!("never {what}: {places:#?}\n{}\n{}", written[0], written[1]);
        }
        std::thread::sleep(crate::node::LOOK_AGAIN);
    }
}
