//! `catraca blacklist load|add|remove|allow|status`: the blacklist of a running node.

use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::output::{changed, counted, json, lines, print};
use catraca_core::calendar::day_number;
use catraca_node::fatal::{Failure, Status};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{BlacklistChange, BlacklistStateReply, Scope};
use jiff::civil::Date;
use std::path::PathBuf;
use std::process::ExitCode;

/// How far an entry reaches.
#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum Reach {
    /// This document only
    Exact,
    /// Every branch of the company
    Root,
}

/// Arguments of `load`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The node reads the file itself, keeps a copy in its data directory, logs the change and swaps the list between two batches: no
transaction waits. The credential needs the permission `admin`.

Example:
  catraca blacklist load /var/lib/lists/today.catraca --addr 127.0.0.1:7400")]
pub(super) struct LoadArgs {
    /// Snapshot file, as `blacklist build` made it; on the node's machine
    file: PathBuf,
    #[command(flatten)]
    connect: Connect,
    /// Load although the list loses more of its entries than the node allows
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `add` and `remove`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The change is logged like a decision before it takes effect, and survives restarts and new lists. To remove a document takes back
what listed it or its company, and the list's entries; to remove a company (--scope root) takes back what listed the company, and
leaves what listed one of its branches alone. Adding again lists again. The credential needs the permission `admin`.

Examples:
  catraca blacklist add 049.332.286-80
  catraca blacklist add 12.ABC.345/01DE-35 --scope root
  catraca blacklist remove 049.332.286-80")]
pub(super) struct ChangeArgs {
    /// CPF or CNPJ, with or without mask
    #[arg(value_name = "DOC")]
    document: String,
    #[command(flatten)]
    connect: Connect,
    /// How far it reaches
    #[arg(long, value_enum, default_value = "exact")]
    scope: Reach,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `allow`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Through the day named the document passes whatever lists it, lists that are loaded later included; then what lists it counts again.
Adding the document, or its company, ends it at once; allowing it until yesterday ends what was allowed in the same scope: the document
itself and its company may both be allowed. Logged like a decision before it takes effect, and survives restarts. The credential needs the permission `admin`.

Examples:
  catraca blacklist allow 12.ABC.345/01DE-35 --until 2026-12-31
  catraca blacklist allow 12.ABC.345/01DE-35 --until 2026-12-31 --scope root --addr 127.0.0.1:7400")]
pub(super) struct AllowArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Last day, in the node's time zone; at most 366 days ahead
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Date,
}

/// Arguments of `status`.
#[derive(clap::Args, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn load(args: &LoadArgs) -> Outcome {
    // The node has another working directory.
    let path = std::path::absolute(&args.file)
        .map_err(|e| Failure::failed(format!("{}: {e}", args.file.display())))?;
    let path = path.to_str().ok_or_else(|| Failure::failed("the path must be UTF-8"))?;
    let change =
        BlacklistChange::load(path, args.force).map_err(|e| Failure::failed(e.to_string()))?;
    shown(&ask(&args.connect, &change)?, args.json)
}

pub(super) fn add(args: &ChangeArgs) -> Outcome {
    let (document, scope) = args.entry()?;
    shown(&ask(&args.connect, &BlacklistChange::add(document, scope))?, args.json)
}

pub(super) fn remove(args: &ChangeArgs) -> Outcome {
    let (document, scope) = args.entry()?;
    shown(&ask(&args.connect, &BlacklistChange::remove(document, scope))?, args.json)
}

pub(super) fn allow(args: &AllowArgs) -> Outcome {
    let (document, scope) = args.change.entry()?;
    let change = BlacklistChange::allow(document, scope, day_number(args.until));
    shown(&ask(&args.change.connect, &change)?, args.change.json)
}

pub(super) fn status(args: &StatusArgs) -> Outcome {
    let state = ask(&args.connect, &BlacklistChange::describe())?;
    print(&text(&state, false, args.json), ExitCode::SUCCESS)
}

impl ChangeArgs {
    fn entry(&self) -> Result<(DocumentKey, Scope), Failure> {
        let document = DocumentKey::parse(&self.document)
            .map_err(|e| Failure::new(Status::Usage, format!("the document: {e}")))?;
        let scope = match self.scope {
            Reach::Exact => Scope::Exact,
            Reach::Root => Scope::Root,
        };
        Ok((document, scope))
    }
}

fn ask(connect: &Connect, change: &BlacklistChange) -> Result<BlacklistStateReply, Failure> {
    let mut client = connect.connect()?;
    let state = client
        .blacklist(change)
        .map_err(|e| Failure::failed(format!("the blacklist was not changed: {e}")))?;
    Ok(state)
}

fn shown(state: &BlacklistStateReply, as_json: bool) -> Outcome {
    print(&text(state, true, as_json), ExitCode::SUCCESS)
}

/// `is_change`: it was asked for one, and not only what is.
fn text(state: &BlacklistStateReply, is_change: bool, as_json: bool) -> String {
    let id = format!("{:016x}", state.snapshot_id);
    if as_json {
        return json(&serde_json::json!({
            "changed": state.changed == 1,
            "snapshot_id": id,
            "snapshot_entries": state.snapshot_entries,
            "snapshot_built_ns": state.snapshot_built_ns,
            "overlay_sequence": state.overlay_sequence,
            "overlay_entries": state.overlay_entries,
        }));
    }
    let snapshot = if state.snapshot_id == 0 {
        "none".to_owned()
    } else {
        format!("{id}, {}", counted(state.snapshot_entries, "entry", "entries"))
    };
    let mut rows = vec![
        ("snapshot".to_owned(), snapshot),
        (
            "overlay".to_owned(),
            format!(
                "{}, {}",
                counted(state.overlay_entries, "entry", "entries"),
                counted(state.overlay_sequence, "change", "changes")
            ),
        ),
    ];
    if is_change {
        rows.insert(0, changed(state.changed == 1));
    }
    lines(&rows)
}
