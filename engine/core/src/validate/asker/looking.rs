//! Looks into the cache that nodes share, before the validator is asked.

use super::*;

impl Asker {
    /// Whether the shared cache is looked into for a question that nobody has asked yet: where it leaves the time that
    /// an attempt needs, and there was not just now no answer of either.
    pub(super) fn may_look(&self, key: u128, deadline_ns: u64) -> bool {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.may_look()) else {
            return false;
        };
        // Of one that a person has left alone, nothing new is learned.
        self.forced() != Some(Forced::Open)
            && self.cache.keeps()
            && self.cache.error(key, self.now_ns).is_none()
            && self.fits(self.now_ns.saturating_add(shared.timeout_ns()), deadline_ns)
    }

    /// Begins a flight by a look.
    pub(super) fn look(
        &mut self,
        key: u128,
        deadline_ns: u64,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) {
        let (look, now_ns) = (LookId(self.number()), self.now_ns);
        let shared = self.shared.as_mut().expect("a look was allowed");
        shared.begin(look, key, now_ns);
        effects.push(Effect::Look { look, key, timeout_ns: shared.timeout_ns() });
        self.flights.insert(key, Flight::new(Phase::Looking(look)));
        self.wait(key, deadline_ns, waiter);
    }

    /// What a look came to. One that is over, or that is not known, is nothing.
    pub fn looked(&mut self, look: LookId, looked: Looked, now_ns: u64, effects: &mut Vec<Effect>) {
        // Taken out before time passes, as attempts are.
        self.now_ns = self.now_ns.max(now_ns);
        let came = self
            .shared
            .as_mut()
            .and_then(|shared| shared.came(look, &looked, self.now_ns, &mut self.chance));
        self.end_deadlines(effects);
        if let Some((key, change)) = came {
            effects.extend(change.map(Effect::ToldShared));
            self.look_over(look, key, looked, effects);
        }
        self.pass(now_ns, effects);
    }

    /// Ends looks that are over their time, and lets time pass for the shared cache's breaker.
    pub(super) fn end_looks(&mut self, effects: &mut Vec<Effect>) {
        let now_ns = self.now_ns;
        while let Some(shared) = &mut self.shared
            && let Some((look, key, change)) = shared.next_over(now_ns, &mut self.chance)
        {
            effects.extend(change.map(Effect::ToldShared));
            self.look_over(look, key, Looked::Failed, effects);
        }
        let change = self.shared.as_mut().and_then(|shared| shared.pass(now_ns));
        effects.extend(change.map(Effect::ToldShared));
    }

    /// A look is over: its flight ends by what it has found, or goes on to the validator.
    fn look_over(&mut self, look: LookId, key: u128, looked: Looked, effects: &mut Vec<Effect>) {
        if let Looked::Found(shared) = looked {
            let is_negative = self.settings.negative.contains(&shared.answer);
            self.cache.take_over(key, shared, is_negative, self.now_ns);
        }
        // All that waited may have gone since, and others have begun anew.
        let waits = self.flights.get(&key).filter(|flight| flight.phase == Phase::Looking(look));
        let Some(flight) = waits else { return };
        let (&(deadline_ns, _), waiter) =
            flight.waiters.last_key_value().expect("somebody waits for each look");
        let token = waiter.token;
        // That of this look, or of an earlier one that nobody waited for any more.
        if let Some(found) = self.cache.take_good(key, self.now_ns) {
            return self.close(key, Ok(found), effects);
        }
        let admitted = match self.breaker.refuses() {
            Some(why) => Err(why),
            None => self.admit(deadline_ns),
        };
        match admitted {
            Ok(place) => self.take_place(key, place, token, effects),
            Err(why) => self.close(key, Err(why), effects),
        }
    }
}
