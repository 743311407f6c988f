//! A node's clocks: one that only goes forward, at its own rate, and one that shows the time of day
//! and may be set.

use super::rng::Rng;
use catraca_core::shard::messages::Now;

/// 2026-11-23T12:00:00Z, when every run begins.
pub const NOON_NS: u64 = 1_795_435_200_000_000_000;
const BILLION: i128 = 1_000_000_000;

/// The clocks of one machine.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// Where the monotonic clock stood when its rate was last changed, and when that was.
    mono_ns: u64,
    since_ns: u64,
    /// Parts in a thousand million that it runs too fast, or too slow.
    drift_ppb: i64,
    /// How far the time of day is off.
    wall_offset_ns: i64,
}

impl Clock {
    pub fn new(mono_ns: u64) -> Self {
        Self { mono_ns, since_ns: 0, drift_ppb: 0, wall_offset_ns: 0 }
    }

    pub fn now(&self, now_ns: u64) -> Now {
        let passed = i128::from(now_ns - self.since_ns);
        let mono_ns =
            self.mono_ns + (passed + passed * i128::from(self.drift_ppb) / BILLION) as u64;
        Now { mono_ns, wall_ns: (NOON_NS + now_ns).saturating_add_signed(self.wall_offset_ns) }
    }

    /// Changes the rate to one within a tenth, far beyond what quartz does.
    pub fn drift(&mut self, now_ns: u64, rng: &mut Rng) -> i64 {
        self.mono_ns = self.now(now_ns).mono_ns;
        self.since_ns = now_ns;
        self.drift_ppb = rng.between(0, 200_000_000) as i64 - 100_000_000;
        self.drift_ppb
    }

    /// Sets the time of day, forward or back.
    pub fn jump(&mut self, by_ns: i64) {
        self.wall_offset_ns += by_ns;
    }

    /// The time of day is set right.
    pub fn set_right(&mut self) {
        self.wall_offset_ns = 0;
    }
}
