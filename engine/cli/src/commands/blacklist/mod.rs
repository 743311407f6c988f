//! `catraca blacklist`: builds list snapshots, looks into them, and asks them about documents. One
//! file for each subcommand.

mod build;
mod check;
mod diff;
mod guard;
mod inspect;
mod online;
mod synth;

use super::Outcome;
use super::output::counted;
use catraca_core::blacklist::{Counts, Line, Snapshot};
use catraca_core::calendar::{Zone, day_of};
use catraca_node::fatal::Failure;
use catraca_node::list_files;
use catraca_node::time_zone;
use catraca_wire::frame::ListSource;
use std::path::Path;

/// Arguments of `catraca blacklist`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Build a snapshot file out of published lists and your own
    Build(build::Args),
    /// Say what is in a snapshot file
    Inspect(inspect::Args),
    /// Ask a snapshot file about documents; exit status 3 if any is listed
    Check(check::Args),
    /// Say who came and who went between two snapshot files; exit status 3 if anybody did
    Diff(diff::Args),
    /// Take a snapshot file into use on a running node
    Load(online::LoadArgs),
    /// List a document on a running node
    Add(online::ChangeArgs),
    /// Unlist a document on a running node
    Remove(online::ChangeArgs),
    /// Let a document pass until a day, whatever lists it
    Allow(online::AllowArgs),
    /// Say which blacklist a running node uses
    Status(online::StatusArgs),
    /// Write an invented plain list, for measurements and load tests
    Synth(synth::Args),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Build(args) => build::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Load(args) => online::load(&args),
        Command::Add(args) => online::add(&args),
        Command::Remove(args) => online::remove(&args),
        Command::Allow(args) => online::allow(&args),
        Command::Status(args) => online::status(&args),
        Command::Synth(args) => synth::run(&args),
    }
}

/// A time zone on the command line.
fn parse_zone(text: &str) -> Result<Zone, String> {
    time_zone::named(text).map_err(|error| error.to_string())
}

/// Opens a snapshot for a command.
fn open(path: &Path) -> Result<Snapshot, Failure> {
    list_files::open(path).map_err(|error| Failure::failed(error.to_string()))
}

/// A snapshot for a program.
fn snapshot_json(snapshot: &Snapshot) -> serde_json::Value {
    let Counts { entries, roots, spans, future, documents, cpf, cnpj, alphanumeric, by_source } =
        snapshot.counts();
    let names = ListSource::ALL.iter().map(|source| source.name().to_owned());
    let by_source: serde_json::Map<_, _> = names.zip(by_source.map(Into::into)).collect();
    serde_json::json!({
        "id": format!("{:016x}", snapshot.id()),
        "content_hash": blake3::Hash::from_bytes(*snapshot.content_hash()).to_string(),
        "as_of": snapshot.as_of().to_string(),
        "built_at_ns": snapshot.built_at_ns(),
        "documents": documents,
        "cpf": cpf,
        "cnpj": cnpj,
        "alphanumeric": alphanumeric,
        "entries": entries,
        "roots": roots,
        "dated_lines": spans,
        "future_documents": future,
        "by_source": by_source,
        "source_dates": source_dates(snapshot),
        "bytes": snapshot.bytes().len(),
    })
}

/// A day in print, if there is one.
fn date(day: u16) -> Option<String> {
    (day != 0).then(|| day_of(day).to_string())
}

/// A line of a list for a program; `day` is the one asked about.
pub(super) fn line_json(line: &Line<'_>, day: u16) -> serde_json::Value {
    serde_json::json!({
        "source": line.source.name(),
        "scope": line.scope.name(),
        "from": date(line.from),
        "until": date(line.until),
        "reason": line.reason,
        "counts": line.counts_on(day),
    })
}

/// A line of a list for a person.
fn line_text(line: &Line<'_>) -> String {
    let mut text = format!("{}, {}", line.source, line.scope);
    for (word, day) in [(", from ", line.from), (", until ", line.until)] {
        if let Some(date) = date(day) {
            text.push_str(word);
            text.push_str(&date);
        }
    }
    if let Some(reason) = line.reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// By source: the date of its list, where it is known.
fn source_dates(snapshot: &Snapshot) -> serde_json::Map<String, serde_json::Value> {
    let date =
        |day: u16| if day == 0 { serde_json::Value::Null } else { day_of(day).to_string().into() };
    ListSource::ALL
        .iter()
        .zip(snapshot.source_days())
        .map(|(source, day)| (source.name().to_owned(), date(day)))
        .collect()
}

/// A snapshot for a person: lines of a name and a value.
fn snapshot_lines(snapshot: &Snapshot) -> Vec<(String, String)> {
    let counts = snapshot.counts();
    let built = i128::from(snapshot.built_at_ns());
    let built = jiff::Timestamp::from_nanosecond(built)
        .map_or_else(|_| "?".to_owned(), |at| format!("{at:.0}"));
    let mut lines = vec![
        ("id".to_owned(), format!("{:016x}", snapshot.id())),
        ("as of".to_owned(), snapshot.as_of().to_string()),
        ("built".to_owned(), built),
        (
            "documents".to_owned(),
            format!("{} ({} CPF, {} CNPJ)", counts.documents, counts.cpf, counts.cnpj),
        ),
        ("  with letters".to_owned(), counts.alphanumeric.to_string()),
    ];
    if counts.future > 0 {
        lines.push(("  not yet begun".to_owned(), counts.future.to_string()));
    }
    for ((source, count), day) in
        ListSource::ALL.iter().zip(counts.by_source).zip(snapshot.source_days())
    {
        let of = if day == 0 { String::new() } else { format!(", list of {}", day_of(day)) };
        lines.push((format!("  from {source}"), format!("{count}{of}")));
    }
    let per_document = snapshot.bytes().len() as f64 / counts.documents.max(1) as f64;
    lines.push((
        "entries".to_owned(),
        format!(
            "{} ({} of them company roots), {} with dates",
            counts.entries,
            counts.roots,
            counted(counts.spans, "line", "lines")
        ),
    ));
    lines.push((
        "size".to_owned(),
        format!("{} bytes, {per_document:.1} for each document", snapshot.bytes().len()),
    ));
    lines
}
