//! `catraca subject report`: what is held of somebody, for whoever asks for it by law.

use super::held::{Held, Role, Search, Tally};
use crate::commands::Outcome;
use crate::commands::blacklist::line_json;
use crate::commands::log::{chain_key, located, open, progress, reais, utc};
use crate::commands::output::{counted, json, print};
use crate::commands::target::{Target, cannot_write, written};
use crate::import::masked_text;
use catraca_core::blacklist::Named;
use catraca_core::log::SoundBlock;
use catraca_node::fatal::{Failure, Status};
use catraca_node::list_files::{self, LISTS_DIR};
use catraca_node::log_files::quarantine::{self, QUARANTINE_DIR};
use catraca_node::log_files::read::End;
use catraca_wire::DocumentKey;
use catraca_wire::frame::Scope;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca subject report /var/lib/catraca --document 529.982.247-25
  catraca subject report /var/lib/catraca --document - --records maria.ndjson < document.txt
  catraca subject report ./copy --document 12.ABC.345/01DE-35 --json

Reads all of the log, the lists that a node keeps, and its quarantine. --records writes each record on a line of its own;
the other party's document is masked there, because it is somebody else's. A document on the command line can be seen by
other users of the machine: with - it is read from standard input.

Not in a data directory, and so not told: segments that were moved to an archive (run it on that folder too), backups,
metrics, logs and traces of the program (which hold no documents), answers of validators that nodes share in Redis (under
keyed hashes, for as long as their time), and whatever your own systems have.

Exit status: 0 nothing is held; 3 something is, or the log is damaged and not all was read; 11 the folder is no log.";

/// Arguments of `catraca subject report`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    data_dir: PathBuf,
    /// The CPF or CNPJ, with or without mask; - reads it from standard input
    #[arg(long, value_name = "DOC")]
    document: String,
    /// File for the records, one JSON object a line
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Longest line that may hold a document, bytes.
const MAX_LINE_LEN: u64 = 64;

fn document(text: &str) -> Result<DocumentKey, Failure> {
    let mut line = String::new();
    let text = match text {
        "-" => {
            let read = io::Read::take(io::stdin().lock(), MAX_LINE_LEN).read_line(&mut line);
            read.map_err(|e| Failure::failed(format!("standard input: {e}")))?;
            line.trim()
        }
        text => text,
    };
    DocumentKey::parse(text).map_err(|error| {
        let shown = masked_text(text.as_bytes());
        Failure::new(Status::Usage, format!("the document {shown}: {error}"))
    })
}

/// A list that names the subject.
struct Listed {
    list: String,
    line: Value,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let subject = document(&args.document)?;
    let out = args.records.as_deref();
    let target = args.records.as_ref().map(|path| Target::open(Some(path))).transpose();
    let mut target = target.map_err(|error| cannot_write(out, &error))?;
    let mut outcome = Ok(());
    let mut search = Search::new(subject);
    let mut damaged = read(args, &mut search, |held| {
        if let (Some(target), Some(held)) = (&mut target, held) {
            outcome = serde_json::to_writer(&mut *target, &held).map_err(io::Error::from);
            if outcome.is_ok() {
                outcome = target.write_all(b"\n");
            }
        }
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let lists = lists(&args.data_dir, subject, &mut damaged)?;
    let finished = outcome.and_then(|()| target.map_or(Ok(()), Target::finish));
    written(out, finished)?;
    let shown = if args.json {
        json(&object(&search, &lists, &damaged))
    } else {
        text(&search, &lists, &damaged, out)
    };
    let is_clean = search.tallies.is_empty() && lists.is_empty() && damaged.is_empty();
    print(&shown, if is_clean { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) })
}

/// Reads the log, and then once more for labels, and the quarantine. Gives what could not be read.
fn read(
    args: &Args,
    search: &mut Search,
    mut found: impl FnMut(Option<Held>) -> ControlFlow<()>,
) -> Result<Vec<String>, Failure> {
    let key = chain_key(&args.data_dir, args.key_file.as_ref())?;
    let log = open(&args.data_dir, key)?;
    let mut damaged = Vec::new();
    for second in [false, true] {
        if second && !search.has_decisions() {
            break;
        }
        let bar = progress(&log, io::stderr().is_terminal())?;
        for &shard in log.shards() {
            let read = log.blocks(shard, log.start(shard)?.tail, |block| {
                bar.inc(block.head.padded_len() as u64);
                each(block, "log", second, search, &mut found)
            })?;
            if let End::Damaged(damage) = read.end
                && !second
            {
                damaged.push(located(&log, shard, &damage));
            }
        }
        bar.finish_and_clear();
    }
    let kept = args.data_dir.join(QUARANTINE_DIR);
    for path in files(&kept, "blocks")? {
        let name = path.display().to_string();
        let Some(key) = &key else {
            damaged.push(format!("{name}: it can't be read without the chain's key"));
            continue;
        };
        let mut visit = |block: &SoundBlock<'_>| each(block, &name, false, search, &mut found);
        let faults = quarantine::blocks(&path, key, &mut visit)?;
        damaged
            .extend(faults.into_iter().map(|(at, fault)| format!("{name} offset {at}: {fault}")));
    }
    Ok(damaged)
}

fn each(
    block: &SoundBlock<'_>,
    from: &str,
    second: bool,
    search: &mut Search,
    found: &mut impl FnMut(Option<Held>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for (head, extension) in block.records() {
        let held = match second {
            false => search.record(head, extension, &block.place, from),
            true => search.label(head, extension, &block.place, from),
        };
        if held.is_some() {
            found(held)?;
        }
    }
    ControlFlow::Continue(())
}

/// The files of a folder that end so, in order; none where there is no folder.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e: io::Error| Failure::failed(format!("{}: {e}", dir.display()));
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|of| of == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The lists that a node keeps and that name the subject itself; those of its company name others too.
fn lists(
    data_dir: &Path,
    subject: DocumentKey,
    damaged: &mut Vec<String>,
) -> Result<Vec<Listed>, Failure> {
    let mut listed = Vec::new();
    for path in files(&data_dir.join(LISTS_DIR), "snap")? {
        let snapshot = match list_files::open(&path) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                damaged.push(error.to_string());
                continue;
            }
        };
        let named = Named { document: subject, scope: Scope::Exact };
        listed.extend(snapshot.lines_naming(named).iter().map(|line| Listed {
            list: format!("{:016x}", snapshot.id()),
            line: line_json(line, 0),
        }));
    }
    Ok(listed)
}

fn object(search: &Search, lists: &[Listed], damaged: &[String]) -> Value {
    let role = |(role, tally): (&Role, &Tally)| {
        json!({
            "what": role,
            "records": tally.records,
            "first_at": utc(tally.first_ns),
            "last_at": utc(tally.last_ns),
            "verdicts": tally.verdicts,
            "amount_centavos": tally.amount_centavos.to_string(),
        })
    };
    let list = |listed: &Listed| {
        let mut line = listed.line.clone();
        line["list"] = Value::from(listed.list.clone());
        line
    };
    json!({
        "document": search.subject().to_string(),
        "records": search.tallies.iter().map(role).collect::<Vec<_>>(),
        "lists": lists.iter().map(list).collect::<Vec<_>>(),
        "not_read": damaged,
    })
}

fn text(search: &Search, lists: &[Listed], damaged: &[String], records: Option<&Path>) -> String {
    let mut text = format!("What is held of {}\n", search.subject());
    if search.tallies.is_empty() {
        text.push_str("No record of the log is about it.\n");
    } else {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["what", "records", "first", "last", "verdicts", "sum"]);
        for (role, tally) in &search.tallies {
            let verdicts: Vec<String> =
                tally.verdicts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let sum = i64::try_from(tally.amount_centavos).map_or_else(|_| "-".to_owned(), reais);
            table.add_row([
                role.name().to_owned(),
                tally.records.to_string(),
                utc(tally.first_ns),
                utc(tally.last_ns),
                verdicts.join(", "),
                if tally.verdicts.is_empty() { "-".to_owned() } else { sum },
            ]);
        }
        text.push_str(&format!("{table}\n"));
    }
    for Listed { list, line } in lists {
        let field = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        text.push_str(&format!(
            "list {list}: {}, from {}, until {}: {}\n",
            field("source"),
            field("from"),
            field("until"),
            field("reason"),
        ));
    }
    if lists.is_empty() {
        text.push_str("No list that this node keeps names it.\n");
    }
    if let Some(path) = records {
        let count = search.tallies.values().map(|tally| tally.records).sum::<u64>();
        let count = counted(count, "record", "records");
        text.push_str(&format!("{count} written to {}\n", path.display()));
    }
    for place in damaged {
        text.push_str(&format!("NOT READ: {place}\n"));
    }
    text
}
