//! Cutting a stream's oldest segments off: what they amount to goes into the [`LogStart`] that takes
//! their place. A checkpoint is made likewise, and nothing is cut off. Knows no I/O.

use crate::log::Tail;
use crate::log::index::SegmentSummary;
use crate::log::start::LogStart;
use crate::rebuild::{ChangesFault, LoggedChanges};
use catraca_wire::record::RecordHead;
use std::ops::RangeInclusive;

/// A cutting under way: takes the segments in order.
#[derive(Debug)]
pub struct CutOff {
    start: LogStart,
    changes: LoggedChanges,
}

impl CutOff {
    /// Of a stream that begins here so far.
    pub fn new(start: LogStart) -> Self {
        let mut changes = LoggedChanges::default();
        changes.begin(&start);
        Self { start, changes }
    }

    /// Takes a record of the next segment that is no decision.
    pub fn change(&mut self, head: &RecordHead, extension: &[u8]) {
        self.changes.take(head, extension);
    }

    /// The next segment is at its end: this is its index.
    ///
    /// # Panics
    /// When it is not the one behind the last.
    pub fn segment(&mut self, index: &SegmentSummary) {
        let (_, behind) = index.last_block();
        let (first_lsn, _) = index.lsns();
        assert_eq!(
            (behind.segment, first_lsn),
            (self.start.tail.segment, self.start.tail.next_lsn),
            "segments are cut off one behind the other"
        );
        self.start.tail =
            Tail { segment: behind.segment + 1, offset: Tail::START.offset, ..behind };
        self.start.payers = joined(&self.start.payers, &index.payers());
        self.start.newest_event_ns = self.start.newest_event_ns.max(index.newest_event_ns());
    }

    /// What the segments taken amount to for a start that need not read them for their changes: nothing
    /// of them is forgotten.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn checkpoint(self, now_ns: u64) -> Result<LogStart, ChangesFault> {
        let LogStart { newest_event_ns, payers, .. } = LogStart::of_whole_stream();
        Ok(LogStart { newest_event_ns, payers, ..self.finish(now_ns)? })
    }

    /// Where the stream begins now.
    ///
    /// # Errors
    /// When a change can't be read, or more than fit: without it somebody listed could be free.
    pub fn finish(self, now_ns: u64) -> Result<LogStart, ChangesFault> {
        Ok(LogStart {
            cut_at_ns: now_ns,
            snapshot_id: self.changes.loaded(),
            changes: self.changes.overlay()?.changes(),
            policy: self.changes.policy()?.cloned(),
            previous_policy: self.changes.previous_policy().cloned(),
            coming_policy: self.changes.coming_policy().cloned(),
            named: self.changes.named()?.clone(),
            ..self.start
        })
    }
}

/// The shortest range that has both.
fn joined(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> RangeInclusive<u64> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => *a.start().min(b.start())..=*a.end().max(b.end()),
    }
}
