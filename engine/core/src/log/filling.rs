//! How long a disk lasts at the rate at which it fills. Pure: times and free space in, a time out.

use std::collections::VecDeque;
use std::time::Duration;

/// How often free space is kept.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// Samples kept: a day, so that a quiet night counts as much as a busy noon.
const SAMPLES: usize = 24 * 60;
/// Samples of the last hour: a disk that fills faster than it did is told then, not a day later.
const RECENT: usize = 60;
/// Samples before anything is said: a segment made ahead, or a list that was copied, is no rate.
const LEAST: usize = 10;

/// The filling of one disk.
#[derive(Debug, Clone, Default)]
pub struct Filling {
    /// Free bytes, the newest last.
    free: VecDeque<u64>,
}

impl Filling {
    /// Takes the next sample, [`SAMPLE_EVERY`] after the one before.
    pub fn sample(&mut self, free_len: u64) {
        if self.free.len() == SAMPLES {
            self.free.pop_front();
        }
        self.free.push_back(free_len);
    }

    /// Time until no more than `reserve_len` bytes are free, at the rate of the last hour or of the last
    /// day, whichever is faster. `None` while it does not fill, or is not known yet.
    pub fn lasts(&self, reserve_len: u64) -> Option<Duration> {
        let newest = *self.free.back()?;
        let rate = |samples: usize| {
            let samples = samples.min(self.free.len());
            if samples < LEAST {
                return 0.0;
            }
            let oldest = self.free[self.free.len() - samples];
            let since = SAMPLE_EVERY * (samples as u32 - 1);
            oldest.saturating_sub(newest) as f64 / since.as_secs_f64()
        };
        let rate = rate(SAMPLES).max(rate(RECENT));
        let left_s = newest.saturating_sub(reserve_len) as f64 / rate;
        // No rate, or one that lasts for longer than anybody plans.
        (rate > 0.0).then(|| Duration::try_from_secs_f64(left_s).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn filling(samples: impl IntoIterator<Item = u64>) -> Filling {
        let mut filling = Filling::default();
        samples.into_iter().for_each(|free_len| filling.sample(free_len));
        filling
    }

    #[test]
    fn a_steady_rate_tells_when_the_disk_is_full() {
        // 1 GiB a minute, 940 left above the reserve.
        let steady = filling((0..61).map(|minute| (1_010 - minute) * GIB));
        let lasts = steady.lasts(10 * GIB).expect("it fills").as_secs_f64() / 60.0;
        assert!((939.0..941.0).contains(&lasts), "{lasts} minutes");
        assert_eq!(steady.lasts(2_000 * GIB), Some(Duration::ZERO), "it is full");
    }

    #[test]
    fn nothing_is_said_of_a_disk_that_is_not_known_or_does_not_fill() {
        assert_eq!(Filling::default().lasts(0), None);
        assert_eq!(filling((0..9).map(|minute| (100 - minute) * GIB)).lasts(0), None);
        assert_eq!(filling([GIB; 100]).lasts(0), None);
        assert_eq!(filling((0..100).map(|minute| minute * GIB)).lasts(0), None);
    }

    #[test]
    fn the_faster_rate_of_hour_and_day_counts() {
        let quiet_then_fast = (0..2_000).map(|minute: u64| {
            let fast = minute.saturating_sub(1_940);
            10_000 * GIB - fast * GIB
        });
        let lasts = filling(quiet_then_fast).lasts(0).expect("it fills").as_secs_f64() / 60.0;
        assert!((9_800.0..10_200.0).contains(&lasts), "{lasts} minutes");
        let fast_then_quiet = (0..1_440).map(|minute: u64| 10_000 * GIB - minute.min(720) * GIB);
        let lasts = filling(fast_then_quiet).lasts(0).expect("it fills").as_secs_f64() / 60.0;
        assert!((18_000.0..19_000.0).contains(&lasts), "{lasts} minutes");
    }
}
