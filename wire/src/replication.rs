//! The frames between a primary and its standby, each a fixed layout of little-endian fields
//! without padding; REPLICATION.md is their specification.
//!
//! The standby dials. Every connection begins with the same four frames (JOIN, ACCEPT, PROOF,
//! WELCOME), which say who is who and prove that both hold the chain's key; what follows depends on
//! its purpose.

use crate::block::{BLOCK_HEAD_LEN, Chain, MAX_BLOCK_LEN};
use crate::frame::{IntoWire, layout, wire_codes};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Version of this protocol. Both sides must speak the same: a standby is started with the
/// primary's build.
pub const LINK_VERSION: u8 = 1;
/// Length of the head that every frame begins with, bytes.
pub const LINK_HEAD_LEN: usize = 16;
/// Longest address, bytes of ASCII.
pub const MAX_ADDRESS_LEN: usize = 48;
/// Longest text of a REFUSE, bytes of UTF-8.
pub const MAX_REASON_LEN: usize = 160;
/// Bytes of a list that one LIST_PART carries, at most.
pub const MAX_PART_LEN: usize = 256 * 1024;

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
        /// A piece of a list.
        ListPart = 16 => "LIST_PART",
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

layout! {
    /// The first 16 bytes of every frame between nodes.
    LinkHead as LinkHeadFields, 16; {
        /// Length of the whole frame, this head included, bytes.
        length: u32,
        /// A [`LinkKind`].
        kind: u8,
        /// [`LINK_VERSION`].
        version: u8,
        /// The stream it is about, or 0.
        stream: u16,
        /// Highest epoch that the sender knows; on BLOCK and GRANT the epoch of the primary that
        /// sends.
        epoch: u32,
        /// 0.
        reserved: u32,
    }
}

impl LinkHeadFields {
    /// The head of a frame of `length` bytes.
    pub fn new(kind: LinkKind, length: usize, stream: u16, epoch: u32) -> Self {
        Self {
            length: (length as u32).into_wire(),
            kind: kind.to_wire(),
            version: LINK_VERSION,
            stream: stream.into_wire(),
            epoch: epoch.into_wire(),
            reserved: 0.into(),
        }
    }
}

impl IntoWire for LinkHead {
    type Wire = LinkHeadFields;
    fn into_wire(self) -> LinkHeadFields {
        LinkHeadFields::from(&self)
    }
    fn from_wire(wire: LinkHeadFields) -> Self {
        Self::from(&wire)
    }
}

/// A frame between nodes whose length never varies.
pub trait LinkFrame: Pod {
    /// What it is.
    const KIND: LinkKind;
}

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
        /// A [`Purpose`].
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
        /// The listener's proof: see [`proof`].
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
        /// See [`proof`].
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
        /// A [`RefuseReason`].
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
    /// What LIST_PART says before its bytes.
    ListPartPreface as ListPartPrefaceFields, ListPart, 32; {
        /// Length of the whole list, bytes.
        list_len: u64,
        /// Where these bytes belong.
        offset: u64,
    }
}

/// The longest and shortest that a frame of this kind may be, bytes.
pub const fn length_bounds(kind: LinkKind) -> (usize, usize) {
    const fn exactly(len: usize) -> (usize, usize) {
        (len, len)
    }
    match kind {
        LinkKind::Join => exactly(size_of::<JoinFrame>()),
        LinkKind::Accept => exactly(size_of::<AcceptFrame>()),
        LinkKind::Proof => exactly(size_of::<ProofFrame>()),
        LinkKind::Refuse => exactly(size_of::<RefuseFrame>()),
        LinkKind::Probe => exactly(size_of::<ProbeFrame>()),
        LinkKind::Match => exactly(size_of::<MatchFrame>()),
        LinkKind::Follow => exactly(size_of::<FollowFrame>()),
        LinkKind::Block => (
            size_of::<BlockPrefaceFields>() + BLOCK_HEAD_LEN,
            size_of::<BlockPrefaceFields>() + MAX_BLOCK_LEN,
        ),
        LinkKind::Ack => exactly(size_of::<AckFrame>()),
        LinkKind::Heartbeat => exactly(size_of::<HeartbeatFrame>()),
        LinkKind::Welcome
        | LinkKind::Grant
        | LinkKind::Granted
        | LinkKind::Revoke
        | LinkKind::Revoked => exactly(LINK_HEAD_LEN),
        LinkKind::ListPart => (
            size_of::<ListPartPrefaceFields>() + 1,
            size_of::<ListPartPrefaceFields>() + MAX_PART_LEN,
        ),
    }
}

/// Why bytes are no frame between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Another protocol, or another version of it.
    #[error("version {0} of the replication protocol, this node speaks {LINK_VERSION}")]
    Version(u8),
    /// No such kind.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// Not the kind's length.
    #[error("{kind} of {length} bytes")]
    Length {
        /// The kind.
        kind: LinkKind,
        /// The length that its head says.
        length: usize,
    },
}

/// What a head says of the frame that it begins: the kind, and a length that is within the kind's
/// bounds.
///
/// # Errors
/// [`LinkError`], before anything is allocated for the frame.
pub fn check_head(head: &LinkHeadFields) -> Result<(LinkKind, usize), LinkError> {
    if head.version != LINK_VERSION {
        return Err(LinkError::Version(head.version));
    }
    let kind = LinkKind::from_wire(head.kind).ok_or(LinkError::Kind(head.kind))?;
    let length = head.length.to_native() as usize;
    let (least, most) = length_bounds(kind);
    if (least..=most).contains(&length) {
        Ok((kind, length))
    } else {
        Err(LinkError::Length { kind, length })
    }
}

/// A whole frame as this kind; `None` if it is another, or not its length.
pub fn view<F: LinkFrame>(frame: &[u8]) -> Option<&F> {
    let head: &LinkHeadFields = bytemuck::try_from_bytes(frame.get(..LINK_HEAD_LEN)?).ok()?;
    if head.kind != F::KIND.to_wire() {
        return None;
    }
    bytemuck::try_from_bytes(frame).ok()
}

/// Which side proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prover {
    /// Who called.
    Dialer,
    /// Who was called.
    Listener,
}

/// The proof of one side: keyed BLAKE3 over its name and both first frames (ACCEPT's own proof as
/// zeros). The key is derived from the chain's, so that a proof tells nothing of that and serves
/// for nothing else; both nonces are in it, so that it can't be repeated.
pub fn proof(
    chain_key: &crate::block::ChainKey,
    prover: Prover,
    join: &JoinFrame,
    accept: &AcceptFrame,
) -> [u8; 32] {
    let key = blake3::derive_key("catraca replication link v1", chain_key);
    let accept = AcceptFrame { proof: [0; 32], ..*accept };
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(match prover {
        Prover::Dialer => b"dialer  ",
        Prover::Listener => b"listener",
    });
    hasher.update(bytemuck::bytes_of(join));
    hasher.update(bytemuck::bytes_of(&accept));
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_bounded_before_anything_is_read() {
        for &kind in LinkKind::ALL {
            let (least, most) = length_bounds(kind);
            assert!(LINK_HEAD_LEN <= least && least <= most && most <= MAX_BLOCK_LEN + 32);
            assert_eq!(check_head(&LinkHeadFields::new(kind, most, 0, 1)), Ok((kind, most)));
            let over = LinkHeadFields::new(kind, most + 1, 0, 1);
            assert_eq!(check_head(&over), Err(LinkError::Length { kind, length: most + 1 }));
            let under = LinkHeadFields::new(kind, least - 1, 0, 1);
            assert_eq!(check_head(&under), Err(LinkError::Length { kind, length: least - 1 }));
        }
        let mut head = LinkHeadFields::new(LinkKind::Grant, 16, 0, 1);
        head.kind = 99;
        assert_eq!(check_head(&head), Err(LinkError::Kind(99)));
        head.version = 2;
        assert_eq!(check_head(&head), Err(LinkError::Version(2)));
    }

    #[test]
    fn a_proof_is_of_one_side_one_key_and_one_handshake() {
        let mut join = JoinFrame::empty(0, 3);
        let accept = AcceptFrame::empty(0, 4);
        let made = proof(&[1; 32], Prover::Listener, &join, &accept);
        assert_ne!(made, proof(&[1; 32], Prover::Dialer, &join, &accept));
        assert_ne!(made, proof(&[2; 32], Prover::Listener, &join, &accept));
        assert_eq!(
            made,
            proof(&[1; 32], Prover::Listener, &join, &AcceptFrame { proof: made, ..accept })
        );
        join.nonce[0] = 1;
        assert_ne!(made, proof(&[1; 32], Prover::Listener, &join, &accept));
    }

    #[test]
    fn a_frame_is_seen_as_its_kind_only() {
        let ack = AckFrame::empty(1, 2);
        assert!(view::<AckFrame>(bytemuck::bytes_of(&ack)).is_some());
        assert!(view::<MatchFrame>(bytemuck::bytes_of(&ack)).is_none());
        assert!(view::<AckFrame>(&bytemuck::bytes_of(&ack)[..31]).is_none());
    }
}
