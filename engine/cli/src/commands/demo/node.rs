//! One of the demo's nodes: a process of its own, as it would be in earnest.

use super::pair::Ports;
use super::stage::Interrupt;
use catraca_node::fatal::Failure;
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a node may take to start: it fills the first segment of each shard, and recovers what
/// it finds.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take to stop: it answers what it accepted, and finishes the segments that it
/// prepares.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the process is looked at while it starts or stops.
const POLL: Duration = Duration::from_millis(20);
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

/// A running node; ended in order when it goes out of scope, and killed by the kernel when the demo
/// dies.
pub struct Node {
    /// How it was started.
    pub setup: Setup,
    child: Child,
}

impl Node {
    /// Starts it and waits until it is ready.
    pub fn start(setup: &Setup, interrupt: &Interrupt) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::failed(format!("this program's own file is not found: {e}")))?;
        let log_file = &setup.log_file;
        let file = OpenOptions::new().create(true).append(true).open(log_file);
        let mut file = file.map_err(|e| Failure::failed(format!("{}: {e}", log_file.display())))?;
        let mut command = Command::new(&program);
        command.args(setup.arguments()).args(["--end-with", &getpid().as_raw_pid().to_string()]);
        for (name, value) in
            [("CATRACA_DEDUPE_ENTRIES", DEDUPE_ENTRIES), ("CATRACA_SEGMENT_MIB", SEGMENT_MIB)]
        {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        // In a process group of its own: Ctrl-C on the terminal is for the demo, which then stops
        // its nodes in order.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command
            .spawn()
            .map_err(|e| Failure::failed(format!("{} can't be started: {e}", program.display())))?;
        let stderr = child.stderr.take().expect("asked for above");
        let (ready_sender, ready) = channel();
        // Reads as long as the node speaks: a full pipe would hold it up.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                if is_ready(&line) {
                    let _ = ready_sender.send(());
                }
            }
        });
        let mut node = Self { setup: setup.clone(), child };
        node.wait_until_ready(&ready, interrupt)?;
        Ok(node)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(
        &mut self,
        ready: &Receiver<()>,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let (name, log_file) = (self.setup.name, self.setup.log_file.display().to_string());
        let began = Instant::now();
        loop {
            interrupt.check()?;
            match ready.recv_timeout(POLL) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if began.elapsed() < START_TIMEOUT => {}
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = START_TIMEOUT.as_secs();
                    return Err(Failure::failed(format!(
                        "the {name} was not ready after {seconds} s; see {log_file}"
                    )));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self
                        .child
                        .wait()
                        .map_or_else(|e| e.to_string(), |status| status.to_string());
                    let said = std::fs::read_to_string(&self.setup.log_file).unwrap_or_default();
                    let last = said.lines().last().unwrap_or("it said nothing");
                    return Err(Failure::failed(format!(
                        "the {name} did not start ({status}): {last}"
                    )));
                }
            }
        }
    }

    /// Kills it without warning, as a power cut would.
    pub fn kill(mut self) -> Result<Setup, Failure> {
        let cannot = |e: std::io::Error| {
            Failure::failed(format!("the {} can't be killed: {e}", self.setup.name))
        };
        self.child.kill().and_then(|()| self.child.wait()).map_err(cannot)?;
        Ok(self.setup.clone())
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<ExitStatus, Failure> {
        let name = self.setup.name;
        let cannot =
            |e: std::io::Error| Failure::failed(format!("the {name} can't be stopped: {e}"));
        if let Some(status) = self.child.try_wait().map_err(cannot)? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|e| cannot(e.into()))?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait().map_err(cannot)? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        let (seconds, log_file) = (STOP_TIMEOUT.as_secs(), self.setup.log_file.display());
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err(Failure::failed(format!(
            "the {name} did not stop within {seconds} s and was killed; see {log_file}"
        )))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Whether a line of a node's log says that it takes connections.
fn is_ready(line: &str) -> bool {
    let Ok(said) = serde_json::from_str::<serde_json::Value>(line) else { return false };
    let message = said.get("message").or_else(|| said.get("fields")?.get("message"));
    message.and_then(|message| message.as_str()) == Some("ready")
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
