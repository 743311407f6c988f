//! The fields of AUDIT and AUDIT_ENTRY: reading the audit trail of a running node.

use super::layouts::frame;
use super::{FixedFrame, FrameKind, Header, HeaderFields, layout};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Entries that one answer has at most.
pub const MAX_AUDIT_ENTRIES: usize = 128;

frame! {
    /// Asks for entries of the audit trail, oldest first.
    AuditRequest as AuditFrame, Audit, 64; {
        /// The first record of stream 0 that is looked at; 0 for the oldest one kept.
        from_lsn: u64,
        /// The last one; 0 for the last that is committed.
        to_lsn: u64,
        /// Only what was asked for at this time or later, nanoseconds since 1970 UTC; 0 whenever it was.
        from_ns: u64,
        /// 0.
        reserved: [u8; 24],
    }
}

layout! {
    /// One entry, or the end of an answer: behind it the record that has the entry, head and extension.
    AuditEntryHead as AuditEntryHeadFields, 48; {
        /// Header of the frame; [`FLAG_MORE`](crate::frame::FLAG_MORE) when another one follows.
        header: Header,
        /// Where to go on: the `from_lsn` of the next AUDIT.
        next_lsn: u64,
        /// The `to_lsn` of the next AUDIT: nothing behind it is part of this reading.
        end_lsn: u64,
        /// Epoch of the record.
        epoch: u32,
        /// Entries of a newer version that this answer has passed over; the same in each of its frames.
        unreadable: u32,
        /// Bytes of the record; 0 in the frame that ends an answer.
        record_len: u32,
        /// 0.
        reserved: u32,
    }
}
