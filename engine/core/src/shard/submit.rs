//! A SUBMIT from its bytes to its record: stage (check, hash, prefetch), then decide. In two passes
//! over a batch, so that the cache misses of one transaction are hidden behind the work on the
//! others.

use super::admit::{Admitted, admit};
use super::answers::{NOT_PRIMARY, UNCONFIRMED};
use super::dedupe::{Fingerprint, Found};
use super::forwards::Asked;
use super::journal::BlockMemory;
use super::messages::{Admission, ConnectionId, MeshMessage, Now, Refusal};
use super::outbox::{Origin, Pending, Waiting};
use super::{Shard, owner};
use crate::blacklist::Listing;
use crate::limits;
use crate::policy::Facts;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{
    ErrorCode, FixedFrame, Role, Stage, SubmitFrame, TransactionFields, Verdict, view,
};
use catraca_wire::record::{RECORD_VERSION, RecordHead, RecordKind};

/// A SUBMIT that passed admission and waits for its batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    connection: ConnectionId,
    correlation: u64,
    /// Where its frame begins in the bytes being processed.
    at: usize,
    deadline_ns: u64,
    prepared: Prepared,
}

/// What the decision needs besides the transaction.
#[derive(Debug, Clone, Copy)]
struct Prepared {
    payer: DocumentKey,
    payee: DocumentKey,
    fingerprint: Fingerprint,
}

impl<B: BlockMemory> Shard<B> {
    /// First pass: checks the frame, which begins `at` so many bytes, and asks for the memory that
    /// deciding will touch.
    #[inline]
    pub(super) fn stage(
        &mut self,
        id: ConnectionId,
        frame: &SubmitFrame,
        at: usize,
        received_ns: u64,
    ) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.unanswered += 1;
        let correlation = frame.header.correlation.to_native();
        let admitted = if !session.permissions.submit {
            Err(Refusal::new(ErrorCode::Forbidden, "the credential does not allow SUBMIT"))
        } else if self.role != Role::Primary {
            Err(NOT_PRIMARY)
        } else {
            admit(frame)
        };
        let Admitted { payer, payee, budget_ns } = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                return self.reply(Origin::Local { connection: id, correlation }, Err(refusal));
            }
        };
        let deadline_ns = received_ns + budget_ns;
        let shard = owner(payer, self.settings.shards);
        if shard != self.settings.shard {
            return self.forward(
                shard,
                Asked { connection: id, correlation },
                &frame.transaction,
                received_ns,
                deadline_ns,
            );
        }
        self.crowd.seen(&mut session.share, session.unanswered);
        let prepared = self.prepare(payer, payee, &frame.transaction);
        self.staged.push(Staged { connection: id, correlation, at, deadline_ns, prepared });
    }

    #[inline]
    fn prepare(
        &self,
        payer: DocumentKey,
        payee: DocumentKey,
        transaction: &TransactionFields,
    ) -> Prepared {
        let fingerprint = self.dedupe.fingerprint(payer, transaction);
        self.dedupe.prefetch(&fingerprint);
        self.lists.prefetch(payer);
        self.lists.prefetch(payee);
        Prepared { payer, payee, fingerprint }
    }

    fn forward(
        &mut self,
        shard: u16,
        asked: Asked,
        transaction: &TransactionFields,
        received_ns: u64,
        deadline_ns: u64,
    ) {
        let Some(pending) = self.forwards.open(shard, asked, deadline_ns) else {
            self.counters.overloaded += 1;
            let refusal = Refusal::retry(
                ErrorCode::Overloaded,
                limits::OVERLOADED_RETRY_MS,
                "the payer's core has too much to do",
            );
            return self.reply(
                Origin::Local { connection: asked.connection, correlation: asked.correlation },
                Err(refusal),
            );
        };
        self.counters.forwarded += 1;
        let forward =
            MeshMessage::Forward { pending, received_ns, deadline_ns, transaction: *transaction };
        self.mesh_out.push((shard, forward));
    }

    /// Second pass: decides on what was staged. `bytes` are those that the staged places refer to.
    #[inline]
    pub(super) fn decide_staged(&mut self, bytes: &[u8], received_ns: u64, now: Now) {
        if self.staged.is_empty() {
            return;
        }
        let staged = std::mem::take(&mut self.staged);
        self.count_ingress(staged.len() as u64, received_ns, now);
        for one in &staged {
            let Some(frame) =
                bytes.get(one.at..one.at + SubmitFrame::LEN).and_then(view::<SubmitFrame>)
            else {
                continue;
            };
            let origin = Origin::Local { connection: one.connection, correlation: one.correlation };
            self.decide(
                origin,
                &frame.transaction,
                &one.prepared,
                received_ns,
                one.deadline_ns,
                now,
            );
        }
        self.staged = staged;
        self.staged.clear();
    }

    fn count_ingress(&mut self, count: u64, received_ns: u64, now: Now) {
        self.histograms.record(Stage::Ingress, now.mono_ns.saturating_sub(received_ns), count);
        if self.undated_decisions == 0 {
            self.undated_since_ns = now.mono_ns;
        }
        self.undated_decisions += count;
    }

    /// A forward of another shard, which has checked the transaction.
    pub(super) fn decide_forward(
        &mut self,
        origin: Origin,
        transaction: &TransactionFields,
        received_ns: u64,
        deadline_ns: u64,
        now: Now,
    ) {
        let documents = DocumentKey::from_wire(&transaction.payer)
            .and_then(|payer| Ok((payer, DocumentKey::from_wire(&transaction.payee)?)));
        let (payer, payee) =
            documents.expect("the shard that forwards a transaction has checked its documents");
        assert_eq!(
            owner(payer, self.settings.shards),
            self.settings.shard,
            "a forward for another shard"
        );
        let prepared = self.prepare(payer, payee, transaction);
        self.count_ingress(1, received_ns, now);
        self.decide(origin, transaction, &prepared, received_ns, deadline_ns, now);
    }

    #[inline]
    fn decide(
        &mut self,
        origin: Origin,
        transaction: &TransactionFields,
        prepared: &Prepared,
        received_ns: u64,
        deadline_ns: u64,
        now: Now,
    ) {
        let found = self.dedupe.find(&prepared.fingerprint);
        let (lsn, position, duplicate) = match found {
            Found::New => match self.record_new(transaction, prepared, deadline_ns, now) {
                Ok((lsn, position)) => (lsn, position, false),
                Err(refusal) => return self.reply(origin, Err(refusal)),
            },
            Found::Other => {
                let refusal = Refusal::new(
                    ErrorCode::IdReused,
                    "the payer and id came before with other content",
                );
                return self.reply(origin, Err(refusal));
            }
            Found::Same(position) => {
                self.counters.duplicates += 1;
                let (stream, lsn) = self.dedupe.address(position);
                // Records of other streams are from before the last start. They are committed: a
                // node whose answers wait for a standby does not start with another number of
                // shards.
                if stream != self.settings.shard || lsn <= self.commit.committed() {
                    let outcome =
                        self.in_time(self.dedupe.answer(position, true), deadline_ns, now);
                    return self.reply(origin, outcome);
                }
                if self.outbox.is_full() {
                    let refusal = self.overloaded();
                    return self.reply(origin, Err(refusal));
                }
                if !self.dedupe.outlasts(position, limits::MAX_PENDING) {
                    // What is decided while it waits could push it out of the table. Only what an
                    // earlier run wrote can be as old as that.
                    return self.reply(origin, Err(UNCONFIRMED));
                }
                // It waits for all that is appended, which its record is part of: so the outbox
                // stays in order.
                (self.journal.last_lsn(), position, true)
            }
        };
        self.outbox.push(Pending {
            lsn,
            received_ns,
            appended_ns: now.mono_ns,
            deadline_ns,
            waiting: Waiting::Decision { origin, position, duplicate },
        });
    }

    fn overloaded(&mut self) -> Refusal {
        self.counters.overloaded += 1;
        Refusal::retry(
            ErrorCode::Overloaded,
            limits::OVERLOADED_RETRY_MS,
            "too many transactions wait for the disk",
        )
    }

    /// Decides on a transaction never seen, and appends its record.
    #[inline]
    fn record_new(
        &mut self,
        transaction: &TransactionFields,
        prepared: &Prepared,
        deadline_ns: u64,
        now: Now,
    ) -> Result<(u64, super::dedupe::Position), Refusal> {
        let event_time_ns = transaction.event_time_ns.to_native();
        self.settings.event_time.check(event_time_ns, self.dedupe.horizon_ns(), now.wall_ns)?;
        match self.admission {
            Admission::Open => {}
            Admission::DiskFull => {
                let detail =
                    "the server's disk, or its standby's, is nearly full; nothing was recorded";
                return Err(Refusal::retry(
                    ErrorCode::DiskFull,
                    limits::DISK_FULL_RETRY_MS,
                    detail,
                ));
            }
            Admission::Stopping => {
                let detail = "the node is stopping; nothing was recorded";
                return Err(Refusal::retry(
                    ErrorCode::ShuttingDown,
                    limits::SHUTTING_DOWN_RETRY_MS,
                    detail,
                ));
            }
        }
        if now.mono_ns >= deadline_ns {
            self.counters.deadlines_missed += 1;
            return Err(Refusal::new(
                ErrorCode::Deadline,
                "the budget was over before the decision; nothing was recorded",
            ));
        }
        if self.outbox.is_full() {
            return Err(self.overloaded());
        }
        if !self.today.holds(now.wall_ns) {
            self.today = self.settings.zone.day_at(now.wall_ns);
        }
        let list_day = self.today.number;
        let payer = self.lists.lookup(prepared.payer, list_day);
        let payee = self.lists.lookup(prepared.payee, list_day);
        let decision = self.policy.decide(&Facts { transaction, payer, payee });
        let (snapshot_id, overlay_sequence) =
            (self.lists.snapshot_id(), self.lists.overlay_sequence());
        let policy_version = self.policy.version();
        let fill = |head: &mut RecordHead| {
            *head = RecordHead {
                kind: RecordKind::Decision.to_wire(),
                version: RECORD_VERSION,
                extension_len: 0.into(),
                verdict: decision.verdict.to_wire(),
                flags: 0,
                score: decision.score.into(),
                reason: decision.reason.to_wire(),
                payer_source: source_of(payer),
                payee_source: source_of(payee),
                reserved_a: 0,
                policy_version: policy_version.into(),
                lsn: 0.into(),
                decided_at_ns: now.wall_ns.into(),
                snapshot_id: snapshot_id.into(),
                overlay_sequence: overlay_sequence.into(),
                matched_rules: decision.matched_rules.into(),
                list_day: list_day.into(),
                reserved_b: [0; 26],
                transaction: *transaction,
            };
        };
        let epoch = self.journal.identity().epoch;
        let Ok(record) = self.journal.append(fill) else {
            return Err(self.overloaded());
        };
        match decision.verdict {
            Verdict::Approve => self.counters.approved += 1,
            Verdict::Review => self.counters.reviewed += 1,
            Verdict::Deny => self.counters.denied += 1,
        }
        let lsn = record.lsn.to_native();
        // The receipt is known once the block is closed, and filled in before anybody reads it.
        let position =
            self.dedupe.insert_record(&prepared.fingerprint, record, self.settings.shard, epoch, 0);
        Ok((lsn, position))
    }
}

#[inline]
fn source_of(listing: Listing) -> u8 {
    listing.counts().map_or(0, |hit| hit.source.to_wire())
}
