//! The settings of a gateway, in the layers of `catraca serve`: defaults, file, environment, flags.

use catraca_edge::Options;
use catraca_node::config::{credential, layers};
use catraca_node::fatal::{Failure, Status};
use catraca_wire::address::host_and_port;
use catraca_wire::client::MAX_IN_FLIGHT;
use catraca_wire::frame::MAX_BUDGET_US;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Table;

/// What the names of settings in the environment begin with.
const ENVIRONMENT_PREFIX: &str = "CATRACA_GATEWAY_";
/// The most connections: each has two tasks and its buffers, and one carries a thousand requests.
const MAX_CONNECTIONS: usize = 64;
/// The most nodes: those of a pair, and those that take their place in a move.
const MAX_NODES: usize = 4;

/// The settings, each by its name in the file, the environment and its flag.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// Where HTTP is served.
    pub(super) listen: SocketAddr,
    /// `host:port` of each node.
    pub(super) nodes: Vec<String>,
    /// File whose first line is the credential.
    pub(super) credential_file: Option<PathBuf>,
    /// Connections to the primary.
    pub(super) connections: usize,
    /// Requests that wait for their answers at once.
    pub(super) max_in_flight: usize,
    /// The longest budget of a payment, milliseconds.
    pub(super) timeout_ms: u64,
    /// Level of the program's own log.
    pub(super) log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            nodes: vec!["127.0.0.1:7400".to_owned()],
            credential_file: None,
            connections: 2,
            // Twice what two connections carry by a node's default, so that a burst waits and is not
            // refused.
            max_in_flight: 4_096,
            timeout_ms: u64::from(MAX_BUDGET_US / 1_000),
            log_level: "info".to_owned(),
        }
    }
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(Status::Config, message)
}

impl Config {
    /// Reads the layers. `flags` are what the command line sets, by key.
    ///
    /// # Errors
    /// [`Status::Config`], naming the file, line and key.
    pub(super) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: Table,
    ) -> Result<Self, Failure> {
        let config: Self = layers::read(file, ENVIRONMENT_PREFIX, environment, flags)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Failure> {
        // Fail closed: whoever reaches it may decide on payments in the name of this gateway.
        if !self.listen.ip().is_loopback() {
            return Err(wrong(format!(
                "listen is {}: clients are not authenticated yet, so that a gateway listens on this machine only; put a proxy \
                 that knows them before it",
                self.listen
            )));
        }
        let range = |name: &str, value: u64, most: u64| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(wrong(format!("{name} is {value}: it must be from 1 to {most}")))
            }
        };
        range("the number of nodes", self.nodes.len() as u64, MAX_NODES as u64)?;
        range("connections", self.connections as u64, MAX_CONNECTIONS as u64)?;
        range("max_in_flight", self.max_in_flight as u64, u64::from(MAX_IN_FLIGHT))?;
        range("timeout_ms", self.timeout_ms, u64::from(MAX_BUDGET_US / 1_000))?;
        for node in &self.nodes {
            host_and_port(node)
                .map_err(|why| wrong(format!("node {node:?}: host:port belongs there: {why}")))?;
        }
        Ok(())
    }

    /// What the gateway runs with.
    ///
    /// # Errors
    /// [`Status::Config`] where the credential can't be read; it names the file, never the credential.
    pub(super) fn options(&self) -> Result<Options, Failure> {
        let read = |path: &PathBuf| {
            let of = |why| wrong(format!("credential file {}: {why}", path.display()));
            credential(path).map_err(of)
        };
        let credential = self.credential_file.as_ref().map_or(Ok(String::new()), read)?;
        Ok(Options {
            listen: self.listen,
            nodes: self.nodes.clone(),
            credential,
            connections: self.connections,
            max_in_flight: self.max_in_flight,
            timeout: Duration::from_millis(self.timeout_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)], flags: &str) -> Result<Config, Failure> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(None, environment, flags.parse().expect("flags are TOML"))
    }

    #[test]
    fn later_layers_win() {
        let config = load(
            &[
                ("CATRACA_GATEWAY_TIMEOUT_MS", "500"),
                ("CATRACA_GATEWAY_NODES", "['a:1', 'b:2']"),
                ("CATRACA_GATEWAY_LISTEN", "[::1]:9"),
                ("CATRACA_LISTEN", "is another program's"),
            ],
            "timeout_ms = 700",
        )
        .expect("valid");
        assert_eq!((config.timeout_ms, config.nodes.len(), config.listen.port()), (700, 2, 9));
        assert_eq!(config.options().expect("no file").timeout, Duration::from_millis(700));
    }

    #[test]
    fn what_is_wrong_is_named_and_nobody_else_is_let_in() {
        for (environment, flags, expected) in [
            (vec![], "listen = '0.0.0.0:8080'", "not authenticated yet"),
            (vec![], "listen = '10.0.0.1:8080'", "not authenticated yet"),
            (vec![], "listen = '[::]:8080'", "not authenticated yet"),
            (vec![], "nodes = []", "number of nodes is 0"),
            (vec![], "nodes = ['a']", "node \"a\""),
            (vec![], "connections = 0", "connections is 0"),
            (vec![], "max_in_flight = 65537", "max_in_flight is 65537"),
            (vec![], "timeout_ms = 2001", "timeout_ms is 2001"),
            (vec![("CATRACA_GATEWAY_NODE", "a:1")], "", "unknown field `node`"),
            (vec![("CATRACA_GATEWAY_LISTEN", "8080")], "", "CATRACA_GATEWAY_LISTEN"),
        ] {
            let failure = load(&environment, flags).expect_err(flags);
            assert_eq!(failure.status, Status::Config);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
        let missing = load(&[], "credential_file = '/does/not/exist'").expect("it is read later");
        assert!(missing.options().is_err());
    }
}
