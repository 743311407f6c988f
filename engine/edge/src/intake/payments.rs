//! The payments that are in hand: moves the [`Desk`] between the link, the clocks and whichever broker there is. It
//! decides nothing about a payment.

use super::desk::{Desk, Effect, Now, Receipt, Rules};
use super::letter::{Kind, Letter};
use super::metrics::Metrics;
use super::quiet::Quiet;
use crate::link::{Link, Many, Outcome, Request};
use catraca_wire::client::rules::ANSWER_GRACE;
use catraca_wire::frame::SubmitterFields;
use std::collections::HashMap;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Bounds of the pauses between attempts to reach a broker.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a stop waits for what is in flight: longer than a budget and the wait for its answer.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Things of one kind that are taken in a row before what they call for is done.
pub(super) const MAX_IN_A_ROW: usize = 256;

/// For whom payments are decided, by the name of the queue or topic that they come out of.
pub type Submitters = HashMap<String, SubmitterFields>;

/// Where a letter goes, for a person.
pub(super) type Place = Box<dyn Fn(&Kind) -> String>;

/// The desk, with the way to the nodes.
pub(super) struct Payments {
    pub(super) desk: Desk,
    /// For whom what comes out of each queue is decided, by the indexes of the desk; the intake itself where nobody is named.
    behalf: Vec<Option<SubmitterFields>>,
    submitters: Submitters,
    pub(super) metrics: Arc<Metrics>,
    /// What nodes were asked and have not answered.
    pub(super) asked: Many,
    link: Link,
    place: Place,
    strays: Quiet,
    poison: Quiet,
}

impl Payments {
    /// Without any payment.
    pub(super) fn new(
        rules: Rules,
        submitters: Submitters,
        link: Link,
        metrics: Arc<Metrics>,
        place: Place,
    ) -> Self {
        Self {
            desk: Desk::new(rules),
            behalf: Vec::new(),
            submitters,
            metrics,
            asked: link.many(),
            link,
            place,
            strays: Quiet::default(),
            poison: Quiet::default(),
        }
    }

    /// Knows a queue, or a partition of the topic `source`, from now on; gives its index.
    pub(super) fn open(&mut self, name: String, source: &str) -> usize {
        self.metrics.open(&name);
        self.behalf.push(self.submitters.get(source).copied());
        self.desk.open(name)
    }

    /// No node lets the intake ask for decisions before the operator mends that: what is not taken yet stays where it
    /// is until then.
    pub(super) fn is_refused(&self) -> bool {
        self.link.is_refused()
    }

    /// Now.
    pub(super) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { ns: self.link.at(Instant::now()), wall_ms }
    }

    /// When [`Desk::tick`] has something to do.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.desk.next_wake().map(|ns| self.link.time(ns))
    }

    /// What a node has answered, and what has come besides.
    pub(super) fn answered(&mut self, first: (u64, Outcome)) {
        let now = self.now();
        for (number, outcome) in in_a_row(first, || self.asked.ended()) {
            self.desk.answered(number, outcome, now);
        }
    }

    /// Does what is to be done, but for letters, which are given to `publish`.
    pub(super) fn act(&mut self, mut publish: impl FnMut(u64, Arc<Letter>)) {
        // What could not be asked calls for something else at once.
        while let Some(effect) = self.desk.next_effect() {
            match effect {
                Effect::Ask { number, queue, transaction, budget_end_ns } => {
                    let behalf = self.behalf[queue];
                    let request = Request::submit_for(behalf, &transaction, budget_end_ns);
                    let deadline = self.link.time(budget_end_ns) + ANSWER_GRACE;
                    if let Err(outcome) = self.asked.ask(number, request, deadline) {
                        self.desk.answered(number, outcome, self.now());
                    }
                }
                Effect::Publish { number, letter } => publish(number, letter),
                Effect::Settled { code, took_ns } => {
                    self.metrics.answered(code, Duration::from_nanos(took_ns));
                }
                Effect::Poison { queue, problem } => {
                    self.metrics.dead();
                    if let Some(more) = self.poison.may_speak(Instant::now()) {
                        let (code, detail) = (problem.row().code, problem.detail());
                        let queue = self.desk.name(queue);
                        tracing::warn!(
                            queue,
                            code,
                            detail,
                            more,
                            "a message goes to the dead letters"
                        );
                    }
                }
                Effect::Astray { letter, receipt } => self.astray(&letter.kind, receipt),
            }
        }
        self.metrics.in_flight(self.desk.unanswered());
    }

    fn astray(&mut self, kind: &Kind, receipt: Receipt) {
        self.metrics.astray(receipt);
        let Some(more) = self.strays.may_speak(Instant::now()) else { return };
        let what = match (kind, receipt) {
            (Kind::ToAsker(_), Receipt::Returned) => {
                "nobody takes a reply at its reply_to; it goes to where all go"
            }
            (Kind::ToAll, Receipt::Returned) => {
                "nobody takes replies at their place; this one goes to the dead letters"
            }
            (Kind::Dead, Receipt::Returned) => {
                "nobody takes dead letters at their place; it is tried again"
            }
            (_, Receipt::Refused | Receipt::Taken) => {
                "the broker did not take a letter; it is tried again"
            }
        };
        tracing::warn!(place = (self.place)(kind), more, "{what}");
    }
}

/// The first of some things and those that are there at once. Nothing is fetched that is not given: it would be lost.
pub(super) fn in_a_row<T>(first: T, more: impl FnMut() -> Option<T>) -> impl Iterator<Item = T> {
    iter::once(first).chain(iter::from_fn(more)).take(MAX_IN_A_ROW)
}

/// The pauses between attempts: each longer than the one before, until something was done again. With a part of chance,
/// so that many intakes don't come back together.
#[derive(Debug)]
pub(super) struct Pauses {
    failures: u32,
    seed: u64,
}

impl Pauses {
    /// By chance from this seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self { failures: 0, seed }
    }

    /// A number of chance: the next in a row.
    pub(super) const fn chance(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed
    }

    /// The pause after another failure. `progress`: something was done since the one before.
    pub(super) fn next(&mut self, progress: bool) -> Duration {
        if progress {
            self.failures = 0;
        }
        let pause = pause(self.failures, self.chance() >> 33);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// The pause after so many failures.
fn pause(failures: u32, chance: u64) -> Duration {
    let (least, most) = PAUSE;
    let pause = least.saturating_mul(1 << failures.min(16)).min(most);
    pause.mul_f64(0.5 + (chance % 1_000) as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_in_a_row_is_there_for_the_next() {
        let mut left = 0..3 * MAX_IN_A_ROW + 1;
        let mut seen = Vec::new();
        while let Some(first) = left.next() {
            let row: Vec<usize> = in_a_row(first, || left.next()).collect();
            assert!(row.len() <= MAX_IN_A_ROW);
            seen.extend(row);
        }
        assert_eq!(seen, (0..3 * MAX_IN_A_ROW + 1).collect::<Vec<_>>());
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        for (failures, longest_ms) in
            [(0, 100), (1, 200), (5, 3_200), (6, 5_000), (u32::MAX, 5_000)]
        {
            for chance in 0..2_000 {
                let pause_ms = pause(failures, chance).as_millis();
                assert!(
                    (longest_ms / 2..=longest_ms).contains(&pause_ms),
                    "{failures}: {pause_ms}"
                );
            }
        }
    }

    #[test]
    fn a_pause_is_short_again_once_something_was_done() {
        let mut pauses = Pauses::new(7);
        let long = (0..9).map(|_| pauses.next(false)).last().expect("nine");
        assert!(long >= Duration::from_millis(2_500), "{long:?}");
        assert!(pauses.next(true) <= Duration::from_millis(100));
    }
}
