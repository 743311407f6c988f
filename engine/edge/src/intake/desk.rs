//! What becomes of each delivery: it is asked for until it is decided or its budget is over, answered, and acknowledged
//! once the broker has the answer. Pure: time is handed in, and what is to be done comes out as [`Effect`]s.
//!
//! ```text
//! taken → asked ⇄ pausing → telling (dead letter, reply) → acknowledged
//! ```
//!
//! Whatever is lost on the way (the connection, the process) is delivered again by the broker, and the node's dedupe
//! gives it the decision that stands.

use super::acks::{Ack, Acks, Behind};
use super::letter::Letter;
use super::message::Message;
use crate::link::Outcome;
use crate::problem::Problem;
use catraca_wire::client::Decision;
use catraca_wire::frame::Transaction;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Code of the answer to what is too late.
const DEADLINE: &str = "DEADLINE";
/// Bounds of the pauses before a payment is asked for again, nanoseconds: some ten attempts in the longest budget.
const ASK_PAUSE_NS: (u64, u64) = (20_000_000, 250_000_000);
/// The same before a letter is published again that the broker did not take: nothing but an operator's hand, or a
/// queue that empties, helps there.
const SEND_PAUSE_NS: (u64, u64) = (100_000_000, 1_000_000_000);

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By the link's clock, which is never set, nanoseconds.
    pub ns: u64,
    /// By the clock of the day, milliseconds since 1970: other machines' times are compared with it.
    pub wall_ms: u64,
}

/// How deliveries are handled.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How those are acknowledged that are behind one that is not answered.
    pub behind: Behind,
    /// The longest budget, nanoseconds.
    pub timeout_ns: u64,
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Ask a node for a decision, and tell [`Desk::answered`].
    Ask {
        /// The delivery's number.
        number: u64,
        /// The index of its queue.
        queue: usize,
        /// What is asked for.
        transaction: Box<Transaction>,
        /// From then on it is of no use, nanoseconds of the link's clock.
        budget_end_ns: u64,
    },
    /// Publish with a confirm, and tell [`Desk::published`].
    Publish {
        /// The delivery's number.
        number: u64,
        /// What is published.
        letter: Arc<Letter>,
    },
    /// It was answered so, and the broker has the answer: to be counted.
    Settled {
        /// Code of the problem; none for a decision.
        code: Option<&'static str>,
        /// From the queue to the confirm, nanoseconds.
        took_ns: u64,
    },
    /// The broker took a letter at another place than it was meant for, or not yet: to be told to the operator.
    Astray {
        /// What it is.
        letter: Arc<Letter>,
        /// How the broker did not take it.
        receipt: Receipt,
    },
    /// A message that nobody can decide on: likewise.
    Poison {
        /// The index of its queue.
        queue: usize,
        /// What is wrong.
        problem: Problem,
    },
}

/// What the broker did with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It has it.
    Taken,
    /// No queue takes it by its route.
    Returned,
    /// It can't take it now.
    Refused,
}

#[derive(Debug)]
enum State {
    /// A node was asked.
    Asked,
    /// It will be asked again.
    Pausing,
    /// The answer is on its way: what has not been taken by the broker, in its order.
    Telling { letters: VecDeque<Arc<Letter>>, code: Option<&'static str> },
}

/// A delivery that is not acknowledged.
#[derive(Debug)]
struct Slot {
    queue: usize,
    tag: u64,
    message: Message,
    /// None where the message is no payment.
    transaction: Option<Box<Transaction>>,
    /// Its time in the queue, and when it was taken.
    age_ns: u64,
    taken_ns: u64,
    budget_end_ns: u64,
    /// Failures in a row of what is tried now.
    failures: u32,
    /// It may have been recorded.
    in_doubt: bool,
    state: State,
}

/// A queue of RabbitMQ, or a partition of a topic of Kafka.
#[derive(Debug)]
struct Queue {
    name: String,
    acks: Acks,
}

/// The deliveries that are not acknowledged, and what is to be done about them.
#[derive(Debug)]
pub struct Desk {
    rules: Rules,
    slots: HashMap<u64, Slot>,
    next_number: u64,
    queues: Vec<Queue>,
    /// Time and number of what pauses.
    pauses: BTreeSet<(u64, u64)>,
    effects: VecDeque<Effect>,
}

/// What an answer that is no decision calls for.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// To ask again.
    Again,
    /// To tell it.
    Tell,
    /// To tell it, and to keep the message for a person: as it is it will never be decided on.
    Bury,
}

fn next_after(problem: &Problem) -> Next {
    match problem.row().code {
        // The time is over, and another attempt has none.
        DEADLINE | "LATE" => Next::Tell,
        _ if matches!(problem.row().status, 400 | 413 | 415 | 422) => Next::Bury,
        // Nodes that are away or have too much to do, a standby that does not confirm, a credential that is missing:
        // all of it may be mended within the budget.
        _ => Next::Again,
    }
}

const fn pause_ns((least, most): (u64, u64), failures: u32) -> u64 {
    let shift = if failures < 10 { failures } else { 10 };
    let pause = least << shift;
    if pause < most { pause } else { most }
}

impl Desk {
    /// Without any queue.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            slots: HashMap::new(),
            next_number: 1,
            queues: Vec::new(),
            pauses: BTreeSet::new(),
            effects: VecDeque::new(),
        }
    }

    /// Knows a queue from now on; gives its index.
    pub fn open(&mut self, name: String) -> usize {
        self.queues.push(Queue { name, acks: Acks::new(self.rules.behind) });
        self.queues.len() - 1
    }

    /// The name of a queue.
    pub fn name(&self, queue: usize) -> &str {
        &self.queues[queue].name
    }

    /// The last tag that was taken of a queue since it was opened or forgotten.
    pub fn last_tag(&self, queue: usize) -> Option<u64> {
        self.queues[queue].acks.last()
    }

    /// Takes a delivery out of the queue with this index.
    ///
    /// # Panics
    /// When there is no such queue, or the tag is not behind all that came out of it before.
    pub fn take(&mut self, queue: usize, tag: u64, message: Message, now: Now) {
        let number = self.next_number;
        self.next_number += 1;
        let read = message.read();
        let age_ns = message.age_ns(now.wall_ms);
        let budget_us = read.as_ref().map_or(0, Transaction::effective_budget_us);
        let budget_ns = (u64::from(budget_us) * 1_000).min(self.rules.timeout_ns);
        let in_doubt = message.in_doubt;
        self.queues[queue].acks.taken(tag);
        let (transaction, problem) = match read {
            Ok(transaction) => (Some(Box::new(transaction)), None),
            Err(problem) => (None, Some(problem)),
        };
        let slot = Slot {
            queue,
            tag,
            message,
            transaction,
            age_ns,
            taken_ns: now.ns,
            budget_end_ns: now.ns.saturating_add(budget_ns.saturating_sub(age_ns)),
            failures: 0,
            in_doubt,
            state: State::Asked,
        };
        self.slots.insert(number, slot);
        match problem {
            None => self.ask(number, now),
            Some(problem) => self.tell(number, Err(problem), true),
        }
    }

    /// How a question ended.
    pub fn answered(&mut self, number: u64, outcome: Outcome, now: Now) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if !matches!(slot.state, State::Asked) {
            return;
        }
        let problem = match outcome {
            Outcome::Decided(decision) => return self.tell(number, Ok(decision), false),
            other => Problem::of_outcome(other),
        };
        slot.in_doubt |= problem.row().recorded == crate::problem::Recorded::Perhaps;
        match next_after(&problem) {
            Next::Tell => {
                let problem = if slot.in_doubt { problem.in_doubt() } else { problem };
                self.tell(number, Err(problem), false);
            }
            Next::Bury => self.tell(number, Err(problem), true),
            Next::Again => {
                let asked_ns = u64::from(problem.retry_after_ms()) * 1_000_000;
                let pause_ns = pause_ns(ASK_PAUSE_NS, slot.failures).max(asked_ns);
                slot.failures += 1;
                let until_ns = now.ns.saturating_add(pause_ns);
                if until_ns < slot.budget_end_ns {
                    slot.state = State::Pausing;
                    self.pauses.insert((until_ns, number));
                } else {
                    let (code, detail) = (problem.row().code, problem.detail());
                    self.too_late(number, format!("nobody decided in time: {code}: {detail}"));
                }
            }
        }
    }

    /// What the broker did with the letter of this delivery.
    pub fn published(&mut self, number: u64, receipt: Receipt, now: Now) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let State::Telling { letters, code } = &mut slot.state else { return };
        let Some(letter) = letters.front_mut() else { return };
        if receipt != Receipt::Taken {
            let letter = Arc::clone(letter);
            self.effects.push_back(Effect::Astray { letter, receipt });
        }
        match receipt {
            Receipt::Taken => {
                letters.pop_front();
                slot.failures = 0;
            }
            Receipt::Returned
                if let Some(other) =
                    letter.elsewhere(&self.queues[slot.queue].name, slot.message.offset) =>
            {
                *letter = Arc::new(other);
            }
            Receipt::Returned | Receipt::Refused => {
                let pause_ns = pause_ns(SEND_PAUSE_NS, slot.failures);
                slot.failures += 1;
                self.pauses.insert((now.ns.saturating_add(pause_ns), number));
                return;
            }
        }
        if let Some(letter) = letters.front() {
            let letter = Arc::clone(letter);
            self.effects.push_back(Effect::Publish { number, letter });
            return;
        }
        let took_ns = slot.age_ns.saturating_add(now.ns.saturating_sub(slot.taken_ns));
        self.effects.push_back(Effect::Settled { code: *code, took_ns });
        self.queues[slot.queue].acks.done(slot.tag);
        self.slots.remove(&number);
    }

    /// Does what it is time for. To be called at [`Self::next_wake`].
    pub fn tick(&mut self, now: Now) {
        while let Some(&(until_ns, number)) = self.pauses.first()
            && until_ns <= now.ns
        {
            self.pauses.pop_first();
            match self.slots.get(&number).map(|slot| &slot.state) {
                Some(State::Pausing) => self.ask(number, now),
                Some(State::Telling { letters, .. }) => {
                    if let Some(letter) = letters.front() {
                        let letter = Arc::clone(letter);
                        self.effects.push_back(Effect::Publish { number, letter });
                    }
                }
                Some(State::Asked) | None => {}
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_wake(&self) -> Option<u64> {
        self.pauses.first().map(|(until_ns, _)| *until_ns)
    }

    /// The next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What is to be acknowledged of a queue. `all`: nothing is held back.
    pub fn take_acks(&mut self, queue: usize, all: bool) -> Vec<Ack> {
        self.queues[queue].acks.take(all)
    }

    /// The connection to the broker is gone: it delivers anew what is not acknowledged. Answers that come for it here
    /// are nobody's.
    pub fn forget(&mut self) {
        self.slots.clear();
        self.pauses.clear();
        self.effects.clear();
        for queue in &mut self.queues {
            queue.acks = Acks::new(self.rules.behind);
        }
    }

    /// The same for one queue: somebody else is given what is not acknowledged of it.
    pub fn forget_queue(&mut self, queue: usize) {
        self.slots.retain(|_, slot| slot.queue != queue);
        let slots = &self.slots;
        self.pauses.retain(|(_, number)| slots.contains_key(number));
        self.effects.retain(|effect| match effect {
            Effect::Ask { number, .. } | Effect::Publish { number, .. } => {
                slots.contains_key(number)
            }
            Effect::Settled { .. } | Effect::Astray { .. } | Effect::Poison { .. } => true,
        });
        self.queues[queue].acks = Acks::new(self.rules.behind);
    }

    /// How many deliveries are not answered.
    pub fn unanswered(&self) -> usize {
        self.slots.len()
    }

    /// How many letters wait to be published again, because the broker did not take them.
    pub fn letters_again(&self) -> usize {
        let is_again =
            |slot: &&Slot| slot.failures > 0 && matches!(slot.state, State::Telling { .. });
        self.slots.values().filter(is_again).count()
    }

    /// Asks for the decision, where there is time left.
    fn ask(&mut self, number: u64, now: Now) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let left_us = slot.budget_end_ns.saturating_sub(now.ns) / 1_000;
        let Some(transaction) = slot.transaction.as_mut().filter(|_| left_us > 0) else {
            let age_ms = slot.age_ns / 1_000_000;
            return self.too_late(number, format!("it was {age_ms} ms in the queue"));
        };
        // Not more than the whole budget, which fits.
        transaction.budget_us = left_us as u32;
        slot.state = State::Asked;
        let (transaction, budget_end_ns) = (transaction.clone(), slot.budget_end_ns);
        let queue = slot.queue;
        self.effects.push_back(Effect::Ask { number, queue, transaction, budget_end_ns });
    }

    fn too_late(&mut self, number: u64, detail: String) {
        let problem = Problem::new(DEADLINE, detail);
        let in_doubt = self.slots.get(&number).is_some_and(|slot| slot.in_doubt);
        let problem = if in_doubt { problem.in_doubt() } else { problem };
        self.tell(number, Err(problem), false);
    }

    /// Begins to answer. `is_poison`: the message goes to the dead letters first.
    fn tell(&mut self, number: u64, answer: Result<Decision, Problem>, is_poison: bool) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let mut letters = VecDeque::with_capacity(1 + usize::from(is_poison));
        if let (true, Err(problem)) = (is_poison, &answer) {
            let queue = &self.queues[slot.queue].name;
            let dead = Letter::dead(&slot.message, problem, queue);
            letters.push_back(Arc::new(dead));
            let problem = problem.clone();
            self.effects.push_back(Effect::Poison { queue: slot.queue, problem });
        }
        let id = slot.transaction.as_ref().map(|transaction| &transaction.id[..]);
        let reply = Letter::reply(&slot.message, id, &answer);
        letters.push_back(Arc::new(reply));
        let first = Arc::clone(&letters[0]);
        let code = answer.err().map(|problem| problem.row().code);
        slot.failures = 0;
        slot.state = State::Telling { letters, code };
        self.effects.push_back(Effect::Publish { number, letter: first });
    }

    /// The id of the payment of a delivery, where it could be read.
    #[cfg(test)]
    pub(super) fn id(&self, number: u64) -> Option<&str> {
        let transaction = self.slots.get(&number)?.transaction.as_ref()?;
        Some(catraca_wire::frame::text_of(&transaction.id))
    }
}
