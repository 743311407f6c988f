//! `catraca blacklist check`: asks a snapshot file about documents.

use super::open;
use crate::blacklist::import::masked_text;
use crate::commands::Outcome;
use crate::commands::output::{json, lines, print};
use crate::fatal::{Failure, Status};
use catraca_wire::DocumentKey;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Documents are printed masked. Exit status: 0 none is listed, 3 at least one is, 1 the question failed.\n\n\
                        Example:\n  catraca blacklist check list.catraca 12.ABC.345/01DE-35 049.332.286-80"
)]
pub(super) struct Args {
    /// Snapshot file, as `blacklist build` made it
    file: PathBuf,
    /// CPFs and CNPJs, with or without mask
    #[arg(required = true, value_name = "DOC")]
    documents: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let parsed = args.documents.iter().enumerate().map(|(place, text)| {
        DocumentKey::parse(text).map_err(|error| {
            let shown = masked_text(text.as_bytes());
            Failure::failed(format!("document {} ({shown}) can't be looked up: {error}", place + 1))
        })
    });
    let keys = parsed.collect::<Result<Vec<_>, _>>()?;
    let snapshot = open(&args.file)?;
    let answers: Vec<_> = keys.iter().map(|&key| (key, snapshot.lookup(key))).collect();
    let listed = answers.iter().any(|(_, hit)| hit.is_some());
    let text = if args.json {
        let documents = answers.iter().map(|(key, hit)| {
            serde_json::json!({
                "document": key.to_string(),
                "listed": hit.is_some(),
                "source": hit.map(|hit| hit.source.name()),
                "scope": hit.map(|hit| hit.scope.name()),
            })
        });
        let documents: Vec<_> = documents.collect();
        let snapshot_id = format!("{:016x}", snapshot.id());
        json(&serde_json::json!({ "snapshot_id": snapshot_id, "listed": listed, "documents": documents }))
    } else {
        let line = |(key, hit): &(DocumentKey, Option<crate::blacklist::Hit>)| {
            let answer = hit.map_or_else(|| "not listed".to_owned(), |hit| format!("listed by {}, {}", hit.source, hit.scope));
            (key.to_string(), answer)
        };
        lines(&answers.iter().map(line).collect::<Vec<_>>())
    };
    print(&text, if listed { ExitCode::from(Status::Found as u8) } else { ExitCode::SUCCESS })
}
