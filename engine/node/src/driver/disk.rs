//! The log's disk: one block after the other, each durable before the next begins.
//!
//! A plain thread for each shard writes with `pwrite` on a file opened with `O_DIRECT | O_DSYNC`;
//! it never runs on a data core as long as there is another. Not io_uring: on a disk without forced
//! unit access a synchronous write ends with a cache flush, which the kernel runs for io_uring in a
//! workqueue bound to the processor that took the interrupt. There it waits behind whatever spins:
//! 4 ms (a scheduler tick) measured with a busy process beside, where this thread takes 75 µs.

use super::core::Core;
use super::yield_to_reactor;
use crate::block_file::{BlockFile, DirectBlock};
use crate::fatal::{Failure, Status};
use crate::mailbox::Mailbox;
use crate::threads;
use catraca_core::shard::journal::BlockWrite;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::cell::Cell;
use std::future::poll_fn;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The core's side of its writing thread.
pub(super) struct Disk {
    /// At most one write is under way, so handing one over never waits.
    jobs: Sender<BlockWrite<DirectBlock>>,
    done: Arc<Mailbox<DirectBlock>>,
    /// The writing thread has a block.
    writing: Cell<bool>,
}

impl Disk {
    /// Starts the writing thread on `cpus`, and gives the shard its buffers.
    pub fn start(core: &Core, data_dir: PathBuf, cpus: &[usize]) -> Result<Self, Failure> {
        let shard = core.shard_index as u16;
        let (jobs, waiting) = bounded(1);
        let done = Arc::new(Mailbox::new(1));
        let writer = Writer { file: BlockFile::new(data_dir, shard), done: Arc::clone(&done) };
        let cpus = cpus.to_vec();
        std::thread::Builder::new()
            .name(format!("log-{shard}"))
            .spawn(move || {
                threads::run_on(&cpus);
                threads::prefer(shard);
                writer.run(&waiting);
            })
            .map_err(|e| {
                Failure::new(
                    Status::Environment,
                    format!("the writing thread of shard {shard} can't start: {e}"),
                )
            })?;
        let mut shard = core.shard.borrow_mut();
        for _ in 0..shard.buffers_wanted() {
            shard.give_buffer(DirectBlock::new());
        }
        drop(shard);
        Ok(Self { jobs, done, writing: Cell::new(false) })
    }
}

/// The writing thread.
struct Writer {
    file: BlockFile,
    done: Arc<Mailbox<DirectBlock>>,
}

impl Writer {
    /// Writes until the core is gone.
    fn run(mut self, jobs: &Receiver<BlockWrite<DirectBlock>>) {
        while let Ok(write) = jobs.recv() {
            // Nothing is written yet: what waits for it is answered UNCONFIRMED when its time is
            // over, and is decided all the same.
            let opened = self.file.open(write.segment, || true);
            assert!(opened.is_ok(), "it waits for a descriptor for as long as that takes");
            self.file.write(write.segment, write.offset, &write.buffer.bytes()[..write.len]);
            assert!(self.done.push(write.buffer).is_ok(), "one write is under way at a time");
            self.done.wake();
        }
    }
}

/// Moves the log on: hands over the first block of a burst, waits for the writing thread, and asks
/// again for a block that is held when its time is over.
pub(super) async fn write_blocks(core: Rc<Core>) {
    let disk = core.disk();
    loop {
        core.journal.wait().await;
        // What else came in this turn goes into the same block.
        yield_to_reactor().await;
        disk.progress(&core);
        loop {
            let held_until_ns = core.shard.borrow().held_until();
            if disk.writing.get() {
                disk.returned().await;
            } else if let Some(until_ns) = held_until_ns {
                let rest = until_ns.saturating_sub(core.mono_ns());
                // A record that comes meanwhile sets the event.
                core.journal.wait_at_most(Duration::from_nanos(rest)).await;
            } else {
                break;
            }
            disk.progress(&core);
        }
    }
}

impl Disk {
    /// Waits until the block under way is back, or was taken back by somebody else's
    /// [`Self::progress`].
    async fn returned(&self) {
        poll_fn(|context| {
            let returned = || !self.writing.get() || self.has_written();
            if returned() {
                return Poll::Ready(());
            }
            self.done.register(context.waker());
            // A block that came back between the look and the registration woke nobody: look again.
            if returned() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether a block has come back; cheap enough to ask in the middle of a batch. An idle disk
    /// waits for the batch's end instead, because few large blocks cost less than many small ones.
    #[inline]
    pub fn has_written(&self) -> bool {
        !self.done.is_empty()
    }

    /// Answers what became durable, and gives the disk the next block, unless that is held. The block
    /// goes first: the disk is what everybody waits for.
    pub fn progress(&self, core: &Core) {
        let mut shard = core.shard.borrow_mut();
        let feed = &core.channels.feeds[core.shard_index];
        let returned = if self.writing.get() { self.done.pop() } else { None };
        if self.writing.get() && returned.is_none() {
            return;
        }
        let now = core.now();
        if let Some(buffer) = returned {
            self.writing.set(false);
            shard.give_buffer(buffer);
            shard.written(now);
            feed.set_durable(shard.durable_lsn());
        }
        if let Some(write) = shard.next_write(now) {
            self.writing.set(true);
            feed.push(&write.buffer.bytes()[..write.len], write.last_lsn);
            // Whoever hands a block over: the journal's task waits for its return.
            core.journal.set();
            assert!(self.jobs.try_send(write).is_ok(), "one write is under way at a time");
        }
        shard.answer_committed(now);
        drop(shard);
        core.after_work();
    }
}
