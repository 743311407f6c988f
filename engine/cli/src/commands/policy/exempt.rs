//! `catraca policy exempt`: a rule that is not applied for somebody, until a time.

use super::lists::{About, By, ask, kind, name, state_text};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::log::time;
use crate::commands::output::print;
use catraca_node::fatal::{Failure, Status};
use catraca_wire::frame::ListRequest;
use catraca_wire::list::{ListKeyKind, ListName};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
The rule still matches, and is shown and recorded, but does nothing to payments with the key: a document that pays or is paid, a company that
does, an account on either side, or a device. An exemption ends, within 366 days; it outlives the policy, and goes with the rule's id. It is
logged on both nodes before it is answered. The credential needs the permission `admin`.
--until: RFC 3339, or a date or date and time in the zone of this machine, where the command runs (TZ), and not in that of the policy or the node;
a date stands for its midnight, so that the day itself is not in it.

Examples:
  catraca policy exempt many-payers 11.222.333/0001-81 --until 2027-03-01 --reason \"charity drive\"
  catraca policy exempt new-device 0x1f2e3d4c5b6a7988 --kind device --until 2027-01-01T12:00:00-03:00 --author ana
  catraca policy exempt many-payers 11.222.333/0001-81 --end
  catraca policy lists show --log /var/lib/catraca         # all exemptions, by whom and why

Exit status: 0 done, or so already; 1 refused.";

/// Arguments of `catraca policy exempt`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Id of the rule
    #[arg(value_name = "RULE", value_parser = name)]
    rule: ListName,
    /// Whose payments it is not applied to
    key: String,
    /// What the key is: document, company, account, device
    #[arg(long, value_name = "KIND", value_parser = kind, default_value = "document")]
    kind: ListKeyKind,
    /// Until when: RFC 3339, or a date, which is its midnight, or date and time, in this machine's zone (TZ)
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "end")]
    until: Option<u64>,
    /// Take the exemption back
    #[arg(long, conflicts_with = "until")]
    end: bool,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let Args { rule, key, kind, .. } = args;
    let request = match args.until {
        Some(until_ns) => ListRequest::exempt(*rule, *kind, key, until_ns),
        None => ListRequest::unexempt(*rule, *kind, key),
    };
    let request = request.map_err(|error| Failure::new(Status::Usage, error.to_string()))?;
    let (author, reason) = args.by.both();
    let state = ask(&args.connect, *rule, &request.by(author, reason))?;
    print(&state_text(&state, About::Exemption, true, args.json), ExitCode::SUCCESS)
}
