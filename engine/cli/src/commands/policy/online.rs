//! `catraca policy activate|rollback|status`: the policy of a running node.

use super::{file, warnings};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::log::utc;
use crate::commands::output::{counted, json, lines, print};
use catraca_core::log::policies::PolicyId;
use catraca_node::fatal::{Failure, Status};
use catraca_wire::client::Client;
use catraca_wire::frame::{PolicyChange, PolicyStateReply};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `activate`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The file is checked here first; the node reads it itself, and takes it only if it is the very same text. Its text and the change are
logged, and so on the standby, before it decides; it comes into force between two batches: no transaction waits. Decisions record its
version, which counts activations. A policy that reads other windows of time waits until the node has read its log for them: a second for
some million payments. The credential needs the permission `admin`.

Example:
  catraca policy activate pix.toml --addr 127.0.0.1:7400

Where the configuration says `two_person_policies`, the first one who runs it asks, and a second one with another credential approves by
running the same command within a day; `--id` holds the file to the policy that was agreed on.

Exit status: 0 in force, 1 not activated, 3 something is wrong with the file, or another client has to approve it.")]
pub(super) struct ActivateArgs {
    /// Policy (TOML); on the node's machine
    file: PathBuf,
    /// Take it only if its id begins so: that of the policy that was agreed on, as `policy check --json` tells it
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `rollback`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The policy that was in force before comes into force again, as a version of its own. A rollback of a rollback is the policy that was
rolled back. The credential needs the permission `admin`. Where the configuration says `two_person_policies`, one person takes back what was
activated since the node started; everything else needs a second one, who runs the same command.

Exit status: 0 in force, 1 not changed, 3 another client has to approve it.

Example:
  catraca policy rollback --addr 127.0.0.1:7400")]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Example:
  catraca policy status --addr 127.0.0.1:7400")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn activate(args: &ActivateArgs) -> Outcome {
    let policy = file::sound(&args.file)?;
    let id = policy.id.to_string();
    if let Some(wanted) = args.id.as_ref().filter(|wanted| !id.starts_with(&***wanted)) {
        let path = args.file.display();
        return Err(Failure::failed(format!("{path}: its id is {id}, and {wanted} was asked for")));
    }
    warnings::say(&args.file, &policy);
    // The node has another working directory.
    let path = std::path::absolute(&args.file)
        .map_err(|e| Failure::failed(format!("{}: {e}", args.file.display())))?;
    let path = path.to_str().ok_or_else(|| Failure::failed("the path must be UTF-8"))?;
    let change =
        PolicyChange::activate(path, policy.id.0).map_err(|e| Failure::failed(e.to_string()))?;
    let state = ask(&mut args.connect.connect_patiently()?, &change)?;
    let is_in_force = state.policy_id == policy.id.0;
    let status = if is_in_force { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    print(&text(&state, true, args.json), status)
}

pub(super) fn rollback(args: &RollbackArgs) -> Outcome {
    let mut client = args.connect.connect_patiently()?;
    let in_force = ask(&mut client, &PolicyChange::describe())?;
    let state = ask(&mut client, &PolicyChange::rollback(in_force.policy_id))?;
    let waits = state.changed == 0 && state.waits_for_approval == 1;
    let status = if waits { ExitCode::from(Status::Found as u8) } else { ExitCode::SUCCESS };
    print(&text(&state, true, args.json), status)
}

pub(super) fn status(args: &StatusArgs) -> Outcome {
    let state = ask(&mut args.connect.connect()?, &PolicyChange::describe())?;
    print(&text(&state, false, args.json), ExitCode::SUCCESS)
}

fn ask(client: &mut Client, change: &PolicyChange) -> Result<PolicyStateReply, Failure> {
    client.policy(change).map_err(|e| Failure::failed(format!("the policy was not changed: {e}")))
}

/// `is_change`: it was asked for one, and not only what is.
fn text(state: &PolicyStateReply, is_change: bool, as_json: bool) -> String {
    let (id, previous) = (PolicyId(state.policy_id), PolicyId(state.previous_policy_id));
    let is_in_force = state.version > 0;
    let has_previous = state.previous_version > 0;
    let waits = state.waits_for_approval == 1;
    let waiting: String = state.waiting_policy.iter().map(|byte| format!("{byte:02x}")).collect();
    if as_json {
        return json(&serde_json::json!({
            "changed": state.changed == 1,
            "waits_for_approval": waits.then(|| waiting.clone()),
            "version": state.version,
            "id": is_in_force.then(|| id.to_string()),
            "rules": state.rules,
            "text_len": state.text_len,
            "activated_at": is_in_force.then(|| utc(state.activated_at_ns)),
            "activated_at_ns": state.activated_at_ns,
            "previous_version": state.previous_version,
            "previous_id": has_previous.then(|| previous.to_string()),
        }));
    }
    let in_force = if is_in_force {
        format!(
            "version {}, {}, since {}",
            state.version,
            counted(state.rules, "rule", "rules"),
            utc(state.activated_at_ns)
        )
    } else {
        "none: the lists alone decide".to_owned()
    };
    let changed = match (state.changed == 1, waits) {
        (true, _) => "yes: it is in force now",
        (false, true) => "no: another client has to approve it first",
        (false, false) => "no: it was in force already",
    };
    let mut rows = vec![("in force".to_owned(), in_force)];
    if is_change {
        rows.insert(0, ("changed".to_owned(), changed.to_owned()));
    }
    if is_in_force {
        rows.push(("id".to_owned(), id.to_string()));
    }
    if has_previous {
        rows.push(("before".to_owned(), format!("version {}, {previous}", state.previous_version)));
    }
    if waits {
        let what = format!("{waiting}…: another client has to activate the same file");
        rows.push(("waits for approval".to_owned(), what));
    }
    lines(&rows)
}
