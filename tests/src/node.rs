//! A node as a process of its own: started on free ports, observed through what it writes, stopped,
//! killed, started again.

use crate::binary;
use crate::command::wrapped;
use catraca_wire::client::{Client, ClientOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything a node does: long, because what a node does behind everything else, as
/// packing, gets little of a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Ports that tests fix beforehand: below those that the kernel gives to outgoing connections, of
/// which there are many in a test run.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Pause between two looks at something that has no event to wait for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Folder of its log and lists.
    pub data_dir: PathBuf,
    /// Number of shards, each on a core of its own.
    pub shards: u16,
    /// Settings by their key, as `CATRACA_*` in its environment.
    pub settings: Vec<(String, String)>,
    /// Arguments besides those that the harness gives.
    pub args: Vec<String>,
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the other node of a pair connects; port 0 takes a free one.
    pub replication: SocketAddr,
    /// Where metrics and health are; port 0 takes a free one.
    pub http: SocketAddr,
    /// First processor of its shards.
    pub first_core: u16,
    /// Put before the program and its arguments: `ip netns exec`, say.
    pub wrapper: Vec<String>,
}

impl Setup {
    /// A small node with one shard on this data directory.
    pub fn new(data_dir: &Path) -> Self {
        let small = [
            ("dedupe_entries", "262144"),
            ("segment_mib", "4"),
            ("spin_us", "0"),
            ("disk_reserve_mib", "64"),
        ];
        Self {
            data_dir: data_dir.to_owned(),
            shards: 1,
            settings: small.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            args: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            replication: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: SocketAddr::from(([127, 0, 0, 1], 0)),
            first_core: 0,
            wrapper: Vec::new(),
        }
    }

    /// With a setting.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// With so many shards.
    #[must_use]
    pub fn shards(mut self, shards: u16) -> Self {
        self.shards = shards;
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.args.push(arg.to_string());
        self
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = wrapped(&self.wrapper);
        let cores: Vec<String> =
            (0..self.shards).map(|core| (self.first_core + core).to_string()).collect();
        command.arg("serve").arg("--data-dir").arg(&self.data_dir).args([
            "--http",
            &self.http.to_string(),
            "--cores",
            &cores.join(","),
        ]);
        command.args(["--shards", &self.shards.to_string(), "--listen", &self.listen.to_string()]);
        command.args(["--replication", &self.replication.to_string()]).args(&self.args);
        for (key, value) in &self.settings {
            command.env(format!("CATRACA_{}", key.to_uppercase()), value);
        }
        command
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it ends instead; with all that it wrote.
    pub fn start(&self) -> Node {
        Node::of(Process::spawn(&mut self.command()), self.clone())
    }

    /// Starts it, which must fail: gives its exit status and what it wrote.
    ///
    /// # Panics
    /// When it does not end.
    pub fn fail(&self) -> (i32, String) {
        fail(&mut self.command())
    }
}

/// Runs a command that must end by itself, without success: its exit status and what it wrote to
/// standard error.
///
/// # Panics
/// When it goes on, or ends well, or by a signal.
pub fn fail(command: &mut Command) -> (i32, String) {
    let mut process = Process::spawn(command);
    let status = process.wait();
    let text = process.stderr();
    assert!(!status.success(), "it should have failed: {text}");
    (status.code().unwrap_or_else(|| panic!("ended by {status}: {text}")), text)
}

/// An empty folder on the disk, removed when dropped.
///
/// # Panics
/// When it can't be made.
pub fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("node-")
        .tempdir_in(binary::scratch_dir())
        .expect("a folder in the target folder")
}

/// An address of this machine that nobody uses at the moment.
///
/// # Panics
/// When there is none.
pub fn free_address() -> SocketAddr {
    free_address_on(IpAddr::from([127, 0, 0, 1]))
}

/// The same on one of its addresses.
///
/// # Panics
/// When there is none, or the address is not the machine's.
pub fn free_address_on(ip: IpAddr) -> SocketAddr {
    // Counted up over all tests and runs, so that no two take the same one before they listen on
    // it.
    let path = binary::scratch_dir().join("next-port");
    let mut counter = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .expect("the scratch folder");
    rustix::fs::flock(&counter, rustix::fs::FlockOperation::LockExclusive)
        .expect("a lock on a file just opened");
    let mut text = String::new();
    counter.read_to_string(&mut text).expect("text");
    let first = text.trim().parse().ok().filter(|port| PORTS.contains(port)).unwrap_or(PORTS.start);
    let port = (first..PORTS.end)
        .chain(PORTS.start..first)
        .find(|&port| TcpListener::bind((ip, port)).is_ok());
    let port = port.expect("the address is this machine's and has a free port");
    counter.set_len(0).expect("written");
    counter.write_all_at((port + 1).to_string().as_bytes(), 0).expect("written");
    SocketAddr::new(ip, port)
}

/// What a process has written to standard error so far.
#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

/// A process whose standard error is collected.
pub struct Process {
    child: Child,
    written: Arc<(Mutex<Written>, Condvar)>,
}

impl Process {
    /// Starts the command.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("standard error is piped");
        let written = Arc::new((Mutex::new(Written::default()), Condvar::new()));
        let shared = Arc::clone(&written);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                shared
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .lines
                    .push(String::from_utf8_lossy(&line).into_owned());
                shared.1.notify_all();
            }
            shared.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            shared.1.notify_all();
        });
        Self { child, written }
    }

    /// Process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// All lines written to standard error.
    pub fn lines(&self) -> Vec<String> {
        self.written.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// All that was written to standard error.
    pub fn stderr(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for a JSON line that fits, and gives it.
    ///
    /// # Panics
    /// When the process ends without it, or none comes in time.
    pub fn wait_for_line(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut written = self.written.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = written
                .lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line| fits(line));
            if let Some(found) = found {
                return found;
            }
            assert!(
                !written.ended && began.elapsed() < PATIENCE,
                "no line {what:?}:\n{}",
                written.lines.join("\n")
            );
            written = self
                .written
                .1
                .wait_timeout(written, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// Never: a child can be waited for.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for its end, and for the last of what it wrote.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.stderr());
            std::thread::sleep(LOOK_AGAIN);
        };
        let mut written = self.written.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !written.ended {
            written = self.written.1.wait(written).unwrap_or_else(PoisonError::into_inner);
        }
        status
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it can't be sent.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a child that was not waited for takes signals");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running node.
pub struct Node {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where metrics and health are.
    pub http: SocketAddr,
    /// The process.
    pub process: Process,
    /// How it was started.
    pub setup: Setup,
}

impl Node {
    /// The node that this process is, once it serves.
    ///
    /// # Panics
    /// When it ends instead; with all that it wrote.
    pub fn of(process: Process, setup: Setup) -> Self {
        let ready = process.wait_for_line("ready", |line| line["fields"]["message"] == "ready");
        let address = |field: &str| {
            ready["fields"][field]
                .as_str()
                .and_then(|text| text.parse().ok())
                .expect("the ready line has the addresses")
        };
        Self { listen: address("listen"), http: address("http"), process, setup }
    }

    /// A client that does not connect again by itself, so that each answer is from the connection
    /// it was asked on.
    ///
    /// # Panics
    /// When it can't connect.
    pub fn client(&self) -> Client {
        Client::connect(self.client_options()).expect("the node takes connections")
    }

    /// Options for [`Self::client`].
    pub fn client_options(&self) -> ClientOptions {
        ClientOptions {
            reconnect_attempts: 0,
            // As long as the tests wait for anything: on a busy machine a connection beside others
            // under full load was seen to wait for 10 s.
            answer_timeout_ms: 60_000,
            ..ClientOptions::new(self.listen.to_string())
        }
    }

    /// Ends it as a crash would, and gives what it had written.
    ///
    /// # Panics
    /// When it does not die.
    pub fn kill(mut self) -> String {
        self.process.signal(Signal::KILL);
        self.process.wait();
        self.process.stderr()
    }

    /// Stops it as an operator would; it must end with status 0. Gives what it had written.
    ///
    /// # Panics
    /// When it ends in another way.
    pub fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
        self.process.stderr()
    }

    /// Fetches a path over HTTP: status and body.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn http_get(&self, path: &str) -> (u16, String) {
        let answer = http_get(self.http, path);
        answer.unwrap_or_else(|error| {
            panic!("no answer over HTTP: {error}\n{}", self.process.stderr())
        })
    }

    /// The sum of a metric over its labels.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.http_get("/metrics");
        assert_eq!(status, 200, "{text}");
        let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let values: Vec<f64> =
            samples.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "no metric {name}:\n{text}");
        values.iter().sum()
    }

    /// Waits until something holds of the node.
    ///
    /// # Panics
    /// When it does not come to hold in time.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "never {what}:\n{}", self.process.stderr());
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Fetches a path over HTTP: status and body.
///
/// # Errors
/// Those of the connection.
pub fn http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let Reply { status, body, .. } = http(address, "GET", path, "")?;
    Ok((status, body))
}

/// What came over HTTP.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The fields before the body, lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Asks over HTTP, with these header fields besides (each with its line end).
///
/// # Errors
/// Those of the connection.
pub fn http(address: SocketAddr, method: &str, path: &str, fields: &str) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {reply:?}")))?;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    Ok(Reply { status, head: head.to_lowercase(), body: body.to_owned() })
}
