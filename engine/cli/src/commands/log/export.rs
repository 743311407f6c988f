//! `catraca log export`: the records for other programs, one line each, in bounded memory.

use super::view::RecordView;
use super::{chain_key, open};
use crate::commands::Outcome;
use crate::commands::output::counted;
use crate::commands::target::{Target, cannot_write, written as written_to};
use catraca_core::log::SoundBlock;
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::quarantine;
use catraca_node::log_files::read::End;
use clap::ValueEnum;
use std::io::{self, IsTerminal, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca log export /var/lib/catraca --format ndjson | head
  catraca log export ./copy --format csv --out decisions.csv --from 2026-11-01 --to 2026-12-01
  catraca log export /var/lib/catraca/quarantine/shard-0000-lsn-7-9-epoch-1.blocks --format ndjson

Times: RFC 3339 (2026-11-23T09:00:00-03:00), or a date or date and time in this machine's zone. --to is not included.
Documents are masked, and the IP address left out, unless --unmask is given. The file named by --out appears when it is
complete. Exit status: 0 all written, 3 the log is damaged and only what comes before the damage was written.";

/// Arguments of `catraca log export`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, a copy of it, or a file of its `quarantine` folder
    #[arg(value_name = "PATH")]
    source: PathBuf,
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
    /// The chain's key [default: chain.key in the data directory, if there; a file of a quarantine
    /// can't be read without]
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
pub fn time(text: &str) -> Result<u64, String> {
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
    let out = args.out.as_deref();
    let target = Target::open(args.out.as_ref()).map_err(|error| cannot_write(out, &error))?;
    let sink = Sink::new(args.format, target);
    let mut export =
        Export { sink, times: from..to, unmask: args.unmask, written: 0, failed: Ok(()) };
    let read = if args.source.is_file() { export.kept(args) } else { export.log(args) };
    let Export { sink, written, failed, .. } = export;
    let damaged = read?;
    let ended = failed.and_then(|()| sink.into_target()).and_then(Target::finish);
    written_to(out, ended)?;
    if damaged.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let places = damaged.join("; ");
    Err(Failure::new(
        Status::Found,
        format!(
            "{} written, but the log is damaged: {places}",
            counted(written, "record", "records")
        ),
    ))
}

/// What is written, and how far it has come.
struct Export<W: Write> {
    sink: Sink<W>,
    times: Range<u64>,
    unmask: bool,
    written: u64,
    failed: io::Result<()>,
}

impl<W: Write> Export<W> {
    /// All streams of a log. Gives where it is damaged.
    fn log(&mut self, args: &Args) -> Result<Vec<String>, Failure> {
        let log = open(&args.source, chain_key(&args.source, args.key_file.as_ref())?)?;
        // The bar and the records would write over each other on one terminal.
        let bar = super::progress(&log, args.out.is_some() || !io::stdout().is_terminal())?;
        let mut damaged = Vec::new();
        for &shard in log.shards() {
            let read = log.blocks(shard, log.start(shard)?.tail, |block| {
                bar.inc(block.head.padded_len() as u64);
                self.block(block, true)
            })?;
            if let End::Damaged(damage) = read.end {
                damaged.push(super::located(&log, shard, &damage));
            }
            if self.failed.is_err() {
                break;
            }
        }
        bar.finish_and_clear();
        Ok(damaged)
    }

    /// A file of a quarantine, which lies in a folder of the data directory.
    fn kept(&mut self, args: &Args) -> Result<Vec<String>, Failure> {
        let data_dir = args.source.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        let key = chain_key(data_dir, args.key_file.as_ref())?;
        let key = key.ok_or_else(|| {
            Failure::new(
                Status::Usage,
                "no chain.key beside its folder: name the key with --key-file",
            )
        })?;
        let faults = quarantine::blocks(&args.source, &key, |block| self.block(block, false))?;
        Ok(faults
            .into_iter()
            .map(|(offset, fault)| format!("{} offset {offset}: {fault}", args.source.display()))
            .collect())
    }

    /// A block, whose place in the log is known or not.
    fn block(&mut self, block: &SoundBlock<'_>, placed: bool) -> ControlFlow<()> {
        for (head, extension) in block.records() {
            if !self.times.contains(&head.decided_at_ns.to_native()) {
                continue;
            }
            let mut view = RecordView::new(head, extension, &block.place, self.unmask);
            if !placed {
                (view.segment, view.block_offset) = (None, None);
            }
            self.failed = self.sink.write(&view);
            if self.failed.is_err() {
                return ControlFlow::Break(());
            }
            self.written += 1;
        }
        ControlFlow::Continue(())
    }
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
            Self::Csv(target) => {
                target.serialize(record).map_err(|error| match error.into_kind() {
                    csv::ErrorKind::Io(error) => error,
                    other => io::Error::other(format!("{other:?}")),
                })
            }
        }
    }

    fn into_target(self) -> io::Result<W> {
        match self {
            Self::Ndjson(target) => Ok(target),
            Self::Csv(mut target) => {
                // Here, because what `into_inner` fails with can't be taken out of its error.
                target.flush()?;
                target.into_inner().map_err(|error| io::Error::from(error.error().kind()))
            }
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
