//! A process of the demo: a node or a door, with a file for what it says.

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

/// How long a process may take to start: a node fills the first segment of each shard, and recovers
/// what it finds.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take to stop: it answers what it accepted, and a node finishes the segments that
/// it prepares.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the process is looked at while it starts or stops.
const POLL: Duration = Duration::from_millis(20);

/// A running process; ended in order when it goes out of scope, and killed by the kernel when the demo
/// dies.
pub struct Process {
    name: &'static str,
    log_file: PathBuf,
    child: Child,
}

impl Process {
    /// Starts this program with these arguments, and waits until it says that it is `ready`, in this
    /// word. `environment` counts where it is not set otherwise.
    pub fn start(
        name: &'static str,
        log_file: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
        ready: &'static str,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::failed(format!("this program's own file is not found: {e}")))?;
        let file = OpenOptions::new().create(true).append(true).open(log_file);
        let mut file = file.map_err(|e| Failure::failed(format!("{}: {e}", log_file.display())))?;
        let mut command = Command::new(&program);
        command.args(arguments).args(["--end-with", &getpid().as_raw_pid().to_string()]);
        for (name, value) in environment {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        // In a process group of its own: Ctrl-C on the terminal is for the demo, which then stops
        // its processes in order.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command
            .spawn()
            .map_err(|e| Failure::failed(format!("{} can't be started: {e}", program.display())))?;
        let stderr = child.stderr.take().expect("asked for above");
        let (ready_sender, is_ready) = channel();
        // Reads as long as the process speaks: a full pipe would hold it up.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                if says(&line, ready) {
                    let _ = ready_sender.send(());
                }
            }
        });
        let mut process = Self { name, log_file: log_file.to_owned(), child };
        process.wait_until_ready(&is_ready, interrupt)?;
        Ok(process)
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
        let (name, log_file) = (self.name, self.log_file.display().to_string());
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
                    let said = std::fs::read_to_string(&self.log_file).unwrap_or_default();
                    let last = said.lines().last().unwrap_or("it said nothing");
                    return Err(Failure::failed(format!(
                        "the {name} did not start ({status}): {last}"
                    )));
                }
            }
        }
    }

    /// Kills it without warning, as a power cut would.
    pub fn kill(&mut self) -> Result<(), Failure> {
        let name = self.name;
        let cannot =
            |e: std::io::Error| Failure::failed(format!("the {name} can't be killed: {e}"));
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(cannot)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<ExitStatus, Failure> {
        let name = self.name;
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
        let (seconds, log_file) = (STOP_TIMEOUT.as_secs(), self.log_file.display());
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err(Failure::failed(format!(
            "the {name} did not stop within {seconds} s and was killed; see {log_file}"
        )))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Whether a line of a log has this message.
fn says(line: &str, word: &str) -> bool {
    let Ok(said) = serde_json::from_str::<serde_json::Value>(line) else { return false };
    let message = said.get("message").or_else(|| said.get("fields")?.get("message"));
    message.and_then(|message| message.as_str()) == Some(word)
}
