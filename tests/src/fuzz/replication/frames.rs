//! Bytes as frames: in whatever pieces they come, the same frames are found; what is no frame ends
//! it before room is made for it.

use super::super::input::Input;
use catraca_node::replication::frames::{BUFFER_LEN, Frames};
use catraca_wire::frame::text_of;
use catraca_wire::replication::{
    AcceptFrame, AckFrame, BlockPrefaceFields, FilePartPrefaceFields, FollowFrame, GrantFrame,
    GrantedFrame, HeartbeatFrame, JoinFrame, LINK_HEAD_LEN, LinkError, LinkFrame, LinkHeadFields,
    LinkKind, MatchFrame, ProbeFrame, ProofFrame, Prover, RefuseFrame, RefuseReason, RevokeFrame,
    RevokedFrame, WelcomeFrame, check_head, length_bounds, proof, view,
};

/// Longest stream of bytes: more than the buffer holds, so that what is left in it has to move.
const MAX_LEN: usize = 5 * 1024 * 1024;

/// A program makes the bytes; then they come in pieces.
pub fn run(input: &mut Input<'_>) {
    let bytes = bytes(input);
    let (wanted, end) = parse(&bytes);
    let mut frames = Frames::default();
    let (mut at, mut found) = (0, 0);
    loop {
        match frames.find() {
            Ok(Some(next)) => {
                let (kind, start, len) = wanted[found];
                assert_eq!(
                    (next.kind, frames.bytes(&next)),
                    (kind, &bytes[start..start + len]),
                    "frame {found}"
                );
                check(kind, frames.bytes(&next));
                found += 1;
            }
            Ok(None) => {
                let how = input.byte();
                let alone = how % 2 == 1;
                let room = if alone { frames.room_for_one() } else { frames.room() };
                assert!(!room.is_empty() && room.len() <= BUFFER_LEN);
                if let Some((_, start, len)) = wanted.get(found).filter(|_| alone) {
                    assert!(at + room.len() <= start + len, "room for more than frame {found}");
                }
                let piece = match how {
                    0 => BUFFER_LEN,
                    small @ 1..=100 => usize::from(small),
                    large => usize::from(large) << 12,
                };
                let piece = piece.min(room.len()).min(bytes.len() - at);
                if piece == 0 {
                    assert_eq!(end, None, "nothing but whole frames, and a rest");
                    break;
                }
                room[..piece].copy_from_slice(&bytes[at..at + piece]);
                frames.filled(piece);
                at += piece;
            }
            Err(error) => {
                assert_eq!(Some(error), end, "other than it should be");
                assert_eq!(frames.find(), Err(error), "it stays so");
                break;
            }
        }
    }
    assert_eq!(found, wanted.len());
}

/// What is in the bytes, read all at once: the frames, and the error that ends them.
fn parse(bytes: &[u8]) -> (Vec<(LinkKind, usize, usize)>, Option<LinkError>) {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(head) = bytes.get(at..at + LINK_HEAD_LEN) {
        match check_head(bytemuck::from_bytes(head)) {
            Ok((kind, len)) => {
                let (least, most) = length_bounds(kind);
                assert!((least..=most).contains(&len) && len <= BUFFER_LEN);
                if at + len > bytes.len() {
                    break;
                }
                found.push((kind, at, len));
                at += len;
            }
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

/// Frames, frames with other lengths, and bytes.
fn bytes(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = input.byte() % 32;
    for _ in 0..count {
        let what = input.byte();
        match what % 4 {
            0 => {
                let len = usize::from(input.byte());
                bytes.extend_from_slice(input.piece(len));
            }
            form => {
                let kind = LinkKind::ALL[input.below(LinkKind::ALL.len())];
                let (least, most) = length_bounds(kind);
                let len = least + input.below(most - least + 1);
                let mut head = LinkHeadFields::new(
                    kind,
                    len,
                    u16::from(input.byte()),
                    u32::from(input.byte()),
                );
                if form == 3 && what > 200 {
                    head.length = (input.number() as u32).into();
                }
                if bytes.len() + len > MAX_LEN {
                    continue;
                }
                let start = bytes.len();
                bytes.extend_from_slice(bytemuck::bytes_of(&head));
                bytes.resize(start + len, what);
                let piece = usize::from(input.byte());
                for (to, from) in bytes[start + LINK_HEAD_LEN..].iter_mut().zip(input.piece(piece))
                {
                    *to = *from;
                }
            }
        }
    }
    bytes
}

/// A frame is seen as its kind and as no other, wherever it lies in memory.
fn check(kind: LinkKind, frame: &[u8]) {
    fn is<F: LinkFrame>(kind: LinkKind, frame: &[u8]) {
        let fits = kind == F::KIND && frame.len() == size_of::<F>();
        assert_eq!(
            view::<F>(frame).is_some(),
            fits,
            "{kind} of {} bytes as {}",
            frame.len(),
            F::KIND
        );
        assert!(view::<F>(&frame[..frame.len() - 1]).is_none(), "a part of {kind}");
    }
    is::<JoinFrame>(kind, frame);
    is::<AcceptFrame>(kind, frame);
    is::<ProofFrame>(kind, frame);
    is::<WelcomeFrame>(kind, frame);
    is::<RefuseFrame>(kind, frame);
    is::<ProbeFrame>(kind, frame);
    is::<MatchFrame>(kind, frame);
    is::<FollowFrame>(kind, frame);
    is::<AckFrame>(kind, frame);
    is::<GrantFrame>(kind, frame);
    is::<GrantedFrame>(kind, frame);
    is::<RevokeFrame>(kind, frame);
    is::<RevokedFrame>(kind, frame);
    is::<HeartbeatFrame>(kind, frame);
    match kind {
        LinkKind::Block => drop(preface::<BlockPrefaceFields>(frame)),
        LinkKind::FilePart => drop(preface::<FilePartPrefaceFields>(frame)),
        _ => {}
    }
    if let Some(refuse) = view::<RefuseFrame>(frame) {
        assert!(
            text_of(&refuse.text).len() <= refuse.text.len()
                && text_of(&refuse.primary).len() <= refuse.primary.len()
        );
        assert_eq!(
            RefuseReason::from_wire(refuse.reason)
                .map(RefuseReason::to_wire)
                .unwrap_or(refuse.reason),
            refuse.reason
        );
    }
    if let Some(accept) = view::<AcceptFrame>(frame) {
        // Nobody has made it: it proves nothing.
        assert_ne!(
            proof(&[1; 32], Prover::Listener, &JoinFrame::empty(0, 1), accept),
            accept.proof
        );
    }
}

/// What stands before the bytes that a frame carries, of which there is one at least.
fn preface<P: LinkFrame>(frame: &[u8]) -> P {
    let (preface, rest) = frame.split_at(size_of::<P>());
    assert!(!rest.is_empty());
    *bytemuck::from_bytes(preface)
}
