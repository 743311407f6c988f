//! What moves the shards of a node: a mover of the test kit each, which takes the steps of
//! `engine/node/src/driver`. Here is when a step is due, and where what a shard has for others goes:
//! disk, network, siblings, control thread.

use super::disk::{DiskFault, USUAL_NS};
use super::event::{Event, Mend, Wake};
use super::network::Payload;
use super::node::{BlockRef, Core};
use super::world::{MS, Sim};
use super::{Broken, checks};
use catraca_core::limits;
use catraca_core::replica::MAX_UNACKNOWLEDGED;
use catraca_core::replica::node::Event as ReplicaEvent;
use catraca_core::shard::journal::BlockWrite;
use catraca_core::shard::messages::{Admission, Now, Peer, ToControl, ToShard};
use catraca_wire::frame::{
    Durability, FrameKind, HEADER_LEN, HeaderFields, MAX_BUDGET_US, Role, SubmitFrame,
    VerdictFrame, view,
};
use std::rc::Rc;

impl Sim {
    /// A node's clocks.
    pub(super) fn clock(&self, node: usize) -> Now {
        self.nodes[node].clock.now(self.now_ns)
    }

    /// A client's connection comes in.
    pub(super) fn accept_client(&mut self, node: usize, conn: usize) {
        let now = self.clock(node);
        let core = self.rng.index(usize::from(self.plan.shards));
        let process = self.process(node);
        match process.cores[core].mover.shard.connect(&Peer::default(), now) {
            Some(id) => {
                process.clients.insert(conn, (core, id));
            }
            None => self.hang_up(conn, 1),
        }
    }

    pub(super) fn client_gone(&mut self, node: usize, conn: usize) {
        let process = self.process(node);
        if let Some((core, id)) = process.clients.remove(&conn) {
            process.cores[core].mover.shard.disconnect(id);
            process.due.retain(|(of, _), _| *of != conn);
        }
    }

    /// Bytes of a client: whole frames.
    pub(super) fn client_bytes(&mut self, node: usize, conn: usize, bytes: &[u8]) {
        let now = self.clock(node);
        let process = self.process(node);
        let Some(&(core, id)) = process.clients.get(&conn) else { return };
        for submit in submits(bytes) {
            let budget_us = match submit.transaction.budget_us.to_native() {
                0 => MAX_BUDGET_US,
                budget => budget,
            };
            let key = (conn, submit.header.correlation.to_native());
            process.due.insert(key, now.mono_ns + u64::from(budget_us) * 1_000);
        }
        self.take_broadcasts(node, core);
        self.process(node).cores[core].mover.receive(id, bytes, now.mono_ns, now);
        self.after_work(node, core, None);
        self.progress(node, core);
    }

    /// Gives the disk the next block, if it may have one, and the standby what may go.
    pub(super) fn progress(&mut self, node: usize, core: usize) {
        let now = self.clock(node);
        let write = self.process(node).cores[core].mover.progress(now);
        self.after_work(node, core, write);
        self.feed(node, core);
    }

    fn begin_write(&mut self, node: usize, core: usize, write: BlockWrite<Vec<u8>>) {
        let reused = self.broken(Broken::ReusedSegment);
        let id = self.new_id();
        let bytes: Rc<[u8]> = Rc::from(&write.buffer[..write.len]);
        let block = BlockRef::of_write(&write, Rc::clone(&bytes));
        let (segment, offset, last_lsn) = (write.segment, write.offset, write.last_lsn);
        let Core { writing, blocks, live, .. } = &mut self.process(node).cores[core];
        let is_left_out = !live.push(block.first_lsn, &bytes);
        blocks.push(block);
        *writing = Some(write.buffer);
        if is_left_out {
            self.checks.count("blocks left out of a live feed");
        }
        self.nodes[node].disk.streams[core].begin(id, segment, offset, bytes, reused);
        self.note(format_args!("node {node}/{core} writes up to {last_lsn} at {segment}:{offset}"));
        self.io_step(node);
        self.end_later(node, core, id);
        if self.broken(Broken::AckBeforeSync) {
            let now = self.clock(node);
            let shard = &mut self.process(node).cores[core].mover.shard;
            shard.written(now);
            shard.answer_committed(now);
        }
    }

    /// The disk ends what it was given after the time that it takes.
    pub(super) fn end_later(&mut self, node: usize, stream: usize, id: u64) {
        let time = self.rng.between(40_000, self.nodes[node].disk.slowest_ns);
        if time > USUAL_NS {
            self.checks.count("slow write");
        }
        self.after(time, Event::Disk { node, stream, id });
    }

    /// The disk has ended what it did, whether anybody is there to see it or not.
    pub(super) fn disk_ends(&mut self, node: usize, stream: usize, id: u64) {
        if !self.nodes[node].disk.streams[stream].is_under_way(id) {
            return;
        }
        // A disk may lie where another copy is safe, and nowhere else: what both have lost nobody
        // brings back.
        let mut fault =
            self.nodes[node].disk.fault.take().filter(|fault| !fault.lies() || self.is_spare(node));
        match fault {
            Some(DiskFault::Misdirected) => {
                if self.misdirect(node, stream) {
                    self.note(format_args!("node {node}/{stream}: the write went elsewhere"));
                    self.io_step(node);
                    return self.wake_in(node, 0, Wake::Written { stream, failed: false });
                }
                fault = None;
            }
            Some(DiskFault::Lost) => {
                self.note(format_args!(
                    "node {node}/{stream}: the write is reported done, and is not"
                ));
            }
            Some(DiskFault::Io) => self.checks.count("write error"),
            Some(DiskFault::NoSpace) => self.checks.count("write without room"),
            None => {}
        }
        let on_disk = &mut self.nodes[node].disk.streams[stream];
        let was_whole = !on_disk.hole;
        let ended = on_disk.finish(fault, &mut self.rng);
        if was_whole && on_disk.hole {
            self.checks.count("write lost");
            self.look_after(node);
        }
        self.io_step(node);
        self.wake_in(node, 0, Wake::Written { stream, failed: ended.is_err() });
    }

    /// The write under way ends in another place: of its own stream, or of another.
    fn misdirect(&mut self, node: usize, stream: usize) -> bool {
        let host = &mut self.nodes[node];
        let other = (stream + 1) % host.disk.streams.len();
        let stray = host.disk.streams[stream].write_under_way();
        if other != stream
            && let Some(stray) = stray
            && host.disk.streams[other].take_stray(stray)
        {
            self.checks.count("write into another stream");
            // In its own place it is lost.
            let lost =
                self.nodes[node].disk.streams[stream].finish(Some(DiskFault::Lost), &mut self.rng);
            return lost.is_ok();
        }
        let Some(process) = &host.process else { return false };
        let written = process.cores[stream].blocks.iter().filter(|block| block.under_way.is_none());
        let places: Vec<(u32, u64)> = written.map(|block| (block.segment, block.offset)).collect();
        let done = host.disk.streams[stream].misdirect(&places, &mut self.rng);
        if done {
            self.checks.count("write misdirected");
            self.look_after(node);
        }
        done
    }

    /// A node whose log has a hole is started anew before long, so that it is found.
    fn look_after(&mut self, node: usize) {
        let pause = self.rng.between(0, 1_500) * MS;
        self.after(pause, Event::Mend(Mend::Kill(node)));
        self.after(pause + 50 * MS, Event::Mend(Mend::Start(node)));
    }

    /// A node has begun or ended something with its disk: where a directed run may kill it.
    pub(super) fn io_step(&mut self, node: usize) {
        self.nodes[node].io_steps += 1;
        if self.plan.kill_at == Some((node, self.nodes[node].io_steps)) {
            self.after(0, Event::Mend(Mend::Kill(node)));
            self.after(30 * MS, Event::Mend(Mend::Start(node)));
        }
    }

    /// The process sees that a write has ended.
    pub(super) fn written(&mut self, node: usize, stream: usize, failed: bool) {
        if failed {
            return self.disk_failed(node);
        }
        if self.process(node).standby.writes(stream) {
            return self.follower_written(node, stream);
        }
        let (now, early) = (self.clock(node), self.broken(Broken::AckBeforeSync));
        let core = &mut self.process(node).cores[stream];
        let Some(buffer) = core.writing.take() else { return };
        let block = core.blocks.last_mut().expect("one was being written");
        block.under_way = None;
        let mover = &mut core.mover;
        let write = if early {
            mover.take_back(buffer);
            mover.progress(now)
        } else {
            mover.written(buffer, now)
        };
        self.after_work(node, stream, write);
        self.feed(node, stream);
        self.session_progress(node, stream);
        self.tell_boundary(node, stream);
    }

    /// A block that is held goes when its time is over, if not before.
    fn ask_again_later(&mut self, node: usize, core: usize) {
        let now_ns = self.clock(node).mono_ns;
        let of = &mut self.process(node).cores[core];
        let until_ns = of.mover.shard.held_until();
        if std::mem::replace(&mut of.held_until_ns, until_ns) != until_ns
            && let Some(until_ns) = until_ns
        {
            self.checks.count("blocks held back");
            self.wake_in(node, until_ns.saturating_sub(now_ns), Wake::Held { core });
        }
    }

    /// Begins a write, and moves what a shard has for others to their queues.
    fn after_work(&mut self, node: usize, core: usize, write: Option<BlockWrite<Vec<u8>>>) {
        if let Some(write) = write {
            self.begin_write(node, core, write);
        }
        self.ask_again_later(node, core);
        self.take_asks(node, core);
        self.deliver_broadcasts(node, core);
        let process = self.process(node);
        let shard = &mut process.cores[core].mover.shard;
        let (mesh, control) = (shard.mesh_out().len(), shard.control_out().len());
        process.mesh.extend(
            shard.mesh_out().drain(..).map(|(to, message)| (usize::from(to), core, message)),
        );
        process.control.extend(shard.control_out().drain(..));
        for _ in 0..mesh {
            self.checks.count("forwards");
        }
        if mesh > 0 {
            let time = self.rng.between(1_000, 100_000);
            self.wake_in(node, time, Wake::Mesh);
        }
        if control > 0 {
            let time = self.rng.between(1_000, 2 * MS);
            self.wake_in(node, time, Wake::Control);
        }
        while let Some(id) = self.process(node).cores[core].mover.shard.next_dirty() {
            let process = self.process(node);
            let conn =
                process.clients.iter().find(|(_, of)| **of == (core, id)).map(|(conn, _)| *conn);
            let mut bytes = Vec::new();
            let closing = process.cores[core].mover.shard.take_output(id, &mut bytes);
            let Some(conn) = conn else { continue };
            self.answers_leave(node, conn, &bytes);
            self.send(conn, 1, Payload::Bytes(bytes));
            if closing {
                self.hang_up(conn, 1);
                self.client_gone(node, conn);
            }
        }
    }

    /// Looks at answers on their way out.
    fn answers_leave(&mut self, node: usize, conn: usize, bytes: &[u8]) {
        let now = self.clock(node);
        let deciding_epoch = self.process(node).deciding_epoch;
        for (header, whole) in frames(bytes) {
            let correlation = header.correlation.to_native();
            let due = self.process(node).due.remove(&(conn, correlation));
            if header.kind != FrameKind::Verdict.to_wire() {
                continue;
            }
            let Some(verdict) = view::<VerdictFrame>(whole) else { continue };
            let Some(epoch) = deciding_epoch else {
                self.checks.fail(format!("node {node} answers although it is a standby"));
                return;
            };
            self.checks.acknowledges(epoch, node, verdict.answer.lsn.to_native());
            if due.is_some_and(|due| now.mono_ns >= due) {
                self.checks.fail(format!(
                    "node {node} gives a verdict after the budget: {:?}",
                    verdict.answer
                ));
            }
            self.note(format_args!(
                "node {node} answers {}/{} of epoch {} to {conn}:{correlation}",
                verdict.answer.shard, verdict.answer.lsn, verdict.answer.epoch
            ));
        }
    }

    /// A message of the control thread for a core, which reads it a little later.
    pub(super) fn mail(&mut self, node: usize, core: usize, message: ToShard) {
        self.process(node).cores[core].mail.push_back(message);
        let time = self.rng.between(1_000, MS);
        self.wake_in(node, time, Wake::Mail { core });
    }

    pub(super) fn read_mail(&mut self, node: usize, core: usize) {
        let (now, lone) = (self.clock(node), self.broken(Broken::AckBeforeStandby));
        let mail = std::mem::take(&mut self.process(node).cores[core].mail);
        let mail = mail.into_iter().map(|message| match message {
            ToShard::Durability { session, waits_for, .. } if lone => {
                ToShard::Durability { durability: Durability::Solo, session, waits_for }
            }
            message => message,
        });
        let mut mail: Vec<ToShard> = mail.collect();
        let sets_candidate = |message: &ToShard| matches!(message, ToShard::SetCandidate(Some(_)));
        // What an answer of a validator behind it has decided is seen by it.
        if let Some(at) = mail.iter().position(sets_candidate) {
            let behind = mail.split_off(at + 1);
            self.process(node).cores[core].mover.messages([], mail, now);
            self.candidate_is_set(node, core);
            mail = behind;
        }
        self.process(node).cores[core].mover.messages([], mail, now);
        self.after_work(node, core, None);
        self.progress(node, core);
    }

    /// The control thread reads what the cores told it.
    pub(super) fn read_control(&mut self, node: usize) {
        for told in std::mem::take(&mut self.process(node).control) {
            match told {
                ToControl::SegmentTaken { shard, .. } => {
                    let time = self.rng.between(1, 20) * MS;
                    self.wake_in(node, time, Wake::SegmentsMade { core: usize::from(shard) });
                }
                ToControl::Waiting { shard, session, answered } => {
                    self.node_event(node, ReplicaEvent::Waiting { shard, session, answered });
                }
                told => self.policy_told(node, told),
            }
        }
    }

    /// The cores read what their siblings sent them.
    pub(super) fn read_mesh(&mut self, node: usize) {
        let now = self.clock(node);
        let sent = std::mem::take(&mut self.process(node).mesh);
        for core in 0..usize::from(self.plan.shards) {
            let mesh: Vec<_> = sent
                .iter()
                .filter(|(to, ..)| *to == core)
                .map(|&(_, from, message)| (from as u16, message))
                .collect();
            self.take_broadcasts(node, core);
            if mesh.is_empty() {
                continue;
            }
            self.process(node).cores[core].mover.messages(mesh, [], now);
            self.after_work(node, core, None);
            self.progress(node, core);
        }
    }

    fn queues_are_bounded(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        for core in &process.cores {
            self.checks.bounded(
                "transactions are pending",
                core.mover.shard.counters().pending as usize,
                limits::MAX_PENDING,
            );
            self.checks.bounded(
                "messages wait for a shard",
                core.mail.len(),
                limits::CONTROL_QUEUE_LEN,
            );
        }
        self.checks.bounded(
            "messages wait for the control thread",
            process.control.len(),
            limits::CONTROL_QUEUE_LEN,
        );
        let cores = process.cores.len();
        self.checks.bounded(
            "forwards and replies between cores",
            process.mesh.len(),
            2 * cores * limits::MESH_QUEUE_LEN,
        );
        for inbox in process.standby.inbox_lens() {
            // What comes twice is read twice.
            self.checks.bounded("frames wait for a stream's disk", inbox, 2 * MAX_UNACKNOWLEDGED);
        }
    }

    /// Opens or ends admission, when that has changed.
    pub(super) fn tell_room(&mut self, node: usize) {
        let full_here = self.is_short_of_room(node);
        let process = self.process(node);
        let standby_full = process.node.standby_disk_full();
        let full_there = process.state().durability == Durability::Sync && standby_full;
        let full = full_here || full_there;
        if process.state().role != Role::Primary
            || std::mem::replace(&mut process.full, full) == full
        {
            return;
        }
        if full_there && !full_here {
            self.checks.count("standby out of room");
        }
        let whose = if full_there { "its standby's" } else { "its" };
        self.note(format_args!(
            "node {node} has {} room on {whose} disk",
            if full { "no" } else { "again" }
        ));
        let admission = if full { Admission::DiskFull } else { Admission::Open };
        for core in 0..usize::from(self.plan.shards) {
            self.mail(node, core, ToShard::Admit(admission));
        }
    }

    /// Deadlines and time-outs.
    pub(super) fn tick(&mut self, node: usize) {
        let now = self.clock(node);
        for core in 0..usize::from(self.plan.shards) {
            self.take_all_broadcasts(node, core);
            self.process(node).cores[core].mover.try_candidate();
            self.process(node).cores[core].mover.tick(now);
            self.after_work(node, core, None);
            self.progress(node, core);
        }
        self.queues_are_bounded(node);
        self.tell_room(node);
        // What a sibling answers at its tick comes over the mesh.
        let overdue = |due: u64| now.mono_ns.saturating_sub(due) > checks::LATE_NS;
        let process = self.process(node);
        if let Some((&(conn, correlation), _)) = process.due.iter().find(|(_, due)| overdue(**due))
        {
            self.checks.fail(format!(
                "node {node} let {conn}:{correlation} go unanswered past its budget"
            ));
        }
        self.wake_in(node, 10 * MS, Wake::Tick);
    }
}

/// The frames of bytes that hold whole ones.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = (&HeaderFields, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = view::<HeaderFields>(rest.get(..HEADER_LEN)?)?;
        let whole = rest.get(..header.length.to_native() as usize)?;
        rest = &rest[whole.len()..];
        Some((header, whole))
    })
}

fn submits(bytes: &[u8]) -> impl Iterator<Item = &SubmitFrame> {
    frames(bytes)
        .filter(|(header, _)| header.kind == FrameKind::Submit.to_wire())
        .filter_map(|(_, whole)| view(whole))
}
