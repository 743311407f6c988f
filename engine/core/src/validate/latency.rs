//! How long answers have taken of late: about the 95th percentile, told too short rather than too long, as what
//! does not fit is not asked. What fails or is over its time says nothing of how long an answer takes.
//!
//! A small histogram of quarter octaves whose counts halve: with time, so that what nobody asks any more is not
//! judged by what was long ago; and with their number, so that it follows a change under load.

/// Quarter octaves from 4 µs up to what 16 bits of milliseconds hold.
const BUCKETS: usize = 4 * 26;
/// What one answer counts: halves of it are still counted for a while.
const WEIGHT: u32 = 256;
/// Counts halve in so long.
const HALF_LIFE_NS: u64 = 10_000_000_000;
/// Halvings after which nothing is left.
const MOST_HALVINGS: u64 = 32;
/// Counts halve above so many answers.
const MOST_WEIGHT: u32 = 128 * WEIGHT;
/// Below so many answers nothing is known: whatever takes long is tried again after a minute or so.
const LEAST_WEIGHT: u32 = 4 * WEIGHT;
/// Which part of the answers is to be quicker.
const PERCENTILE: u32 = 95;

/// How long answers have taken of late.
#[derive(Debug)]
pub(super) struct Latency {
    counts: [u32; BUCKETS],
    total: u32,
    halved_ns: u64,
}

impl Latency {
    pub fn new() -> Self {
        Self { counts: [0; BUCKETS], total: 0, halved_ns: 0 }
    }

    /// An answer has taken so long.
    pub fn took(&mut self, took_ns: u64, now_ns: u64) {
        self.pass(now_ns);
        if self.total >= MOST_WEIGHT {
            self.halve(1);
        }
        self.counts[bucket(took_ns / 1_000)] += WEIGHT;
        self.total += WEIGHT;
    }

    /// How long all but the slowest take, up to a quarter longer; 0 while nothing is known.
    pub fn most_take_ns(&self, now_ns: u64) -> u64 {
        let halvings = self.halvings(now_ns).min(MOST_HALVINGS - 1);
        if self.total >> halvings < LEAST_WEIGHT {
            return 0;
        }
        let mut above = self.total / 100 * (100 - PERCENTILE);
        for (bucket, count) in self.counts.iter().enumerate().rev() {
            if *count > above {
                return begin_us(bucket) * 1_000;
            }
            above -= count;
        }
        0
    }

    fn halvings(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.halved_ns) / HALF_LIFE_NS
    }

    fn pass(&mut self, now_ns: u64) {
        let halvings = self.halvings(now_ns);
        if halvings > 0 {
            self.halved_ns = self.halved_ns.saturating_add(halvings.saturating_mul(HALF_LIFE_NS));
            self.halve(halvings.min(MOST_HALVINGS - 1) as u32);
        }
    }

    fn halve(&mut self, times: u32) {
        self.total = 0;
        for count in &mut self.counts {
            *count >>= times;
            self.total += *count;
        }
    }
}

fn bucket(took_us: u64) -> usize {
    let took_us = took_us.max(4);
    let octave = took_us.ilog2() - 2;
    let quarter = (took_us >> octave) & 3;
    (octave as usize * 4 + quarter as usize).min(BUCKETS - 1)
}

fn begin_us(bucket: usize) -> u64 {
    (bucket as u64 % 4 + 4) << (bucket / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    proptest! {
        /// The exact percentile, up to a bucket's width.
        #[test]
        fn most_answers_take_no_longer(
            times_us in prop::collection::vec(4..2_000_000u64, 4..100),
        ) {
            let mut latency = Latency::new();
            for took_us in &times_us {
                latency.took(took_us * 1_000, 0);
            }
            let mut sorted = times_us;
            sorted.sort_unstable();
            let told_us = latency.most_take_ns(0) / 1_000;
            let slower = sorted.iter().filter(|took_us| *took_us / 5 * 4 > told_us).count();
            prop_assert!(slower <= sorted.len() / 20, "{slower} are slower than {told_us}");
            let slowest = &sorted[sorted.len() - 1 - sorted.len() / 20 ..];
            prop_assert!(told_us <= slowest[slowest.len() - 1]);
            prop_assert!(told_us >= slowest[0] / 5 * 4, "{told_us} of {slowest:?}");
        }
    }

    #[test]
    fn what_was_long_ago_is_not_known_any_more() {
        let mut latency = Latency::new();
        assert_eq!(latency.most_take_ns(0), 0);
        for _ in 0..1_000 {
            latency.took(300 * MS, 0);
        }
        let told = latency.most_take_ns(0);
        assert!((240 * MS..=300 * MS).contains(&told), "{told}");
        assert_eq!(latency.most_take_ns(60_000 * MS), 0, "not a minute later");
        latency.took(u64::MAX, u64::MAX);
        assert_eq!(latency.most_take_ns(u64::MAX), 0);
    }

    #[test]
    fn a_service_that_slows_down_under_load_is_noticed_within_some_answers() {
        let mut latency = Latency::new();
        for _ in 0..10_000 {
            latency.took(10 * MS, 0);
        }
        for _ in 0..20 {
            latency.took(200 * MS, 0);
        }
        assert!(latency.most_take_ns(0) >= 160 * MS);
    }
}
