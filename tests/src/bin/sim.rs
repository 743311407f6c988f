//! Runs the simulator: many seeds on all processors, or one with its trace.

use catraca_tests::sim::{self, Broken, FAULTS, OUTCOMES, Plan, Report, Tally};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines of the trace that a failed run shows.
const SHOWN_LINES: usize = 120;
/// Where nobody watches, how often a line tells how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Names of counts in one line.
const COUNTS_A_LINE: usize = 4;

/// Simulates two nodes, their disks, network, clocks and clients, with all that can go wrong, and
/// checks that every promise is kept.
///
/// The shards, journals, recovery and replication are the program's own; disks, network, clocks and
/// clients are not. A seed is one run, bit for bit. The README.md of tests/ tells what is checked.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  scripts/sim.sh 1000              a thousand seeds, from 1 on\n  scripts/sim.sh 1000 50000        \
    a thousand seeds, from 50000 on\n  scripts/sim.sh 1 4711 --trace    one seed, with everything that happens\n  scripts/sim.sh 200 \
    --broken ack-before-standby    a promise broken on purpose: must fail\n  scripts/sim.sh --broken help     the promises that can be \
    broken\n\nA failed run prints its seed, the command that replays it, and the end of its trace: the time in simulated seconds, and what \
    happened.\n\nExit status: 0 when every run kept the promises, 1 when one did not, 2 for a wrong command line."
)]
struct Options {
    /// How many seeds.
    #[arg(default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// The first seed.
    #[arg(default_value_t = 1)]
    seed: u64,
    /// Print everything that happens, of one seed.
    #[arg(long)]
    trace: bool,
    /// Break a promise on purpose.
    #[arg(long, value_name = "VARIANT", value_parser = variant)]
    broken: Option<Broken>,
    /// Runs at once; all processors unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Go on after a failure, and count them.
    #[arg(long)]
    keep_going: bool,
}

fn variant(name: &str) -> Result<Broken, String> {
    let names = || Broken::ALL.map(|(name, _)| name).join(", ");
    Broken::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, broken)| *broken)
        .ok_or_else(|| format!("one of {}", names()))
}

/// What the runs so far came to.
#[derive(Default)]
struct Sum {
    tally: Tally,
    answers: u64,
    failures: Vec<(u64, Report)>,
}

fn locked(sum: &Mutex<Sum>) -> MutexGuard<'_, Sum> {
    sum.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> ExitCode {
    let options = Options::parse();
    // A panic is a finding: it is reported with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if options.trace {
        return show(&options);
    }
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or_else(processors, usize::from);
    let began = Instant::now();
    let sum = Mutex::new(Sum::default());
    run_all(&options, threads, &sum);
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failures.sort_by_key(|(seed, _)| *seed);
    summarise(&options, threads, began.elapsed(), &sum);
    let Some((seed, report)) = sum.failures.first() else { return ExitCode::SUCCESS };
    tell_failure(&options, *seed, report, sum.failures.len());
    ExitCode::FAILURE
}

fn show(options: &Options) -> ExitCode {
    let report = sim::run(Plan { broken: options.broken, ..Plan::of_seed(options.seed) }, true);
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(what) => {
            println!("FAILED: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(options: &Options, threads: usize, sum: &Mutex<Sum>) {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(options.count) } else { ProgressBar::hidden() };
    let style =
        ProgressStyle::with_template("{pos} of {len} seeds, {per_sec}, {elapsed} {wide_bar} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    let (next, done, over) =
        (AtomicU64::new(options.seed), AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let told = Mutex::new(began);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - options.seed >= options.count || over.load(Ordering::Relaxed) {
                        return;
                    }
                    let report =
                        sim::run(Plan { broken: options.broken, ..Plan::of_seed(seed) }, false);
                    bar.inc(1);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    if !terminal && told.elapsed() > LINE_EVERY {
                        *told = Instant::now();
                        println!(
                            "{done} of {} seeds, {} s",
                            options.count,
                            began.elapsed().as_secs()
                        );
                    }
                    drop(told);
                    let mut sum = locked(sum);
                    sum.tally.merge(&report.tally);
                    sum.answers += report.answers as u64;
                    if let Some(what) = &report.failure {
                        bar.suspend(|| println!("seed {seed} FAILED: {what}"));
                        over.store(!options.keep_going, Ordering::Relaxed);
                        sum.failures.push((seed, report));
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
}

fn summarise(options: &Options, threads: usize, time: Duration, sum: &Sum) {
    let part = |title: &str, names: &[&'static str]| {
        println!("{title}");
        for line in names.chunks(COUNTS_A_LINE) {
            let counts: Vec<String> =
                line.iter().map(|name| format!("{name} {}", sum.tally.times(name))).collect();
            println!("  {}", counts.join(", "));
        }
    };
    part("faults:", &FAULTS);
    part("outcomes:", &OUTCOMES);
    let last = options.seed + (options.count - 1);
    let rate = options.count as f64 * 60.0 / time.as_secs_f64() / threads as f64;
    println!(
        "seeds {}..{last}: {} failed, {:.1} s, {rate:.0} seeds/min/core; {} transactions answered, {} promotions, {} grants, {} cuts",
        options.seed,
        sum.failures.len(),
        time.as_secs_f64(),
        sum.answers,
        sum.tally.times("promotions"),
        sum.tally.times("grants"),
        sum.tally.times("cuts"),
    );
}

fn tell_failure(options: &Options, seed: u64, report: &Report, failures: usize) {
    println!("\nThe end of seed {seed}'s trace:");
    let skipped = report.trace.len().saturating_sub(SHOWN_LINES);
    report.trace.iter().skip(skipped).for_each(|line| println!("{line}"));
    let what = report.failure.as_deref().unwrap_or_default();
    let broken = Broken::ALL.iter().find(|(_, broken)| Some(*broken) == options.broken);
    let broken = broken.map(|(name, _)| format!(" --broken {name}")).unwrap_or_default();
    println!("\n{failures} failed; the first is seed {seed}: {what}");
    println!("Again, with everything that happens: scripts/sim.sh 1 {seed}{broken} --trace");
}
