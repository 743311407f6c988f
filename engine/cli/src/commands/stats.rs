//! `catraca stats`: latency histograms by stage, from the running node.

use super::Outcome;
use super::connect::Connect;
use super::output::{self, Reader, counted};
use catraca_node::fatal::Failure;
use catraca_node::whole_file::{PUBLIC, WholeFile};
use catraca_wire::client::Client;
use catraca_wire::frame::{ALL_SHARDS, Stage};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How often `--watch` asks again.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal, and begins at its top.
const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";
/// Columns of the table, and fields of the JSON.
const QUANTILES: [(&str, &str, f64); 5] = [
    ("p50", "p50", 0.5),
    ("p90", "p90", 0.9),
    ("p99", "p99", 0.99),
    ("p99.9", "p99_9", 0.999),
    ("p99.99", "p99_99", 0.9999),
];

/// Arguments of `catraca stats`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Stages: ingress, from the bytes' arrival to the decision's start; decide, dedupe, look-ups, decision and record; log_write, until
the record is durable; total, from the bytes' arrival to the answer. Counted since the node started; --watch shows each second alone.

Examples:
  catraca stats
  catraca stats --watch
  catraca stats --json | jq .stages.total.p99_us
  catraca stats --hgrm latency      writes latency-total.hgrm and one file for each other stage")]
pub struct Args {
    #[command(flatten)]
    connect: Connect,
    /// Only this shard
    #[arg(long, value_name = "N")]
    shard: Option<u16>,
    /// Show what happened in each second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Also write PREFIX-STAGE.hgrm, for HdrHistogram plotters
    #[arg(long, value_name = "PREFIX", conflicts_with = "watch")]
    hgrm: Option<PathBuf>,
}

/// What a node has counted.
pub(super) struct Snapshot {
    pub(super) uptime: Duration,
    stages: Vec<(Stage, Histogram<u64>)>,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let mut client = args.connect.connect()?;
    let mut last = fetch(&mut client, args.shard)?;
    if let Some(prefix) = &args.hgrm {
        for (stage, histogram) in &last.stages {
            write_hgrm(prefix, *stage, histogram)?;
        }
    }
    if !args.watch {
        return output::print(&text(&args, &last, last.uptime), ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(WATCH_EVERY);
        let mut next = fetch(&mut client, args.shard)?;
        let whole = Snapshot { uptime: next.uptime, stages: next.stages.clone() };
        for ((_, histogram), (_, before)) in next.stages.iter_mut().zip(&last.stages) {
            // A restarted node has counted less than before: then its whole life is what is new.
            let _ = histogram.subtract(before);
        }
        let span = next.uptime.saturating_sub(last.uptime);
        if std::io::stdout().is_terminal() && !args.json {
            output::write(CLEAR_SCREEN)?;
        }
        if output::write(&text(&args, &next, span))? == Reader::Gone {
            return Ok(ExitCode::SUCCESS);
        }
        last = whole;
    }
}

/// Asks the node.
pub(super) fn fetch(client: &mut Client, shard: Option<u16>) -> Result<Snapshot, Failure> {
    let answers = client
        .stats(shard.unwrap_or(ALL_SHARDS))
        .map_err(|e| Failure::failed(format!("the node did not send its histograms: {e}")))?;
    let mut uptime_ns = 0;
    let mut stages = Vec::new();
    for answer in answers {
        let histogram =
            Deserializer::new().deserialize(&mut answer.encoded.as_slice()).map_err(|e| {
                Failure::failed(format!(
                    "the node's histogram of {} can't be read: {e:?}",
                    answer.stage
                ))
            })?;
        uptime_ns = answer.uptime_ns;
        stages.push((answer.stage, histogram));
    }
    Ok(Snapshot { uptime: Duration::from_nanos(uptime_ns), stages })
}

fn text(args: &Args, snapshot: &Snapshot, span: Duration) -> String {
    if args.json { format!("{}\n", json(snapshot, span)) } else { table(snapshot, span) }
}

pub(super) fn json(snapshot: &Snapshot, span: Duration) -> serde_json::Value {
    let us = |ns: f64| ns / 1_000.0;
    let stages: serde_json::Map<_, _> = snapshot
        .stages
        .iter()
        .map(|(stage, histogram)| {
            let mut fields = serde_json::Map::new();
            fields.insert("count".into(), histogram.len().into());
            for (_, name, quantile) in QUANTILES {
                fields.insert(
                    format!("{name}_us"),
                    us(histogram.value_at_quantile(quantile) as f64).into(),
                );
            }
            fields.insert("max_us".into(), us(histogram.max() as f64).into());
            fields.insert("mean_us".into(), us(histogram.mean()).into());
            (stage.name().to_owned(), fields.into())
        })
        .collect();
    serde_json::json!({ "uptime_s": snapshot.uptime.as_secs_f64(), "span_s": span.as_secs_f64(), "stages": stages })
}

pub(super) fn table(snapshot: &Snapshot, span: Duration) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let names = QUANTILES.iter().map(|(name, ..)| *name);
    table.set_header(["stage", "count"].into_iter().chain(names).chain(["max", "mean"]));
    for (stage, histogram) in &snapshot.stages {
        let mut row = vec![stage.name().to_owned(), histogram.len().to_string()];
        row.extend(
            QUANTILES
                .iter()
                .map(|(.., quantile)| duration(histogram.value_at_quantile(*quantile) as f64)),
        );
        row.push(duration(histogram.max() as f64));
        row.push(duration(histogram.mean()));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let total = snapshot
        .stages
        .iter()
        .find(|(stage, _)| *stage == Stage::Total)
        .map_or(0, |(_, h)| h.len());
    let rate = total as f64 / span.as_secs_f64().max(1e-9);
    format!(
        "{table}\n{} in {:.1} s, {rate:.0} a second; node up {:.0} s\n",
        counted(total, "decision", "decisions"),
        span.as_secs_f64(),
        snapshot.uptime.as_secs_f64()
    )
}

/// Nanoseconds with a unit that keeps three digits.
fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1_000.0 => format!("{ns:.0} ns"),
        ns if ns < 1_000_000.0 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1_000_000_000.0 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// The text format of HdrHistogram's own tools: value in microseconds, percentile, count,
/// 1/(1-percentile).
fn write_hgrm(prefix: &Path, stage: Stage, histogram: &Histogram<u64>) -> Result<(), Failure> {
    let path = PathBuf::from(format!("{}-{}.hgrm", prefix.display(), stage.name()));
    let write = || -> std::io::Result<()> {
        let mut out = WholeFile::create(&path, PUBLIC)?;
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut counted = 0;
        for value in histogram.iter_quantiles(5) {
            counted += value.count_since_last_iteration();
            let quantile = value.quantile_iterated_to();
            let us = value.value_iterated_to() as f64 / 1e3;
            if quantile < 1.0 {
                writeln!(
                    out,
                    "{us:12.3} {quantile:2.12} {counted:10} {:14.2}",
                    1.0 / (1.0 - quantile)
                )?;
            } else {
                writeln!(out, "{us:12.3} {quantile:2.12} {counted:10}            inf")?;
            }
        }
        writeln!(
            out,
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
            histogram.mean() / 1e3,
            histogram.stdev() / 1e3
        )?;
        writeln!(
            out,
            "#[Max     = {:12.3}, Total count    = {:12}]",
            histogram.max() as f64 / 1e3,
            histogram.len()
        )?;
        out.finish()
    };
    write().map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
}
