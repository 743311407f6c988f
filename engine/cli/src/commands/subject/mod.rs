//! `catraca subject`: what a data directory holds of one person or company. It only reads, and may run beside a node.

mod held;
mod report;

use super::Outcome;

/// Arguments of `catraca subject`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Tell what is held of a CPF or CNPJ: decisions, labels, lists, quarantine
    #[command(after_help = report::EXAMPLES)]
    Report(report::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Report(args) => report::run(args),
    }
}
