//! Runs the simulator: many seeds on all processors, or one with its trace.

use catraca_tests::sim::{self, Broken, Plan, Report};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Lines of the trace that a failed run shows.
const SHOWN_LINES: usize = 120;

/// Simulates two nodes, their disks, network, clocks and clients, with all that can go wrong, and checks that every promise is kept.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  scripts/sim.sh 1000              a thousand seeds, from 1 on\n  scripts/sim.sh 1000 50000        \
    a thousand seeds, from 50000 on\n  scripts/sim.sh 1 4711 --trace    one seed, with everything that happens\n  scripts/sim.sh 200 \
    --broken ack-before-standby    a promise broken on purpose: must fail\n\nExit status: 0 when every run kept the promises, 1 when \
    one did not, 2 for a wrong command line."
)]
struct Options {
    /// How many seeds.
    #[arg(default_value_t = 100)]
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
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Go on after a failure, and count them.
    #[arg(long)]
    keep_going: bool,
}

fn variant(name: &str) -> Result<Broken, String> {
    let names = || Broken::ALL.map(|(name, _)| name).join(", ");
    Broken::ALL.iter().find(|(known, _)| *known == name).map(|(_, broken)| *broken).ok_or_else(|| format!("one of {}", names()))
}

fn main() -> ExitCode {
    let options = Options::parse();
    // A panic is a finding: it is reported with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if options.trace {
        let report = sim::run(Plan { broken: options.broken, ..Plan::of_seed(options.seed) }, true);
        return match report.failure {
            None => ExitCode::SUCCESS,
            Some(what) => {
                println!("FAILED: {what}");
                ExitCode::FAILURE
            }
        };
    }
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let bar = ProgressBar::new(options.count);
    let style = ProgressStyle::with_template("{pos} of {len} seeds, {per_sec}, {elapsed} {wide_bar} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    let (next, over) = (AtomicU64::new(options.seed), AtomicBool::new(false));
    let failures: Mutex<Vec<(u64, Report)>> = Mutex::new(Vec::new());
    let (answers, promotions, cuts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seed + options.count || over.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = sim::run(Plan { broken: options.broken, ..Plan::of_seed(seed) }, false);
                    answers.fetch_add(report.answers as u64, Ordering::Relaxed);
                    promotions.fetch_add(report.promotions, Ordering::Relaxed);
                    cuts.fetch_add(report.cuts, Ordering::Relaxed);
                    bar.inc(1);
                    if let Some(what) = &report.failure {
                        bar.suspend(|| println!("seed {seed} FAILED: {what}"));
                        over.store(!options.keep_going, Ordering::Relaxed);
                        failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((seed, report));
                    }
                }
            });
        }
    });
    bar.finish();
    println!(
        "{} transactions answered, {} promotions, {} tails cut off",
        answers.into_inner(),
        promotions.into_inner(),
        cuts.into_inner()
    );
    let mut failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failures.sort_by_key(|(seed, _)| *seed);
    let Some((seed, report)) = failures.first() else { return ExitCode::SUCCESS };
    println!("\nThe end of seed {seed}'s trace:");
    let skipped = report.trace.len().saturating_sub(SHOWN_LINES);
    report.trace.iter().skip(skipped).for_each(|line| println!("{line}"));
    let what = report.failure.as_deref().unwrap_or_default();
    let broken = Broken::ALL.iter().find(|(_, broken)| Some(*broken) == options.broken);
    let broken = broken.map(|(name, _)| format!(" --broken {name}")).unwrap_or_default();
    println!("\n{} failed; the first is seed {seed}: {what}", failures.len());
    println!("Again, with everything that happens: scripts/sim.sh 1 {seed}{broken} --trace");
    ExitCode::FAILURE
}
