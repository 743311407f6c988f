//! `catraca log verify --proof`: whether a proof holds, and what it proves. Needs the chain's key,
//! and no data directory.

use super::head::Kept;
use super::view::{RecordView, utc};
use crate::commands::Outcome;
use crate::commands::output::{json, print};
use catraca_core::log::BlockLocation;
use catraca_core::log::proof::{MAX_PROOF_LEN, Proof, Proved};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::key;
use catraca_node::log_files::lookup::StoredRecord;
use catraca_wire::block::{Chain, receipt};
use catraca_wire::record::RecordKind;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked about a proof.
pub struct Question<'a> {
    pub proof: &'a Path,
    pub key_file: Option<&'a PathBuf>,
    pub receipt: Option<u64>,
    pub head: Option<&'a PathBuf>,
    pub unmask: bool,
    pub json: bool,
}

#[derive(Serialize)]
struct Report {
    proof: String,
    holds: bool,
    /// Why it does not hold.
    reason: Option<String>,
    proved: Option<ProvedView>,
}

/// What a proof that holds proves.
#[derive(Serialize)]
struct ProvedView {
    cluster_id: String,
    stream: u16,
    lsn: u64,
    epoch: u32,
    block_first_lsn: u64,
    block_last_lsn: u64,
    sealed_at: String,
    previous_chain: String,
    chain: String,
    receipt: String,
    /// A receipt was named, and it is this block's.
    receipt_matches: bool,
    /// A kept head was named, and it is this block.
    head_matches: bool,
    record: RecordView,
}

/// A receipt of the command line, as look-ups print them.
pub fn parse_receipt(text: &str) -> Result<u64, String> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let receipt = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    receipt.ok_or_else(|| {
        "a receipt has 16 hexadecimal digits, as `catraca lookup` prints it".to_owned()
    })
}

/// Runs it.
pub fn run(question: &Question<'_>) -> Outcome {
    let Some(key_file) = question.key_file else {
        return Err(Failure::new(
            Status::Usage,
            "--proof needs --key-file: the chain's values can be computed with its key only",
        ));
    };
    let key = key::load(key_file).map_err(|error| Failure::failed(error.to_string()))?;
    let kept = question.head.map(|path| Kept::read(path)).transpose()?;
    let bytes = super::read_bounded(question.proof, MAX_PROOF_LEN)?;
    let held = Proof::parse(&bytes)
        .and_then(|proof| proof.verify(&key).map(|proved| (*proof.chain(), proved)))
        .map_err(|error| error.to_string())
        .and_then(|(chain, proved)| {
            match against(&chain, &proved, question.receipt, kept.as_ref()) {
                Some(reason) => Err(reason),
                None => Ok((chain, proved)),
            }
        });
    let file = question.proof.display().to_string();
    match held {
        Ok((chain, proved)) => {
            let record = stored(&chain, &proved);
            let view = view(&chain, &proved, &record, question);
            let text = if question.json {
                json(&Report { proof: file, holds: true, reason: None, proved: Some(view) })
            } else {
                text(&file, &view, &record)
            };
            print(&text, ExitCode::SUCCESS)
        }
        Err(reason) => {
            let text = if question.json {
                json(&Report { proof: file, holds: false, reason: Some(reason), proved: None })
            } else {
                format!("{file}: DOES NOT HOLD: {reason}.\n")
            };
            print(&text, ExitCode::from(Status::Found as u8))
        }
    }
}

/// What speaks against a sound proof: another receipt, or a kept head that is not its block.
fn against(
    chain: &Chain,
    proved: &Proved,
    wanted: Option<u64>,
    kept: Option<&Kept>,
) -> Option<String> {
    let found = receipt(chain);
    if let Some(wanted) = wanted.filter(|&wanted| wanted != found) {
        return Some(format!(
            "the receipt given is {wanted:016x}, that of the proof's block {found:016x}"
        ));
    }
    kept?.against_block(
        &proved.block.cluster_id,
        proved.block.shard.to_native(),
        proved.last_lsn(),
        chain,
    )
}

fn stored(chain: &Chain, proved: &Proved) -> StoredRecord {
    let (shard, epoch) = (proved.block.shard.to_native(), proved.block.epoch.to_native());
    let place = BlockLocation { shard, segment: 0, block_offset: 0, epoch, chain: *chain };
    StoredRecord { place, head: proved.record, extension: proved.extension.clone() }
}

fn view(
    chain: &Chain,
    proved: &Proved,
    record: &StoredRecord,
    question: &Question<'_>,
) -> ProvedView {
    let block = &proved.block;
    let record = RecordView::new(&record.head, &record.extension, &record.place, question.unmask);
    ProvedView {
        cluster_id: hex::encode(block.cluster_id),
        stream: block.shard.to_native(),
        lsn: record.lsn,
        epoch: block.epoch.to_native(),
        block_first_lsn: block.first_lsn.to_native(),
        block_last_lsn: proved.last_lsn(),
        sealed_at: utc(block.sealed_at_ns.to_native()),
        previous_chain: hex::encode(block.previous_chain),
        chain: hex::encode(chain),
        receipt: format!("{:016x}", receipt(chain)),
        receipt_matches: question.receipt.is_some(),
        head_matches: question.head.is_some(),
        record: RecordView { segment: None, block_offset: None, ..record },
    }
}

fn text(file: &str, proved: &ProvedView, record: &StoredRecord) -> String {
    let ProvedView {
        stream,
        lsn,
        epoch,
        block_first_lsn,
        block_last_lsn,
        sealed_at,
        chain,
        receipt,
        cluster_id,
        ..
    } = proved;
    let mut text = String::new();
    let block = format!("records {block_first_lsn} to {block_last_lsn}, sealed {sealed_at}");
    if RecordKind::from_wire(record.head.kind) == Some(RecordKind::Decision) {
        super::explain(&mut text, record, &proved.record, None, &block);
    } else {
        let RecordView { kind, verdict, payer, snapshot_id, overlay_sequence, decided_at, .. } =
            &proved.record;
        let document = payer.as_deref().unwrap_or("no document");
        let what = format!(
            "{kind} {verdict} ({document}), snapshot {snapshot_id}, overlay change {overlay_sequence}, at {decided_at}"
        );
        writeln!(text, "{what}\n  {:<14} {block}\n", "block")
            .expect("writing to a string can't fail");
    }
    let mut line = |line: String| writeln!(text, "{line}").expect("writing to a string can't fail");
    line(format!(
        "{file}: HOLDS: record {lsn} of stream {stream} is in the block with chain value"
    ));
    line(format!("{chain} (receipt {receipt}), epoch {epoch}, cluster {cluster_id}."));
    if proved.receipt_matches {
        line("The receipt given is this block's.".to_owned());
    }
    if proved.head_matches {
        line("The head kept is this block.".to_owned());
    }
    text
}
