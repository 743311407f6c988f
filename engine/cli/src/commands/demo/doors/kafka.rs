//! Kafka, through `catraca intake kafka`: topics of the demo's own, at a broker that was named, or at one that the
//! client library plays in the demo's memory.

use super::door::{ATTEMPT, Door, body};
use crate::commands::output::note;
use catraca_node::fatal::Failure;
use catraca_wire::client::now_ns;
use catraca_wire::frame::{Transaction, text_of};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How long it is waited for a record before it is looked at the time again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A client, and the topics of payments, answers and dead letters.
pub struct Kafka {
    /// Where the broker is.
    pub broker: String,
    /// The topics, in this order.
    pub topics: [String; 3],
    /// Whether the broker is played here.
    pub is_played: bool,
    clients: Option<Clients>,
    asked: u64,
}

struct Clients {
    replies: BaseConsumer,
    // Where the broker is played, it is this one's, and ends with it.
    producer: BaseProducer,
}

impl Kafka {
    /// At this broker, or at one that is played here.
    pub fn connect(broker: Option<&str>) -> Result<Self, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("Kafka: {e}"));
        // Numbers of processes come again, where a container has its own.
        let own = format!("catraca-demo-{:x}", now_ns());
        let topics = [own.clone(), format!("{own}.decisions"), format!("{own}.dead")];
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Critical);
        let is_played = broker.is_none();
        match broker {
            Some(broker) => config.set("bootstrap.servers", broker),
            None => config.set("test.mock.num.brokers", "1"),
        };
        let producer: BaseProducer = config.create().map_err(|e| failed(&e))?;
        let broker = match (broker, producer.client().mock_cluster()) {
            (Some(broker), _) => {
                make(&config, &topics).map_err(|e| failed(&e))?;
                broker.to_owned()
            }
            (None, Some(played)) => {
                for topic in &topics {
                    played.create_topic(topic, 1, 1).map_err(|e| failed(&e))?;
                }
                played.bootstrap_servers()
            }
            (None, None) => return Err(failed(&"the client library plays no broker")),
        };
        config.remove("test.mock.num.brokers");
        config.set("bootstrap.servers", &broker);
        // It is no member of a group: all answers are read, from the first one on.
        config.set("group.id", "unused").set("enable.auto.commit", "false");
        // A broker that is played answers a fetch at its end only.
        config.set("fetch.wait.max.ms", "50");
        let replies: BaseConsumer = config.create().map_err(|e| failed(&e))?;
        let mut all = TopicPartitionList::new();
        let added = all.add_partition_offset(&topics[1], 0, Offset::Beginning);
        added.and_then(|()| replies.assign(&all)).map_err(|e| failed(&e))?;
        let clients = Some(Clients { replies, producer });
        Ok(Self { broker, topics, is_played, clients, asked: 0 })
    }
}

fn admin(
    config: &ClientConfig,
) -> Result<(Runtime, AdminClient<DefaultClientContext>, AdminOptions), String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let admin = config.create().map_err(|e| e.to_string())?;
    Ok((runtime, admin, AdminOptions::new().request_timeout(Some(ATTEMPT))))
}

/// Makes the topics at a broker that was named.
fn make(config: &ClientConfig, topics: &[String; 3]) -> Result<(), String> {
    let (runtime, admin, options) = admin(config)?;
    let new = topics.each_ref().map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1)));
    let made = runtime.block_on(admin.create_topics(&new, &options)).map_err(|e| e.to_string())?;
    match made.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some((topic, why)) => Err(format!("the topic {topic} can't be made: {why}")),
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Before its topics are: a client that reads one which is deleted has been seen to crash.
        self.clients = None;
        if self.is_played {
            return;
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.broker).set_log_level(RDKafkaLogLevel::Critical);
        let topics = self.topics.each_ref().map(String::as_str);
        let deleted = admin(&config).and_then(|(runtime, admin, options)| {
            let deleted = runtime.block_on(admin.delete_topics(&topics, &options));
            deleted.map_err(|e| e.to_string())
        });
        if !deleted.is_ok_and(|each| each.iter().all(Result::is_ok)) {
            note(&format!("these topics are left at {}: {}", self.broker, topics.join(", ")));
        }
    }
}

impl Door for Kafka {
    fn name(&self) -> &'static str {
        "Kafka"
    }

    fn ask(&mut self, payment: &Transaction) -> Result<Value, String> {
        self.asked += 1;
        let correlation = self.asked.to_string();
        let began = Instant::now();
        let body = body(payment).to_string();
        let header = Header { key: "correlation-id", value: Some(&correlation) };
        let record = BaseRecord::to(&self.topics[0])
            .payload(&body)
            .key(text_of(&payment.payer))
            .headers(OwnedHeaders::new().insert(header));
        let clients = self.clients.as_ref().ok_or("it has ended")?;
        clients.producer.send(record).map_err(|(e, _)| e.to_string())?;
        clients.producer.flush(ATTEMPT).map_err(|e| e.to_string())?;
        while began.elapsed() < ATTEMPT {
            let Some(reply) = clients.replies.poll(LOOK_AGAIN) else { continue };
            // A topic that is only being made, say: it goes on trying.
            let Ok(reply) = reply else { continue };
            let mut headers = reply.headers().into_iter().flat_map(|headers| headers.iter());
            let answers = headers.find(|header| header.key == "correlation-id");
            // That of an attempt that was given up comes late.
            if answers.and_then(|header| header.value) == Some(correlation.as_bytes()) {
                let body = reply.payload().unwrap_or_default();
                return serde_json::from_slice(body).map_err(|e| e.to_string());
            }
        }
        Err("no answer".to_owned())
    }
}
