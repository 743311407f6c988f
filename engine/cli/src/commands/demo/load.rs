//! The demo's load: on both nodes, through a failover, with every answer kept.

use super::failover::{self, Drill, Watch};
use super::list::DemoList;
use super::pair::{Layout, Pair};
use super::stage::{Interrupt, Say};
use catraca_loadgen::options::Core;
use catraca_loadgen::{Monitor, Options, Report, progress};
use catraca_node::fatal::Failure;
use std::io::IsTerminal;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Connections and transactions in flight on each: enough that commits are shared, few enough that
/// nobody waits for many others.
pub const CONNECTIONS: u32 = 4;
pub const IN_FLIGHT: u32 = 64;
/// Share of the transactions whose payer or payee is listed, and of those sent again.
pub const LISTED_SHARE: f64 = 0.02;
pub const RESEND_SHARE: f64 = 0.01;
/// Unmeasured load first, seconds.
const WARMUP_S: f64 = 1.0;
/// How long the nodes' own doings may take at most while the load runs, seconds: after that it ends
/// by itself.
const DRILL_LIMIT_S: f64 = 120.0;
/// How often the end of the load is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Puts load on the pair, and meanwhile loses its primary. Gives back the pair, its roles
/// exchanged.
pub fn put(
    seconds: f64,
    pair: Pair,
    layout: &Layout,
    list: &DemoList,
    interrupt: &Interrupt,
    say: &Say,
) -> Result<(Pair, Drill, Report), Failure> {
    let options = Options {
        addr: format!("{},{}", pair.primary.setup.listen, pair.standby.setup.listen),
        connections: CONNECTIONS,
        in_flight: Some(IN_FLIGHT),
        seconds: Some(seconds + DRILL_LIMIT_S),
        warmup: Some(WARMUP_S),
        listed_share: LISTED_SHARE,
        list: Some(list.listed.clone()),
        resend_share: RESEND_SHARE,
        verify: true,
        core: if layout.load_has_its_own { Core::Last } else { Core::None },
        keep_answers: true,
        ..Options::default()
    };
    let shown = Options { seconds: Some(seconds), ..options.clone() };
    let monitor = Monitor::new();
    let (line_sender, lines) = channel();
    let bar = std::io::stderr().is_terminal() && !say.quiet;
    std::thread::scope(|scope| {
        let run = scope.spawn(|| catraca_loadgen::run(&options, &monitor));
        if bar {
            let (shown, monitor) = (&shown, &monitor);
            scope.spawn(move || {
                progress::show_below(
                    shown,
                    monitor,
                    || lines.try_recv().ok(),
                    |line| say.text(line),
                )
            });
        }
        // The bar's thread prints where there is a bar, or both would write over each other.
        let tell = |line: String| if bar { drop(line_sender.send(line)) } else { say.text(&line) };
        let watch =
            Watch { monitor: &monitor, is_over: &|| run.is_finished(), tell: &tell, interrupt };
        // On this thread, because the kernel ends a node with the thread that started it.
        let drilled = failover::run(pair, Duration::from_secs_f64(seconds), &watch);
        monitor.stop();
        while !run.is_finished() {
            std::thread::sleep(LOOK_AGAIN);
        }
        let report = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut report = report.map_err(|e| Failure::failed(e.to_string()))?;
        // What the load has to say of its end tells more than that it ended.
        let (pair, drill) = match (drilled, &report.failure) {
            (Ok(drilled), _) => drilled,
            (Err(_), Some(failure)) if !interrupt.is_set() => {
                return Err(Failure::failed(failure.clone()));
            }
            (Err(failure), _) => return Err(failure),
        };
        report.interrupted = interrupt.is_set();
        Ok((pair, drill, report))
    })
}
