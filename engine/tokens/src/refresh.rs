//! When an issuer's keys are fetched, and for how long they are believed. Pure: times are handed in.

use std::time::Duration;

/// For how long keys are good where the issuer does not say.
const USUAL_AGE: Duration = Duration::from_secs(300);
/// The least and the most of what it says: less would ask it all the time, more would believe a key for too long
/// that it has withdrawn.
const AGE_FLOOR: Duration = Duration::from_secs(60);
const AGE_CEILING: Duration = Duration::from_secs(3_600);
/// Pauses between fetches that fail: the first, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long old keys are good while the issuer gives none: its tokens live for less, so it is about an issuer whose
/// keys alone can't be fetched.
pub(super) const KEPT: Duration = Duration::from_secs(4 * 3_600);
/// An unknown key causes a fetch this often at most, however many are asked for.
pub(super) const UNKNOWN_EVERY: Duration = Duration::from_secs(10);

/// What is known of fetches. All times are of one clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    next: Duration,
    is_fetching: bool,
    fetched: Option<Duration>,
    failures: u32,
    asked: Option<Duration>,
}

impl Schedule {
    /// The first fetch is due.
    pub(super) const fn new(now: Duration) -> Self {
        Self { next: now, is_fetching: false, fetched: None, failures: 0, asked: None }
    }

    /// When the next one is due.
    pub(super) const fn next(&self) -> Duration {
        self.next
    }

    /// A fetch begins.
    pub(super) const fn begun(&mut self) {
        self.is_fetching = true;
    }

    /// It gave keys, which are good for so long by the issuer's own word.
    pub(super) fn succeeded(&mut self, now: Duration, max_age: Option<Duration>) {
        self.is_fetching = false;
        self.fetched = Some(now);
        self.failures = 0;
        self.next = now + max_age.unwrap_or(USUAL_AGE).clamp(AGE_FLOOR, AGE_CEILING);
    }

    /// It gave none.
    pub(super) fn failed(&mut self, now: Duration) {
        self.is_fetching = false;
        self.next = now + FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
    }

    /// Somebody asks for a key that is unknown: whether a fetch is under way, or due now, that may bring it.
    pub(super) fn unknown(&mut self, now: Duration) -> bool {
        if self.is_fetching || self.next <= now {
            return true;
        }
        if self.asked.is_some_and(|asked| now < asked + UNKNOWN_EVERY) {
            return false;
        }
        self.asked = Some(now);
        self.next = now;
        true
    }

    /// Whether keys have come since then.
    pub(super) fn was_fetched_since(&self, then: Duration) -> bool {
        self.fetched.is_some_and(|fetched| fetched >= then)
    }

    /// Whether what was fetched is too old to be believed, or nothing was.
    pub(super) fn has_lapsed(&self, now: Duration) -> bool {
        self.fetched.is_none_or(|fetched| now > fetched + KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_age_that_the_issuer_says_is_kept_within_bounds() {
        for (said, expected) in
            [(None, 300), (Some(0), 60), (Some(600), 600), (Some(1_000_000), 3_600)]
        {
            let mut schedule = Schedule::new(S);
            schedule.begun();
            schedule.succeeded(S * 2, said.map(Duration::from_secs));
            assert_eq!(schedule.next(), S * (2 + expected), "{said:?}");
        }
    }

    #[test]
    fn a_flood_of_unknown_keys_causes_one_fetch_each_10_seconds() {
        let mut schedule = Schedule::new(S);
        schedule.begun();
        schedule.succeeded(S, None);
        let mut fetches = 0;
        for tenth in 100..1_600 {
            let now = S * tenth / 10;
            schedule.unknown(now);
            if schedule.next() <= now {
                schedule.begun();
                assert!(schedule.unknown(now), "it is waited for, and no other one begins");
                schedule.succeeded(now, None);
                assert!(!schedule.unknown(now));
                fetches += 1;
            }
        }
        assert_eq!(fetches, 15, "in 150 s");
    }

    #[test]
    fn an_issuer_that_is_down_is_asked_more_seldom_and_its_keys_lapse() {
        let mut schedule = Schedule::new(S);
        assert!(schedule.has_lapsed(S), "there are none yet");
        schedule.begun();
        schedule.succeeded(S, None);
        let mut now = schedule.next();
        let mut pauses = Vec::new();
        while !schedule.has_lapsed(now) {
            schedule.begun();
            schedule.failed(now);
            pauses.push((schedule.next() - now).as_secs());
            now = schedule.next();
        }
        assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert!(now > S + KEPT && now <= S + KEPT + LONGEST_PAUSE);
        schedule.begun();
        schedule.succeeded(now, None);
        assert!(!schedule.has_lapsed(now));
    }
}
