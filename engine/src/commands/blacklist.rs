//! `catraca blacklist`: lists.

use super::Outcome;

/// Arguments of `catraca blacklist`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args) -> Outcome {
    Ok(std::process::ExitCode::SUCCESS)
}
