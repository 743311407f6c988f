//! `catraca intake kafka`: takes payments out of Kafka's topics.

mod config;

use crate::commands::follow::Follow;
use crate::commands::output::print;
use crate::commands::{Outcome, door};
use catraca_edge::intake::kafka;
use catraca_node::signals;
use config::Config;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use toml::{Table, Value};

/// Below the help.
pub(super) const EXAMPLES: &str = "\
Settings come from defaults, then the file, then CATRACA_INTAKE_* in the environment, then flags.
The broker's password is CATRACA_INTAKE_PASSWORD or the first line of --password-file; there is no flag for it.
A record is a payment as POST /v1/decisions takes it, and so is the reply: engine/INTAKE.md has all of it.
SIGTERM or Ctrl-C stops: nothing more is taken, what was taken is answered first.

Examples:
  catraca intake kafka --topic payments --reply-topic decisions --dead-letter-topic payments.dead
  catraca intake kafka --node db-a:7400 --node db-b:7400 --broker k-a:9093 --broker k-b:9093 \\
    --broker-ca-file /etc/catraca/kafka-ca.pem --user catraca --password-file /etc/catraca/kafka.password \\
    --topic payments --reply-topic decisions --dead-letter-topic payments.dead
  catraca intake kafka --config /etc/catraca/intake.toml --check-config";

/// Arguments of `catraca intake kafka`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A node; give both of a pair
    #[arg(long, value_name = "HOST:PORT")]
    node: Vec<String>,
    /// File whose first line is the credential, where the nodes ask for one
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// A broker; give some of a cluster [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    broker: Vec<String>,
    /// Authorities that vouch for the brokers, PEM; without them they are spoken to in clear
    #[arg(long, value_name = "FILE")]
    broker_ca_file: Option<PathBuf>,
    /// Who the intake is to the brokers [default: nobody]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File whose first line is that user's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A topic that payments are taken out of; give each
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// The consumer group [default: catraca]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Topic of replies
    #[arg(long, value_name = "NAME")]
    reply_topic: Option<String>,
    /// Topic of records that nobody can decide on
    #[arg(long, value_name = "NAME")]
    dead_letter_topic: Option<String>,
    /// Records that are taken and not answered at once [default: 4096]
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// The longest budget of a payment, from the record's time on, milliseconds [default: 2000]
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u32>,
    /// Where metrics and health are, without a login [default: nowhere]
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
        let text = |text: &String| Value::String(text.clone());
        let path = |path: &PathBuf| Value::String(path.display().to_string());
        let list = |all: &[String]| {
            (!all.is_empty()).then(|| Value::Array(all.iter().map(text).collect()))
        };
        let settings = [
            ("nodes", list(&self.node)),
            ("credential_file", self.credential_file.as_ref().map(path)),
            ("brokers", list(&self.broker)),
            ("broker_ca_file", self.broker_ca_file.as_ref().map(path)),
            ("user", self.user.as_ref().map(text)),
            ("password_file", self.password_file.as_ref().map(path)),
            ("topics", list(&self.topic)),
            ("group", self.group.as_ref().map(text)),
            ("reply_topic", self.reply_topic.as_ref().map(text)),
            ("dead_letter_topic", self.dead_letter_topic.as_ref().map(text)),
            ("max_in_flight", self.max_in_flight.map(|n| Value::Integer(n.into()))),
            ("timeout_ms", self.timeout_ms.map(|n| Value::Integer(n.into()))),
            ("metrics_listen", self.metrics_listen.map(|at| Value::String(at.to_string()))),
        ];
        let given = |(key, value): (&str, Option<Value>)| Some((key.to_owned(), value?));
        settings.into_iter().filter_map(given).collect()
    }
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    signals::hold()?;
    args.follow.follow()?;
    let config = Config::load(args.config.as_deref(), std::env::vars(), args.flags())?;
    let (setup, options) = config.options()?;
    if args.check_config {
        return print("the configuration is right\n", ExitCode::SUCCESS);
    }
    door::run(&config.log_level, |signals| kafka::run(setup, options, signals.told()))
}
