//! `catraca blacklist check`: asks a snapshot file about documents.

use super::{line_json, line_text, open, parse_zone};
use crate::commands::Outcome;
use crate::commands::output::{json, lines, print};
use crate::import::masked_text;
use catraca_core::blacklist::{Hit, Line, Snapshot};
use catraca_core::calendar::{DEFAULT_ZONE, Zone, day_number};
use catraca_node::fatal::{Failure, Status};
use catraca_wire::DocumentKey;
use catraca_wire::client::now_ns;
use jiff::civil::Date;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
An entry counts from its first day through its last one. Documents are printed masked. Exit status: 0 none is listed, 3 at least one
is, 1 the question failed.

Examples:
  catraca blacklist check list.catraca 12.ABC.345/01DE-35 049.332.286-80
  catraca blacklist check list.catraca 12.ABC.345/01DE-35 --on 2027-01-01 --json")]
pub(super) struct Args {
    /// Snapshot file, as `blacklist build` made it
    file: PathBuf,
    /// CPFs and CNPJs, with or without mask
    #[arg(required = true, value_name = "DOC")]
    documents: Vec<String>,
    /// Whether they are listed on this day [default: today in the time zone]
    #[arg(long, value_name = "YYYY-MM-DD")]
    on: Option<Date>,
    /// Time zone whose day it is
    #[arg(long, value_name = "ZONE", default_value = DEFAULT_ZONE, value_parser = parse_zone)]
    time_zone: Zone,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a snapshot says of a document.
struct Answer<'a> {
    document: DocumentKey,
    hit: Option<Hit>,
    /// Everything that names it, the line that makes the hit first.
    lines: Vec<Line<'a>>,
}

impl<'a> Answer<'a> {
    fn of(snapshot: &'a Snapshot, document: DocumentKey, day: u16) -> Self {
        let hit = snapshot.lookup(document, day);
        let mut lines = snapshot.lines(document);
        let makes_hit = |line: &Line<'_>| {
            line.counts_on(day)
                && hit.is_some_and(|hit| (line.source, line.scope) == (hit.source, hit.scope))
        };
        // Of several the one that is to come, and that lasts longest.
        let end = |line: &Line<'_>| if line.until == 0 { u16::MAX } else { line.until };
        lines.sort_by_key(|line| (!makes_hit(line), line.from <= day, Reverse(end(line))));
        Self { document, hit, lines }
    }

    fn json(&self, day: u16) -> Value {
        let hit =
            self.lines.first().filter(|_| self.hit.is_some()).map(|line| line_json(line, day));
        let field = |name: &str| hit.as_ref().map_or(Value::Null, |hit| hit[name].clone());
        json!({
            "document": self.document.to_string(),
            "listed": self.hit.is_some(),
            "source": field("source"),
            "scope": field("scope"),
            "from": field("from"),
            "until": field("until"),
            "reason": field("reason"),
            "lines": self.lines.iter().map(|line| line_json(line, day)).collect::<Vec<_>>(),
        })
    }

    fn text(&self, day: u16) -> String {
        match (self.hit, self.lines.first()) {
            (Some(_), Some(line)) => format!("listed by {}", line_text(line)),
            (None, Some(line)) => {
                let when = if line.from > day { "will be" } else { "was" };
                format!("not listed; {when} by {}", line_text(line))
            }
            _ => "not listed".to_owned(),
        }
    }
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
    let on = args.on.unwrap_or_else(|| args.time_zone.date_at(now_ns()));
    if on < snapshot.as_of() {
        return Err(Failure::failed(format!(
            "{}: it is built for {}, so that who was listed until then is not in it: it can't tell who was on {on}; ask a list that is \
             as old, or of a day from then on",
            args.file.display(),
            snapshot.as_of()
        )));
    }
    let day = day_number(on);
    let answers: Vec<_> = keys.iter().map(|&key| Answer::of(&snapshot, key, day)).collect();
    let listed = answers.iter().any(|answer| answer.hit.is_some());
    let text = if args.json {
        json(&json!({
            "snapshot_id": format!("{:016x}", snapshot.id()),
            "on": on.to_string(),
            "time_zone": args.time_zone.name(),
            "listed": listed,
            "documents": answers.iter().map(|answer| answer.json(day)).collect::<Vec<_>>(),
        }))
    } else {
        lines(
            &answers
                .iter()
                .map(|answer| (answer.document.to_string(), answer.text(day)))
                .collect::<Vec<_>>(),
        )
    };
    print(&text, if listed { ExitCode::from(Status::Found as u8) } else { ExitCode::SUCCESS })
}
