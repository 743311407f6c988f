//! How a validator is asked, as its section of a policy says it.

/// How a validator is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long one attempt may take, milliseconds.
    pub timeout_ms: u16,
    /// Attempts for one question, the first included.
    pub attempts: u8,
    /// How long a question waits for its answer at most, milliseconds.
    pub wait_ms: u16,
    /// Answers that are *negative*: they are kept for a time of their own, and cost the service more.
    pub negative: Vec<i64>,
    /// How long answers are good.
    pub cache: Caching,
    /// How much it is asked at most.
    pub limits: Limits,
    /// When it is left alone.
    pub breaker: BreakerSettings,
    /// A cache that nodes share, which is looked into before the validator is asked.
    pub shared: Option<SharedSettings>,
}

impl Settings {
    /// Holds what reads policies to its bounds.
    pub(super) fn check(&self) {
        let Self { limits, breaker, .. } = self;
        assert!(self.timeout_ms >= 1 && self.attempts >= 1 && self.wait_ms >= 1, "{self:?}");
        assert!(limits.in_flight >= 1 && limits.burst >= 1 && limits.negative_cost >= 1);
        assert!((1..=100).contains(&breaker.failures_percent) && breaker.window_s >= 1);
        assert!((1..=10_000).contains(&breaker.least_attempts) && breaker.slow_ms >= 1);
        assert!(breaker.open_ms >= 1 && breaker.open_ms <= breaker.most_open_ms);
        assert!((1..=3).contains(&breaker.probes), "{} probes", breaker.probes);
        assert!(self.shared.is_none_or(|shared| shared.timeout_ms >= 1));
    }
}

/// How the cache that nodes share is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedSettings {
    /// How long a look may take, milliseconds. Past that the validator is asked.
    pub timeout_ms: u16,
}

/// How long answers are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caching {
    /// Seconds that an answer is good; 0 for the payment alone.
    pub good_s: u32,
    /// Likewise one that is negative.
    pub negative_s: u32,
    /// Seconds behind that in which it is taken where there is no other.
    pub stale_s: u32,
    /// Milliseconds for which nobody asks again what had no answer.
    pub error_ms: u32,
}

/// How much a validator is asked at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Questions under way.
    pub in_flight: u16,
    /// Questions that wait for a place among those.
    pub queue: u16,
    /// Tokens a second, of which each attempt costs one; 0 without bound.
    pub per_second: u32,
    /// Tokens that are saved up at most.
    pub burst: u32,
    /// What an attempt costs that comes to a negative answer.
    pub negative_cost: u32,
}

/// When a validator is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Of so many percent of attempts that fail or are slow, in the window.
    pub failures_percent: u8,
    /// Fewest attempts in the window that say anything.
    pub least_attempts: u16,
    /// The window: the last so many seconds.
    pub window_s: u16,
    /// An attempt that takes longer is slow, milliseconds.
    pub slow_ms: u16,
    /// How long it is left alone at first, milliseconds; twice as long each time that the probe fails.
    pub open_ms: u32,
    /// How long it is left alone at most, milliseconds.
    pub most_open_ms: u32,
    /// Probes at once, when that time is over: 1 to 3.
    pub probes: u8,
}
