//! Every frame's fields, read side by side with the layouts of PROTOCOL.md.

use super::{ErrorCode, FLAG_CLOSING, FixedFrame, FrameKind};
use super::{
    Header, HeaderFields, IntoWire, MAX_ADDRESS_LEN, MAX_CLIENT_NAME_LEN, MAX_CREDENTIAL_LEN,
    MAX_DETAIL_LEN, MAX_PATH_LEN, TRANSACTION_ID_LEN, layout,
};
use crate::document::DOCUMENT_LEN;
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// A [`layout!`] that begins with a header and is sent alone.
macro_rules! frame {
    ($(#[$meta:meta])* $name:ident as $bytes:ident, $kind:ident, $len:expr; { $($(#[$fmeta:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        layout! {
            $(#[$meta])*
            $name as $bytes, $len; {
                /// Length, kind, version, flags, correlation.
                header: Header,
                $($(#[$fmeta])* $field: $type),+
            }
        }

        impl FixedFrame for $bytes {
            const KIND: FrameKind = FrameKind::$kind;
            fn header(&self) -> &HeaderFields { &self.header }
        }

        impl $bytes {
            /// All zeros but for the header: fill in the fields and send it.
            #[inline]
            pub fn empty(correlation: u64) -> Self {
                Self { header: HeaderFields::new(FrameKind::$kind, $len, 0, correlation), ..Self::zeroed() }
            }
        }
    };
}

pub(super) use frame;

frame! {
    /// A client's first frame.
    Hello as HelloFrame, Hello, 128; {
        /// Lowest protocol version that the client speaks.
        version_min: u8,
        /// Highest protocol version that the client speaks.
        version_max: u8,
        /// Bytes of `credential` in use.
        credential_len: u8,
        /// Bytes of `client_name` in use.
        client_name_len: u8,
        /// How many unanswered frames the client would like to have; 0 leaves it to the server.
        in_flight: u32,
        /// Token that the operator gave the client; empty where the server asks for none.
        credential: [u8; MAX_CREDENTIAL_LEN],
        /// UTF-8 name of the client's program; the server checks its form and does not use it.
        client_name: [u8; MAX_CLIENT_NAME_LEN],
    }
}

frame! {
    /// The server's answer to HELLO.
    Welcome as WelcomeFrame, Welcome, 128; {
        /// The protocol version chosen.
        version: u8,
        /// A [`Role`](crate::frame::Role).
        role: u8,
        /// A [`Durability`](crate::frame::Durability).
        durability: u8,
        /// 0.
        reserved_a: u8,
        /// Epoch in which the node decides.
        epoch: u32,
        /// Identity of the node.
        node_id: [u8; 16],
        /// Identity of the cluster.
        cluster_id: [u8; 16],
        /// Shards of the node.
        shards: u16,
        /// 0.
        reserved_b: u16,
        /// Largest frame that the server takes, bytes.
        max_frame: u32,
        /// Unanswered frames that this connection may have.
        in_flight: u32,
        /// Where the primary is, as ASCII `host:port`, zero-filled; zeros where unknown or where
        /// this is it.
        primary: [u8; MAX_ADDRESS_LEN],
        /// 0.
        reserved_c: [u8; 12],
    }
}

layout! {
    /// What a client says of a transaction: the part of SUBMIT that the record keeps.
    Transaction as TransactionFields, 172; {
        /// Printable ASCII without spaces, left-aligned, zero-filled: a Pix EndToEndId, a UUID in
        /// hex, or the caller's own.
        id: [u8; TRANSACTION_ID_LEN],
        /// Document of the payer, canonical.
        payer: [u8; DOCUMENT_LEN],
        /// Document of the payee, canonical.
        payee: [u8; DOCUMENT_LEN],
        /// Amount, centavos; above 0.
        amount_centavos: i64,
        /// When it happened, nanoseconds since 1970 UTC.
        event_time_ns: u64,
        /// Time for the answer from the frame's arrival, microseconds; 0 means [`MAX_BUDGET_US`](crate::frame::MAX_BUDGET_US),
        /// which is also the most.
        budget_us: u32,
        /// Payment arrangement: 1 Pix, 2 TED, 3 boleto, 4 card, 0 other.
        rail: u8,
        /// Where it was started: 1 app, 2 web, 3 API, 4 branch, 5 ATM, 0 other.
        channel: u8,
        /// Bits that policies read; meaning is the caller's.
        flags: u16,
        /// Keyed hash of the payer's account; 0 unknown.
        payer_account: u64,
        /// Keyed hash of the payee's account; 0 unknown.
        payee_account: u64,
        /// Keyed hash of the Pix key; zeros unknown.
        pix_key: [u8; 16],
        /// Keyed hash of the device; 0 unknown.
        device: u64,
        /// IPv6 address, or IPv4 mapped into it; zeros unknown.
        ip: [u8; 16],
        /// ISPB of the payer's institution, 8 ASCII characters; zeros unknown.
        payer_ispb: [u8; 8],
        /// ISPB of the payee's institution, 8 ASCII characters; zeros unknown.
        payee_ispb: [u8; 8],
        /// W3C trace id, kept for tracing only; no part of what makes two transactions the same.
        trace_id: [u8; 16],
    }
}

impl IntoWire for Transaction {
    type Wire = TransactionFields;
    fn into_wire(self) -> TransactionFields {
        TransactionFields::from(&self)
    }
    fn from_wire(wire: TransactionFields) -> Self {
        Self::from(&wire)
    }
}

frame! {
    /// A transaction to decide on.
    Submit as SubmitFrame, Submit, 192; {
        /// The transaction.
        transaction: Transaction,
        /// 0.
        reserved: u32,
    }
}

layout! {
    /// The decision, as VERDICT carries it behind the header.
    Answer as AnswerFields, 48; {
        /// A [`Verdict`](crate::frame::Verdict).
        verdict: u8,
        /// [`VERDICT_DUPLICATE`](crate::frame::VERDICT_DUPLICATE), [`VERDICT_DEGRADED`](crate::frame::VERDICT_DEGRADED), [`VERDICT_SHADOW_DISAGREES`](crate::frame::VERDICT_SHADOW_DISAGREES).
        flags: u8,
        /// Risk score, 0 to 1000.
        score: u16,
        /// Version of the policy that decided.
        policy_version: u32,
        /// Version of the blacklist that was seen: the high 40 bits of the snapshot's id, the low
        /// 24 of the overlay's sequence.
        blacklist_version: u64,
        /// One bit for each rule that matched; bit 0 is the listed payer, bit 1 the listed payee.
        matched_rules: u64,
        /// Log stream that holds the record.
        shard: u16,
        /// Epoch of the record.
        epoch: u32,
        /// Log sequence number of the record in its stream.
        lsn: u64,
        /// First 8 bytes of the chain value of the record's block.
        receipt: u64,
        /// A [`Reason`](crate::record::Reason).
        reason: u8,
        /// 0.
        reserved: u8,
    }
}

impl IntoWire for Answer {
    type Wire = AnswerFields;
    fn into_wire(self) -> AnswerFields {
        AnswerFields::from(&self)
    }
    fn from_wire(wire: AnswerFields) -> Self {
        Self::from(&wire)
    }
}

frame! {
    /// The decision on a SUBMIT.
    VerdictReply as VerdictFrame, Verdict, 64; {
        /// The decision.
        answer: Answer,
    }
}

frame! {
    /// Asks for the stored decision on a transaction.
    Lookup as LookupFrame, Lookup, 64; {
        /// The transaction's id.
        id: [u8; TRANSACTION_ID_LEN],
        /// Document of the payer, where ids may repeat between payers; zeros for any.
        payer: [u8; DOCUMENT_LEN],
        /// 1 to be told what became known of it, too; else 0.
        labels: u8,
        /// 0.
        reserved: u8,
    }
}

layout! {
    /// What RECORD says of the block that a record lies in; the record itself (and its extension)
    /// follows.
    RecordPlace as RecordPlaceFields, 64; {
        /// Header of the frame; its length counts the record and its extension.
        /// [`FLAG_MORE`](crate::frame::FLAG_MORE) when a record of a label follows.
        header: Header,
        /// Epoch of the block.
        epoch: u32,
        /// Log stream.
        shard: u16,
        /// Bytes of extension behind the record's head.
        extension_len: u16,
        /// Segment of the stream.
        segment: u32,
        /// Where in the segment the block begins, bytes.
        block_offset: u32,
        /// Chain value of the block.
        chain: [u8; 32],
    }
}

frame! {
    /// Changes or describes the blacklist of the running node.
    BlacklistChange as BlacklistFrame, Blacklist, 320; {
        /// A [`BlacklistOp`](crate::frame::BlacklistOp).
        op: u8,
        /// A [`Scope`](crate::frame::Scope), for add, remove and allow; else 0.
        scope: u8,
        /// Document, for add, remove and allow; else zeros.
        document: [u8; DOCUMENT_LEN],
        /// 1: load although the list loses more entries than the server allows; else 0.
        force: u8,
        /// 0.
        reserved_a: u8,
        /// Bytes of `path` in use.
        path_len: u16,
        /// UTF-8 path on the server's machine, for load; else zeros.
        path: [u8; MAX_PATH_LEN],
        /// Last day of an allowance, in days since 1970-01-01, for allow; else 0.
        until_day: u16,
        /// 0.
        reserved_b: [u8; 26],
    }
}

frame! {
    /// The blacklist in use, after what was asked for.
    BlacklistStateReply as BlacklistStateFrame, BlacklistState, 64; {
        /// Id of the snapshot: the first 8 bytes of its content hash; 0 without one.
        snapshot_id: u64,
        /// Entries in the snapshot.
        snapshot_entries: u64,
        /// Sequence number of the overlay's last change.
        overlay_sequence: u64,
        /// Entries in the overlay.
        overlay_entries: u32,
        /// 1 if the request changed anything.
        changed: u8,
        /// 0.
        reserved: [u8; 3],
        /// When the snapshot was built, nanoseconds since 1970 UTC; 0 without one.
        snapshot_built_ns: u64,
        /// 0.
        reserved_b: u64,
    }
}

frame! {
    /// Changes or describes the policy of the running node.
    PolicyChange as PolicyFrame, Policy, 320; {
        /// A [`PolicyOp`](crate::frame::PolicyOp).
        op: u8,
        /// 0.
        reserved_a: u8,
        /// Bytes of `path` in use.
        path_len: u16,
        /// UTF-8 path on the server's machine, for activate and candidate; else zeros.
        path: [u8; MAX_PATH_LEN],
        /// What names the policy to be taken into use or tried: BLAKE3 of its text, for activate and
        /// candidate; what names the policy that is in force, for rollback; else zeros.
        policy_id: [u8; 32],
        /// Payments decided from then on are not looked at, nanoseconds since 1970 UTC, for candidate; else
        /// 0.
        until_ns: u64,
        /// 0.
        reserved_b: [u8; 4],
    }
}

frame! {
    /// The policy in force, after what was asked for.
    PolicyStateReply as PolicyStateFrame, PolicyState, 128; {
        /// Version that decisions record: counts how often a policy was taken into use; 0 none ever was.
        version: u32,
        /// 1 if the request changed anything.
        changed: u8,
        /// 1 while a policy waits for the approval of a client other than the one that asked for it.
        waits_for_approval: u8,
        /// 0.
        reserved_a: [u8; 2],
        /// BLAKE3 of its text; zeros without one.
        policy_id: [u8; 32],
        /// When it was taken into use, nanoseconds since 1970 UTC; 0 without one.
        activated_at_ns: u64,
        /// Number of its rules.
        rules: u32,
        /// Length of its text, bytes.
        text_len: u32,
        /// Version of the policy that a rollback takes into use again; 0 none.
        previous_version: u32,
        /// 0.
        reserved_b: [u8; 4],
        /// BLAKE3 of that one's text; zeros without one.
        previous_policy_id: [u8; 32],
        /// The first bytes of what names the policy that waits for approval; zeros where none does.
        waiting_policy: [u8; 16],
    }
}

frame! {
    /// Asks for the latency histograms.
    StatsRequest as StatsFrame, Stats, 24; {
        /// A shard, or [`ALL_SHARDS`](crate::frame::ALL_SHARDS).
        shard: u16,
        /// 0.
        reserved: [u8; 6],
    }
}

layout! {
    /// One histogram; the HdrHistogram V2 encoding, DEFLATE-compressed, follows. Values are
    /// nanoseconds.
    HistogramHead as HistogramHeadFields, 32; {
        /// Header of the frame; [`FLAG_MORE`](crate::frame::FLAG_MORE) when another histogram follows.
        header: Header,
        /// A [`Stage`](crate::frame::Stage).
        stage: u8,
        /// 0.
        reserved: [u8; 3],
        /// Bytes of the encoding.
        encoded_len: u32,
        /// Uptime of the node, nanoseconds: what the histogram covers.
        uptime_ns: u64,
    }
}

frame! {
    /// Is anybody there?
    Ping as PingFrame, Ping, 24; {
        /// 0.
        reserved: u64,
    }
}

frame! {
    /// Yes.
    Pong as PongFrame, Pong, 24; {
        /// The server's wall clock, nanoseconds since 1970 UTC.
        server_time_ns: u64,
    }
}

frame! {
    /// Why a request was refused.
    ErrorReply as ErrorFrame, Error, 152; {
        /// An [`ErrorCode`].
        code: u16,
        /// Bytes of `detail` in use.
        detail_len: u16,
        /// When to try again, milliseconds; 0 where that makes no sense.
        retry_after_ms: u32,
        /// UTF-8 text for a person.
        detail: [u8; MAX_DETAIL_LEN],
    }
}

impl ErrorFrame {
    /// An ERROR; a detail over [`MAX_DETAIL_LEN`] bytes is cut at a character.
    pub fn new(
        correlation: u64,
        code: ErrorCode,
        retry_after_ms: u32,
        closing: bool,
        detail: &str,
    ) -> Self {
        let mut len = detail.len().min(MAX_DETAIL_LEN);
        while !detail.is_char_boundary(len) {
            len -= 1;
        }
        let mut frame = Self::empty(correlation);
        frame.header.flags = (if closing { FLAG_CLOSING } else { 0 }).into_wire();
        frame.code = code.to_wire().into_wire();
        frame.detail_len = (len as u16).into_wire();
        frame.retry_after_ms = retry_after_ms.into_wire();
        frame.detail[..len].copy_from_slice(&detail.as_bytes()[..len]);
        frame
    }

    /// The text, with anything that is not UTF-8 replaced.
    pub fn detail_text(&self) -> String {
        let len = usize::from(self.detail_len.to_native()).min(MAX_DETAIL_LEN);
        String::from_utf8_lossy(&self.detail[..len]).into_owned()
    }
}

frame! {
    /// Describes or changes who decides.
    ClusterRequest as ClusterFrame, Cluster, 24; {
        /// A [`ClusterOp`](crate::frame::ClusterOp).
        op: u8,
        /// 1: carry it out although the node can't know that it is safe; else 0.
        force: u8,
        /// 0.
        reserved: [u8; 6],
    }
}

frame! {
    /// The node's part in its cluster, after what was asked for.
    ClusterStateReply as ClusterStateFrame, ClusterState, 256; {
        /// A [`Role`](crate::frame::Role).
        role: u8,
        /// A [`Durability`](crate::frame::Durability).
        durability: u8,
        /// 1: the standby holds everything that was ever answered; on a standby: it may be promoted
        /// without loss.
        in_sync: u8,
        /// 1: the other node is connected now.
        connected: u8,
        /// Epoch in which the node decides, or follows.
        epoch: u32,
        /// Identity of the node.
        node_id: [u8; 16],
        /// Identity of the cluster.
        cluster_id: [u8; 16],
        /// Identity of the other node; zeros where none is known.
        peer_node_id: [u8; 16],
        /// Records that the standby lacks, as far as this node knows.
        behind_records: u64,
        /// The same in bytes of the log.
        behind_bytes: u64,
        /// Since the other node was last heard, milliseconds; [`NEVER_HEARD`](crate::frame::NEVER_HEARD) where it never was.
        silence_ms: u64,
        /// Where clients reach the primary, as ASCII `host:port`, zero-filled; zeros where unknown
        /// or where this is it.
        primary: [u8; MAX_ADDRESS_LEN],
        /// Where the other node replicates, as ASCII `host:port`, zero-filled; zeros where none is
        /// configured.
        peer: [u8; MAX_ADDRESS_LEN],
        /// 0.
        reserved: [u8; 64],
    }
}
