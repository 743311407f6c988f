//! Payments that wait for answers of validators, each until a time that leaves the log and the standby their part of
//! its budget.
//!
//! ```text
//! park → asked … answered, one validator after the other → all answered, or its time is over → decided
//!          a resend meanwhile joins it, and is looked at again once it is decided
//! ```
//!
//! A place holds one payment. Those that wait for the same time stand in a list of the wheel, those that joined the
//! same payment in a list behind it: putting in, taking out and looking for what is over take no search.

use super::dedupe::Fingerprint;
use super::outbox::Origin;
use crate::policy::validators::{AnswerState, Answered, MAX_VALIDATORS};
use crate::slot_index::SlotIndex;
use catraca_wire::extension::{AnswerSource, BreakerState, NoAnswer};
use catraca_wire::frame::{SubmitterFields, TransactionFields};

/// Most payments that wait for validators on a shard; more are decided at once, without an answer. As many as wait
/// for the disk at most; what is over at once waits for the next tick where there is no room. Some 33 MB, of which only
/// what is used is taken.
pub const MAX_PARKED: usize = crate::limits::MAX_PENDING;

/// How much time a list of the wheel stands for.
const STEP_NS: u64 = 8_000_000;
/// Lists of the wheel: more than the longest wait.
const STEPS: usize = 256;
const _: () = assert!(STEP_NS * STEPS as u64 > 2_000_000_000, "no budget is longer");

/// No place.
const NONE: u32 = u32::MAX;

/// A payment that waits, and no other that had its place before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkedPayment {
    /// Its place.
    pub slot: u32,
    /// Which payment in that place it is.
    pub generation: u32,
}

/// What came of asking a validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// The answer; 0 where there is none.
    pub answer: i64,
    /// How it stands with it.
    pub state: AnswerState,
    /// Where it comes from.
    pub source: AnswerSource,
    /// Why there is none.
    pub no_answer: NoAnswer,
    /// How it stood with the validator's breaker.
    pub breaker: BreakerState,
    /// Attempts that were made.
    pub attempts: u8,
    /// How long the payment waited, microseconds.
    pub waited_us: u32,
    /// How old the answer was, milliseconds.
    pub age_ms: u32,
}

impl Came {
    /// Nothing, for a reason.
    pub const fn nothing(no_answer: NoAnswer, waited_us: u32) -> Self {
        Self {
            answer: 0,
            state: AnswerState::NoAnswer,
            source: AnswerSource::Nowhere,
            no_answer,
            breaker: BreakerState::Closed,
            attempts: 0,
            waited_us,
            age_ms: 0,
        }
    }

    /// What the decision sees.
    pub fn answered(&self) -> Answered {
        let has = !matches!(self.state, AnswerState::NoAnswer | AnswerState::NotAsked);
        Answered { state: self.state, answer: has.then_some(self.answer) }
    }
}

/// A payment that waits, or a resend of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub origin: Origin,
    pub transaction: TransactionFields,
    pub submitter: SubmitterFields,
    pub fingerprint: Fingerprint,
    /// The policy whose validators were asked.
    pub policy_version: u32,
    /// When its bytes came, monotonic nanoseconds.
    pub received_ns: u64,
    /// When its budget is over, monotonic nanoseconds.
    pub deadline_ns: u64,
    /// Until when it waits, monotonic nanoseconds.
    pub until_ns: u64,
    /// When it began to wait, monotonic nanoseconds.
    pub since_ns: u64,
}

#[derive(Clone, Copy)]
struct Place {
    /// `None` of a free one.
    waiting: Option<Waiting>,
    generation: u32,
    /// Validators that it waits for, a bit each.
    owed: u8,
    /// Those of which it is known what came of them, or will be.
    known: u8,
    /// Resends that have joined it.
    joins: u32,
    /// It is a resend: it stands in the list behind another place.
    is_joined: bool,
    /// Neighbours in the wheel.
    before: u32,
    behind: u32,
    /// Of a payment the first that joined it, of one that joined the next; and the one before.
    joined: u32,
    joined_before: u32,
}

/// The payments that wait.
pub(super) struct Parked {
    places: Vec<Place>,
    /// By place.
    came: Vec<[Came; MAX_VALIDATORS]>,
    free: Vec<u32>,
    /// Payments by their fingerprint, without those that joined one; `None` until there is a validator.
    index: Option<SlotIndex>,
    /// The first place of each list.
    wheel: [u32; STEPS],
    /// Up to which step everything is over.
    swept: u64,
}

impl Parked {
    /// None, and no memory for any.
    pub const fn new() -> Self {
        Self {
            places: Vec::new(),
            came: Vec::new(),
            free: Vec::new(),
            index: None,
            wheel: [NONE; STEPS],
            swept: 0,
        }
    }

    /// A policy with validators comes into force. Takes addresses, once; memory is taken as it is used.
    pub fn prepare(&mut self) {
        if self.index.is_some() {
            return;
        }
        self.places.reserve_exact(MAX_PARKED);
        self.came.reserve_exact(MAX_PARKED);
        self.free.reserve_exact(MAX_PARKED);
        self.index = Some(SlotIndex::new(MAX_PARKED).expect("addresses for an index of 1 MiB"));
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_full(&self) -> bool {
        self.len() == MAX_PARKED
    }

    /// The payment that waits with this payer and id.
    #[inline]
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let index = self.index.as_ref()?;
        let is_it = |slot: usize| {
            self.places[slot].waiting.as_ref().is_some_and(|waiting| {
                waiting.fingerprint.key == fingerprint.key
                    && waiting.fingerprint.key_more == fingerprint.key_more
            })
        };
        index.find(fingerprint.key, is_it).map(|slot| slot as u32)
    }

    /// A payment waits for these validators, a bit each; of the others that are known it is said what came of them.
    ///
    /// # Panics
    /// When there is no room, or one with its payer and id waits.
    pub fn park(
        &mut self,
        waiting: Waiting,
        (owed, known): (u8, u8),
        came: &[Came; MAX_VALIDATORS],
    ) -> ParkedPayment {
        assert!(
            owed != 0 && self.find(&waiting.fingerprint).is_none(),
            "it waits for something, once"
        );
        let slot = self.put(waiting, (owed, known), false);
        self.came[slot as usize] = *came;
        let index = self.index.as_mut().expect("a policy with validators is in force");
        index.insert(waiting.fingerprint.key, slot as usize);
        ParkedPayment { slot, generation: self.places[slot as usize].generation }
    }

    /// A resend of a payment that waits waits for its decision.
    ///
    /// # Panics
    /// When there is no room.
    pub fn join(&mut self, payment: u32, waiting: Waiting) {
        let slot = self.put(waiting, (0, 0), true);
        self.places[payment as usize].joins += 1;
        let next = std::mem::replace(&mut self.places[payment as usize].joined, slot);
        self.places[slot as usize].joined = next;
        self.places[slot as usize].joined_before = payment;
        if next != NONE {
            self.places[next as usize].joined_before = slot;
        }
    }

    fn put(&mut self, waiting: Waiting, (owed, known): (u8, u8), is_joined: bool) -> u32 {
        assert!(!self.is_full(), "whoever parks a payment has looked for room");
        if self.is_empty() {
            self.swept = waiting.since_ns / STEP_NS;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                waiting: None,
                generation: 0,
                owed: 0,
                known: 0,
                joins: 0,
                is_joined: false,
                before: NONE,
                behind: NONE,
                joined: NONE,
                joined_before: NONE,
            });
            let nothing = Came::nothing(NoAnswer::Timeout, 0);
            self.came.push([nothing; MAX_VALIDATORS]);
            self.places.len() as u32 - 1
        });
        let list = Self::list(waiting.until_ns.max(waiting.since_ns));
        let first = std::mem::replace(&mut self.wheel[list], slot);
        if first != NONE {
            self.places[first as usize].before = slot;
        }
        let place = &mut self.places[slot as usize];
        *place = Place {
            waiting: Some(waiting),
            generation: place.generation.wrapping_add(1),
            owed,
            known,
            joins: 0,
            is_joined,
            before: NONE,
            behind: first,
            joined: NONE,
            joined_before: NONE,
        };
        slot
    }

    const fn list(until_ns: u64) -> usize {
        (until_ns / STEP_NS) as usize % STEPS
    }

    /// A validator has come to something for a payment. Gives whether it waits for no other; `false`, too, if it does
    /// not wait any more, or not for this one.
    pub fn answered(&mut self, payment: ParkedPayment, validator: usize, came: Came) -> bool {
        let Some(place) = self.places.get_mut(payment.slot as usize) else { return false };
        let is_it = place.generation == payment.generation && place.waiting.is_some();
        if !is_it || validator >= MAX_VALIDATORS || place.owed >> validator & 1 == 0 {
            return false;
        }
        place.owed &= !(1 << validator);
        self.came[payment.slot as usize][validator] = came;
        place.owed == 0
    }

    /// How many resends have joined a payment so far.
    pub fn joined_to(&self, slot: u32) -> u32 {
        self.places[slot as usize].joins
    }

    /// Takes a payment out that waits no more, with what came of each validator: nothing of those that are owed. Those
    /// that joined it follow, by [`Self::take_joined`].
    pub fn take(
        &mut self,
        slot: u32,
        now_ns: u64,
    ) -> (Waiting, ([Came; MAX_VALIDATORS], u8), Joined) {
        let place = self.places[slot as usize];
        let waiting = place.waiting.expect("it waits");
        assert!(!place.is_joined, "a resend is taken out with its payment");
        let waited_us = u32::try_from(now_ns.saturating_sub(waiting.since_ns) / 1_000);
        let nothing = Came::nothing(NoAnswer::Timeout, waited_us.unwrap_or(u32::MAX));
        let mut came = self.came[slot as usize];
        for (validator, came) in came.iter_mut().enumerate() {
            if place.owed >> validator & 1 == 1 {
                *came = nothing;
            }
        }
        let index = self.index.as_mut().expect("it was put in");
        index.remove(waiting.fingerprint.key, slot as usize);
        self.leave(slot);
        (waiting, (came, place.known), Joined(place.joined))
    }

    /// The next of those that had joined a payment which was taken out.
    pub fn take_joined(&mut self, joined: &mut Joined) -> Option<Waiting> {
        if joined.0 == NONE {
            return None;
        }
        let slot = joined.0;
        let place = self.places[slot as usize];
        joined.0 = place.joined;
        self.leave(slot);
        place.waiting
    }

    /// The next one whose time is over, at most a step late: its place. `Err` of a resend, which is out.
    pub fn next_over(&mut self, now_ns: u64) -> Option<Result<u32, Waiting>> {
        if self.is_empty() {
            return None;
        }
        let last = now_ns / STEP_NS;
        // A clock that leaps has gone round all lists once.
        let mut step = self.swept.max(last.saturating_sub(STEPS as u64));
        // In a step that is over everybody's time is, so that each call finds one at once.
        while step < last {
            let mut slot = self.wheel[step as usize % STEPS];
            while slot != NONE {
                let place = &self.places[slot as usize];
                let waiting = place.waiting.as_ref().expect("those in the wheel wait");
                if waiting.until_ns <= now_ns {
                    if place.is_joined {
                        return Some(Err(self.part(slot)));
                    }
                    return Some(Ok(slot));
                }
                slot = place.behind;
            }
            self.swept = step;
            step += 1;
        }
        None
    }

    /// The next payment, from a place on, that another policy than this one has parked; any payment without one.
    pub fn next_of_others(&self, from: u32, than: Option<u32>) -> Option<u32> {
        let is_one = |place: &Place| {
            let of_other = |waiting: &Waiting| Some(waiting.policy_version) != than;
            !place.is_joined && place.waiting.as_ref().is_some_and(of_other)
        };
        let places = self.places.get(from as usize..)?;
        places.iter().position(is_one).map(|behind| from + behind as u32)
    }

    /// Takes a resend out of the list behind its payment.
    fn part(&mut self, slot: u32) -> Waiting {
        let Place { waiting, joined, joined_before, .. } = self.places[slot as usize];
        self.places[joined_before as usize].joined = joined;
        if joined != NONE {
            self.places[joined as usize].joined_before = joined_before;
        }
        self.leave(slot);
        waiting.expect("it waits")
    }

    /// Frees a place.
    fn leave(&mut self, slot: u32) {
        let Place { waiting, before, behind, .. } = self.places[slot as usize];
        let waiting = waiting.expect("it waits");
        match before {
            NONE => self.wheel[Self::list(waiting.until_ns.max(waiting.since_ns))] = behind,
            before => self.places[before as usize].behind = behind,
        }
        if behind != NONE {
            self.places[behind as usize].before = before;
        }
        self.places[slot as usize].waiting = None;
        self.free.push(slot);
    }
}

/// Those that had joined a payment, from one on.
pub(super) struct Joined(u32);

#[cfg(test)]
mod tests;
