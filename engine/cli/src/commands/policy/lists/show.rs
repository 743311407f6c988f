//! `catraca policy lists show`: the lists and exemptions of a log.

use super::name;
use crate::commands::Outcome;
use crate::commands::log::{chain_key, open, utc};
use crate::commands::output::{counted, json, print};
use catraca_core::named_lists::{Exempt, List, NamedLists, Note};
use catraca_node::fatal::{Failure, Status};
use catraca_node::replay::History;
use catraca_wire::list::{ListKey, ListKeyKind, ListName};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

pub const EXAMPLES: &str = "\
Examples:
  catraca policy lists show --log /var/lib/catraca
  catraca policy lists show known-payees --log /var/lib/catraca --unmask
  catraca policy lists show --log ./copy --json

Without a name: every list, and how many entries it has; with --json, and with a name, the entries, too. Exemptions from rules are told
without a name. Entries whose time is over are told as such. Documents and companies are masked unless --unmask is given.

Exit status: 0 told; 1 there is no such list.";

/// Arguments of `catraca policy lists show`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only the list of this name
    #[arg(value_name = "NAME", value_parser = name)]
    list: Option<ListName>,
    /// Data directory of a node, or a copy of it
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print documents in full
    #[arg(long)]
    unmask: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ListView {
    name: String,
    kind: &'static str,
    entries: Vec<EntryView>,
}

#[derive(Serialize)]
struct EntryView {
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
    until: Option<String>,
    counts: bool,
    author: String,
    reason: String,
    changed_at: String,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let log = open(&args.log, chain_key(&args.log, args.key_file.as_ref())?)?;
    let named = History::read(&log, &args.log)?.named().map_err(|fault| {
        Failure::new(Status::LogDamaged, format!("the log's lists can't be read: {fault}"))
    })?;
    if let Some(wanted) = args.list.filter(|name| named.list(name).is_none()) {
        return Err(Failure::failed(format!("the log has no list {wanted}")));
    }
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_nanos() as u64);
    let lists: Vec<_> = named
        .lists()
        .filter(|(name, _)| args.list.is_none_or(|wanted| wanted == **name))
        .map(|(name, list)| view(name, list, now_ns, args.unmask))
        .collect();
    let exemptions: Vec<_> = match args.list {
        Some(_) => Vec::new(),
        None => exemptions(&named, now_ns, args.unmask),
    };
    let text = match (args.json, args.list) {
        (true, Some(_)) => json(&serde_json::json!({ "lists": lists })),
        (true, None) => json(&serde_json::json!({
            "sequence": named.sequence(), "lists": lists, "exemptions": exemptions,
        })),
        (false, Some(_)) => lists.first().map_or_else(String::new, |list| {
            format!("{}\n{}, keys of kind {}\n", table(&list.entries), list.name, list.kind)
        }),
        (false, None) => overview(&lists, &exemptions),
    };
    print(&text, ExitCode::SUCCESS)
}

fn view(name: &ListName, list: &List, now_ns: u64, unmask: bool) -> ListView {
    let kind = list.kind();
    let mut entries: Vec<_> = list.entries().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    let entries = entries.into_iter().map(|(key, entry)| EntryView {
        rule: None,
        kind: None,
        key: key_text(key, kind, unmask),
        value: Some(entry.value),
        until: (entry.until_ns > 0).then(|| utc(entry.until_ns)),
        counts: entry.counts(now_ns),
        ..by(&entry.note)
    });
    ListView { name: name.to_string(), kind: kind.name(), entries: entries.collect() }
}

fn exemptions(named: &NamedLists, now_ns: u64, unmask: bool) -> Vec<EntryView> {
    let mut exemptions: Vec<_> = named.exemptions().collect();
    exemptions.sort_unstable_by_key(|of| (of.rule, of.kind, of.key));
    let view = |of: Exempt<'_>| EntryView {
        rule: Some(of.rule.to_string()),
        kind: Some(of.kind.name()),
        key: key_text(of.key, of.kind, unmask),
        value: None,
        until: (of.until_ns > 0).then(|| utc(of.until_ns)),
        counts: of.counts(now_ns),
        ..by(of.note)
    };
    exemptions.into_iter().map(view).collect()
}

/// Of nothing yet, by somebody.
fn by(note: &Note) -> EntryView {
    EntryView {
        rule: None,
        kind: None,
        key: String::new(),
        value: None,
        until: None,
        counts: false,
        author: note.author.to_string(),
        reason: note.reason.to_string(),
        changed_at: utc(note.changed_at_ns),
    }
}

fn key_text(key: ListKey, kind: ListKeyKind, unmask: bool) -> String {
    if unmask { key.in_full(kind) } else { key.masked(kind) }
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header);
    table
}

fn table(entries: &[EntryView]) -> Table {
    let of_rules = entries.iter().any(|entry| entry.rule.is_some());
    let first: &[&str] = if of_rules { &["rule", "by", "key"] } else { &["key", "number"] };
    let rest = ["until", "author", "reason", "changed at"];
    let mut table = new_table(&[first, &rest].concat());
    for entry in entries {
        let until = match (&entry.until, entry.counts) {
            (None, _) => "-".to_owned(),
            (Some(until), true) => until.clone(),
            (Some(until), false) => format!("{until} (over)"),
        };
        let first = match (&entry.rule, entry.kind) {
            (Some(rule), Some(kind)) => vec![rule.clone(), kind.to_owned(), entry.key.clone()],
            _ => vec![entry.key.clone(), entry.value.unwrap_or(0).to_string()],
        };
        let rest = [until, entry.author.clone(), entry.reason.clone(), entry.changed_at.clone()];
        table.add_row(first.into_iter().chain(rest));
    }
    table
}

fn overview(lists: &[ListView], exemptions: &[EntryView]) -> String {
    let mut overview = new_table(&["list", "keys", "entries", "that count"]);
    for list in lists {
        let count = list.entries.iter().filter(|entry| entry.counts).count();
        overview.add_row([
            list.name.clone(),
            list.kind.to_owned(),
            list.entries.len().to_string(),
            count.to_string(),
        ]);
    }
    let mut text = format!("{overview}\n{}\n", counted(lists.len(), "list", "lists"));
    if !exemptions.is_empty() {
        text.push_str(&format!(
            "\n{}\n{}\n",
            table(exemptions),
            counted(exemptions.len(), "exemption from a rule", "exemptions from rules")
        ));
    }
    text
}
