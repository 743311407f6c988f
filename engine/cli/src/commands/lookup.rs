//! `catraca lookup`: a stored decision, from the running node.

use super::Outcome;
use super::connect::Connect;
use super::log::{LabelView, RecordView, explain, tell_labels};
use super::matched_rules::{self, MatchedRule};
use super::output::{json, print};
use super::policy;
use catraca_core::log::BlockLocation;
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::lookup::{StoredLabel, StoredRecord};
use catraca_wire::DocumentKey;
use catraca_wire::client::{RecordedLabel, StoredDecision};
use catraca_wire::frame::transaction_id;
use catraca_wire::record::RecordHead;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `catraca lookup`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The newest decision with that id, read from the node's log, and its labels: what became known of it since. The credential needs the permission `lookup`: the answer is personal data,
in full unless --mask is given. Rules are told by their numbers, from 1 in the policy's order. With --policy the rules that matched are told by their ids, with their reasons in both languages: FILE must be
the text that decided, in force or the one before it, which the node is asked for, and that needs the permission `admin`.
Exit status: 0 found, 1 not found, or FILE is another policy.

Examples:
  catraca lookup E1234567820261123120000000000001
  catraca lookup order-1 --payer 123.456.789-09 --addr 10.0.0.5:7400 --json
  catraca lookup order-1 --policy pix.toml")]
pub struct Args {
    /// The transaction's id
    #[arg(value_name = "ID")]
    transaction: String,
    #[command(flatten)]
    connect: Connect,
    /// Only the decision for this payer (CPF or CNPJ)
    #[arg(long, value_name = "DOC")]
    payer: Option<String>,
    /// Policy that decided (TOML): tells the rules that matched, and their reasons
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print documents masked, and no IP address
    #[arg(long)]
    mask: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A decision, its labels, and the rules that matched it where they are known.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    record: &'a RecordView,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<&'a [MatchedRule]>,
    /// In the order of the log.
    labels: Vec<LabelView>,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let usage = |message: String| Failure::new(Status::Usage, message);
    if transaction_id(&args.transaction).is_none() {
        return Err(usage(
            "an id has 1 to 32 printable ASCII characters without spaces".to_owned(),
        ));
    }
    let payer = args
        .payer
        .as_deref()
        .map(DocumentKey::parse)
        .transpose()
        .map_err(|e| usage(format!("--payer: {e}")))?;
    let policy = args.policy.as_deref().map(policy::sound).transpose()?;
    let mut client = args.connect.connect()?;
    let (found, labels) = client
        .lookup_with_labels(&args.transaction, payer)
        .map_err(|e| Failure::failed(format!("{}: {e}", args.transaction)))?;
    let record = stored(&found);
    let labels: Vec<_> = labels.iter().map(|label| stored_label(label, &record)).collect();
    let view = RecordView::new(&record.head, &record.extension, &record.place, !args.mask);
    let rules = match (&args.policy, &policy) {
        (Some(path), Some(policy)) => {
            matched_rules::check_decided(&mut client, path, policy, view.policy_version)?;
            Some(matched_rules::matched(policy, &record.extension))
        }
        _ => None,
    };
    if args.json {
        let labels = labels.iter().map(|label| LabelView::new(label, !args.mask)).collect();
        let report = Report { record: &view, rules: rules.as_deref(), labels };
        return print(&json(&report), ExitCode::SUCCESS);
    }
    let mut text = String::new();
    let place = &record.place;
    let ids = policy
        .as_ref()
        .map(|policy| policy.rules.rules.iter().map(|rule| &rule.id[..]).collect::<Vec<_>>());
    explain(
        &mut text,
        &record,
        &view,
        ids.as_deref(),
        &format!(
            "segment {} on {} offset {}",
            place.segment, args.connect.addr, place.block_offset
        ),
    );
    if let Some(rules) = &rules {
        matched_rules::tell(&mut text, rules);
    }
    tell_labels(&mut text, labels);
    print(&text, ExitCode::SUCCESS)
}

/// What the node sent, in the form that the log's own commands print.
pub(super) fn stored(found: &StoredDecision) -> StoredRecord {
    let place = BlockLocation {
        shard: found.place.shard,
        segment: found.place.segment,
        block_offset: u64::from(found.place.block_offset),
        epoch: found.place.epoch,
        chain: found.place.chain,
    };
    StoredRecord {
        place,
        head: RecordHead::from(&found.record),
        extension: found.extension.clone(),
    }
}

/// A label of a record, in the form that the log's own commands print.
fn stored_label(label: &RecordedLabel, decision: &StoredRecord) -> StoredLabel {
    let RecordedLabel { label, lsn, logged_at_ns } = *label;
    let transaction = &decision.head.transaction;
    StoredLabel { label, lsn, logged_at_ns, id: transaction.id, payer: transaction.payer }
}
