//! The demo's two nodes: where they run, how they come up, and what they say of each other.

use super::node::{Node, Setup, copy_key};
use super::stage::{Interrupt, Say};
use crate::commands::cluster::{Answer, status, table};
use crate::commands::connect::Credential;
use crate::commands::output::counted;
use catraca_node::fatal::Failure;
use catraca_wire::client::ClusterState;
use catraca_wire::frame::{Durability, Role};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// Most shards of a node, whatever the machine: each prepares segments of its own.
const MAX_SHARDS: usize = 4;
/// Where free ports are looked for: from the usual ones on, and below those that the kernel gives
/// to connections, so that a port is still free when a killed node wants it again.
const FIRST_PORT: u16 = 7400;
const PORT_STEP: u16 = 20;
const LAST_PORT: u16 = 9400;
/// Between the ports of the two nodes.
const SECOND_NODE: u16 = 10;
/// The port that a demo keeps for itself, from its first one.
const CLAIM: u16 = 9;
/// How long a standby may take to catch up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the nodes are asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How the processors are shared out.
pub struct Layout {
    /// Of the machine, as far as this process may use them.
    pub processors: usize,
    /// Of the primary's shards, and of the standby's.
    pub cores: [Vec<usize>; 2],
    /// Whether one is left for the load.
    pub load_has_its_own: bool,
}

impl Layout {
    /// As many shards as leave a processor for the load; with fewer processors than nodes they
    /// share.
    pub fn of(processors: usize) -> Self {
        let shards = (processors.saturating_sub(1) / 2).clamp(1, MAX_SHARDS);
        let first: Vec<usize> = (0..shards).collect();
        let second =
            if processors < 2 * shards { first.clone() } else { (shards..2 * shards).collect() };
        Self { processors, cores: [first, second], load_has_its_own: processors > 2 * shards }
    }

    /// One sentence for a person.
    pub fn text(&self) -> String {
        let shards = self.cores[0].len();
        let each = counted(shards, "shard", "shards");
        let processors = counted(self.processors, "processor", "processors");
        if self.load_has_its_own {
            format!(
                "This machine has {processors}: each node gets {each} with as many of them, and the load runs beside them."
            )
        } else if self.processors < 2 {
            format!(
                "This machine has {processors}: both nodes and the load share it, which costs much speed."
            )
        } else {
            format!(
                "This machine has {processors}: each node gets {each}, and the load shares with them, which costs speed."
            )
        }
    }
}

/// Ports of this machine that no other demo uses.
pub struct Ports {
    base: u16,
    /// Taken as long as the demo runs: another one looks further.
    _claim: TcpListener,
}

impl Ports {
    /// An address of a single node, by number.
    pub fn listen(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.base + number)
    }

    /// The first free ones: three for each node, and the claim.
    pub fn find() -> Result<Self, Failure> {
        let bind = |port| TcpListener::bind(("127.0.0.1", port));
        let of_nodes = (0..3).chain(SECOND_NODE..SECOND_NODE + 3);
        for base in (FIRST_PORT..LAST_PORT).step_by(PORT_STEP.into()) {
            if let Ok(claim) = bind(base + CLAIM)
                && of_nodes.clone().all(|offset| bind(base + offset).is_ok())
            {
                return Ok(Self { base, _claim: claim });
            }
        }
        Err(Failure::failed(format!(
            "no free ports on 127.0.0.1 between {FIRST_PORT} and {LAST_PORT}"
        )))
    }
}

/// How both nodes are started, in a folder.
pub fn setups(folder: &Path, layout: &Layout, ports: &Ports) -> [Setup; 2] {
    let names = ["primary", "standby"];
    [0, 1].map(|index| {
        let at =
            |port: u16| format!("127.0.0.1:{}", ports.base + index as u16 * SECOND_NODE + port);
        Setup {
            name: names[index],
            data_dir: folder.join(names[index]),
            log_file: folder.join(format!("{}.log", names[index])),
            listen: at(0),
            replication: at(1),
            http: at(2),
            cores: layout.cores[index].clone(),
            standby_of: (index == 1).then(|| format!("127.0.0.1:{}", ports.base + 1)),
        }
    })
}

/// Both nodes. Where the demo ends early they stop in the order of the fields: a primary wants its
/// standby's acknowledgement of what is in flight.
pub struct Pair {
    /// Decides.
    pub primary: Node,
    /// Follows.
    pub standby: Node,
}

/// Starts both as an operator would, and waits until the standby holds all.
pub fn start(setups: &[Setup; 2], say: &Say, interrupt: &Interrupt) -> Result<Pair, Failure> {
    let [first, second] = setups;
    say.command(&first.command_line());
    let primary = Node::start(first, interrupt)?;
    let (from, to) = (first.data_dir.display(), second.data_dir.display());
    say.command(&format!("install -D -m 600 {from}/chain.key {to}/chain.key"));
    copy_key(&first.data_dir, &second.data_dir)?;
    say.command(&second.command_line());
    let standby = Node::start(second, interrupt)?;
    let pair = Pair { primary, standby };
    pair.await_in_sync(interrupt)?;
    Ok(pair)
}

impl Pair {
    /// Waits until the standby may be promoted without loss, and both say so.
    pub fn await_in_sync(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            interrupt.check()?;
            let answers = self.ask()?;
            if let [Ok(primary), Ok(standby)] = [&answers[0].said, &answers[1].said]
                && are_in_sync(primary, standby)
            {
                return Ok(());
            }
            if began.elapsed() > CATCH_UP_TIMEOUT {
                let seconds = CATCH_UP_TIMEOUT.as_secs();
                return Err(Failure::failed(format!(
                    "the standby did not catch up within {seconds} s:\n{}",
                    table(&answers)
                )));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// What both say of their place.
    pub fn ask(&self) -> Result<[Answer; 2], Failure> {
        Ok([ask(&self.primary)?, ask(&self.standby)?])
    }

    /// Shows that, as `catraca status` does.
    pub fn show_status(&self, say: &Say) -> Result<(), Failure> {
        say.command(&format!(
            "catraca status --addr {},{}",
            self.primary.setup.listen, self.standby.setup.listen
        ));
        say.text(&table(&self.ask()?));
        Ok(())
    }

    /// Stops both in order; tells whether both did so.
    pub fn stop(&mut self) -> Result<bool, Failure> {
        Ok(self.primary.stop()?.success() & self.standby.stop()?.success())
    }
}

fn are_in_sync(primary: &ClusterState, standby: &ClusterState) -> bool {
    primary.role == Role::Primary
        && standby.role == Role::Standby
        && primary.durability == Durability::Sync
        && primary.epoch == standby.epoch
        && [primary, standby].iter().all(|node| node.in_sync && node.connected)
}

/// What a node says of its place; one that starts anew says nothing.
fn ask(node: &Node) -> Result<Answer, Failure> {
    let said =
        status::ask(&node.setup.listen, &Credential::default())?.map_err(|error| error.to_string());
    Ok(Answer { addr: node.setup.listen.clone(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_shared_out_before_they_are_shared() {
        let of = |processors| {
            let layout = Layout::of(processors);
            (layout.cores, layout.load_has_its_own)
        };
        assert_eq!(of(1), ([vec![0], vec![0]], false));
        assert_eq!(of(2), ([vec![0], vec![1]], false));
        assert_eq!(of(3), ([vec![0], vec![1]], true));
        assert_eq!(of(5), ([vec![0, 1], vec![2, 3]], true));
        assert_eq!(of(64), ([vec![0, 1, 2, 3], vec![4, 5, 6, 7]], true));
    }
}
