//! What comes to a [`Node`](super::Node).

use crate::replica::{NewEpoch, NotPromotable, Peer};
use catraca_wire::frame::Role;
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
        /// The number of the epoch that begins.
        epoch: NewEpoch,
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
    /// The state of the last [`Effect::Persist`](super::Effect::Persist) is durable.
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
    /// until [`Effect::Cut`](super::Effect::Cut).
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
