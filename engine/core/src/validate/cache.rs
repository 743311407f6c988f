//! Answers that are kept, and for a moment that there was none.
//!
//! ```text
//! came          refresh            good until        stale until
//!  |-- good ------|-- good, hot? ----|-- if no other ----|
//! ```

use super::chance::Chance;
use super::kept::Kept;
use super::messages::{Found, SharedAnswer, Why};
use super::settings::Caching;

const MS: u64 = 1_000_000;
/// Most answers that are kept: some 10 MB of a validator.
pub const MAX_ANSWERS: usize = 65_536;
/// Most keys of which it is kept that there was no answer: for a moment only.
pub const MAX_ERRORS: usize = 8_192;
/// By how much a time is shortened at most, so that what came together does not end together.
const JITTER_PERCENT: u64 = 10;
/// The last so many percent of the time that an answer is good: a hot one is asked for anew.
pub const REFRESH_PERCENT: u64 = 10;
/// An answer is hot that was taken so often.
pub const HOT_HITS: u32 = 3;

#[derive(Debug)]
struct Entry {
    answer: i64,
    /// When it was kept, and how old it was then: it may be older than this clock.
    kept_ns: u64,
    was_old_ns: u64,
    good_until_ns: u64,
    /// How long before that end it may be asked for anew: once.
    last_ns: u64,
    was_asked_for: bool,
    hits: u32,
}

/// What is kept of a validator.
#[derive(Debug)]
pub(super) struct Cache {
    caching: Caching,
    answers: Kept<Entry>,
    errors: Kept<Why>,
}

impl Cache {
    pub fn new(caching: Caching) -> Self {
        Self { caching, answers: Kept::new(MAX_ANSWERS), errors: Kept::new(MAX_ERRORS) }
    }

    /// Answers and errors that are kept.
    pub fn len(&self) -> (usize, usize) {
        (self.answers.len(), self.errors.len())
    }

    /// An answer that is good, to be taken.
    pub fn take_good(&mut self, key: u128, now_ns: u64) -> Option<Found> {
        let entry = self.answers.get_mut(key, now_ns)?;
        let found = entry.found(now_ns);
        (found.good_for_ns > 0).then(|| {
            entry.hits = entry.hits.saturating_add(1);
            found
        })
    }

    /// An answer, where there is no other.
    pub fn any(&self, key: u128, now_ns: u64) -> Option<Found> {
        self.answers.get(key, now_ns).map(|entry| entry.found(now_ns))
    }

    /// Why there was no answer a moment ago.
    pub fn error(&self, key: u128, now_ns: u64) -> Option<Why> {
        self.errors.get(key, now_ns).copied()
    }

    /// Whether a hot answer ends soon.
    pub fn wants_refresh(&self, key: u128, now_ns: u64) -> bool {
        let entry = self.answers.get(key, now_ns);
        entry.is_some_and(|entry| {
            let left_ns = entry.good_until_ns.saturating_sub(now_ns);
            let is_last = left_ns > 0 && left_ns <= entry.last_ns;
            entry.hits >= HOT_HITS && is_last && !entry.was_asked_for
        })
    }

    /// An answer that is good, and not about to end.
    pub fn newer(&self, key: u128, now_ns: u64) -> Option<Found> {
        let entry = self.answers.get(key, now_ns)?;
        let ends_ns = entry.good_until_ns - entry.last_ns.min(entry.good_until_ns);
        (now_ns < ends_ns).then(|| entry.found(now_ns))
    }

    /// It is hot elsewhere.
    pub fn hot(&mut self, key: u128, now_ns: u64) {
        if let Some(entry) = self.answers.get_mut(key, now_ns) {
            entry.hits = entry.hits.max(HOT_HITS);
        }
    }

    /// It is asked for anew: that is done once.
    pub fn refreshing(&mut self, key: u128, now_ns: u64) {
        if let Some(entry) = self.answers.get_mut(key, now_ns) {
            entry.was_asked_for = true;
        }
    }

    /// An answer has come.
    ///
    /// # Returns
    /// For how long it is good, and how long behind that it is better than none.
    pub fn fill(
        &mut self,
        key: u128,
        answer: i64,
        is_negative: bool,
        now_ns: u64,
        chance: &mut Chance,
    ) -> (u64, u64) {
        let (good_ns, stale_for_ns) = self.caching.times_ns(is_negative);
        let good_for_ns = chance.shortened(good_ns, JITTER_PERCENT);
        let good_until_ns = now_ns.saturating_add(good_for_ns);
        if good_for_ns + stale_for_ns > 0 {
            let entry = Entry {
                answer,
                kept_ns: now_ns,
                was_old_ns: 0,
                good_until_ns,
                last_ns: good_for_ns / 100 * REFRESH_PERCENT,
                was_asked_for: false,
                hits: 0,
            };
            let end_ns = good_until_ns.saturating_add(stale_for_ns);
            self.answers.put(key, end_ns, entry, now_ns);
        } else {
            self.answers.remove(key);
        }
        (good_for_ns, stale_for_ns)
    }

    /// Whether answers are kept at all.
    pub const fn keeps(&self) -> bool {
        self.caching.good_s > 0 || self.caching.negative_s > 0 || self.caching.stale_s > 0
    }

    /// An answer that somebody else has put where nodes share them. It is good, and better than none, no longer than
    /// one that came here; and what came here later stays.
    pub fn take_over(&mut self, key: u128, shared: SharedAnswer, is_negative: bool, now_ns: u64) {
        let SharedAnswer { answer, age_ns, .. } = shared;
        let (own_ns, own_stale_ns) = self.caching.times_ns(is_negative);
        let good_for_ns = shared.good_for_ns.min(own_ns.saturating_sub(age_ns));
        let end_ns = (shared.good_for_ns.saturating_add(shared.stale_for_ns))
            .min((own_ns + own_stale_ns).saturating_sub(age_ns));
        let own = self.answers.get(key, now_ns).map(|own| own.found(now_ns));
        if end_ns == 0 || own.is_some_and(|own| own.age_ns <= age_ns) {
            return;
        }
        let good_until_ns = now_ns.saturating_add(good_for_ns);
        let entry = Entry {
            answer,
            kept_ns: now_ns,
            was_old_ns: age_ns,
            good_until_ns,
            last_ns: own_ns / 100 * REFRESH_PERCENT,
            was_asked_for: false,
            hits: 0,
        };
        self.answers.put(key, now_ns.saturating_add(end_ns), entry, now_ns);
    }

    /// There was no answer.
    pub fn fail(&mut self, key: u128, why: Why, now_ns: u64, chance: &mut Chance) {
        let kept_ns = chance.shortened(u64::from(self.caching.error_ms) * MS, JITTER_PERCENT);
        if kept_ns > 0 {
            self.errors.put(key, now_ns.saturating_add(kept_ns), why, now_ns);
        }
    }
}

impl Caching {
    /// How long an answer is good, and how long behind that it is better than none.
    fn times_ns(self, is_negative: bool) -> (u64, u64) {
        let good_s = if is_negative { self.negative_s } else { self.good_s };
        (u64::from(good_s) * 1_000 * MS, u64::from(self.stale_s) * 1_000 * MS)
    }
}

impl Entry {
    fn found(&self, now_ns: u64) -> Found {
        Found {
            answer: self.answer,
            age_ns: self.was_old_ns.saturating_add(now_ns.saturating_sub(self.kept_ns)),
            good_for_ns: self.good_until_ns.saturating_sub(now_ns),
        }
    }
}
