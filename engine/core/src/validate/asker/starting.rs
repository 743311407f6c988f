//! How attempts start, or wait to.

use super::*;

/// Where a flight goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Its attempt starts.
    Now,
    /// It waits for a place or a token.
    Queue,
}

impl Asker {
    /// Begins a flight: at once, or in the queue.
    pub(super) fn begin(
        &mut self,
        key: u128,
        deadline_ns: u64,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Why> {
        let place = self.admit(deadline_ns)?;
        self.flights.insert(key, Flight::new(Phase::Queued(0)));
        let token = waiter.token;
        self.wait(key, deadline_ns, waiter);
        self.take_place(key, place, token, effects);
        Ok(())
    }

    /// Whether a flight may start, or wait to: until its last deadline.
    pub(super) fn admit(&self, deadline_ns: u64) -> Result<Place, Why> {
        if !self.fits(self.now_ns, deadline_ns) {
            return Err(Why::Deadline);
        }
        // The one behind all that wait.
        let ready_ns = self.rate.ready_ns(self.queue.len() + 1);
        if !self.fits(ready_ns, deadline_ns) {
            return Err(Why::RateLimited);
        }
        if self.queue.is_empty() && self.has_place() && ready_ns <= self.now_ns {
            return Ok(Place::Now);
        }
        if !self.breaker.is_closed() {
            return Err(Why::BreakerOpen);
        }
        if self.queue.len() >= usize::from(self.settings.limits.queue) {
            return Err(Why::QueueFull);
        }
        Ok(Place::Queue)
    }

    /// A flight takes the place that it was admitted to.
    pub(super) fn take_place(
        &mut self,
        key: u128,
        place: Place,
        token: u64,
        effects: &mut Vec<Effect>,
    ) {
        match place {
            Place::Now => self.start(key, token, effects),
            Place::Queue => {
                let turn = self.number();
                self.queue.insert(turn, key);
                let flight = self.flights.get_mut(&key).expect("it waits in a flight");
                flight.phase = Phase::Queued(turn);
            }
        }
    }

    /// Lets one wait in a flight.
    pub(super) fn wait(&mut self, key: u128, deadline_ns: u64, waiter: Waiter) {
        let order = self.number();
        let flight = self.flights.get_mut(&key).expect("it waits in a flight");
        flight.waiters.insert((deadline_ns, order), waiter);
        self.deadlines.insert((deadline_ns, order, key));
        assert!(self.deadlines.len() <= MAX_WAITING);
    }

    /// Asks for a hot answer anew, once, where nothing stands in the way.
    pub(super) fn refresh(&mut self, key: u128, token: u64, effects: &mut Vec<Effect>) {
        let may = self.breaker.is_closed()
            && self.queue.is_empty()
            && self.has_place()
            && self.rate.is_ready(self.now_ns)
            && !self.flights.contains_key(&key);
        if may && self.cache.wants_refresh(key, self.now_ns) {
            self.cache.refreshing(key, self.now_ns);
            self.counters.refreshes += 1;
            self.flights.insert(key, Flight::new(Phase::Queued(0)));
            self.start(key, token, effects);
        }
    }

    /// What is due to be tried again goes into the queue.
    pub(super) fn queue_retries(&mut self, effects: &mut Vec<Effect>) {
        while let Some(&(at_ns, key)) = self.retries.first() {
            if at_ns > self.now_ns {
                return;
            }
            if self.queue.len() >= usize::from(self.settings.limits.queue)
                && !(self.queue.is_empty() && self.has_place() && self.rate.is_ready(self.now_ns))
            {
                self.close(key, Err(Why::QueueFull), effects);
                continue;
            }
            self.retries.pop_first();
            let turn = self.number();
            self.queue.insert(turn, key);
            self.flights.get_mut(&key).expect("a retry has a flight").phase = Phase::Queued(turn);
            self.start_queued(effects);
        }
    }

    /// Starts of the queue what there are places and tokens for.
    pub(super) fn start_queued(&mut self, effects: &mut Vec<Effect>) {
        while self.has_place() && self.rate.is_ready(self.now_ns) {
            let Some((&turn, &key)) = self.queue.first_key_value() else { return };
            let flight = &self.flights[&key];
            let (&(deadline_ns, _), waiter) =
                flight.waiters.last_key_value().expect("somebody waits in each queued flight");
            let (token, failed) = (waiter.token, flight.failed);
            if self.fits(self.now_ns, deadline_ns) {
                self.queue.remove(&turn);
                self.start(key, token, effects);
            } else {
                self.close(key, Err(failed.unwrap_or(Why::Deadline)), effects);
            }
        }
    }

    fn start(&mut self, key: u128, token: u64, effects: &mut Vec<Effect>) {
        assert!(self.has_place() && !self.is_stopped);
        let attempt = AttemptId(self.number());
        let flight = self.flights.get_mut(&key).expect("an attempt is for a flight");
        flight.phase = Phase::UnderWay(attempt);
        flight.attempts = flight.attempts.saturating_add(1);
        if flight.attempts == 1 {
            self.budget.first();
        } else {
            self.counters.retries += 1;
        }
        self.counters.attempts += 1;
        self.rate.take(self.now_ns);
        let generation = self.breaker.start();
        let timeout_ns = self.timeout_ns();
        let over_ns = self.now_ns.saturating_add(timeout_ns);
        let under_way = UnderWay { key, generation, started_ns: self.now_ns, over_ns };
        self.attempts.insert(attempt, under_way);
        self.overs.insert((over_ns, attempt));
        effects.push(Effect::Attempt { attempt, key, token, timeout_ns });
    }
}
