//! The audit trail of a running node's own log, a piece at a time: for who asks over the network.

use super::cursor::{BlockCursor, last_segment_up_to, segment_before, segment_start};
use super::error::LogError;
use super::index_file::IndexFiles;
use super::lookup::StoredRecord;
use catraca_core::log::Tail;
use catraca_wire::extension::Audited;
use catraca_wire::frame::MAX_AUDIT_ENTRIES;
use catraca_wire::record::RecordKind;
use std::time::Duration;

/// Stream that has what was asked for besides decisions.
const STREAM: u16 = 0;
/// How much of the log one piece is looked for in, behind where it begins, bytes: some 50 ms of reading.
const MAX_READ_LEN: u64 = 32 * 1024 * 1024;
/// How much is read at once: some milliseconds, between which look-ups are answered.
const SLICE_LEN: u64 = 4 * 1024 * 1024;
/// How far the clock of a node may have been set back for an entry not to be missed that is looked for by its time.
const CLOCK_MARGIN: Duration = Duration::from_secs(3_600);

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrailPage {
    /// Records that have entries, oldest first, at most [`MAX_AUDIT_ENTRIES`].
    pub records: Vec<StoredRecord>,
    /// Entries of a newer version.
    pub unreadable: u32,
    /// Where the next piece begins: behind where this one did, and behind `to_lsn` where this is the last one.
    pub next_lsn: u64,
}

/// A piece that is being read.
pub struct TrailReading {
    query: TrailQuery,
    page: TrailPage,
    at: Option<(BlockCursor, Tail)>,
    /// What was read when the first record came that is looked at, bytes.
    passed_len: Option<u64>,
    /// A segment was removed under it once: what is kept is read then.
    began_anew: bool,
}

impl TrailReading {
    /// Of what is wanted.
    pub fn new(query: TrailQuery) -> Self {
        let page = TrailPage::default();
        Self { query, page, at: None, passed_len: None, began_anew: false }
    }

    /// Reads on, a slice; gives the piece once it is whole.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Damaged`] where a durable block is not there as it was written.
    pub fn slice(&mut self, files: &IndexFiles) -> Result<Option<TrailPage>, LogError> {
        match self.slice_of_kept(files) {
            Err(error) if error.is_missing() && !self.began_anew => {
                *self = Self { began_anew: true, ..Self::new(self.query) };
                Ok(None)
            }
            read => read,
        }
    }

    fn slice_of_kept(&mut self, files: &IndexFiles) -> Result<Option<TrailPage>, LogError> {
        let TrailQuery { from_lsn, to_lsn, .. } = self.query;
        let behind = to_lsn.saturating_add(1).max(from_lsn);
        if from_lsn > to_lsn {
            return Ok(Some(self.whole(behind)));
        }
        let (mut cursor, mut tail) = match self.at.take() {
            Some(at) => at,
            None => match self.begin(files)? {
                Some(at) => at,
                None => return Ok(Some(self.whole(behind))),
            },
        };
        let begun_len = cursor.read_bytes();
        while tail.next_lsn <= to_lsn {
            if cursor.read_bytes() > begun_len + SLICE_LEN {
                self.at = Some((cursor, tail));
                return Ok(None);
            }
            let block = files.next(&mut cursor, STREAM, &tail)?;
            tail = Tail::after(&block);
            if tail.next_lsn <= from_lsn {
                continue;
            }
            for (head, extension) in block.records() {
                let lsn = head.lsn.to_native();
                if !(from_lsn..=to_lsn).contains(&lsn) {
                    continue;
                }
                match Audited::read(extension) {
                    Some(audited) if audited.asked_at_ns < self.query.from_ns => {}
                    Some(_) if self.page.records.len() == MAX_AUDIT_ENTRIES => {
                        return Ok(Some(self.whole(lsn)));
                    }
                    Some(_) => self.page.records.push(StoredRecord {
                        place: block.place,
                        head: *head,
                        extension: extension.to_vec(),
                    }),
                    None if head.kind == RecordKind::Audit.to_wire() => self.page.unreadable += 1,
                    None => {}
                }
            }
            let passed_len = *self.passed_len.get_or_insert_with(|| cursor.read_bytes());
            if cursor.read_bytes() > passed_len + MAX_READ_LEN {
                break;
            }
        }
        Ok(Some(self.whole(tail.next_lsn.min(behind))))
    }

    fn whole(&mut self, next_lsn: u64) -> TrailPage {
        let TrailQuery { from_lsn, to_lsn, .. } = self.query;
        assert!(next_lsn > from_lsn.min(to_lsn), "a piece ends behind where it begins");
        TrailPage { next_lsn, ..std::mem::take(&mut self.page) }
    }

    /// Before the first block that can have what is wanted; `None` where there is no log yet.
    fn begin(&self, files: &IndexFiles) -> Result<Option<(BlockCursor, Tail)>, LogError> {
        let data_dir = &files.log.data_dir;
        let by_lsn = last_segment_up_to(data_dir, STREAM, self.query.from_lsn)?;
        // What was asked for at a time is in a block that was sealed then or later, but for a clock that is set.
        let from_ns = self.query.from_ns.saturating_sub(CLOCK_MARGIN.as_nanos() as u64);
        let by_time =
            segment_before(data_dir, STREAM, |head| head.sealed_at_ns.to_native() > from_ns)?;
        let tail = segment_start(data_dir, STREAM, by_lsn.max(by_time))?;
        Ok(tail.map(|tail| {
            let cursor = BlockCursor::new(data_dir, STREAM, tail.segment, tail.offset);
            (cursor.in_background(), tail)
        }))
    }
}
