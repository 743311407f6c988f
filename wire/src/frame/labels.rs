//! The fields of LABEL and LABEL_STATE: what became known of a decision after it was made.

use super::layouts::frame;
use super::{
    FixedFrame, FrameKind, Header, HeaderFields, MAX_LABEL_SOURCE_LEN, TRANSACTION_ID_LEN, layout,
};
use crate::document::DOCUMENT_LEN;
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

frame! {
    /// Says what became known of a decision.
    LabelRequest as LabelFrame, Label, 160; {
        /// Id of the transaction.
        id: [u8; TRANSACTION_ID_LEN],
        /// Document of the payer, canonical; zeros where only one payer has that id.
        payer: [u8; DOCUMENT_LEN],
        /// A [`LabelKind`](crate::frame::LabelKind).
        label: u8,
        /// Bytes of `source` in use.
        source_len: u8,
        /// When it became known, nanoseconds since 1970 UTC.
        known_at_ns: u64,
        /// Who says so: printable ASCII; zeros behind it.
        source: [u8; MAX_LABEL_SOURCE_LEN],
        /// 0.
        reserved: [u8; 24],
    }
}

frame! {
    /// The decision that has the label.
    LabelStateReply as LabelStateFrame, LabelState, 64; {
        /// 1 if the request changed anything; 0 if the decision had that label already.
        changed: u8,
        /// Its [`Verdict`](crate::frame::Verdict), which no label alters.
        verdict: u8,
        /// Stream of its record.
        shard: u16,
        /// Its labels, this one included.
        labels: u32,
        /// Sequence number of its record.
        lsn: u64,
        /// When it was made, nanoseconds since 1970 UTC.
        decided_at_ns: u64,
        /// The [`LabelKind`](crate::frame::LabelKind) that counts: of the label that was known last.
        counts: u8,
        /// 0.
        reserved: [u8; 23],
    }
}
