//! When an open loop sends: times that follow from the seed alone, never from how the node answers.

use crate::options::Arrivals;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// Intended send times in order, nanoseconds since the first possible one.
#[derive(Debug)]
pub struct Plan {
    mean_gap_ns: f64,
    arrivals: Arrivals,
    rng: SmallRng,
    planned: u64,
    /// From when on intended times are counted, and how many of them lie behind.
    measured_from_ns: u64,
    measured: u64,
    next_ns: f64,
}

impl Plan {
    /// A plan for `rate` transactions a second, measured from a time on.
    pub fn new(rate: f64, arrivals: Arrivals, seed: u64, measured_from_ns: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        let mut plan = Self {
            mean_gap_ns: 1e9 / rate,
            arrivals,
            rng,
            planned: 0,
            measured_from_ns,
            measured: 0,
            next_ns: 0.0,
        };
        if arrivals == Arrivals::Poisson {
            plan.next_ns = plan.exponential_gap_ns();
        }
        plan
    }

    /// The next intended time.
    #[inline]
    pub fn next_ns(&self) -> u64 {
        self.next_ns as u64
    }

    /// The mean gap between two intended times, nanoseconds.
    #[inline]
    pub fn mean_gap_ns(&self) -> f64 {
        self.mean_gap_ns
    }

    /// How many intended times lie behind.
    #[inline]
    pub fn planned(&self) -> u64 {
        self.planned
    }

    /// How many of them are measured: in a run that is over each was sent, or is reported as
    /// unsent.
    pub fn measured(&self) -> u64 {
        self.measured
    }

    /// Goes on to the one after it.
    #[inline]
    pub fn advance(&mut self) {
        self.measured += u64::from(self.next_ns() >= self.measured_from_ns);
        self.planned += 1;
        self.next_ns = match self.arrivals {
            // By multiplication, so that rounding does not add up over a long run.
            Arrivals::Fixed => self.planned as f64 * self.mean_gap_ns,
            Arrivals::Poisson => self.next_ns + self.exponential_gap_ns(),
        };
    }

    /// A gap of a Poisson process, by inversion. `1 - u` because `u` may be 0 and never 1.
    #[inline]
    fn exponential_gap_ns(&mut self) -> f64 {
        -(1.0 - self.rng.random::<f64>()).ln() * self.mean_gap_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rate: f64, arrivals: Arrivals, seed: u64, count: usize) -> Vec<u64> {
        let mut plan = Plan::new(rate, arrivals, seed, 0);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(plan.next_ns());
            plan.advance();
        }
        times
    }

    #[test]
    fn fixed_arrivals_do_not_drift() {
        let times = times(3.0, Arrivals::Fixed, 1, 3_000_001);
        assert_eq!(times[..4], [0, 333_333_333, 666_666_666, 1_000_000_000]);
        assert_eq!(times[3_000_000], 1_000_000 * 1_000_000_000);
    }

    #[test]
    fn what_lies_before_the_measured_time_is_not_counted() {
        let mut plan = Plan::new(1_000.0, Arrivals::Fixed, 1, 3_000_000);
        for _ in 0..10 {
            plan.advance();
        }
        assert_eq!((plan.planned(), plan.measured()), (10, 7));
    }

    #[test]
    fn poisson_arrivals_follow_from_the_seed_and_have_the_rate() {
        let once = times(1_000_000.0, Arrivals::Poisson, 9, 1_000_000);
        assert_eq!(once, times(1_000_000.0, Arrivals::Poisson, 9, 1_000_000));
        assert_ne!(once[..10], times(1_000_000.0, Arrivals::Poisson, 10, 10));
        assert!(once.is_sorted());
        let last = *once.last().expect("a million");
        // The sum of a million gaps of 1 us has a standard deviation of 1 ms.
        assert!((990_000_000..1_010_000_000).contains(&last), "{last}");
        // Of exponential gaps, e^-1 are longer than the mean.
        let long = once.windows(2).filter(|pair| pair[1] - pair[0] > 1_000).count();
        assert!((360_000..376_000).contains(&long), "{long}");
    }
}
