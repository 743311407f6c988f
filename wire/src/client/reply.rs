//! From the bytes of a reply to its meaning, with every length and code checked. Pure: no socket
//! here.

use super::audit::{self, AuditPiece};
use super::comparison::Comparison;
use super::error::{ProtocolError, ServerError};
use crate::address::host_and_port;
use crate::extension::Label;
use crate::frame::{
    Answer, AuditEntryHeadFields, AuthStateFrame, BlacklistStateFrame, BlacklistStateReply,
    Breaker, ClusterStateFrame, Durability, ErrorCode, ErrorFrame, FLAG_CLOSING, FLAG_MORE,
    FixedFrame, FrameKind, HEADER_LEN, HeaderFields, HistogramHeadFields, LabelKind,
    LabelStateFrame, LabelStateReply, ListStateFrame, ListStateReply, MAX_DETAIL_LEN,
    MAX_REPLY_LEN, NEVER_HEARD, PROTOCOL_VERSION, PolicyStateFrame, PolicyStateReply, PongFrame,
    RecordPlace, RecordPlaceFields, Role, Stage, VERDICT_DEGRADED, VERDICT_DUPLICATE,
    VERDICT_SHADOW_DISAGREES, ValidatorStateFrame, ValidatorStateReply, Verdict, VerdictFrame,
    Welcome, WelcomeFrame, text_of, view,
};
use crate::record::{MAX_EXTENSION_LEN, RECORD_LEN, Reason, Record, RecordHead, RecordKind};

/// What the server decided on a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Approve, review or deny.
    pub verdict: Verdict,
    /// It was decided before; this is that decision.
    pub duplicate: bool,
    /// Decided without an answer that the policy asked for.
    pub degraded: bool,
    /// A rule in shadow would have decided otherwise.
    pub shadow_disagrees: bool,
    /// The first thing that settled it; `None` for one that a newer server knows.
    pub reason: Option<Reason>,
    /// Everything that VERDICT says.
    pub answer: Answer,
}

/// A stored decision, as LOOKUP finds it. Holds documents in full: personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredDecision {
    /// What was decided.
    pub verdict: Verdict,
    /// The first thing that settled it; `None` for one that a newer server knows.
    pub reason: Option<Reason>,
    /// Where the record lies, and the chain value of its block.
    pub place: RecordPlace,
    /// The record.
    pub record: Record,
    /// What the decision saw beyond the record's fixed fields.
    pub extension: Vec<u8>,
}

/// Without the transaction, whose documents no log should get.
impl std::fmt::Debug for StoredDecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredDecision")
            .field("verdict", &self.verdict)
            .field("reason", &self.reason)
            .field("shard", &self.place.shard)
            .field("lsn", &self.record.lsn)
            .finish_non_exhaustive()
    }
}

/// What became known of a stored decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedLabel {
    /// What it says, and of which decision.
    pub label: Label,
    /// Sequence number of its own record.
    pub lsn: u64,
    /// When it was recorded, nanoseconds since 1970 UTC.
    pub logged_at_ns: u64,
}

/// One latency histogram of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// What it measures.
    pub stage: Stage,
    /// What it covers: the node's uptime, nanoseconds.
    pub uptime_ns: u64,
    /// HdrHistogram V2, DEFLATE-compressed; values are nanoseconds.
    pub encoded: Vec<u8>,
}

/// A node's part in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterState {
    /// Decides, or follows.
    pub role: Role,
    /// Where an answered decision is safe.
    pub durability: Durability,
    /// The standby holds everything that was ever answered; on a standby: it may be promoted
    /// without loss.
    pub in_sync: bool,
    /// The other node is connected now.
    pub connected: bool,
    /// Epoch in which the node decides, or follows.
    pub epoch: u32,
    /// Identity of the node.
    pub node_id: [u8; 16],
    /// Identity of the cluster.
    pub cluster_id: [u8; 16],
    /// Identity of the other node, where one is known.
    pub peer_node_id: Option<[u8; 16]>,
    /// Records that the standby lacks, as far as the node knows.
    pub behind_records: u64,
    /// The same in bytes of the log.
    pub behind_bytes: u64,
    /// Since the other node was last heard, milliseconds; `None` where it never was.
    pub silence_ms: Option<u64>,
    /// Where clients reach the primary, `host:port`; `None` where unknown, or where this is it.
    pub primary: Option<String>,
    /// Where the other node replicates, `host:port`; `None` where none is configured.
    pub peer: Option<String>,
}

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The handshake succeeded.
    Welcome(Welcome),
    /// VERDICT.
    Decision(Decision),
    /// ERROR.
    Error(ServerError),
    /// RECORD with a decision.
    Record {
        /// The decision.
        stored: Box<StoredDecision>,
        /// Labels of it follow.
        more: bool,
    },
    /// RECORD with a label of the decision before it.
    RecordedLabel {
        /// The label.
        label: RecordedLabel,
        /// Another one follows.
        more: bool,
    },
    /// BLACKLIST_STATE.
    BlacklistState(BlacklistStateReply),
    /// POLICY_STATE.
    PolicyState(Box<PolicyStateReply>),
    /// LABEL_STATE.
    LabelState(LabelStateReply),
    /// COMPARISON.
    Comparison(Box<Comparison>),
    /// LIST_STATE.
    ListState(ListStateReply),
    /// VALIDATOR_STATE.
    ValidatorState(ValidatorStateReply),
    /// AUTH_STATE.
    AuthState {
        /// Until when the token counts, nanoseconds since 1970 UTC; 0 for no end.
        expires_at_ns: u64,
    },
    /// HISTOGRAM.
    Histogram {
        /// One stage.
        histogram: Histogram,
        /// Another stage follows.
        more: bool,
    },
    /// AUDIT_ENTRY.
    AuditEntry {
        /// An entry, or the end.
        piece: Box<AuditPiece>,
        /// Another one with this correlation follows.
        more: bool,
    },
    /// PONG.
    Pong {
        /// The server's clock, nanoseconds since 1970 UTC.
        server_time_ns: u64,
    },
    /// CLUSTER_STATE.
    ClusterState(Box<ClusterState>),
}

impl Body {
    /// The kind of frame that it came in.
    pub const fn kind(&self) -> FrameKind {
        match self {
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Decision(_) => FrameKind::Verdict,
            Self::Error(_) => FrameKind::Error,
            Self::Record { .. } | Self::RecordedLabel { .. } => FrameKind::Record,
            Self::BlacklistState(_) => FrameKind::BlacklistState,
            Self::PolicyState(_) => FrameKind::PolicyState,
            Self::LabelState(_) => FrameKind::LabelState,
            Self::Comparison(_) => FrameKind::Comparison,
            Self::ListState(_) => FrameKind::ListState,
            Self::ValidatorState(_) => FrameKind::ValidatorState,
            Self::AuthState { .. } => FrameKind::AuthState,
            Self::Histogram { .. } => FrameKind::Histogram,
            Self::AuditEntry { .. } => FrameKind::AuditEntry,
            Self::Pong { .. } => FrameKind::Pong,
            Self::ClusterState(_) => FrameKind::ClusterState,
        }
    }
}

/// The length of the reply that begins with this header, if a server may send it: checked before
/// room is made for it.
///
/// # Errors
/// A kind or a version that no server sends, or a length that the kind can't have.
pub fn reply_len(header: &[u8; HEADER_LEN]) -> Result<usize, ProtocolError> {
    let header: &HeaderFields = bytemuck::cast_ref(header);
    let kind = FrameKind::from_wire(header.kind).ok_or(ProtocolError::Kind(header.kind))?;
    if header.version != PROTOCOL_VERSION {
        return Err(ProtocolError::Version(header.version));
    }
    let possible = match kind {
        FrameKind::Welcome => WelcomeFrame::LEN..=WelcomeFrame::LEN,
        FrameKind::Verdict => VerdictFrame::LEN..=VerdictFrame::LEN,
        FrameKind::Record => RECORD_REPLY_LEN..=RECORD_REPLY_LEN + MAX_EXTENSION_LEN,
        FrameKind::BlacklistState => BlacklistStateFrame::LEN..=BlacklistStateFrame::LEN,
        FrameKind::PolicyState => PolicyStateFrame::LEN..=PolicyStateFrame::LEN,
        FrameKind::LabelState => LabelStateFrame::LEN..=LabelStateFrame::LEN,
        FrameKind::ListState => ListStateFrame::LEN..=ListStateFrame::LEN,
        FrameKind::ValidatorState => ValidatorStateFrame::LEN..=ValidatorStateFrame::LEN,
        FrameKind::AuthState => AuthStateFrame::LEN..=AuthStateFrame::LEN,
        FrameKind::Histogram => size_of::<HistogramHeadFields>()..=MAX_REPLY_LEN,
        FrameKind::Comparison => Comparison::LEN_WITHOUT_RULES..=MAX_REPLY_LEN,
        FrameKind::AuditEntry => AUDIT_ENTRY_LEN..=AUDIT_ENTRY_LEN + RECORD_LEN + MAX_EXTENSION_LEN,
        FrameKind::Pong => PongFrame::LEN..=PongFrame::LEN,
        FrameKind::Error => ErrorFrame::LEN..=ErrorFrame::LEN,
        FrameKind::ClusterState => ClusterStateFrame::LEN..=ClusterStateFrame::LEN,
        _ => return Err(ProtocolError::Kind(header.kind)),
    };
    let length = header.length.to_native();
    if possible.contains(&(length as usize)) {
        Ok(length as usize)
    } else {
        Err(ProtocolError::Length { kind, length })
    }
}

const AUDIT_ENTRY_LEN: usize = size_of::<AuditEntryHeadFields>();
const RECORD_REPLY_LEN: usize = size_of::<RecordPlaceFields>() + RECORD_LEN;

/// The meaning of a whole reply; gives its correlation too.
///
/// # Errors
/// How the server broke the protocol; nothing of the connection can be trusted after it.
pub fn decode(frame: &[u8]) -> Result<(u64, Body), ProtocolError> {
    let Some(header) = frame.first_chunk::<HEADER_LEN>() else {
        return Err(ProtocolError::Kind(0));
    };
    let expected = reply_len(header)?;
    let header: &HeaderFields = bytemuck::cast_ref(header);
    let kind = FrameKind::from_wire(header.kind).ok_or(ProtocolError::Kind(header.kind))?;
    let wrong_length = || ProtocolError::Length { kind, length: frame.len() as u32 };
    if frame.len() != expected {
        return Err(wrong_length());
    }
    let flags = header.flags.to_native();
    let body = match kind {
        FrameKind::Welcome => welcome(view(frame).ok_or_else(wrong_length)?)?,
        FrameKind::Verdict => decision(view(frame).ok_or_else(wrong_length)?)?,
        FrameKind::Record => record(frame, flags & FLAG_MORE != 0)?,
        FrameKind::BlacklistState => Body::BlacklistState(BlacklistStateReply::from(
            view::<BlacklistStateFrame>(frame).ok_or_else(wrong_length)?,
        )),
        FrameKind::PolicyState => Body::PolicyState(Box::new(PolicyStateReply::from(
            view::<PolicyStateFrame>(frame).ok_or_else(wrong_length)?,
        ))),
        FrameKind::LabelState => label_state(view(frame).ok_or_else(wrong_length)?)?,
        FrameKind::ListState => Body::ListState(ListStateReply::from(
            view::<ListStateFrame>(frame).ok_or_else(wrong_length)?,
        )),
        FrameKind::ValidatorState => validator_state(view(frame).ok_or_else(wrong_length)?)?,
        FrameKind::AuthState => {
            let state: &AuthStateFrame = view(frame).ok_or_else(wrong_length)?;
            Body::AuthState { expires_at_ns: state.expires_at_ns.to_native() }
        }
        FrameKind::Histogram => histogram(frame, flags)?,
        FrameKind::AuditEntry => {
            let piece = Box::new(audit::read(frame)?);
            Body::AuditEntry { piece, more: flags & FLAG_MORE != 0 }
        }
        FrameKind::Comparison => {
            Body::Comparison(Box::new(Comparison::read(frame).ok_or_else(wrong_length)?))
        }
        FrameKind::Pong => Body::Pong {
            server_time_ns: view::<PongFrame>(frame)
                .ok_or_else(wrong_length)?
                .server_time_ns
                .to_native(),
        },
        FrameKind::Error => error(view(frame).ok_or_else(wrong_length)?, flags)?,
        FrameKind::ClusterState => cluster_state(view(frame).ok_or_else(wrong_length)?)?,
        _ => return Err(ProtocolError::Kind(header.kind)),
    };
    Ok((header.correlation.to_native(), body))
}

fn code<T>(
    what: &'static str,
    code: impl Into<u32> + Copy,
    known: Option<T>,
) -> Result<T, ProtocolError> {
    known.ok_or(ProtocolError::Code { what, code: code.into() })
}

fn welcome(frame: &WelcomeFrame) -> Result<Body, ProtocolError> {
    if frame.version != PROTOCOL_VERSION {
        return Err(ProtocolError::Version(frame.version));
    }
    code("role", frame.role, Role::from_wire(frame.role))?;
    code("durability", frame.durability, Durability::from_wire(frame.durability))?;
    let in_flight = frame.in_flight.to_native();
    code("in_flight", in_flight, (in_flight > 0).then_some(()))?;
    Ok(Body::Welcome(Welcome::from(frame)))
}

fn decision(frame: &VerdictFrame) -> Result<Body, ProtocolError> {
    let answer = Answer::from(&frame.answer);
    // Never a guess: what is no known verdict must not be taken for an approval.
    let verdict = code("verdict", answer.verdict, Verdict::from_wire(answer.verdict))?;
    Ok(Body::Decision(Decision {
        verdict,
        duplicate: answer.flags & VERDICT_DUPLICATE != 0,
        degraded: answer.flags & VERDICT_DEGRADED != 0,
        shadow_disagrees: answer.flags & VERDICT_SHADOW_DISAGREES != 0,
        reason: Reason::from_wire(answer.reason),
        answer,
    }))
}

fn record(frame: &[u8], more: bool) -> Result<Body, ProtocolError> {
    let wrong =
        |length: usize| ProtocolError::Length { kind: FrameKind::Record, length: length as u32 };
    let (place, rest) =
        frame.split_at_checked(size_of::<RecordPlaceFields>()).ok_or_else(|| wrong(frame.len()))?;
    let (head, extension) = rest.split_at_checked(RECORD_LEN).ok_or_else(|| wrong(frame.len()))?;
    let place: &RecordPlaceFields = view(place).ok_or_else(|| wrong(frame.len()))?;
    let head: &RecordHead = view(head).ok_or_else(|| wrong(frame.len()))?;
    if usize::from(place.extension_len.to_native()) != extension.len()
        || head.extension_len != place.extension_len
    {
        return Err(wrong(frame.len()));
    }
    match RecordKind::from_wire(head.kind) {
        Some(RecordKind::Decision) => {
            let stored = Box::new(StoredDecision {
                verdict: code("verdict", head.verdict, Verdict::from_wire(head.verdict))?,
                reason: Reason::from_wire(head.reason),
                place: RecordPlace::from(place),
                record: Record::from(head),
                extension: extension.to_vec(),
            });
            Ok(Body::Record { stored, more })
        }
        Some(RecordKind::Label) => {
            let label = RecordedLabel {
                label: code("label", head.kind, Label::read(extension))?,
                lsn: head.lsn.to_native(),
                logged_at_ns: head.decided_at_ns.to_native(),
            };
            Ok(Body::RecordedLabel { label, more })
        }
        _ => Err(ProtocolError::Code { what: "record kind", code: head.kind.into() }),
    }
}

fn label_state(frame: &LabelStateFrame) -> Result<Body, ProtocolError> {
    code("verdict", frame.verdict, Verdict::from_wire(frame.verdict))?;
    code("label", frame.counts, LabelKind::from_wire(frame.counts))?;
    Ok(Body::LabelState(LabelStateReply::from(frame)))
}

fn validator_state(frame: &ValidatorStateFrame) -> Result<Body, ProtocolError> {
    code("breaker", frame.before, Breaker::from_wire(frame.before))?;
    code("breaker", frame.now, Breaker::from_wire(frame.now))?;
    Ok(Body::ValidatorState(ValidatorStateReply::from(frame)))
}

fn histogram(frame: &[u8], flags: u16) -> Result<Body, ProtocolError> {
    let wrong =
        |length: usize| ProtocolError::Length { kind: FrameKind::Histogram, length: length as u32 };
    let (head, encoded) = frame
        .split_at_checked(size_of::<HistogramHeadFields>())
        .ok_or_else(|| wrong(frame.len()))?;
    let head: &HistogramHeadFields = view(head).ok_or_else(|| wrong(frame.len()))?;
    if head.encoded_len.to_native() as usize != encoded.len() {
        return Err(wrong(frame.len()));
    }
    let stage = code("stage", head.stage, Stage::from_wire(head.stage))?;
    let histogram =
        Histogram { stage, uptime_ns: head.uptime_ns.to_native(), encoded: encoded.to_vec() };
    Ok(Body::Histogram { histogram, more: flags & FLAG_MORE != 0 })
}

fn cluster_state(frame: &ClusterStateFrame) -> Result<Body, ProtocolError> {
    let flag = |what, value: u8| code(what, value, (value <= 1).then_some(value == 1));
    let silence_ms = frame.silence_ms.to_native();
    Ok(Body::ClusterState(Box::new(ClusterState {
        role: code("role", frame.role, Role::from_wire(frame.role))?,
        durability: code("durability", frame.durability, Durability::from_wire(frame.durability))?,
        in_sync: flag("in_sync", frame.in_sync)?,
        connected: flag("connected", frame.connected)?,
        epoch: frame.epoch.to_native(),
        node_id: frame.node_id,
        cluster_id: frame.cluster_id,
        peer_node_id: (frame.peer_node_id != [0; 16]).then_some(frame.peer_node_id),
        behind_records: frame.behind_records.to_native(),
        behind_bytes: frame.behind_bytes.to_native(),
        silence_ms: (silence_ms != NEVER_HEARD).then_some(silence_ms),
        primary: address(&frame.primary),
        peer: address(&frame.peer),
    })))
}

/// An address that a server names: printable ASCII, because it is printed and connected to.
/// Anything else counts as none.
pub fn address(field: &[u8]) -> Option<String> {
    let text = text_of(field);
    host_and_port(text).is_ok().then(|| text.to_owned())
}

fn error(frame: &ErrorFrame, flags: u16) -> Result<Body, ProtocolError> {
    let number = frame.code.to_native();
    let detail_len = frame.detail_len.to_native();
    code("detail_len", detail_len, (usize::from(detail_len) <= MAX_DETAIL_LEN).then_some(()))?;
    Ok(Body::Error(ServerError {
        code: code("error code", number, ErrorCode::from_wire(number))?,
        retry_after_ms: frame.retry_after_ms.to_native(),
        detail: frame.detail_text(),
        closing: flags & FLAG_CLOSING != 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_vector_of_a_reply_is_understood() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../vectors/frames.json")).expect("JSON");
        let mut replies = 0;
        for vector in vectors.as_array().expect("an array") {
            let hex = vector["hex"].as_str().expect("hex");
            let frame: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("digits"))
                .collect();
            let kind = FrameKind::from_wire(frame[4]).expect("a kind");
            match decode(&frame) {
                Ok((correlation, body)) => {
                    assert_eq!(vector["header"]["correlation"], correlation.to_string());
                    assert_eq!(body.kind(), kind);
                    replies += 1;
                }
                Err(error) => {
                    assert!(
                        crate::frame::request_len(kind).is_some(),
                        "{}: {error}",
                        vector["name"]
                    );
                    assert_eq!(error, ProtocolError::Kind(frame[4]));
                }
            }
            for len in 0..frame.len() {
                assert!(decode(&frame[..len]).is_err(), "{} cut to {len}", vector["name"]);
            }
        }
        assert!(replies > 25, "{replies}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_refused(
            kind in 0u8..30, length in 0u32..5_000, honest in any::<bool>(), mut frame in proptest::collection::vec(any::<u8>(), 16..5_000)
        ) {
            // Mostly plausible headers, so that bodies are reached too.
            let length = if honest { frame.len() as u32 } else { length };
            frame[..4].copy_from_slice(&length.to_le_bytes());
            frame[4] = kind;
            frame[5] = 1;
            let _ = decode(&frame);
        }

        #[test]
        fn any_body_of_a_right_length_is_understood_or_refused(kind in 1u8..30, fill in proptest::collection::vec(any::<u8>(), 512)) {
            for length in [24usize, 32, 64, 128, 152, 256, 320] {
                let mut frame = fill[..length].to_vec();
                frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
                frame[4] = kind;
                frame[5] = 1;
                let _ = decode(&frame);
            }
        }
    }
}
