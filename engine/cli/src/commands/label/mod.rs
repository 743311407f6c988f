//! `catraca label`: what became known of decisions after they were made.

mod add;
mod import;
mod list;

use super::Outcome;
use catraca_wire::extension::LabelSource;
use catraca_wire::frame::{LabelKind, MAX_LABEL_SOURCE_LEN};
use clap::Subcommand;

/// Arguments of `catraca label`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Say what became known of one decision
    #[command(after_help = add::EXAMPLES)]
    Add(add::Args),
    /// Say what became known of many decisions, out of a CSV file
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// The labels of a log, each with the verdict of its decision
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Add(args) => add::run(&args),
        Command::Import(args) => import::run(&args),
        Command::List(args) => list::run(&args),
    }
}

/// A kind of label by its name, with hyphens or underscores.
fn kind(text: &str) -> Result<LabelKind, String> {
    let name = text.trim().replace('-', "_");
    let found = LabelKind::ALL.iter().find(|kind| kind.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = LabelKind::ALL.iter().map(|kind| kind.name()).collect();
        // Without the text: a document may have slipped into it.
        format!("give one of {}", names.join(", "))
    })
}

/// Who says so.
fn source(text: &str) -> Result<LabelSource, String> {
    LabelSource::parse(text.trim()).ok_or_else(|| {
        format!("a source has 1 to {MAX_LABEL_SOURCE_LEN} printable ASCII characters")
    })
}
