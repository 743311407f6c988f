//! What a shard is told and tells, besides bytes: by its siblings over the mesh, and by the control
//! thread.

use super::access::{Access, Granted};
use super::candidate::{Candidate, CandidateTotals};
use super::dedupe::Dedupe;
use super::journal::JournalSetup;
use super::parked::{Came, ParkedPayment};
pub use super::past::KeptPayments;
pub use super::refusals::Refusals;
use crate::blacklist::{Lists, Snapshot};
use crate::observe::StageHistograms;
use crate::policy::Policy;
use crate::policy::lists::InForce;
use crate::policy::windows::Past;
use crate::replica::{ReplicaSlot, WaitsFor};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{
    AnswerFields, AuditFrame, BlacklistFrame, ClusterFrame, Durability, ErrorCode, ErrorFrame,
    FrameKind, LabelFrame, ListFrame, LookupFrame, PolicyFrame, PrincipalFields, Role,
    SubmitterFields, TransactionFields, ValidatorFrame,
};
use catraca_wire::record::{OverlayChange, RecordHead};
use std::sync::Arc;

/// The time, read by the driver once a loop and passed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic, nanoseconds since an arbitrary point; the same clock on every core.
    pub mono_ns: u64,
    /// Wall clock, nanoseconds since 1970 UTC. Stamps records; never used to measure.
    pub wall_ns: u64,
}

/// A connection of this shard. A slot is used again; its generation tells the uses apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Place in the table of connections.
    pub slot: u32,
    /// Use of that place.
    pub generation: u32,
}

/// Who asks for something that is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actor {
    /// Institution, client, and what else is known of them.
    pub principal: PrincipalFields,
    /// Name of the client that asks on behalf of that one; zeros where it asks for itself.
    pub via: [u8; 16],
    /// Address of that client's connection; likewise.
    pub via_remote: [u8; 16],
    /// Whether it reaches the decisions of every institution, or those of its own only.
    pub all_institutions: bool,
}

impl Actor {
    /// The institution whose decisions it reaches; `None` for every one.
    pub fn reaches(&self) -> Option<u16> {
        let institution = self.principal.submitter.institution.to_native();
        (!self.all_institutions).then_some(institution)
    }
}

/// The other end of a connection, as far as the connection itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// Its IPv6 address, or its IPv4 address mapped into one; zeros where it is not known.
    pub remote: [u8; 16],
    /// SHA-256 of the certificate that it has shown, which was checked; zeros without one.
    pub certificate: [u8; 32],
}

/// A refusal: no allocation, because it may answer any transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What.
    pub code: ErrorCode,
    /// When to try again, milliseconds; 0 where that makes no sense.
    pub retry_after_ms: u32,
    /// Why, for a person.
    pub detail: &'static str,
}

impl Refusal {
    /// A refusal that trying again does not change.
    pub const fn new(code: ErrorCode, detail: &'static str) -> Self {
        Self { code, retry_after_ms: 0, detail }
    }

    /// A refusal that a later try may escape.
    pub const fn retry(code: ErrorCode, retry_after_ms: u32, detail: &'static str) -> Self {
        Self { code, retry_after_ms, detail }
    }

    /// Its ERROR, which ends no connection.
    pub fn frame(&self, correlation: u64) -> ErrorFrame {
        ErrorFrame::new(correlation, self.code, self.retry_after_ms, false, self.detail)
    }
}

/// A forward to another shard that waits for its reply: a slot in the table of the shard that
/// forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingForward {
    /// Place.
    pub slot: u32,
    /// Use of that place.
    pub generation: u32,
}

/// A transaction on its way to the shard that owns its payer.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    /// To be repeated in the reply.
    pub pending: PendingForward,
    /// When its bytes came, monotonic nanoseconds.
    pub received_ns: u64,
    /// When its budget is over, monotonic nanoseconds.
    pub deadline_ns: u64,
    /// The transaction; validated by the asker.
    pub transaction: TransactionFields,
    /// Whose it is.
    pub submitter: SubmitterFields,
}

/// What shards say to each other. Each forward gets exactly one reply.
#[allow(
    clippy::large_enum_variant,
    reason = "forwards are what the queue is for; a box would allocate per transaction"
)]
#[derive(Debug, Clone, Copy)]
pub enum MeshMessage {
    /// Decide on this: the payer is yours.
    Forward(Forward),
    /// The outcome.
    Reply {
        /// From the forward.
        pending: PendingForward,
        /// The committed decision, or why there is none.
        outcome: Result<AnswerFields, Refusal>,
    },
}

/// What a shard is to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleConfig {
    /// Whether it decides.
    pub role: Role,
    /// What an answer waits for.
    pub durability: Durability,
    /// Where clients reach the primary, `host:port`; zeros where unknown or where this is it.
    pub primary: [u8; 48],
}

impl RoleConfig {
    /// A primary's.
    pub const fn primary(durability: Durability) -> Self {
        Self { role: Role::Primary, durability, primary: [0; 48] }
    }
}

/// What a shard decides with.
pub struct ShardState {
    /// Decisions made before.
    pub dedupe: Dedupe,
    /// Lists in force.
    pub lists: Lists,
    /// Policy in force.
    pub policy: Arc<Policy>,
    /// Its windows, where it reads any.
    pub past: Option<Box<Past>>,
    /// What it needs of the named lists.
    pub named: Arc<InForce>,
}

/// What a shard no longer uses of windows, to be freed off the data cores.
#[derive(Default)]
pub struct Released {
    /// Windows.
    pub pasts: [Option<Box<Past>>; 2],
    /// Room for payments.
    pub room: Option<Box<KeptPayments>>,
}

/// How far the windows of a coming policy are.
pub enum CaughtUp {
    /// They lack payments that are kept.
    Behind,
    /// They lack nothing. With room for payments that is no longer used.
    Level(Option<Box<KeptPayments>>),
    /// More came meanwhile than is kept: here they are back, and the room.
    TooFarBehind(Box<Past>, Box<KeptPayments>),
}

/// Whether new transactions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// Yes.
    #[default]
    Open,
    /// No: the disk is nearly full.
    DiskFull,
    /// No: the node is stopping.
    Stopping,
}

/// A request that the control thread answers.
#[allow(clippy::large_enum_variant, reason = "rare, and moved twice")]
#[derive(Debug, Clone, Copy)]
pub enum ControlRequest {
    /// Find a stored decision.
    Lookup(LookupFrame),
    /// Change or describe the blacklist.
    Blacklist(BlacklistFrame),
    /// Change or describe the policy.
    Policy(PolicyFrame),
    /// Take what became known of a decision.
    Label(LabelFrame),
    /// Change or describe named lists and exemptions.
    List(ListFrame),
    /// Force a validator's breaker.
    Validator(ValidatorFrame),
    /// Tell what the audit trail has.
    Audit(AuditFrame),
    /// Collect histograms; the shard asked for, or all.
    Stats(u16),
    /// Describe or change who decides.
    Cluster(ClusterFrame),
}

impl ControlRequest {
    /// The kind of frame that it came in.
    pub const fn kind(&self) -> FrameKind {
        match self {
            Self::Lookup(_) => FrameKind::Lookup,
            Self::Blacklist(_) => FrameKind::Blacklist,
            Self::Policy(_) => FrameKind::Policy,
            Self::Label(_) => FrameKind::Label,
            Self::List(_) => FrameKind::List,
            Self::Validator(_) => FrameKind::Validator,
            Self::Audit(_) => FrameKind::Audit,
            Self::Stats(_) => FrameKind::Stats,
            Self::Cluster(_) => FrameKind::Cluster,
        }
    }

    /// Its operation; 0 where its kind has none.
    pub const fn op(&self) -> u8 {
        match self {
            Self::Lookup(_) | Self::Label(_) | Self::Stats(_) | Self::Audit(_) => 0,
            Self::Blacklist(frame) => frame.op,
            Self::Policy(frame) => frame.op,
            Self::List(frame) => frame.op,
            Self::Validator(frame) => frame.force,
            Self::Cluster(frame) => frame.op,
        }
    }
}

/// A record that the control thread makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRecord {
    /// Its head; the journal fills in the sequence number and the extension's length.
    pub head: RecordHead,
    /// Its extension: a multiple of 8 bytes, at most
    /// [`MAX_EXTENSION_LEN`](catraca_wire::record::MAX_EXTENSION_LEN).
    pub extension: Vec<u8>,
}

impl From<RecordHead> for ControlRecord {
    fn from(head: RecordHead) -> Self {
        Self { head, extension: Vec::new() }
    }
}

/// A question for a validator about a payment that waits.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Shard of the payment.
    pub shard: u16,
    /// Which payment waits for it; none where a hot answer of the core's cache is about to end, which the core gets anew.
    pub payment: Option<ParkedPayment>,
    /// The policy that asks.
    pub policy_version: u32,
    /// Which of its validators.
    pub validator: u8,
    /// Keyed hash of what it is asked: the same of payments that are the same to it.
    pub key: u128,
    /// Until when the payment waits, monotonic nanoseconds.
    pub until_ns: u64,
    /// The payer.
    pub payer: DocumentKey,
    /// The payee.
    pub payee: DocumentKey,
    /// The payment.
    pub transaction: TransactionFields,
}

/// From the control thread to a shard.
pub enum ToShard {
    /// These clients are known from now on.
    SetAccess(Arc<Access>),
    /// A validator has come to something about a payment that waits, or waited.
    Answered {
        /// Which payment.
        payment: ParkedPayment,
        /// Which validator of the policy that asked.
        validator: u8,
        /// What it came to.
        came: Came,
    },
    /// An answer that is good for other payments, too.
    Cache {
        /// The policy that asked.
        policy_version: u32,
        /// Which of its validators.
        validator: u8,
        /// Keyed hash of what it was asked.
        key: u128,
        /// What it answered.
        answer: i64,
        /// When, monotonic nanoseconds. An answer may be older than that clock: then it has wrapped around.
        given_ns: u64,
        /// Until when it is good, monotonic nanoseconds.
        good_until_ns: u64,
    },
    /// Use this snapshot from the next batch on; the old one comes back in
    /// [`ToControl::SnapshotReleased`].
    SwapSnapshot(Arc<Snapshot>),
    /// Apply a change of the overlay, which is durable; [`ToControl::OverlayApplied`] follows.
    ApplyOverlay(OverlayChange),
    /// Use this policy from the next batch on, with what it needs of the named lists, and with the windows
    /// that are level, or those in force if none came; the old ones come back in
    /// [`ToControl::PolicyReleased`].
    SwapPolicy(Arc<Policy>, Arc<InForce>),
    /// Named lists have changed: what the policy in force needs of them from the next batch on, and what the
    /// one that is tried does, if one is. The old ones come back in [`ToControl::NamedReleased`].
    SwapNamed(Arc<InForce>, Option<Arc<InForce>>),
    /// A policy with other windows is coming: keep payments from here on; [`ToControl::Keeps`] follows.
    KeepPayments(Box<KeptPayments>),
    /// Try this policy from now on, with the windows that are level if it reads any; none any more. The one
    /// before comes back in [`ToControl::CandidateReleased`].
    SetCandidate(Option<Box<Candidate>>),
    /// Add what came of the policy that is tried, whose rules these totals are for:
    /// [`ToControl::CandidateCame`].
    CollectCandidate(Box<CandidateTotals>),
    /// No policy with other windows is coming any more; [`ToControl::ComingForgotten`] follows.
    ForgetComing,
    /// Tell the siblings of every payment from here on, or no more; [`ToControl::Broadcasts`] follows.
    Broadcast(bool),
    /// Windows with all payments before those that are kept; or the next turn of those that were given: add
    /// some of what is kept. [`ToControl::CaughtUp`] follows.
    CatchUp(Option<Box<Past>>),
    /// Append this record with its extension; [`ToControl::RecordDurable`] follows once it is committed.
    AppendRecord(Box<ControlRecord>),
    /// Frames for a connection that asked something; they end its request.
    Answer {
        /// Who asked.
        connection: ConnectionId,
        /// Whole frames.
        frames: Vec<u8>,
    },
    /// After [`ToControl::CheckToken`]: what the token grants, or why it is not taken.
    TokenChecked(ConnectionId, Box<Result<Granted, Refusal>>),
    /// Send counters and histograms: [`ToControl::Stats`].
    CollectStats,
    /// Take new transactions, or don't.
    Admit(Admission),
    /// Segments below this number are ready.
    SegmentsReady(u32),
    /// From now on this is asked of an answer; [`ToControl::Waiting`] follows.
    Durability {
        /// What is asked.
        durability: Durability,
        /// The session that it is for, to be named in the reply; 0 for none.
        session: u64,
        /// In [`Durability::Sync`]: of whom.
        waits_for: WaitsFor,
    },
    /// A standby goes on behind a record of the stream.
    StandbyAt {
        /// Which.
        slot: ReplicaSlot,
        /// In this session, whose number is above those of all sessions before.
        session: u64,
        /// The record.
        lsn: u64,
    },
    /// A standby has a record and all before it durable.
    StandbyDurable {
        /// Which.
        slot: ReplicaSlot,
        /// In this session.
        session: u64,
        /// The record.
        lsn: u64,
    },
    /// On a standby: where clients reach the primary.
    PrimaryAt {
        /// Where it takes clients.
        address: [u8; 48],
        /// Its epoch.
        epoch: u32,
    },
    /// On a standby: decide from now on, with this; what was here before comes back in
    /// [`ToControl::TookOver`].
    TakeOver(Box<TakeOver>),
}

/// What makes a standby's shard a primary's.
pub struct TakeOver {
    /// What to decide with.
    pub state: ShardState,
    /// Where the stream goes on, in the new epoch.
    pub journal: JournalSetup,
    /// What an answer waits for.
    pub durability: Durability,
}

/// From a shard to the control thread.
#[allow(clippy::large_enum_variant, reason = "rare, and moved twice")]
pub enum ToControl {
    /// A client asks something.
    Request {
        /// Shard of the connection.
        shard: u16,
        /// Who asks.
        connection: ConnectionId,
        /// Who that is.
        actor: Actor,
        /// To be echoed.
        correlation: u64,
        /// What.
        request: ControlRequest,
    },
    /// Check a token that is no client's credential, and answer this connection of this shard, whose other end is there.
    CheckToken(u16, ConnectionId, [u8; 16], Vec<u8>),
    /// Requests were refused here, alike: for the audit trail.
    Refused(Refusals),
    /// A snapshot no longer used by this shard, to be freed off the data cores.
    SnapshotReleased(Option<Arc<Snapshot>>),
    /// A policy no longer used by this shard, and what else is not, to be freed off the data cores.
    PolicyReleased(Arc<Policy>, Arc<InForce>, Released),
    /// What of named lists is no longer used by this shard, to be freed off the data cores.
    NamedReleased([Option<Arc<InForce>>; 2]),
    /// After [`ToShard::KeepPayments`]: payments behind this record are kept.
    Keeps(u64, Released),
    /// After [`ToShard::Broadcast`], from this shard: what it said or not is of records behind this one.
    Broadcasts(u16, u64),
    /// A policy that is no longer tried by this shard, to be freed off the data cores.
    CandidateReleased(Option<Box<Candidate>>),
    /// What came of the policy that is tried, where one is.
    CandidateCame(Box<CandidateTotals>),
    /// After [`ToShard::ForgetComing`].
    ComingForgotten(Released),
    /// After [`ToShard::CatchUp`].
    CaughtUp(CaughtUp),
    /// The overlay change with this sequence number is in force on one more shard.
    OverlayApplied(u64),
    /// The record asked for is committed.
    RecordDurable,
    /// The record asked for could not be appended; nothing changed.
    RecordRefused,
    /// What [`ToShard::CollectStats`] asked for.
    Stats {
        /// Shard.
        shard: u16,
        /// Its histograms.
        histograms: Box<StageHistograms>,
    },
    /// This shard's journal has moved to a new segment: prepare another.
    SegmentTaken {
        /// Shard.
        shard: u16,
        /// The segment it is in now.
        segment: u32,
    },
    /// After [`ToShard::Durability`]: nothing behind this record had been answered by then, in this
    /// run or an earlier one.
    Waiting {
        /// Shard.
        shard: u16,
        /// The session named in the request.
        session: u64,
        /// The last record that may have been answered.
        answered: u64,
    },
    /// After [`ToShard::TakeOver`]: what the shard had before, to be freed off the data cores.
    TookOver(Box<ShardState>),
    /// After [`Admission::Stopping`]: everything accepted is answered and sent.
    Drained(u16),
}
