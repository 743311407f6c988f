//! `catraca validators force`: what a person says of a validator's circuit breaker.

use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::log::utc;
use crate::commands::output::{changed, json, lines, print};
use crate::commands::policy::{author, name, reason};
use catraca_node::fatal::{Failure, Status};
use catraca_wire::frame::{Breaker, BreakerForce, ValidatorRequest, ValidatorStateReply};
use catraca_wire::list::{Author, ListName, ListReason};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
open: the validator is left alone. Its payments are decided without its answer, as `no_answer` of
the policy says, but for answers that are kept.
closed: it is asked whatever it fails.
auto: its breaker judges by itself again, closed to begin with.

What is said is logged, and so on the standby, before it is done and answered, with who says so and
why. It holds until `auto`, over each policy that has a validator of that name, and no longer than
this node runs and decides: a restart and a promotion begin without it, so say it again.
`catraca validators` shows forced_open and forced_closed. The credential needs the permission `admin`.

Examples:
  catraca validators force cpf-status open --reason \"maintenance until 18:00\" --author ana
  catraca validators force cpf-status closed --reason \"slow, and well\" --addr 10.0.0.5:7400
  catraca validators force cpf-status auto --reason \"maintenance is over\" --json
  catraca validators history /var/lib/catraca               # who forced what, and why

Exit status: 0 done, or so already; 1 refused.";

/// Arguments of `catraca validators force`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Id of the validator, of the policy in force
    #[arg(value_name = "ID", value_parser = name)]
    validator: ListName,
    /// What of it: open, closed, auto
    #[arg(value_name = "STATE", value_parser = state)]
    force: BreakerForce,
    /// Why, at most 64 bytes; no personal data
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: ListReason,
    /// Who asks for it [default: $USER]
    #[arg(long, value_name = "NAME", value_parser = author)]
    author: Option<Author>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn state(text: &str) -> Result<BreakerForce, String> {
    let found = BreakerForce::ALL.iter().find(|force| force.name() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = BreakerForce::ALL.iter().map(|force| force.name()).collect();
        format!("give one of {}", names.join(", "))
    })
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let user = || std::env::var("USER").ok().and_then(|user| Author::parse(user.trim()));
    let author = args.author.or_else(user).filter(|author| !author.is_empty());
    let author = author.ok_or_else(|| {
        Failure::new(Status::Usage, "--author: nobody is known as the author; give a name")
    })?;
    let request = ValidatorRequest::force(args.validator, args.force, author, args.reason)
        .map_err(|error| Failure::new(Status::Usage, format!("--reason: {error}")))?;
    let mut client = args.connect.connect()?;
    let state = client.validator(&request).map_err(|error| {
        Failure::failed(format!("{}: its breaker was not forced: {error}", args.validator))
    })?;
    print(&text(args.validator, &state, args.json), ExitCode::SUCCESS)
}

fn text(validator: ListName, state: &ValidatorStateReply, as_json: bool) -> String {
    let name = |code: u8| Breaker::from_wire(code).map_or("unknown", Breaker::name);
    let (before, now) = (name(state.before), name(state.now));
    if as_json {
        return json(&serde_json::json!({
            "changed": state.changed == 1,
            "validator": validator.as_str(),
            "before": before,
            "breaker": now,
            "forced_at": utc(state.forced_at_ns),
            "forced_at_ns": state.forced_at_ns,
        }));
    }
    lines(&[
        changed(state.changed == 1),
        ("breaker".to_owned(), format!("{now}, before {before}")),
        ("logged".to_owned(), utc(state.forced_at_ns)),
    ])
}
