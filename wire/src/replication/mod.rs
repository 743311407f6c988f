//! The frames between a primary and its standby, each a fixed layout of little-endian fields
//! without padding; REPLICATION.md is their specification.
//!
//! The standby dials. Every connection begins with the same four frames (JOIN, ACCEPT, PROOF,
//! WELCOME), which say who is who and prove that both hold the chain's key; what follows depends on
//! its purpose. What has a name lives in `codes`, the frames' fields in `layouts`; here is what all
//! frames have in common, and the proof.

mod codes;
mod layouts;

use crate::block::{BLOCK_HEAD_LEN, MAX_BLOCK_LEN};
use crate::frame::{IntoWire, layout};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

pub use codes::{LinkKind, Purpose, RefuseReason};
pub use layouts::*;

/// Version of this protocol. Both sides must speak the same: a standby is started with the
/// primary's build.
pub const LINK_VERSION: u8 = 1;
/// Length of the head that every frame begins with, bytes.
pub const LINK_HEAD_LEN: usize = 16;
/// Longest address, bytes of ASCII.
pub const MAX_ADDRESS_LEN: usize = 48;
/// Longest text of a REFUSE, bytes of UTF-8.
pub const MAX_REASON_LEN: usize = 160;
/// Bytes of a file that one FILE_PART carries, at most.
pub const MAX_PART_LEN: usize = 256 * 1024;

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
        LinkKind::FilePart => (
            size_of::<FilePartPrefaceFields>() + 1,
            size_of::<FilePartPrefaceFields>() + MAX_PART_LEN,
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
