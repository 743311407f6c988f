//! The fields of the frames between nodes.

use super::{LinkFrame, LinkHead, LinkHeadFields, LinkKind, MAX_ADDRESS_LEN, MAX_REASON_LEN};
use crate::block::Chain;
use crate::frame::layout;
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Defines a frame between nodes: a layout that begins with the head, and its kind.
macro_rules! link_frame {
    ($(#[$meta:meta])* $name:ident as $bytes:ident, $kind:ident, $len:expr; { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        layout! {
            $(#[$meta])*
            $name as $bytes, $len; {
                /// Length, kind, version, stream, epoch.
                head: LinkHead,
                $($(#[$fmeta])* $field: $type),*
            }
        }

        impl LinkFrame for $bytes {
            const KIND: LinkKind = LinkKind::$kind;
        }

        impl $bytes {
            /// All zeros but for the head: fill in the fields and send it.
            #[allow(clippy::needless_update, reason = "some frames are their head alone")]
            pub fn empty(stream: u16, epoch: u32) -> Self {
                Self { head: LinkHeadFields::new(LinkKind::$kind, $len, stream, epoch), ..Self::zeroed() }
            }
        }
    };
}

link_frame! {
    /// The dialer's first frame.
    Join as JoinFrame, Join, 256; {
        /// Version of the log's format.
        format_version: u16,
        /// Shards of the node.
        shards: u16,
        /// A [`Purpose`](super::Purpose).
        purpose: u8,
        /// 1: the dialer is a standby that holds all that was answered in this epoch.
        in_sync: u8,
        /// A [`crate::frame::Role`].
        role: u8,
        /// 0.
        reserved_a: u8,
        /// The session that a stream or list belongs to, from the node connection's ACCEPT; else 0.
        session: u64,
        /// The list wanted; else 0.
        list_id: u64,
        /// The cluster; zeros for a standby that has none yet.
        cluster_id: [u8; 16],
        /// The node.
        node_id: [u8; 16],
        /// Random, for the listener's proof.
        nonce: [u8; 32],
        /// Where this node takes connections of other nodes, `host:port`.
        replication_address: [u8; MAX_ADDRESS_LEN],
        /// Where this node takes clients, `host:port`.
        client_address: [u8; MAX_ADDRESS_LEN],
        /// Random, chosen when the dialer's program started: tells a node that comes back from
        /// another one of the same identity.
        run: [u8; 16],
        /// 0.
        reserved_b: [u8; 40],
    }
}

link_frame! {
    /// The listener's answer to JOIN.
    Accept as AcceptFrame, Accept, 256; {
        /// Version of the log's format.
        format_version: u16,
        /// Shards of the node.
        shards: u16,
        /// Streams of its log: shards, or more when there were more once.
        streams: u16,
        /// A [`crate::frame::Role`].
        role: u8,
        /// 1: the listener's own epochs are odd.
        odd_epochs: u8,
        /// Length of its segments, bytes.
        segment_len: u64,
        /// Number of the session; what belongs to it repeats it.
        session: u64,
        /// After how long without the standby the listener goes on alone by itself, milliseconds; 0
        /// never.
        solo_after_ms: u64,
        /// The cluster.
        cluster_id: [u8; 16],
        /// The node.
        node_id: [u8; 16],
        /// Random, for the dialer's proof.
        nonce: [u8; 32],
        /// The listener's proof: see [`proof`](super::proof).
        proof: [u8; 32],
        /// Where it takes clients, `host:port`.
        client_address: [u8; MAX_ADDRESS_LEN],
        /// 0.
        reserved: [u8; 64],
    }
}

link_frame! {
    /// The dialer's proof that it has the chain's key.
    Proof as ProofFrame, Proof, 48; {
        /// See [`proof`](super::proof).
        proof: [u8; 32],
    }
}

link_frame! {
    /// The connection stands.
    Welcome as WelcomeFrame, Welcome, 16; {}
}

link_frame! {
    /// The connection does not stand, and ends.
    Refuse as RefuseFrame, Refuse, 256; {
        /// A [`RefuseReason`](super::RefuseReason).
        reason: u8,
        /// 0.
        reserved_a: [u8; 7],
        /// Where the primary takes other nodes, `host:port`, where it is known.
        primary: [u8; MAX_ADDRESS_LEN],
        /// UTF-8 text for a person.
        text: [u8; MAX_REASON_LEN],
        /// 0.
        reserved_b: [u8; 24],
    }
}

link_frame! {
    /// Asks whether the primary's stream has this block boundary.
    Probe as ProbeFrame, Probe, 64; {
        /// Sequence number of the last record before the boundary; 0 for the stream's start.
        lsn: u64,
        /// Chain value of the block before the boundary; zeros for the stream's start.
        chain: Chain,
        /// 0.
        reserved: [u8; 8],
    }
}

link_frame! {
    /// The answer to PROBE.
    MatchReply as MatchFrame, Match, 32; {
        /// 1: it has.
        matches: u8,
        /// 0.
        reserved: [u8; 7],
        /// Sequence number of the last durable record of the primary's stream.
        tail_lsn: u64,
    }
}

link_frame! {
    /// Asks for what follows a boundary that matched.
    Follow as FollowFrame, Follow, 64; {
        /// Sequence number of the last record before the boundary.
        lsn: u64,
        /// Chain value of the block before the boundary.
        chain: Chain,
        /// 0.
        reserved: [u8; 8],
    }
}

link_frame! {
    /// What BLOCK says before the block itself, which follows: head, records and padding, as it is
    /// on disk.
    BlockPreface as BlockPrefaceFields, Block, 32; {
        /// Sequence number of the last record of the stream that was committed when this was sent.
        committed_lsn: u64,
        /// Sequence number of the last record of the stream that is durable at the primary: how far
        /// there is to go.
        durable_lsn: u64,
    }
}

link_frame! {
    /// Everything up to the end of this block is durable at the standby.
    Ack as AckFrame, Ack, 32; {
        /// Sequence number of the block's last record.
        lsn: u64,
        /// Receipt of the block: the first 8 bytes of its chain value.
        receipt: u64,
    }
}

link_frame! {
    /// The standby holds all that was ever answered, and nothing more will be answered without it.
    Grant as GrantFrame, Grant, 16; {}
}

link_frame! {
    /// The grant is durable at the standby.
    Granted as GrantedFrame, Granted, 16; {}
}

link_frame! {
    /// Answers will be given without the standby.
    Revoke as RevokeFrame, Revoke, 16; {}
}

link_frame! {
    /// The end of the grant is durable at the standby.
    Revoked as RevokedFrame, Revoked, 16; {}
}

link_frame! {
    /// Still here.
    Heartbeat as HeartbeatFrame, Heartbeat, 24; {
        /// 1 when the sender's disk is nearly full: a primary takes nothing new then, before what
        /// it answers waits for room there.
        disk_full: u8,
        /// 0.
        reserved: [u8; 7],
    }
}

link_frame! {
    /// What FILE_PART says before its bytes.
    FilePartPreface as FilePartPrefaceFields, FilePart, 32; {
        /// Length of the whole file, bytes.
        file_len: u64,
        /// Where these bytes belong.
        offset: u64,
    }
}
