//! Answers to what clients ask besides decisions: whole frames, built here, handed to the shard
//! that has the connection.

use super::audit::{self, Act};
use super::list_request::Refused;
use super::{Control, changes, lookups, stats};
use crate::log_files::lookup::{Found, Query, StoredRecord};
use catraca_core::shard::messages::{Actor, ConnectionId, ControlRecord, ToShard};
use catraca_wire::DocumentKey;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::extension::{AuditOutcome, LABEL_SECTION_LEN};
use catraca_wire::frame::{
    ALL_SHARDS, ErrorCode, ErrorFrame, FLAG_MORE, FrameKind, HeaderFields, HistogramHeadFields,
    LookupFrame, MAX_REPLY_LEN, RecordPlaceFields, Stage, is_transaction_id,
};
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a look-up waits until it is recorded who is told what it found, and that is committed. Less than a gateway
/// waits, so that its caller learns why.
const RECORD_PATIENCE: Duration = Duration::from_millis(1_500);
/// Between two looks whether what was found is committed; it mostly is at the first.
const COMMIT_PAUSE: Duration = Duration::from_millis(5);

/// Who asked, and under what number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub shard: u16,
    pub connection: ConnectionId,
    /// Who that is.
    pub actor: Actor,
    pub correlation: u64,
    /// What it asked for.
    pub act: Act,
    /// When, nanoseconds since 1970 UTC.
    pub asked_at_ns: u64,
}

impl Asker {
    /// Sends whole frames, which end the request.
    pub async fn answer(self, control: &Control, frames: Vec<u8>) {
        control
            .tell(usize::from(self.shard), ToShard::Answer { connection: self.connection, frames })
            .await;
    }

    /// Ends the request with an ERROR.
    pub async fn refuse(self, control: &Control, code: ErrorCode, detail: &str) {
        audit::refused(control, &self, code);
        let error = ErrorFrame::new(self.correlation, code, 0, false, detail);
        self.answer(control, bytemuck::bytes_of(&error).to_vec()).await;
    }
}

/// Answers a LOOKUP from the log's files, once it is recorded who is told.
pub(super) async fn lookup(
    control: Rc<Control>,
    asker: Asker,
    frame: LookupFrame,
    (lookups, changes): (lookups::Handle, changes::Handle),
) {
    if !is_transaction_id(&frame.id) {
        return asker
            .refuse(
                &control,
                ErrorCode::BadField,
                "id: 1 to 32 printable ASCII characters, left-aligned, zero-filled",
            )
            .await;
    }
    let payer = (frame.payer != [0; DOCUMENT_LEN]).then_some(frame.payer);
    if payer.is_some_and(|payer| DocumentKey::from_wire(&payer).is_err()) {
        return asker
            .refuse(
                &control,
                ErrorCode::BadDocument,
                "payer: not a valid CPF or CNPJ in canonical form, nor zeros",
            )
            .await;
    }
    if frame.labels > 1 {
        return asker.refuse(&control, ErrorCode::BadField, "labels: 0 or 1").await;
    }
    let query = Query { id: frame.id, payer, institution: asker.actor.reaches() };
    let found = match frame.labels {
        0 => lookups.find(query).await.map(|found| found.map(Vec::from_iter)),
        _ => lookups.find_all(query).await.map(|found| found.map(newest_with_labels)),
    };
    match found {
        Some(Ok(records)) if !records.is_empty() => {
            let audited = asker.audited(AuditOutcome::Told, 1);
            let payer = records[0].head.transaction.payer;
            let until = Instant::now() + RECORD_PATIENCE;
            match recorded(&changes, audit::record(&audited, frame.id, payer)).await {
                Ok(()) if committed(&control, &records, until).await => {
                    asker.answer(&control, record_frames(asker.correlation, &records)).await;
                }
                Ok(()) => {
                    let why = "it is not known to be safe yet: it may be taken back";
                    asker.refuse(&control, ErrorCode::Unconfirmed, why).await;
                }
                Err((code, why)) => asker.refuse(&control, code, &why).await,
            }
        }
        Some(Ok(_)) => {
            asker.refuse(&control, ErrorCode::NotFound, "no stored decision has that id").await
        }
        Some(Err(_)) => {
            asker
                .refuse(
                    &control,
                    ErrorCode::Failed,
                    "the log can't be read; the server's own log says why",
                )
                .await;
        }
        None => asker.refuse(&control, ErrorCode::Failed, "the look-up was cut off").await,
    }
}

/// Records who is told something, before it is told.
///
/// # Errors
/// Why it is not to be told.
pub(super) async fn recorded(
    changes: &changes::Handle,
    record: Box<ControlRecord>,
) -> Result<(), (ErrorCode, String)> {
    match tokio::time::timeout(RECORD_PATIENCE, changes.log(record)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Refused(code, why))) => Err((code, why)),
        Err(_) => {
            let why = "that you ask could not be recorded in time, so nothing is told";
            Err((ErrorCode::Failed, why.to_owned()))
        }
    }
}

/// Whether these are committed, waiting for that until then: whoever is shown a decision may act on it, or sign it.
/// Streams commit one by one, so the record of who asks says it of its own stream only.
async fn committed(control: &Control, records: &[StoredRecord], until: Instant) -> bool {
    let counters = &control.channels.counters;
    let is_committed = |record: &StoredRecord| {
        let of_stream = counters.get(usize::from(record.place.shard));
        of_stream.is_some_and(|counters| record.head.lsn <= counters.read().committed_lsn)
    };
    loop {
        if records.iter().all(is_committed) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(COMMIT_PAUSE).await;
    }
}

/// The newest decision, if there is one, and behind it its labels.
fn newest_with_labels(mut found: Found) -> Vec<StoredRecord> {
    let Some(decision) = found.records.first() else { return Vec::new() };
    let labels: Vec<_> =
        found.labels_of(decision).map(|label| label_alone(&label.record)).collect();
    found.records.truncate(1);
    found.records.extend(labels);
    found.records
}

/// A label as it is told: what it says, and not who asked for it to be recorded.
fn label_alone(record: &StoredRecord) -> StoredRecord {
    let mut alone = record.clone();
    alone.extension.truncate(LABEL_SECTION_LEN);
    alone.head.extension_len = (alone.extension.len() as u16).into();
    alone
}

/// A RECORD of each, all but the last with the flag that says so.
fn record_frames(correlation: u64, records: &[StoredRecord]) -> Vec<u8> {
    let flags = |number: usize| if number + 1 < records.len() { FLAG_MORE } else { 0 };
    let frames = records.iter().enumerate();
    frames.flat_map(|(number, record)| record_frame(correlation, flags(number), record)).collect()
}

fn record_frame(correlation: u64, flags: u16, record: &StoredRecord) -> Vec<u8> {
    let length =
        size_of::<RecordPlaceFields>() + size_of_val(&record.head) + record.extension.len();
    let place = RecordPlaceFields {
        header: HeaderFields::new(FrameKind::Record, length, flags, correlation),
        epoch: record.place.epoch.into(),
        shard: record.place.shard.into(),
        extension_len: (record.extension.len() as u16).into(),
        segment: record.place.segment.into(),
        block_offset: (record.place.block_offset as u32).into(),
        chain: record.place.chain,
    };
    [bytemuck::bytes_of(&place), bytemuck::bytes_of(&record.head), &record.extension].concat()
}

/// Answers STATS: one HISTOGRAM a stage.
pub(super) async fn stats(control: Rc<Control>, asker: Asker, shard: u16, handle: stats::Handle) {
    if shard != ALL_SHARDS && usize::from(shard) >= control.shards() {
        return asker.refuse(&control, ErrorCode::BadField, "shard: there is no such shard").await;
    }
    let Some(histograms) = handle.collect((shard != ALL_SHARDS).then_some(shard)).await else {
        return asker
            .refuse(&control, ErrorCode::Failed, "a core did not send its histograms")
            .await;
    };
    let uptime_ns = control.started.elapsed().as_nanos() as u64;
    let mut frames = Vec::new();
    for (index, &stage) in Stage::ALL.iter().enumerate() {
        let mut encoded = Vec::new();
        if let Err(error) =
            V2DeflateSerializer::new().serialize(histograms.stage(stage), &mut encoded)
        {
            tracing::error!(?error, "a histogram can't be encoded");
            return asker.refuse(&control, ErrorCode::Failed, "a histogram can't be encoded").await;
        }
        let length = size_of::<HistogramHeadFields>() + encoded.len();
        assert!(
            length <= MAX_REPLY_LEN,
            "a histogram's size is bounded by its range and precision"
        );
        let flags = if index + 1 < Stage::ALL.len() { FLAG_MORE } else { 0 };
        let head = HistogramHeadFields {
            header: HeaderFields::new(FrameKind::Histogram, length, flags, asker.correlation),
            stage: stage.to_wire(),
            reserved: [0; 3],
            encoded_len: (encoded.len() as u32).into(),
            uptime_ns: uptime_ns.into(),
        };
        frames.extend_from_slice(bytemuck::bytes_of(&head));
        frames.extend_from_slice(&encoded);
    }
    asker.answer(&control, frames).await;
}
