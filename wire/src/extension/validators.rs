//! The section of the validators that were asked about a payment, and of what came of it.
//!
//! ```text
//! kind u16 │ len u16 │ 0, 4 bytes │ of each that was asked, in the order of the policy: 32 bytes
//! ```

use super::{SECTION_VALIDATORS, section};
use crate::frame::{layout, wire_codes};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Most validators that a decision depends on.
pub const MAX_ASKED_VALIDATORS: usize = 8;

const HEAD_LEN: usize = 8;

/// Length of the longest section of validators, bytes.
pub const MAX_VALIDATORS_SECTION_LEN: usize =
    HEAD_LEN + MAX_ASKED_VALIDATORS * size_of::<AskedValidatorFields>();

wire_codes! {
    /// Where an answer of a validator comes from.
    AnswerSource: u8 {
        /// There is none.
        Nowhere = 0 => "nowhere",
        /// The validator was asked about this payment.
        Asked = 1 => "asked",
        /// It was being asked already, about another payment that is the same to it.
        Joined = 2 => "joined",
        /// The core's own cache.
        Core = 3 => "core_cache",
        /// The cache that all cores of the node share.
        Node = 4 => "node_cache",
        /// The cache that nodes share.
        Shared = 5 => "shared_cache",
        /// An answer that was no longer good, for want of another.
        Stale = 6 => "stale",
    }
}

wire_codes! {
    /// Why there is no answer of a validator.
    NoAnswer: u8 {
        /// There is one.
        Answered = 0 => "answered",
        /// It did not answer in time.
        Timeout = 1 => "timeout",
        /// It failed, or what it said is no answer.
        Failed = 2 => "failed",
        /// It is left alone for a while, because it failed.
        BreakerOpen = 3 => "breaker_open",
        /// Somebody had it left alone.
        ForcedOpen = 4 => "forced_open",
        /// It was asked as much as it may be.
        RateLimited = 5 => "rate_limited",
        /// Too many questions wait for it.
        QueueFull = 6 => "queue_full",
        /// Too many payments wait for validators.
        TooManyParked = 7 => "too_many_parked",
        /// The payment's budget leaves no time.
        NoTime = 8 => "no_time",
        /// The policy had changed while the payment waited.
        PolicyChanged = 9 => "policy_changed",
        /// It could not be reached by this node: its settings make no sense here.
        NotSetUp = 10 => "not_set_up",
    }
}

wire_codes! {
    /// How it stands with a validator's circuit breaker.
    BreakerState: u8 {
        /// It is asked.
        Closed = 0 => "closed",
        /// It is left alone.
        Open = 1 => "open",
        /// It is tried.
        HalfOpen = 2 => "half_open",
    }
}

layout! {
    /// A validator that was asked.
    AskedValidatorHead as AskedValidatorFields, 32; {
        /// Its place in the policy.
        validator: u8,
        /// An [`AnswerSource`].
        source: u8,
        /// A [`NoAnswer`].
        no_answer: u8,
        /// A [`BreakerState`], when the answer came.
        breaker: u8,
        /// Attempts that were made.
        attempts: u8,
        /// 0.
        reserved: [u8; 3],
        /// How long the payment waited for it, microseconds.
        waited_us: u32,
        /// How old the answer was, milliseconds.
        age_ms: u32,
        /// Keyed hash of what it was asked about.
        key: [u8; 16],
    }
}

/// A validator that was asked about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedValidator {
    /// Its place in the policy.
    pub validator: u8,
    /// Where the answer comes from.
    pub source: AnswerSource,
    /// Why there is none.
    pub no_answer: NoAnswer,
    /// How it stood with its breaker.
    pub breaker: BreakerState,
    /// Attempts that were made.
    pub attempts: u8,
    /// How long the payment waited for it, microseconds.
    pub waited_us: u32,
    /// How old the answer was, milliseconds.
    pub age_ms: u32,
    /// Keyed hash of what it was asked about.
    pub key: [u8; 16],
}

/// Writes the section; gives its bytes.
///
/// # Panics
/// For more than [`MAX_ASKED_VALIDATORS`].
pub fn write_asked<'b>(
    asked: &[AskedValidator],
    into: &'b mut [u8; MAX_VALIDATORS_SECTION_LEN],
) -> &'b [u8] {
    assert!(asked.len() <= MAX_ASKED_VALIDATORS, "{} validators", asked.len());
    let len = HEAD_LEN + asked.len() * size_of::<AskedValidatorFields>();
    into[..HEAD_LEN].fill(0);
    into[..2].copy_from_slice(&SECTION_VALIDATORS.to_le_bytes());
    into[2..4].copy_from_slice(&(len as u16).to_le_bytes());
    let places = into[HEAD_LEN..].chunks_exact_mut(size_of::<AskedValidatorFields>());
    for (place, one) in places.zip(asked) {
        let fields: &mut AskedValidatorFields = bytemuck::from_bytes_mut(place);
        *fields = AskedValidatorFields::from(&AskedValidatorHead {
            validator: one.validator,
            source: one.source.to_wire(),
            no_answer: one.no_answer.to_wire(),
            breaker: one.breaker.to_wire(),
            attempts: one.attempts,
            reserved: [0; 3],
            waited_us: one.waited_us,
            age_ms: one.age_ms,
            key: one.key,
        });
    }
    &into[..len]
}

/// The validators that an extension says were asked; none where it has no such section, or an unsound one.
pub fn read_asked(extension: &[u8]) -> Vec<AskedValidator> {
    let section = section(extension, SECTION_VALIDATORS).unwrap_or(&[]);
    let places = section.get(HEAD_LEN..).unwrap_or(&[]);
    let size = size_of::<AskedValidatorFields>();
    let read = |place: &[u8]| {
        let fields: AskedValidatorFields = bytemuck::pod_read_unaligned(place);
        Some(AskedValidator {
            validator: fields.validator,
            source: AnswerSource::from_wire(fields.source)?,
            no_answer: NoAnswer::from_wire(fields.no_answer)?,
            breaker: BreakerState::from_wire(fields.breaker)?,
            attempts: fields.attempts,
            waited_us: fields.waited_us.to_native(),
            age_ms: fields.age_ms.to_native(),
            key: fields.key,
        })
    };
    if places.len() > MAX_ASKED_VALIDATORS * size || !places.len().is_multiple_of(size) {
        return Vec::new();
    }
    places.chunks_exact(size).map(read).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_asked_is_read_as_it_was_written() {
        let one = |validator: u8| AskedValidator {
            validator,
            source: AnswerSource::Stale,
            no_answer: NoAnswer::Answered,
            breaker: BreakerState::HalfOpen,
            attempts: 2,
            waited_us: 45_000,
            age_ms: 1_000 * u32::from(validator),
            key: [validator; 16],
        };
        for count in 0..=MAX_ASKED_VALIDATORS as u8 {
            let asked: Vec<_> = (0..count).map(one).collect();
            let mut bytes = [0xff; MAX_VALIDATORS_SECTION_LEN];
            let section = write_asked(&asked, &mut bytes).to_vec();
            assert_eq!(section.len(), 8 + 32 * usize::from(count));
            assert_eq!(read_asked(&section), asked);
        }
        let mut bytes = [0; MAX_VALIDATORS_SECTION_LEN];
        let mut section = write_asked(&[one(1)], &mut bytes).to_vec();
        section[9] = 99;
        assert_eq!(read_asked(&section), []);
        assert_eq!(read_asked(&[]), []);
    }
}
