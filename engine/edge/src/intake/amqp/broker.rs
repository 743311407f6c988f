//! The connections to RabbitMQ, by `lapin`: one that payments come over and are acknowledged on, and one for what is
//! published. A broker that is short of memory or disk reads no more from who publishes, and acknowledgements must
//! not be stuck with that.
//!
//! Nothing recovers by itself here: when anything is wrong, both connections are dropped and made anew, and the
//! broker delivers again what was not acknowledged.

use super::{Route, Setup};
use crate::intake::acks::Ack;
use crate::intake::letter::Letter;
use crate::intake::message::Message;
use async_compat::Compat;
use catraca_tls::Authorities;
use futures::Stream;
use futures::stream::{SelectAll, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    Consumer, Event,
};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Time for a connection with all its channels and consumers.
const DIAL_TIME: Duration = Duration::from_secs(10);
/// Time for the farewell of a connection; then it is dropped.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// A connection without a word for so long is gone, seconds. Each side says something twice in that time.
const HEARTBEAT_S: u16 = 10;
/// Messages are written to the broker's disk before they are confirmed.
const PERSISTENT: u8 = 2;
/// Headers that say when a message was queued, milliseconds: ours, and the one that RabbitMQ's own interceptor sets.
const ENQUEUED_AT: [&str; 2] = ["x-enqueued-at-ms", "timestamp_in_ms"];

/// What the end of a consumer means that nobody here asked for.
const ENDED: &str = "the broker ended the consumer; was the queue deleted?";

/// What a consumer says: the index of its queue, and a delivery or why there are no more.
pub(super) type Said = (usize, Result<Delivery, String>);
/// What the broker says of a connection.
pub(super) type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A broker that is connected.
pub(super) struct Broker {
    taking: Connection,
    sending: Connection,
    /// One for each queue: a queue that has gone closes its channel alone, and tags count by channel.
    channels: Vec<Channel>,
    publisher: Channel,
    /// Where letters go that are not to who asked, and those that are dead.
    routes: [Route; 2],
    /// Names this connection in the ids of what is published.
    run: u64,
}

/// What comes of a letter.
pub(super) struct Published {
    /// The broker has it, or has sent it back.
    pub(super) is_taken: bool,
    /// The number of one that came back, said with this one's confirm. The library hands what comes back to the next
    /// confirm, whoever's that is.
    pub(super) returned: Option<u64>,
}

/// Everything that comes from the queues.
pub(super) type Deliveries = SelectAll<Pin<Box<dyn Stream<Item = Said> + Send>>>;

impl Broker {
    /// Connects, and begins to consume.
    pub(super) async fn connect(
        setup: &Setup,
        (host, port): &(String, u16),
        run: u64,
    ) -> Result<(Self, Deliveries, Events), String> {
        let connected = timeout(DIAL_TIME, Self::open(setup, (host.clone(), *port), run)).await;
        let place = format!("{host}:{port}");
        match connected {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(format!("{place}: {error}")),
            Err(_) => Err(format!("{place}: no answer in {} s", DIAL_TIME.as_secs())),
        }
    }

    async fn open(
        setup: &Setup,
        place: (String, u16),
        run: u64,
    ) -> lapin::Result<(Self, Deliveries, Events)> {
        let sending = dial(setup, &place, "publishing").await?;
        let events: Events = Box::pin(sending.events_listener());
        let publisher = sending.create_channel().await?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await?;
        let taking = dial(setup, &place, "consuming").await?;
        let (mut channels, mut deliveries) = (Vec::new(), SelectAll::new());
        for (index, queue) in setup.queues.iter().enumerate() {
            let channel = taking.create_channel().await?;
            channel.basic_qos(setup.prefetch, BasicQosOptions::default()).await?;
            let tag = ShortString::from(format!("catraca-intake-{index}"));
            let options = BasicConsumeOptions::default();
            let queue = ShortString::from(queue.as_str());
            let consumer: Consumer =
                channel.basic_consume(queue, tag, options, FieldTable::default()).await?;
            let said = consumer.map(|said| said.map_err(|error| error.to_string()));
            // The end of a stream would go unnoticed among the others.
            let said = said.chain(futures::stream::once(async { Err(ENDED.to_owned()) }));
            deliveries.push(Box::pin(said.map(move |said| (index, said))) as _);
            channels.push(channel);
        }
        let routes = [setup.reply.clone(), setup.dead_letter.clone()];
        Ok((Self { taking, sending, channels, publisher, routes, run }, deliveries, events))
    }

    /// Why it is of no use any more, where that is so.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        let is_open = |channel: &Channel| channel.status().connected();
        if !self.taking.status().connected() || !self.sending.status().connected() {
            Some("the broker closed the connection")
        } else if !is_open(&self.publisher) || !self.channels.iter().all(is_open) {
            Some("the broker closed a channel")
        } else {
            None
        }
    }

    /// Publishes a letter with a number of its own, and waits for the confirm.
    pub(super) fn publish(
        &self,
        number: u64,
        letter: Arc<Letter>,
    ) -> impl Future<Output = Result<Published, String>> + Send + 'static {
        let publisher = self.publisher.clone();
        let run = self.run;
        let route = Route::of(&letter.kind, &self.routes[0], &self.routes[1]);
        async move {
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let (exchange, key) = (short(&route.exchange), short(&route.key));
            let properties = properties(&letter, run, number);
            let confirm =
                publisher.basic_publish(exchange, key, options, &letter.body, properties).await;
            drop(letter);
            let confirmation = match confirm {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            let (is_taken, returned) = match confirmation.map_err(|error| error.to_string())? {
                Confirmation::Ack(returned) => (true, returned),
                Confirmation::Nack(returned) => (false, returned),
                Confirmation::NotRequested => return Err("the broker confirms nothing".to_owned()),
            };
            let returned =
                returned.and_then(|message| number_of(&message.delivery.properties, run));
            Ok(Published { is_taken, returned })
        }
    }

    /// Acknowledges.
    pub(super) fn ack(
        &self,
        queue: usize,
        ack: Ack,
    ) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let channel = self.channels[queue].clone();
        let options = BasicAckOptions { multiple: ack.multiple };
        async move { channel.basic_ack(ack.tag, options).await.map_err(|error| error.to_string()) }
    }

    /// Ends both connections; what is not acknowledged is delivered again, to whoever comes.
    pub(super) async fn close(self) {
        let both = async {
            // What is written before goes out before. Whoever has closed already says so.
            let _ = self.taking.close(200, "OK".into()).await;
            let _ = self.sending.close(200, "OK".into()).await;
        };
        let _ = timeout(CLOSE_TIME, both).await;
    }
}

async fn dial(setup: &Setup, place: &(String, u16), what: &str) -> lapin::Result<Connection> {
    let (host, port) = place.clone();
    let uri = AMQPUri {
        // Its own TLS is not there; whether ours is, is said below.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: setup.user.clone(),
                password: setup.password.clone(),
            },
            host,
            port,
        },
        vhost: setup.vhost.clone(),
        query: AMQPQueryString { heartbeat: Some(HEARTBEAT_S), ..AMQPQueryString::default() },
    };
    let name = format!("catraca intake {}, {what}", env!("CARGO_PKG_VERSION"));
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let Some(authorities) = setup.authorities.clone() else {
        return Connection::connect_uri_with_runtime(uri, properties, runtime).await;
    };
    let connect = async move |uri: AMQPUri, _| {
        let AMQPAuthority { host, port, .. } = uri.authority;
        Ok(AsyncTcpStream::Plain(Compat::new(secured(&authorities, &host, port).await?)))
    };
    Connection::connector(uri, runtime, connect, properties).await
}

/// A connection with TLS, as the end of a pipe in this process: the library takes sockets only.
async fn secured(authorities: &Authorities, host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let secured = authorities.connect(host, stream).await?;
    let (inner, outer) = std::os::unix::net::UnixStream::pair()?;
    for end in [&inner, &outer] {
        end.set_nonblocking(true)?;
    }
    let inner = TcpStream::from_std(OwnedFd::from(inner).into())?;
    let outer = UnixStream::from_std(outer)?;
    drop(tokio::spawn(async move {
        let (mut from_outside, mut to_outside) = tokio::io::split(secured);
        let (mut from_inside, mut to_inside) = outer.into_split();
        // Whichever side ends, ends both: who is left is told by that.
        tokio::select! {
            _ = tokio::io::copy(&mut from_outside, &mut to_inside) => {}
            _ = tokio::io::copy(&mut from_inside, &mut to_outside) => {}
        }
    }));
    Ok(inner)
}

/// What is longer than a short string can be is cut: only a route could be, and that was checked.
fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

fn properties(letter: &Letter, run: u64, number: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &letter.headers {
        headers.insert(short(name), AMQPValue::LongString(value.as_str().into()));
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short(&format!("{run:016x}-{number}")))
        .with_headers(headers);
    if let Some(text) = &letter.content_type {
        properties = properties.with_content_type(short(text));
    }
    if let Some(text) = &letter.correlation_id {
        properties = properties.with_correlation_id(short(text));
    }
    if let Some(text) = &letter.reply_to {
        properties = properties.with_reply_to(short(text));
    }
    properties
}

/// The number of something that this connection has published.
fn number_of(properties: &BasicProperties, run: u64) -> Option<u64> {
    let id = properties.message_id().as_ref()?.as_str();
    let (of_run, number) = id.split_once('-')?;
    (u64::from_str_radix(of_run, 16) == Ok(run)).then(|| number.parse().ok())?
}

/// What is looked at of a delivery.
pub(super) fn message(delivery: Delivery) -> Message {
    let Delivery { redelivered, properties, data: body, .. } = delivery;
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    let header = |name: &str| properties.headers().as_ref()?.inner().get(name);
    let traceparent = match header("traceparent") {
        Some(AMQPValue::LongString(text)) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        Some(AMQPValue::ShortString(text)) => Some(text.as_str().to_owned()),
        _ => None,
    };
    let in_header = ENQUEUED_AT.iter().find_map(|name| header(name).and_then(number));
    // Whole seconds, of which the beginning counts: nobody gets an answer later than he waits for it.
    let in_property = properties.timestamp().map(|at_s| at_s.saturating_mul(1_000));
    Message {
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        message_id: text(properties.message_id()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        traceparent,
        enqueued_at_ms: in_header.or(in_property),
        in_doubt: redelivered,
        body,
        ..Message::default()
    }
}

/// A number of a header, as whatever type a client has sent it.
fn number(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongUInt(number) => Some(u64::from(*number)),
        AMQPValue::Timestamp(number) => Some(*number),
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.parse().ok(),
        AMQPValue::Double(number) if (0.0..9e15).contains(number) => Some(*number as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::Kind;

    #[test]
    fn times_are_read_from_what_clients_send() {
        for (value, expected) in [
            (AMQPValue::LongLongInt(1_700_000_000_123), Some(1_700_000_000_123)),
            (AMQPValue::Timestamp(5), Some(5)),
            (AMQPValue::LongString("1700000000123".into()), Some(1_700_000_000_123)),
            (AMQPValue::Double(1_700_000_000_123.0), Some(1_700_000_000_123)),
            (AMQPValue::LongLongInt(-1), None),
            (AMQPValue::Double(f64::NAN), None),
            (AMQPValue::LongString("soon".into()), None),
            (AMQPValue::Void, None),
        ] {
            assert_eq!(number(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn what_comes_back_is_known_by_its_own_id() {
        let letter = Letter {
            kind: Kind::ToAll,
            key: None,
            body: Vec::new(),
            content_type: None,
            correlation_id: Some("c".to_owned()),
            reply_to: None,
            headers: vec![("x-catraca-status", "200".to_owned())],
        };
        let sent = properties(&letter, 0xfeed, 7);
        assert_eq!(number_of(&sent, 0xfeed), Some(7));
        assert_eq!(number_of(&sent, 0xbeef), None, "another connection's");
        assert_eq!(sent.delivery_mode(), &Some(PERSISTENT));
        assert_eq!(number_of(&BasicProperties::default(), 0xfeed), None);
    }
}
