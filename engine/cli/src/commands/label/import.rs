//! `catraca label import`: what became known of many decisions, line by line out of a CSV file, in bounded
//! memory.

mod rows;

use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::csv_lines::{Import, RefusedLines};
use crate::commands::output::{counted, json, print};
use catraca_wire::client::{Client, ClientError};
use catraca_wire::frame::{ErrorCode, LabelRequest};
use rows::Header;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

pub const EXAMPLES: &str = "\
The file has a header and one label a line, with commas or semicolons between the columns id, payer, kind, known_at, source, in any order:

  id,payer,kind,known_at,source
  E1234567820261123120000000000001,123.456.789-09,chargeback,2027-02-01,visa
  E1234567820261123120000000000002,,med_rejected,2027-02-03T10:00:00-03:00,med

Times: RFC 3339, or a date, which is its midnight, or date and time, in this machine's zone (TZ). Kinds: med_accepted, med_rejected,
chargeback, false_positive, confirmed_good. The payer may be empty where one payer alone has the id. A line that is refused is told with its
number and the reason, the first 20 of them one by one, and the rest goes on. Repeating an import is safe: a label that is there already
changes nothing. Labels are taken one after the other, each safe on disk (and on the standby) before the next: some hundreds a second.
The credential needs the permission `admin`.

Examples:
  catraca label import chargebacks.csv --addr 127.0.0.1:7400
  catraca label import med-2027-02.csv --addr 10.0.0.5:7400 --json

Exit status: 0 all labelled; 3 lines were refused; 1 it ended early: mend what it says, and import the file again.";

/// How often a node that has too much to do is asked, and after what pauses.
const ATTEMPTS: u32 = 20;
const RETRY: Duration = Duration::from_millis(250);
/// How often a node is asked that does not answer: each time takes as long as an answer may.
const UNANSWERED: u32 = 3;

/// Arguments of `catraca label import`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// CSV file
    file: PathBuf,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Labels that are new.
    added: u64,
    /// Labels that were there already.
    unchanged: u64,
    #[serde(flatten)]
    refused: RefusedLines,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (mut import, header) = Import::open(&args.file, Header::read)?;
    let mut client = args.connect.connect()?;
    let mut report = Report::default();
    while let Some((line, request)) = import.next(|line| header.request(line))? {
        let labelled = ask(&mut client, &request).map_err(|error| {
            let safe = "the lines before are done, and importing them again is safe";
            import.failure(line, format_args!("{error}; {safe}"))
        })?;
        match labelled {
            Ok(true) => report.added += 1,
            Ok(false) => report.unchanged += 1,
            Err(reason) => import.refuse(line, reason),
        }
    }
    report.refused = import.end();
    let text = match args.json {
        true => json(&report),
        false => format!(
            "{} labelled, {} labelled so already, {} refused\n",
            report.added,
            counted(report.unchanged, "was", "were"),
            counted(report.refused.count(), "line", "lines"),
        ),
    };
    print(&text, report.refused.status())
}

/// Whether the label is new, or why the node refuses it; an error ends the import.
fn ask(client: &mut Client, request: &LabelRequest) -> Result<Result<bool, String>, ClientError> {
    let (mut attempts, mut unanswered) = (0, 0);
    loop {
        let error = match client.label(request) {
            Ok(state) => return Ok(Ok(state.changed == 1)),
            Err(error) => error,
        };
        match &error {
            ClientError::Refused(refused) => match refused.code {
                ErrorCode::NotFound
                | ErrorCode::Failed
                | ErrorCode::BadField
                | ErrorCode::BadDocument => return Ok(Err(refused.to_string())),
                ErrorCode::Overloaded if !refused.closing => attempts += 1,
                _ => return Err(error),
            },
            // The same label is taken once, so it may be sent again.
            ClientError::NoAnswer { .. } => unanswered += 1,
            _ => return Err(error),
        }
        if attempts == ATTEMPTS || unanswered == UNANSWERED {
            return Err(error);
        }
        std::thread::sleep(RETRY);
    }
}
