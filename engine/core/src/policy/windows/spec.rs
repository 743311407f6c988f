//! What may be asked of windows: of whom, over which time, of which payments, which number.

use super::set::{ESTIMATED, SET_MAX};
use catraca_wire::frame::Verdict;
use catraca_wire::transaction::Rail;
use thiserror::Error;

/// Shortest sliding window, seconds: one minute.
pub const MIN_SPAN_S: u32 = 60;
/// Longest sliding window, seconds: 90 days.
pub const MAX_SPAN_S: u32 = 90 * 24 * 60 * 60;
/// Fewest buckets of a sliding window: the error is a quarter of the span.
pub const MIN_BUCKETS: u8 = 4;
/// Most buckets of a sliding window: with those beside them, presence is 64 bits.
pub const MAX_BUCKETS: u8 = 48;
/// Most values that are asked at once: a decision reads all of them.
pub const MAX_ASKED: usize = catraca_wire::extension::MAX_WINDOW_VALUES;
/// Longest state of one key, bytes: a page. What is asked of one subject may not need more.
pub const MAX_ENTRY_LEN: usize = 4096;
/// Fewest keys of a table: one word of the bits that say which were used.
pub const MIN_KEYS: usize = 64;
/// Most keys of a table, 8,388,608: as many as its index has slots.
pub const MAX_KEYS: usize = crate::slot_index::MAX_SLOTS;

/// Whose payments a window is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Subject {
    /// Who pays.
    Payer,
    /// Who is paid.
    Payee,
    /// The device that the payment was started with.
    Device,
    /// The account that pays.
    PayerAccount,
    /// The account that is paid.
    PayeeAccount,
    /// This payer to this payee.
    PayerToPayee,
    /// This payer with this device.
    PayerToDevice,
    /// To this payee with this device.
    PayeeToDevice,
}

impl Subject {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Payer,
        Self::Payee,
        Self::Device,
        Self::PayerAccount,
        Self::PayeeAccount,
        Self::PayerToPayee,
        Self::PayerToDevice,
        Self::PayeeToDevice,
    ];
}

impl Subject {
    /// Whether all payments of a key have one payer, so that one shard decides them all.
    pub const fn is_of_payer(self) -> bool {
        matches!(self, Self::Payer | Self::PayerToPayee | Self::PayerToDevice)
    }
}

/// The keys of a payment, by the number of their subject: well-mixed keyed hashes. `None`: the payment
/// lacks it.
pub type Keys = [Option<u64>; Subject::COUNT];

/// What distinct ones are counted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Member {
    /// Different payers.
    Payer,
    /// Different payees.
    Payee,
    /// Different devices.
    Device,
}

impl Member {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All of them, in order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Payer, Self::Payee, Self::Device];

    /// Its hash in a payment: 32 bits of its key, never 0. Two of 64 members are taken for one in one
    /// of two million sets.
    #[inline]
    pub(super) fn hash(self, keys: &Keys) -> Option<u32> {
        let subject = match self {
            Self::Payer => Subject::Payer,
            Self::Payee => Subject::Payee,
            Self::Device => Subject::Device,
        };
        keys[subject as usize].map(|key| (key as u32).max(1))
    }
}

/// Which time a window covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// The time up to a payment. It is read in buckets of `span_s / buckets` seconds, rounded up: all of
    /// the span, and less than one bucket before it.
    Sliding {
        /// Its length, seconds, [`MIN_SPAN_S`] to [`MAX_SPAN_S`].
        span_s: u32,
        /// Into how many buckets it is cut, [`MIN_BUCKETS`] to [`MAX_BUCKETS`].
        buckets: u8,
    },
    /// The local day of a payment; exact.
    Today,
    /// The night of a payment, which belongs to the local day on which it begins; exact. A payment
    /// outside the hours reads nothing.
    Night {
        /// Local hour from which on, 0 to 23.
        from_hour: u8,
        /// Local hour before which, 0 to 24. Not after `from_hour`: of the next day.
        to_hour: u8,
    },
}

/// Which payments are added: a bit for each code on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    verdicts: u8,
    rails: u8,
}

impl Filter {
    /// All payments.
    pub const ALL: Self =
        Self { verdicts: Self::verdict_bits(Verdict::ALL), rails: Self::rail_bits(Rail::ALL) };

    /// Only payments that were decided so.
    #[must_use]
    pub const fn verdicts(self, verdicts: &[Verdict]) -> Self {
        Self { verdicts: Self::verdict_bits(verdicts), ..self }
    }

    /// Only payments of these rails.
    #[must_use]
    pub const fn rails(self, rails: &[Rail]) -> Self {
        Self { rails: Self::rail_bits(rails), ..self }
    }

    const fn verdict_bits(of: &[Verdict]) -> u8 {
        let (mut bits, mut at) = (0, 0);
        while at < of.len() {
            bits |= 1 << of[at].to_wire();
            at += 1;
        }
        bits
    }

    const fn rail_bits(of: &[Rail]) -> u8 {
        let (mut bits, mut at) = (0, 0);
        while at < of.len() {
            bits |= 1 << of[at].to_wire();
            at += 1;
        }
        bits
    }

    /// Whether not every verdict will do.
    pub(in crate::policy) const fn takes_some_verdicts(self) -> bool {
        self.verdicts != Self::ALL.verdicts
    }

    /// Whether not every rail will do.
    pub(in crate::policy) const fn takes_some_rails(self) -> bool {
        self.rails != Self::ALL.rails
    }

    /// Whether payments that were decided so are added, where the rail is right.
    pub(in crate::policy) const fn takes_verdict(self, verdict: Verdict) -> bool {
        self.verdicts >> verdict.to_wire() & 1 == 1
    }

    /// Its bits: verdicts, rails.
    pub(super) const fn bits(self) -> (u8, u8) {
        (self.verdicts, self.rails)
    }

    /// Whether payments of a rail are added, where the verdict is right.
    #[inline]
    pub(in crate::policy) const fn takes_rail(self, rail: u8) -> bool {
        rail < u8::BITS as u8 && self.rails >> rail & 1 == 1
    }

    /// Whether a payment is added.
    #[inline]
    pub(super) const fn takes(self, rail: u8, verdict: Verdict) -> bool {
        self.takes_rail(rail) && self.takes_verdict(verdict)
    }
}

/// A window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowSpec {
    /// Whose payments.
    pub subject: Subject,
    /// Which time.
    pub span: Span,
    /// Which payments.
    pub filter: Filter,
}

/// What is asked of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// How many payments.
    Count,
    /// Their amounts together, centavos.
    Sum,
    /// The smallest amount, centavos.
    Min,
    /// The largest amount, centavos.
    Max,
    /// Their sum by their count, centavos, rounded down.
    Avg,
    /// How many different ones.
    Distinct {
        /// Of whom.
        of: Member,
        /// Up to which number it is exact, 1 to [`SET_MAX`], five bytes a key for each; more is "at least". Or
        /// [`ESTIMATED`]: more is estimated.
        up_to: u8,
    },
    /// Seconds since the newest payment of the window; exact unless a later payment came first, which makes
    /// it as coarse as a bucket. Of sliding windows only.
    SecondsSinceLast,
    /// Seconds since the payment after which the window was never empty again: how long they know each
    /// other. It may be longer ago than the span. Of sliding windows only.
    SecondsSinceFirst,
}

/// A value that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Of which window.
    pub window: WindowSpec,
    /// Which number.
    pub function: Function,
    /// With the payment that asks, as though it were in the window: where its rail is right, whatever
    /// becomes of it. Not of the seconds.
    pub including: bool,
}

/// Why windows can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WindowsFault {
    /// The length of a sliding window.
    #[error("a window is of 1 minute to 90 days")]
    Span,
    /// The buckets of a sliding window.
    #[error("a window has {MIN_BUCKETS} to {MAX_BUCKETS} buckets")]
    Buckets,
    /// The hours of a night.
    #[error("a night is from an hour of 0 to 23 to another one, at most 24")]
    Hours,
    /// A filter that no payment passes.
    #[error("the filter lets no payment through")]
    Filter,
    /// How many distinct ones are exact.
    #[error("distinct ones are exact up to 1 to {SET_MAX}, or estimated beyond")]
    Distinct,
    /// The seconds of a calendar window, or with the payment itself.
    #[error("seconds are of sliding windows, without the payment itself")]
    Seconds,
    /// Too much is asked.
    #[error("at most {MAX_ASKED} values are asked")]
    Asked,
    /// One subject's windows need too much.
    #[error("the windows of one subject need {len} bytes a key, and may have {MAX_ENTRY_LEN}")]
    Entry {
        /// How much, bytes.
        len: usize,
    },
    /// The length of a table.
    #[error("{keys} keys: a power of two from {MIN_KEYS} to {MAX_KEYS}")]
    Keys {
        /// How many.
        keys: usize,
    },
    /// The system has no addresses for a table.
    #[error("no memory for a table of {keys} keys")]
    Memory {
        /// How many.
        keys: usize,
    },
}

impl Asked {
    /// Whether there can be such a value.
    pub(in crate::policy) fn check(&self) -> Result<(), WindowsFault> {
        let is_sliding = match self.window.span {
            Span::Sliding { span_s, .. } if !(MIN_SPAN_S..=MAX_SPAN_S).contains(&span_s) => {
                return Err(WindowsFault::Span);
            }
            Span::Sliding { buckets, .. } if !(MIN_BUCKETS..=MAX_BUCKETS).contains(&buckets) => {
                return Err(WindowsFault::Buckets);
            }
            Span::Night { from_hour, to_hour }
                if from_hour > 23 || to_hour > 24 || from_hour == to_hour =>
            {
                return Err(WindowsFault::Hours);
            }
            Span::Sliding { .. } => true,
            Span::Today | Span::Night { .. } => false,
        };
        if self.window.filter.verdicts == 0 || self.window.filter.rails == 0 {
            return Err(WindowsFault::Filter);
        }
        match self.function {
            Function::Distinct { up_to, .. } if up_to == 0 || up_to > ESTIMATED => {
                Err(WindowsFault::Distinct)
            }
            Function::SecondsSinceLast | Function::SecondsSinceFirst
                if self.including || !is_sliding =>
            {
                Err(WindowsFault::Seconds)
            }
            _ => Ok(()),
        }
    }
}
