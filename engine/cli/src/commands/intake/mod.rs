//! `catraca intake`: takes payments out of queues.

mod amqp;
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
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Amqp(args) => amqp::run(args),
    }
}
