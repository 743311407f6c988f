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

    /// What a payment sees; `None` outside the night.
    #[inline]
    pub(super) fn period(&self, moment: &Moment) -> Option<Period> {
        let &Moment { time_s, day, second } = moment;
        let calendar = |number, since_s| Period {
            number,
            first: number,
            start_s: time_s.saturating_sub(since_s).max(1),
        };
        match *self {
            Self::Sliding { span_s, .. } => {
                let bucket_s = self.bucket_s();
                let start_s = time_s.saturating_sub(span_s - 1).max(1);
                Some(Period { number: time_s / bucket_s, first: start_s / bucket_s, start_s })
            }
            Self::Today => Some(calendar(day, second)),
            Self::Night { from_hour, to_hour } => {
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
