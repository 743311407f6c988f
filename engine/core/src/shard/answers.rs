//! Answers: what becomes durable, what that commits, and who is told.

use super::Shard;
use super::journal::BlockMemory;
use super::messages::{MeshMessage, Now, Refusal, ToControl};
use super::outbox::{Origin, Waiting};
use crate::observe::Counters;
use crate::replica::CommitTracker;
use catraca_wire::frame::{
    AnswerFields, ErrorCode, FixedFrame, FrameKind, HeaderFields, Stage, VerdictFrame,
};

/// What is answered when the budget ends before the decision is known to be safe.
pub(super) const UNCONFIRMED: Refusal = Refusal::retry(
    ErrorCode::Unconfirmed,
    1,
    "not known to be safe within the budget; send it again",
);
/// What is answered in place of a decision that is safe and whose budget is over.
pub(super) const LATE: Refusal = Refusal::new(
    ErrorCode::Late,
    "decided and safe, but after the budget; send it again to get the decision",
);
/// What a standby answers to whoever wants something decided or changed.
pub(super) const NOT_PRIMARY: Refusal = Refusal::new(
    ErrorCode::NotPrimary,
    "this node is a standby; WELCOME of a new connection says where the primary is, if known",
);

/// The counters of a shard that begins: what an earlier run committed is told at once.
pub(super) fn counters_at(durable_lsn: u64, commit: &CommitTracker) -> Counters {
    Counters { durable_lsn, committed_lsn: commit.committed(), ..Counters::default() }
}

impl<B: BlockMemory> Shard<B> {
    /// Sends an outcome to whom it belongs.
    #[inline]
    pub(super) fn reply(&mut self, origin: Origin, outcome: Result<AnswerFields, Refusal>) {
        match origin {
            Origin::Remote { shard, pending } => {
                self.siblings_unanswered -= 1;
                self.mesh_out.push((shard, MeshMessage::Reply { pending, outcome }))
            }
            Origin::Local { connection, correlation } => match outcome {
                Ok(answer) => {
                    let header =
                        HeaderFields::new(FrameKind::Verdict, VerdictFrame::LEN, 0, correlation);
                    self.sessions
                        .answer(connection, bytemuck::bytes_of(&VerdictFrame { header, answer }));
                }
                Err(refusal) => {
                    self.counters.refused += 1;
                    let error = refusal.frame(correlation);
                    self.sessions.answer(connection, bytemuck::bytes_of(&error));
                }
            },
        }
    }

    /// A decision that is known to be safe, if its budget is not over: a late one is not given,
    /// whatever it is, because nobody may still count on it. That there is one is told.
    #[inline]
    pub(super) fn in_time(
        &mut self,
        answer: AnswerFields,
        deadline_ns: u64,
        now: Now,
    ) -> Result<AnswerFields, Refusal> {
        if now.mono_ns < deadline_ns {
            return Ok(answer);
        }
        self.counters.deadlines_missed += 1;
        Err(LATE)
    }

    /// The block of the last [`Self::next_write`] is durable: the next one may be taken, and
    /// [`Self::answer_committed`] must follow.
    #[inline]
    pub fn written(&mut self, now: Now) {
        let written = self.journal.written();
        self.gather.returned(now.mono_ns);
        self.commit.durable_here(written.last_lsn);
        self.counters.blocks += 1;
        self.counters.log_bytes += written.len as u64;
        self.counters.durable_lsn = written.last_lsn;
        self.unanswered.push_back(written);
        self.commit_moved = true;
    }

    /// The last record that is durable on this disk.
    pub fn durable_lsn(&self) -> u64 {
        self.counters.durable_lsn
    }

    /// Answers what has become committed.
    #[inline]
    pub fn answer_committed(&mut self, now: Now) {
        if std::mem::take(&mut self.commit_moved) {
            self.answer_up_to_commit(now);
        }
    }

    fn answer_up_to_commit(&mut self, now: Now) {
        let committed = self.commit.committed();
        self.counters.committed_lsn = committed;
        // Neighbours mostly share their times, so each histogram is touched once a run, not once a
        // transaction.
        let mut run = (0, 0, 0);
        while let Some(pending) = self.outbox.pop(committed) {
            while self.unanswered.front().is_some_and(|block| block.last_lsn < pending.lsn) {
                self.unanswered.pop_front();
            }
            // Missing only where a resend waits for what an earlier run wrote: those entries have
            // their receipts.
            let receipt = self.unanswered.front().map(|block| block.receipt);
            match pending.waiting {
                Waiting::Control => self.control_out.push(ToControl::RecordDurable),
                Waiting::Expired { position: None } => {}
                Waiting::Expired { position: Some(position) } => {
                    self.dedupe.set_receipt(
                        position,
                        receipt.expect("a record of this run is in a block of this run"),
                    );
                }
                Waiting::Decision { origin, position, duplicate } => {
                    if !duplicate {
                        self.dedupe.set_receipt(
                            position,
                            receipt.expect("a record of this run is in a block of this run"),
                        );
                    }
                    let answer = self.dedupe.answer(position, duplicate);
                    let outcome = self.in_time(answer, pending.deadline_ns, now);
                    self.reply(origin, outcome);
                }
            }
            if (run.0, run.1) == (pending.appended_ns, pending.received_ns) {
                run.2 += 1;
            } else {
                self.record_run(run, now.mono_ns);
                run = (pending.appended_ns, pending.received_ns, 1);
            }
        }
        while self.unanswered.front().is_some_and(|block| block.last_lsn <= committed) {
            self.unanswered.pop_front();
        }
        self.record_run(run, now.mono_ns);
    }

    fn record_run(&mut self, (appended_ns, received_ns, count): (u64, u64, u64), now_ns: u64) {
        if count > 0 {
            self.histograms.record(Stage::LogWrite, now_ns.saturating_sub(appended_ns), count);
            self.histograms.record(Stage::Total, now_ns.saturating_sub(received_ns), count);
        }
    }

    /// Looks at deadlines and time-outs; once a tick.
    pub fn tick(&mut self, now: Now) {
        let refused = self.refused.take(now.mono_ns, now.wall_ns);
        self.control_out.extend(refused.into_iter().map(ToControl::Refused));
        let (sessions, mesh_out) = (&mut self.sessions, &mut self.mesh_out);
        let siblings_unanswered = &mut self.siblings_unanswered;
        let mut missed = 0;
        self.outbox.expire(now.mono_ns, |origin| {
            missed += 1;
            match origin {
                Origin::Local { connection, correlation } => {
                    sessions
                        .answer(connection, bytemuck::bytes_of(&UNCONFIRMED.frame(correlation)));
                }
                Origin::Remote { shard, pending } => {
                    *siblings_unanswered -= 1;
                    mesh_out
                        .push((shard, MeshMessage::Reply { pending, outcome: Err(UNCONFIRMED) }));
                }
            }
        });
        self.forwards.expire(now.mono_ns, |asked| {
            missed += 1;
            sessions.answer(
                asked.connection,
                bytemuck::bytes_of(&UNCONFIRMED.frame(asked.correlation)),
            );
        });
        self.counters.deadlines_missed += missed;
        self.counters.refused += missed;
        self.counters.bad_frames += self.sessions.expire(now.mono_ns);
        self.crowd.tick();
        self.expire_parked(now);
        self.counters.ticks += 1;
        self.tell_when_drained();
    }
}
