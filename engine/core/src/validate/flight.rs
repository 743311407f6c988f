//! All that wait for one key.

use super::messages::{AttemptId, LookId, Why};
use std::collections::BTreeMap;

/// Who waits, by the deadline and then by the order of coming.
pub(super) type Place = (u64, u64);

/// Who waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub token: u64,
    pub asked_ns: u64,
    /// Attempts of the flight that were over before it came.
    pub before: u32,
    /// The flight began for another one.
    pub has_joined: bool,
}

/// What a flight waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// What the cache that nodes share says.
    Looking(LookId),
    /// A place among those under way, or a token; by its turn.
    Queued(u64),
    /// An attempt.
    UnderWay(AttemptId),
    /// The time of a retry.
    BackOff(u64),
}

/// All that wait for one key.
#[derive(Debug)]
pub(super) struct Flight {
    pub phase: Phase,
    pub waiters: BTreeMap<Place, Waiter>,
    /// Attempts so far, the one under way included.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub failed: Option<Why>,
}

impl Flight {
    pub fn new(phase: Phase) -> Self {
        Self { phase, waiters: BTreeMap::new(), attempts: 0, failed: None }
    }

    /// Attempts that were over before one that comes now.
    pub fn attempts_over(&self) -> u32 {
        self.attempts - u32::from(matches!(self.phase, Phase::UnderWay(_)))
    }

    /// Attempts that were under way while it waited.
    pub fn attempts_of(&self, waiter: &Waiter) -> u32 {
        self.attempts - waiter.before
    }

    /// The last deadline.
    pub fn last_deadline_ns(&self) -> Option<u64> {
        self.waiters.last_key_value().map(|((deadline_ns, _), _)| *deadline_ns)
    }

    /// Those of whom this holds.
    pub fn places(&self, holds: impl Fn(&Flight, &Place, &Waiter) -> bool) -> Vec<Place> {
        let those = self.waiters.iter().filter(|(place, waiter)| holds(self, place, waiter));
        those.map(|(place, _)| *place).collect()
    }
}

/// An attempt under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnderWay {
    pub key: u128,
    /// Of the breaker.
    pub generation: u64,
    pub started_ns: u64,
    pub over_ns: u64,
}
