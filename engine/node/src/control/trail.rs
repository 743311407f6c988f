//! Answers to AUDIT: a piece of the audit trail, once it is recorded who is told.

use super::answer::{Asker, recorded};
use super::{Control, audit, changes, lookups};
use crate::log_files::lookup::StoredRecord;
use crate::log_files::trail::TrailQuery;
use catraca_core::limits::OVERLOADED_RETRY_MS;
use catraca_wire::extension::AuditOutcome;
use catraca_wire::frame::{
    AuditEntryHeadFields, AuditFrame, ErrorCode, ErrorFrame, FLAG_MORE, FrameKind, HeaderFields,
};
use std::rc::Rc;

/// Pieces that are read at once, or wait for it: an auditor reads one after the other, and each takes one of the places
/// for what operators and look-ups ask.
pub(super) const MAX_READINGS: usize = 4;

/// What the audit trail says that this is about.
const TARGET: &str = "audit trail";

/// Answers an AUDIT. Nothing is told that is not committed: it might be taken back.
pub(super) async fn told(
    control: Rc<Control>,
    asker: Asker,
    frame: AuditFrame,
    (lookups, changes): (lookups::Handle, changes::Handle),
) {
    let Ok(_place) = control.trail_places.try_acquire() else {
        let why = "too many read the audit trail at once";
        let error = ErrorFrame::new(
            asker.correlation,
            ErrorCode::Overloaded,
            OVERLOADED_RETRY_MS,
            false,
            why,
        );
        return asker.answer(&control, bytemuck::bytes_of(&error).to_vec()).await;
    };
    let committed_lsn = control.channels.counters[0].read().committed_lsn;
    let to_lsn = match frame.to_lsn.to_native() {
        0 => committed_lsn,
        asked => asked.min(committed_lsn),
    };
    let query =
        TrailQuery { from_lsn: frame.from_lsn.into(), to_lsn, from_ns: frame.from_ns.into() };
    let page = match lookups.trail(query).await {
        Some(Ok(page)) => page,
        Some(Err(_)) => {
            let why = "the log can't be read; the server's own log says why";
            return asker.refuse(&control, ErrorCode::Failed, why).await;
        }
        None => {
            return asker.refuse(&control, ErrorCode::Failed, "the reading was cut off").await;
        }
    };
    let mut audited = asker.audited(AuditOutcome::Told, 1);
    audited.target = audit::target(TARGET);
    if let Err((code, why)) = recorded(&changes, audit::record(&audited, [0; 32], [0; 14])).await {
        return asker.refuse(&control, code, &why).await;
    }
    let mut frames = Vec::new();
    for record in &page.records {
        let next_lsn = record.head.lsn.to_native() + 1;
        let end = End { next_lsn, end_lsn: to_lsn, unreadable: page.unreadable };
        entry(&mut frames, &asker, &end, Some(record));
    }
    let end = End { next_lsn: page.next_lsn, end_lsn: to_lsn, unreadable: page.unreadable };
    entry(&mut frames, &asker, &end, None);
    asker.answer(&control, frames).await;
}

/// Where a reading stands.
struct End {
    next_lsn: u64,
    end_lsn: u64,
    unreadable: u32,
}

/// A frame with an entry, behind which another one follows; or the last one.
fn entry(frames: &mut Vec<u8>, asker: &Asker, end: &End, record: Option<&StoredRecord>) {
    let record_len = record.map_or(0, |record| size_of_val(&record.head) + record.extension.len());
    let length = size_of::<AuditEntryHeadFields>() + record_len;
    let flags = if record.is_some() { FLAG_MORE } else { 0 };
    let head = AuditEntryHeadFields {
        header: HeaderFields::new(FrameKind::AuditEntry, length, flags, asker.correlation),
        next_lsn: end.next_lsn.into(),
        end_lsn: end.end_lsn.into(),
        epoch: record.map_or(0, |record| record.place.epoch).into(),
        unreadable: end.unreadable.into(),
        record_len: (record_len as u32).into(),
        reserved: 0.into(),
    };
    frames.extend_from_slice(bytemuck::bytes_of(&head));
    if let Some(record) = record {
        frames.extend_from_slice(bytemuck::bytes_of(&record.head));
        frames.extend_from_slice(&record.extension);
    }
}
