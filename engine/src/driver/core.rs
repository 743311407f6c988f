//! One data core: its tasks, and what follows each piece of work.

use super::connection::Connection;
use super::disk::{DirectBlock, Disk};
use super::event::Event;
use super::{CoreSetup, Links, accept, disk};
use crate::fatal::{Failure, Status};
use crate::limits::{READ_BUFFER_LEN, TICK};
use crate::mailbox::any_message;
use crate::shard::Shard;
use crate::shard::journal::Journal;
use crate::shard::messages::{ConnectionId, Now};
use glommio::net::TcpListener;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

/// Mesh and control messages taken before other tasks get their turn.
const INBOX_BATCH: usize = 256;
/// Long enough that an executor which spins before it sleeps has slept once: its first sleep registers with the kernel.
const FIRST_PARK: Duration = Duration::from_millis(20);

/// What the tasks of a core share.
pub(super) struct Core {
    pub shard: RefCell<Shard<DirectBlock>>,
    pub shard_index: usize,
    pub connections: RefCell<Vec<Option<Rc<Connection>>>>,
    /// Bytes just read; used and done with before a task gives way.
    pub read_buffer: RefCell<Box<[u8]>>,
    /// The journal has something to write, or may go on.
    pub journal: Event,
    /// Set before any other task runs.
    disk: OnceCell<Disk>,
    pub links: Arc<Links>,
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

    /// After each piece of work on the shard: sends what it has for its siblings and the control thread, and wakes the tasks that have
    /// something to do.
    pub fn after_work(&self) {
        let mut shard = self.shard.borrow_mut();
        if !shard.mesh_out().is_empty() {
            let mut woken = 0u64;
            for (to, message) in shard.mesh_out().drain(..) {
                let queue = &self.links.mesh[usize::from(to)][self.shard_index];
                assert!(queue.push(message).is_ok(), "open questions are bounded by the queue's length");
                woken |= 1 << to;
            }
            while woken != 0 {
                self.links.mesh[woken.trailing_zeros() as usize][self.shard_index].wake();
                woken &= woken - 1;
            }
        }
        if !shard.control_out().is_empty() {
            for message in shard.control_out().drain(..) {
                assert!(self.links.to_control.push(message).is_ok(), "requests to the control thread are bounded by its queue");
            }
            self.links.to_control.wake();
        }
        if shard.wants_write() {
            self.journal.set();
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
pub(super) async fn run(setup: CoreSetup, started: &SyncSender<Result<(), Failure>>) -> Result<(), Failure> {
    let shard_index = usize::from(setup.settings.shard);
    let CoreSetup { settings, standing, state, listen, log_dir, clock, journal, links, spin, other_cpus, .. } = setup;
    let shard = Shard::new(settings, standing, state, Journal::new(journal));
    let core = Rc::new(Core {
        shard: RefCell::new(shard),
        shard_index,
        connections: RefCell::default(),
        read_buffer: RefCell::new(vec![0; READ_BUFFER_LEN].into_boxed_slice()),
        journal: Event::default(),
        disk: OnceCell::new(),
        links,
        clock,
    });
    let disk = disk::Disk::start(&core, log_dir, &other_cpus)?;
    glommio::timer::sleep(FIRST_PARK + spin).await;
    let listener = TcpListener::bind(listen)
        .map_err(|error| Failure::new(Status::Config, format!("can't listen on {listen}: {error}; is another process there?")))?;
    assert!(core.disk.set(disk).is_ok(), "a core has one disk");
    glommio::spawn_local(disk::write_blocks(Rc::clone(&core))).detach();
    glommio::spawn_local(take_messages(Rc::clone(&core))).detach();
    glommio::spawn_local(tick(Rc::clone(&core))).detach();
    let _ = started.send(Ok(()));
    accept::accept_for_ever(core, listener).await;
    Ok(())
}

/// Takes what siblings and the control thread send.
async fn take_messages(core: Rc<Core>) {
    let links = Arc::clone(&core.links);
    let control = &links.to_shard[core.shard_index];
    let siblings: Vec<_> = links.mesh[core.shard_index].iter().collect();
    loop {
        any_message(control, &siblings).await;
        let mut taken = 0;
        {
            let mut shard = core.shard.borrow_mut();
            let now = core.now();
            for (from, queue) in siblings.iter().enumerate() {
                while let Some(message) = queue.pop() {
                    shard.mesh(from as u16, message, now);
                    taken += 1;
                    if taken % INBOX_BATCH == 0 {
                        break;
                    }
                }
            }
            shard.date_decisions(core.mono_ns());
            while let Some(message) = control.pop() {
                shard.control(message, now);
            }
            // The standby's word may be among them.
            shard.answer_committed(now);
        }
        core.after_work();
        // A new segment may be what the journal waits for.
        core.journal.set();
        super::yield_to_reactor().await;
    }
}

/// Looks at deadlines, and publishes the counters.
async fn tick(core: Rc<Core>) {
    loop {
        glommio::timer::sleep(TICK).await;
        {
            let mut shard = core.shard.borrow_mut();
            shard.tick(core.now());
            core.links.counters[core.shard_index].publish(&shard.counters());
        }
        core.after_work();
    }
}
