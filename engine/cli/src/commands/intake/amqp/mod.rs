//! `catraca intake amqp`: takes payments out of RabbitMQ's queues.

mod config;

use crate::commands::follow::Follow;
use crate::commands::output::print;
use crate::commands::{Outcome, door};
use catraca_edge::intake::amqp;
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
A message is a payment as POST /v1/decisions takes it, and so is the reply: engine/INTAKE.md has all of it.
SIGTERM or Ctrl-C stops: nothing more is taken, what was taken is answered first.

Examples:
  catraca intake amqp --queue payments --reply-key decisions --dead-letter-key payments.dead
  catraca intake amqp --node db-a:7400 --node db-b:7400 --broker mq-a:5671 --broker mq-b:5671 \\
    --broker-ca-file /etc/catraca/mq-ca.pem --user catraca --password-file /etc/catraca/mq.password \\
    --queue payments.0 --queue payments.1 --reply-exchange decisions --dead-letter-key payments.dead
  catraca intake amqp --config /etc/catraca/intake.toml --check-config";

/// Arguments of `catraca intake amqp`.
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
    /// A broker; give all of a cluster [default: 127.0.0.1:5672]
    #[arg(long, value_name = "HOST:PORT")]
    broker: Vec<String>,
    /// Authorities that vouch for the broker, PEM; without them it is spoken to in clear
    #[arg(long, value_name = "FILE")]
    broker_ca_file: Option<PathBuf>,
    /// The virtual host [default: /]
    #[arg(long, value_name = "NAME")]
    vhost: Option<String>,
    /// Who the intake is to the broker [default: guest]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File whose first line is that user's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A queue that payments are taken out of; give each
    #[arg(long, value_name = "NAME")]
    queue: Vec<String>,
    /// Messages of each queue that are taken and not answered at once [default: 1024]
    #[arg(long, value_name = "N")]
    prefetch: Option<u16>,
    /// Exchange of replies to messages without reply_to [default: the default exchange]
    #[arg(long, value_name = "NAME")]
    reply_exchange: Option<String>,
    /// Routing key of these; with the default exchange the queue
    #[arg(long, value_name = "KEY")]
    reply_key: Option<String>,
    /// Exchange of messages that nobody can decide on [default: the default exchange]
    #[arg(long, value_name = "NAME")]
    dead_letter_exchange: Option<String>,
    /// Routing key of these; with the default exchange the queue
    #[arg(long, value_name = "KEY")]
    dead_letter_key: Option<String>,
    /// The longest budget of a payment, from the queue on, milliseconds [default: 2000]
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
        let number = |number: i64| Value::Integer(number);
        let settings = [
            ("nodes", list(&self.node)),
            ("credential_file", self.credential_file.as_ref().map(path)),
            ("brokers", list(&self.broker)),
            ("broker_ca_file", self.broker_ca_file.as_ref().map(path)),
            ("vhost", self.vhost.as_ref().map(text)),
            ("user", self.user.as_ref().map(text)),
            ("password_file", self.password_file.as_ref().map(path)),
            ("queues", list(&self.queue)),
            ("prefetch", self.prefetch.map(|n| number(n.into()))),
            ("reply_exchange", self.reply_exchange.as_ref().map(text)),
            ("reply_key", self.reply_key.as_ref().map(text)),
            ("dead_letter_exchange", self.dead_letter_exchange.as_ref().map(text)),
            ("dead_letter_key", self.dead_letter_key.as_ref().map(text)),
            ("timeout_ms", self.timeout_ms.map(|n| number(n.into()))),
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
    door::run(&config.log_level, |signals| amqp::run(setup, options, signals.told()))
}
