//! The `catraca` binary: reads the command line and dispatches.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use catraca_cli::commands::{self, Outcome, output};
use catraca_node::fatal::Status;
use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;

/// Memory allocator of the whole process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Decides on payments: approve, review or deny, in microseconds, durably, and explainably.
#[derive(Parser, Debug)]
#[command(
    name = "catraca",
    version,
    about = "Decides on payments: approve, review or deny, durably and explainably.",
    max_term_width = 100
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show the whole system on this machine: two nodes, load, the primary's death, and every
    /// answer found again in both logs.
    Demo(commands::demo::Args),
    /// Run a node.
    Serve(commands::serve::Args),
    /// Take payments over HTTP as JSON, and pass them to the node that decides.
    Gateway(commands::gateway::Args),
    /// Take payments out of queues, and publish the decisions.
    Intake(commands::intake::Args),
    /// Show the running node's latencies by stage.
    Stats(commands::stats::Args),
    /// Ask the running node for a stored decision.
    Lookup(commands::lookup::Args),
    /// Show who decides, and how far behind the standby is.
    Status(commands::cluster::status::Args),
    /// Make a standby the primary.
    Promote(commands::cluster::promote::Args),
    /// Let a primary answer without its standby.
    Solo(commands::cluster::solo::Args),
    /// Build, inspect and change lists of documents.
    Blacklist(commands::blacklist::Args),
    /// Check policies.
    Policy(commands::policy::Args),
    /// Show how the services outside are that the policy asks, and force their breakers.
    Validators(commands::validators::Args),
    /// Answer validators as an invented service, well or badly.
    Provider(commands::provider::Args),
    /// Say what became known of decisions: fraud, or good payments.
    Label(commands::label::Args),
    /// Show who asked for what, and who was told personal data, out of a log.
    Audit(commands::audit::Args),
    /// Tell what is held of a person or company.
    Subject(commands::subject::Args),
    /// Read, verify and export the log.
    Log(commands::log::Args),
}

fn main() -> ExitCode {
    let outcome =
        CommandLine::try_parse().map_or_else(|said| explain(&said), |line| run(line.command));
    outcome.unwrap_or_else(|failure| {
        output::note(&failure.to_string());
        ExitCode::from(failure.status as u8)
    })
}

/// What the parser of the command line has to say: what is wrong with it, or the help that was
/// asked for.
fn explain(said: &clap::Error) -> Outcome {
    if said.use_stderr() {
        // Whether anybody hears it changes nothing.
        let _ = said.print();
        return Ok(ExitCode::from(Status::Usage as u8));
    }
    let help = said.render();
    let text =
        if std::io::stdout().is_terminal() { help.ansi().to_string() } else { help.to_string() };
    output::print(&text, ExitCode::SUCCESS)
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Gateway(args) => commands::gateway::run(args),
        Command::Intake(args) => commands::intake::run(args),
        Command::Stats(args) => commands::stats::run(args),
        Command::Lookup(args) => commands::lookup::run(args),
        Command::Status(args) => commands::cluster::status::run(&args),
        Command::Promote(args) => commands::cluster::promote::run(&args),
        Command::Solo(args) => commands::cluster::solo::run(&args),
        Command::Blacklist(args) => commands::blacklist::run(args),
        Command::Policy(args) => commands::policy::run(args),
        Command::Validators(args) => commands::validators::run(&args),
        Command::Provider(args) => commands::provider::run(&args),
        Command::Label(args) => commands::label::run(args),
        Command::Audit(args) => commands::audit::run(&args),
        Command::Subject(args) => commands::subject::run(&args),
        Command::Log(args) => commands::log::run(args),
    }
}
