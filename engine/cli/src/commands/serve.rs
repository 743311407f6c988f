//! `catraca serve`: runs a node.

use super::Outcome;
use super::follow::Follow;
use super::output::print;
use catraca_node::archive_place;
use catraca_node::config::Config;
use catraca_node::fatal::{Failure, Status};
use catraca_node::lifecycle;
use catraca_node::logging;
use catraca_node::replication::restart;
use catraca_node::signals::{self, StopSignals};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use toml::{Table, Value};

/// Arguments of `catraca serve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Settings come from defaults, then the file, then CATRACA_* in the environment, then flags. SIGTERM or Ctrl-C stops: what was
accepted is answered first, and a second one changes nothing.

Examples:
  catraca serve --data-dir /var/lib/catraca
  catraca serve --data-dir /var/lib/catraca --standby-of 10.0.0.1:7401
  catraca serve --config /etc/catraca.toml --check-config
  CATRACA_SPIN_US=0 catraca serve --shards 2 --cores 0,2")]
pub struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the log, the lists and the node's identity
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients connect
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where clients connect over TLS; certificate and key are in the configuration file
    #[arg(long, value_name = "ADDR:PORT")]
    listen_tls: Option<SocketAddr>,
    /// Where metrics and health are served
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Where the other node of the cluster connects
    #[arg(long, value_name = "ADDR:PORT")]
    replication: Option<SocketAddr>,
    /// Be the standby of the primary that takes other nodes there; it needs the primary's chain.key
    /// in its data directory
    #[arg(long, value_name = "HOST:PORT")]
    standby_of: Option<String>,
    /// Shards, each on a core of its own: a number, or `auto`
    #[arg(long, value_name = "N|auto")]
    shards: Option<String>,
    /// Processors to pin the shards to
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Option<Vec<i64>>,
    /// Blacklist snapshot to take into use, if it is newer than the last one loaded
    #[arg(long, value_name = "FILE")]
    blacklist: Option<PathBuf>,
    /// The data directory is a copy, and is the node from now on: the original will not run again
    #[arg(long)]
    adopt_copy: bool,
    /// Check the configuration and end
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    follow: Follow,
}

impl Args {
    fn flags(&self) -> Table {
        let text = |path: &PathBuf| Value::String(path.display().to_string());
        let mut table = Table::new();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                table.insert(key.to_owned(), value);
            }
        };
        set("data_dir", self.data_dir.as_ref().map(text));
        set("listen", self.listen.map(|a| Value::String(a.to_string())));
        set("listen_tls", self.listen_tls.map(|a| Value::String(a.to_string())));
        set("http", self.http.map(|a| Value::String(a.to_string())));
        set("replication", self.replication.map(|a| Value::String(a.to_string())));
        set("standby_of", self.standby_of.clone().map(Value::String));
        set(
            "shards",
            self.shards
                .as_ref()
                .map(|s| s.parse().map_or_else(|_| Value::String(s.clone()), Value::Integer)),
        );
        set(
            "cores",
            self.cores
                .as_ref()
                .map(|cores| Value::Array(cores.iter().map(|&c| Value::Integer(c)).collect())),
        );
        set("blacklist", self.blacklist.as_ref().map(text));
        table
    }
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    signals::hold()?;
    args.follow.follow()?;
    let flags = args.flags();
    let file = args.config;
    let load = move || Config::load(file.as_deref(), std::env::vars(), flags.clone());
    let mut config = load()?;
    config.adopt_copy = args.adopt_copy;
    if args.check_config {
        config.layout()?;
        config.access()?;
        config.tls()?;
        config.replication_tls()?;
        archive_place::check(&config)?;
        return print("the configuration is right\n", ExitCode::SUCCESS);
    }
    logging::start(&config.log_level).map_err(|e| Failure::new(Status::Config, e))?;
    let read_clients = Box::new(move || load()?.access());
    lifecycle::run(&config, StopSignals::watch(restart::run_anew)?, read_clients)?;
    // The cores run until the process ends; what they were told to finish is finished.
    Ok(ExitCode::SUCCESS)
}
