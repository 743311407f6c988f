//! `catraca status`: who decides, and how far behind the standby is.

use super::{Answer, View, json, table};
use crate::commands::Outcome;
use crate::commands::connect::Credential;
use crate::commands::log::print;
use crate::fatal::Failure;
use catraca_wire::client::{Client, ClientError, ClusterState};
use catraca_wire::frame::ClusterRequest;
use std::process::ExitCode;

/// How long a node may take to say what it is: it knows without looking anything up.
const ANSWER_TIMEOUT_MS: u64 = 5_000;

/// Arguments of `catraca status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Asks each node for its part in the cluster: who decides, in which epoch, where answers are safe, whether the standby holds \
everything that was answered (then it may be promoted without loss), how far behind it is, and when the nodes last heard of \
each other. Each node says what it knows itself: ask both, and compare.
The credential needs one of the permissions `stats` and `admin`. Exit status: 0 every node answered, 1 one did not.

Examples:
  catraca status
  catraca status --addr node-a:7400,node-b:7400
  catraca status --addr node-a:7400,node-b:7400 --json | jq '.nodes[] | select(.role == \"standby\").in_sync'")]
pub struct Args {
    /// Addresses of the nodes
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:7400")]
    addr: Vec<String>,
    #[command(flatten)]
    credential: Credential,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let mut answers = Vec::with_capacity(args.addr.len());
    for addr in &args.addr {
        let said = ask(addr, &args.credential)?.map_err(|error| error.to_string());
        answers.push(Answer { addr: addr.clone(), said });
    }
    let status = if answers.iter().all(|answer| answer.said.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let text = if args.json {
        json(&serde_json::json!({ "nodes": answers.iter().map(View::from).collect::<Vec<_>>() }))?
    } else {
        table(&answers)
    };
    print(&text, status)
}

/// What one node says; an error of its own is shown beside the others' answers.
pub(in crate::commands) fn ask(addr: &str, credential: &Credential) -> Result<Result<ClusterState, ClientError>, Failure> {
    let mut options = credential.options(addr)?;
    options.answer_timeout_ms = ANSWER_TIMEOUT_MS;
    Ok(Client::connect(options).and_then(|mut client| client.cluster(&ClusterRequest::describe())))
}
