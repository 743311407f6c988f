//! What the programs in `bin/` that measure real processes share: nodes, the load generator and what it saw.

use serde_json::Value;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What such a program has, or why it ended.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a load saw.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Verdicts a second.
    pub per_second: f64,
    /// Microseconds that half of them took at most.
    pub p50_us: f64,
    /// Microseconds that 99 in 100 of them took at most.
    pub p99_us: f64,
}

/// Closed loop of so many connections, with so many transactions unanswered on each, from the second processor.
///
/// # Errors
/// The load generator could not be run, or printed no report.
pub fn load(node: &Node, connections: usize, in_flight: usize, seconds: f64) -> Outcome<Figures> {
    let (connections, in_flight) = (connections.to_string(), in_flight.to_string());
    let seconds = seconds.to_string();
    let shape = ["--connections", &connections, "--in-flight", &in_flight, "--seconds", &seconds];
    load_with(&node.client, &[&shape[..], &["--warmup", "1"]].concat())
}

/// A load on this address with these flags, from the second processor.
///
/// # Errors
/// The load generator could not be run, or printed no report.
pub fn load_with(address: &str, flags: &[&str]) -> Outcome<Figures> {
    let result = report_of(address, flags)?;
    let latency = &result["latency_us"];
    Ok(Figures {
        per_second: number(&result["throughput_per_s"])?,
        p50_us: number(&latency["p50"])?,
        p99_us: number(&latency["p99"])?,
    })
}

/// The report of a load with these flags, from the second processor.
///
/// # Errors
/// The load generator could not be run, or printed no report.
pub fn report(node: &Node, flags: &[&str]) -> Outcome<Value> {
    report_of(&node.client, flags)
}

fn report_of(address: &str, flags: &[&str]) -> Outcome<Value> {
    let output = Command::new(program("catraca-loadgen")?)
        .args(["--addr", address, "--core", "1", "--json", "-"])
        .args(flags)
        .stderr(Stdio::null())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A number of a report.
///
/// # Errors
/// It is none.
pub fn number(value: &Value) -> Outcome<f64> {
    value.as_f64().ok_or_else(|| format!("the load generator gave {value}").into())
}

/// The median of some values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor time that the threads of a process have had, microseconds; of those that have ended none.
///
/// # Errors
/// There is none of this number.
pub fn cpu_us(process: u32) -> Outcome<f64> {
    let mut ns = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        ns += text.split(' ').next().ok_or("a time")?.parse::<f64>()?;
    }
    Ok(ns / 1e3)
}

/// Where a program of the project is.
///
/// # Errors
/// It was not built.
pub fn program(name: &str) -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is missing: `cargo build --release` first", path.display()).into())
    }
}

/// A running node; killed when dropped.
#[derive(Debug)]
pub struct Node {
    process: Child,
    /// Its data directory.
    pub folder: PathBuf,
    /// Where it listens for clients.
    pub client: String,
    /// Where it listens for clients over TLS; empty where it does not.
    pub client_tls: String,
    /// Where it listens for its standby.
    pub replication: String,
    http: String,
}

impl Node {
    /// Starts one with one data core on a processor, and more settings as variables of its environment.
    ///
    /// # Errors
    /// It did not start.
    pub fn start(
        folder: &Path,
        cpu: usize,
        standby_of: Option<&str>,
        settings: &[(&str, &str)],
    ) -> Outcome<Self> {
        Self::start_with(folder, cpu, standby_of, settings, &[])
    }

    /// The same with more flags.
    ///
    /// # Errors
    /// It did not start.
    pub fn start_with(
        folder: &Path,
        cpu: usize,
        standby_of: Option<&str>,
        settings: &[(&str, &str)],
        flags: &[&str],
    ) -> Outcome<Self> {
        fs::create_dir_all(folder)?;
        // A node that comes back must be found where it was.
        let port_file = folder.with_extension("ports");
        let ports =
            fs::read_to_string(&port_file).unwrap_or_else(|_| "127.0.0.1:0 127.0.0.1:0".to_owned());
        let (listen, replication) = ports.split_once(' ').ok_or("two addresses")?;
        let mut command = Command::new(program("catraca")?);
        command.arg("serve").arg("--data-dir").arg(folder).args([
            "--shards",
            "1",
            "--cores",
            &cpu.to_string(),
        ]);
        command.args(["--http", "127.0.0.1:0", "--listen", listen, "--replication", replication]);
        command.args(flags);
        if let Some(primary) = standby_of {
            command.args(["--standby-of", primary]).env("CATRACA_SPIN_US", "0");
        }
        command.env("CATRACA_DEDUPE_ENTRIES", "1048576").env("CATRACA_DISK_RESERVE_MIB", "64");
        command.envs(settings.iter().copied());
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines =
            BufReader::new(process.stderr.take().ok_or("standard error is piped")?).lines();
        let mut last = String::new();
        let ready = loop {
            let Some(line) = lines.next().transpose()? else {
                return Err(format!("the node did not start: {last}").into());
            };
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if parsed["fields"]["message"] == "ready" {
                break parsed;
            }
            last = line;
        };
        std::thread::spawn(move || lines.for_each(drop));
        let field = |name: &str| ready["fields"][name].as_str().unwrap_or_default().to_owned();
        let (client, replication) = (field("listen"), field("replication"));
        fs::write(&port_file, format!("{client} {replication}"))?;
        let (http, client_tls) = (field("http"), field("listen_tls"));
        Ok(Self { process, folder: folder.to_owned(), client, client_tls, replication, http })
    }

    /// Kills it.
    ///
    /// # Errors
    /// It can't be killed.
    pub fn kill(&mut self) -> Outcome<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Number of its process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// MiB of memory that it has.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory_mib(&self) -> Outcome<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }

    /// The sum of a metric over its labels.
    ///
    /// # Errors
    /// There is none of this name, or the node can't be asked.
    pub fn metric(&self, name: &str) -> Outcome<f64> {
        let mut stream = std::net::TcpStream::connect(&self.http)?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.http
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let values: Vec<f64> =
            samples.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        if values.is_empty() {
            Err(format!("no metric {name}").into())
        } else {
            Ok(values.iter().sum())
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
