//! Moves the payments between the queues and the nodes: one task, over one connection to a broker at a time. It decides
//! when a connection is of no use any more, and makes it anew, slower each time.

use super::broker::{Broker, Deliveries, Events, Published, Said, message};
use super::{Route, Setup};
use crate::intake::acks::Behind;
use crate::intake::desk::{Receipt, Rules};
use crate::intake::letter::Kind;
use crate::intake::metrics::Metrics;
use crate::intake::payments::{Pauses, Payments, STOP_PATIENCE, in_a_row};
use crate::link::Link;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use lapin::Event;
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long the broker may owe confirms and say none, before the connection is given up. It is many times what a
/// sync of its disk takes.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(15);
/// Of a full prefetch one part in so many is answered and not acknowledged, at most.
const HELD_BACK: u16 = 4;
/// How often it is looked whether the connection is still of use. Its own events come at once; some losses have none.
const LOOK_EVERY: Duration = Duration::from_secs(1);
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
    /// Seed of the jitter between attempts to connect.
    seed: u64,
    payments: Payments,
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
    pub(super) fn new(
        setup: Setup,
        seed: u64,
        timeout_ns: u64,
        link: Link,
        metrics: Arc<Metrics>,
    ) -> Self {
        let behind = Behind::Held(usize::from(setup.prefetch / HELD_BACK));
        let to_all = [setup.reply.clone(), setup.dead_letter.clone()];
        let place = move |kind: &Kind| Route::of(kind, &to_all[0], &to_all[1]).to_string();
        let rules = Rules { behind, timeout_ns };
        let submitters = setup.submitters.clone();
        let mut payments = Payments::new(rules, submitters, link, metrics, Box::new(place));
        for queue in &setup.queues {
            payments.open(queue.clone(), queue);
        }
        Self { setup, seed, payments }
    }

    /// Takes payments until `stop` resolves, and then answers those in flight.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut pauses = Pauses::new(self.seed);
        for attempt in 0.. {
            let place = &self.setup.brokers[attempt % self.setup.brokers.len()];
            let connecting = Broker::connect(&self.setup, place, pauses.chance());
            let connected = tokio::select! {
                biased;
                () = &mut stop => return,
                connected = connecting => connected,
            };
            let (why, progress) = match connected {
                Err(why) => (why, false),
                Ok((broker, deliveries, events)) => {
                    let (host, port) = place;
                    let broker_at = format!("{host}:{port}");
                    tracing::info!(broker = broker_at, "consuming");
                    self.payments.metrics.connected(true);
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
                    self.payments.metrics.connected(false);
                    self.payments.metrics.blocked(false);
                    self.payments.desk.forget();
                    match end {
                        End::Stopped => return,
                        End::Lost { why, progress } => (why, progress),
                    }
                }
            };
            self.payments.metrics.broker_failed();
            let pause = pauses.next(progress);
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
            if let Some(by) = stop_by
                && ((self.payments.desk.unanswered() == 0 && session.doing.is_empty())
                    || Instant::now() >= by)
            {
                session.broker.close().await;
                return End::Stopped;
            }
            let wake = self.payments.wake().map_or(look_at, |wake| wake.min(look_at));
            // It is looked again once a second.
            let takes = session.deliveries.is_some() && !self.payments.is_refused();
            let lost = tokio::select! {
                Some(said) = next(&mut session.deliveries), if takes => {
                    self.taken(&mut session, said)
                }
                Some(first) = self.payments.asked.next() => {
                    self.payments.answered(first);
                    None
                }
                Some(done) = session.doing.next() => self.did(&mut session, done),
                Some(event) = session.events.next() => self.heard(&mut session, event),
                () = &mut *stop, if stop_by.is_none() => {
                    tracing::info!(in_flight = self.payments.desk.unanswered(), "stopping");
                    stop_by = Some(Instant::now() + STOP_PATIENCE);
                    // It consumes no more; what was delivered and not taken goes back.
                    session.deliveries = None;
                    None
                }
                () = sleep_until(wake) => {
                    self.payments.desk.tick(self.payments.now());
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

    /// Takes what consumers have.
    fn taken(&mut self, session: &mut Session, first: Said) -> Option<String> {
        let more = || next(&mut session.deliveries).now_or_never().flatten();
        for (queue, delivery) in in_a_row(first, more) {
            match delivery {
                Ok(delivery) => {
                    let tag = delivery.delivery_tag;
                    let redelivered = delivery.redelivered;
                    self.payments.metrics.taken(queue, redelivered);
                    let now = self.payments.now();
                    self.payments.desk.take(queue, tag, message(delivery), now);
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
        let now = self.payments.now();
        for (number, letter, is_taken) in confirmed {
            let receipt = match (session.returned.remove(&letter), is_taken) {
                (true, _) => Receipt::Returned,
                (false, true) => Receipt::Taken,
                (false, false) => Receipt::Refused,
            };
            self.payments.desk.published(number, receipt, now);
        }
        None
    }

    /// What the broker says of the connection.
    fn heard(&mut self, session: &mut Session, event: Event) -> Option<String> {
        match event {
            Event::ConnectionBlocked(why) => {
                session.is_blocked = true;
                self.payments.metrics.blocked(true);
                tracing::warn!(
                    why,
                    "the broker takes no replies: it is short of memory or disk. Payments wait in its queues"
                );
            }
            Event::ConnectionUnblocked => {
                session.is_blocked = false;
                session.heard_at = Instant::now();
                self.payments.metrics.blocked(false);
                tracing::info!("the broker takes replies again");
            }
            Event::Error(error) => return Some(error.to_string()),
            _ => {}
        }
        None
    }

    /// Does what is to be done.
    fn act(&mut self, session: &mut Session, all: bool) {
        self.payments.act(|number, letter| {
            session.letters += 1;
            let of_letter = session.letters;
            let published = session.broker.publish(of_letter, letter);
            let published =
                published.map(move |came| Done::Published { number, letter: of_letter, came });
            begin(session, published.boxed());
        });
        for queue in 0..self.setup.queues.len() {
            // Where nothing else is in flight nothing is held back either.
            let all = all || self.payments.desk.unanswered() == 0;
            for ack in self.payments.desk.take_acks(queue, all) {
                let acked = session.broker.ack(queue, ack).map(Done::Acked);
                begin(session, acked.boxed());
            }
        }
    }
}

/// The next of what comes from the queues; never where none are consumed.
async fn next(deliveries: &mut Option<Deliveries>) -> Option<Said> {
    deliveries.as_mut()?.next().await
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
