//! Reading the audit trail of a running node.

use super::error::ProtocolError;
use super::exchange::Outcome;
use super::{Client, ClientError, mismatch};
use crate::extension::Audited;
use crate::frame::{AuditEntryHeadFields, AuditFrame, FrameKind, view};
use crate::record::{RECORD_LEN, RecordHead};

/// What is wanted of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditQuery {
    /// The first record of stream 0 that is looked at; 0 for the oldest one kept.
    pub from_lsn: u64,
    /// The last one; 0 for the last that is committed.
    pub to_lsn: u64,
    /// Only what was asked for at this time or later, nanoseconds since 1970 UTC; 0 whenever it was.
    pub from_ns: u64,
}

/// An entry of the trail. It may name a person: personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The record that has it.
    pub head: RecordHead,
    /// Epoch of that.
    pub epoch: u32,
    /// The entry.
    pub audited: Audited,
}

/// Without the transaction, whose documents no log should get.
impl std::fmt::Debug for AuditEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lsn = self.head.lsn.to_native();
        f.debug_struct("AuditEntry").field("lsn", &lsn).finish_non_exhaustive()
    }
}

/// Some entries, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditPage {
    /// The entries, oldest first.
    pub entries: Vec<AuditEntry>,
    /// Entries of a newer version that were passed over.
    pub unreadable: u32,
    /// What to ask for next; `None` when all was told.
    pub next: Option<AuditQuery>,
}

/// A frame of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPiece {
    pub(super) entry: Option<AuditEntry>,
    pub(super) next_lsn: u64,
    pub(super) end_lsn: u64,
    pub(super) unreadable: u32,
}

/// Out of the frame.
///
/// # Errors
/// It is none.
pub(super) fn read(frame: &[u8]) -> Result<AuditPiece, ProtocolError> {
    let wrong =
        || ProtocolError::Length { kind: FrameKind::AuditEntry, length: frame.len() as u32 };
    let (head, record) =
        frame.split_at_checked(size_of::<AuditEntryHeadFields>()).ok_or_else(wrong)?;
    let head: &AuditEntryHeadFields = view(head).ok_or_else(wrong)?;
    if head.record_len.to_native() as usize != record.len() {
        return Err(wrong());
    }
    let entry = match record {
        [] => None,
        record => {
            let (of, extension) = record.split_at_checked(RECORD_LEN).ok_or_else(wrong)?;
            let of: &RecordHead = view(of).ok_or_else(wrong)?;
            if usize::from(of.extension_len.to_native()) != extension.len() {
                return Err(wrong());
            }
            let code = ProtocolError::Code { what: "audit entry", code: of.kind.into() };
            let audited = Audited::read(extension).ok_or(code)?;
            Some(AuditEntry { head: *of, epoch: head.epoch.to_native(), audited })
        }
    };
    Ok(AuditPiece {
        entry,
        next_lsn: head.next_lsn.to_native(),
        end_lsn: head.end_lsn.to_native(),
        unreadable: head.unreadable.to_native(),
    })
}

impl AuditPage {
    /// Of the frames of an answer.
    fn of(pieces: Vec<AuditPiece>, query: &AuditQuery) -> Result<Self, ClientError> {
        let Some(last) = pieces.last() else { return Ok(Self::default()) };
        let (next_lsn, end_lsn, unreadable) = (last.next_lsn, last.end_lsn, last.unreadable);
        let goes_on = next_lsn <= end_lsn;
        // It would be asked for ever, or, taken for the end, what is behind would not be told.
        if goes_on && next_lsn <= query.from_lsn {
            let detail = format!("the node stands still at record {next_lsn} of its log");
            return Err(ClientError::NoAnswer { detail });
        }
        let next = AuditQuery { from_lsn: next_lsn, to_lsn: end_lsn, ..*query };
        Ok(Self {
            entries: pieces.into_iter().filter_map(|piece| piece.entry).collect(),
            unreadable,
            next: goes_on.then_some(next),
        })
    }
}

impl Client {
    /// Some entries of the audit trail, at most [`MAX_AUDIT_ENTRIES`](crate::frame::MAX_AUDIT_ENTRIES), oldest first;
    /// ask again with the page's `next` until there is none. The trail gets an entry of each question.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn audit(&mut self, query: &AuditQuery) -> Result<AuditPage, ClientError> {
        let mut frame = AuditFrame::empty(0);
        frame.from_lsn = query.from_lsn.into();
        frame.to_lsn = query.to_lsn.into();
        frame.from_ns = query.from_ns.into();
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::AuditEntry, true)? {
            Outcome::Audit(pieces) => AuditPage::of(pieces, query),
            other => Err(mismatch(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(next_lsn: u64, end_lsn: u64) -> AuditPiece {
        AuditPiece { entry: None, next_lsn, end_lsn, unreadable: 3 }
    }

    #[test]
    fn a_page_says_where_to_go_on_and_when_all_was_told() {
        let query = AuditQuery { from_ns: 7, ..AuditQuery::default() };
        let of = |pieces, query| AuditPage::of(pieces, query).expect("it goes on");
        let page = of(vec![piece(5, 90), piece(41, 90)], &query);
        let next = AuditQuery { from_lsn: 41, to_lsn: 90, from_ns: 7 };
        assert_eq!((page.next, page.unreadable), (Some(next), 3));
        assert_eq!(of(vec![piece(91, 90)], &next).next, None);
        assert!(AuditPage::of(vec![piece(41, 90)], &next).is_err(), "it stands still");
    }

    #[test]
    fn a_frame_that_says_another_length_is_none() {
        let mut head: AuditEntryHeadFields = bytemuck::Zeroable::zeroed();
        assert!(read(bytemuck::bytes_of(&head)).expect("the end").entry.is_none());
        head.record_len = 1.into();
        assert!(read(bytemuck::bytes_of(&head)).is_err());
        head.record_len = (RECORD_LEN as u32).into();
        let whole = [bytemuck::bytes_of(&head), &[0; RECORD_LEN]].concat();
        assert!(read(&whole).is_err(), "a record without an entry");
        assert!(read(&[0; 3]).is_err());
    }
}
