//! `catraca policy`: what a fraud team does with its rules.

mod ask;
mod candidate;
mod check;
mod diff;
mod exempt;
mod explain;
mod file;
mod history;
mod init;
mod lists;
mod made_up;
mod made_up_lists;
mod online;
mod test;
mod warnings;

pub(super) use diff::effect;
pub(super) use file::sound;
pub(super) use lists::{author, name, reason};
pub(super) use warnings::say as say_warnings;

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
    /// Write a policy for Pix to begin with, and its tests
    #[command(after_help = init::EXAMPLES)]
    Init(init::Args),
    /// Check a policy's file: types, units, texts, and what each rule costs
    #[command(after_help = check::EXAMPLES)]
    Check(check::Args),
    /// Hold a policy to payments of your own and what is to become of them
    #[command(after_help = test::EXAMPLES)]
    Test(test::Args),
    /// What a policy does with one payment, rule by rule, with the values that it saw
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Args),
    /// Ask a validator of a policy once, and tell what its answer means
    #[command(after_help = ask::EXAMPLES)]
    Ask(ask::Args),
    /// What changes from one policy to another
    #[command(after_help = diff::EXAMPLES)]
    Diff(diff::Args),
    /// Take a policy into force on a running node
    Activate(online::ActivateArgs),
    /// Take the policy into force again that was before
    Rollback(online::RollbackArgs),
    /// Try a policy on a running node, beside the one in force
    #[command(after_help = candidate::EXAMPLES)]
    Candidate(candidate::Args),
    /// What the policy that is tried would have done so far
    #[command(after_help = candidate::COMPARE_EXAMPLES)]
    Compare(candidate::CompareArgs),
    /// What rules look up: lists of documents, accounts, devices, networks and so on, and numbers for them
    Lists(lists::Args),
    /// Have a rule not applied for somebody, until a time
    #[command(after_help = exempt::EXAMPLES)]
    Exempt(exempt::Args),
    /// The policy in force on a running node
    Status(online::StatusArgs),
    /// The policies that a log took into force, and their texts
    #[command(after_help = history::EXAMPLES)]
    History(history::Args),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Activate(args) => online::activate(&args),
        Command::Rollback(args) => online::rollback(&args),
        Command::Candidate(args) => candidate::run(&args),
        Command::Compare(args) => candidate::compare(&args),
        Command::Lists(args) => lists::run(&args),
        Command::Exempt(args) => exempt::run(&args),
        Command::Status(args) => online::status(&args),
        Command::History(args) => history::run(&args),
    }
}
