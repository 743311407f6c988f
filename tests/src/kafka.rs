//! A broker of Kafka's protocol, `tansu`, which scripts/setup.sh installs from PyPI; it keeps everything in its memory.
//! And a client that puts records into its topics, and reads them.

use crate::node::{LOOK_AGAIN, free_address};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseProducer, DefaultProducerContext, FutureProducer, FutureRecord, Producer as _,
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Longest wait for the broker.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where it is after scripts/setup.sh, below the folder of cargo.
const PLACE: &str = "catraca-tools/tansu-0.1.2/bin/tansu";

fn program() -> PathBuf {
    let of_cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cargo");
    let program = of_cargo.unwrap_or_else(home).join(PLACE);
    assert!(program.exists(), "{} is missing: run scripts/setup.sh tests", program.display());
    program
}

/// A broker.
pub struct Kafka {
    /// Where it listens, in clear.
    pub address: SocketAddr,
    process: Child,
}

impl Kafka {
    /// One without a topic, which writes what it says into this folder.
    ///
    /// # Panics
    /// When it does not come.
    pub fn start(dir: &Path) -> Self {
        Self::start_at(dir, free_address())
    }

    /// The same at this address.
    ///
    /// # Panics
    /// When it does not come.
    pub fn start_at(dir: &Path, address: SocketAddr) -> Self {
        let url = format!("tcp://{address}");
        let said = File::create(dir.join("said")).expect("the folder can be written");
        let also = said.try_clone().expect("an open file");
        let mut process = Command::new(program())
            .args(["broker", "--listener-url", &url, "--advertised-listener-url", &url])
            .args(["--storage-engine", "memory://tansu/"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(also)
            .stderr(said)
            .spawn()
            .expect("tansu starts");
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let ended = process.try_wait().expect("a child can be waited for");
            let said = || std::fs::read_to_string(dir.join("said")).unwrap_or_default();
            assert_eq!(ended, None, "{}", said());
            assert!(began.elapsed() < PATIENCE, "the broker never listens: {}", said());
            std::thread::sleep(LOOK_AGAIN);
        }
        Self { address, process }
    }

    /// Has its process hang, or go on.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
    }

    /// A client.
    pub fn client(&self) -> Client {
        Client::of(self.address)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A cluster that the client library plays in this process: it fails when it is told to, as no real one does.
pub struct Played {
    producer: BaseProducer,
}

impl Played {
    /// One with these topics of one partition.
    ///
    /// # Panics
    /// When it can't be played.
    pub fn start(topics: &[&str]) -> Self {
        let mut config = ClientConfig::new();
        let producer = config.set("test.mock.num.brokers", "1").create().expect("a producer");
        let played = Self { producer };
        for topic in topics {
            played.cluster().create_topic(topic, 1, 1).expect("made");
        }
        played
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.producer.client().mock_cluster().expect("it is played")
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When that is no address.
    pub fn address(&self) -> SocketAddr {
        let servers = self.cluster().bootstrap_servers();
        servers.parse().unwrap_or_else(|error| panic!("{servers}: {error}"))
    }

    /// Whether it refuses whatever is published.
    pub fn refuse(&self, is_refused: bool) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        match is_refused {
            // One for each request: more than come in a test.
            true => self.cluster().request_errors(RDKafkaApiKey::Produce, &[error; 10_000]),
            false => self.cluster().clear_request_errors(RDKafkaApiKey::Produce),
        }
    }
}

/// A record, as tests look at it.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The value.
    pub body: Vec<u8>,
    /// The key; empty where there is none.
    pub key: String,
    /// Headers that are text.
    pub headers: Vec<(String, String)>,
    /// Where it is in its partition.
    pub offset: i64,
}

impl Record {
    /// With this value and key.
    pub fn of(key: &str, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { body, key: key.to_owned(), ..Self::default() }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The header of this name.
    pub fn header_of(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The value as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// A client of a broker.
pub struct Client {
    producer: FutureProducer,
    brokers: String,
    runtime: Runtime,
}

impl Client {
    /// Of the broker at this address.
    ///
    /// # Panics
    /// When a client can't be made at all.
    pub fn of(address: SocketAddr) -> Self {
        let brokers = address.to_string();
        let mut config = ClientConfig::new();
        let producer = config.set("bootstrap.servers", &brokers).create().expect("a producer");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { producer, brokers, runtime }
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn declare(&self, topic: &str, partitions: i32) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = admin.create_topics([&topic], &AdminOptions::new());
        let made = self.runtime.block_on(made).expect("the broker answers");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Puts records into a topic, and waits until the broker has them all.
    ///
    /// # Panics
    /// When it does not take one.
    pub fn put(&self, topic: &str, records: &[Record]) {
        self.runtime.block_on(async {
            let mut sent = Vec::with_capacity(records.len());
            for record in records {
                let mut headers = OwnedHeaders::new();
                for (key, value) in &record.headers {
                    headers = headers.insert(Header { key, value: Some(value) });
                }
                let mut one = FutureRecord::to(topic).payload(&record.body[..]).headers(headers);
                if !record.key.is_empty() {
                    one = one.key(&record.key[..]);
                }
                let one = self.producer.send_result(one).map_err(|(error, _)| error);
                sent.push(one.expect("there is room"));
            }
            for one in sent {
                one.await.expect("the producer stays").expect("taken");
            }
        });
    }

    /// Reads a topic from its beginning.
    ///
    /// # Panics
    /// When a client can't be made at all.
    pub fn read(&self, topic: &str, partitions: i32) -> Reader {
        let mut config = ClientConfig::new();
        // It commits nothing, and belongs to no group.
        config.set("bootstrap.servers", &self.brokers).set("group.id", "unused");
        config.set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&all).expect("assigned");
        Reader { consumer, topic: topic.to_owned() }
    }
}

/// Reads a topic.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
}

impl Reader {
    /// The next record, where one comes in this time.
    pub fn next(&self, wait: Duration) -> Option<Record> {
        match self.consumer.poll(wait)? {
            Ok(record) => Some(self::record(&record)),
            // It goes on trying.
            Err(_) => None,
        }
    }

    /// Waits for so many records.
    ///
    /// # Panics
    /// When they don't come.
    pub fn wait_for(&self, count: usize) -> Vec<Record> {
        let began = Instant::now();
        let mut records = Vec::new();
        while records.len() < count {
            records.extend(self.next(LOOK_AGAIN));
            let (came, topic) = (records.len(), &self.topic);
            assert!(began.elapsed() < PATIENCE, "{came} of {count} came to {topic}");
        }
        records
    }
}

fn record(record: &BorrowedMessage<'_>) -> Record {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into();
    let headers = record.headers().into_iter().flat_map(Headers::iter);
    Record {
        body: record.payload().unwrap_or_default().to_vec(),
        key: text(record.key()),
        headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
        offset: record.offset(),
    }
}
