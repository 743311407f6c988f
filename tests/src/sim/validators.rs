//! Validators of a process: the askers that ship, and services outside that answer soon, late, twice, wrongly or never.
//! What must hold in the end: each decision saw the answer to its own question, or none.

use super::Broken;
use super::event::Wake;
use super::rng::Rng;
use super::shared_cache::LOOK_MS;
use super::world::{MS, Sim};
use catraca_core::policy::validators::{AnswerState, Answered, VALUES_EACH};
use catraca_core::policy::{Batch, Policy};
use catraca_core::shard::messages::{Ask, ToShard};
use catraca_core::shard::parked::Came;
use catraca_core::validate::{
    Asker, AttemptId, BreakerSettings, Caching, Effect, Limits, LookId, Looked, Outcome, Question,
    Reply, Settings, SharedSettings, Source,
};
use catraca_wire::extension::{AnswerSource, BreakerState, NoAnswer, WindowValue, read_asked};
use std::collections::BTreeMap;

/// How long a payment of the simulator's policies waits.
const WAIT_MS: u16 = 700;

/// A validator, and what the policy makes of it.
pub(super) const RULES_OF_VALIDATORS: &str = "\
[[validator]]\nid = \"status\"\nurl = \"https://status.example/{payer.document}\"\nwhen = 'tx.amount % 3 == 0'\n\
answer = \"/status\"\nanswers = [\"regular\", \"suspended\"]\nwait_ms = 700\nno_answer = { score = 150 }\n\
[[validator]]\nid = \"payee\"\nurl = \"https://payee.example/{payee.document}\"\nwhen = 'tx.amount % 4 == 0'\n\
answer = \"/kind\"\nanswers = [\"known\", \"new\"]\nwait_ms = 700\nno_answer = \"skip\"\n\
[[rule]]\nid = \"suspended\"\nwhen = 'has(validator(\"status\")) && validator(\"status\") == \"suspended\"'\nverdict = \"deny\"\n\
[[rule]]\nid = \"new-payee\"\nwhen = 'has(validator(\"payee\")) && validator(\"payee\") == \"new\"'\nscore = 200\n";

/// The one right answer to a question.
fn right_answer(key: u128) -> i64 {
    (key >> 7 & 1) as i64
}

/// What asks in a process.
#[derive(Default)]
pub(super) struct Validators {
    policy_version: u32,
    pub(super) askers: Vec<Asker>,
    /// Questions that wait, by token, with the number of their asker.
    open: BTreeMap<u64, (usize, Ask)>,
    next_token: u64,
    /// Attempts under way, by number: whose, and what they come to.
    attempts: BTreeMap<u64, (usize, AttemptId, Outcome)>,
    /// Likewise looks into the shared cache.
    pub(super) looks: BTreeMap<u64, (usize, LookId, Looked)>,
    /// Attempts that were started for a core whose hot answer ends soon.
    warm: BTreeMap<(usize, AttemptId), Ask>,
    pub(super) next_attempt: u64,
    wake_ns: Option<u64>,
}

fn settings() -> Settings {
    Settings {
        timeout_ms: 250,
        attempts: 2,
        wait_ms: WAIT_MS,
        negative: vec![1],
        cache: Caching { good_s: 1, negative_s: 0, stale_s: 2, error_ms: 50 },
        limits: Limits { in_flight: 8, queue: 64, per_second: 400, burst: 50, negative_cost: 2 },
        breaker: BreakerSettings {
            failures_percent: 50,
            least_attempts: 5,
            window_s: 2,
            slow_ms: 200,
            open_ms: 100,
            most_open_ms: 1_000,
            probes: 1,
        },
        shared: Some(SharedSettings { timeout_ms: LOOK_MS as u16 }),
    }
}

/// What a service does: after how long, and what comes; nothing ever in `None`.
fn does(rng: &mut Rng, key: u128) -> Option<(u64, Outcome)> {
    let answer = Outcome::Answer(right_answer(key));
    match rng.between(0, 99) {
        0..=79 => Some((rng.between(1, 60) * MS, answer)),
        80..=87 => Some((rng.between(100, 1_500) * MS, answer)),
        88..=92 => Some((rng.between(1, 30) * MS, Outcome::Retryable { retry_after_ns: None })),
        93..=94 => {
            let retry_after_ns = Some(rng.between(1, 2_000) * MS);
            Some((rng.between(1, 30) * MS, Outcome::Retryable { retry_after_ns }))
        }
        95..=96 => Some((rng.between(1, 30) * MS, Outcome::Final)),
        _ => None,
    }
}

impl Sim {
    /// Takes a core's questions.
    pub(super) fn take_asks(&mut self, node: usize, core: usize) {
        let asks: Vec<Ask> =
            self.process(node).cores[core].mover.shard.asks_out().drain(..).collect();
        if asks.is_empty() {
            return;
        }
        let now_ns = self.clock(node).mono_ns;
        for ask in asks {
            if ask.payment.is_some() {
                self.checks.count("payments that wait for a validator");
            }
            let seed = self.validator_rng.bits();
            let process = self.process(node);
            let policy = process.cores[core].mover.shard.policy();
            let of_validators = &mut process.validators;
            if ask.policy_version != of_validators.policy_version {
                if ask.policy_version < of_validators.policy_version {
                    continue;
                }
                // What comes to something yet is none of the next one's.
                let Validators { next_token, next_attempt, .. } = *of_validators;
                *of_validators = Validators { next_token, next_attempt, ..Validators::default() };
                of_validators.policy_version = ask.policy_version;
                let askers = policy.rules().validators.iter().zip(0..);
                let askers = askers.map(|(_, n)| Asker::new(settings(), seed.wrapping_add(n)));
                of_validators.askers = askers.collect();
            }
            let asker = usize::from(ask.validator);
            if asker >= of_validators.askers.len() {
                // Another core has the next policy already.
                continue;
            }
            let token = of_validators.next_token;
            of_validators.next_token += 1;
            of_validators.open.insert(token, (asker, ask));
            let question = Question { key: ask.key, deadline_ns: ask.until_ns, token };
            let mut effects = Vec::new();
            if ask.payment.is_some() {
                of_validators.askers[asker].ask(question, now_ns, &mut effects);
            } else {
                of_validators.askers[asker].keep_warm(ask.key, token, now_ns, &mut effects);
                of_validators.open.remove(&token);
                let started = effects.iter().find_map(|effect| match effect {
                    Effect::Attempt { attempt, token: of, .. } if *of == token => Some(*attempt),
                    _ => None,
                });
                if let Some(attempt) = started {
                    of_validators.warm.insert((asker, attempt), ask);
                    self.checks.count("hot answers asked for anew");
                }
            }
            self.carry_out_asking(node, asker, effects);
        }
    }

    /// An attempt has come to something.
    pub(super) fn attempt_came(&mut self, node: usize, number: u64) {
        let now_ns = self.clock(node).mono_ns;
        let of_validators = &mut self.process(node).validators;
        let Some((asker, attempt, outcome)) = of_validators.attempts.remove(&number) else {
            return;
        };
        let mut effects = Vec::new();
        of_validators.askers[asker].came(attempt, outcome, now_ns, &mut effects);
        let warm = of_validators.warm.remove(&(asker, attempt));
        if let (Some(ask), Outcome::Answer(answer)) = (warm, outcome) {
            for effect in &effects {
                if let Effect::Fill { key, good_for_ns, .. } = *effect
                    && key == ask.key
                    && good_for_ns > 0
                {
                    self.fill_core(node, &ask, answer, (now_ns, now_ns + good_for_ns));
                }
            }
        }
        self.carry_out_asking(node, asker, effects);
    }

    /// It is time to look at the askers.
    pub(super) fn validators_tick(&mut self, node: usize) {
        let now_ns = self.clock(node).mono_ns;
        self.process(node).validators.wake_ns = None;
        for asker in 0..self.process(node).validators.askers.len() {
            let mut effects = Vec::new();
            self.process(node).validators.askers[asker].tick(now_ns, &mut effects);
            self.carry_out_asking(node, asker, effects);
        }
    }

    pub(super) fn carry_out_asking(&mut self, node: usize, asker: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Attempt { attempt, key, .. } => {
                    let of_validators = &mut self.process(node).validators;
                    let number = of_validators.next_attempt;
                    of_validators.next_attempt += 1;
                    let Some((after_ns, outcome)) = does(&mut self.validator_rng, key) else {
                        continue;
                    };
                    let of_validators = &mut self.process(node).validators;
                    of_validators.attempts.insert(number, (asker, attempt, outcome));
                    self.wake_in(node, after_ns, Wake::Attempt { number });
                }
                Effect::Cancel { attempt } => {
                    let is_it = |of: &(usize, AttemptId, Outcome)| (of.0, of.1) == (asker, attempt);
                    let of_validators = &mut self.process(node).validators;
                    of_validators.attempts.retain(|_, of| !is_it(of));
                    of_validators.warm.remove(&(asker, attempt));
                }
                Effect::Reply(reply) => self.validator_replies(node, &reply),
                Effect::Look { look, key, .. } => self.look(node, asker, look, key),
                Effect::Fill { key, answer, good_for_ns, stale_for_ns, is_shared: true } => {
                    self.share(key, answer, (good_for_ns, stale_for_ns));
                }
                Effect::Fill { .. } | Effect::Told(_) | Effect::ToldShared(_) => {}
            }
        }
        let now_ns = self.clock(node).mono_ns;
        let of_validators = &mut self.process(node).validators;
        let wake_ns = of_validators.askers.iter().filter_map(Asker::next_wake_ns).min();
        let is_sooner = |wake: &u64| of_validators.wake_ns.is_none_or(|known| *wake < known);
        if let Some(wake_ns) = wake_ns.filter(is_sooner) {
            of_validators.wake_ns = Some(wake_ns);
            self.wake_in(node, wake_ns.saturating_sub(now_ns).max(MS / 10), Wake::Validators);
        }
    }

    fn validator_replies(&mut self, node: usize, reply: &Reply) {
        let mixes_up = self.broken(Broken::AnswersMixedUp);
        let now_ns = self.clock(node).mono_ns;
        let of_validators = &mut self.process(node).validators;
        let Some((_, ask)) = of_validators.open.remove(&reply.token) else { return };
        // The broken variant answers whoever waits next instead.
        let other = of_validators.open.values().next().map(|(_, other)| *other);
        let to = other.filter(|_| mixes_up).unwrap_or(ask);
        let no_answer = if reply.answer.is_ok() { NoAnswer::Answered } else { NoAnswer::Failed };
        let came = Came {
            answer: reply.answer.unwrap_or(0),
            state: match (reply.answer, reply.source) {
                (Err(_), _) => AnswerState::NoAnswer,
                (Ok(_), Source::Asked | Source::Joined) => AnswerState::Fresh,
                (Ok(_), Source::Cache | Source::Shared) => AnswerState::Cached,
                (Ok(_), Source::Stale) => AnswerState::Stale,
            },
            source: match (reply.answer, reply.source) {
                (Err(_), _) => AnswerSource::Nowhere,
                (Ok(_), Source::Asked) => AnswerSource::Asked,
                (Ok(_), Source::Joined) => AnswerSource::Joined,
                (Ok(_), Source::Cache) => AnswerSource::Node,
                (Ok(_), Source::Shared) => AnswerSource::Shared,
                (Ok(_), Source::Stale) => AnswerSource::Stale,
            },
            breaker: BreakerState::Closed,
            attempts: reply.attempts,
            age_ms: reply.age_ms,
            ..Came::nothing(no_answer, reply.waited_us)
        };
        self.checks.count(match (reply.answer, reply.source) {
            (Ok(_), Source::Shared) => "answers of the shared cache",
            (Ok(_), _) => "answers of validators",
            (Err(_), _) => "questions without an answer",
        });
        let core = usize::from(to.shard);
        if let Ok(answer) = reply.answer
            && reply.good_for_ns > 0
        {
            let given_ns = now_ns.wrapping_sub(u64::from(reply.age_ms) * MS);
            self.fill_core(node, &ask, answer, (given_ns, now_ns + reply.good_for_ns));
        }
        let payment = to.payment.expect("only payments have replies");
        let answered = || ToShard::Answered { payment, validator: to.validator, came };
        self.mail(node, core, answered());
        if self.validator_rng.permille(100) {
            self.mail(node, core, answered());
        }
    }
}

impl Sim {
    fn fill_core(
        &mut self,
        node: usize,
        ask: &Ask,
        answer: i64,
        (given_ns, good_until_ns): (u64, u64),
    ) {
        let Ask { policy_version, validator, key, .. } = *ask;
        let core = usize::from(ask.shard);
        let fill =
            ToShard::Cache { policy_version, validator, key, answer, given_ns, good_until_ns };
        self.mail(node, core, fill);
    }
}

/// A decision saw of each validator that it had to ask the answer to its own question, or none.
pub(super) fn compare_answers(
    policy: &Policy,
    batch: &mut Batch,
    seen: &[WindowValue],
    extension: &[u8],
) -> Result<(), String> {
    if batch.asked_as_told(policy.rules()) & 1 == 0 {
        return Err("it tells otherwise of which validators were asked".to_owned());
    }
    for asked in read_asked(extension) {
        let first = policy.rules().answers_from() + VALUES_EACH * usize::from(asked.validator);
        let answered = seen.get(first..).and_then(|values| Answered::of(&values[..VALUES_EACH]));
        let answered = answered.ok_or("values of no answer")?;
        let right = right_answer(u128::from_le_bytes(asked.key));
        if answered.answer.is_some_and(|answer| answer != right) {
            return Err(format!(
                "validator {} answered {right}, not {answered:?}",
                asked.validator
            ));
        }
    }
    Ok(())
}
