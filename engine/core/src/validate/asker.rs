//! The machine that asks one validator: what comes from outside, and what time brings.

mod ending;
mod looking;
mod starting;

use super::breaker::Breaker;
use super::cache::Cache;
use super::chance::Chance;
use super::flight::{Flight, Phase, UnderWay, Waiter};
use super::latency::Latency;
use super::messages::{
    AttemptId, BreakerChange, BreakerState, Counters, Effect, Forced, Found, LookId, Looked,
    Outcome, Question, Status, Why,
};
use super::rate::{Rate, RetryBudget};
use super::settings::Settings;
use super::shared::Shared;
use std::collections::{BTreeMap, BTreeSet};

const MS: u64 = 1_000_000;
/// Most questions that wait: as many as a shard's, and more than wait unless nothing is answered. Some 10 MB.
pub const MAX_WAITING: usize = 65_536;

/// Asks one validator.
#[derive(Debug)]
pub struct Asker {
    settings: Settings,
    chance: Chance,
    /// Never goes back, whatever is handed in.
    now_ns: u64,
    is_stopped: bool,
    cache: Cache,
    breaker: Breaker,
    rate: Rate,
    budget: RetryBudget,
    latency: Latency,
    flights: BTreeMap<u128, Flight>,
    /// Attempts under way.
    attempts: BTreeMap<AttemptId, UnderWay>,
    /// Keys in the queue, by their turns.
    queue: BTreeMap<u64, u128>,
    /// When attempts are over their time.
    overs: BTreeSet<(u64, AttemptId)>,
    /// When keys are tried again.
    retries: BTreeSet<(u64, u128)>,
    /// When questions are: deadline, order of coming, key.
    deadlines: BTreeSet<(u64, u64, u128)>,
    /// Counts attempts, turns and questions.
    next: u64,
    counters: Counters,
    last_error: Option<(Why, u64)>,
    shared: Option<Shared>,
}

impl Asker {
    /// One that knows nothing, and draws chance from a seed.
    ///
    /// # Panics
    /// When the settings are none that a policy may have.
    pub fn new(settings: Settings, seed: u64) -> Self {
        settings.check();
        Self {
            chance: Chance::new(seed),
            now_ns: 0,
            is_stopped: false,
            cache: Cache::new(settings.cache),
            breaker: Breaker::new(settings.breaker),
            rate: Rate::new(settings.limits.per_second, settings.limits.burst),
            budget: RetryBudget::default(),
            latency: Latency::new(),
            flights: BTreeMap::new(),
            attempts: BTreeMap::new(),
            queue: BTreeMap::new(),
            overs: BTreeSet::new(),
            retries: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            next: 0,
            counters: Counters::default(),
            last_error: None,
            shared: settings.shared.map(Shared::new),
            settings,
        }
    }

    /// Asks a question. It is replied to once: now or later.
    pub fn ask(&mut self, question: Question, now_ns: u64, effects: &mut Vec<Effect>) {
        self.pass(now_ns, effects);
        self.counters.questions += 1;
        let Question { key, token, .. } = question;
        let longest_ns = u64::from(self.settings.wait_ms) * MS;
        let deadline_ns = question.deadline_ns.min(self.now_ns.saturating_add(longest_ns));
        let waiter = Waiter { token, asked_ns: self.now_ns, before: 0, has_joined: false };
        if self.is_stopped {
            return self.refuse(key, &waiter, Why::Stopped, effects);
        }
        if deadline_ns <= self.now_ns {
            return self.refuse(key, &waiter, Why::Deadline, effects);
        }
        if let Some(found) = self.cache.take_good(key, self.now_ns) {
            self.refresh(key, token, effects);
            return self.reply_kept(&waiter, 0, found, effects);
        }
        let flight = self.flights.get(&key);
        let looks = match flight {
            Some(flight) => matches!(flight.phase, Phase::Looking(_)),
            None => self.may_look(key, deadline_ns),
        };
        if let Some(why) = self.breaker.refuses().filter(|_| !looks) {
            return self.refuse(key, &waiter, why, effects);
        }
        if self.deadlines.len() >= MAX_WAITING {
            return self.refuse(key, &waiter, Why::QueueFull, effects);
        }
        if let Some(flight) = flight {
            let before = flight.attempts_over();
            let waiter = Waiter { before, has_joined: true, ..waiter };
            return self.wait(key, deadline_ns, waiter);
        }
        if looks {
            return self.look(key, deadline_ns, waiter, effects);
        }
        if let Some(why) = self.cache.error(key, self.now_ns) {
            return self.refuse_kept(key, &waiter, why, effects);
        }
        if let Err(why) = self.begin(key, deadline_ns, waiter, effects) {
            self.refuse(key, &waiter, why, effects);
        }
    }

    /// A cache in front of this one has taken an answer [`HOT_HITS`](super::HOT_HITS) times, and is in the last
    /// [`REFRESH_PERCENT`](super::REFRESH_PERCENT) of its time: it may be asked for anew, as for a question of this
    /// token. Nothing is replied; the attempt is among the effects, and what it comes to is in [`Effect::Fill`].
    ///
    /// # Returns
    /// An answer that is good for longer: another cache has had it asked for.
    pub fn keep_warm(
        &mut self,
        key: u128,
        token: u64,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) -> Option<Found> {
        self.pass(now_ns, effects);
        if self.is_stopped {
            return None;
        }
        self.cache.hot(key, self.now_ns);
        self.refresh(key, token, effects);
        self.cache.newer(key, self.now_ns)
    }

    /// What an attempt came to. One that was cancelled, or that is not known, is nothing.
    pub fn came(
        &mut self,
        attempt: AttemptId,
        outcome: Outcome,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) {
        // Taken out before time passes: what has come is not late because of a late clock.
        let under_way = self.take_attempt(attempt);
        self.now_ns = self.now_ns.max(now_ns);
        self.end_deadlines(effects);
        if let Some(under_way) = under_way {
            match outcome {
                Outcome::Answer(answer) => self.answered(under_way, answer, effects),
                Outcome::Retryable { retry_after_ns } => {
                    self.failed(under_way, Why::Failed, retry_after_ns, true, effects);
                }
                Outcome::Final => self.failed(under_way, Why::Failed, None, false, effects),
            }
        }
        self.pass(now_ns, effects);
    }

    /// Time passes.
    pub fn tick(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        self.pass(now_ns, effects);
    }

    /// When [`tick`](Self::tick) has something to do, if nothing else happens.
    pub fn next_wake_ns(&self) -> Option<u64> {
        if self.is_stopped {
            return None;
        }
        let starts = self.queue.first_key_value().filter(|_| self.has_place());
        [
            self.deadlines.first().map(|(at_ns, ..)| *at_ns),
            self.overs.first().map(|(at_ns, _)| *at_ns),
            self.retries.first().map(|(at_ns, _)| *at_ns),
            self.breaker.wake_ns(),
            self.shared.as_ref().and_then(Shared::wake_ns),
            starts.map(|_| self.rate.ready_ns(1)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What a person says of the breaker; `None` leaves it to itself again, closed to begin with.
    pub fn force(&mut self, forced: Option<Forced>, now_ns: u64, effects: &mut Vec<Effect>) {
        self.pass(now_ns, effects);
        let change = self.breaker.force(forced);
        self.changed(change, effects);
        self.pass(now_ns, effects);
    }

    /// What a person has said of the breaker, if it holds.
    pub fn forced(&self) -> Option<Forced> {
        match self.breaker.state() {
            BreakerState::ForcedOpen => Some(Forced::Open),
            BreakerState::ForcedClosed => Some(Forced::Closed),
            BreakerState::Closed | BreakerState::Open | BreakerState::HalfOpen => None,
        }
    }

    /// How it stands.
    pub fn status(&self, now_ns: u64) -> Status {
        let now_ns = self.now_ns.max(now_ns);
        let (cached, errors) = self.cache.len();
        Status {
            breaker: self.breaker.state(),
            generation: self.breaker.generation(),
            open_until_ns: self.breaker.wake_ns(),
            tokens: self.rate.tokens(now_ns),
            in_flight: self.attempts.len(),
            queued: self.queue.len(),
            retrying: self.retries.len(),
            waiting: self.deadlines.len(),
            cached,
            errors,
            most_take_ns: self.latency.most_take_ns(now_ns),
            counters: self.counters,
            last_error: self.last_error,
            shared: self.shared.as_ref().map(Shared::status),
        }
    }

    /// Stops: what waits gets [`Why::Stopped`], attempts are cancelled, and nothing is asked any more.
    pub fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.is_stopped = true;
        while let Some((&key, _)) = self.flights.first_key_value() {
            self.close(key, Err(Why::Stopped), effects);
        }
        while let Some((attempt, _)) = self.attempts.pop_first() {
            effects.push(Effect::Cancel { attempt });
        }
        self.overs.clear();
        self.shared.iter_mut().for_each(Shared::stop);
        assert!(self.deadlines.is_empty() && self.queue.is_empty() && self.retries.is_empty());
    }

    /// All that time brings, each once: what starts here is over later.
    fn pass(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        self.now_ns = self.now_ns.max(now_ns);
        self.end_deadlines(effects);
        self.end_attempts(effects);
        if self.is_stopped {
            return;
        }
        let change = self.breaker.pass(self.now_ns);
        self.changed(change, effects);
        self.end_looks(effects);
        self.queue_retries(effects);
        self.start_queued(effects);
        assert!(self.attempts.len() <= usize::from(self.settings.limits.in_flight));
        assert!(self.breaker.is_closed() || self.queue.is_empty() && self.retries.is_empty());
    }

    /// The breaker may have changed: where it is open, what has not started ends.
    fn changed(&mut self, change: Option<BreakerChange>, effects: &mut Vec<Effect>) {
        let Some(change) = change else { return };
        effects.push(Effect::Told(change));
        self.counters.opened += u64::from(change.now == BreakerState::Open);
        let Some(why) = self.breaker.refuses() else { return };
        while let Some((_, &key)) = self.queue.first_key_value() {
            self.close(key, Err(why), effects);
        }
        while let Some(&(_, key)) = self.retries.first() {
            self.close(key, Err(why), effects);
        }
    }

    fn has_place(&self) -> bool {
        self.attempts.len() < usize::from(self.settings.limits.in_flight)
    }

    /// Whether an attempt that starts then is likely to be over before this deadline.
    fn fits(&self, start_ns: u64, deadline_ns: u64) -> bool {
        start_ns.saturating_add(self.need_ns()) <= deadline_ns
    }

    /// The time that nearly all attempts take of late.
    fn need_ns(&self) -> u64 {
        self.latency.most_take_ns(self.now_ns).min(self.timeout_ns())
    }

    fn timeout_ns(&self) -> u64 {
        u64::from(self.settings.timeout_ms) * MS
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
