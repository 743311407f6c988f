//! `catraca policy candidate|compare`: a policy that is tried on a running node, beside the one in force.

use super::file;
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::log::{time, utc};
use crate::commands::output::{json, print};
use crate::commands::totals::{matrix_json, percent_changed, rules_json, tables};
use catraca_core::log::policies::PolicyId;
use catraca_core::policy::{Cell, RuleTotals, Totals};
use catraca_node::fatal::Failure;
use catraca_node::policy_file::PolicyFile;
use catraca_wire::client::{Comparison, now_ns};
use catraca_wire::frame::PolicyChange;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Until when a policy is tried where nothing is said: two weeks.
const DEFAULT_DAYS: u64 = 14;
const NS_PER_DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy candidate stricter.toml
  catraca policy candidate stricter.toml --until 2026-12-31
  catraca policy compare stricter.toml                  # what it would have done so far
  catraca policy candidate --end

The policy sees every payment that the node decides, after its answer is on its way, and decides nothing. Under a load that leaves the core
no time payments are left out, and counted. It is not logged: a node that starts, or is promoted, tries none. The credential
needs the permission `admin`.

Exit status: 0 it is tried, 1 nothing changed, 3 something is wrong with the file.";

pub const COMPARE_EXAMPLES: &str = "\
Examples:
  catraca policy compare --addr 127.0.0.1:7400
  catraca policy compare stricter.toml --json          # with the ids of its rules

Exit status: 0 told, 1 no policy is tried, or FILE is another one.";

/// Arguments of `candidate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Policy (TOML); on the node's machine
    #[arg(required_unless_present = "end", conflicts_with = "end")]
    file: Option<PathBuf>,
    /// Until when: RFC 3339, or a date or date and time in this machine's zone [default: in 14 days]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "end")]
    until: Option<u64>,
    /// Try none any more; tells what came of it
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `compare`.
#[derive(clap::Args, Debug)]
pub struct CompareArgs {
    /// The policy that is tried (TOML), for the ids of its rules
    file: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `candidate`.
pub fn run(args: &Args) -> Outcome {
    let Some(path) = &args.file else {
        let mut client = args.connect.connect_patiently()?;
        // What came of it is lost behind the end.
        let came = ask(&mut client, &PolicyChange::compare())?;
        let ended = ask(&mut client, &PolicyChange::end_candidate())?;
        if ended.head.changed == 0 {
            return Err(Failure::failed("no policy is tried: nothing changed"));
        }
        return print(&shown(&came, None, args.json), ExitCode::SUCCESS);
    };
    let policy = file::sound(path)?;
    let until_ns = args.until.unwrap_or_else(|| now_ns() + DEFAULT_DAYS * NS_PER_DAY);
    // The node has another working directory.
    let path = std::path::absolute(path)
        .map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let path = path.to_str().ok_or_else(|| Failure::failed("the path must be UTF-8"))?;
    let change = PolicyChange::candidate(path, policy.id.0, until_ns)
        .map_err(|e| Failure::failed(e.to_string()))?;
    let came = ask(&mut args.connect.connect_patiently()?, &change)?;
    print(&shown(&came, Some(&policy), args.json), ExitCode::SUCCESS)
}

/// Runs `compare`.
pub fn compare(args: &CompareArgs) -> Outcome {
    let file = args.file.as_deref().map(file::sound).transpose()?;
    let came = ask(&mut args.connect.connect()?, &PolicyChange::compare())?;
    if came.head.policy_id == [0; 32] {
        return Err(Failure::failed(
            "no policy is tried; begin with `catraca policy candidate FILE`",
        ));
    }
    if file.as_ref().is_some_and(|file| file.id.0 != came.head.policy_id) {
        let why =
            format!("another policy is tried than this one: {}", PolicyId(came.head.policy_id));
        return Err(Failure::failed(why));
    }
    print(&shown(&came, file.as_ref(), args.json), ExitCode::SUCCESS)
}

fn ask(
    client: &mut catraca_wire::client::Client,
    change: &PolicyChange,
) -> Result<Comparison, Failure> {
    client.candidate(change).map_err(|e| Failure::failed(format!("nothing changed: {e}")))
}

fn totals_of(came: &Comparison) -> Totals {
    let cell = |count, centavos: u64| Cell { count, centavos: centavos.into() };
    let rules = came.rules.iter().map(|rule| RuleTotals {
        matched: cell(rule.matched, rule.matched_centavos),
        changed: cell(rule.changed, rule.changed_centavos),
        settled: rule.settled,
        without_result: rule.without_result,
    });
    Totals {
        matrix: came.matrix.map(|row| row.map(|of| cell(of.count, of.centavos))),
        rules: rules.collect(),
    }
}

fn shown(came: &Comparison, file: Option<&PolicyFile>, as_json: bool) -> String {
    let totals = totals_of(came);
    let ids: Vec<String> = match file {
        Some(file) => file.rules.rules.iter().map(|rule| rule.id.clone()).collect(),
        None => (1..=totals.rules.len()).map(|number| format!("rule {number}")).collect(),
    };
    let ids = || ids.iter().map(String::as_str);
    let (head, id) = (&came.head, PolicyId(came.head.policy_id));
    if as_json {
        return json(&json!({
            "policy_id": id.to_string(),
            "since": utc(head.since_ns),
            "until": utc(head.until_ns),
            "payments": totals.payments(),
            "changed": totals.changed(),
            "changed_percent": percent_changed(&totals),
            "left_out": head.left_out,
            "left_out_centavos": head.left_out_centavos,
            "matrix": matrix_json(&totals.matrix),
            "rules": rules_json(ids(), &totals),
        }));
    }
    let left_out = match head.left_out {
        0 => String::new(),
        count => format!("; {count} payments were left out for want of time"),
    };
    if totals.payments() == 0 && head.left_out == 0 {
        let until = utc(head.until_ns);
        return format!(
            "tried {id}\n      since {}, until {until}; no payment so far\n",
            utc(head.since_ns)
        );
    }
    format!(
        "tried {id}\n      since {}, until {}\n{}{left_out}\n",
        utc(head.since_ns),
        utc(head.until_ns),
        tables("in force", ids(), &totals)
    )
}
