//! `catraca log show`: why a transaction was decided as it was.

use super::asked;
use super::open;
use super::view::{LabelView, RecordView, local_and_utc, reais};
use crate::commands::Outcome;
use crate::commands::output::{counted, json, note, print};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::LogReader;
use catraca_node::log_files::index_file::IndexFiles;
use catraca_node::log_files::indexed;
use catraca_node::log_files::lookup::{
    self, Found, MAX_FOUND, OwnLog, Query, StoredLabel, StoredRecord,
};
use catraca_node::log_files::read::End;
use catraca_wire::DocumentKey;
use catraca_wire::extension::read_asked;
use catraca_wire::frame::transaction_id;
use catraca_wire::record::Reason;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca log show /var/lib/catraca --transaction E1234567820261123120000000000001
  catraca log show ./copy --transaction 7f3a --payer 123.456.789-09 --json --unmask

Where the segments have their indexes, as on a node and in a copy of its data directory, and with the chain's key, only the blocks that an index
names are read; with --scan everything is, and damage anywhere is told. Labels of the decision are shown with it. Rules are told by their
numbers, from 1 in the policy's order; `catraca policy explain --log` tells them by their ids. Documents are masked unless --unmask is given.
Exit status: 0 found, 1 not found.";

/// Arguments of `catraca log show`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    data_dir: PathBuf,
    /// The transaction's id
    #[arg(long, value_name = "ID")]
    transaction: String,
    /// Only the decision for this payer (CPF or CNPJ)
    #[arg(long, value_name = "DOC")]
    payer: Option<String>,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Read all of the log, and not only the blocks that the segments' indexes name
    #[arg(long)]
    scan: bool,
    /// Print documents in full, and the IP address
    #[arg(long)]
    unmask: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    matches: u64,
    chain_values_checked: bool,
    /// Streams that could not be read to their end.
    damaged: Vec<String>,
    decisions: Vec<RecordView>,
    /// Of all these decisions, in the order of the log.
    labels: Vec<LabelView>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let usage = |message: &str| Failure::new(Status::Usage, message);
    let id = transaction_id(&args.transaction).ok_or_else(|| {
        usage("--transaction: an id has 1 to 32 printable ASCII characters without spaces")
    })?;
    let payer = args.payer.as_deref().map(DocumentKey::parse).transpose();
    let payer =
        payer.map_err(|error| usage(&format!("--payer: {error}")))?.map(DocumentKey::to_wire);
    let key = super::chain_key(&args.data_dir, args.key_file.as_ref())?;
    let log = open(&args.data_dir, key)?;
    let query = Query { id, payer, institution: None };
    // An index is checked by the chain's key.
    let own = key.zip(log.cluster_id()).filter(|_| !args.scan);
    let found = match own {
        Some((key, cluster_id)) => {
            let own = OwnLog { data_dir: args.data_dir.clone(), cluster_id, key };
            indexed::find(&log, &IndexFiles::new(own), &query, MAX_FOUND)?
        }
        None => lookup::find(&log, &query, MAX_FOUND)?,
    };
    let damaged = damaged(&log, &found);
    for place in &damaged {
        note(&format!("not all of the log could be read: {place}"));
    }
    if found.records.is_empty() && !args.json {
        let not_found = if damaged.is_empty() {
            "no stored decision has"
        } else {
            "no decision that could be read has"
        };
        return Err(Failure::failed(format!(
            "{not_found} the id {} (in {})",
            args.transaction,
            args.data_dir.display()
        )));
    }
    let status = if found.records.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    let view = |record: &StoredRecord| {
        RecordView::new(&record.head, &record.extension, &record.place, args.unmask)
    };
    if args.json {
        let decisions = found.records.iter().map(view).collect();
        let report = Report {
            matches: found.matches,
            chain_values_checked: key.is_some(),
            damaged,
            decisions,
            labels: found
                .labels
                .iter()
                .map(|label| LabelView::new(&label.stored, args.unmask))
                .collect(),
        };
        return print(&json(&report), status);
    }
    let mut text = String::new();
    for record in &found.records {
        let file = log.segment_path(record.place.shard, record.place.segment);
        explain(
            &mut text,
            record,
            &view(record),
            None,
            &format!("{} offset {}", file.display(), record.place.block_offset),
        );
        let labels = found.labels_of(record).map(|label| label.stored);
        tell_labels(&mut text, labels.collect());
    }
    if found.matches > found.records.len() as u64 {
        writeln!(
            text,
            "{} more, older ones are not shown",
            found.matches - found.records.len() as u64
        )
        .expect("a string");
    }
    if key.is_none() {
        text.push_str("note: without the chain's key the blocks' chain values were not checked; name the key with --key-file.\n");
    }
    print(&text, status)
}

/// Writes the labels of a decision for a person: the one that counts first.
pub fn tell_labels(text: &mut String, mut labels: Vec<StoredLabel>) {
    if labels.is_empty() {
        return;
    }
    labels.sort_by_key(|label| std::cmp::Reverse(label.age()));
    // Into the block of lines that the decision ends with.
    text.truncate(text.trim_end_matches('\n').len() + 1);
    for (number, StoredLabel { label, .. }) in labels.into_iter().enumerate() {
        let name = if number == 0 { "label" } else { "earlier" };
        let known_at = local_and_utc(label.known_at_ns);
        writeln!(text, "  {name:<14} {}, says {}, known {known_at}", label.kind, label.source)
            .expect("a string");
    }
    text.push('\n');
}

fn damaged(log: &LogReader, found: &Found) -> Vec<String> {
    let damage = |(shard, read): &(u16, catraca_node::log_files::read::StreamRead)| match read.end {
        End::Damaged(damage) => Some(super::located(log, *shard, &damage)),
        _ => None,
    };
    found.streams.iter().filter_map(damage).collect()
}

/// Writes a decision for a person: what, why, and in which block it is, which `block` says. Rules are named
/// where their ids are at hand, and numbered else.
pub fn explain(
    text: &mut String,
    record: &StoredRecord,
    view: &RecordView,
    rule_ids: Option<&[&str]>,
    block: &str,
) {
    let head = &record.head;
    let why = match Reason::from_wire(head.reason) {
        Some(Reason::Clear) => "nothing spoke against it".to_owned(),
        Some(Reason::PayerListed) => {
            format!("the payer is listed ({})", view.payer_source.unwrap_or("unknown list"))
        }
        Some(Reason::PayeeListed) => {
            format!("the payee is listed ({})", view.payee_source.unwrap_or("unknown list"))
        }
        Some(Reason::BothListed) => {
            let list = |source: Option<&'static str>| source.unwrap_or("unknown list");
            format!(
                "payer ({}) and payee ({}) are listed",
                list(view.payer_source),
                list(view.payee_source)
            )
        }
        Some(Reason::Allowed) => {
            "who is listed is allowed by an entry made on the running node".to_owned()
        }
        Some(Reason::Rule) => match view.settled_by {
            Some(rule) => {
                let id = rule_ids.and_then(|ids| ids.get(usize::from(rule) - 1).copied());
                let rule = id.map_or_else(|| rule.to_string(), str::to_owned);
                format!("rule {rule} of the policy decided it")
            }
            None => "a rule of the policy decided it".to_owned(),
        },
        Some(Reason::Score) => format!("of its score of {}", view.score),
        None => format!("reason {}, which this build does not know", head.reason),
    };
    let party = |document: &Option<String>, source: Option<&str>| {
        let listed = source.map_or("not listed".to_owned(), |source| format!("listed in {source}"));
        format!("{}, {listed}", document.as_deref().unwrap_or("unknown"))
    };
    let transaction = &head.transaction;
    let mut flags = String::new();
    if !view.flags.is_empty() {
        write!(flags, " [{}]", view.flags).expect("writing to a string can't fail");
    }
    let place = &record.place;
    let lines = [
        ("decided", local_and_utc(view.decided_at_ns)),
        ("payer", party(&view.payer, view.payer_source)),
        ("payee", party(&view.payee, view.payee_source)),
        ("amount", reais(transaction.amount_centavos.to_native())),
        ("happened", local_and_utc(transaction.event_time_ns.to_native())),
        ("rail, channel", format!("{}, {}", view.rail.unwrap_or(""), view.channel.unwrap_or(""))),
        ("score", format!("{} of 1000", view.score)),
        (
            "policy",
            format!("version {}, {}", view.policy_version, rules_text(view, rule_ids.is_some())),
        ),
        (
            "blacklist",
            format!(
                "snapshot {}, overlay change {} (version {}), as of {}",
                view.snapshot_id,
                view.overlay_sequence,
                view.blacklist_version,
                view.list_day.as_deref().unwrap_or("an unrecorded day")
            ),
        ),
        (
            "record",
            format!(
                "shard {}, lsn {}, epoch {}, extension {} bytes",
                place.shard,
                view.lsn,
                place.epoch,
                record.extension.len()
            ),
        ),
        ("block", block.to_owned()),
        ("chain", view.chain.clone()),
        ("receipt", view.receipt.clone()),
    ];
    writeln!(
        text,
        "{}: {}{flags}, because {why}",
        view.transaction_id.as_deref().unwrap_or(""),
        view.verdict.to_uppercase()
    )
    .expect("writing to a string can't fail");
    let sent_by = view.submitter.as_ref().map(|name| match view.institution {
        None | Some(0) => name.clone(),
        Some(institution) => format!("{name}, institution {institution}"),
    });
    let optional = [
        ("sent by", &sent_by),
        ("ip", &view.ip),
        ("trace", &view.trace_id),
        ("device", &view.device),
    ];
    let optional =
        optional.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value)));
    let asked = asked::told(&read_asked(&record.extension)).into_iter().map(|told| ("asked", told));
    for (name, value) in lines.into_iter().chain(asked).chain(optional) {
        writeln!(text, "  {name:<14} {value}").expect("writing to a string can't fail");
    }
    text.push('\n');
}

/// Which rules matched, in words; `named`: they are told by their ids elsewhere.
fn rules_text(view: &RecordView, named: bool) -> String {
    let Some(matched) = &view.rules_matched else {
        return format!("matched rules {}", view.matched_rules);
    };
    let count = matched.split_whitespace().count();
    if count == 0 {
        return "no rule matched".to_owned();
    }
    if named {
        return format!("{} matched", counted(count, "rule", "rules"));
    }
    let rules = |numbers: &str| {
        let noun = if numbers.contains(' ') { "rules" } else { "rule" };
        format!("{noun} {numbers}")
    };
    let not_applied = match view.rules_not_applied.as_deref() {
        None | Some("") => String::new(),
        Some(numbers) => {
            format!("; not applied (exempt or outside of its share): {}", rules(numbers))
        }
    };
    format!("{} matched (numbered from 1){not_applied}", rules(matched))
}
