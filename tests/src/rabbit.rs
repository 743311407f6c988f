//! A real RabbitMQ, Debian's `rabbitmq-server`, which scripts/setup.sh installs: with folders, a name and ports of its
//! own, and an `epmd` of its own, so that nothing of the machine's own RabbitMQ is touched or needed. And a client that
//! puts messages into its queues, and takes them out.

use crate::node::{LOOK_AGAIN, Process, free_address};
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Longest wait for the broker: it takes some ten seconds to start, and has a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait of a client for one thing: connections that are lost in their beginning may never say so.
const OF_CLIENT: Duration = Duration::from_secs(10);
/// The most that is taken out of a queue at once: more may come all the time.
const MOST_AT_ONCE: usize = 200;
/// Where Debian has the scripts themselves. Those in PATH change to a user of their own.
const PLACES: &str = "/usr/lib/rabbitmq/lib";

/// A broker.
pub struct Rabbit {
    /// Where it listens, in clear.
    pub address: SocketAddr,
    dir: PathBuf,
    name: String,
    ports: [u16; 2],
    process: Option<Child>,
    _epmd: Process,
}

fn scripts() -> PathBuf {
    let places = fs::read_dir(PLACES).unwrap_or_else(|error| {
        panic!("{PLACES}: {error}: rabbitmq-server is missing: run scripts/setup.sh tests")
    });
    let found = places.flatten().map(|place| place.path().join("sbin"));
    found.filter(|path| path.is_dir()).max().expect("the package has its scripts")
}

impl Rabbit {
    /// One that was never started, with these lines of `rabbitmq.conf` and of `advanced.config`.
    ///
    /// # Panics
    /// When its folder can't be written.
    pub fn prepare(dir: &Path, settings: &str, advanced: &str) -> Self {
        let (address, distribution, epmd) = (free_address(), free_address(), free_address());
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("written");
        write("rabbitmq.conf", settings);
        write("advanced.config", if advanced.is_empty() { "[]." } else { advanced });
        write("plugins", "[rabbitmq_consistent_hash_exchange].\n");
        write("env.conf", "");
        let port = epmd.port().to_string();
        let mut command = Command::new("epmd");
        command.args(["-port", &port, "-address", "127.0.0.1"]);
        Self {
            address,
            dir: dir.to_owned(),
            name: format!("catraca-{}@localhost", address.port()),
            ports: [distribution.port(), epmd.port()],
            process: None,
            _epmd: Process::spawn(&mut command),
        }
    }

    /// The same, running.
    pub fn start(dir: &Path, settings: &str, advanced: &str) -> Self {
        let mut rabbit = Self::prepare(dir, settings, advanced);
        rabbit.run();
        rabbit
    }

    /// A script with what says which broker is meant.
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(scripts().join(name));
        let [distribution, epmd] = self.ports.map(|port| port.to_string());
        let port = self.address.port().to_string();
        for (name, value) in [
            ("RABBITMQ_NODENAME", self.name.as_str()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1"),
            ("RABBITMQ_NODE_PORT", &port),
            ("RABBITMQ_DIST_PORT", &distribution),
            ("ERL_EPMD_PORT", &epmd),
            ("ERL_EPMD_ADDRESS", "127.0.0.1"),
            // The script becomes the broker, and does not wait for it: what is killed is the broker.
            ("RUNNING_UNDER_SYSTEMD", "true"),
            // Two cores are shared with nodes and tests.
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none"),
        ] {
            command.env(name, value);
        }
        for (name, file) in [
            ("HOME", ""),
            ("RABBITMQ_MNESIA_BASE", "db"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_CONF_ENV_FILE", "env.conf"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ] {
            command.env(name, self.dir.join(file));
        }
        command.current_dir(&self.dir);
        command
    }

    fn launch(&mut self) {
        // Not a pipe: what it starts may hold that open behind its end.
        let said = || File::create(self.said()).expect("the folder can be written");
        let mut server = self.script("rabbitmq-server");
        server.stdin(Stdio::null()).stdout(said()).stderr(said());
        self.process = Some(server.spawn().expect("rabbitmq-server starts"));
    }

    /// Starts it with what is on its disk, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn run(&mut self) {
        self.launch();
        let said = self.said();
        let process = self.process.as_mut().expect("it was started");
        while Amqp::connect(self.address).is_err() {
            let ended = process.try_wait().expect("a child can be waited for");
            assert_eq!(ended, None, "{}", fs::read_to_string(said).unwrap_or_default());
            std::thread::sleep(LOOK_AGAIN * 10);
        }
    }

    /// Number of its process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("a child takes signals");
        process.wait().expect("a child can be waited for");
    }

    /// Has its operator say something by `rabbitmqctl`.
    ///
    /// # Panics
    /// When that fails.
    pub fn say(&self, args: &[&str]) -> String {
        let output = self.script("rabbitmqctl").args(args).output().expect("rabbitmqctl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}{output:?}");
        text
    }

    /// Where it says what is wrong before it has a log.
    fn said(&self) -> PathBuf {
        self.dir.join("said")
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log").join(format!("{}.log", self.name)))
            .unwrap_or_default()
    }

    /// A client, once it serves.
    ///
    /// # Panics
    /// When it never does.
    pub fn client(&self) -> Amqp {
        let began = Instant::now();
        loop {
            match Amqp::connect(self.address) {
                Ok(client) => return client,
                Err(error) => {
                    assert!(began.elapsed() < PATIENCE, "{error}\n{}", self.log());
                    std::thread::sleep(LOOK_AGAIN * 10);
                }
            }
        }
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Both fail only where it has ended already. Its helpers end with it.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A message, as tests look at it.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    /// The body.
    pub body: Vec<u8>,
    /// Property `content_type`; empty where there is none, as the following.
    pub content_type: String,
    /// Property `correlation_id`.
    pub correlation_id: String,
    /// Property `reply_to`.
    pub reply_to: String,
    /// Property `message_id`.
    pub message_id: String,
    /// Headers that are text.
    pub headers: Vec<(String, String)>,
}

impl Letter {
    /// With this body.
    pub fn of(body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..Self::default() }
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
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
}

/// What a client did, or that the broker went away.
pub type Done<T> = lapin::Result<T>;

/// A client of a broker.
pub struct Amqp {
    // The connection needs the runtime to its end.
    channel: Channel,
    connection: Connection,
    runtime: Runtime,
}

impl Amqp {
    /// Connects.
    ///
    /// # Errors
    /// The broker does not take it.
    ///
    /// # Panics
    /// Without a runtime.
    pub fn connect(address: SocketAddr) -> Done<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connect = async {
            // It says nothing while the test does something else.
            let uri = format!("amqp://guest:guest@{address}/%2f?heartbeat=0");
            let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>((connection, channel))
        };
        let connected = runtime.block_on(async { timeout(OF_CLIENT, connect).await });
        let (connection, channel) = connected.map_err(|_| too_slow())??;
        Ok(Self { channel, connection, runtime })
    }

    fn within<T>(&self, act: impl Future<Output = lapin::Result<T>>) -> Done<T> {
        let done = self.runtime.block_on(async { timeout(OF_CLIENT, act).await });
        done.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Makes sure that a queue is there, on the disk.
    ///
    /// # Panics
    /// When it can't be.
    pub fn declare(&self, queue: &str) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        self.runtime.block_on(declared).expect("declared");
    }

    /// How many messages wait in a queue.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        self.runtime.block_on(declared).expect("it is there").message_count()
    }

    /// Puts messages into a queue, and waits until the broker has them all.
    ///
    /// # Errors
    /// The broker went away, and may have some of them.
    ///
    /// # Panics
    /// When it does not take one.
    pub fn put(&self, queue: &str, letters: &[Letter]) -> Done<()> {
        self.within(async {
            let mut confirms = Vec::with_capacity(letters.len());
            for letter in letters {
                let options = BasicPublishOptions { mandatory: true, immediate: false };
                let properties = properties(letter);
                let publish = self.channel.basic_publish(
                    "".into(),
                    queue.into(),
                    options,
                    &letter.body,
                    properties,
                );
                confirms.push(publish.await?);
            }
            for confirm in confirms {
                assert_eq!(confirm.await?, Confirmation::Ack(None), "no queue {queue}");
            }
            Ok(())
        })
    }

    /// Takes what waits in a queue, or the beginning of that.
    ///
    /// # Errors
    /// The broker went away before something was taken; it is there again.
    pub fn take(&self, queue: &str) -> Done<Vec<Letter>> {
        self.within(async {
            let (mut letters, mut newest) = (Vec::new(), None);
            while letters.len() < MOST_AT_ONCE
                && let Some(message) =
                    self.channel.basic_get(queue.into(), BasicGetOptions::default()).await?
            {
                newest = Some(message.delivery.delivery_tag);
                letters.push(letter(&message.delivery.properties, message.delivery.data.clone()));
            }
            if let Some(tag) = newest {
                // They are here, whether the broker hears that or has them again: nobody else may ever.
                let _ = self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
            }
            Ok(letters)
        })
    }

    /// Waits for so many messages of a queue.
    ///
    /// # Panics
    /// When they don't come.
    pub fn wait_for(&self, queue: &str, count: usize) -> Vec<Letter> {
        let began = Instant::now();
        let mut letters = Vec::new();
        while letters.len() < count {
            letters.extend(self.take(queue).expect("the broker stays"));
            let waits = began.elapsed();
            assert!(waits < PATIENCE, "{} of {count} came to {queue}", letters.len());
            std::thread::sleep(LOOK_AGAIN);
        }
        letters
    }

    /// Takes so many messages and gives them back by going away, so that they are delivered again.
    ///
    /// # Panics
    /// When they don't come.
    pub fn spoil(self, queue: &str, count: usize) {
        let began = Instant::now();
        let mut taken = 0;
        while taken < count {
            let get = self.channel.basic_get(queue.into(), BasicGetOptions::default());
            taken += usize::from(self.runtime.block_on(get).expect("the broker stays").is_some());
            assert!(began.elapsed() < PATIENCE, "{taken} of {count} came to {queue}");
        }
        let closed = self.connection.close(200, "OK".into());
        self.runtime.block_on(closed).expect("the broker stays");
    }
}

fn too_slow() -> lapin::Error {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn properties(letter: &Letter) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &letter.headers {
        let number = value.parse().map(AMQPValue::LongLongInt);
        let value = number.unwrap_or_else(|_| AMQPValue::LongString(value.as_str().into()));
        headers.insert(name.as_str().into(), value);
    }
    let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    if !letter.content_type.is_empty() {
        properties = properties.with_content_type(letter.content_type.as_str().into());
    }
    if !letter.correlation_id.is_empty() {
        properties = properties.with_correlation_id(letter.correlation_id.as_str().into());
    }
    if !letter.reply_to.is_empty() {
        properties = properties.with_reply_to(letter.reply_to.as_str().into());
    }
    if !letter.message_id.is_empty() {
        properties = properties.with_message_id(letter.message_id.as_str().into());
    }
    properties
}

fn letter(properties: &BasicProperties, body: Vec<u8>) -> Letter {
    let text = |text: &Option<lapin::types::ShortString>| {
        text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
    };
    let headers =
        properties.headers().iter().flat_map(|table| table.inner()).filter_map(|(name, value)| {
            match value {
                AMQPValue::LongString(value) => Some((name.as_str().to_owned(), value.to_string())),
                _ => None,
            }
        });
    Letter {
        body,
        content_type: text(properties.content_type()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        message_id: text(properties.message_id()),
        headers: headers.collect(),
    }
}
