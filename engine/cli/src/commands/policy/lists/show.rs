//! `catraca policy lists show`: the lists and exemptions of a log.

use super::name;
use crate::commands::Outcome;
use crate::commands::log::{chain_key, open, utc};
use crate::commands::output::{counted, json, print};
use catraca_core::named_lists::{Entry, Exempt, List, NamedLists, Note};
use catraca_node::fatal::{Failure, Status};
use catraca_node::replay::History;
use catraca_wire::client::now_ns;
use catraca_wire::list::{ListKey, ListKeyError, ListKeyKind, ListName};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    let named = named_of(&args.log, args.key_file.as_ref())?;
    if let Some(wanted) = args.list.filter(|name| named.list(name).is_none()) {
        return Err(Failure::failed(format!("the log has no list {wanted}")));
    }
    let now_ns = now_ns();
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

/// What a log has of one key of a list: the entry that counts, and where there is none the one that did.
pub fn find(
    dir: &Path,
    key_file: Option<&PathBuf>,
    (name, key): (ListName, &str),
    as_json: bool,
) -> Outcome {
    let named = named_of(dir, key_file)?;
    let none = || Failure::failed(format!("the log has no list {name}"));
    let list = named.list(&name).ok_or_else(none)?;
    let usage = |error: ListKeyError| Failure::new(Status::Usage, error.to_string());
    let key = ListKey::parse(list.kind(), key).map_err(usage)?;
    let now_ns = now_ns();
    let counting = list.get(key, now_ns);
    let status = match counting {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(Status::Found as u8),
    };
    // A document that somebody typed is not printed in full.
    let entry = counting.or_else(|| list.entry(key));
    let entry = entry.map(|entry| entry_view(key_text(key, list.kind(), false), entry, now_ns));
    if as_json {
        let report = serde_json::json!({
            "in_list": counting.is_some(),
            "kind": list.kind().name(),
            "entries": list.len(),
            "entry": entry,
        });
        return print(&json(&report), status);
    }
    let text = match &entry {
        Some(entry) => format!("{}\n", table(std::slice::from_ref(entry))),
        None => format!("it is not in the list {name}\n"),
    };
    print(&text, status)
}

fn named_of(dir: &Path, key_file: Option<&PathBuf>) -> Result<NamedLists, Failure> {
    let log = open(dir, chain_key(dir, key_file)?)?;
    History::read(&log, dir)?.named().map_err(|fault| {
        Failure::new(Status::LogDamaged, format!("the log's lists can't be read: {fault}"))
    })
}

fn entry_view(key: String, entry: &Entry, now_ns: u64) -> EntryView {
    EntryView {
        rule: None,
        kind: None,
        key,
        value: Some(entry.value),
        until: (entry.until_ns > 0).then(|| utc(entry.until_ns)),
        counts: entry.counts(now_ns),
        ..by(&entry.note)
    }
}

fn view(name: &ListName, list: &List, now_ns: u64, unmask: bool) -> ListView {
    let kind = list.kind();
    let mut entries: Vec<_> = list.entries().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    let entries = entries
        .into_iter()
        .map(|(key, entry)| entry_view(key_text(key, kind, unmask), entry, now_ns));
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
