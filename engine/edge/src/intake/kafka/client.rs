//! The consumer and the producer, and what they tell by themselves.

use super::{Login, Setup};
use crate::intake::desk::Receipt;
use crate::intake::kafka::record;
use crate::intake::letter::{Kind, Letter};
use crate::intake::quiet::Quiet;
use futures::future::FutureExt as _;
use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// A partition of a topic.
pub(super) type Partition = (String, i32);

/// How often offsets are committed that may be, milliseconds: so much is answered again after a death, by the decisions
/// that stand.
const COMMIT_EVERY_MS: u32 = 100;
/// Without a heartbeat for so long an intake is dead, and its partitions are somebody else's, milliseconds. The least
/// that brokers allow by default: what waits meanwhile is too late.
const SESSION_MS: u32 = 6_000;
/// How often an intake tells the broker that it lives, milliseconds. In the answer it hears that partitions change
/// hands: what waits in them meanwhile has two seconds.
const HEARTBEAT_MS: u32 = 500;
/// How often it is looked for topics and partitions that are new, milliseconds.
const REFRESH_MS: u32 = 5_000;
/// How long a topic is waited for that nobody knows, before letters to it are told to have no place, milliseconds: less
/// than they themselves have.
const UNKNOWN_MS: u32 = 5_000;
/// A reply that the broker has not taken in so long is sent anew, milliseconds.
const SEND_MS: u32 = 10_000;
/// How long replies wait for others to go with them, milliseconds.
const LINGER_MS: u32 = 1;
/// The longest pause between two attempts to reach a broker, milliseconds.
const RECONNECT_MS: u32 = 5_000;
/// Records that were fetched and not taken, kilobytes.
const FETCHED_KB: u32 = 16 * 1_024;
/// How long a broker may keep an answer back while it has no records, milliseconds. It answers at once when there are
/// some; only those that are played for tests don't.
const FETCH_WAIT_MS: u32 = 100;
/// How often the library says which brokers it reaches, milliseconds.
const STATISTICS_EVERY_MS: u32 = 1_000;
/// Time for a farewell: the last commit, and leaving the group.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// What the library tells.
#[derive(Debug)]
pub(super) enum Told {
    /// These partitions are this intake's, besides those that are.
    Given(Vec<Partition>),
    /// These are not any more: somebody else is given what is not committed of them.
    Revoked(Vec<Partition>),
    /// Whether it reaches a broker.
    Reached(bool),
    /// Offsets were committed, or why not.
    Committed(Result<(), String>),
    /// Something went wrong that the library goes on trying.
    Failed(String),
}

/// Hands over what the library tells.
pub(super) struct Ears {
    told: mpsc::UnboundedSender<Told>,
    log: Mutex<Quiet>,
}

impl Ears {
    fn tell(&self, told: Told) {
        // Nobody listens any more only where this connection is given up.
        let _ = self.told.send(told);
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect()
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        if level as i32 > RDKafkaLogLevel::Warning as i32 {
            tracing::debug!(fac, "{text}");
        } else if let Some(more) = self.log.lock().may_speak(Instant::now()) {
            tracing::warn!(fac, more, "{text}");
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.tell(Told::Reached(statistics.brokers.values().any(|broker| broker.state == "UP")));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.tell(Told::Failed(format!("{error}: {reason}")));
    }
}

impl ConsumerContext for Ears {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, change: &Rebalance<'_>) {
        match change {
            Rebalance::Assign(list) => self.tell(Told::Given(partitions(list))),
            Rebalance::Revoke(list) => self.tell(Told::Revoked(partitions(list))),
            Rebalance::Error(error) => self.tell(Told::Failed(error.to_string())),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        self.tell(Told::Committed(result.map_err(|error| error.to_string())));
    }
}

/// A group's member, and who publishes.
pub(super) struct Client {
    pub(super) consumer: StreamConsumer<Ears>,
    producer: FutureProducer<Ears>,
    reply_topic: String,
    dead_letter_topic: String,
}

/// The settings that both have.
fn config(setup: &Setup) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", setup.brokers.join(","))
        .set("client.id", concat!("catraca-intake-", env!("CARGO_PKG_VERSION")))
        .set("reconnect.backoff.max.ms", RECONNECT_MS.to_string())
        .set("socket.keepalive.enable", "true")
        // A broker closes what is idle; that is no news.
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    let protocol = match (&setup.secured, &setup.login) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(secured) = &setup.secured {
        config.set("ssl.ca.location", secured.ca_file.to_string_lossy());
        if let Some((certificate, key)) = &secured.own {
            config.set("ssl.certificate.location", certificate.to_string_lossy());
            config.set("ssl.key.location", key.to_string_lossy());
        }
    }
    if let Some(Login { user, password, mechanism }) = &setup.login {
        config.set("sasl.mechanism", *mechanism);
        config.set("sasl.username", user).set("sasl.password", password);
    }
    config
}

impl Client {
    /// Begins to connect, and to consume. What the library tells comes over `told`.
    pub(super) fn start(
        setup: &Setup,
        told: &mpsc::UnboundedSender<Told>,
    ) -> Result<Self, KafkaError> {
        let ears = || Ears { told: told.clone(), log: Mutex::default() };
        let consumer: StreamConsumer<Ears> = config(setup)
            .set("group.id", &setup.group)
            .set("auto.offset.reset", "earliest")
            // Partitions that stay are not interrupted when an intake comes or goes.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_MS.to_string())
            .set("heartbeat.interval.ms", HEARTBEAT_MS.to_string())
            .set("topic.metadata.refresh.interval.ms", REFRESH_MS.to_string())
            // What is stored is committed by the library, also before partitions go to somebody else.
            .set("enable.auto.commit", "true")
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", COMMIT_EVERY_MS.to_string())
            .set("queued.max.messages.kbytes", FETCHED_KB.to_string())
            .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
            .set("statistics.interval.ms", STATISTICS_EVERY_MS.to_string())
            .create_with_context(ears())?;
        let producer = config(setup)
            .set("acks", "all")
            .set("topic.metadata.propagation.max.ms", UNKNOWN_MS.to_string())
            .set("topic.metadata.refresh.interval.ms", REFRESH_MS.to_string())
            .set("message.timeout.ms", SEND_MS.to_string())
            .set("linger.ms", LINGER_MS.to_string())
            // As Kafka's own clients: all that has one key goes to one partition, whoever publishes.
            .set("partitioner", "murmur2_random")
            .create_with_context(ears())?;
        let topics: Vec<&str> = setup.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(Self {
            consumer,
            producer,
            reply_topic: setup.reply_topic.clone(),
            dead_letter_topic: setup.dead_letter_topic.clone(),
        })
    }

    /// Publishes a letter, and waits until all in-sync replicas have it. Gives why they have not, too.
    pub(super) fn publish(
        &self,
        letter: &Letter,
    ) -> impl Future<Output = (Receipt, Option<KafkaError>)> + use<> {
        let topic = match letter.kind {
            Kind::Dead => &self.dead_letter_topic,
            Kind::ToAll | Kind::ToAsker(_) => &self.reply_topic,
        };
        let mut one =
            FutureRecord::to(topic).payload(&letter.body[..]).headers(record::headers_of(letter));
        if let Some(key) = &letter.key {
            one = one.key(&key[..]);
        }
        let sent = self.producer.send_result(one).map_err(|(error, _)| error);
        async move {
            let taken = match sent {
                Ok(sent) => match sent.await {
                    Ok(taken) => taken.map(drop).map_err(|(error, _)| error),
                    // Only a producer that ends says nothing.
                    Err(_) => Err(KafkaError::Canceled),
                },
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => (Receipt::Taken, None),
                Err(error) => (receipt(error.rdkafka_error_code()), Some(error)),
            }
        }
    }

    /// Fetches nothing more of the partitions that are this intake's now. All else goes on: what is told, and that
    /// partitions change hands.
    pub(super) fn pause(&self) -> KafkaResult<()> {
        self.consumer.pause(&self.consumer.assignment()?)
    }

    /// Fetches again.
    pub(super) fn resume(&self) -> KafkaResult<()> {
        self.consumer.resume(&self.consumer.assignment()?)
    }

    /// Everything up to this offset is answered. It is committed with the next ones.
    pub(super) fn answered(&self, (topic, partition): &Partition, offset: u64) -> KafkaResult<()> {
        // Offsets are of 63 bits, and this one was a record's.
        let next = Offset::Offset(offset as i64 + 1);
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, *partition, next)?;
        match self.consumer.store_offsets(&list) {
            // The partition was just given to somebody else; that it is told here follows.
            Err(KafkaError::StoreOffset(RDKafkaErrorCode::State)) => Ok(()),
            stored => stored,
        }
    }

    /// Commits what is answered and leaves the group, in the time that there is for that: a broker that hangs keeps the
    /// library waiting.
    pub(super) async fn close(self) {
        let (closed, closes) = oneshot::channel::<()>();
        // It is not waited for at the end of the program.
        drop(std::thread::spawn(move || {
            let Self { consumer, producer, .. } = self;
            // Commits what is answered.
            drop(consumer);
            drop(producer);
            drop(closed);
        }));
        if timeout(CLOSE_TIME, closes.map(drop)).await.is_err() {
            tracing::warn!("the broker does not take leave; going without");
        }
    }
}

/// What an error means for a letter: it will never be taken where it is meant for, or it may be, later.
fn receipt(code: Option<RDKafkaErrorCode>) -> Receipt {
    match code {
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord,
        ) => Receipt::Returned,
        _ => Receipt::Refused,
    }
}
