//! What the doors have in common, the gateway and the intake: they lead to nodes, and run until a signal comes.

use crate::commands::Outcome;
use catraca_edge::Fault;
use catraca_node::config::credential;
use catraca_node::fatal::{Failure, Status};
use catraca_node::logging;
use catraca_node::signals::StopSignals;
use catraca_tls::Authorities;
use catraca_wire::address::host_and_port;
use std::path::Path;
use std::process::ExitCode;

/// The most connections to a node: each has two tasks and its buffers, and one carries a thousand requests.
const MAX_CONNECTIONS: usize = 64;
/// The most nodes: those of a pair, and those that take their place in a move.
const MAX_NODES: usize = 4;

/// A setting that can't be.
pub(super) fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(Status::Config, message)
}

/// A number of this name that is from 1 to `most`.
pub(super) fn check_range(name: &str, value: usize, most: usize) -> Result<(), Failure> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        Err(wrong(format!("{name} is {value}: it must be from 1 to {most}")))
    }
}

/// The nodes, and how many connections to the primary.
pub(super) fn check_nodes(nodes: &[String], connections: usize) -> Result<(), Failure> {
    check_range("the number of nodes", nodes.len(), MAX_NODES)?;
    check_range("connections", connections, MAX_CONNECTIONS)?;
    for node in nodes {
        host_and_port(node)
            .map_err(|why| wrong(format!("node {node:?}: host:port belongs there: {why}")))?;
    }
    Ok(())
}

/// By whom somebody is vouched for, and what it is shown: `of` is what the names of the settings begin with.
pub(super) fn authorities(
    of: &str,
    ca: Option<&Path>,
    own: [Option<&Path>; 2],
) -> Result<Option<Authorities>, Failure> {
    let own = match own {
        [Some(certificate), Some(key)] => Some((certificate, key)),
        [None, None] => None,
        _ => return Err(wrong(format!("{of}_certificate_file and {of}_key_file: both or none"))),
    };
    let Some(ca) = ca else {
        return match own {
            None => Ok(None),
            Some(_) => Err(wrong(format!("{of}_certificate_file, and there is no {of}_ca_file"))),
        };
    };
    Authorities::new(ca, own).map(Some).map_err(|fault| wrong(fault.to_string()))
}

/// The first line of a file; `what` it is, for a person.
pub(super) fn secret(what: &str, path: &Path) -> Result<String, Failure> {
    credential(path).map_err(|why| wrong(format!("{what} {}: {why}", path.display())))
}

/// Runs a door until a signal stops it. Signals are held before its settings are read.
pub(super) fn run(
    log_level: &str,
    serve: impl FnOnce(&StopSignals) -> Result<(), Fault>,
) -> Outcome {
    logging::start(log_level).map_err(wrong)?;
    let signals = StopSignals::watch(no_other_run)?;
    signals.serve();
    serve(&signals).map_err(|fault| {
        let next = match fault {
            Fault::Listen(..) => "; stop the other process, or choose another address",
            Fault::System(_) => "",
        };
        wrong(format!("{fault}{next}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A door begins no other run of itself: only a node asks for one.
fn no_other_run() -> ! {
    unreachable!("another run is asked for by replication alone")
}
