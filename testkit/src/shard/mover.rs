//! What moves a shard outside of the product: the steps of the production driver, each when its
//! caller asks for it.
//!
//! In the driver (`engine/node/src/driver`) tasks that share a core do this, with sockets, a disk
//! and clocks between the calls. Here each piece of work is one step, with the same calls on the
//! shard in the same order:
//!
//! | step | of the driver |
//! |---|---|
//! | [`ShardMover::take_broadcasts`] | `broadcast.rs`: `take`, before each of the next three |
//! | [`ShardMover::receive`] | `connection.rs`: `feed` |
//! | [`ShardMover::messages`] | `core.rs`: a turn of `take_messages` |
//! | [`ShardMover::tick`] | `core.rs`: a turn of `tick` |
//! | [`ShardMover::deliver`] | `broadcast.rs`: `deliver`, behind each of these |
//! | [`ShardMover::try_candidate`] | `core.rs`: a turn of `try_candidate` |
//! | [`ShardMover::progress`] | `disk.rs`: `progress`, with no block back |
//! | [`ShardMover::written`] | `disk.rs`: `progress`, with a block back |
//!
//! A block that the shard holds back ([`Shard::held_until`]) is asked for again by `progress`, as the
//! driver's journal task does when the time is over.
//!
//! The driver's journal task follows each of the others with `progress`, once what came in the same
//! turn is in the block; here that is up to the caller.
//!
//! Behind a step its caller does what `core.rs` does in `after_work`: a block that the step gives
//! goes to the disk first, then what the shard has for others goes where the caller has them
//! ([`Shard::mesh_out`], [`Shard::control_out`], [`Shard::next_dirty`]).

use catraca_core::limits::DECISION_BATCH;
use catraca_core::policy::windows::DecidedPayment;
use catraca_core::shard::Shard;
use catraca_core::shard::journal::{BlockMemory, BlockWrite};
use catraca_core::shard::messages::{ConnectionId, MeshMessage, Now, ToShard};
use std::collections::VecDeque;

/// A shard, and whether its disk has a block.
pub struct ShardMover<B> {
    pub shard: Shard<B>,
    /// As `writing` of the driver's `Disk`: one write is under way at a time.
    writing: bool,
}

impl<B: BlockMemory> ShardMover<B> {
    /// Moves a shard that has its buffers, and whose disk is idle.
    pub fn new(shard: Shard<B>) -> Self {
        Self { shard, writing: false }
    }

    /// Whether the disk has a block.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Takes what a sibling has decided so far, as `take` in `broadcast.rs` does of each. Behind bytes or a
    /// message that came, and before the shard has them.
    pub fn take_broadcasts(&mut self, of_sibling: &mut VecDeque<DecidedPayment>) {
        if self.shard.takes_broadcasts() {
            while !of_sibling.is_empty() {
                let count = of_sibling.len().min(DECISION_BATCH);
                let payments: Vec<_> = of_sibling.drain(..count).collect();
                self.shard.siblings_decided(&payments);
            }
        }
    }

    /// Puts what the shard has decided into a sibling's queue, as far as it has room, as `deliver` in
    /// `broadcast.rs` does for each.
    pub fn deliver(&mut self, to: u16, queue: &mut VecDeque<DecidedPayment>, room: usize) {
        while queue.len() < room
            && let Some(payment) = self.shard.next_broadcast(to)
        {
            queue.push_back(*payment);
            self.shard.broadcast_sent(to);
        }
    }

    /// Bytes of a connection, as `feed` in `connection.rs` hands them on. None, once output has
    /// gone out, for what was kept.
    #[inline]
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], received_ns: u64, now: Now) {
        self.shard.receive(id, bytes, received_ns, now);
        self.shard.date_decisions(now.mono_ns);
    }

    /// What siblings and the control thread have sent, as a turn of `take_messages` in `core.rs`
    /// takes it. `mesh` says from which shard each comes.
    pub fn messages(
        &mut self,
        mesh: impl IntoIterator<Item = (u16, MeshMessage)>,
        control: impl IntoIterator<Item = ToShard>,
        now: Now,
    ) {
        for (from, message) in mesh {
            self.shard.mesh(from, message, now);
        }
        self.shard.date_decisions(now.mono_ns);
        for message in control {
            self.shard.control(message, now);
        }
        self.shard.answer_committed(now);
    }

    /// A policy that is tried looks at what was decided, as a turn of `try_candidate` in `core.rs` has it.
    pub fn try_candidate(&mut self) {
        if self.shard.candidate_waits() {
            self.shard.judge_by_candidate();
        }
    }

    /// Deadlines and time-outs, as a turn of `tick` in `core.rs` looks at them.
    pub fn tick(&mut self, now: Now) {
        self.shard.tick(now);
    }

    /// The next block for an idle disk, as `progress` in `disk.rs` hands it over. Nothing happens
    /// while a block is being written.
    #[inline]
    #[must_use = "a block belongs on the disk"]
    pub fn progress(&mut self, now: Now) -> Option<BlockWrite<B>> {
        if self.writing {
            return None;
        }
        let write = self.begin_write(now);
        self.shard.answer_committed(now);
        write
    }

    /// The first half of [`Self::progress`], which answers nothing: enough behind bytes, which make
    /// nothing durable.
    #[inline]
    #[must_use = "a block belongs on the disk"]
    pub fn begin_write(&mut self, now: Now) -> Option<BlockWrite<B>> {
        if self.writing {
            return None;
        }
        let write = self.shard.next_write(now);
        self.writing = write.is_some();
        write
    }

    /// The block under way is durable: what waited for it is answered, and the disk gets the next
    /// one, as in `progress` of `disk.rs`.
    #[inline]
    #[must_use = "a block belongs on the disk"]
    pub fn written(&mut self, buffer: B, now: Now) -> Option<BlockWrite<B>> {
        self.take_back(buffer);
        self.shard.written(now);
        self.progress(now)
    }

    /// The disk is idle again. By itself only for a shard that was told before its time, by a
    /// promise broken on purpose, that the block is durable.
    #[inline]
    pub fn take_back(&mut self, buffer: B) {
        assert!(self.writing, "no block is being written");
        self.writing = false;
        self.shard.give_buffer(buffer);
    }
}
