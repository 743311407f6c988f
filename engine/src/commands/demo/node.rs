//! The demo's node: a process of its own, as it would be in earnest.

use crate::fatal::Failure;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a node may take to start: it fills the first segment of each shard, and recovers what it finds.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take to stop: it answers what it accepted, and finishes the segments that it prepares.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the process is looked at while it stops.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Most shards of a demo, whatever the machine: each prepares segments of its own.
const MAX_SHARDS: usize = 4;
/// Decisions held to recognise a resend, unless the environment says otherwise: 80 MiB a shard.
const DEDUPE_ENTRIES: &str = "1048576";

/// A running node; killed when it goes out of scope before it was stopped.
pub struct Node {
    child: Child,
    /// Where clients connect.
    pub addr: String,
    /// Where metrics are served.
    pub http: String,
    /// Shards, in words of its own: a number and the processors.
    pub layout: String,
    /// What the node says, one JSON object a line.
    pub log_file: PathBuf,
}

impl Node {
    /// Starts `catraca serve` on free ports of loopback and waits until it is ready.
    pub fn start(data_dir: &Path, log_file: PathBuf) -> Result<Self, Failure> {
        let program =
            std::env::current_exe().map_err(|e| Failure::failed(format!("this program's own file is not found: {e}")))?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = processors.saturating_sub(1).clamp(1, MAX_SHARDS);
        let mut command = Command::new(&program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--shards", &shards.to_string()]).arg("--data-dir").arg(data_dir);
        if std::env::var_os("CATRACA_DEDUPE_ENTRIES").is_none() {
            command.env("CATRACA_DEDUPE_ENTRIES", DEDUPE_ENTRIES);
        }
        // In a process group of its own: Ctrl-C on the terminal is for the demo, which then stops its node in order.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|e| Failure::failed(format!("{} can't be started: {e}", program.display())))?;
        let stderr = child.stderr.take().expect("asked for above");
        let file = File::create(&log_file).map_err(|e| Failure::failed(format!("{}: {e}", log_file.display())))?;
        let (ready_sender, ready) = channel();
        // Reads as long as the node speaks: a full pipe would hold it up.
        std::thread::spawn(move || {
            let mut file = file;
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                if let Ok(said) = serde_json::from_str::<serde_json::Value>(&line)
                    && field(&said, "message").as_deref() == Some("ready")
                {
                    let _ = ready_sender.send(said);
                }
            }
        });
        let mut node = Self { child, addr: String::new(), http: String::new(), layout: String::new(), log_file };
        let said = node.wait_until_ready(&ready)?;
        let get = |name: &str| field(&said, name).unwrap_or_default();
        (node.addr, node.http) = (get("listen"), get("http"));
        node.layout = format!("{shards} (processors {})", get("cores"));
        Ok(node)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self, ready: &Receiver<serde_json::Value>) -> Result<serde_json::Value, Failure> {
        match ready.recv_timeout(START_TIMEOUT) {
            Ok(said) => Ok(said),
            Err(RecvTimeoutError::Timeout) => Err(Failure::failed(format!(
                "the node was not ready after {} s; see {}",
                START_TIMEOUT.as_secs(),
                self.log_file.display()
            ))),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                let said = std::fs::read_to_string(&self.log_file).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it said nothing");
                Err(Failure::failed(format!("the node did not start ({status}): {last}")))
            }
        }
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<ExitStatus, Failure> {
        let cannot = |e: std::io::Error| Failure::failed(format!("the node can't be stopped: {e}"));
        if let Some(status) = self.child.try_wait().map_err(cannot)? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|e| cannot(e.into()))?;
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(cannot)? {
                return Ok(status);
            }
            if asked.elapsed() > STOP_TIMEOUT {
                return Err(Failure::failed(format!(
                    "the node did not stop within {} s and was killed; see {}",
                    STOP_TIMEOUT.as_secs(),
                    self.log_file.display()
                )));
            }
            std::thread::sleep(STOP_POLL);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A field of a line of the node's log, wherever it stands in it.
fn field(said: &serde_json::Value, name: &str) -> Option<String> {
    let value = said.get(name).or_else(|| said.get("fields")?.get(name))?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
