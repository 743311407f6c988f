//! The `catraca-loadgen` binary: flags in, report out.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use catraca_loadgen::{
    LoadError, Monitor, Options, Report, hgrm, plot, progress, run, table, whole_file,
};
use clap::Parser;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Exit status of a run that ended as asked and found answers that break a promise.
const STATUS_VIOLATIONS: u8 = 3;
/// Exit status of wrong flags.
const STATUS_USAGE: u8 = 2;
/// How often the main thread looks for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(20);

/// Puts load on a catraca node and shows how long its answers take.
///
/// Closed loop: --connections and --in-flight say how many transactions are kept unanswered. Open
/// loop: --rate says how many are sent a second at times planned ahead, and latency counts from
/// those times, so that a stalled node can't hide behind sends that wait.
#[derive(Parser, Debug)]
#[command(name = "catraca-loadgen", version, about, max_term_width = 100, after_help = EXIT_STATUSES)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    /// Write the report as JSON; `-` for standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the percentile distribution (microseconds) for HdrHistogram tools; an open loop's
    /// service time goes beside it.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Draw the percentiles as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

const EXIT_STATUSES: &str = "Exit status: 0 done; 1 failed, stalled or disconnected; 2 wrong flags; 3 done, but answers broke a promise.";

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(said) => return explain(&said),
    };
    let outcome = watched_run(&command_line.options).and_then(|report| {
        show(&command_line, &report)?;
        Ok(report)
    });
    match outcome {
        Ok(Report { failure: Some(failure), .. }) => {
            note(&format!("catraca-loadgen: {failure}"));
            ExitCode::FAILURE
        }
        Ok(report) if report.violations.total() > 0 => ExitCode::from(STATUS_VIOLATIONS),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("catraca-loadgen: {error}"));
            ExitCode::from(if matches!(error, LoadError::Options(_)) { STATUS_USAGE } else { 1 })
        }
    }
}

/// What the parser of the flags has to say: what is wrong with them, or the help that was asked
/// for.
fn explain(said: &clap::Error) -> ExitCode {
    match said.print() {
        Err(error) if !said.use_stderr() && error.kind() != std::io::ErrorKind::BrokenPipe => {
            note(&format!("catraca-loadgen: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(if said.use_stderr() { STATUS_USAGE } else { 0 }),
    }
}

/// Says something beside the report, on standard error. Whether anybody hears it changes nothing.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Runs on a thread of its own, which gets pinned, while other threads draw the bar and listen for
/// Ctrl-C. A second Ctrl-C kills.
fn watched_run(options: &Options) -> Result<Report, LoadError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|e| {
                LoadError::Environment(format!("cannot listen for signal {signal}: {e}"))
            })?;
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
    let cannot =
        |what: &str, e: std::io::Error| LoadError::File(format!("cannot write {what}: {e}"));
    let text = if to_stdout { report.to_json() } else { table::render(report) };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // A reader that has seen enough and closed the pipe is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other.map_err(|e| cannot("to standard output", e))?,
    }
    if let Some(path) = command_line.json.as_deref().filter(|_| !to_stdout) {
        whole_file::write(path, &report.to_json())
            .map_err(|e| cannot(&path.display().to_string(), e))?;
        note(&format!("JSON: {}", path.display()));
    }
    if let Some(path) = &command_line.hgrm {
        for file in hgrm::write(report, path)? {
            note(&format!("distribution: {}", file.display()));
        }
    }
    if let Some(path) = &command_line.plot {
        plot::draw(report, path)?;
        note(&format!("plot: {}", path.display()));
    }
    Ok(())
}
