//! `catraca policy lists import`: many entries of a list, out of a CSV file, in bounded memory.

use super::{By, name, reason};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::csv_lines::{Columns, Lines, progress};
use crate::commands::log::time;
use crate::commands::output::{json, note, print};
use catraca_node::fatal::{Failure, Status};
use catraca_wire::client::{Client, ClientError};
use catraca_wire::frame::{ErrorCode, ListRequest};
use catraca_wire::list::{Author, ListName, ListReason};
use indicatif::ProgressBar;
use serde::Serialize;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub const EXAMPLES: &str = "\
The file has a header and one entry a line, with commas or semicolons between the columns key, value, until, reason, in any order; all but key
may be left out:

  key,value,until,reason
  529.982.247-25,500000,,agreed with the branch
  11.222.333/0001-81,1000000,2027-12-31,

Entries that are there already get the number and the end of the file; others stay. A line that is refused is told with its number and the reason,
and the rest goes on. Repeating an import is safe. Up to 64 entries are logged together. The list must be there: catraca policy lists create.

Examples:
  catraca policy lists import limits limits.csv
  catraca policy lists import known-payees payees.csv --author ana --reason \"first load\" --addr 10.0.0.5:7400 --json

Exit status: 0 all taken; 3 lines were refused; 1 it ended early: mend what it says, and import the file again.";

/// Requests that are on their way together.
const TOGETHER: usize = 64;
/// Refused lines that the JSON has; standard error has all.
const MAX_SHOWN: usize = 1_000;
/// How often a node is asked that has too much to do, or does not answer, and after what pauses.
const ATTEMPTS: u32 = 20;
const RETRY: Duration = Duration::from_millis(250);

const COLUMNS: [&str; 4] = ["key", "value", "until", "reason"];

/// Arguments of `catraca policy lists import`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Name of the list
    #[arg(value_name = "NAME", value_parser = name)]
    list: ListName,
    /// CSV file
    file: PathBuf,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Entries that are new, or were changed.
    changed: u64,
    /// Entries that were so already.
    unchanged: u64,
    /// Lines that were refused.
    refused: u64,
    /// The first of these.
    first_refused: Vec<RefusedLine>,
}

#[derive(Debug, Serialize)]
struct RefusedLine {
    line: u64,
    reason: String,
}

struct Import<'a> {
    args: &'a Args,
    client: Client,
    bar: ProgressBar,
    /// Requests that are sent next, each with its line.
    waiting: Vec<(u64, ListRequest)>,
    report: Report,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let place = args.file.display();
    let unreadable = |error: std::io::Error| Failure::failed(format!("{place}: {error}"));
    let file = File::open(&args.file).map_err(unreadable)?;
    let bar = progress(file.metadata().map_err(unreadable)?.len());
    let mut lines = Lines::new(BufReader::new(file));
    let columns = match lines.next().map_err(unreadable)? {
        Some(Ok(line)) => Columns::read(line, COLUMNS, 1),
        Some(Err(why)) => Err(why),
        None => Err("the file is empty".to_owned()),
    };
    let columns =
        columns.map_err(|why| Failure::new(Status::Usage, format!("{place}, line 1: {why}")))?;
    let mut client = args.connect.connect()?;
    let there = client.lists(&[ListRequest::describe(args.list)]).pop();
    if let Some(Err(error)) = there {
        return Err(Failure::failed(format!("{}: {error}", args.list)));
    }
    let by = args.by.both();
    let mut import = Import { args, client, bar, waiting: Vec::new(), report: Report::default() };
    while let Some(line) = lines.next().map_err(unreadable)? {
        let request = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => columns.of(line).and_then(|fields| request(args.list, by, &fields)),
            Err(why) => Err(why),
        };
        import.bar.set_position(lines.read_len());
        match request {
            Ok(request) => import.waiting.push((lines.number(), request)),
            Err(why) => import.refuse(lines.number(), why),
        }
        if import.waiting.len() == TOGETHER {
            import.send()?;
        }
    }
    import.send()?;
    let Import { bar, report, .. } = import;
    bar.finish_and_clear();
    let status = match report.refused {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(Status::Found as u8),
    };
    let text = match args.json {
        true => json(&report),
        false => format!(
            "{} entries new or changed, {} so already, {} lines refused\n",
            report.changed, report.unchanged, report.refused
        ),
    };
    print(&text, status)
}

/// What a line says; an error without its text, for a document may stand anywhere.
fn request(
    list: ListName,
    (author, otherwise): (Author, ListReason),
    [key, value, until, why]: &[String; 4],
) -> Result<ListRequest, String> {
    let value = match value.as_str() {
        "" => 0,
        value => value.parse().map_err(|_| "value: a whole number of 64 bits".to_owned())?,
    };
    let until_ns = match until.as_str() {
        "" => 0,
        until => time(until).map_err(|why| format!("until: {why}"))?,
    };
    let why = match why.as_str() {
        "" => otherwise,
        why => reason(why).map_err(|what| format!("reason: {what}"))?,
    };
    let request = ListRequest::set(list, key, value, until_ns);
    Ok(request.map_err(|error| format!("key: {error}"))?.by(author, why))
}

impl Import<'_> {
    fn refuse(&mut self, line: u64, reason: String) {
        let place = self.args.file.display();
        self.bar.suspend(|| note(&format!("{place}, line {line}: refused: {reason}")));
        self.report.refused += 1;
        if self.report.first_refused.len() < MAX_SHOWN {
            self.report.first_refused.push(RefusedLine { line, reason });
        }
    }

    /// Has the node take what waits. Setting an entry again is safe.
    fn send(&mut self) -> Result<(), Failure> {
        let mut waiting = std::mem::take(&mut self.waiting);
        for attempt in 1.. {
            let requests: Vec<_> = waiting.iter().map(|(_, request)| *request).collect();
            let answers = self.client.lists(&requests);
            let mut again = Vec::new();
            let mut last_error = None;
            for ((line, request), answer) in waiting.into_iter().zip(answers) {
                match answer {
                    Ok(state) if state.changed == 1 => self.report.changed += 1,
                    Ok(_) => self.report.unchanged += 1,
                    Err(ClientError::Refused(refused))
                        if matches!(refused.code, ErrorCode::BadField | ErrorCode::Failed) =>
                    {
                        self.refuse(line, refused.to_string());
                    }
                    Err(error) => {
                        let passes = match &error {
                            ClientError::Refused(refused) => refused.code == ErrorCode::Overloaded,
                            ClientError::NoAnswer { .. } => true,
                            _ => false,
                        };
                        if !passes || attempt == ATTEMPTS {
                            return Err(Failure::failed(format!(
                                "{}, line {line}: {error}; importing the file again is safe",
                                self.args.file.display()
                            )));
                        }
                        again.push((line, request));
                        last_error = Some(error);
                    }
                }
            }
            if last_error.is_none() {
                break;
            }
            waiting = again;
            std::thread::sleep(RETRY);
        }
        Ok(())
    }
}
