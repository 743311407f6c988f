//! The fields of VALIDATOR and VALIDATOR_STATE: what a person says of a validator's circuit breaker.

use super::layouts::frame;
use super::{FixedFrame, FrameKind, Header, HeaderFields, layout};
use crate::list::{MAX_AUTHOR_LEN, MAX_LIST_NAME_LEN, MAX_LIST_REASON_LEN};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

frame! {
    /// Forces a validator's circuit breaker, or leaves it to itself again.
    ValidatorRequest as ValidatorFrame, Validator, 192; {
        /// A [`BreakerForce`](crate::frame::BreakerForce).
        force: u8,
        /// 0.
        reserved_a: [u8; 7],
        /// Id of the validator; zeros behind it.
        validator: [u8; MAX_LIST_NAME_LEN],
        /// Who asks for it; zeros behind it.
        author: [u8; MAX_AUTHOR_LEN],
        /// Why; zeros behind it.
        reason: [u8; MAX_LIST_REASON_LEN],
        /// 0.
        reserved_b: [u8; 8],
    }
}

frame! {
    /// The breaker after a VALIDATOR.
    ValidatorStateReply as ValidatorStateFrame, ValidatorState, 64; {
        /// 1 if the breaker stands otherwise than before.
        changed: u8,
        /// The [`Breaker`](crate::frame::Breaker) before.
        before: u8,
        /// The [`Breaker`](crate::frame::Breaker) now.
        now: u8,
        /// 0.
        reserved_a: [u8; 5],
        /// When it was recorded, nanoseconds since 1970 UTC.
        forced_at_ns: u64,
        /// 0.
        reserved_b: [u8; 32],
    }
}
