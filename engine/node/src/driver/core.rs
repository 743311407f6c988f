//! One data core: its tasks, and what follows each piece of work.

use super::connection::Connection;
use super::disk::Disk;
use super::event::Event;
use super::{CoreSetup, accept, broadcast, disk};
use crate::balancers::Balancers;
use crate::block_file::DirectBlock;
use crate::channels::ShardChannels;
use crate::fatal::{Failure, Status};
use crate::mailbox::{Mailbox, any_message, any_message_or_filling, take_fairly};
use crate::socket;
use catraca_core::limits::{DECISION_BATCH, READ_BUFFER_LEN, TICK};
use catraca_core::policy::windows::DecidedPayment;
use catraca_core::shard::Shard;
use catraca_core::shard::journal::Journal;
use catraca_core::shard::messages::{ConnectionId, Now};
use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

/// Mesh and control messages taken before other tasks get their turn.
const INBOX_BATCH: usize = 256;
/// Long enough that an executor which spins before it sleeps has slept once: its first sleep
/// registers with the kernel.
const FIRST_PARK: Duration = Duration::from_millis(20);

/// What the tasks of a core share.
pub(super) struct Core {
    pub shard: RefCell<Shard<DirectBlock>>,
    pub shard_index: usize,
    pub connections: RefCell<Vec<Option<Rc<Connection>>>>,
    /// Bytes just read; used and done with before a task gives way.
    pub read_buffer: RefCell<Box<[u8]>>,
    /// Sealed bytes just read, likewise; takes its memory with the first connection over TLS.
    pub sealed_buffer: RefCell<Vec<u8>>,
    /// Payments of siblings on their way into the shard.
    pub taken: RefCell<Vec<DecidedPayment>>,
    /// The journal has something to write, or may go on.
    pub journal: Event,
    /// Decided payments wait for a policy that is tried.
    pub candidate: Event,
    /// No connection is taken any more.
    pub listening_ended: Cell<bool>,
    /// Set before any other task runs.
    disk: OnceCell<Disk>,
    pub channels: Arc<ShardChannels>,
    pub balancers: Arc<Balancers>,
    clock: quanta::Clock,
}

impl Core {
    /// The core's disk.
    #[inline]
    pub fn disk(&self) -> &Disk {
        self.disk.get().expect("the disk is set before any task runs")
    }

    /// Both clocks.
    #[inline]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono_ns: self.mono_ns(), wall_ns: wall.as_nanos() as u64 }
    }

    /// The monotonic clock, nanoseconds.
    #[inline]
    pub fn mono_ns(&self) -> u64 {
        self.clock.delta_as_nanos(0, self.clock.raw())
    }

    /// After each piece of work on the shard: sends what it has for its siblings and the control
    /// thread, and wakes the tasks that have something to do.
    pub fn after_work(&self) {
        let mut shard = self.shard.borrow_mut();
        broadcast::deliver(self, &mut shard);
        if !shard.mesh_out().is_empty() {
            let mut woken = 0u64;
            for (to, message) in shard.mesh_out().drain(..) {
                let queue = &self.channels.mesh[usize::from(to)][self.shard_index];
                assert!(
                    queue.push(message).is_ok(),
                    "pending forwards are bounded by the queue's length"
                );
                woken |= 1 << to;
            }
            while woken != 0 {
                self.channels.mesh[woken.trailing_zeros() as usize][self.shard_index].wake();
                woken &= woken - 1;
            }
        }
        if !shard.control_out().is_empty() {
            for message in shard.control_out().drain(..) {
                assert!(
                    self.channels.to_control.push(message).is_ok(),
                    "requests to the control thread are bounded by its queue"
                );
            }
            self.channels.to_control.wake();
        }
        let asks = shard.asks_out();
        if !asks.is_empty() {
            while let Some(ask) = asks.pop_front() {
                if let Err(ask) = self.channels.asks.push(ask) {
                    asks.push_front(ask);
                    break;
                }
            }
            self.channels.asks.wake();
        }
        if shard.wants_write() {
            self.journal.set();
        }
        if shard.candidate_waits() {
            self.candidate.set();
        }
        let connections = self.connections.borrow();
        while let Some(ConnectionId { slot, .. }) = shard.next_dirty() {
            if let Some(Some(connection)) = connections.get(slot as usize) {
                connection.output.set();
            }
        }
    }
}

/// Runs a core until the process ends; returns only when it can't start.
pub(super) async fn run(
    setup: CoreSetup,
    started: &SyncSender<Result<(), Failure>>,
) -> Result<(), Failure> {
    let shard_index = usize::from(setup.settings.shard);
    let CoreSetup {
        settings,
        role_config,
        state,
        listen,
        log_dir,
        clock,
        journal,
        channels,
        balancers,
        spin,
        other_cpus,
        ..
    } = setup;
    let shard = Shard::new(settings, role_config, state, Journal::new(journal));
    let core = Rc::new(Core {
        shard: RefCell::new(shard),
        shard_index,
        connections: RefCell::default(),
        read_buffer: RefCell::new(vec![0; READ_BUFFER_LEN].into_boxed_slice()),
        sealed_buffer: RefCell::default(),
        taken: RefCell::new(Vec::with_capacity(DECISION_BATCH)),
        journal: Event::default(),
        candidate: Event::default(),
        listening_ended: Cell::new(false),
        disk: OnceCell::new(),
        channels,
        balancers,
        clock,
    });
    let disk = disk::Disk::start(&core, log_dir, &other_cpus)?;
    glommio::timer::sleep(FIRST_PARK + spin).await;
    assert!(core.disk.set(disk).is_ok(), "a core has one disk");
    glommio::spawn_local(disk::write_blocks(Rc::clone(&core))).detach();
    glommio::spawn_local(take_messages(Rc::clone(&core))).detach();
    glommio::spawn_local(tick(Rc::clone(&core))).detach();
    glommio::spawn_local(try_candidate(Rc::clone(&core))).detach();
    let _ = started.send(Ok(()));
    switched(&core).await;
    let listening = socket::bind(listen, true).and_then(|socket| {
        socket::listen(&socket).and_then(|()| Ok((socket.try_clone()?, socket)))
    });
    let (kept, socket) = listening.map_err(|error| {
        Failure::new(
            Status::Config,
            format!("can't listen on {listen}: {error}; is another process there?"),
        )
    })?;
    let listener = accept::listener(socket);
    let _ = started.send(Ok(()));
    glommio::spawn_local(stop_listening(Rc::clone(&core), kept)).detach();
    glommio::spawn_local(accept::take_handed(Rc::clone(&core))).detach();
    accept::accept(core, listener).await;
    Ok(())
}

/// Waits until the control thread has listening begin, or end.
async fn switched(core: &Core) {
    let switch = &core.channels.listens[core.shard_index];
    let others: [&Mailbox<()>; 0] = [];
    any_message(switch, &others).await;
    let _ = switch.pop();
}

/// At the end of a stop. The kernel takes some time to end the rings of a process that is gone, and
/// until then it would go on taking connections for it, which nobody answers.
async fn stop_listening(core: Rc<Core>, listener: OwnedFd) {
    switched(&core).await;
    core.listening_ended.set(true);
    if let Err(error) = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both) {
        tracing::debug!(%error, "listening could not be ended");
    }
}

/// Takes what siblings and the control thread send.
async fn take_messages(core: Rc<Core>) {
    let channels = Arc::clone(&core.channels);
    let control = &channels.to_shard[core.shard_index];
    let siblings: Vec<_> = channels.mesh[core.shard_index].iter().collect();
    let broadcasts: Vec<_> = channels.broadcast[core.shard_index].iter().collect();
    let mut turn = 0_usize;
    loop {
        any_message_or_filling(control, &siblings, &broadcasts).await;
        // What is left over wakes this task again at once, when others have had their turn.
        turn = turn.wrapping_add(1);
        {
            let mut shard = core.shard.borrow_mut();
            let mut now = core.now();
            broadcast::take(&core, &mut shard);
            take_fairly(&siblings, turn, INBOX_BATCH, |from, message| {
                if broadcast::take(&core, &mut shard) {
                    // Nothing is decided before what it sees.
                    now = core.now();
                }
                shard.mesh(from as u16, message, now)
            });
            shard.date_decisions(core.mono_ns());
            take_fairly(&[control], 0, INBOX_BATCH, |_, message| shard.control(message, now));
            // The standby's acknowledgement may be among them.
            shard.answer_committed(now);
        }
        core.after_work();
        // A new segment may be what the journal waits for.
        core.journal.set();
        super::yield_to_reactor().await;
    }
}

/// Has a policy that is tried look at what was decided, a little at a time: others have their turn in
/// between.
async fn try_candidate(core: Rc<Core>) {
    loop {
        core.candidate.wait().await;
        while core.shard.borrow().candidate_waits() {
            super::yield_to_reactor().await;
            core.shard.borrow_mut().judge_by_candidate();
        }
    }
}

/// Looks at deadlines, and publishes the counters.
async fn tick(core: Rc<Core>) {
    loop {
        glommio::timer::sleep(TICK).await;
        {
            let mut shard = core.shard.borrow_mut();
            // A core without work takes them here.
            broadcast::take(&core, &mut shard);
            shard.tick(core.now());
            core.channels.counters[core.shard_index].publish(&shard.counters());
        }
        core.after_work();
    }
}
