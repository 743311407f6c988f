//! A SUBMIT from its bytes to its record: stage (check, hash, prefetch), then decide. In two passes
//! over a batch, so that the cache misses of one transaction are hidden behind the work on the
//! others.

use super::admit::{Admitted, admit};
use super::answers::{NOT_PRIMARY, UNCONFIRMED};
use super::ask::Candidate;
use super::candidate::Decided;
use super::dedupe::{Fingerprint, Found};
use super::forwards::Asked;
use super::journal::BlockMemory;
use super::messages::{Admission, ConnectionId, Forward, MeshMessage, Now, Refusal};
use super::outbox::{Origin, Pending, Waiting};
use super::parked::Came;
use super::{Shard, owner};
use crate::limits;
use crate::policy::validators::MAX_VALIDATORS;
use crate::policy::windows::DecidedPayment;
use crate::policy::{Facts, Party, RULE_PAYEE_ALLOWED, RULE_PAYER_ALLOWED};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{
    ErrorCode, FixedFrame, FrameKind, ListSource, Role, Stage, SubmitFrame, SubmitterFields,
    TransactionFields, Verdict, view,
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

/// When a transaction came, until when it is answered, and where it stands in the batch that was judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub received_ns: u64,
    pub deadline_ns: u64,
    pub row: usize,
}

/// Who has to do with a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parties {
    pub payer: DocumentKey,
    pub payee: DocumentKey,
    pub submitter: SubmitterFields,
}

/// What the decision needs besides the transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    pub payer: DocumentKey,
    pub payee: DocumentKey,
    pub submitter: SubmitterFields,
    pub fingerprint: Fingerprint,
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
        let submitter = session.submitter();
        let correlation = frame.header.correlation.to_native();
        let admitted = if !session.identity.permissions.submit {
            self.refused.add(&session.principal, FrameKind::Submit, ErrorCode::Forbidden);
            Err(Refusal::new(ErrorCode::Forbidden, "the credential does not allow SUBMIT"))
        } else if let Err(wait_ms) = self.rates.take_submit(session.identity.client, received_ns) {
            self.counters.rate_limited += 1;
            let detail = "this client sends more than it may; nothing was recorded";
            Err(Refusal::retry(ErrorCode::RateLimited, wait_ms, detail))
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
                (&frame.transaction, submitter),
                (received_ns, deadline_ns),
            );
        }
        self.crowd.seen(&mut session.share, session.unanswered);
        let parties = Parties { payer, payee, submitter };
        let prepared = self.prepare(parties, &frame.transaction);
        self.staged.push(Staged { connection: id, correlation, at, deadline_ns, prepared });
    }

    #[inline]
    fn prepare(&self, parties: Parties, transaction: &TransactionFields) -> Prepared {
        let Parties { payer, payee, submitter } = parties;
        let institution = submitter.institution.to_native();
        let fingerprint = self.dedupe.fingerprint(institution, payer, transaction);
        self.dedupe.prefetch(&fingerprint);
        self.lists.prefetch(payer);
        self.lists.prefetch(payee);
        self.named.prefetch(transaction, payer, payee);
        Prepared { payer, payee, submitter, fingerprint }
    }

    fn forward(
        &mut self,
        shard: u16,
        asked: Asked,
        (transaction, submitter): (&TransactionFields, SubmitterFields),
        (received_ns, deadline_ns): (u64, u64),
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
        let transaction = *transaction;
        let forward = Forward { pending, received_ns, deadline_ns, transaction, submitter };
        self.mesh_out.push((shard, MeshMessage::Forward(forward)));
    }

    /// Second pass: decides on what was staged. `bytes` are those that the staged places refer to.
    #[inline]
    pub(super) fn decide_staged(&mut self, bytes: &[u8], received_ns: u64, now: Now) {
        if self.staged.is_empty() {
            return;
        }
        let staged = std::mem::take(&mut self.staged);
        self.count_ingress(staged.len() as u64, received_ns, now);
        let frame = |one: &Staged| {
            let frame = bytes.get(one.at..one.at + SubmitFrame::LEN).and_then(view::<SubmitFrame>);
            frame.expect("what was staged was looked at before")
        };
        let payments = staged.iter().map(|one| {
            let Prepared { payer, payee, .. } = one.prepared;
            (payer, payee, &frame(one).transaction)
        });
        self.payments.look_ahead(payments, now.wall_ns);
        let mut done = 0;
        while done < staged.len() {
            self.begin_batch(now);
            let rest = staged[done..].iter().zip(done..);
            let taken = rest
                .take_while(|(one, place)| {
                    self.push(&frame(one).transaction, &one.prepared, *place, now)
                })
                .count();
            let together = &staged[done..done + taken];
            done += taken;
            let candidate = |(row, one): (usize, &'_ Staged)| {
                let Staged { connection, correlation, deadline_ns, .. } = *one;
                let origin = Origin::Local { connection, correlation };
                (origin, Received { received_ns, deadline_ns, row })
            };
            let candidates = together.iter().enumerate().map(|(row, one)| {
                let (origin, received) = candidate((row, one));
                let (transaction, prepared) = (&frame(one).transaction, &one.prepared);
                Candidate { origin, transaction, prepared, received, came: None }
            });
            let waits = self.ask_validators(candidates, now);
            self.policy.judge(&mut self.batch);
            for (row, one) in together.iter().enumerate() {
                if waits >> row & 1 == 1 {
                    continue;
                }
                let (origin, received) = candidate((row, one));
                self.decide(origin, &frame(one).transaction, &one.prepared, received, now);
            }
        }
        self.staged = staged;
        self.staged.clear();
    }

    /// What is decided next is judged with the lists and the day of now.
    fn begin_batch(&mut self, now: Now) {
        if !self.today.holds(now.wall_ns) {
            self.today = self.settings.zone.day_at(now.wall_ns);
        }
        self.batch.clear();
        self.payments.begin();
    }

    /// Puts a transaction into the batch that is judged next; not one whose windows depend on the batch.
    #[inline]
    fn push(
        &mut self,
        transaction: &TransactionFields,
        prepared: &Prepared,
        place: usize,
        now: Now,
    ) -> bool {
        let (looked_up, rules) = (self.named.values(), self.policy.rules());
        let others = rules.values() - rules.windows.asked.len();
        let Some(seen) = self.payments.read(place, others) else { return false };
        let has_rules = self.policy.version() > 0;
        if has_rules {
            let event_time_ns = transaction.event_time_ns.to_native();
            if !self.offset.holds(event_time_ns) {
                self.offset = self.policy.zone().offset_at(event_time_ns);
            }
        }
        let party = |document| Party::new(document, self.lists.lookup(document, self.today.number));
        let facts = Facts {
            transaction,
            payer: party(prepared.payer),
            payee: party(prepared.payee),
            decided_at_ns: now.wall_ns,
            offset_minutes: self.offset.minutes,
        };
        let windows = seen.len() - others;
        self.named.look_up(&facts, &mut seen[windows..][..looked_up]);
        self.policy.rules().ask_nobody(seen);
        self.batch.push(&facts, has_rules, seen);
        if let Some(exempt) = self.named.exempt(&facts) {
            self.batch.exempt(&exempt);
        }
        true
    }

    fn count_ingress(&mut self, count: u64, received_ns: u64, now: Now) {
        self.histograms.record(Stage::Ingress, now.mono_ns.saturating_sub(received_ns), count);
        if self.undated_decisions == 0 {
            self.undated_since_ns = now.mono_ns;
        }
        self.undated_decisions += count;
    }

    /// A forward of another shard, which has checked the transaction.
    pub(super) fn take_forward(&mut self, from: u16, forward: &Forward, now: Now) {
        let Forward { pending, received_ns, deadline_ns, ref transaction, submitter } = *forward;
        let origin = Origin::Remote { shard: from, pending };
        self.siblings_unanswered += 1;
        self.crowd.seen(&mut self.siblings_share, self.siblings_unanswered);
        if self.role != Role::Primary {
            // A promotion reaches one shard after the other: a sibling may decide already.
            return self.reply(origin, Err(NOT_PRIMARY));
        }
        let documents = DocumentKey::from_wire(&transaction.payer)
            .and_then(|payer| Ok((payer, DocumentKey::from_wire(&transaction.payee)?)));
        let (payer, payee) =
            documents.expect("the shard that forwards a transaction has checked its documents");
        assert_eq!(
            owner(payer, self.settings.shards),
            self.settings.shard,
            "a forward for another shard"
        );
        self.count_ingress(1, received_ns, now);
        let received = Received { received_ns, deadline_ns, row: 0 };
        let parties = Parties { payer, payee, submitter };
        self.decide_alone(origin, transaction, parties, received, None, now);
    }

    /// Decides on one transaction by itself, with what came of validators that it waited for.
    pub(super) fn decide_alone(
        &mut self,
        origin: Origin,
        transaction: &TransactionFields,
        parties: Parties,
        received: Received,
        came: Option<(&[Came; MAX_VALIDATORS], u8)>,
        now: Now,
    ) {
        let prepared = self.prepare(parties, transaction);
        self.begin_batch(now);
        self.payments
            .look_ahead([(parties.payer, parties.payee, transaction)].into_iter(), now.wall_ns);
        let is_taken = self.push(transaction, &prepared, 0, now);
        assert!(is_taken, "the first of a batch depends on none of it");
        let candidate = Candidate { origin, transaction, prepared: &prepared, received, came };
        if self.ask_validators(std::iter::once(candidate), now) != 0 {
            return;
        }
        self.policy.judge(&mut self.batch);
        self.decide(origin, transaction, &prepared, received, now);
    }

    #[inline]
    fn decide(
        &mut self,
        origin: Origin,
        transaction: &TransactionFields,
        prepared: &Prepared,
        received: Received,
        now: Now,
    ) {
        let Received { received_ns, deadline_ns, .. } = received;
        let found = self.dedupe.find(&prepared.fingerprint);
        let (lsn, position, duplicate) = match found {
            Found::New => match self.record_new(transaction, prepared, received, now) {
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

    pub(super) fn overloaded(&mut self) -> Refusal {
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
        received: Received,
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
        if now.mono_ns >= received.deadline_ns {
            self.counters.deadlines_missed += 1;
            return Err(Refusal::new(
                ErrorCode::Deadline,
                "the budget was over before the decision; nothing was recorded",
            ));
        }
        if self.outbox.is_full() {
            return Err(self.overloaded());
        }
        if self.broadcast.is_full() {
            self.counters.overloaded += 1;
            let detail = "another core does not take what this one decides";
            return Err(Refusal::retry(ErrorCode::Overloaded, limits::OVERLOADED_RETRY_MS, detail));
        }
        let judged = self.batch.judgement(received.row);
        let decision = judged.decision;
        let list_day = self.today.number;
        let extension = self.extension.fill(
            self.policy.rules().words(),
            &judged.rules,
            self.batch.seen(received.row),
            self.asked.about(received.row),
        );
        let (snapshot_id, overlay_sequence) =
            (self.lists.snapshot_id(), self.lists.overlay_sequence());
        let (policy_version, list_sequence) = (self.policy.version(), self.named.sequence());
        let fill = |head: &mut RecordHead| {
            *head = RecordHead {
                kind: RecordKind::Decision.to_wire(),
                version: RECORD_VERSION,
                extension_len: 0.into(),
                verdict: decision.verdict.to_wire(),
                flags: decision.flags(),
                score: decision.score.into(),
                reason: decision.reason.to_wire(),
                payer_source: source_code(judged.payer_listed),
                payee_source: source_code(judged.payee_listed),
                reserved_a: 0,
                policy_version: policy_version.into(),
                lsn: 0.into(),
                decided_at_ns: now.wall_ns.into(),
                snapshot_id: snapshot_id.into(),
                overlay_sequence: overlay_sequence.into(),
                matched_rules: decision.matched_rules.into(),
                list_day: list_day.into(),
                list_sequence: list_sequence.into(),
                submitter: prepared.submitter,
                transaction: *transaction,
            };
        };
        let epoch = self.journal.identity().epoch;
        let Ok(record) = self.journal.append_with(extension, fill) else {
            return Err(self.overloaded());
        };
        match decision.verdict {
            Verdict::Approve => self.counters.approved += 1,
            Verdict::Review => self.counters.reviewed += 1,
            Verdict::Deny => self.counters.denied += 1,
        }
        let lsn = record.lsn.to_native();
        self.payments.add(received.row, decision.verdict);
        if self.payments.is_coming() || self.broadcast.is_on() {
            let payment = DecidedPayment {
                stream: self.settings.shard,
                lsn,
                payer: prepared.payer,
                payee: prepared.payee,
                transaction: *transaction,
                decided_at_ns: now.wall_ns,
                verdict: decision.verdict,
            };
            self.payments.add_to_coming(&payment);
            self.broadcast.push(payment);
        }
        if let Some(candidate) = &mut self.candidate {
            let party = |document, listed, allowed: u64| Party {
                document,
                listed,
                is_allowed: decision.matched_rules & allowed != 0,
            };
            candidate.take(&Decided {
                transaction: *transaction,
                payer: party(prepared.payer, judged.payer_listed, RULE_PAYER_ALLOWED),
                payee: party(prepared.payee, judged.payee_listed, RULE_PAYEE_ALLOWED),
                decided_at_ns: now.wall_ns,
                verdict: decision.verdict,
            });
        }
        // The receipt is known once the block is closed, and filled in before anybody reads it.
        let position =
            self.dedupe.insert_record(&prepared.fingerprint, record, self.settings.shard, epoch, 0);
        Ok((lsn, position))
    }
}

#[inline]
fn source_code(listed: Option<ListSource>) -> u8 {
    listed.map_or(0, ListSource::to_wire)
}
