//! Moves the payments between the topics and the nodes: one task. The library connects again by itself; only what it
//! calls fatal is begun anew here, slower each time.

use super::Setup;
use super::client::{Client, Partition, Told};
use super::record::message;
use crate::Fault;
use crate::intake::acks::Behind;
use crate::intake::desk::{Receipt, Rules};
use crate::intake::letter::Kind;
use crate::intake::message::Message;
use crate::intake::metrics::Metrics;
use crate::intake::payments::{MAX_IN_A_ROW, Pauses, Payments, STOP_PATIENCE, in_a_row};
use crate::intake::quiet::Quiet;
use crate::link::Link;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How often it is looked whether letters wait to be published again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A record that was fetched.
type Fetched = Result<(Partition, Message), KafkaError>;

/// How a client ended.
enum End {
    Stopped,
    /// It is of no use any more. `progress`: something was answered over it.
    Lost {
        why: String,
        progress: bool,
    },
}

/// Everything that outlives a client.
pub(super) struct Driver {
    setup: Setup,
    /// Seed of the jitter between attempts.
    seed: u64,
    payments: Payments,
    /// Indexes of the partitions, as the desk has them.
    indexes: HashMap<Partition, usize>,
    partitions: Vec<Partition>,
    failures: Quiet,
}

/// A client, and what is going on over it.
struct Session {
    client: Client,
    told: mpsc::UnboundedReceiver<Told>,
    publishing: FuturesUnordered<BoxFuture<'static, (u64, Receipt, Option<KafkaError>)>>,
    /// How many partitions are this intake's; none before the group has given it its share.
    share: Option<usize>,
    is_reached: bool,
    /// Nothing is fetched: as much is in hand as may, or the intake stops.
    is_paused: bool,
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
        let (replies, dead) = (setup.reply_topic.clone(), setup.dead_letter_topic.clone());
        let place = move |kind: &Kind| match kind {
            Kind::ToAsker(_) | Kind::ToAll => replies.clone(),
            Kind::Dead => dead.clone(),
        };
        let rules = Rules { behind: Behind::Never, timeout_ns };
        let submitters = setup.submitters.clone();
        let payments = Payments::new(rules, submitters, link, metrics, Box::new(place));
        let (indexes, partitions) = (HashMap::new(), Vec::new());
        Self { setup, seed, payments, indexes, partitions, failures: Quiet::default() }
    }

    /// Takes payments until `stop` resolves, and then answers those in flight.
    ///
    /// # Errors
    /// The library refuses a setting.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Fault> {
        let mut stop = pin!(stop);
        let mut pauses = Pauses::new(self.seed);
        loop {
            let (tells, told) = mpsc::unbounded_channel();
            let client = Client::start(&self.setup, &tells);
            let session = Session {
                client: client.map_err(|error| Fault::System(io::Error::other(error)))?,
                told,
                publishing: FuturesUnordered::new(),
                share: None,
                is_reached: false,
                is_paused: false,
                progress: false,
            };
            let end = self.serve(session, &mut stop).await;
            self.payments.metrics.connected(false);
            self.payments.metrics.blocked(false);
            self.payments.desk.forget();
            let (why, progress) = match end {
                End::Stopped => return Ok(()),
                End::Lost { why, progress } => (why, progress),
            };
            self.payments.metrics.broker_failed();
            let pause = pauses.next(progress);
            let pause_ms = pause.as_millis() as u64;
            tracing::warn!(why, pause_ms, "the client of the broker ended; beginning anew");
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Works over one client until it is of no use any more.
    async fn serve(
        &mut self,
        mut session: Session,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> End {
        let mut stop_by: Option<Instant> = None;
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            // Not left to the timer alone: records that come without an end keep it waiting.
            let now = Instant::now();
            self.payments.desk.tick(self.payments.now());
            if now >= look_at {
                look_at = now + LOOK_EVERY;
                self.payments.metrics.blocked(self.payments.desk.letters_again() > 0);
            }
            self.act(&mut session);
            let unanswered = self.payments.desk.unanswered();
            if let Some(by) = stop_by
                && (unanswered == 0 || Instant::now() >= by)
            {
                if unanswered > 0 {
                    tracing::warn!(unanswered, "not all is answered; it is for whoever comes next");
                }
                session.client.close().await;
                return End::Stopped;
            }
            self.balance(&mut session, unanswered, stop_by.is_some());
            let wake = self.payments.wake().map_or(look_at, |wake| wake.min(look_at));
            let lost = tokio::select! {
                // What is told counts before what is fetched behind it.
                biased;
                () = &mut *stop, if stop_by.is_none() => {
                    tracing::info!(in_flight = unanswered, "stopping");
                    stop_by = Some(Instant::now() + STOP_PATIENCE);
                    None
                }
                Some(told) = session.told.recv() => {
                    self.heard(&mut session, told);
                    None
                }
                Some(first) = session.publishing.next() => {
                    self.published(&mut session, first);
                    None
                }
                Some(first) = self.payments.asked.next() => {
                    self.payments.answered(first);
                    None
                }
                fetched = fetch(&session.client) => {
                    let room = self.setup.max_in_flight.saturating_sub(unanswered);
                    self.fetched(&mut session, fetched, room)
                }
                () = sleep_until(wake) => None,
            };
            if let Some(why) = lost {
                let progress = session.progress;
                session.client.close().await;
                return if stop_by.is_some() { End::Stopped } else { End::Lost { why, progress } };
            }
        }
    }

    /// Has nothing fetched while as much is in hand as may be, or no node lets the intake ask, and fetches again when
    /// half of it is answered.
    fn balance(&mut self, session: &mut Session, unanswered: usize, stops: bool) {
        let most = self.setup.max_in_flight;
        let stops = stops || self.payments.is_refused();
        let done = match session.is_paused {
            false if stops || unanswered >= most => session.client.pause(),
            true if !stops && unanswered <= most / 2 => session.client.resume(),
            _ => return,
        };
        session.is_paused = !session.is_paused;
        self.kept(done);
    }

    fn kept(&mut self, done: KafkaResult<()>) {
        if let Err(error) = done {
            self.failed(&format!("partitions can't be paused or resumed: {error}"));
        }
    }

    /// Takes what was fetched, and what is there besides, for as much as there is room.
    fn fetched(&mut self, session: &mut Session, first: Fetched, room: usize) -> Option<String> {
        let mut fetched = first;
        for left in (0..room.clamp(1, MAX_IN_A_ROW)).rev() {
            // The library has told it before it gave the record. Taken the other way round, a record of a partition
            // that has just come back would be forgotten with what was before, and never be answered.
            while let Ok(told) = session.told.try_recv() {
                self.heard(session, told);
            }
            match fetched {
                Ok((partition, message)) => self.taken(partition, message),
                Err(KafkaError::MessageConsumptionFatal(code)) => return Some(code.to_string()),
                // It was told, with the reason.
                Err(KafkaError::MessageConsumption(_)) => {}
                Err(error) => self.failed(&error.to_string()),
            }
            // Nothing is fetched that is not taken: it would be lost.
            let more = (left > 0).then(|| fetch(&session.client).now_or_never()).flatten();
            let Some(more) = more else { break };
            fetched = more;
        }
        None
    }

    fn taken(&mut self, partition: Partition, message: Message) {
        // The library gives no record without an offset.
        let Some(offset) = message.offset else { return };
        let payments = &mut self.payments;
        let queue = *self.indexes.entry(partition).or_insert_with_key(|partition| {
            let (topic, number) = partition;
            self.partitions.push(partition.clone());
            payments.open(format!("{topic}/{number}"), topic)
        });
        let Payments { desk, metrics, .. } = payments;
        if desk.last_tag(queue) >= Some(offset) {
            // A topic that was made anew, or a replica that had less.
            let name = desk.name(queue);
            tracing::warn!(queue = name, offset, "the offsets of a partition begin again");
            desk.forget_queue(queue);
        }
        metrics.taken(queue, false);
        let now = self.payments.now();
        self.payments.desk.take(queue, offset, message, now);
    }

    fn published(&mut self, session: &mut Session, first: (u64, Receipt, Option<KafkaError>)) {
        let now = self.payments.now();
        let more = || session.publishing.next().now_or_never().flatten();
        let row: Vec<_> = in_a_row(first, more).collect();
        for (number, receipt, error) in row {
            session.progress |= receipt == Receipt::Taken;
            if let Some(error) = error {
                self.failed(&format!("an answer or a dead letter is not taken: {error}"));
            }
            self.payments.desk.published(number, receipt, now);
        }
    }

    /// What the library has told.
    fn heard(&mut self, session: &mut Session, told: Told) {
        match told {
            Told::Given(partitions) => {
                let all = session.share.unwrap_or(0) + partitions.len();
                session.share = Some(all);
                if all == 0 {
                    tracing::info!("no partition is left for this intake; it waits for one");
                } else {
                    tracing::info!(partitions = shown(&partitions), all, "consuming");
                }
                self.reached(session, true);
                // They come unpaused.
                if session.is_paused {
                    self.kept(session.client.pause());
                }
            }
            Told::Revoked(partitions) => {
                let all = session.share.unwrap_or(0).saturating_sub(partitions.len());
                session.share = Some(all);
                let shown = shown(&partitions);
                tracing::info!(partitions = shown, all, "partitions are given up");
                for partition in partitions {
                    if let Some(queue) = self.indexes.get(&partition) {
                        self.payments.desk.forget_queue(*queue);
                    }
                }
            }
            Told::Reached(is_reached) => self.reached(session, is_reached),
            Told::Committed(Ok(())) => {}
            Told::Committed(Err(why)) => self.failed(&format!("offsets are not committed: {why}")),
            Told::Failed(why) => self.failed(&why),
        }
    }

    fn reached(&mut self, session: &mut Session, is_reached: bool) {
        if session.is_reached && !is_reached {
            self.payments.metrics.broker_failed();
            tracing::warn!("no broker is reached; trying on");
        }
        session.is_reached = is_reached;
        // Without its share of the partitions it consumes nothing, as long as a topic is missing.
        self.payments.metrics.connected(is_reached && session.share.is_some());
    }

    fn failed(&mut self, why: &str) {
        self.payments.metrics.broker_failed();
        if let Some(more) = self.failures.may_speak(Instant::now()) {
            tracing::warn!(why, more, "the broker, or the way to it, fails; trying on");
        }
    }

    /// Does what is to be done.
    fn act(&mut self, session: &mut Session) {
        let Session { client, publishing, .. } = session;
        self.payments.act(|number, letter| {
            let published = client.publish(&letter);
            let told = published.map(move |(receipt, error)| (number, receipt, error));
            publishing.push(told.boxed());
        });
        for (queue, partition) in self.partitions.iter().enumerate() {
            for ack in self.payments.desk.take_acks(queue, true) {
                if let Err(error) = client.answered(partition, ack.tag) {
                    let (topic, number) = partition;
                    tracing::warn!(topic, number, %error, "an offset is not kept to be committed");
                }
            }
        }
    }
}

/// The next record.
async fn fetch(client: &Client) -> Fetched {
    let record = client.consumer.recv().await?;
    Ok(((record.topic().to_owned(), record.partition()), message(&record)))
}

/// Partitions, for a person.
fn shown(partitions: &[Partition]) -> String {
    let each = partitions.iter().map(|(topic, number)| format!("{topic}/{number}"));
    each.collect::<Vec<_>>().join(", ")
}
