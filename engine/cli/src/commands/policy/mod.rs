//! `catraca policy`: what a fraud team does with its rules.

mod check;
mod file;
mod online;

pub(super) use file::sound;

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
    /// Check a policy's file: types, units, texts, and what each rule costs
    #[command(after_help = check::EXAMPLES)]
    Check(check::Args),
    /// Take a policy into force on a running node
    Activate(online::ActivateArgs),
    /// Take the policy into force again that was before
    Rollback(online::RollbackArgs),
    /// The policy in force on a running node
    Status(online::StatusArgs),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Check(args) => check::run(&args),
        Command::Activate(args) => online::activate(&args),
        Command::Rollback(args) => online::rollback(&args),
        Command::Status(args) => online::status(&args),
    }
}
