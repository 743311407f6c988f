//! What happens to the nodes while the load runs: the primary dies, the standby is promoted, the
//! dead one comes back as the standby.

use super::node::Node;
use super::pair::Pair;
use super::stage::Interrupt;
use crate::commands::cluster::promote;
use crate::commands::connect::{Connect, Credential};
use crate::commands::stats;
use catraca_loadgen::Monitor;
use catraca_loadgen::monitor::Phase;
use catraca_node::fatal::Failure;
use catraca_wire::client::{Client, ClientOptions, Wanted};
use std::time::{Duration, Instant};

/// How often the load and Ctrl-C are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The load, as seen from beside it.
pub struct Watch<'a> {
    /// How far it is.
    pub monitor: &'a Monitor,
    /// Whether it is over.
    pub is_over: &'a dyn Fn() -> bool,
    /// Takes each step, for a person.
    pub tell: &'a dyn Fn(String),
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
}

/// What was done, and how long it took.
pub struct Drill {
    /// The primary's histograms shortly before it died.
    pub stages: stats::Snapshot,
    /// Epoch before the promotion, and after it.
    pub epochs: [u32; 2],
    /// From the kill to the promotion, the operator being a program.
    pub promoted_after: Duration,
    /// From the dead node's start until it was in sync again.
    pub back_after: Duration,
}

/// Half the time until the kill; then a quarter alone, and a quarter after the dead node has come
/// back.
pub fn run(pair: Pair, measured: Duration, watch: &Watch<'_>) -> Result<(Pair, Drill), Failure> {
    while watch.monitor.phase() < Phase::Measuring {
        watch.pause(LOOK_AGAIN)?;
    }
    let began = Instant::now();
    let tell =
        |what: String| (watch.tell)(format!("{:6.1} s  {what}", began.elapsed().as_secs_f64()));
    watch.pause(measured / 2)?;
    let Pair { primary, standby } = pair;
    let mut client = connect(&primary)?;
    let stages = stats::fetch(&mut client, None)?;
    let epoch_before = client.welcome().epoch;
    drop(client);

    let pid = primary.pid();
    let killed = Instant::now();
    let setup = primary.kill()?;
    tell(format!("$ kill -KILL {pid}      # the primary"));
    let connect = Connect { addr: standby.setup.listen.clone(), credential: Credential::default() };
    tell(format!("$ catraca promote --addr {}", connect.addr));
    let state = promote::promote(&connect, false)?;
    let promoted_after = killed.elapsed();
    let milliseconds = promoted_after.as_secs_f64() * 1e3;
    tell(format!(
        "  it is the {} of epoch {} now, {milliseconds:.0} ms after the kill; {}",
        state.role, state.epoch, state.durability
    ));
    watch.pause(measured / 4)?;

    let restarted = Instant::now();
    tell(format!(
        "$ catraca serve --data-dir {} ...      # the killed node, with the same command",
        setup.data_dir.display()
    ));
    let returned = Node::start(&setup, watch.interrupt)?;
    let pair = Pair { primary: standby, standby: returned };
    pair.await_in_sync(watch.interrupt)?;
    let back_after = restarted.elapsed();
    tell(format!("  it is the standby now, and in sync, after {:.1} s", back_after.as_secs_f64()));
    watch.pause(measured / 4)?;
    Ok((pair, Drill { stages, epochs: [epoch_before, state.epoch], promoted_after, back_after }))
}

impl Watch<'_> {
    /// Waits, unless there is nothing more to wait for.
    fn pause(&self, time: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            if let Err(interrupted) = self.interrupt.check() {
                // The load first, while there is somebody to answer it.
                self.monitor.stop();
                while !(self.is_over)() {
                    std::thread::sleep(LOOK_AGAIN);
                }
                return Err(interrupted);
            }
            if (self.is_over)() {
                return Err(Failure::failed("the load ended before the demo had shown all"));
            }
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_AGAIN));
        }
    }
}

/// A connection to one node, whatever it is.
pub fn connect(node: &Node) -> Result<Client, Failure> {
    let addr = &node.setup.listen;
    let mut options = ClientOptions::new(addr.clone());
    options.client_name = "catraca demo".to_owned();
    options.role = Wanted::Any;
    options.answer_timeout_ms = 60_000;
    Client::connect(options).map_err(|e| Failure::failed(format!("the node at {addr}: {e}")))
}
