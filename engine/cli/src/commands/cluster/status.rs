//! `catraca status`: who decides, and how far behind the standby is.

use super::{Answer, View, table};
use crate::commands::Outcome;
use crate::commands::connect::Credential;
use crate::commands::output::{json, print};
use catraca_node::fatal::{Failure, Status};
use catraca_wire::client::{Client, ClientError, ClusterState};
use catraca_wire::frame::{ClusterRequest, Durability, Role};
use std::process::ExitCode;

/// How long a node may take to say what it is: it knows without looking anything up.
const ANSWER_TIMEOUT_MS: u64 = 5_000;

/// Arguments of `catraca status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Asks each node for its part in the cluster: who decides, in which epoch, where answers are safe, whether the standby holds \
everything that was answered (then it may be promoted without loss), how far behind it is, and when the nodes last heard of \
each other. Each node says what it knows itself: ask both, and compare.
Two nodes of a cluster that both decide are named, with what to do.
The credential needs one of the permissions `stats` and `admin`. Exit status: 0 every node answered, 1 one did not, 3 more \
than one decides.

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
    let text = if args.json {
        json(&serde_json::json!({ "nodes": answers.iter().map(View::from).collect::<Vec<_>>() }))
    } else {
        table(&answers)
    };
    if let Some(warning) = rivals(&answers) {
        print(&text, ExitCode::SUCCESS)?;
        return Err(Failure::new(Status::Found, warning));
    }
    let all_answered = answers.iter().all(|answer| answer.said.is_ok());
    print(&text, if all_answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What there is to say where more than one node of a cluster decides.
fn rivals(answers: &[Answer]) -> Option<String> {
    let mut primaries: Vec<(&str, &ClusterState)> = answers
        .iter()
        .filter_map(|answer| Some((answer.addr.as_str(), answer.said.as_ref().ok()?)))
        .filter(|(_, state)| state.role == Role::Primary)
        .collect();
    // One node may be asked under two names, and then says the same twice; nodes of several
    // clusters, all at once.
    primaries.sort_by_key(|(_, state)| (state.cluster_id, state.node_id));
    let same = |a: &ClusterState, b: &ClusterState| {
        let of = |state: &ClusterState| {
            (state.node_id, state.epoch, state.durability, state.in_sync, state.connected)
        };
        of(a) == of(b)
    };
    primaries.dedup_by(|(_, a), (_, b)| same(a, b));
    let (old, new) = primaries
        .array_windows()
        .map(|&[a, b]| if a.1.epoch <= b.1.epoch { (a, b) } else { (b, a) })
        .find(|(a, b)| a.1.cluster_id == b.1.cluster_id)?;
    let what = match old.1.durability {
        _ if old.1.node_id == new.1.node_id => {
            "and the other are copies of one node: stop the one that should not be"
        }
        Durability::Sync => "can't confirm anything: see that the two reach each other, or stop it",
        Durability::Solo | Durability::Single => {
            "answers alone, and what it answers is not in the other's log: stop it"
        }
    };
    Some(format!(
        "two nodes decide: {} in epoch {} and {} in epoch {}. The first one {what}",
        old.0, old.1.epoch, new.0, new.1.epoch
    ))
}

/// What one node says; an error of its own is shown beside the others' answers.
pub(in crate::commands) fn ask(
    addr: &str,
    credential: &Credential,
) -> Result<Result<ClusterState, ClientError>, Failure> {
    let mut options = credential.options(addr)?;
    options.answer_timeout_ms = ANSWER_TIMEOUT_MS;
    Ok(Client::connect(options).and_then(|mut client| client.cluster(&ClusterRequest::describe())))
}

#[cfg(test)]
mod tests {
    use super::super::tests::alone;
    use super::*;

    #[test]
    fn two_that_decide_are_named_with_the_one_that_was_replaced_first() {
        let node = |addr: &str, id: u8, role, epoch| Answer {
            addr: addr.to_owned(),
            said: Ok(ClusterState {
                role,
                epoch,
                durability: Durability::Sync,
                node_id: [id; 16],
                ..alone()
            }),
        };
        let (old, new) = (node("a:1", 9, Role::Primary, 1), node("b:1", 2, Role::Primary, 2));
        let down = Answer { addr: "c:1".to_owned(), said: Err("nobody there".to_owned()) };
        let warning = rivals(&[new.clone(), down, old.clone()]).expect("two decide");
        assert!(
            warning.contains("a:1 in epoch 1 and b:1 in epoch 2. The first one can't confirm"),
            "{warning}"
        );
        let mut solo = old.clone();
        solo.said.as_mut().expect("it answered").durability = Durability::Solo;
        assert!(
            rivals(&[solo.clone(), new.clone()]).expect("two decide").contains("answers alone")
        );
        assert!(rivals(&[old.clone(), solo]).expect("two decide").contains("copies of one node"));
        assert_eq!(rivals(&[old.clone(), node("b:1", 2, Role::Standby, 2)]), None);
        assert_eq!(
            rivals(&[old.clone(), node("localhost:1", 9, Role::Primary, 1)]),
            None,
            "one node under two names"
        );
        let mut other_cluster = new;
        other_cluster.said.as_mut().expect("it answered").cluster_id = [2; 16];
        assert_eq!(rivals(&[old, other_cluster]), None, "two clusters");
    }
}
