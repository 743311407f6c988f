//! Services outside that validators ask, and what tests say to a node about them.

use crate::command;
use crate::node::{Node, Process};
use crate::payments::{between, document};
use crate::policies::write;
use catraca_wire::client::{Decision, now_ns};
use catraca_wire::frame::{Transaction, text_of};
use rustix::process::Signal;
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Document of a payer who is suspended; others are regular.
pub const SUSPENDED: u64 = 7;

/// A provider, and where it listens.
pub struct Provider {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Provider {
    /// Starts one that behaves so from when on: `phases` of its file of answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(dir: &Path, address: SocketAddr, phases: &str) -> Self {
        let payer = document(SUSPENDED).to_wire();
        let payer = text_of(&payer);
        let answers = format!(
            "otherwise = {{ body = {{ status = \"regular\" }} }}\n[answer.{payer}]\nbody = {{ status = \"suspended\" }}\n{phases}"
        );
        let answers = write(dir, &format!("answers-{}.toml", phases.len()), &answers);
        let mut provider = command::command();
        provider.args(["provider", "--listen", &address.to_string(), "--answers"]).arg(&answers);
        let process = Process::spawn(&mut provider);
        Self { address, _process: listening(process, address) }
    }
}

/// Waits until a process takes connections.
fn listening(mut process: Process, address: SocketAddr) -> Process {
    while TcpStream::connect(address).is_err() {
        assert!(!process.has_ended(), "{}", process.stderr());
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}

/// A Redis, Debian's `redis-server`, which scripts/setup.sh installs.
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    cli_args: Vec<String>,
}

impl Redis {
    /// Starts one that keeps nothing on the disk, with these settings besides.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(dir: &Path, address: SocketAddr, settings: &[&str]) -> Self {
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        server.arg("--dir").arg(dir).args(["--logfile", "redis.log"]);
        if !settings.contains(&"--tls-port") {
            server.args(["--port", &address.port().to_string()]);
        }
        let process = Process::spawn(server.args(settings));
        Self { address, process: listening(process, address), cli_args: Vec::new() }
    }

    /// Likewise, with these arguments of `redis-cli` for [`Self::say`].
    #[must_use]
    pub fn with_cli(mut self, args: &[&str]) -> Self {
        self.cli_args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Says something to it by `redis-cli`.
    ///
    /// # Panics
    /// When that fails.
    pub fn say(&self, args: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.address.port().to_string()]).args(&self.cli_args).args(args);
        let output = cli.output().expect("redis-cli runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !text.contains("ERR"), "{args:?}: {text}");
        text
    }

    /// All names that it holds.
    ///
    /// # Panics
    /// When it does not say.
    pub fn names(&self) -> Vec<String> {
        self.say(&["KEYS", "*"]).split_whitespace().map(str::to_owned).collect()
    }

    /// It hangs from now on, or goes on.
    ///
    /// # Panics
    /// When the signal can't be sent.
    pub fn hang(&self, hangs: bool) {
        self.process.signal(if hangs { Signal::STOP } else { Signal::CONT });
    }
}

/// A policy that asks about payments above R$ 50, with these keys of the validator besides.
pub fn policy_text(address: SocketAddr, more: &str) -> String {
    format!(
        r#"
[[validator]]
id = "status"
url = "http://{address}/people/{{payer.document}}"
when = "tx.amount > reais(50)"
documents = "full"
answer = "/status"
answers = ["regular", "suspended"]
no_answer = "review"
timeout_ms = 300
wait_ms = 900
{more}

[[rule]]
id = "suspended"
when = 'has(validator("status")) && validator("status") == "suspended"'
verdict = "deny"
"#
    )
}

/// A payment of one of a few payers.
pub fn payment(id: &str, payer: u64, amount_centavos: i64) -> Transaction {
    let mut payment = between(id, document(payer), document(900), now_ns());
    payment.amount_centavos = amount_centavos;
    payment
}

/// Has it decided.
///
/// # Panics
/// When there is no decision within its budget.
pub fn decide(node: &Node, id: &str, payer: u64, amount_centavos: i64) -> Decision {
    let payment = payment(id, payer, amount_centavos);
    node.client().decide(&payment).expect("decided within its budget")
}

/// What the node says of its validators.
pub fn validators(node: &Node) -> Value {
    command::json(["validators", "--json", "--http", &node.http.to_string()])
}

/// Recomputes all decisions of a log, none of which may differ.
///
/// # Panics
/// When one does.
pub fn replays(dir: &Path) -> Value {
    let replay = command::json(["log", "replay", &dir.display().to_string(), "--json"]);
    assert_eq!(replay["differing"], 0, "{replay}");
    replay
}

/// What a log says of the validators that were asked about a transaction, as `log show` tells it to programs.
///
/// # Panics
/// When it is not in the log, or nobody was asked.
pub fn asked(dir: &Path, id: &str) -> String {
    let log = dir.display().to_string();
    let shown = command::json(["log", "show", &log, "--transaction", id, "--json"]);
    let asked = shown["decisions"][0]["validators_asked"].as_str();
    asked.unwrap_or_else(|| panic!("nobody was asked: {shown}")).to_owned()
}
