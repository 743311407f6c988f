//! `catraca blacklist build`: lists in, one snapshot file out.

use super::guard::Previous;
use super::{parse_zone, snapshot_json, snapshot_lines};
use crate::commands::Outcome;
use crate::commands::output::{self, counted, json, note, print};
use crate::import::{self, Options, Reject, Tally, Tolerance, read_list};
use catraca_core::blacklist::{Draft, MAX_REASONS, Snapshot};
use catraca_core::calendar::{DEFAULT_ZONE, Zone, day_number};
use catraca_node::fatal::Failure;
use catraca_node::list_files;
use catraca_node::whole_file::{GROUP, WholeFile};
use catraca_wire::client::now_ns;
use catraca_wire::frame::{ListSource, Scope};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;
use serde_json::Value;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Share of its entries, percent, that a list, or one source of it, may lose between two builds:
/// published lists change by a few in a hundred a month.
const MAX_LOSS_PERCENT: u8 = 20;

/// Digits of a date in the name of a published list: yyyymmdd.
const DATE_DIGITS: usize = 8;

/// Arguments.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Kinds of list: ceis, cnep and cepim as the Portal da Transparência publishes them; plain, a CSV of your own with the columns
document,scope,reason,valid_from,valid_until (only the first is needed; cnpj and cpf may stand for it, or both; scope is exact or
root, dates are yyyy-MM-dd or dd/MM/yyyy, both ends included).

What can't be read of a row never makes its document free: an end that can't be read is none, a start has passed, an unknown scope is
root. Such rows are doubtful. A row whose document can't be read is refused. Too many of either, and nothing is built.

Examples:
  catraca blacklist build --source ceis=20261122_CEIS.csv --source cnep=20261122_CNEP.csv --out list.catraca
  catraca blacklist build --source plain=own.csv --as-of 2026-11-22 --rejects refused.csv --out own.catraca")]
pub(super) struct Args {
    /// A list: its kind (ceis, cnep, cepim, plain), `=`, its file; may be given several times
    #[arg(long = "source", required = true, value_name = "KIND=FILE", value_parser = parse_source)]
    sources: Vec<Source>,
    /// Leave out entries that ended before this day, and count those of it [default: today in the
    /// time zone]
    #[arg(long, value_name = "YYYY-MM-DD")]
    as_of: Option<Date>,
    /// Time zone whose day it is
    #[arg(long, value_name = "ZONE", default_value = DEFAULT_ZONE, value_parser = parse_zone)]
    time_zone: Zone,
    /// Snapshot file to write; replaced whole or not at all
    #[arg(long)]
    out: PathBuf,
    /// Write the rows that don't count, or count in doubt, to this CSV: kind, line, reason, the
    /// document masked
    #[arg(long)]
    rejects: Option<PathBuf>,
    /// How far entries of ceis, cnep and cepim reach: `root`, every branch of the company, or
    /// `exact`
    #[arg(long, default_value = "root", value_parser = parse_scope)]
    sanctions_scope: Scope,
    /// Rows of a list that may be doubtful [default: none of a plain list, 2 in 100 of the others]
    #[arg(long, value_name = "N")]
    max_doubtful: Option<u64>,
    /// Share of a list's rows that may name a document that can't be read [default: 1 in a plain
    /// list; 20 in the others, 10 if not masked]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    max_rejects: Option<u8>,
    /// Build from a plain list although it has columns of unknown names, which are not read
    #[arg(long)]
    ignore_columns: bool,
    /// Snapshot to hold the new one against [default: the file --out replaces]
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Refuse a list that loses more than this share of its entries, or of those of one source,
    /// against the previous one
    #[arg(long, value_name = "PERCENT", default_value_t = MAX_LOSS_PERCENT, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_loss: u8,
    /// Build although too many entries are lost, none is left, or the previous list can't be read
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone)]
struct Source {
    kind: ListSource,
    path: PathBuf,
}

fn parse_source(text: &str) -> Result<Source, String> {
    let (kind, path) =
        text.split_once('=').ok_or("write it as KIND=FILE, for example ceis=20261122_CEIS.csv")?;
    let kind = ListSource::ALL
        .iter()
        .copied()
        .find(|source| *source != ListSource::Overlay && source.name() == kind);
    let kind = kind.ok_or("the kind of list is one of ceis, cnep, cepim, plain")?;
    if path.is_empty() {
        return Err("the file is missing behind the =".to_owned());
    }
    Ok(Source { kind, path: path.into() })
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::ALL
        .iter()
        .copied()
        .find(|scope| scope.name() == text)
        .ok_or_else(|| "exact or root".to_owned())
}

/// The day of which a list is, where its file's name says so: eight digits that are a date, as in
/// `20261122_CEIS.csv`. 0 unknown, as it is when the name's day has not come: a list that seems new
/// for ever would never be stale.
fn day_in_name(path: &Path, today: Date) -> u16 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let dates =
        name.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == DATE_DIGITS);
    let mut dates = dates.filter_map(|digits| Date::strptime("%Y%m%d", digits).ok());
    dates.next_back().filter(|&day| day <= today).map_or(0, day_number)
}

pub(super) fn run(args: &Args) -> Outcome {
    let built_at_ns = now_ns();
    let as_of = args.as_of.unwrap_or_else(|| args.time_zone.date_at(built_at_ns));
    refuse_overwriting(args)?;
    let previous =
        if args.force { None } else { Previous::open(args.previous.as_deref(), &args.out, as_of)? };
    let today = args.time_zone.date_at(built_at_ns);
    if as_of > today {
        note(&format!(
            "the list is for {as_of}, and today is {today}: a node takes it from that day on"
        ));
    }
    let options = Options {
        as_of,
        sanctions_scope: args.sanctions_scope,
        ignore_columns: args.ignore_columns,
    };
    let mut rejects = args.rejects.as_deref().map(Rejects::create).transpose()?;
    let mut draft = Draft::default();
    let mut tallies = Vec::with_capacity(args.sources.len());
    for (place, source) in args.sources.iter().enumerate() {
        match read_source(source, &options, &mut draft, rejects.as_mut()) {
            Ok(tally) => tallies.push(tally),
            Err(failure) => {
                // What the last build refused must not be taken for what this one did.
                if let Some(rejects) = rejects {
                    rejects.finish()?;
                }
                return Err(failure);
            }
        }
        let first_of_source = args.sources[..place].iter().all(|before| before.kind != source.kind);
        draft.published(source.kind, first_of_source, day_in_name(&source.path, today));
    }
    let reasons_not_kept = draft.reasons.not_kept();
    if let Some(rejects) = rejects {
        rejects.finish()?;
    }
    let tolerance = Tolerance { rejects_percent: args.max_rejects, doubtful: args.max_doubtful };
    for (source, tally) in args.sources.iter().zip(&tallies) {
        let failure = |error| Failure::failed(format!("{}: {error}", source.path.display()));
        tolerance.hold(source.kind, tally).map_err(failure)?;
    }
    let spinner = spinner("building and writing");
    let snapshot = Snapshot::build(draft, as_of, built_at_ns)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let documents = snapshot.counts().documents;
    if !args.force {
        if documents == 0 {
            return Err(Failure::failed(format!(
                "no row of the lists counts on {as_of}, so that nobody would be listed; see why with --rejects, or --force if it is right"
            )));
        }
        if let Some(previous) = &previous {
            previous.hold_against(&snapshot, args.max_loss)?;
        }
    }
    list_files::save(&snapshot, &args.out).map_err(|error| {
        Failure::failed(format!("{}: the snapshot can't be written: {error}", args.out.display()))
    })?;
    spinner.finish_and_clear();
    if reasons_not_kept > 0 {
        note(&format!(
            "more than {MAX_REASONS} different reasons: {} listed without a reason",
            counted(reasons_not_kept, "entry is", "entries are")
        ));
    }
    print(&report(args, &snapshot, &tallies, previous.as_ref()), ExitCode::SUCCESS)
}

/// A slip of the hand must not cost the list that is read, nor one of the files that are written.
fn refuse_overwriting(args: &Args) -> Result<(), Failure> {
    let refuse = |path: &Path, what: &str| {
        Err(Failure::failed(format!(
            "{}: writing there would overwrite {what}; choose another name",
            path.display()
        )))
    };
    let rejects = args.rejects.as_deref();
    for path in [Some(args.out.as_path()), rejects].into_iter().flatten() {
        if args.sources.iter().any(|source| same_file(&source.path, path)) {
            return refuse(path, "a source");
        }
    }
    match rejects {
        Some(rejects) if same_file(rejects, &args.out) => refuse(rejects, "the list itself"),
        _ => Ok(()),
    }
}

/// Whether two names are of one file, which need not be there yet.
fn same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        path.canonicalize().ok().or_else(|| {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            Some(folder.canonicalize().ok()?.join(path.file_name()?))
        })
    };
    place(one).is_some_and(|one| Some(one) == place(other))
}

/// Reads one list, with a bar on a terminal.
fn read_source(
    source: &Source,
    options: &Options,
    draft: &mut Draft,
    mut rejects: Option<&mut Rejects>,
) -> Result<Tally, Failure> {
    let name = source.path.display();
    let file = File::open(&source.path)
        .map_err(|error| Failure::failed(format!("{name}: the list can't be read: {error}")))?;
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar =
        ProgressBar::new(len).with_style(style).with_message(format!("{} {name}", source.kind));
    let reject = |reject: Reject| {
        rejects.as_deref_mut().map_or(Ok(()), |rejects| rejects.write(source.kind, &reject))
    };
    let tally = read_list(bar.wrap_read(file), source.kind, options, draft, reject);
    bar.finish_and_clear();
    tally.map_err(|error| Failure::failed(format!("{name}: {error}")))
}

fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// The file of rejects.
struct Rejects {
    path: PathBuf,
    rows: csv::Writer<WholeFile>,
}

impl Rejects {
    fn create(path: &Path) -> Result<Self, Failure> {
        // It names people, if masked.
        let file = WholeFile::create(path, GROUP);
        let mut rows = csv::Writer::from_writer(file.map_err(|error| Self::failure(path, &error))?);
        rows.write_record(["source", "line", "reason", "document"])
            .map_err(|error| Self::failure(path, &error.into()))?;
        Ok(Self { path: path.to_path_buf(), rows })
    }

    fn write(&mut self, kind: ListSource, reject: &Reject) -> io::Result<()> {
        let reason = match (reject.outcome, reject.doubts.any()) {
            (import::Outcome::Active, _) => reject.doubts.to_string(),
            (outcome, false) => outcome.to_string(),
            (outcome, true) => format!("{outcome}+{}", reject.doubts),
        };
        let line = reject.line.to_string();
        Ok(self.rows.write_record([kind.name(), &line, &reason, &reject.document])?)
    }

    fn finish(self) -> Result<(), Failure> {
        let path = self.path;
        let file = self.rows.into_inner().map_err(|error| Self::failure(&path, error.error()))?;
        file.finish().map_err(|error| Self::failure(&path, &error))
    }

    fn failure(path: &Path, error: &io::Error) -> Failure {
        Failure::failed(format!(
            "{}: the file of rejects can't be written: {error}",
            path.display()
        ))
    }
}

fn report(
    args: &Args,
    snapshot: &Snapshot,
    tallies: &[Tally],
    previous: Option<&Previous>,
) -> String {
    let mut total = Tally::default();
    tallies.iter().for_each(|tally| total.merge(tally));
    if args.json {
        let sources = args.sources.iter().zip(tallies).map(|(source, tally)| {
            let mut value = tally_json(tally);
            value["source"] = serde_json::json!(source.kind.name());
            value["file"] = serde_json::json!(source.path.to_string_lossy());
            value
        });
        let sources: Vec<_> = sources.collect();
        let mut value = tally_json(&total);
        value["as_of"] = serde_json::json!(snapshot.as_of().to_string());
        value["time_zone"] = serde_json::json!(args.time_zone.name());
        value["distinct_active_documents"] = serde_json::json!(snapshot.counts().documents);
        value["alphanumeric_active_documents"] = serde_json::json!(snapshot.counts().alphanumeric);
        value["previous_documents"] = serde_json::json!(previous.map(Previous::documents));
        value["sources"] = serde_json::json!(sources);
        value["snapshot"] = snapshot_json(snapshot);
        return json(&value);
    }
    let mut lines = vec![
        ("rows".to_owned(), total.rows.to_string()),
        ("  active".to_owned(), total.active.to_string()),
    ];
    let reasons = [
        ("expired", total.expired),
        ("not yet begun", total.future),
        ("masked document", total.masked_document),
        ("document of wrong length", total.document_length),
        ("document with a wrong character", total.document_character),
        ("document with wrong check digits", total.document_check_digit),
        ("document of one repeated digit", total.document_repeated_digit),
        ("document of another kind than its column's", total.document_wrong_kind),
        ("wrong number of fields", total.wrong_fields),
        ("active, but doubtful", total.doubtful),
        ("  taken as without end", total.assumed_open),
        ("  taken as begun", total.assumed_begun),
        ("  taken as the whole company", total.assumed_root),
        ("  wrong number of fields", total.doubtful_fields),
        ("  zeros lost or gained, or two documents", total.assumed_document),
    ];
    lines.extend(
        reasons
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (format!("  {name}"), count.to_string())),
    );
    lines.push(("time zone".to_owned(), args.time_zone.to_string()));
    lines.extend(snapshot_lines(snapshot));
    lines.push(("written to".to_owned(), args.out.display().to_string()));
    output::lines(&lines)
}

fn tally_json(tally: &Tally) -> Value {
    serde_json::json!({
        "rows": tally.rows,
        "active_rows": tally.active,
        "expired_rows": tally.expired,
        "future_rows": tally.future,
        "invalid_document_rows": tally.invalid_document(),
        "masked_document_rows": tally.masked_document,
        "invalid_document_rows_by_reason": {
            "length": tally.document_length,
            "character": tally.document_character,
            "check_digit": tally.document_check_digit,
            "repeated_digit": tally.document_repeated_digit,
            "wrong_kind": tally.document_wrong_kind,
        },
        "wrong_fields_rows": tally.wrong_fields,
        "doubtful_rows": tally.doubtful,
        "assumed_open": tally.assumed_open,
        "assumed_begun": tally.assumed_begun,
        "assumed_root": tally.assumed_root,
        "doubtful_fields_rows": tally.doubtful_fields,
        "assumed_document": tally.assumed_document,
    })
}
