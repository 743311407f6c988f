//! What comes to a [`Node`](super::Node), and what it wants done.

use crate::replica::{NotPromotable, Peer, ReplicaState};
use catraca_wire::frame::{Durability, Role};
use catraca_wire::replication::RefuseReason;

/// A connection from node to node, as whoever moves the node numbers it. Never used twice in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An operator's or arbiter's request, as whoever moves the node numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Who calls, from its JOIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Identity and addresses.
    pub peer: Peer,
    /// Random, of the run of its program.
    pub run: [u8; 16],
    /// Highest epoch that it has seen.
    pub epoch: u32,
    /// Its shards.
    pub shards: u16,
    /// What it is.
    pub role: Role,
    /// It is in the in-sync set of that epoch, as far as it knows.
    pub in_sync: bool,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallPurpose {
    /// The connection from node to node of a new session, which gets this number.
    Session {
        /// Number of the session.
        session: u64,
    },
    /// A stream of a session.
    Stream {
        /// Which one.
        stream: u16,
        /// Number of the session.
        session: u64,
    },
    /// A list file for a session's standby.
    List {
        /// Number of the session.
        session: u64,
    },
    /// Which epoch this is, and nothing more.
    Inquiry,
}

/// What the called node says of itself, from its ACCEPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its identity.
    pub node_id: [u8; 16],
    /// Where clients reach it.
    pub client_address: String,
    /// Highest epoch that it has seen.
    pub epoch: u32,
    /// What it is.
    pub role: Role,
    /// Its own epochs are the odd numbers.
    pub odd_epochs: bool,
    /// It may go on alone by itself (`solo_after_ms`).
    pub may_leave: bool,
    /// Its shards.
    pub shards: u16,
    /// Streams in its log.
    pub streams: u16,
    /// Number of the session that begins.
    pub session: u64,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// The other node's reason, where it refused.
    pub refused: Option<RefuseReason>,
    /// Where the primary is, where the other node knows.
    pub primary: Option<String>,
    /// For a person.
    pub why: String,
}

/// A message on a session's connection from node to node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeMessage {
    /// The sender is there; whether its disk is nearly full.
    Heartbeat {
        /// Nearly no room.
        disk_full: bool,
    },
    /// GRANT: the standby is in the in-sync set of an epoch.
    Grant {
        /// Which.
        epoch: u32,
    },
    /// GRANTED: it has made that durable.
    Granted,
    /// REVOKE: it is no longer.
    Revoke {
        /// Of which epoch.
        epoch: u32,
    },
    /// REVOKED: it has made that durable.
    Revoked,
}

/// What a standby holds in memory, as far as a promotion depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tables {
    /// The list that the log says is in use, if it is not here.
    pub missing_list: Option<u64>,
    /// What can't be right in it.
    pub fault: Option<String>,
}

/// What an operator or an arbiter wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// This standby is to be the primary.
    Promote {
        /// Also where answered decisions may be missing here.
        force: bool,
        /// What it holds now.
        tables: Tables,
    },
    /// This primary is to answer alone.
    Solo {
        /// Operator override: the standby will not be promoted.
        standby_is_down: bool,
    },
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Another node called, and proved that it is of the cluster.
    Called {
        /// The connection.
        conn: ConnId,
        /// Who.
        caller: Caller,
        /// What for.
        purpose: CallPurpose,
    },
    /// A message came.
    Received {
        /// The connection.
        conn: ConnId,
        /// It.
        message: NodeMessage,
    },
    /// A connection of a session with a standby, from node to node or of a stream, ended.
    SessionEnded {
        /// The session.
        session: u64,
        /// For a person.
        why: String,
    },
    /// A connection of an attempt to follow ended, or what came over it can't be.
    FollowingFailed {
        /// Of which attempt.
        attempt: u64,
        /// For a person.
        why: String,
    },
    /// The standby of a session holds a stream up to a record.
    Acknowledged {
        /// The session.
        session: u64,
        /// The stream.
        stream: u16,
        /// The record.
        lsn: u64,
    },
    /// A shard's answers wait for the standby of a session from now on.
    Waiting {
        /// The shard.
        shard: u16,
        /// The session.
        session: u64,
        /// It may have answered everything up to this record.
        answered: u64,
    },
    /// The state of the last [`Effect::Persist`] is durable.
    Persisted,
    /// The primary that was called answers.
    CallAnswered {
        /// Of which attempt.
        attempt: u64,
        /// The connection.
        conn: ConnId,
        /// What it says.
        accepted: Accepted,
    },
    /// The call came to nothing.
    CallFailed {
        /// Of which attempt.
        attempt: u64,
        /// Why.
        failure: CallFailure,
    },
    /// No write of several blocks is under way any more, and none will begin.
    SingleWrites {
        /// In which attempt.
        attempt: u64,
    },
    /// Nothing of an attempt to follow is under way any more.
    FollowingEnded {
        /// Which.
        attempt: u64,
        /// By stream: the last record that the primary is known to have committed.
        committed: Vec<u64>,
        /// What this node holds.
        tables: Tables,
    },
    /// A stream is to be cut, because its primary's log parts from it: nothing of it is written
    /// until [`Effect::Cut`].
    Cutting {
        /// The stream.
        stream: u16,
        /// The last record that is left of it.
        last_lsn: u64,
    },
    /// The other node answered an inquiry, or did not.
    InquiryEnded {
        /// What it says, and where it was asked.
        answer: Option<(Accepted, String)>,
    },
    /// An operator or an arbiter wants something.
    Requested {
        /// For the answer.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// This node's disk is nearly full, or has room again.
    DiskFull(bool),
    /// The node is about to stop.
    Stopping,
    /// Time passed: several times in each [`Timing::heartbeat_every_ns`].
    Tick,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// The node can't be the primary.
    #[error("{0}")]
    NotPromotable(#[from] NotPromotable),
    /// The list in use has not come.
    #[error("the list {0:016x}, which the log says is in use, has not come yet; wait, or --force")]
    MissingList(u64),
    /// What the standby holds can't be right.
    #[error("{0}")]
    Tables(String),
    /// Another one is carried out.
    #[error("{0} is under way")]
    UnderWay(&'static str),
    /// A standby answers nothing.
    #[error("this node is a standby: it answers nothing")]
    IsStandby,
    /// It has no standby.
    #[error("this node has no standby: it decides alone already")]
    HasNoStandby,
    /// The standby was asked and did not say that it knows.
    #[error("the standby did not confirm that it knows: look after it, or --standby-is-down")]
    NotConfirmed,
    /// It is not there.
    #[error(
        "the standby can't be told: --standby-is-down is your word that it will not be promoted"
    )]
    NotThere,
}

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
    /// Make a state durable, then say [`Event::Persisted`]. One at a time.
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
        /// The connection from node to node.
        conn: ConnId,
    },
    /// A session with a standby is over: close all its connections.
    EndSession {
        /// Its number.
        session: u64,
        /// The connection from node to node.
        conn: ConnId,
    },
    /// Have every shard's answers wait as said, and report each with [`Event::Waiting`] where they
    /// wait for the standby of a session.
    TellShards {
        /// What they wait for.
        durability: Durability,
        /// The session; 0 none.
        session: u64,
    },
    /// Tell the shards where clients find the primary.
    PrimaryAt {
        /// Client address.
        address: String,
        /// Its epoch.
        epoch: u32,
    },
    /// Call a node to follow it. Ends with [`Event::CallAnswered`] or [`Event::CallFailed`].
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
    /// [`Event::SingleWrites`].
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
    /// [`Event::FollowingEnded`].
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
    /// Ask a node which epoch it is, and say [`Event::InquiryEnded`].
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

/// How often and how long, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of a session.
    pub heartbeat_every_ns: u64,
    /// A node that said nothing for this long is taken for gone: its session ends. Nothing but the
    /// ending depends on it.
    pub heartbeat_timeout_ns: u64,
    /// How long a call may take, names looked up and all addresses tried: whoever makes it gives up
    /// by itself, and this is for what hangs all the same.
    pub call_timeout_ns: u64,
    /// Between an attempt to follow and the next.
    pub call_pause_ns: u64,
    /// Between two inquiries of a primary without a standby.
    pub inquire_every_ns: u64,
    /// How long an operator's request waits for the standby.
    pub request_timeout_ns: u64,
}
