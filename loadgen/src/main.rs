//! The `catraca-loadgen` binary: flags in, report out.

use catraca_loadgen::{LoadError, Monitor, Options, Report, hgrm, plot, progress, run, table};
use clap::Parser;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Exit status of a run that ended as asked and found answers that break a promise.
const STATUS_VIOLATIONS: u8 = 3;
/// How often the main thread looks for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(20);

/// Puts load on a catraca node and shows how long its answers take.
///
/// Closed loop: --connections and --in-flight say how many transactions are kept unanswered. Open loop: --rate says how many are sent a
/// second at times planned ahead, and latency counts from those times, so that a stalled node can't hide behind sends that wait.
#[derive(Parser, Debug)]
#[command(name = "catraca-loadgen", version, about, max_term_width = 100, after_help = EXIT_STATUSES)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    /// Write the report as JSON; `-` for standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the percentile distribution (microseconds) for HdrHistogram tools; an open loop's service time goes beside it.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Draw the percentiles as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

const EXIT_STATUSES: &str =
    "Exit status: 0 done; 1 failed, stalled or disconnected; 2 wrong flags; 3 done, but answers broke a promise.";

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let outcome = watched_run(&command_line.options).and_then(|report| {
        show(&command_line, &report)?;
        Ok(report)
    });
    match outcome {
        Ok(Report { failure: Some(failure), .. }) => {
            eprintln!("catraca-loadgen: {failure}");
            ExitCode::FAILURE
        }
        Ok(report) if report.violations.total() > 0 => ExitCode::from(STATUS_VIOLATIONS),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("catraca-loadgen: {error}");
            ExitCode::from(if matches!(error, LoadError::Options(_)) { 2 } else { 1 })
        }
    }
}

/// Runs on a thread of its own, which gets pinned, while other threads draw the bar and listen for Ctrl-C. A second Ctrl-C kills.
fn watched_run(options: &Options) -> Result<Report, LoadError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|e| LoadError::Environment(format!("cannot listen for signal {signal}: {e}")))?;
    }
    let monitor = Monitor::new();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| run(options, &monitor));
        if std::io::stderr().is_terminal() {
            scope.spawn(|| progress::show(options, &monitor));
        }
        while !run.is_finished() {
            if interrupted.load(Ordering::Relaxed) {
                monitor.stop();
            }
            std::thread::sleep(SIGNAL_INTERVAL);
        }
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn show(command_line: &CommandLine, report: &Report) -> Result<(), LoadError> {
    let to_stdout = command_line.json.as_deref() == Some(Path::new("-"));
    let cannot = |what: &str, e: std::io::Error| LoadError::File(format!("cannot write {what}: {e}"));
    let text = if to_stdout { report.to_json() } else { table::render(report) };
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| cannot("to standard output", e))?;
    if let Some(path) = command_line.json.as_deref().filter(|_| !to_stdout) {
        std::fs::write(path, report.to_json()).map_err(|e| cannot(&path.display().to_string(), e))?;
        eprintln!("JSON: {}", path.display());
    }
    if let Some(path) = &command_line.hgrm {
        for file in hgrm::write(report, path)? {
            eprintln!("distribution: {}", file.display());
        }
    }
    if let Some(path) = &command_line.plot {
        plot::draw(report, path)?;
        eprintln!("plot: {}", path.display());
    }
    Ok(())
}
