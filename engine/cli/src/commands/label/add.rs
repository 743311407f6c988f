//! `catraca label add`: what became known of one decision.

use super::{kind, source};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::log::{time, utc};
use crate::commands::output::{changed, json, lines, print};
use catraca_node::fatal::{Failure, Status};
use catraca_wire::DocumentKey;
use catraca_wire::extension::LabelSource;
use catraca_wire::frame::{LabelKind, LabelRequest, LabelStateReply, Verdict};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Kinds: med_accepted and chargeback say that the payment was fraud; med_rejected, false_positive and confirmed_good that it was good. The
label is logged, and so on the standby, before it is answered, and alters nothing of the decision. The same label again (same kind and
source) changes nothing. Several of one decision all stay; the one that was known last counts. The credential needs the permission `admin`.
--known-at: RFC 3339, or a date, which is its midnight, or date and time, in this machine's zone (TZ). The source is no place for personal data.

Examples:
  catraca label add E1234567820261123120000000000001 --kind med-accepted --source med --known-at 2027-02-01
  catraca label add order-1 --payer 123.456.789-09 --kind chargeback --source visa --known-at 2027-02-01 --addr 10.0.0.5:7400

Exit status: 0 labelled, or labelled so already; 1 not labelled.";

/// Arguments of `catraca label add`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The transaction's id
    #[arg(value_name = "ID")]
    transaction: String,
    /// What became known: med_accepted, med_rejected, chargeback, false_positive, confirmed_good
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: LabelKind,
    /// Who says so, 1 to 64 printable ASCII characters
    #[arg(long, value_name = "TEXT", value_parser = source)]
    source: LabelSource,
    /// When it became known
    #[arg(long, value_name = "TIME", value_parser = time)]
    known_at: u64,
    /// The payer (CPF or CNPJ), where several have that id
    #[arg(long, value_name = "DOC")]
    payer: Option<String>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let usage = |message: String| Failure::new(Status::Usage, message);
    let payer = args.payer.as_deref().map(DocumentKey::parse).transpose();
    let payer = payer.map_err(|error| usage(format!("--payer: {error}")))?;
    let request =
        LabelRequest::new(&args.transaction, payer, args.kind, args.known_at, &args.source)
            .map_err(|error| usage(error.to_string()))?;
    let mut client = args.connect.connect()?;
    let state = client.label(&request).map_err(|error| {
        Failure::failed(format!("{}: it was not labelled: {error}", args.transaction))
    })?;
    print(&text(&state, args.json), ExitCode::SUCCESS)
}

fn text(state: &LabelStateReply, as_json: bool) -> String {
    let verdict = Verdict::from_wire(state.verdict).map_or("unknown", Verdict::name);
    let counts = LabelKind::from_wire(state.counts).map_or("unknown", LabelKind::name);
    if as_json {
        return json(&serde_json::json!({
            "changed": state.changed == 1,
            "verdict": verdict,
            "decided_at": utc(state.decided_at_ns),
            "decided_at_ns": state.decided_at_ns,
            "decision_shard": state.shard,
            "decision_lsn": state.lsn,
            "labels": state.labels,
            "counts": counts,
        }));
    }
    lines(&[
        changed(state.changed == 1),
        (
            "decision".to_owned(),
            format!(
                "{verdict}, {}, stream {} lsn {}",
                utc(state.decided_at_ns),
                state.shard,
                state.lsn
            ),
        ),
        ("labels".to_owned(), format!("{}, of which {counts} counts", state.labels)),
    ])
}
