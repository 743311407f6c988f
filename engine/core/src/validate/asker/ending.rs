//! What attempts come to, and how questions end.

use super::*;
use crate::validate::flight::Place;
use crate::validate::messages::{Reply, Source};

/// The first retry waits up to so long, each further one up to twice as long.
const BACK_OFF_NS: u64 = 25 * MS;
/// Doublings of that at most.
const MOST_DOUBLINGS: u32 = 4;

impl Asker {
    /// An attempt came to an answer.
    pub(super) fn answered(&mut self, under_way: UnderWay, answer: i64, effects: &mut Vec<Effect>) {
        let key = under_way.key;
        let is_negative = self.settings.negative.contains(&answer);
        if is_negative {
            self.counters.negatives += 1;
            self.rate.charge(self.settings.limits.negative_cost - 1, self.now_ns);
        }
        self.counters.answers += 1;
        self.counters.late += u64::from(self.flights[&key].waiters.is_empty());
        let (good_for_ns, stale_for_ns) =
            self.cache.fill(key, answer, is_negative, self.now_ns, &mut self.chance);
        if good_for_ns + stale_for_ns > 0 {
            let is_shared = self.shared.as_ref().is_some_and(Shared::takes);
            effects.push(Effect::Fill { key, answer, good_for_ns, stale_for_ns, is_shared });
        }
        let found = Found { answer, age_ns: 0, good_for_ns };
        self.close(key, Ok(found), effects);
        self.count(under_way, true, effects);
    }

    /// An attempt came to none.
    pub(super) fn failed(
        &mut self,
        under_way: UnderWay,
        why: Why,
        retry_after_ns: Option<u64>,
        is_retryable: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.failures += u64::from(why == Why::Failed);
        self.counters.timeouts += u64::from(why == Why::Timeout);
        self.last_error = Some((why, self.now_ns));
        let most_ns = u64::from(self.settings.breaker.most_open_ms) * MS;
        let retry_after_ns = retry_after_ns.unwrap_or(0).min(most_ns);
        self.rate.pause(self.now_ns.saturating_add(retry_after_ns));
        // First the breaker: what it opens for is not tried again. The flight is under way yet, so it stays.
        self.count(under_way, false, effects);
        let (key, most) = (under_way.key, u32::from(self.settings.attempts));
        let flight = self.flights.get_mut(&key).expect("an attempt is of a flight");
        flight.failed = Some(why);
        let done = flight.places(|flight, _, waiter| flight.attempts_of(waiter) >= most);
        self.end(key, &done, why, effects);
        let retry_ns = match is_retryable && self.breaker.is_closed() {
            true => self.retry_ns(key, retry_after_ns),
            false => None,
        };
        let Some(retry_ns) = retry_ns else {
            self.cache.fail(key, why, self.now_ns, &mut self.chance);
            return self.close(key, Err(why), effects);
        };
        let first_fit_ns = retry_ns.saturating_add(self.need_ns());
        let flight = self.flights.get_mut(&key).expect("somebody waits in it");
        flight.phase = Phase::BackOff(retry_ns);
        let hopeless = flight.places(|_, (deadline_ns, _), _| *deadline_ns < first_fit_ns);
        self.retries.insert((retry_ns, key));
        self.end(key, &hopeless, why, effects);
        assert!(!self.flights[&key].waiters.is_empty(), "a retry fits for somebody");
    }

    /// When a flight is tried again: by chance, not before the validator wants it, so that it fits; `None` where it
    /// does not, or where there were too many retries.
    fn retry_ns(&mut self, key: u128, retry_after_ns: u64) -> Option<u64> {
        let flight = &self.flights[&key];
        let last_start_ns = flight.last_deadline_ns()?.saturating_sub(self.need_ns());
        let earliest_ns = self.now_ns.saturating_add(retry_after_ns).max(self.rate.ready_ns(1));
        let room_ns = last_start_ns.checked_sub(earliest_ns)?;
        let doublings = (flight.attempts - 1).min(MOST_DOUBLINGS);
        let pause_ns = self.chance.up_to(room_ns.min(BACK_OFF_NS << doublings));
        if !self.budget.take(self.now_ns) {
            self.counters.unaffordable += 1;
            return None;
        }
        Some(earliest_ns + pause_ns)
    }

    /// Lets latency and breaker know of an attempt.
    fn count(&mut self, under_way: UnderWay, is_answer: bool, effects: &mut Vec<Effect>) {
        let took_ns = self.now_ns.saturating_sub(under_way.started_ns);
        if is_answer {
            self.latency.took(took_ns, self.now_ns);
        }
        let generation = under_way.generation;
        let change =
            self.breaker.came(generation, is_answer, took_ns, self.now_ns, &mut self.chance);
        self.changed(change, effects);
    }

    pub(super) fn take_attempt(&mut self, attempt: AttemptId) -> Option<UnderWay> {
        let under_way = self.attempts.remove(&attempt)?;
        self.overs.remove(&(under_way.over_ns, attempt));
        Some(under_way)
    }

    /// Ends what is over its time.
    pub(super) fn end_attempts(&mut self, effects: &mut Vec<Effect>) {
        while let Some(&(over_ns, attempt)) = self.overs.first() {
            if over_ns > self.now_ns {
                return;
            }
            let under_way = self.take_attempt(attempt).expect("it is under way");
            effects.push(Effect::Cancel { attempt });
            self.failed(under_way, Why::Timeout, None, true, effects);
        }
    }

    /// Ends questions whose time is over.
    pub(super) fn end_deadlines(&mut self, effects: &mut Vec<Effect>) {
        while let Some(&(deadline_ns, order, key)) = self.deadlines.first() {
            if deadline_ns > self.now_ns {
                return;
            }
            let flight = &self.flights[&key];
            let is_queued = matches!(flight.phase, Phase::Queued(_));
            let why = match is_queued && !self.rate.is_ready(self.now_ns) {
                true => Why::RateLimited,
                false => Why::Deadline,
            };
            let is_under_way = matches!(flight.phase, Phase::UnderWay(_));
            self.end(key, &[(deadline_ns, order)], why, effects);
            if !is_under_way && self.flights[&key].waiters.is_empty() {
                self.close(key, Err(why), effects);
            }
        }
    }

    /// Ends some of a flight without an answer.
    fn end(&mut self, key: u128, places: &[Place], why: Why, effects: &mut Vec<Effect>) {
        for place in places {
            let flight = self.flights.get_mut(&key).expect("they wait in a flight");
            let waiter = flight.waiters.remove(place).expect("each waits once");
            let attempts = flight.attempts_of(&waiter);
            assert!(self.deadlines.remove(&(place.0, place.1, key)));
            self.reply_none(key, &waiter, attempts, why, effects);
        }
    }

    /// Ends a flight, with all that wait in it.
    pub(super) fn close(
        &mut self,
        key: u128,
        answer: Result<Found, Why>,
        effects: &mut Vec<Effect>,
    ) {
        let flight = self.flights.remove(&key).expect("a flight ends once");
        match flight.phase {
            Phase::Queued(turn) => drop(self.queue.remove(&turn)),
            Phase::BackOff(at_ns) => drop(self.retries.remove(&(at_ns, key))),
            // Of these it is told what they come to.
            Phase::UnderWay(_) | Phase::Looking(_) => {}
        }
        for ((deadline_ns, order), waiter) in &flight.waiters {
            assert!(self.deadlines.remove(&(*deadline_ns, *order, key)));
            let attempts = flight.attempts_of(waiter);
            match answer {
                Ok(found) => {
                    let source = match flight.phase {
                        Phase::Looking(_) => Source::Shared,
                        _ => source(waiter),
                    };
                    self.reply(waiter, attempts, Ok(found.answer), source, found, effects);
                }
                Err(why) => self.reply_none(key, waiter, attempts, why, effects),
            }
        }
    }

    /// Ends a question that has waited for nothing.
    pub(super) fn refuse(
        &mut self,
        key: u128,
        waiter: &Waiter,
        why: Why,
        effects: &mut Vec<Effect>,
    ) {
        self.reply_none(key, waiter, 0, why, effects);
    }

    /// Likewise, as there was no answer a moment ago.
    pub(super) fn refuse_kept(
        &mut self,
        key: u128,
        waiter: &Waiter,
        why: Why,
        effects: &mut Vec<Effect>,
    ) {
        match self.cache.any(key, self.now_ns) {
            Some(found) => self.reply_kept(waiter, 0, found, effects),
            None => self.reply(waiter, 0, Err(why), Source::Cache, NOTHING, effects),
        }
    }

    /// Replies with what was kept.
    pub(super) fn reply_kept(
        &mut self,
        waiter: &Waiter,
        attempts: u32,
        found: Found,
        effects: &mut Vec<Effect>,
    ) {
        let source = if found.good_for_ns > 0 { Source::Cache } else { Source::Stale };
        self.reply(waiter, attempts, Ok(found.answer), source, found, effects);
    }

    /// There is no answer, unless there is a stale one.
    fn reply_none(
        &mut self,
        key: u128,
        waiter: &Waiter,
        attempts: u32,
        why: Why,
        effects: &mut Vec<Effect>,
    ) {
        match self.cache.any(key, self.now_ns).filter(|_| why != Why::Stopped) {
            Some(found) => self.reply_kept(waiter, attempts, found, effects),
            None => self.reply(waiter, attempts, Err(why), source(waiter), NOTHING, effects),
        }
    }

    fn reply(
        &mut self,
        waiter: &Waiter,
        attempts: u32,
        answer: Result<i64, Why>,
        source: Source,
        found: Found,
        effects: &mut Vec<Effect>,
    ) {
        assert!(attempts <= u32::from(self.settings.attempts), "{attempts} attempts");
        match answer {
            Ok(_) => self.counters.answered[source as usize] += 1,
            Err(why) => self.counters.unanswered[why as usize] += 1,
        }
        let waited_ns = self.now_ns.saturating_sub(waiter.asked_ns);
        effects.push(Effect::Reply(Reply {
            token: waiter.token,
            answer,
            source,
            attempts: attempts as u8,
            waited_us: u32::try_from(waited_ns / 1_000).unwrap_or(u32::MAX),
            age_ms: u32::try_from(found.age_ns / MS).unwrap_or(u32::MAX),
            good_for_ns: found.good_for_ns,
            breaker: self.breaker.state(),
        }));
    }
}

/// Of a reply without an answer.
const NOTHING: Found = Found { answer: 0, age_ns: 0, good_for_ns: 0 };

fn source(waiter: &Waiter) -> Source {
    match waiter.has_joined {
        true => Source::Joined,
        false => Source::Asked,
    }
}
