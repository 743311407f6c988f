//! What a [`Node`](super::Node) wants done.

use super::event::{ConnId, NodeMessage, RequestId, RequestRefused};
use crate::replica::{ReplicaSlot, ReplicaState, WaitsFor};
use catraca_wire::frame::Durability;
use catraca_wire::replication::RefuseReason;

/// Something for a person's eyes, and for counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A standby has begun a session.
    StandbyConnected {
        /// Its address.
        address: String,
        /// It is in the in-sync set.
        in_sync: bool,
    },
    /// Its session is over.
    StandbyGone {
        /// Why.
        why: String,
        /// What answers wait for.
        durability: Durability,
    },
    /// Two nodes have one identity.
    Twin {
        /// The one that is connected.
        connected: String,
        /// The one that is refused.
        caller: String,
    },
    /// Answers wait for the standby from now on.
    CaughtUp,
    /// The standby has joined the in-sync set.
    InSync,
    /// Answers wait for nobody from now on.
    Alone {
        /// Why.
        why: &'static str,
    },
    /// This primary's epoch is over.
    Demoted {
        /// The higher one.
        epoch: u32,
    },
    /// This standby follows.
    Following {
        /// Whom.
        address: String,
        /// In which epoch.
        epoch: u32,
    },
    /// An attempt to follow is over.
    NotFollowing {
        /// Whom it called.
        address: String,
        /// Why.
        why: String,
    },
    /// This standby has joined the in-sync set, or left it.
    Membership {
        /// Joined.
        in_sync: bool,
        /// Of this epoch.
        epoch: u32,
    },
    /// Another standby has this node's place.
    Replaced,
    /// A request was refused after it had begun.
    NotPromoted {
        /// Why.
        why: RequestRefused,
    },
}

/// Something to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make a state durable, then say `Event::Persisted`. One at a time.
    Persist(ReplicaState),
    /// The write of the state under way must not be waited for much longer: this node has learned
    /// that its epoch is over, and that comes behind it. Whoever waits for means to write ends the
    /// node before long.
    Hurry,
    /// Let a caller in: WELCOME.
    Welcome {
        /// It.
        conn: ConnId,
    },
    /// Refuse a caller, and close its connection.
    Refuse {
        /// It.
        conn: ConnId,
        /// Why.
        reason: RefuseReason,
        /// For a person.
        text: String,
        /// Where the primary is; empty where unknown.
        primary: String,
    },
    /// Send a message. A connection that is gone ends its session by itself.
    Send {
        /// Where to.
        conn: ConnId,
        /// It.
        message: NodeMessage,
    },
    /// A session with a standby begins: its streams may come.
    BeginSession {
        /// Its number.
        session: u64,
        /// Where its acknowledgements count.
        slot: ReplicaSlot,
        /// The connection from node to node.
        conn: ConnId,
    },
    /// The streams behind the first may be fed, too: until then they are held.
    FeedAllStreams {
        /// Of which session.
        session: u64,
    },
    /// A session with a standby is over: close all its connections.
    EndSession {
        /// Its number.
        session: u64,
        /// The connection from node to node.
        conn: ConnId,
    },
    /// Have every shard's answers wait as said, and report each with `Event::Waiting` where they
    /// wait for the standby of a session.
    TellShards {
        /// What they wait for.
        durability: Durability,
        /// The session; 0 none.
        session: u64,
        /// In [`Durability::Sync`]: whose acknowledgements.
        waits_for: WaitsFor,
    },
    /// Tell the shards where clients find the primary.
    PrimaryAt {
        /// Client address.
        address: String,
        /// Its epoch.
        epoch: u32,
    },
    /// Call a node to follow it. Ends with `Event::CallAnswered` or `Event::CallFailed`.
    Call {
        /// Number of the attempt.
        attempt: u64,
        /// Where.
        address: String,
    },
    /// Open each stream of the primary that was called.
    OpenStreams {
        /// Number of the attempt.
        attempt: u64,
        /// The session.
        session: u64,
        /// The primary's epoch.
        epoch: u32,
        /// How many.
        streams: u16,
        /// Several blocks may be written at once.
        catching_up: bool,
        /// By stream: what was committed when it was last written down.
        committed: Vec<u64>,
    },
    /// Let no write of several blocks begin, wait for the end of those under way, and say
    /// `Event::SingleWrites`.
    SingleWrites {
        /// In which attempt.
        attempt: u64,
    },
    /// Several blocks may be written at once again.
    SeveralWrites {
        /// In which attempt.
        attempt: u64,
    },
    /// This node has all that was answered up to now.
    HasAll {
        /// In which attempt.
        attempt: u64,
    },
    /// End an attempt: close its connections, wait for writes under way, and say
    /// `Event::FollowingEnded`.
    EndFollowing {
        /// Its number.
        attempt: u64,
    },
    /// Cut a stream, then start anew.
    Cut {
        /// The stream.
        stream: u16,
    },
    /// Do not cut a stream: what asked for the permission ends.
    KeepLog {
        /// The stream.
        stream: u16,
    },
    /// Ask a node which epoch it is, and say `Event::InquiryEnded`.
    Inquire {
        /// Where.
        address: String,
    },
    /// This node is the primary: hand its tables to the shards, and then answer the request.
    TakeOver {
        /// The new epoch.
        epoch: u32,
        /// What answers wait for.
        durability: Durability,
        /// Answered decisions may be missing here: that was the operator's to say.
        force: bool,
        /// Whose request it was.
        request: RequestId,
    },
    /// Answer a request.
    Answer {
        /// Which.
        request: RequestId,
        /// Done, or why not.
        outcome: Result<(), RequestRefused>,
    },
    /// Forget everything in memory, and start from what is on the disk.
    Restart,
    /// Tell a person.
    Report(Report),
}
