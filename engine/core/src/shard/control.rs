//! What the control thread asks of a shard. Between two batches, so that a decision sees one
//! version of everything.

use super::Shard;
use super::journal::BlockMemory;
use super::messages::{Admission, Now, ShardState, TakeOver, ToControl, ToShard};
use super::outbox::{Pending, Waiting};
use crate::calendar::LocalOffset;
use crate::policy::Policy;
use crate::replica::CommitTracker;
use catraca_wire::frame::Role;
use std::sync::Arc;

impl<B: BlockMemory> Shard<B> {
    /// Takes a message of the control thread.
    pub fn control(&mut self, message: ToShard, now: Now) {
        match message {
            ToShard::SwapSnapshot(snapshot) => {
                let old = self.lists.swap(Some(snapshot));
                self.control_out.push(ToControl::SnapshotReleased(old));
            }
            ToShard::Answered { payment, validator, came } => {
                self.validator_came(payment, validator.into(), came, now);
            }
            ToShard::Cache { policy_version, validator, key, answer, given_ns, good_until_ns } => {
                if policy_version == self.policy.version() {
                    let times = (given_ns, good_until_ns);
                    self.answer_cache.fill(validator.into(), key, answer, times);
                }
            }
            ToShard::SwapPolicy(policy, named) => {
                assert_eq!(named.values(), policy.rules().lists.len(), "the policy's own look-ups");
                // Its zone may be another one.
                self.offset = LocalOffset::default();
                let released = self.payments.swap(&policy);
                self.prepare_to_ask(&policy);
                let old = std::mem::replace(&mut self.policy, policy);
                let named = std::mem::replace(&mut self.named, named);
                self.control_out.push(ToControl::PolicyReleased(old, named, released));
            }
            ToShard::SwapNamed(named, of_candidate) => {
                assert_eq!(named.values(), self.named.values(), "the policy in force's look-ups");
                let old = std::mem::replace(&mut self.named, named);
                let other = match (&mut self.candidate, of_candidate) {
                    (Some(candidate), Some(named)) => Some(candidate.swap_named(named)),
                    (_, unused) => unused,
                };
                self.control_out.push(ToControl::NamedReleased([Some(old), other]));
            }
            ToShard::KeepPayments(room) => {
                let released = self.payments.keep(room);
                self.control_out.push(ToControl::Keeps(self.journal.last_lsn(), released));
            }
            ToShard::Broadcast(is_on) => {
                self.broadcast.switch(is_on);
                let (shard, lsn) = (self.settings.shard, self.journal.last_lsn());
                self.control_out.push(ToControl::Broadcasts(shard, lsn));
            }
            ToShard::CatchUp(past) => {
                let caught_up = self.payments.catch_up(past);
                self.control_out.push(ToControl::CaughtUp(caught_up));
            }
            ToShard::SetCandidate(mut candidate) => {
                if let Some(candidate) = &mut candidate {
                    candidate.set_past(self.payments.take_level(candidate.policy()));
                }
                let before = std::mem::replace(&mut self.candidate, candidate);
                self.control_out.push(ToControl::CandidateReleased(before));
            }
            ToShard::CollectCandidate(mut totals) => {
                if let Some(candidate) = &self.candidate {
                    totals.join(candidate.came());
                }
                self.control_out.push(ToControl::CandidateCame(totals));
            }
            ToShard::SetAccess(access) => self.set_access(access, now),
            ToShard::ForgetComing => {
                let released = self.payments.forget_coming();
                self.control_out.push(ToControl::ComingForgotten(released));
            }
            ToShard::ApplyOverlay(change) => {
                self.lists
                    .apply(&change)
                    .expect("the control thread checks for room before the change is logged");
                self.control_out.push(ToControl::OverlayApplied(change.sequence));
            }
            ToShard::AppendRecord(record) => {
                let appended = if self.outbox.is_full() {
                    None
                } else {
                    self.journal
                        .append_with(&record.extension, |head| *head = record.head)
                        .ok()
                        .map(|head| head.lsn.to_native())
                };
                let Some(lsn) = appended else {
                    self.control_out.push(ToControl::RecordRefused);
                    return;
                };
                self.outbox.push(Pending {
                    lsn,
                    received_ns: now.mono_ns,
                    appended_ns: now.mono_ns,
                    deadline_ns: u64::MAX,
                    waiting: Waiting::Control,
                });
            }
            ToShard::Answer { connection, frames } => {
                self.control_open -= 1;
                self.sessions.answer(connection, &frames);
            }
            ToShard::TokenChecked(connection, came) => self.token_checked(connection, *came, now),
            ToShard::CollectStats => {
                let (shard, histograms) = (self.settings.shard, Box::new(self.histograms.clone()));
                self.control_out.push(ToControl::Stats { shard, histograms });
            }
            ToShard::Admit(admission) => {
                self.admission = admission;
                self.tell_when_drained();
            }
            ToShard::SegmentsReady(count) => self.journal.segments_ready(count),
            ToShard::Durability { durability, session, waits_for } => {
                self.commit.set_durability(durability, waits_for);
                self.commit_moved = true;
                let (shard, answered) = (self.settings.shard, self.commit.may_be_answered());
                self.control_out.push(ToControl::Waiting { shard, session, answered });
            }
            ToShard::StandbyAt { slot, session, lsn } => {
                self.commit.replica_at(slot, session, lsn);
                self.commit_moved = true;
            }
            ToShard::StandbyDurable { slot, session, lsn } => {
                self.commit.durable_there(slot, session, lsn);
                self.commit_moved = true;
            }
            ToShard::PrimaryAt { address, epoch } => {
                (self.primary, self.primary_epoch) = (address, epoch)
            }
            ToShard::TakeOver(take_over) => self.take_over(*take_over),
        }
    }

    /// A policy comes into force: payments that wait are decided by it.
    pub(super) fn prepare_to_ask(&mut self, policy: &Policy) {
        self.parked_by_others = (!self.parked.is_empty()).then_some(0);
        if !policy.rules().validators.is_empty() {
            self.parked.prepare();
            self.answer_cache.prepare();
        }
    }

    /// A standby becomes the primary. It has decided nothing yet, so nothing waits and nothing is
    /// open.
    fn take_over(&mut self, take_over: TakeOver) {
        assert_eq!(self.role, Role::Standby, "a primary decides already");
        assert_eq!(self.outbox.len(), 0, "a standby owes no answers");
        let TakeOver { state, journal, durability } = take_over;
        self.journal.start_over(journal);
        self.segment_told = self.journal.segment();
        self.counters.durable_lsn = self.journal.last_lsn();
        self.commit = CommitTracker::new(durability, self.journal.last_lsn());
        self.counters.committed_lsn = self.commit.committed();
        self.commit_moved = true;
        self.role = Role::Primary;
        self.primary = [0; 48];
        let before = ShardState {
            dedupe: std::mem::replace(&mut self.dedupe, state.dedupe),
            lists: std::mem::replace(&mut self.lists, state.lists),
            policy: std::mem::replace(&mut self.policy, state.policy),
            past: self.payments.replace(state.past),
            named: std::mem::replace(&mut self.named, state.named),
        };
        self.offset = LocalOffset::default();
        self.broadcast.switch(self.policy.reads_siblings());
        let policy = Arc::clone(&self.policy);
        self.prepare_to_ask(&policy);
        self.control_out.push(ToControl::TookOver(Box::new(before)));
    }

    /// While stopping: tells the control thread, once, that everything accepted is answered and
    /// handed out.
    pub(super) fn tell_when_drained(&mut self) {
        let drained = self.admission == Admission::Stopping
            && self.outbox.len() == 0
            && self.forwards.is_empty()
            && self.parked.is_empty()
            && self.journal.is_idle()
            && self.mesh_out.is_empty()
            && self.sessions.is_flushed();
        if drained && !self.drained_told {
            self.drained_told = true;
            self.control_out.push(ToControl::Drained(self.settings.shard));
        }
    }
}
