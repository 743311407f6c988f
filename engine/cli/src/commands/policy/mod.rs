//! `catraca policy`: what a fraud team does with its rules.

mod check;

use super::Outcome;
use clap::Subcommand;

/// Arguments of `catraca policy`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check a policy's file: types, units, texts, and what each rule costs. A node does not take policies
    /// yet.
    #[command(after_help = check::EXAMPLES)]
    Check(check::Args),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Check(args) => check::run(&args),
    }
}
