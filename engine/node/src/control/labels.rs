//! Labels: what becomes known of a decision after it was made. The decision is looked up in the log, the label
//! logged, and nothing changed.
//!
//! They are taken one after the other, so that of two equal ones the second finds the first. Looking up may
//! take long on a log without indexes, and so is no part of the task that changes lists and policy: that one
//! only logs.

use super::answer::Asker;
use super::list_request::Refused;
use super::{Control, audit, changes, lookups};
use crate::log_files::lookup::{Found, MAX_LABELS_FOUND, Query, StoredLabel, StoredRecord};
use crate::wall_clock::wall_ns;
use catraca_core::shard::messages::ControlRecord;
use catraca_wire::DocumentKey;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::extension::{AuditOutcome, Label, LabelSource};
use catraca_wire::frame::{
    ErrorCode, LabelFrame, LabelKind, LabelStateFrame, MAX_LABEL_SOURCE_LEN, is_transaction_id,
};
use std::rc::Rc;
use tokio::sync::mpsc;

/// How far before its decision, and ahead of the clock, a label may have become known, nanoseconds: a date
/// stands for its midnight, and midnight is up to a day earlier or later in another zone.
const DATE_SLACK_NS: u64 = 2 * 86_400 * 1_000_000_000;

/// The way to the task that takes labels.
pub(super) struct Handle(mpsc::UnboundedSender<(Asker, LabelFrame)>);

impl Handle {
    /// A client's request. Bounded by what each shard lets through.
    pub fn request(&self, asker: Asker, frame: LabelFrame) {
        let _ = self.0.send((asker, frame));
    }
}

pub(super) fn start(
    control: &Rc<Control>,
    changes: changes::Handle,
    lookups: lookups::Handle,
) -> Handle {
    let (sender, mut waiting) = mpsc::unbounded_channel();
    let control = Rc::clone(control);
    tokio::task::spawn_local(async move {
        while let Some((asker, frame)) = waiting.recv().await {
            match take(asker, &frame, &changes, &lookups).await {
                Ok(state) => asker.answer(&control, bytemuck::bytes_of(&state).to_vec()).await,
                Err(Refused(code, why)) => asker.refuse(&control, code, &why).await,
            }
        }
    });
    Handle(sender)
}

async fn take(
    asker: Asker,
    frame: &LabelFrame,
    changes: &changes::Handle,
    lookups: &lookups::Handle,
) -> Result<LabelStateFrame, Refused> {
    let failed = |why: &str| Refused(ErrorCode::Failed, why.to_owned());
    let wanted = Wanted::read(frame, asker.actor.reaches(), wall_ns())?;
    let found = match lookups.find_all(wanted.query).await {
        Some(Ok(found)) => found,
        Some(Err(_)) => {
            return Err(failed("the log can't be read; the server's own log says why"));
        }
        None => return Err(failed("the look-up was cut off")),
    };
    let decision = wanted.decision(&found)?;
    let mut labels: Vec<StoredLabel> =
        found.labels_of(decision).map(|label| label.stored).collect();
    let label = wanted.label(decision);
    let had = |of: &StoredLabel| (of.label.kind, of.label.source) == (label.kind, label.source);
    let changed = !labels.iter().any(had);
    if changed {
        if labels.len() >= MAX_LABELS_FOUND {
            return Err(failed("the decision has as many labels as it may have"));
        }
        let transaction = &decision.head.transaction;
        let mut head = label.to_record(&transaction.id, &transaction.payer, wall_ns());
        head.submitter.institution = decision.head.submitter.institution;
        let mut extension = label.to_section().to_vec();
        extension.extend_from_slice(&asker.audited(AuditOutcome::Done, 1).to_section());
        changes.log(Box::new(ControlRecord { head, extension })).await?;
        // It comes behind all others; its number is not asked for.
        let lsn = u64::MAX;
        labels.push(StoredLabel {
            label,
            lsn,
            logged_at_ns: head.decided_at_ns.to_native(),
            id: transaction.id,
            payer: transaction.payer,
        });
        tracing::info!(
            label = label.kind.name(),
            stream = label.shard,
            lsn = label.lsn,
            shard = asker.shard,
            connection = asker.connection.slot,
            "decision labelled"
        );
    }
    if !changed {
        let audited = asker.audited(AuditOutcome::Unchanged, 1);
        let transaction = &decision.head.transaction;
        changes.log(audit::record(&audited, transaction.id, transaction.payer)).await?;
    }
    let counts = labels.iter().max_by_key(|label| label.age()).expect("one at least");
    let mut state = LabelStateFrame::empty(asker.correlation);
    state.changed = u8::from(changed);
    state.verdict = decision.head.verdict;
    state.shard = label.shard.into();
    state.labels = (labels.len() as u32).into();
    state.lsn = label.lsn.into();
    state.decided_at_ns = decision.head.decided_at_ns;
    state.counts = counts.label.kind.to_wire();
    Ok(state)
}

/// A request that makes sense.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    query: Query,
    kind: LabelKind,
    known_at_ns: u64,
    source: LabelSource,
}

impl Wanted {
    /// Reads a frame, at this time of the server's clock.
    fn read(frame: &LabelFrame, institution: Option<u16>, now_ns: u64) -> Result<Self, Refused> {
        let field = |what: &str| Refused(ErrorCode::BadField, what.to_owned());
        if !is_transaction_id(&frame.id) {
            return Err(field("id: 1 to 32 printable ASCII characters, left-aligned, zero-filled"));
        }
        let payer = (frame.payer != [0; DOCUMENT_LEN]).then_some(frame.payer);
        if payer.is_some_and(|payer| DocumentKey::from_wire(&payer).is_err()) {
            return Err(Refused(
                ErrorCode::BadDocument,
                "payer: not a valid CPF or CNPJ in canonical form, nor zeros".to_owned(),
            ));
        }
        let kind = LabelKind::from_wire(frame.label).ok_or_else(|| field("label: unknown code"))?;
        let source = LabelSource::from_wire(&frame.source, frame.source_len).ok_or_else(|| {
            field(&format!(
                "source: 1 to {MAX_LABEL_SOURCE_LEN} printable ASCII characters, no space at either end"
            ))
        })?;
        let known_at_ns = frame.known_at_ns.to_native();
        if known_at_ns > now_ns.saturating_add(DATE_SLACK_NS) {
            return Err(field("known_at_ns: more than 2 days ahead of the server's clock"));
        }
        Ok(Self { query: Query { id: frame.id, payer, institution }, kind, known_at_ns, source })
    }

    /// The newest of the decisions that were found.
    fn decision<'f>(&self, found: &'f Found) -> Result<&'f StoredRecord, Refused> {
        let Some(newest) = found.records.first() else {
            return Err(Refused(
                ErrorCode::NotFound,
                "no stored decision has that id (and payer)".to_owned(),
            ));
        };
        let payer = newest.head.transaction.payer;
        if found.records.iter().any(|other| other.head.transaction.payer != payer) {
            return Err(Refused(
                ErrorCode::Failed,
                "payer: several payers have a decision with that id; name the one".to_owned(),
            ));
        }
        let institution = newest.head.submitter.institution;
        if found.records.iter().any(|other| other.head.submitter.institution != institution) {
            return Err(Refused(
                ErrorCode::Failed,
                "several institutions have a decision with that id; ask as a client of the one"
                    .to_owned(),
            ));
        }
        if self.known_at_ns.saturating_add(DATE_SLACK_NS) < newest.head.decided_at_ns.to_native() {
            return Err(Refused(
                ErrorCode::BadField,
                "known_at_ns: more than 2 days before the decision".to_owned(),
            ));
        }
        Ok(newest)
    }

    fn label(&self, decision: &StoredRecord) -> Label {
        Label {
            kind: self.kind,
            known_at_ns: self.known_at_ns,
            source: self.source,
            shard: decision.place.shard,
            lsn: decision.head.lsn.to_native(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_core::log::BlockLocation;
    use catraca_wire::frame::LabelRequest;
    use catraca_wire::record::RecordHead;

    const NOW: u64 = 1_795_350_896_000_000_000;

    fn frame() -> LabelFrame {
        let source = LabelSource::parse("visa").expect("sound");
        let payer = DocumentKey::parse("04933228680").expect("valid");
        let request =
            LabelRequest::new("order-1", Some(payer), LabelKind::Chargeback, NOW, &source);
        LabelFrame::from(&request.expect("sound"))
    }

    fn decision(payer: &str, decided_at_ns: u64) -> StoredRecord {
        let mut head: RecordHead = bytemuck::Zeroable::zeroed();
        head.transaction.payer = DocumentKey::parse(payer).expect("valid").to_wire();
        head.decided_at_ns = decided_at_ns.into();
        let place =
            BlockLocation { shard: 1, segment: 0, block_offset: 4_096, epoch: 1, chain: [0; 32] };
        StoredRecord { place, head, extension: Vec::new() }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        type Set = fn(&mut LabelFrame);
        let cases: [(Set, ErrorCode, &str); 8] = [
            (|frame| frame.id = [0; 32], ErrorCode::BadField, "id"),
            (|frame| frame.payer[0] = b'x', ErrorCode::BadDocument, "payer"),
            (|frame| frame.label = 0, ErrorCode::BadField, "label"),
            (|frame| frame.label = 6, ErrorCode::BadField, "label"),
            (|frame| frame.source_len = 0, ErrorCode::BadField, "source"),
            (|frame| frame.source_len = 65, ErrorCode::BadField, "source"),
            (|frame| frame.source[4] = b' ', ErrorCode::BadField, "source"),
            (
                |frame| frame.known_at_ns = (NOW + DATE_SLACK_NS + 1).into(),
                ErrorCode::BadField,
                "known_at_ns",
            ),
        ];
        let wanted = Wanted::read(&frame(), None, NOW).expect("sound");
        assert_eq!((wanted.kind, wanted.source.as_str()), (LabelKind::Chargeback, "visa"));
        let mut later = frame();
        later.known_at_ns = (NOW + DATE_SLACK_NS).into();
        assert!(Wanted::read(&later, None, NOW).is_ok());
        for (set, code, name) in cases {
            let mut frame = frame();
            set(&mut frame);
            let Err(Refused(refused, why)) = Wanted::read(&frame, None, NOW) else {
                panic!("{name} is taken")
            };
            assert!(refused == code && why.starts_with(name), "{refused}: {why}");
        }
    }

    #[test]
    fn the_decision_must_be_there_and_be_one_payers() {
        let wanted = Wanted::read(&frame(), None, NOW).expect("sound");
        let of = |records: Vec<StoredRecord>| Found { records, ..Found::default() };
        let refused = |found: &Found| wanted.decision(found).map(drop).expect_err("refused").0;
        assert_eq!(refused(&of(Vec::new())), ErrorCode::NotFound);
        let (one, other) = (decision("04933228680", NOW), decision("52998224725", NOW));
        assert_eq!(refused(&of(vec![one.clone(), other])), ErrorCode::Failed);
        let late = decision("04933228680", NOW + DATE_SLACK_NS + 1);
        assert_eq!(refused(&of(vec![late])), ErrorCode::BadField);
        // Of one payer's several the newest, which comes first.
        let found = of(vec![decision("04933228680", NOW + DATE_SLACK_NS), one]);
        assert_eq!(wanted.decision(&found), Ok(&found.records[0]));
    }
}
