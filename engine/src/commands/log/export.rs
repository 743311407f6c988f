//! `catraca log export`: the records for other programs, one line each, in bounded memory.

use super::open;
use super::view::RecordView;
use crate::commands::Outcome;
use crate::fatal::{Failure, Status};
use crate::log::Tail;
use crate::log::read::End;
use clap::ValueEnum;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca log export /var/lib/catraca --format ndjson | head
  catraca log export ./copy --format csv --out decisions.csv --from 2026-11-01 --to 2026-12-01

Times: RFC 3339 (2026-11-23T09:00:00-03:00), or a date or date and time in this machine's zone. --to is not included.
Documents are masked, and the IP address left out, unless --unmask is given. The file named by --out appears when it is
complete. Exit status: 0 all written, 3 the log is damaged and only what comes before the damage was written.";

/// Bytes gathered before they are written.
const BUFFER_LEN: usize = 256 * 1024;

/// Arguments of `catraca log export`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    data_dir: PathBuf,
    /// How each record is written
    #[arg(long, value_enum)]
    format: Format,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only records decided at this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<u64>,
    /// Only records decided before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<u64>,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Write documents in full, and the IP address
    #[arg(long)]
    unmask: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line
    Ndjson,
    /// Comma-separated, with a header line
    Csv,
}

/// A time of the command line, nanoseconds since 1970 UTC.
fn time(text: &str) -> Result<u64, String> {
    let wrong = "give RFC 3339, a date (2026-11-23) or a date and time (2026-11-23T09:00:00), from 1970 to 2554";
    let timestamp = match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().map_err(|_| wrong)?;
            civil.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| wrong)?.timestamp()
        }
    };
    u64::try_from(timestamp.as_nanosecond()).map_err(|_| wrong.to_owned())
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    if from > to {
        return Err(Failure::new(Status::Usage, "--from lies after --to"));
    }
    let key = super::chain_key(&args.data_dir, args.key_file.as_ref())?;
    let log = open(&args.data_dir, key)?;
    // The bar and the records would write over each other on one terminal.
    let bar = super::progress(&log, args.out.is_some() || !io::stdout().is_terminal())?;

    let partial = args.out.as_ref().map(|out| out.with_extension("partial"));
    let target: Box<dyn Write> = match &partial {
        Some(path) => Box::new(File::create(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?),
        None => Box::new(io::stdout().lock()),
    };
    let mut sink = Sink::new(args.format, BufWriter::with_capacity(BUFFER_LEN, target));
    let mut written = 0u64;
    let mut damaged = Vec::new();
    let mut failed: io::Result<()> = Ok(());
    for &shard in log.shards() {
        let read = log.blocks(shard, Tail::START, |block| {
            bar.inc(block.head.padded_len() as u64);
            for (head, extension) in block.records() {
                if !(from..to).contains(&head.decided_at_ns.to_native()) {
                    continue;
                }
                failed = sink.write(&RecordView::new(head, extension, &block.place, args.unmask));
                if failed.is_err() {
                    return ControlFlow::Break(());
                }
                written += 1;
            }
            ControlFlow::Continue(())
        })?;
        if let End::Damaged(damage) = read.end {
            damaged.push(super::located(&log, shard, &damage));
        }
        if failed.is_err() {
            break;
        }
    }
    let ended = failed.and_then(|()| sink.finish()).and_then(|()| match (&partial, &args.out) {
        (Some(partial), Some(out)) => fs::rename(partial, out),
        _ => Ok(()),
    });
    bar.finish_and_clear();
    match ended {
        // Who reads the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && args.out.is_none() => return Ok(ExitCode::SUCCESS),
        Err(error) => {
            if let Some(partial) = &partial {
                // The error that matters is the one that stopped the export.
                let _ = fs::remove_file(partial);
            }
            return Err(Failure::failed(format!("could not write the export: {error}")));
        }
        Ok(()) => {}
    }
    if damaged.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let places = damaged.join("; ");
    Err(Failure::new(Status::Found, format!("{written} records written, but the log is damaged: {places}")))
}

/// Where records go, in one of the formats.
enum Sink<W: Write> {
    Ndjson(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Sink<W> {
    fn new(format: Format, target: W) -> Self {
        match format {
            Format::Ndjson => Self::Ndjson(target),
            Format::Csv => Self::Csv(Box::new(csv::Writer::from_writer(target))),
        }
    }

    fn write(&mut self, record: &RecordView) -> io::Result<()> {
        match self {
            Self::Ndjson(target) => {
                serde_json::to_writer(&mut *target, record).map_err(io::Error::from)?;
                target.write_all(b"\n")
            }
            Self::Csv(target) => target.serialize(record).map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                other => io::Error::other(format!("{other:?}")),
            }),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Ndjson(target) => target.flush(),
            Self::Csv(target) => target.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_command_line() {
        assert_eq!(time("2026-11-23T09:00:00-03:00"), Ok(1_795_435_200_000_000_000));
        assert_eq!(time("2026-11-23T12:00:00Z"), Ok(1_795_435_200_000_000_000));
        assert!(time("2026-11-23").is_ok() && time("2026-11-23T09:30:00").is_ok());
        for bad in ["yesterday", "", "1969-12-31T00:00:00Z", "2026-13-01"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }
}
