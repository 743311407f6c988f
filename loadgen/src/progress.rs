//! A progress bar for a run that another thread drives. Only for a terminal.

use crate::monitor::{Monitor, Phase};
use crate::options::{Options, Shape, Until};
use crate::table::grouped;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Time between two looks at the run: a person sees it move, and the core that draws stays free.
const INTERVAL: Duration = Duration::from_millis(100);

/// Draws on standard error until the run is done; clears the bar then. Draws nothing where standard
/// error is no terminal.
pub fn show(options: &Options, monitor: &Monitor) {
    show_below(options, monitor, || None, |_| {});
}

/// The same, below lines that are printed as they come.
pub fn show_below(
    options: &Options,
    monitor: &Monitor,
    mut next_line: impl FnMut() -> Option<String>,
    print: impl Fn(&str),
) {
    let Ok(shape) = options.shape() else { return };
    let bar = ProgressBar::new(1_000);
    bar.set_style(
        ProgressStyle::with_template("{prefix:>9} [{bar:40}] {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> "),
    );
    let mut answered_before = 0;
    let mut looked = Instant::now();
    loop {
        let phase = monitor.phase();
        while let Some(line) = next_line() {
            bar.suspend(|| print(&line));
        }
        if phase == Phase::Done {
            break;
        }
        let answered = monitor.answered();
        let since = looked.elapsed().as_secs_f64();
        if since > 0.0 {
            let per_second = (answered - answered_before) as f64 / since;
            bar.set_message(format!(
                "{} answered, {}/s",
                grouped(answered),
                grouped(per_second as u64)
            ));
        }
        (answered_before, looked) = (answered, Instant::now());
        bar.set_prefix(match phase {
            Phase::Preparing => "preparing",
            Phase::WarmUp => "warm-up",
            Phase::Measuring => "measuring",
            Phase::Draining | Phase::Done => "draining",
        });
        bar.set_position((share(&shape, monitor) * 1_000.0) as u64);
        std::thread::sleep(INTERVAL);
    }
    bar.finish_and_clear();
}

/// How much of the run is over, 0 to 1.
fn share(shape: &Shape, monitor: &Monitor) -> f64 {
    let share = match shape.until {
        Until::ElapsedNs(measured_ns) => {
            monitor.elapsed_ns() as f64 / (shape.warmup_ns + measured_ns) as f64
        }
        Until::Transactions(count) => monitor.measured_sends() as f64 / count as f64,
    };
    share.clamp(0.0, 1.0)
}
