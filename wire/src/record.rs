//! The record: what the log keeps of a decision, or of a change to what decisions depend on.
//!
//! A head of 256 bytes, and behind it a bounded extension for what a decision saw beyond the fixed
//! fields. LOG.md gives the offsets.

use crate::document::DocumentKey;
use crate::frame::{
    IntoWire, Scope, Submitter, Transaction, TransactionFields, layout, wire_codes,
};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Length of a record's head, bytes.
pub const RECORD_LEN: usize = 256;
/// Longest extension of a record, bytes. Bounds what one decision can take of a block.
pub const MAX_EXTENSION_LEN: usize = 4096;
/// Extensions have a multiple of this length, bytes, so that heads behind them stay aligned.
pub const EXTENSION_ALIGN: usize = 8;
/// Version of the record's layout.
pub const RECORD_VERSION: u8 = 1;

wire_codes! {
    /// What a record tells.
    RecordKind: u8 {
        /// A decision on a transaction.
        Decision = 1 => "decision",
        /// A document listed, unlisted or allowed in the overlay.
        OverlayChange = 2 => "overlay_change",
        /// A blacklist snapshot taken into use.
        SnapshotLoaded = 3 => "snapshot_loaded",
        /// A part of a policy's text.
        PolicyText = 4 => "policy_text",
        /// The policy whose text lies before it, taken into use.
        PolicyActivated = 5 => "policy_activated",
        /// What became known of a decision after it was made.
        Label = 6 => "label",
        /// A change of a named list, or of exemptions from a rule.
        ListChange = 7 => "list_change",
        /// What a person says of a validator's circuit breaker.
        ValidatorForced = 8 => "validator_forced",
        /// What was asked for and changed nothing: access to personal data, and refusals.
        Audit = 9 => "audit",
    }
}

wire_codes! {
    /// Why a decision is what it is: the first thing that settled it.
    Reason: u8 {
        /// Nothing spoke against it.
        Clear = 0 => "clear",
        /// The payer is listed.
        PayerListed = 1 => "payer_listed",
        /// The payee is listed.
        PayeeListed = 2 => "payee_listed",
        /// Both are listed.
        BothListed = 3 => "both_listed",
        /// A party is listed, and allowed all the same; nothing else spoke against it.
        Allowed = 4 => "allowed",
        /// A rule of the policy decided it.
        Rule = 5 => "rule",
        /// The score decided it.
        Score = 6 => "score",
    }
}

layout! {
    /// The head of a record.
    Record as RecordHead, 256; {
        /// A [`RecordKind`].
        kind: u8,
        /// [`RECORD_VERSION`].
        version: u8,
        /// Bytes of extension that follow the head; a multiple of [`EXTENSION_ALIGN`], at most
        /// [`MAX_EXTENSION_LEN`].
        extension_len: u16,
        /// A [`crate::frame::Verdict`]; for an overlay change 1 listed, 0 unlisted, 2 allowed.
        verdict: u8,
        /// The verdict's flags, never [`crate::frame::VERDICT_DUPLICATE`]; for an overlay change a
        /// [`Scope`].
        flags: u8,
        /// Risk score, 0 to 1000.
        score: u16,
        /// A [`Reason`].
        reason: u8,
        /// [`crate::frame::ListSource`] of the payer's entry; 0 not listed.
        payer_source: u8,
        /// [`crate::frame::ListSource`] of the payee's entry; 0 not listed.
        payee_source: u8,
        /// 0.
        reserved_a: u8,
        /// Version of the policy that decided, or that is taken into use.
        policy_version: u32,
        /// Log sequence number in the stream, from 1 without gaps.
        lsn: u64,
        /// Wall clock of the decision, nanoseconds since 1970 UTC.
        decided_at_ns: u64,
        /// Id of the blacklist snapshot that was seen, or that was loaded; 0 none.
        snapshot_id: u64,
        /// Sequence number of the overlay that was seen, or of this change.
        overlay_sequence: u64,
        /// One bit for each rule that matched.
        matched_rules: u64,
        /// The local day on which the lists were judged, in days since 1970-01-01; 0 in records of
        /// before there was such a day. For an overlay change that allows its last day, else 0.
        list_day: u16,
        /// Changes of named lists and exemptions that the decision saw; else 0.
        list_sequence: u64,
        /// Whose transaction it is, in a decision; else zeros.
        submitter: Submitter,
        /// The transaction, as it was submitted; zeros but for the payer's field in an overlay
        /// change, which holds the document, and for id and payer in a label.
        transaction: Transaction,
    }
}

const _: () = assert!(size_of::<TransactionFields>() + 84 == RECORD_LEN);

/// What a change does to whom it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayOp {
    /// Takes earlier listings back.
    Unlist,
    /// Lists.
    List,
    /// Outranks earlier listings and every snapshot.
    Allow {
        /// Through this day, in days since 1970-01-01.
        until_day: u16,
    },
}

impl OverlayOp {
    /// Its name in print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unlist => "unlisted",
            Self::List => "listed",
            Self::Allow { .. } => "allowed",
        }
    }
}

/// A change to the overlay, out of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayChange {
    /// The document that it names.
    pub document: DocumentKey,
    /// How far it reaches.
    pub scope: Scope,
    /// What it does.
    pub op: OverlayOp,
    /// Its number; they run from 1 without gaps over the life of a data directory.
    pub sequence: u64,
}

impl OverlayChange {
    /// The record that keeps it; the journal fills in the sequence number.
    pub fn to_record(&self, decided_at_ns: u64) -> RecordHead {
        let mut head = RecordHead::zeroed();
        head.kind = RecordKind::OverlayChange.to_wire();
        head.version = RECORD_VERSION;
        (head.verdict, head.list_day) = match self.op {
            OverlayOp::Unlist => (0, 0.into()),
            OverlayOp::List => (1, 0.into()),
            OverlayOp::Allow { until_day } => (2, until_day.into()),
        };
        head.flags = self.scope.to_wire();
        head.decided_at_ns = decided_at_ns.into_wire();
        head.overlay_sequence = self.sequence.into_wire();
        head.transaction.payer = self.document.to_wire();
        head
    }

    /// Out of a record; `None` if it is none, or tells nonsense.
    pub fn from_record(head: &RecordHead) -> Option<Self> {
        (head.kind == RecordKind::OverlayChange.to_wire()).then_some(())?;
        Some(Self {
            document: DocumentKey::from_wire(&head.transaction.payer).ok()?,
            scope: Scope::from_wire(head.flags)?,
            op: match head.verdict {
                0 => OverlayOp::Unlist,
                1 => OverlayOp::List,
                2 => OverlayOp::Allow { until_day: head.list_day.to_native() },
                _ => return None,
            },
            sequence: head.overlay_sequence.to_native(),
        })
    }
}

/// The version of the blacklist that VERDICT carries: the high 40 bits of the snapshot's id, the
/// low 24 of the overlay's sequence.
#[inline]
pub const fn blacklist_version(snapshot_id: u64, overlay_sequence: u64) -> u64 {
    (snapshot_id & !0xff_ffff) | (overlay_sequence & 0xff_ffff)
}
