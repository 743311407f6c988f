//! The labels of a log, read in one piece, and what became of the decisions that they are about.

use crate::log_files::lookup::StoredLabel;
use crate::log_files::read::StreamRead;
use crate::log_files::{LogError, LogReader};
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::TRANSACTION_ID_LEN;
use catraca_wire::record::{RecordHead, RecordKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Most labels of a log that are held at once: they take some 160 bytes each, in a replay twice that, and an
/// institution that gets a thousand a day gets so many in three years.
pub const MAX_LABELS: usize = 1 << 20;

/// Stream that has the labels.
const LABELS_SHARD: u16 = 0;

/// The labels of a log.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    /// In the order of the log.
    pub kept: Vec<StoredLabel>,
    /// Labels past the [`MAX_LABELS`] first.
    pub not_kept: u64,
    /// Records of labels that this build can't read.
    pub unreadable: u64,
}

/// What was decided on a labelled transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled {
    /// The verdict, as its code.
    pub verdict: u8,
    /// When, nanoseconds since 1970 UTC.
    pub decided_at_ns: u64,
    id: [u8; TRANSACTION_ID_LEN],
    payer: [u8; DOCUMENT_LEN],
}

/// Decisions that labels name, by stream and sequence number.
#[derive(Debug, Clone, Default)]
pub struct Decisions(BTreeMap<(u16, u64), Labelled>);

impl Decisions {
    /// What a label is about; `None` where that is not in the log. Another decision may have its place, where
    /// it was lost.
    pub fn of(&self, label: &StoredLabel) -> Option<&Labelled> {
        let found = self.0.get(&(label.label.shard, label.label.lsn))?;
        ((found.id, found.payer) == (label.id, label.payer)).then_some(found)
    }
}

impl Labels {
    /// The labels of a log that are wanted.
    ///
    /// # Errors
    /// [`LogError`]; what lies behind damage is not known.
    pub fn read(
        log: &LogReader,
        wanted: impl Fn(&StoredLabel) -> bool,
    ) -> Result<(Self, Option<StreamRead>), LogError> {
        let mut labels = Self::default();
        if !log.shards().contains(&LABELS_SHARD) {
            return Ok((labels, None));
        }
        let read = log.records(LABELS_SHARD, |head, extension, _| {
            labels.take(head, extension, &wanted);
            ControlFlow::Continue(())
        })?;
        Ok((labels, Some(read)))
    }

    /// Takes the next record, if it is a label that is wanted.
    pub fn take(
        &mut self,
        head: &RecordHead,
        extension: &[u8],
        wanted: impl Fn(&StoredLabel) -> bool,
    ) {
        if head.kind != RecordKind::Label.to_wire() {
            return;
        }
        match StoredLabel::from_record(head, extension) {
            None => self.unreadable += 1,
            Some(label) if !wanted(&label) => {}
            Some(label) if self.kept.len() < MAX_LABELS => self.kept.push(label),
            Some(_) => self.not_kept += 1,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.kept.len() as u64 + self.not_kept + self.unreadable
    }

    /// What was decided on the transactions.
    ///
    /// # Errors
    /// [`LogError`]; what lies behind damage is not known.
    pub fn decisions(&self, log: &LogReader) -> Result<Decisions, LogError> {
        let of = |label: &StoredLabel| (label.label.shard, label.label.lsn);
        let wanted: BTreeSet<_> = self.kept.iter().map(of).collect();
        let mut found = Decisions::default();
        for &shard in log.shards() {
            let of_stream = wanted.range((shard, 0)..=(shard, u64::MAX));
            let Some(&(_, last)) = of_stream.last() else { continue };
            log.records(shard, |head, _, _| {
                let place = (shard, head.lsn.to_native());
                if head.kind == RecordKind::Decision.to_wire() && wanted.contains(&place) {
                    let labelled = Labelled {
                        verdict: head.verdict,
                        decided_at_ns: head.decided_at_ns.to_native(),
                        id: head.transaction.id,
                        payer: head.transaction.payer,
                    };
                    found.0.insert(place, labelled);
                }
                if place.1 < last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(found)
    }
}
