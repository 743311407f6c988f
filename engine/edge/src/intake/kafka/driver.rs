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
use crate::intake::payments::{Payments, STOP_PATIENCE, in_a_row, pause};
use crate::intake::quiet::Quiet;
use crate::link::Link;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How often it is looked whether something is to be done that nothing calls for.
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
    publishing: FuturesUnordered<BoxFuture<'static, (u64, Receipt)>>,
    /// How many partitions are this intake's.
    share: usize,
    is_reached: bool,
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
        let payments = Payments::new(rules, link, metrics, Box::new(place));
        let (indexes, partitions) = (HashMap::new(), Vec::new());
        Self { setup, seed, payments, indexes, partitions, failures: Quiet::default() }
    }

    /// Takes payments until `stop` resolves, and then answers those in flight.
    ///
    /// # Errors
    /// The library refuses a setting.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Fault> {
        let mut stop = pin!(stop);
        let (mut failures, mut seed) = (0u32, self.seed);
        loop {
            let (tells, told) = mpsc::unbounded_channel();
            let client = Client::start(&self.setup, tells);
            let session = Session {
                client: client.map_err(|error| Fault::System(io::Error::other(error)))?,
                told,
                publishing: FuturesUnordered::new(),
                share: 0,
                is_reached: false,
                progress: false,
            };
            let end = self.serve(session, &mut stop).await;
            self.payments.metrics.connected(false);
            self.payments.desk.forget();
            let (why, progress) = match end {
                End::Stopped => return Ok(()),
                End::Lost { why, progress } => (why, progress),
            };
            if progress {
                failures = 0;
            }
            self.payments.metrics.broker_failed();
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let pause = pause(failures, seed >> 33);
            failures = failures.saturating_add(1);
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
        loop {
            self.act(&mut session);
            let unanswered = self.payments.desk.unanswered();
            if let Some(by) = stop_by
                && (unanswered == 0 || Instant::now() >= by)
            {
                session.client.close().await;
                return End::Stopped;
            }
            let look_at = Instant::now() + LOOK_EVERY;
            let wake = self.payments.wake().map_or(look_at, |wake| wake.min(look_at));
            // Nothing is fetched that is not taken. Partitions change hands only while something is fetched, so
            // that this waits for the budgets of what is in hand, and no longer than the group has patience.
            let has_room = stop_by.is_none() && unanswered < self.setup.max_in_flight;
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
                Some((number, receipt)) = session.publishing.next() => {
                    self.published(&mut session, (number, receipt));
                    None
                }
                Some(first) = self.payments.asked.next() => {
                    self.payments.answered(first);
                    None
                }
                fetched = fetch(&session.client), if has_room => {
                    let room = self.setup.max_in_flight - unanswered;
                    self.fetched(&mut session, fetched, room)
                }
                () = sleep_until(wake) => {
                    self.payments.desk.tick(self.payments.now());
                    None
                }
            };
            if let Some(why) = lost {
                let progress = session.progress;
                session.client.close().await;
                return if stop_by.is_some() { End::Stopped } else { End::Lost { why, progress } };
            }
        }
    }

    /// Takes what was fetched, and what is there besides; at most so much.
    fn fetched(&mut self, session: &mut Session, first: Fetched, room: usize) -> Option<String> {
        let Session { client, told, .. } = &mut *session;
        let more = || match told.is_empty() {
            true => fetch(client).now_or_never(),
            // That counts first.
            false => None,
        };
        let row: Vec<Fetched> = in_a_row(first, more).take(room).collect();
        for fetched in row {
            match fetched {
                Ok((partition, message)) => self.taken(partition, message),
                Err(KafkaError::MessageConsumptionFatal(code)) => return Some(code.to_string()),
                Err(error) => self.failed(&error.to_string()),
            }
        }
        None
    }

    fn taken(&mut self, partition: Partition, message: Message) {
        // The library gives no record without an offset.
        let Some(offset) = message.offset else { return };
        let desk = &mut self.payments.desk;
        let metrics = &self.payments.metrics;
        let queue = *self.indexes.entry(partition).or_insert_with_key(|partition| {
            let name = format!("{}/{}", partition.0, partition.1);
            metrics.open(&name);
            self.partitions.push(partition.clone());
            desk.open(name)
        });
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

    fn published(&mut self, session: &mut Session, first: (u64, Receipt)) {
        let now = self.payments.now();
        let more = || session.publishing.next().now_or_never().flatten();
        for (number, receipt) in in_a_row(first, more) {
            session.progress |= receipt == Receipt::Taken;
            self.payments.metrics.blocked(receipt == Receipt::Refused);
            self.payments.desk.published(number, receipt, now);
        }
    }

    /// What the library has told.
    fn heard(&mut self, session: &mut Session, told: Told) {
        match told {
            Told::Given(partitions) => {
                session.share += partitions.len();
                let shown = shown(&partitions);
                tracing::info!(partitions = shown, all = session.share, "consuming");
                self.reached(session, true);
            }
            Told::Revoked(partitions) => {
                session.share = session.share.saturating_sub(partitions.len());
                let shown = shown(&partitions);
                tracing::info!(partitions = shown, all = session.share, "partitions are given up");
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
        self.payments.metrics.connected(is_reached);
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
            publishing.push(published.map(move |receipt| (number, receipt)).boxed());
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
