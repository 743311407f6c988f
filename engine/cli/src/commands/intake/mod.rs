//! `catraca intake`: takes payments out of queues and topics.

mod amqp;
#[cfg(feature = "kafka")]
mod kafka;
mod shared;

use super::Outcome;
use clap::Subcommand;

/// Arguments of `catraca intake`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Take payments out of RabbitMQ's queues, and publish the decisions
    #[command(after_help = amqp::EXAMPLES)]
    Amqp(amqp::Args),
    /// Take payments out of Kafka's topics, and publish the decisions
    #[cfg(feature = "kafka")]
    #[command(after_help = kafka::EXAMPLES)]
    Kafka(kafka::Args),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Amqp(args) => amqp::run(args),
        #[cfg(feature = "kafka")]
        Command::Kafka(args) => kafka::run(args),
    }
}
