//! How often what happened in a run. A kind that never does is no test of anything, so all of them
//! are listed, with zeros too.

use std::collections::BTreeMap;

/// Faults, by what they did: one that met nothing is not counted.
pub const FAULTS: [&str; 42] = [
    "kill",
    "power cut",
    "asked to stop",
    "write torn",
    "write dropped",
    "write kept unreported",
    "repair cut off",
    "write lost",
    "write misdirected",
    "write into another stream",
    "bit rot",
    "block zeroed",
    "block exchanged",
    "bad length",
    "write error",
    "write without room",
    "state write error",
    "slow state write",
    "disk full",
    "slow write",
    "message lost",
    "message twice",
    "message held up",
    "message slow",
    "reset",
    "client reset",
    "partition",
    "one-way partition",
    "flapping line",
    "client cut off",
    "stop",
    "clock jump",
    "clock set by hours",
    "clock drift",
    "wipe",
    "death before the write under way ended",
    "death while the epoch is written",
    "death with a durable epoch",
    "death as new primary",
    "death while cutting",
    "death while starting",
    "task starved",
];

/// What came of them.
pub const OUTCOMES: [&str; 44] = [
    "list changes in force",
    "policies in force",
    "policies tried or ended",
    "windows brought level",
    "windows brought level after too much had come",
    "windows of several shards' payments brought level",
    "payments taken from siblings",
    "a queue to a sibling is full",
    "windows read on a standby",
    "payments that wait for a validator",
    "answers of validators",
    "questions without an answer",
    "answers of the shared cache",
    "looks into the shared cache that failed or came late",
    "hot answers asked for anew",
    "answers to resends",
    "overloaded",
    "unconfirmed",
    "late, but decided",
    "refused for want of room",
    "other content refused",
    "promotions",
    "promotions by force",
    "refused promotions",
    "grants",
    "revocations",
    "gone alone",
    "gone alone by itself",
    "demotions",
    "sessions",
    "refused calls",
    "cuts",
    "several blocks at once",
    "blocks held back",
    "blocks left out of a live feed",
    "grants that waited",
    "torn ends repaired",
    "holes repaired",
    "damaged logs refused",
    "emptied by the operator",
    "ended: disk failed",
    "standby out of room",
    "segments",
    "forwards",
];

/// The counts of a run, or of several.
#[derive(Debug, Clone, Default)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// It happened.
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// It happened so many times.
    pub fn add(&mut self, what: &'static str, times: u64) {
        assert!(
            FAULTS.contains(&what) || OUTCOMES.contains(&what),
            "nobody would see the count of {what:?}"
        );
        *self.0.entry(what).or_default() += times;
    }

    /// How often it happened.
    pub fn times(&self, what: &'static str) -> u64 {
        assert!(FAULTS.contains(&what) || OUTCOMES.contains(&what), "{what:?} is never counted");
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }

    /// Those that never happened.
    pub fn never(&self) -> Vec<&'static str> {
        FAULTS.iter().chain(&OUTCOMES).copied().filter(|what| self.times(what) == 0).collect()
    }
}
