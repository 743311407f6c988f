//! The frames of the client protocol, each a fixed layout of little-endian fields without padding.
//!
//! A struct is the native form, for building and printing; the struct whose name ends in `Frame` or `Fields` is the same thing as
//! bytes (rkyv's archived form): read in place from a socket buffer with [`view`], sent with [`bytemuck::bytes_of`]. PROTOCOL.md
//! gives every offset; the assertions at the end of this file and the golden vectors hold both to it.

use crate::document::DOCUMENT_LEN;
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// The protocol version this build speaks. A server answers a HELLO whose range holds it.
pub const PROTOCOL_VERSION: u8 = 1;
/// Length of the header that every frame begins with.
pub const HEADER_LEN: usize = 16;
/// The largest frame a client may send, bytes. Larger lengths are refused before anything is read.
pub const MAX_REQUEST_LEN: usize = 512;
/// The largest frame a server sends, bytes: a histogram of STATS is the only one near it.
pub const MAX_REPLY_LEN: usize = 256 * 1024;
/// Longest transaction id, bytes.
pub const TRANSACTION_ID_LEN: usize = 32;
/// Longest UTF-8 text of an ERROR, bytes.
pub const MAX_DETAIL_LEN: usize = 128;
/// Longest credential, bytes.
pub const MAX_CREDENTIAL_LEN: usize = 64;
/// Longest name a client gives itself, bytes.
pub const MAX_CLIENT_NAME_LEN: usize = 40;
/// Longest path of a BLACKLIST load, bytes.
pub const MAX_PATH_LEN: usize = 256;
/// The promise to the caller: the largest budget, and the default where a SUBMIT says 0, microseconds.
pub const MAX_BUDGET_US: u32 = 2_000_000;
/// In STATS: all shards together.
pub const ALL_SHARDS: u16 = u16::MAX;

/// A set of constants of one wire byte or word, with the way back from a number.
macro_rules! wire_codes {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name { $($(#[$vmeta])* $variant = $value),+ }

        impl $name {
            /// All of them, in order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// From the number on the wire.
            pub const fn from_wire(code: $repr) -> Option<Self> {
                match code { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// The number on the wire.
            pub const fn to_wire(self) -> $repr { self as $repr }

            /// The name in print, in JSON and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.name()) }
        }
    };
}
pub(crate) use wire_codes;

wire_codes! {
    /// What a frame is: byte 4 of its header.
    FrameKind: u8 {
        /// Client's first frame.
        Hello = 1 => "HELLO",
        /// The server's answer to HELLO.
        Welcome = 2 => "WELCOME",
        /// A transaction to decide on.
        Submit = 3 => "SUBMIT",
        /// The decision.
        Verdict = 4 => "VERDICT",
        /// Asks for a stored decision.
        Lookup = 5 => "LOOKUP",
        /// A stored decision.
        Record = 6 => "RECORD",
        /// Changes or describes the blacklist.
        Blacklist = 7 => "BLACKLIST",
        /// The state of the blacklist after a BLACKLIST.
        BlacklistState = 8 => "BLACKLIST_STATE",
        /// Asks for latency histograms.
        Stats = 9 => "STATS",
        /// One histogram.
        Histogram = 10 => "HISTOGRAM",
        /// Is anybody there?
        Ping = 11 => "PING",
        /// Yes.
        Pong = 12 => "PONG",
        /// The request failed, or the connection will be closed.
        Error = 13 => "ERROR",
    }
}

wire_codes! {
    /// Why a request was refused. PROTOCOL.md says for each what to do next.
    ErrorCode: u16 {
        /// The frame breaks the protocol: its length, kind, flags or reserved bytes.
        BadFrame = 1 => "BAD_FRAME",
        /// Payer or payee is no valid CPF or CNPJ in canonical form.
        BadDocument = 2 => "BAD_DOCUMENT",
        /// A field has a value that it can't have.
        BadField = 3 => "BAD_FIELD",
        /// No protocol version in common.
        UnsupportedVersion = 4 => "UNSUPPORTED_VERSION",
        /// The credential is missing or unknown.
        Unauthenticated = 5 => "UNAUTHENTICATED",
        /// The credential does not allow this operation.
        Forbidden = 6 => "FORBIDDEN",
        /// This node does not decide now; the detail says who does, where it is known.
        NotPrimary = 7 => "NOT_PRIMARY",
        /// A bounded queue is full. Nothing was recorded; try again after `retry_after_ms`.
        Overloaded = 8 => "OVERLOADED",
        /// The budget ran out before a decision; nothing was recorded.
        Deadline = 9 => "DEADLINE",
        /// The budget ran out before the record was known to be safe: it may be recorded. Send it again.
        Unconfirmed = 10 => "UNCONFIRMED",
        /// The same payer and id came before with other content.
        IdReused = 11 => "ID_REUSED",
        /// This client sends more than it may.
        RateLimited = 12 => "RATE_LIMITED",
        /// The disk is nearly full; nothing was recorded.
        DiskFull = 13 => "DISK_FULL",
        /// The node is stopping; nothing was recorded.
        ShuttingDown = 14 => "SHUTTING_DOWN",
        /// No stored decision has that id.
        NotFound = 15 => "NOT_FOUND",
        /// The operation failed on the server for the reason in the detail; nothing changed.
        Failed = 16 => "FAILED",
    }
}

wire_codes! {
    /// What was decided.
    Verdict: u8 {
        /// Go ahead.
        Approve = 1 => "approve",
        /// A person should look at it.
        Review = 2 => "review",
        /// Refuse.
        Deny = 3 => "deny",
    }
}

wire_codes! {
    /// What the node is to its cluster.
    Role: u8 {
        /// Decides.
        Primary = 1 => "primary",
        /// Follows a primary; answers LOOKUP and STATS only.
        Standby = 2 => "standby",
    }
}

wire_codes! {
    /// Where an answered decision is safe.
    Durability: u8 {
        /// On this node's disk; there is no standby.
        Single = 1 => "single",
        /// On this node's disk and the standby's.
        Sync = 2 => "sync",
        /// On this node's disk only, although there should be a standby: a recorded decision of the operator.
        Solo = 3 => "solo",
    }
}

wire_codes! {
    /// What a BLACKLIST frame asks for.
    BlacklistOp: u8 {
        /// List a document.
        Add = 1 => "add",
        /// Unlist a document: it no longer hits, whatever the snapshot says.
        Remove = 2 => "remove",
        /// Take a snapshot file on the server's machine into use.
        Load = 3 => "load",
        /// Only tell the state.
        Describe = 4 => "describe",
    }
}

wire_codes! {
    /// How far a listed CNPJ reaches.
    Scope: u8 {
        /// This document.
        Exact = 1 => "exact",
        /// Every branch of the company.
        Root = 2 => "root",
    }
}

wire_codes! {
    /// Which list an entry comes from.
    ListSource: u8 {
        /// Cadastro de Empresas Inidôneas e Suspensas.
        Ceis = 1 => "ceis",
        /// Cadastro Nacional de Empresas Punidas.
        Cnep = 2 => "cnep",
        /// Entidades Privadas Sem Fins Lucrativos Impedidas.
        Cepim = 3 => "cepim",
        /// The operator's own CSV.
        Plain = 4 => "plain",
        /// Added on the running node.
        Overlay = 5 => "overlay",
    }
}

wire_codes! {
    /// The stages of a decision that STATS measures.
    Stage: u8 {
        /// From the bytes' arrival to the decision's start: parsing, admission, the hop to another core.
        Ingress = 1 => "ingress",
        /// Dedupe, look-ups, decision, record.
        Decide = 2 => "decide",
        /// From the record to its block being durable.
        LogWrite = 3 => "log_write",
        /// From the bytes' arrival to the answer in the socket's queue.
        Total = 4 => "total",
    }
}

/// Header flag of ERROR: the connection is closed after this frame.
pub const FLAG_CLOSING: u16 = 1;
/// Header flag of HISTOGRAM: more frames with this correlation follow.
pub const FLAG_MORE: u16 = 1;
/// VERDICT flag: this transaction was decided before; this is that decision.
pub const VERDICT_DUPLICATE: u8 = 1;
/// VERDICT flag: decided without an answer that the policy asked for.
pub const VERDICT_DEGRADED: u8 = 2;
/// VERDICT flag: a rule in shadow would have decided otherwise.
pub const VERDICT_SHADOW_DISAGREES: u8 = 4;

/// Defines a frame: the native struct, and the same as bytes.
macro_rules! layout {
    ($(#[$meta:meta])* $name:ident as $bytes:ident, $len:expr; { $($(#[$fmeta:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
        #[rkyv(archived = $bytes, attr(derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)))]
        #[rkyv(attr(doc = concat!("[`", stringify!($name), "`] as bytes: ", stringify!($len), " of them, little-endian, alignment 1.")))]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),+ }

        const _: () = assert!(size_of::<$bytes>() == $len);
        const _: () = assert!(align_of::<$bytes>() == 1);

        impl From<&$name> for $bytes {
            fn from(native: &$name) -> Self {
                Self { $($field: $crate::frame::IntoWire::into_wire(native.$field)),+ }
            }
        }

        impl From<&$bytes> for $name {
            fn from(bytes: &$bytes) -> Self {
                Self { $($field: $crate::frame::IntoWire::from_wire(bytes.$field)),+ }
            }
        }
    };
}
pub(crate) use layout;

/// A field type and its form on the wire.
pub(crate) trait IntoWire: Sized {
    type Wire: Copy;
    fn into_wire(self) -> Self::Wire;
    fn from_wire(wire: Self::Wire) -> Self;
}

macro_rules! into_wire_number {
    ($($native:ty => $wire:ty),+) => { $(
        impl IntoWire for $native {
            type Wire = $wire;
            #[inline]
            fn into_wire(self) -> $wire { <$wire>::from_native(self) }
            #[inline]
            fn from_wire(wire: $wire) -> Self { wire.to_native() }
        }
    )+ };
}
into_wire_number!(u16 => rend::unaligned::u16_ule, u32 => rend::unaligned::u32_ule, u64 => rend::unaligned::u64_ule, i64 => rend::unaligned::i64_ule);

impl IntoWire for u8 {
    type Wire = u8;
    #[inline]
    fn into_wire(self) -> u8 {
        self
    }
    #[inline]
    fn from_wire(wire: u8) -> u8 {
        wire
    }
}

impl<const N: usize> IntoWire for [u8; N] {
    type Wire = [u8; N];
    #[inline]
    fn into_wire(self) -> [u8; N] {
        self
    }
    #[inline]
    fn from_wire(wire: [u8; N]) -> [u8; N] {
        wire
    }
}

layout! {
    /// The first 16 bytes of every frame.
    Header as HeaderFields, 16; {
        /// Length of the whole frame, this header included, bytes.
        length: u32,
        /// A [`FrameKind`].
        kind: u8,
        /// [`PROTOCOL_VERSION`].
        version: u8,
        /// Bits by kind: [`FLAG_CLOSING`], [`FLAG_MORE`]; else 0.
        flags: u16,
        /// Chosen by the client, echoed in the answer.
        correlation: u64,
    }
}

impl HeaderFields {
    /// The header of a frame of `length` bytes.
    #[inline]
    pub fn new(kind: FrameKind, length: usize, flags: u16, correlation: u64) -> Self {
        debug_assert!((HEADER_LEN..=MAX_REPLY_LEN).contains(&length));
        Self {
            length: (length as u32).into_wire(),
            kind: kind.to_wire(),
            version: PROTOCOL_VERSION,
            flags: flags.into_wire(),
            correlation: correlation.into_wire(),
        }
    }
}

/// A frame whose length never varies.
pub trait FixedFrame: Pod {
    /// What it is.
    const KIND: FrameKind;
    /// Its length, header included, bytes.
    const LEN: usize = size_of::<Self>();
    /// Its header.
    fn header(&self) -> &HeaderFields;
}

/// The bytes as a frame of this kind, in place; `None` if their number is not its length.
#[inline]
pub fn view<F: Pod>(bytes: &[u8]) -> Option<&F> {
    bytemuck::try_from_bytes(bytes).ok()
}

impl IntoWire for Header {
    type Wire = HeaderFields;
    fn into_wire(self) -> HeaderFields {
        HeaderFields::from(&self)
    }
    fn from_wire(wire: HeaderFields) -> Self {
        Self::from(&wire)
    }
}

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
        /// UTF-8 name for the server's log.
        client_name: [u8; MAX_CLIENT_NAME_LEN],
    }
}

frame! {
    /// The server's answer to HELLO.
    Welcome as WelcomeFrame, Welcome, 128; {
        /// The protocol version chosen.
        version: u8,
        /// A [`Role`].
        role: u8,
        /// A [`Durability`].
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
        /// Where the primary is, as ASCII `host:port`, zero-filled; zeros where unknown or where this is it.
        primary: [u8; 48],
        /// 0.
        reserved_c: [u8; 12],
    }
}

layout! {
    /// What a client says of a transaction: the part of SUBMIT that the record keeps.
    Transaction as TransactionFields, 172; {
        /// Printable ASCII without spaces, left-aligned, zero-filled: a Pix EndToEndId, a UUID in hex, or the caller's own.
        id: [u8; TRANSACTION_ID_LEN],
        /// Document of the payer, canonical.
        payer: [u8; DOCUMENT_LEN],
        /// Document of the payee, canonical.
        payee: [u8; DOCUMENT_LEN],
        /// Amount, centavos; above 0.
        amount_centavos: i64,
        /// When it happened, nanoseconds since 1970 UTC.
        event_time_ns: u64,
        /// Time for the answer from the frame's arrival, microseconds; 0 means [`MAX_BUDGET_US`], which is also the most.
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
        /// A [`Verdict`].
        verdict: u8,
        /// [`VERDICT_DUPLICATE`], [`VERDICT_DEGRADED`], [`VERDICT_SHADOW_DISAGREES`].
        flags: u8,
        /// Risk score, 0 to 1000.
        score: u16,
        /// Version of the policy that decided.
        policy_version: u32,
        /// Version of the blacklist that was seen: the high 40 bits of the snapshot's id, the low 24 of the overlay's sequence.
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
        /// 0.
        reserved: u16,
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
        /// 0.
        reserved: [u8; 2],
    }
}

layout! {
    /// What RECORD says of the block that a record lies in; the record itself (and its extension) follows.
    RecordPlace as RecordPlaceFields, 64; {
        /// Header of the frame; its length counts the record and its extension.
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
        /// A [`BlacklistOp`].
        op: u8,
        /// A [`Scope`], for add and remove; else 0.
        scope: u8,
        /// Document, for add and remove; else zeros.
        document: [u8; DOCUMENT_LEN],
        /// 1: load although the list loses more entries than the server allows; else 0.
        force: u8,
        /// 0.
        reserved_a: u8,
        /// Bytes of `path` in use.
        path_len: u16,
        /// UTF-8 path on the server's machine, for load; else zeros.
        path: [u8; MAX_PATH_LEN],
        /// 0.
        reserved_b: [u8; 28],
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
    /// Asks for the latency histograms.
    StatsRequest as StatsFrame, Stats, 24; {
        /// A shard, or [`ALL_SHARDS`].
        shard: u16,
        /// 0.
        reserved: [u8; 6],
    }
}

layout! {
    /// One histogram; the HdrHistogram V2 encoding, DEFLATE-compressed, follows. Values are nanoseconds.
    HistogramHead as HistogramHeadFields, 32; {
        /// Header of the frame; [`FLAG_MORE`] when another histogram follows.
        header: Header,
        /// A [`Stage`].
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
    pub fn new(correlation: u64, code: ErrorCode, retry_after_ms: u32, closing: bool, detail: &str) -> Self {
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

/// The length a request of this kind has, bytes; `None` for a kind that clients don't send.
pub const fn request_len(kind: FrameKind) -> Option<usize> {
    match kind {
        FrameKind::Hello => Some(HelloFrame::LEN),
        FrameKind::Submit => Some(SubmitFrame::LEN),
        FrameKind::Lookup => Some(LookupFrame::LEN),
        FrameKind::Blacklist => Some(BlacklistFrame::LEN),
        FrameKind::Stats => Some(StatsFrame::LEN),
        FrameKind::Ping => Some(PingFrame::LEN),
        _ => None,
    }
}

/// A transaction id from text: 1 to 32 printable ASCII characters without spaces.
pub fn transaction_id(text: &str) -> Option<[u8; TRANSACTION_ID_LEN]> {
    let mut id = [0; TRANSACTION_ID_LEN];
    id.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    is_transaction_id(&id).then_some(id)
}

/// Whether these bytes are a transaction id: printable ASCII without spaces, at least one, then zeros to the end.
#[inline]
pub fn is_transaction_id(id: &[u8; TRANSACTION_ID_LEN]) -> bool {
    // Branch-free over the bytes, because it runs for every transaction: text up to the first zero, zeros from there.
    let mut bad = id[0] == 0;
    let mut ended = false;
    for &byte in id {
        let zero = byte == 0;
        bad |= !zero & (ended | !byte.is_ascii_graphic());
        ended |= zero;
    }
    !bad
}

/// A zero-filled ASCII field without its zeros.
pub fn text_of(field: &[u8]) -> &str {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    std::str::from_utf8(&field[..end]).unwrap_or("")
}

/// Puts text into a zero-filled field, cut to its size.
pub fn fill(field: &mut [u8], text: &str) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field[len..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fit_the_largest_request() {
        for &kind in FrameKind::ALL {
            assert!(request_len(kind).is_none_or(|len| (HEADER_LEN..=MAX_REQUEST_LEN).contains(&len)));
            assert_eq!(FrameKind::from_wire(kind.to_wire()), Some(kind));
        }
    }

    #[test]
    fn rkyv_and_the_byte_view_agree() {
        let native = Submit {
            header: Header { length: 192, kind: 3, version: 1, flags: 0, correlation: 77 },
            transaction: Transaction::from(&TransactionFields { amount_centavos: 12_345.into(), ..Zeroable::zeroed() }),
            reserved: 0,
        };
        let archived = rkyv::to_bytes::<rkyv::rancor::Error>(&native).expect("fixed size");
        assert_eq!(&archived[..], bytemuck::bytes_of(&SubmitFrame::from(&native)));
        let frame = view::<SubmitFrame>(&archived).expect("192 bytes");
        assert_eq!(Submit::from(frame), native);
        assert_eq!(frame.transaction.amount_centavos, 12_345);
        assert!(view::<SubmitFrame>(&archived[1..]).is_none());
    }

    #[test]
    fn ids_are_graphic_ascii_then_zeros() {
        assert!(transaction_id("E1234567820261122120000000000001").is_some());
        assert!(transaction_id("a").is_some());
        for bad in ["", "with space", "ação", "123456789012345678901234567890123"] {
            assert!(transaction_id(bad).is_none(), "{bad:?}");
        }
        let mut gap = [0; TRANSACTION_ID_LEN];
        gap[0] = b'a';
        gap[2] = b'b';
        assert!(!is_transaction_id(&gap));
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let frame = ErrorFrame::new(1, ErrorCode::Failed, 0, true, &"ã".repeat(100));
        assert_eq!(frame.detail_text(), "ã".repeat(64));
    }
}
