//! Moves the [`Desk`]: one task that owns it, between the broker, the link and the clocks. It decides nothing about a
//! payment. It does decide when a connection to the broker is of no use any more, and makes it anew, slower each time.

use super::Setup;
use super::broker::{Broker, Deliveries, Events, Published, message};
use super::desk::{Desk, Effect, Now, Receipt, Rules};
use super::letter::Kind;
use super::metrics::Metrics;
use super::quiet::Quiet;
use crate::caller::Caller;
use crate::link::{Link, Many, Request};
use catraca_wire::client::rules::ANSWER_GRACE;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use lapin::Event;
use std::collections::HashSet;
use std::iter;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep_until};

/// Bounds of the pauses between attempts to connect to the broker. A pause begins at the least one again once something
/// was acknowledged: a connection that is made and lost at once, with all its messages delivered again, is slowed down too.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long the broker may owe confirms and say none, before the connection is given up. It is many times what a
/// sync of its disk takes.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(15);
/// How long a stop waits for what is in flight: longer than a budget and the wait for its answer.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether the connection is still of use. Its own events come at once; some losses have none.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Things of one kind that are taken in a row before what they call for is done.
const MAX_IN_A_ROW: usize = 256;

/// What the broker was asked to do, and did.
enum Done {
    /// A letter of a delivery, with the number of the letter.
    Published {
        number: u64,
        letter: u64,
        came: Result<Published, String>,
    },
    Acked(Result<(), String>),
}

/// How a connection ended.
enum End {
    /// The intake was told to stop, and everything is answered that could be.
    Stopped,
    /// It is of no use any more. `progress`: something was acknowledged over it.
    Lost { why: String, progress: bool },
}

/// Everything that outlives a connection to the broker.
pub(super) struct Driver {
    setup: Setup,
    desk: Desk,
    link: Link,
    many: Many,
    metrics: Arc<Metrics>,
    strays: Quiet,
    poison: Quiet,
}

/// A connection to the broker, and what is going on over it.
struct Session {
    broker: Broker,
    deliveries: Option<Deliveries>,
    events: Events,
    doing: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Letters that were published.
    letters: u64,
    /// Those that came back, and whose own confirm has not been seen.
    returned: HashSet<u64>,
    /// When the broker last did something, or began to owe something.
    heard_at: Instant,
    is_blocked: bool,
    progress: bool,
}

impl Driver {
    pub(super) fn new(setup: Setup, rules: Rules, link: Link, metrics: Arc<Metrics>) -> Self {
        let many = link.many();
        Self {
            setup,
            desk: Desk::new(rules),
            many,
            link,
            metrics,
            strays: Quiet::default(),
            poison: Quiet::default(),
        }
    }

    /// Takes payments until `stop` resolves, and then answers those in flight.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (mut failures, mut seed) = (0u32, self.setup.seed);
        for attempt in 0.. {
            let place = &self.setup.brokers[attempt % self.setup.brokers.len()];
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let connecting = Broker::connect(&self.setup, place, seed);
            let connected = tokio::select! {
                biased;
                () = &mut stop => return,
                connected = connecting => connected,
            };
            let why = match connected {
                Err(why) => why,
                Ok((broker, deliveries, events)) => {
                    let (host, port) = place;
                    let broker_at = format!("{host}:{port}");
                    tracing::info!(broker = broker_at, "consuming");
                    self.metrics.connected(true);
                    let session = Session {
                        broker,
                        deliveries: Some(deliveries),
                        events,
                        doing: FuturesUnordered::new(),
                        letters: 0,
                        returned: HashSet::new(),
                        heard_at: Instant::now(),
                        is_blocked: false,
                        progress: false,
                    };
                    let end = self.serve(session, &mut stop).await;
                    self.metrics.connected(false);
                    self.metrics.blocked(false);
                    self.desk.forget();
                    match end {
                        End::Stopped => return,
                        End::Lost { why, progress } => {
                            if progress {
                                failures = 0;
                            }
                            why
                        }
                    }
                }
            };
            self.metrics.broker_failed();
            let pause = pause(failures, seed >> 33);
            failures = failures.saturating_add(1);
            let pause_ms = pause.as_millis() as u64;
            tracing::warn!(why, pause_ms, "the broker is lost or not reached; trying again");
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Works over one connection until it is lost.
    async fn serve(
        &mut self,
        mut session: Session,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> End {
        let mut stop_by: Option<Instant> = None;
        let mut look_at = Instant::now() + LOOK_EVERY;
        // Whether no acknowledgement is held back: now and then, so that one message that waits keeps no other.
        let mut flushes = false;
        loop {
            self.act(&mut session, flushes || stop_by.is_some());
            flushes = false;
            self.metrics.in_flight(self.desk.unanswered());
            if let Some(by) = stop_by
                && ((self.desk.unanswered() == 0 && session.doing.is_empty())
                    || Instant::now() >= by)
            {
                session.broker.close().await;
                return End::Stopped;
            }
            let wake = self.desk.next_wake().map(|ns| self.link.time(ns));
            let wake = wake.map_or(look_at, |wake| wake.min(look_at));
            let lost = tokio::select! {
                Some(said) = next(&mut session.deliveries), if session.deliveries.is_some() => {
                    self.taken(&mut session, said)
                }
                Some((number, outcome)) = self.many.next() => {
                    self.desk.answered(number, outcome, self.now());
                    for _ in 0..MAX_IN_A_ROW {
                        let Some((number, outcome)) = self.many.ended() else { break };
                        self.desk.answered(number, outcome, self.now());
                    }
                    None
                }
                Some(done) = session.doing.next() => self.did(&mut session, done),
                Some(event) = session.events.next() => self.heard(&mut session, event),
                () = &mut *stop, if stop_by.is_none() => {
                    tracing::info!(in_flight = self.desk.unanswered(), "stopping");
                    stop_by = Some(Instant::now() + STOP_PATIENCE);
                    // It consumes no more; what was delivered and not taken goes back.
                    session.deliveries = None;
                    None
                }
                () = sleep_until(wake) => {
                    self.desk.tick(self.now());
                    None
                }
            };
            let now = Instant::now();
            let lost = lost.or_else(|| {
                if now < look_at {
                    return None;
                }
                look_at = now + LOOK_EVERY;
                flushes = true;
                look(&session, now)
            });
            if let Some(why) = lost {
                let progress = session.progress;
                let stops = stop_by.is_some();
                // Dropped it closes in the background, as far as there is anybody to hear that.
                drop(session);
                return if stops { End::Stopped } else { End::Lost { why, progress } };
            }
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { ns: self.link.at(Instant::now()), wall_ms }
    }

    /// Takes what consumers have.
    fn taken(&mut self, session: &mut Session, first: super::broker::Said) -> Option<String> {
        let more = || next(&mut session.deliveries).now_or_never().flatten();
        for (queue, delivery) in in_a_row(first, more) {
            match delivery {
                Ok(delivery) => {
                    let tag = delivery.delivery_tag;
                    self.metrics.taken(queue, delivery.redelivered);
                    self.desk.take(queue, tag, message(delivery), self.now());
                }
                Err(error) => return Some(format!("queue {}: {error}", self.setup.queues[queue])),
            }
        }
        None
    }

    /// What the broker has done. All that is known is taken together: that a letter came back is said with the next
    /// confirm, whoever's that is, and so before or with its own.
    fn did(&mut self, session: &mut Session, first: Done) -> Option<String> {
        session.heard_at = Instant::now();
        let (mut confirmed, mut done) = (Vec::new(), Some(first));
        while let Some(one) = done {
            match one {
                Done::Published { number, letter, came: Ok(published) } => {
                    session.returned.extend(published.returned);
                    confirmed.push((number, letter, published.is_taken));
                }
                Done::Acked(Ok(())) => session.progress = true,
                Done::Published { came: Err(error), .. } | Done::Acked(Err(error)) => {
                    return Some(error);
                }
            }
            done = session.doing.next().now_or_never().flatten();
        }
        let now = self.now();
        for (number, letter, is_taken) in confirmed {
            let receipt = match (session.returned.remove(&letter), is_taken) {
                (true, _) => Receipt::Returned,
                (false, true) => Receipt::Taken,
                (false, false) => Receipt::Refused,
            };
            self.desk.published(number, receipt, now);
        }
        None
    }

    /// What the broker says of the connection.
    fn heard(&mut self, session: &mut Session, event: Event) -> Option<String> {
        match event {
            Event::ConnectionBlocked(why) => {
                session.is_blocked = true;
                self.metrics.blocked(true);
                tracing::warn!(
                    why,
                    "the broker takes no replies: it is short of memory or disk. Payments wait in its queues"
                );
            }
            Event::ConnectionUnblocked => {
                session.is_blocked = false;
                session.heard_at = Instant::now();
                self.metrics.blocked(false);
                tracing::info!("the broker takes replies again");
            }
            Event::Error(error) => return Some(error.to_string()),
            _ => {}
        }
        None
    }

    /// Does what is to be done.
    fn act(&mut self, session: &mut Session, all: bool) {
        // What could not be asked calls for something else at once.
        while let Some(effect) = self.desk.next_effect() {
            self.one(session, effect);
        }
        for queue in 0..self.setup.queues.len() {
            // Where nothing else is in flight nothing is held back either.
            let all = all || self.desk.unanswered() == 0;
            for ack in self.desk.take_acks(queue, all) {
                let acked = session.broker.ack(queue, ack).map(Done::Acked);
                begin(session, acked.boxed());
            }
        }
    }

    fn one(&mut self, session: &mut Session, effect: Effect) {
        match effect {
            Effect::Ask { number, transaction, budget_end_ns } => {
                let request = Request::submit(&Caller::anybody(), &transaction, budget_end_ns);
                let deadline = self.link.time(budget_end_ns) + ANSWER_GRACE;
                if let Err(outcome) = self.many.ask(number, request, deadline) {
                    self.desk.answered(number, outcome, self.now());
                }
            }
            Effect::Publish { number, letter } => {
                session.letters += 1;
                let of_letter = session.letters;
                let published = session.broker.publish(of_letter, letter);
                let published =
                    published.map(move |came| Done::Published { number, letter: of_letter, came });
                begin(session, published.boxed());
            }
            Effect::Settled { code, took_ns } => {
                self.metrics.answered(code, Duration::from_nanos(took_ns));
            }
            Effect::Poison { queue, problem } => {
                self.metrics.dead();
                if let Some(more) = self.poison.may_speak(Instant::now()) {
                    let (code, detail) = (problem.row().code, problem.detail());
                    let queue = &self.setup.queues[queue];
                    tracing::warn!(queue, code, detail, more, "a message goes to the dead letters");
                }
            }
            Effect::Astray { letter, receipt } => {
                self.metrics.astray(receipt);
                if let Some(more) = self.strays.may_speak(Instant::now()) {
                    let what = match (letter.kind, receipt) {
                        (Kind::ToAsker, Receipt::Returned) => {
                            "nobody takes a reply at its reply_to; it goes to where all go"
                        }
                        (Kind::ToAll, Receipt::Returned) => {
                            "no queue takes replies by reply_exchange and reply_key; this one goes to the dead letters"
                        }
                        (Kind::Dead, Receipt::Returned) => {
                            "no queue takes dead letters by dead_letter_exchange and dead_letter_key; it is tried again"
                        }
                        (_, _) => "the broker refused a letter; it is tried again",
                    };
                    let (exchange, key) = (&letter.route.exchange, &letter.route.key);
                    tracing::warn!(exchange, key, more, "{what}");
                }
            }
        }
    }
}

/// The next of what comes from the queues; never where none are consumed.
async fn next(deliveries: &mut Option<Deliveries>) -> Option<super::broker::Said> {
    deliveries.as_mut()?.next().await
}

/// The first of some things and those that are there at once. Nothing is fetched that is not given: it would be lost.
fn in_a_row<T>(first: T, more: impl FnMut() -> Option<T>) -> impl Iterator<Item = T> {
    iter::once(first).chain(iter::from_fn(more)).take(MAX_IN_A_ROW)
}

/// Has the broker do something.
fn begin(session: &mut Session, doing: BoxFuture<'static, Done>) {
    if session.doing.is_empty() {
        session.heard_at = Instant::now();
    }
    session.doing.push(doing);
}

/// Whether a connection is of no use although nothing said so.
fn look(session: &Session, now: Instant) -> Option<String> {
    if let Some(why) = session.broker.trouble() {
        return Some(why.to_owned());
    }
    let is_silent = !session.doing.is_empty() && now > session.heard_at + CONFIRM_PATIENCE;
    (is_silent && !session.is_blocked)
        .then(|| format!("the broker confirmed nothing for {} s", CONFIRM_PATIENCE.as_secs()))
}

/// The pause after so many failures, with a part of chance so that many intakes don't come back together.
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
}
