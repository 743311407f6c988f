//! `catraca promote`, `solo` and `status`: the part that nodes have in their cluster. One file for
//! each subcommand; here is how a node's part is shown.

pub mod promote;
pub mod solo;
pub mod status;

use super::Outcome;
use super::connect::Connect;
use super::output::{counted, json, print};
use catraca_node::fatal::Failure;
use catraca_wire::client::ClusterState;
use catraca_wire::frame::{ClusterRequest, Role};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;
use std::process::ExitCode;

/// What an address said: a node's part, or why there is none to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addr: String,
    pub(super) said: Result<ClusterState, String>,
}

/// An answer for a program. The names are stable.
#[derive(Serialize)]
#[serde(untagged)]
enum View<'a> {
    Part {
        addr: &'a str,
        role: &'static str,
        durability: &'static str,
        epoch: u32,
        in_sync: bool,
        connected: bool,
        /// `null` where it is not known: another node belongs to it and is not connected.
        behind_records: Option<u64>,
        behind_bytes: Option<u64>,
        silence_ms: Option<u64>,
        primary: Option<&'a str>,
        peer: Option<&'a str>,
        node_id: String,
        peer_node_id: Option<String>,
        cluster_id: String,
    },
    Failed {
        addr: &'a str,
        error: &'a str,
    },
}

impl<'a> From<&'a Answer> for View<'a> {
    fn from(Answer { addr, said }: &'a Answer) -> Self {
        let is_known = |number: u64| {
            said.as_ref().is_ok_and(|state| number > 0 || state.connected || !has_peer(state))
        };
        match said {
            Ok(state) => Self::Part {
                addr,
                role: state.role.name(),
                durability: state.durability.name(),
                epoch: state.epoch,
                in_sync: state.in_sync,
                connected: state.connected,
                behind_records: Some(state.behind_records).filter(|&records| is_known(records)),
                behind_bytes: Some(state.behind_bytes).filter(|&bytes| is_known(bytes)),
                silence_ms: state.silence_ms,
                primary: state.primary.as_deref(),
                peer: state.peer.as_deref(),
                node_id: hex::encode(state.node_id),
                peer_node_id: state.peer_node_id.as_ref().map(hex::encode),
                cluster_id: hex::encode(state.cluster_id),
            },
            Err(error) => Self::Failed { addr, error },
        }
    }
}

/// The answers as a table, one row a node.
pub(super) fn table(answers: &[Answer]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "node",
        "role",
        "epoch",
        "durability",
        "standby in sync",
        "behind",
        "other node heard",
    ]);
    for Answer { addr, said } in answers {
        match said {
            Ok(state) => table.add_row([
                addr.clone(),
                state.role.to_string(),
                state.epoch.to_string(),
                durability(state),
                in_sync(state).to_owned(),
                behind(state),
                heard(state),
            ]),
            Err(error) => table.add_row([addr.as_str(), error.as_str()]),
        };
    }
    format!("{table}\n")
}

/// Whether another node belongs to this one, as far as it knows.
fn has_peer(state: &ClusterState) -> bool {
    state.role == Role::Standby
        || state.connected
        || state.peer.is_some()
        || state.peer_node_id.is_some()
}

fn in_sync(state: &ClusterState) -> &'static str {
    match (has_peer(state), state.in_sync) {
        (false, _) => "no standby",
        (true, true) => "yes",
        (true, false) => "no",
    }
}

/// What answers wait for; a standby gives none.
fn durability(state: &ClusterState) -> String {
    if state.role == Role::Standby { "-".to_owned() } else { state.durability.to_string() }
}

fn behind(state: &ClusterState) -> String {
    match (has_peer(state), state.connected, state.behind_records) {
        (false, ..) => "-".to_owned(),
        (true, false, 0) => "unknown".to_owned(),
        (true, false, records) => format!("at least {}", counted(records, "record", "records")),
        (true, true, 0) => "nothing".to_owned(),
        (true, true, records) => counted(records, "record", "records"),
    }
}

fn heard(state: &ClusterState) -> String {
    let connected = if state.connected { "connected" } else { "not connected" };
    match (has_peer(state), state.silence_ms) {
        (false, _) => "-".to_owned(),
        (true, None) => format!("never, {connected}"),
        (true, Some(ms)) if ms < 10_000 => format!("{ms} ms ago, {connected}"),
        (true, Some(ms)) => format!("{} s ago, {connected}", ms / 1_000),
    }
}

/// Asks one node for a change; `not_done` begins the sentence when it would not.
fn change(
    connect: &Connect,
    request: &ClusterRequest,
    not_done: &str,
) -> Result<ClusterState, Failure> {
    connect.connect()?.cluster(request).map_err(|e| Failure::failed(format!("{not_done}: {e}")))
}

/// Shows a node's part after a change.
fn show(connect: &Connect, state: ClusterState, as_json: bool) -> Outcome {
    let answer = Answer { addr: connect.addr.clone(), said: Ok(state) };
    let text = if as_json { json(&View::from(&answer)) } else { table(&[answer]) };
    print(&text, ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::Durability;

    /// A node on its own.
    pub(super) fn alone() -> ClusterState {
        ClusterState {
            role: Role::Primary,
            durability: Durability::Single,
            in_sync: false,
            connected: false,
            epoch: 1,
            node_id: [0xab; 16],
            cluster_id: [1; 16],
            peer_node_id: None,
            behind_records: 0,
            behind_bytes: 0,
            silence_ms: None,
            primary: None,
            peer: None,
        }
    }

    fn standby() -> ClusterState {
        ClusterState {
            role: Role::Standby,
            durability: Durability::Sync,
            epoch: 3,
            behind_records: 7,
            behind_bytes: 4_096,
            silence_ms: Some(61_500),
            primary: Some("a:7400".to_owned()),
            ..alone()
        }
    }

    #[test]
    fn a_row_says_what_an_operator_asks() {
        let primary = ClusterState {
            in_sync: true,
            connected: true,
            silence_ms: Some(12),
            peer: Some("b:7401".to_owned()),
            ..alone()
        };
        let said = |state: &ClusterState| (in_sync(state), behind(state), heard(state));
        assert_eq!(said(&alone()), ("no standby", "-".to_owned(), "-".to_owned()));
        assert_eq!(
            said(&primary),
            ("yes", "nothing".to_owned(), "12 ms ago, connected".to_owned())
        );
        assert_eq!(
            said(&standby()),
            ("no", "at least 7 records".to_owned(), "61 s ago, not connected".to_owned())
        );
        let connected = ClusterState { connected: true, ..standby() };
        assert_eq!(
            (behind(&connected), durability(&connected)),
            ("7 records".to_owned(), "-".to_owned())
        );
        let lost = ClusterState { connected: false, ..primary };
        assert_eq!((behind(&lost), durability(&lost)), ("unknown".to_owned(), "single".to_owned()));
        let first = ClusterState { connected: true, behind_records: 9, ..alone() };
        assert_eq!(
            (in_sync(&first), behind(&first)),
            ("no", "9 records".to_owned()),
            "its first standby catches up"
        );
        let never = ClusterState { silence_ms: None, ..standby() };
        assert_eq!(heard(&never), "never, not connected");
        let answers = [
            Answer { addr: "b:7400".to_owned(), said: Ok(standby()) },
            Answer { addr: "c:7400".to_owned(), said: Err("nobody there".to_owned()) },
        ];
        let text = table(&answers);
        for part in ["b:7400", "standby", "at least 7 records", "c:7400", "nobody there"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn the_json_has_every_field_and_the_errors() {
        let of = |said| {
            let answer = Answer { addr: "b:7400".to_owned(), said };
            serde_json::to_value(View::from(&answer)).expect("JSON")
        };
        let part = of(Ok(standby()));
        assert_eq!((&part["role"], &part["durability"]), (&"standby".into(), &"sync".into()));
        assert_eq!(
            (&part["behind_records"], &part["silence_ms"], &part["peer"]),
            (&7.into(), &61_500.into(), &().into())
        );
        assert_eq!(
            (&part["node_id"], &part["primary"]),
            (&"ab".repeat(16).into(), &"a:7400".into())
        );
        assert_eq!(
            of(Err("nobody there".to_owned())),
            serde_json::json!({ "addr": "b:7400", "error": "nobody there" })
        );
    }
}
