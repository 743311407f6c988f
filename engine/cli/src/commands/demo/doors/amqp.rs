//! RabbitMQ, through `catraca intake amqp`: queues of the demo's own, which go when it does.

use super::door::{ATTEMPT, Door, body};
use catraca_node::fatal::Failure;
use catraca_wire::client::now_ns;
use catraca_wire::frame::Transaction;
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A queue that nobody uses is taken away after so long, milliseconds.
const UNUSED_MS: i32 = 60_000;

/// A connection to a broker, which has queues for payments, for their answers, and for dead letters.
pub struct Amqp {
    /// The queues of payments, and of dead letters.
    pub queues: [String; 2],
    replies: Consumer,
    reply_queue: ShortString,
    channel: Channel,
    asked: u64,
    // The connection needs the runtime to its end.
    _connection: Connection,
    runtime: Runtime,
}

impl Amqp {
    /// To the broker at this address, as `guest`.
    pub fn connect(broker: &str) -> Result<Self, Failure> {
        let failed =
            |e: &dyn std::fmt::Display| Failure::failed(format!("RabbitMQ at {broker}: {e}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
        let own = format!("catraca-demo-{}", std::process::id());
        let queues = [own.clone(), format!("{own}.dead")];
        let connect = async {
            // It says nothing while the demo waits for something else.
            let uri = format!("amqp://guest:guest@{broker}/%2f?heartbeat=0");
            let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            let mut arguments = FieldTable::default();
            arguments.insert("x-expires".into(), AMQPValue::LongInt(UNUSED_MS));
            let name = ShortString::from(queues[0].as_str());
            channel.queue_declare(name, QueueDeclareOptions::default(), arguments).await?;
            // These go with the connection.
            let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
            let name = ShortString::from(queues[1].as_str());
            channel.queue_declare(name, own, FieldTable::default()).await?;
            let queue = channel.queue_declare("".into(), own, FieldTable::default()).await?;
            let reply_queue = queue.name().clone();
            let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
            let replies = channel
                .basic_consume(reply_queue.clone(), "demo".into(), options, FieldTable::default())
                .await?;
            Ok::<_, lapin::Error>((connection, channel, reply_queue, replies))
        };
        let connected = runtime.block_on(async { timeout(ATTEMPT, connect).await });
        let connected = connected.map_err(|_| failed(&"no answer"))?.map_err(|e| failed(&e))?;
        let (connection, channel, reply_queue, replies) = connected;
        Ok(Self {
            queues,
            replies,
            reply_queue,
            channel,
            asked: 0,
            _connection: connection,
            runtime,
        })
    }
}

impl Door for Amqp {
    fn name(&self) -> &'static str {
        "AMQP"
    }

    fn ask(&mut self, payment: &Transaction) -> Result<Value, String> {
        self.asked += 1;
        let correlation = self.asked.to_string();
        let mut headers = FieldTable::default();
        let now_ms = i64::try_from(now_ns() / 1_000_000).unwrap_or(i64::MAX);
        headers.insert("x-enqueued-at-ms".into(), AMQPValue::LongLongInt(now_ms));
        let properties = BasicProperties::default()
            .with_reply_to(self.reply_queue.clone())
            .with_correlation_id(correlation.as_str().into())
            .with_headers(headers);
        let body = body(payment).to_string();
        let queue = ShortString::from(self.queues[0].as_str());
        let asked = async {
            let options = BasicPublishOptions::default();
            let text = |e: lapin::Error| e.to_string();
            self.channel
                .basic_publish("".into(), queue, options, body.as_bytes(), properties)
                .await
                .map_err(text)?;
            while let Some(reply) = self.replies.next().await {
                let reply = reply.map_err(text)?;
                let answers = reply.properties.correlation_id().as_ref();
                // That of an attempt that was given up comes late.
                if answers.is_some_and(|answers| answers.as_str() == correlation) {
                    return serde_json::from_slice(&reply.data).map_err(|e| e.to_string());
                }
            }
            Err("the broker ended the consumer".to_owned())
        };
        let answered = self.runtime.block_on(async { timeout(ATTEMPT, asked).await });
        answered.map_err(|_| "no answer".to_owned())?
    }
}
