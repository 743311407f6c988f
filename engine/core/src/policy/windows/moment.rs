//! When a payment counts, and which buckets that means.

use super::super::facts::LocalTime;
use super::spec::Span;

const NS_PER_S: u64 = 1_000_000_000;
const S_PER_DAY: u32 = 24 * 60 * 60;
const S_PER_HOUR: u32 = 60 * 60;

/// When a payment counts: when it happened, but not after it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Seconds since 1970 UTC, from 1 on; the year 2106 is the last.
    pub time_s: u32,
    /// Local days since 1969-12-31, from 1 on, so that the night before has a number.
    day: u32,
    /// Seconds of the local day.
    second: u32,
}

impl Moment {
    pub fn new(event_time_ns: u64, decided_at_ns: u64, offset_minutes: i16) -> Self {
        let time_ns = event_time_ns.min(decided_at_ns);
        let time_s = (time_ns / NS_PER_S).clamp(1, u64::from(u32::MAX)) as u32;
        let local = LocalTime::new(time_ns, offset_minutes);
        Self {
            time_s,
            day: local.day.max(0) as u32 + 1,
            second: local.minute as u32 * 60 + time_s % 60,
        }
    }
}

/// The part of time that a payment sees through a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    /// The payment's own bucket, and the last that it sees.
    pub number: u32,
    /// The first bucket that it sees.
    pub first: u32,
    /// The first second that the window is to cover; a bucket may begin before it.
    pub start_s: u32,
}

impl Span {
    /// Length of a sliding window's bucket, seconds.
    pub(in crate::policy) const fn bucket_s(&self) -> u32 {
        match *self {
            Self::Sliding { span_s, buckets } => span_s.div_ceil(buckets as u32),
            Self::Today | Self::Night { .. } => S_PER_DAY,
        }
    }

    /// Length of a sliding window, seconds.
    pub(super) const fn sliding_s(&self) -> u32 {
        match *self {
            Self::Sliding { span_s, .. } => span_s,
            Self::Today | Self::Night { .. } => 0,
        }
    }
}

/// Divides by a number that is known beforehand, without a division: exact for all numbers of 32 bits, by the method
/// of Lemire, Kaser and Kurz, "Faster remainder by direct computation" (2019).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Divisor {
    by: u32,
    inverse: u64,
}

impl Divisor {
    /// By a number above 1.
    pub const fn new(by: u32) -> Self {
        assert!(by > 1, "the inverse of 1 has no room");
        Self { by, inverse: u64::MAX / by as u64 + 1 }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.by
    }

    #[inline]
    pub const fn quotient(self, number: u32) -> u32 {
        ((self.inverse as u128 * number as u128) >> 64) as u32
    }

    #[inline]
    pub const fn remainder(self, number: u32) -> u32 {
        let fraction = self.inverse.wrapping_mul(number as u64);
        ((fraction as u128 * self.by as u128) >> 64) as u32
    }
}

/// Tells which buckets a payment means, for one span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    span: Span,
    bucket_s: Divisor,
}

impl Clock {
    pub fn new(span: Span) -> Self {
        Self { span, bucket_s: Divisor::new(span.bucket_s()) }
    }

    /// Length of a sliding window, seconds.
    pub const fn sliding_s(&self) -> u32 {
        self.span.sliding_s()
    }

    /// Length of a sliding window's bucket, seconds.
    pub const fn bucket_s(&self) -> u32 {
        self.bucket_s.get()
    }

    /// The bucket of a sliding window that a time is in.
    pub const fn bucket(&self, time_s: u32) -> u32 {
        self.bucket_s.quotient(time_s)
    }

    /// What a payment sees; `None` outside the night.
    #[inline]
    pub fn period(&self, moment: &Moment) -> Option<Period> {
        let &Moment { time_s, day, second } = moment;
        let calendar = |number, since_s| Period {
            number,
            first: number,
            start_s: time_s.saturating_sub(since_s).max(1),
        };
        match self.span {
            Span::Sliding { span_s, .. } => {
                let start_s = time_s.saturating_sub(span_s - 1).max(1);
                Some(Period { number: self.bucket(time_s), first: self.bucket(start_s), start_s })
            }
            Span::Today => Some(calendar(day, second)),
            Span::Night { from_hour, to_hour } => {
                let from = u32::from(from_hour) * S_PER_HOUR;
                let to = u32::from(to_hour) * S_PER_HOUR;
                let crosses = to < from;
                if second >= from && (crosses || second < to) {
                    Some(calendar(day, second - from))
                } else if crosses && second < to {
                    Some(calendar(day - 1, second + S_PER_DAY - from))
                } else {
                    None
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dividing_by_an_inverse_is_dividing() {
        let mut number = 1_u32;
        for by in (2..2_000).chain([3_599, 3_600, 86_400, 7_776_000, u32::MAX - 1, u32::MAX]) {
            let divisor = Divisor::new(by);
            let near = [0, 1, by - 1, by, by.wrapping_add(1), u32::MAX - 1, u32::MAX];
            let random = (0..200).map(|_| {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                number
            });
            for number in random.chain(near) {
                assert_eq!(divisor.quotient(number), number / by, "{number} by {by}");
                assert_eq!(divisor.remainder(number), number % by, "{number} by {by}");
            }
        }
    }
}
