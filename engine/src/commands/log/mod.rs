//! `catraca log`: the log.

use super::Outcome;

/// Arguments of `catraca log`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args) -> Outcome {
    Ok(std::process::ExitCode::SUCCESS)
}
