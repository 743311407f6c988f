//! `catraca audit`: who asked for what, and what came of it, out of a log or by a running node.

mod export;
mod show;
mod trail;
mod verify;

use super::Outcome;

/// Arguments of `catraca audit`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// The newest entries, as a table or as JSON
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
    /// All entries for other programs, one JSON object a line
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
    /// Whether the log that holds them is whole, and whether each change says who asked for it
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Show(args) => show::run(args),
        Command::Export(args) => export::run(args),
        Command::Verify(args) => verify::run(args),
    }
}
