//! What has a number and a name between nodes: kinds of frames, purposes of connections, refusals.

use crate::frame::wire_codes;

wire_codes! {
    /// What a frame between nodes is.
    LinkKind: u8 {
        /// The dialer's first frame: who it is and what for.
        Join = 1 => "JOIN",
        /// The listener's answer: who it is, and its proof.
        Accept = 2 => "ACCEPT",
        /// The dialer's proof.
        Proof = 3 => "PROOF",
        /// The connection stands.
        Welcome = 4 => "WELCOME",
        /// It does not; the connection ends.
        Refuse = 5 => "REFUSE",
        /// Does your stream have this block boundary?
        Probe = 6 => "PROBE",
        /// Yes or no.
        Match = 7 => "MATCH",
        /// Send what follows this boundary.
        Follow = 8 => "FOLLOW",
        /// A block of the log, as it is.
        Block = 9 => "BLOCK",
        /// A block is durable here.
        Ack = 10 => "ACK",
        /// You hold all that was ever answered, and nothing more will be answered without you.
        Grant = 11 => "GRANT",
        /// The grant is durable here.
        Granted = 12 => "GRANTED",
        /// Answers will be given without you.
        Revoke = 13 => "REVOKE",
        /// The end of the grant is durable here.
        Revoked = 14 => "REVOKED",
        /// Still here.
        Heartbeat = 15 => "HEARTBEAT",
        /// A piece of a file: of a list, or of `log.start`.
        FilePart = 16 => "FILE_PART",
    }
}

wire_codes! {
    /// What a connection is for.
    Purpose: u8 {
        /// Node to node: life signs and grants. One for each session.
        Node = 1 => "node",
        /// One stream of the log.
        Stream = 2 => "stream",
        /// A list that the standby lacks.
        List = 3 => "list",
        /// To learn who is primary; ends after WELCOME.
        Inquiry = 4 => "inquiry",
    }
}

wire_codes! {
    /// Why a connection was refused.
    RefuseReason: u8 {
        /// Another cluster's node.
        Cluster = 1 => "another cluster",
        /// Another format of log or protocol.
        Version = 2 => "another format version",
        /// Another number of shards.
        Shards = 3 => "another number of shards",
        /// The proof is wrong: another chain key.
        Key = 4 => "another chain key",
        /// The listener is a standby itself.
        NotPrimary = 5 => "not the primary",
        /// The dialer has seen a higher epoch than the listener's.
        Epoch = 6 => "a lower epoch",
        /// Another standby is connected, or is the one whose acknowledgement counts.
        Taken = 7 => "another standby has the place",
        /// The dialer is the listener.
        Itself = 8 => "the node itself",
        /// The session that a stream names is over.
        Session = 9 => "the session is over",
        /// The listener has no such stream or list.
        Unknown = 10 => "no such stream or list",
        /// Another program with the dialer's identity is connected: one data directory is a copy of
        /// the other.
        Twin = 11 => "another node of the same identity is connected",
    }
}
