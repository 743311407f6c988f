//! `catraca gateway`: takes payments over HTTP as JSON.

mod clients;
mod config;

use super::follow::Follow;
use super::output::print;
use super::{Outcome, door};
use catraca_node::signals;
use config::Config;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use toml::{Table, Value};

/// Arguments of `catraca gateway`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Settings come from defaults, then the file, then CATRACA_GATEWAY_* in the environment, then flags.
Clients, access tokens, API keys, TLS and rates have keys in the file: engine/GATEWAY.md has them all.
SIGTERM or Ctrl-C stops: what was taken is answered first. SIGHUP reads certificates anew.

Examples:
  catraca gateway --node 127.0.0.1:7400
  catraca gateway --node db-a:7400 --node db-b:7400 --credential-file /etc/catraca/gateway.credential
  catraca gateway --config /etc/catraca/gateway.toml --check-config
  curl -H 'Content-Type: application/json' http://127.0.0.1:8080/v1/decisions -d @payment.json")]
pub struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where HTTP is served; without [[clients]] in the file, on this machine only
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// A node; give both of a pair
    #[arg(long, value_name = "HOST:PORT")]
    node: Vec<String>,
    /// File whose first line is the credential, where the nodes ask for one
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// Connections to the node that decides [default: 2]
    #[arg(long, value_name = "N")]
    connections: Option<u16>,
    /// Requests that wait for their answers at once; more are refused [default: 4096]
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// The longest budget of a payment, milliseconds [default: 2000]
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u32>,
    /// Where metrics are, without a login [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Check the configuration and end
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    follow: Follow,
}

impl Args {
    fn flags(&self) -> Table {
        let text = |text: String| Value::String(text);
        let number = |number: i64| Value::Integer(number);
        let mut table = Table::new();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                table.insert(key.to_owned(), value);
            }
        };
        set("listen", self.listen.map(|address| text(address.to_string())));
        set("metrics_listen", self.metrics_listen.map(|address| text(address.to_string())));
        let nodes: Vec<Value> = self.node.iter().cloned().map(Value::String).collect();
        set("nodes", (!nodes.is_empty()).then_some(Value::Array(nodes)));
        let file = self.credential_file.as_ref().map(|path| text(path.display().to_string()));
        set("credential_file", file);
        set("connections", self.connections.map(|n| number(n.into())));
        set("max_in_flight", self.max_in_flight.map(|n| number(n.into())));
        set("timeout_ms", self.timeout_ms.map(|n| number(n.into())));
        table
    }
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    signals::hold()?;
    args.follow.follow()?;
    let config = Config::load(args.config.as_deref(), std::env::vars(), args.flags())?;
    let options = config.options()?;
    if args.check_config {
        return print("the configuration is right\n", ExitCode::SUCCESS);
    }
    door::run(&config.log_level, |signals| catraca_edge::run(options, signals.told()))
}
