//! The data cores: moves the shards with sockets and the disk. The only files that know glommio.
//!
//! One executor pinned to each data core, one shard on each. What bites in glommio 0.9.0, and so
//! shapes this folder:
//!
//! - The preempt timer is set to an hour: with a short one an executor loses ready tasks for ever.
//! - Tasks give way with a timer of zero length (`yield_to_reactor`), never with `yield_now`:
//!   only that lets I/O be polled.
//! - The log is not written through the ring at all, but by a plain thread with `O_DSYNC`
//!   (`disk.rs` says why).
//! - Few, long-lived tasks: two a connection, a handful a core, none per request. Wakers of other
//!   threads are one `AtomicWaker` a queue.
//! - The first park of a process takes up to 80 ms, so each core parks once before it listens.

mod accept;
mod broadcast;
mod connection;
mod core;
mod disk;
mod event;
pub mod requirements;
mod tls;

use crate::balancers::Balancers;
use crate::channels::ShardChannels;
use crate::fatal::{Failure, Status};
use catraca_core::shard::ShardSettings;
use catraca_core::shard::journal::JournalSetup;
use catraca_core::shard::messages::{RoleConfig, ShardState};
use glommio::{LocalExecutorBuilder, Placement};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Never within a run: see the folder's first lines.
const PREEMPT_TIMER: Duration = Duration::from_secs(3_600);
/// Memory that glommio registers with the kernel for direct I/O: its least, because the log is not
/// written through the ring.
const IO_MEMORY_LEN: usize = 64 * 1024;
/// Entries of each submission ring. Bounds one batch of polls and writes, not what can be under
/// way.
const RING_DEPTH: usize = 512;

/// All that one core starts with.
pub struct CoreSetup {
    /// The shard's settings.
    pub settings: ShardSettings,
    /// Processor that the core is pinned to.
    pub cpu: usize,
    /// Processors for its writing thread.
    pub other_cpus: Vec<usize>,
    /// How long it looks for work before it sleeps.
    pub spin: Duration,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Folder that holds the streams of the log.
    pub log_dir: PathBuf,
    /// The monotonic clock, calibrated once for all cores.
    pub clock: quanta::Clock,
    /// Whether it decides, and what its answers wait for.
    pub role_config: RoleConfig,
    /// State that recovery rebuilt.
    pub state: ShardState,
    /// The stream's journal, positioned where recovery ended.
    pub journal: JournalSetup,
    /// Queues.
    pub channels: Arc<ShardChannels>,
    /// Load balancers, and what was closed of theirs.
    pub balancers: Arc<Balancers>,
}

/// Starts a core on a thread of its own, which runs until the process ends. `started` gets a
/// message when it runs, or can't, and another one when it listens, or can't: it does so once
/// [`ShardChannels::listens`] says so.
///
/// # Errors
/// When the executor can't be made: no such processor, no ring, too little lockable memory.
pub fn start(setup: CoreSetup, started: SyncSender<Result<(), Failure>>) -> Result<(), Failure> {
    let shard = setup.settings.shard;
    let cpu = setup.cpu;
    let builder = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(&format!("shard-{shard}"))
        .spin_before_park(setup.spin)
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_LEN)
        .ring_depth(RING_DEPTH);
    builder
        .spawn(move || async move {
            if let Err(failure) = core::run(setup, &started).await {
                let _ = started.send(Err(failure));
            }
        })
        .map(drop)
        .map_err(|error| {
            Failure::new(
                Status::Environment,
                format!("shard {shard} can't start on processor {cpu}: {error}; see engine/CONFIGURATION.md, \"What the machine needs\""),
            )
        })
}

/// Gives way to the reactor: drains the run queue, then polls the rings once.
pub(crate) async fn yield_to_reactor() {
    glommio::timer::Timer::new(Duration::ZERO).await;
}
