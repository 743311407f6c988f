//! The audit trail of a running node's own log, a piece at a time: for who asks over the network.

use super::cursor::{BlockCursor, last_segment_up_to, last_segment_where, segment_start};
use super::error::LogError;
use super::index_file::IndexFiles;
use super::lookup::StoredRecord;
use catraca_core::log::Tail;
use catraca_wire::extension::Audited;
use catraca_wire::frame::MAX_AUDIT_ENTRIES;
use catraca_wire::record::RecordKind;

/// Stream that has what was asked for besides decisions.
const STREAM: u16 = 0;
/// How much of the log one piece is looked for in, bytes: less than 0.1 s of reading, during which look-ups wait.
const MAX_READ_LEN: u64 = 32 * 1024 * 1024;

/// What is wanted of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailQuery {
    /// The first record that is looked at.
    pub from_lsn: u64,
    /// The last one, which is durable.
    pub to_lsn: u64,
    /// Only what was asked for at this time or later, nanoseconds since 1970 UTC.
    pub from_ns: u64,
}

/// A piece of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailPage {
    /// Records that have entries, oldest first, at most [`MAX_AUDIT_ENTRIES`].
    pub records: Vec<StoredRecord>,
    /// Entries of a newer version.
    pub unreadable: u32,
    /// Where the next piece begins; behind `to_lsn` where this is the last one.
    pub next_lsn: u64,
}

/// Reads a piece.
///
/// # Errors
/// [`LogError::Io`], and [`LogError::Damaged`] where a durable block is not there as it was written.
pub fn read(files: &IndexFiles, query: &TrailQuery) -> Result<TrailPage, LogError> {
    match read_kept(files, query) {
        // A segment was removed meanwhile: what is kept is read.
        Err(error) if error.is_missing() => read_kept(files, query),
        read => read,
    }
}

fn read_kept(files: &IndexFiles, query: &TrailQuery) -> Result<TrailPage, LogError> {
    let mut page = TrailPage { records: Vec::new(), unreadable: 0, next_lsn: query.from_lsn };
    let Some(mut tail) = begin(files, query)? else {
        page.next_lsn = query.to_lsn.saturating_add(1);
        return Ok(page);
    };
    let mut cursor =
        BlockCursor::new(&files.log.data_dir, STREAM, tail.segment, tail.offset).in_background();
    while tail.next_lsn <= query.to_lsn && cursor.read_bytes() < MAX_READ_LEN {
        let block = files.next(&mut cursor, STREAM, &tail)?;
        tail = Tail::after(&block);
        for (head, extension) in block.records() {
            let lsn = head.lsn.to_native();
            if !(query.from_lsn..=query.to_lsn).contains(&lsn) {
                continue;
            }
            match Audited::read(extension) {
                Some(audited) if audited.asked_at_ns < query.from_ns => {}
                Some(_) if page.records.len() == MAX_AUDIT_ENTRIES => {
                    page.next_lsn = lsn;
                    return Ok(page);
                }
                Some(_) => page.records.push(StoredRecord {
                    place: block.place,
                    head: *head,
                    extension: extension.to_vec(),
                }),
                None if head.kind == RecordKind::Audit.to_wire() => page.unreadable += 1,
                None => {}
            }
        }
    }
    page.next_lsn = tail.next_lsn;
    Ok(page)
}

/// Before the first block that can have what is wanted; `None` where there is no log yet.
fn begin(files: &IndexFiles, query: &TrailQuery) -> Result<Option<Tail>, LogError> {
    let data_dir = &files.log.data_dir;
    let by_lsn = last_segment_up_to(data_dir, STREAM, query.from_lsn)?;
    // What was asked for at a time is in a block that was sealed then or later.
    let by_time = last_segment_where(data_dir, STREAM, |head| {
        head.sealed_at_ns.to_native() <= query.from_ns
    })?;
    segment_start(data_dir, STREAM, by_lsn.max(by_time))
}
