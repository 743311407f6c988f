//! `catraca policy lists import`: many entries of a list, out of a CSV file, in bounded memory.

use super::{By, name, reason};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::csv_lines::{Columns, Import, RefusedLines};
use crate::commands::log::time;
use crate::commands::output::{counted, json, print};
use catraca_node::fatal::Failure;
use catraca_wire::client::{Client, ClientError};
use catraca_wire::frame::{ErrorCode, ListRequest};
use catraca_wire::list::{Author, ListName, ListReason};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

pub const EXAMPLES: &str = "\
The file has a header and one entry a line, with commas or semicolons between the columns key, value, until, reason, in any order; all but key
may be left out:

  key,value,until,reason
  529.982.247-25,500000,,agreed with the branch
  11.222.333/0001-81,1000000,2027-12-31,

Until: RFC 3339, or a date, which is its midnight, or date and time, in this machine's zone (TZ). Entries that are there already
get the number and the end of the file; others stay. A line that is refused is told with its number and the reason, the first 20 of them one by
one, and the rest goes on. Repeating an import is safe. Up to 64 entries are logged together. The list must be there: catraca policy lists create.

Examples:
  catraca policy lists import limits limits.csv
  catraca policy lists import known-payees payees.csv --author ana --reason \"first load\" --addr 10.0.0.5:7400 --json

Exit status: 0 all taken; 3 lines were refused; 1 it ended early: mend what it says, and import the file again.";

/// Requests that are on their way together.
const TOGETHER: usize = 64;
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
    #[serde(flatten)]
    refused: RefusedLines,
}

/// Entries on their way to a node.
struct Sending {
    import: Import,
    client: Client,
    /// Requests that are sent next, each with its line.
    waiting: Vec<(u64, ListRequest)>,
    report: Report,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (import, columns) = Import::open(&args.file, |line| Columns::read(line, COLUMNS, 1))?;
    let mut client = args.connect.connect()?;
    let there = client.lists(&[ListRequest::describe(args.list)]).pop();
    if let Some(Err(error)) = there {
        return Err(Failure::failed(format!("{}: {error}", args.list)));
    }
    let by = args.by.both();
    let read = |line: &str| columns.of(line).and_then(|fields| request(args.list, by, &fields));
    let mut sending = Sending { import, client, waiting: Vec::new(), report: Report::default() };
    while let Some(request) = sending.import.next(read)? {
        sending.waiting.push(request);
        if sending.waiting.len() == TOGETHER {
            sending.send()?;
        }
    }
    sending.send()?;
    let Sending { import, mut report, .. } = sending;
    report.refused = import.end();
    let text = match args.json {
        true => json(&report),
        false => format!(
            "{} new or changed, {} so already, {} refused\n",
            counted(report.changed, "entry", "entries"),
            report.unchanged,
            counted(report.refused.count(), "line", "lines"),
        ),
    };
    print(&text, report.refused.status())
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

impl Sending {
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
                        self.import.refuse(line, refused.to_string());
                    }
                    Err(error) => {
                        let passes = match &error {
                            ClientError::Refused(refused) => refused.code == ErrorCode::Overloaded,
                            ClientError::NoAnswer { .. } => true,
                            _ => false,
                        };
                        if !passes || attempt == ATTEMPTS {
                            let safe = "importing the file again is safe";
                            return Err(self.import.failure(line, format_args!("{error}; {safe}")));
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
