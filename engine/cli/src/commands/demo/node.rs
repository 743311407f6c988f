//! One of the demo's nodes: a process of its own, as it would be in earnest.

use super::pair::Ports;
use super::process::Process;
use super::stage::Interrupt;
use catraca_node::fatal::Failure;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Decisions held to recognise a resend, unless the environment says otherwise: 80 MiB a shard.
const DEDUPE_ENTRIES: &str = "1048576";

/// Size of its log segments, unless the environment says otherwise, MiB: a node keeps some of them ready, and a demo
/// needs no more than a second or two of load has room in.
const SEGMENT_MIB: &str = "64";

/// How a node is started, the first time and again.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What the demo calls it: also the name of its data directory.
    pub name: &'static str,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// What it says, one JSON object a line.
    pub log_file: PathBuf,
    /// Where clients connect.
    pub listen: String,
    /// Where the other node connects.
    pub replication: String,
    /// Where metrics are served.
    pub http: String,
    /// The processors of its shards.
    pub cores: Vec<usize>,
    /// Where the primary takes it, for the standby.
    pub standby_of: Option<String>,
}

impl Setup {
    /// Of a node by itself, on the first processor.
    pub fn alone(folder: &Path, ports: &Ports) -> Self {
        Self {
            name: "node",
            data_dir: folder.join("node"),
            log_file: folder.join("node.log"),
            listen: ports.listen(0),
            replication: ports.listen(1),
            http: ports.listen(2),
            cores: vec![0],
            standby_of: None,
        }
    }

    /// The arguments after `catraca`.
    fn arguments(&self) -> Vec<String> {
        let cores: Vec<String> = self.cores.iter().map(usize::to_string).collect();
        let mut arguments = vec![
            ("--shards", cores.len().to_string()),
            ("--cores", cores.join(",")),
            ("--listen", self.listen.clone()),
            ("--replication", self.replication.clone()),
            ("--http", self.http.clone()),
        ];
        arguments.extend(self.standby_of.clone().map(|primary| ("--standby-of", primary)));
        let first =
            ["serve".to_owned(), "--data-dir".to_owned(), self.data_dir.display().to_string()];
        first
            .into_iter()
            .chain(arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]))
            .collect()
    }

    /// What an operator would type.
    pub fn command_line(&self) -> String {
        format!("catraca {}", self.arguments().join(" "))
    }
}

/// A running node.
pub struct Node {
    /// How it was started.
    pub setup: Setup,
    process: Process,
}

impl Node {
    /// Starts it and waits until it is ready.
    pub fn start(setup: &Setup, interrupt: &Interrupt) -> Result<Self, Failure> {
        let environment =
            [("CATRACA_DEDUPE_ENTRIES", DEDUPE_ENTRIES), ("CATRACA_SEGMENT_MIB", SEGMENT_MIB)];
        let Setup { name, log_file, .. } = setup;
        let arguments = setup.arguments();
        let process = Process::start(name, log_file, &arguments, &environment, "ready", interrupt)?;
        Ok(Self { setup: setup.clone(), process })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it without warning, as a power cut would.
    pub fn kill(mut self) -> Result<Setup, Failure> {
        self.process.kill()?;
        Ok(self.setup)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<ExitStatus, Failure> {
        self.process.stop()
    }
}

/// Copies the chain's key from one data directory to the other, as an operator does before the
/// standby's first start.
pub fn copy_key(from: &Path, to: &Path) -> Result<(), Failure> {
    let [from, to] =
        [from, to].map(|data_dir| data_dir.join(catraca_node::log_files::key::KEY_FILE));
    let folder = to.parent().expect("a file in a data directory");
    // The copy keeps the permissions of the original, which a node checks.
    let copied = std::fs::create_dir_all(folder).and_then(|()| std::fs::copy(&from, &to));
    copied.map(drop).map_err(|e| {
        Failure::failed(format!("{} can't be copied to {}: {e}", from.display(), to.display()))
    })
}
