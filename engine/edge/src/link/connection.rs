//! One connection: the handshake, a task that reads, a task that writes. It knows nothing of what the
//! frames are for.

use super::exchange::DialError;
use catraca_tls::Authorities;
use catraca_wire::address::{Host, host_and_port};
use catraca_wire::client::rules::{Body, Handshake, decode, greeting, reply_len};
use catraca_wire::frame::{HEADER_LEN, Welcome};
use std::io;
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

/// A connection, over TLS or in clear.
trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}
type Stream = Box<dyn Both>;

/// Bytes read at once: a thousand VERDICTs.
const READ_LEN: usize = 64 * 1024;
/// How long the node may take none of what is written: longer than any budget.
const WRITE_PATIENCE: Duration = Duration::from_millis(2_500);

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// An attempt ended. With the connection, where there is one.
    Dialled(u64, Result<(Welcome, Connection), DialError>),
    /// Replies, in their order.
    Received(u64, Vec<(u64, Body)>),
    /// It is gone.
    Lost(u64, String),
}

/// A connection past its handshake; dropped it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    /// Frames to be written. The link's limit of unanswered requests bounds what waits here.
    pub(super) frames: mpsc::UnboundedSender<Vec<u8>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Who this program is to the node.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) credential: String,
    /// By whom the node is vouched for; none where it is spoken to in clear.
    pub(super) authorities: Option<Authorities>,
    pub(super) in_flight: u32,
}

/// Connects and shakes hands, all within `patience`; tells what came of it.
pub(super) async fn dial(
    attempt: u64,
    address: String,
    identity: Identity,
    patience: Duration,
    events: mpsc::Sender<Event>,
) {
    let opened = timeout(patience, open(&address, &identity)).await;
    let came = match opened {
        Ok(Ok((welcome, stream, input))) => {
            Ok((welcome, Connection::start(attempt, stream, input, &events)))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(DialError::Failed(format!("{address}: no WELCOME in time"))),
    };
    // Nobody is left to be told when the link is closed.
    let _ = events.send(Event::Dialled(attempt, came)).await;
}

async fn open(address: &str, identity: &Identity) -> Result<(Welcome, Stream, Input), DialError> {
    let failed = |error: io::Error| DialError::Failed(format!("{address}: {error}"));
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // A request that waits for a fuller packet wastes its budget.
    stream.set_nodelay(true).map_err(failed)?;
    let mut stream: Stream = match &identity.authorities {
        None => Box::new(stream),
        Some(authorities) => {
            let host = host_and_port(address).map(|(host, _)| match host {
                Host::Name(name) => name,
                Host::Ip(ip) => ip.to_string(),
            });
            let host = host.map_err(|error| failed(io::Error::other(error)))?;
            Box::new(authorities.connect(&host, stream).await.map_err(failed)?)
        }
    };
    let name = concat!("catraca gateway ", env!("CARGO_PKG_VERSION"));
    let greeting = greeting(&identity.credential, name, identity.in_flight);
    stream.write_all(&greeting).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let (mut input, mut handshake) = (Input::default(), Handshake::default());
    loop {
        // Nothing else is unanswered, so that nothing follows the last of them.
        for reply in input.replies().map_err(DialError::Failed)? {
            match handshake.take(&identity.credential, reply) {
                Ok(None) => {}
                Ok(Some((mut welcome, _))) => {
                    // The address that it names is of the port in clear.
                    if identity.authorities.is_some() {
                        welcome.primary.fill(0);
                    }
                    return Ok((welcome, stream, input));
                }
                Err((_, Body::Error(error))) => return Err(DialError::Refused(error)),
                Err((_, body)) => {
                    let why = format!("{address}: a {} in place of WELCOME", body.kind());
                    return Err(DialError::Failed(why));
                }
            }
        }
        if input.read(&mut stream).await.map_err(failed)? == 0 {
            return Err(DialError::Failed(format!("{address}: closed before WELCOME")));
        }
    }
}

impl Connection {
    fn start(attempt: u64, stream: Stream, input: Input, events: &mpsc::Sender<Event>) -> Self {
        let (from, to) = tokio::io::split(stream);
        let (frames, queued) = mpsc::unbounded_channel();
        let reading = tokio::spawn(read(attempt, from, input, events.clone()));
        let writing = tokio::spawn(write(attempt, to, queued, events.clone()));
        Self { frames, tasks: [reading, writing] }
    }
}

async fn read(
    attempt: u64,
    mut from: ReadHalf<Stream>,
    mut input: Input,
    events: mpsc::Sender<Event>,
) {
    let why = loop {
        match input.replies() {
            Ok(replies) if replies.is_empty() => {}
            Ok(replies) => {
                if events.send(Event::Received(attempt, replies)).await.is_err() {
                    return;
                }
            }
            Err(why) => break why,
        }
        match input.read(&mut from).await {
            Ok(0) => break "the node closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => break format!("the connection failed: {error}"),
        }
    };
    let _ = events.send(Event::Lost(attempt, why)).await;
}

async fn write(
    attempt: u64,
    mut to: WriteHalf<Stream>,
    mut queued: mpsc::UnboundedReceiver<Vec<u8>>,
    events: mpsc::Sender<Event>,
) {
    while let Some(mut frames) = queued.recv().await {
        while let Ok(more) = queued.try_recv() {
            frames.extend_from_slice(&more);
        }
        let until = tokio::time::Instant::now() + WRITE_PATIENCE;
        let written = async {
            to.write_all(&frames).await?;
            to.flush().await
        };
        let why = match timeout_at(until, written).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("the connection failed: {error}"),
            Err(_) => "the node takes nothing any more".to_owned(),
        };
        let _ = events.send(Event::Lost(attempt, why)).await;
        return;
    }
}

/// Bytes read and not yet understood: at most one reply and what was read with it.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
}

impl Input {
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.bytes.reserve(READ_LEN);
        from.read_buf(&mut self.bytes).await
    }

    /// The whole replies among them.
    fn replies(&mut self) -> Result<Vec<(u64, Body)>, String> {
        let broken =
            |why: &dyn std::fmt::Display| format!("the node broke the protocol with {why}");
        let mut replies = Vec::new();
        let mut start = 0;
        while let Some(header) = self.bytes[start..].first_chunk::<HEADER_LEN>() {
            let len = reply_len(header).map_err(|why| broken(&why))?;
            let Some(frame) = self.bytes[start..].get(..len) else { break };
            replies.push(decode(frame).map_err(|why| broken(&why))?);
            start += len;
        }
        self.bytes.drain(..start);
        Ok(replies)
    }
}
