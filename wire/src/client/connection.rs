//! One TCP connection: the handshake, writing, and bounded reading. It knows nothing of what the
//! frames are for.

use super::error::{ClientError, ProtocolError, ServerError};
use super::options::ClientOptions;
use super::reply::{Body, decode, reply_len};
use super::rules::{Handshake, greeting};
use super::secure::Stream;
use crate::address::host_and_port;
use crate::frame::{HEADER_LEN, Welcome};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Bytes that a connection reads at once, and its buffer's size until a larger reply comes. Holds a
/// thousand VERDICTs.
const READ_LEN: usize = 64 * 1024;
/// Queued bytes past which they are written without waiting for a flush.
const WRITE_LEN: usize = 64 * 1024;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    Failed(#[from] std::io::Error),
    #[error("the server broke the protocol with {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the server closes the connection: {0}")]
    Closing(ServerError),
    #[error("the server does not decide: {0}")]
    Elsewhere(ServerError),
}

/// A connection past its handshake.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    pub(super) welcome: Welcome,
    /// Until when its token counts, nanoseconds since 1970 UTC; 0 for no end.
    pub(super) expires_at_ns: u64,
    write_timeout: Duration,
    input: Input,
    output: Vec<u8>,
}

impl Connection {
    /// Connects and shakes hands, all before `deadline`.
    pub(super) fn open(
        address: &str,
        options: &ClientOptions,
        deadline: Instant,
    ) -> Result<Self, ClientError> {
        let failed = |detail: String| ClientError::Connect { address: address.to_owned(), detail };
        let mut stream = Err(failed("the name has no address".to_owned()));
        for place in address.to_socket_addrs().map_err(|e| failed(e.to_string()))? {
            let Some(left) = time_left(deadline) else {
                return Err(failed("no connection in time".to_owned()));
            };
            stream = TcpStream::connect_timeout(&place, left).map_err(|e| failed(e.to_string()));
            if stream.is_ok() {
                break;
            }
        }
        let stream = stream?;
        // A request that waits for a fuller packet wastes its budget.
        stream.set_nodelay(true).map_err(|e| failed(e.to_string()))?;
        let write_timeout = Duration::from_millis(options.answer_timeout_ms);
        stream.set_write_timeout(Some(write_timeout)).map_err(|e| failed(e.to_string()))?;
        // Hands are shaken with the first bytes that are written, where the connection is secure.
        let host = match host_and_port(address) {
            Ok((host, _)) => host.bare(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let left = time_left(deadline).ok_or_else(|| failed("no connection in time".to_owned()))?;
        stream.set_read_timeout(Some(left)).map_err(|e| failed(e.to_string()))?;
        let mut stream = Stream::new(stream, &host, options.secure.as_deref())
            .map_err(|e| failed(e.to_string()))?;

        let credential = &options.credential;
        let greeting = greeting(credential, &options.client_name, options.in_flight);
        let written = stream.write_all(&greeting).and_then(|()| stream.flush());
        written.map_err(|e| failed(e.to_string()))?;
        let (mut input, mut handshake) = (Input::new(), Handshake::default());
        loop {
            let reply = match input.next(&mut stream, deadline) {
                Ok(Some((_, Body::Error(error)))) => return Err(ClientError::Refused(error)),
                Ok(Some(reply)) => reply,
                Ok(None) => return Err(failed("no WELCOME in time".to_owned())),
                Err(broken) => return Err(failed(broken.to_string())),
            };
            let (mut welcome, expires_at_ns) = match handshake.take(credential, reply) {
                Ok(Some(done)) => done,
                Ok(None) => continue,
                Err((correlation, body)) => {
                    let kind = body.kind();
                    let broken = Broken::Protocol(ProtocolError::Unexpected { kind, correlation });
                    return Err(failed(broken.to_string()));
                }
            };
            // The address that it names is of the port in clear.
            if options.secure.is_some() {
                welcome.primary.fill(0);
            }
            let output = Vec::new();
            return Ok(Self { stream, welcome, expires_at_ns, write_timeout, input, output });
        }
    }

    /// Takes a frame to be written with the next flush, or now when much is waiting.
    pub(super) fn queue(&mut self, frame: &[u8]) -> Result<(), Broken> {
        self.output.extend_from_slice(frame);
        if self.output.len() >= WRITE_LEN { self.flush() } else { Ok(()) }
    }

    /// Writes what is queued.
    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        if self.output.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.write_timeout;
        let mut written = 0;
        while written < self.output.len() {
            if Instant::now() >= deadline {
                return Err(Broken::Failed(ErrorKind::TimedOut.into()));
            }
            match self.stream.write(&self.output[written..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => written += count,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.stream.flush()?;
        self.output.clear();
        Ok(())
    }

    /// The next reply with its correlation; `None` when `deadline` comes first.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<Option<(u64, Body)>, Broken> {
        self.input.next(&mut self.stream, deadline)
    }
}

/// Bytes read and not yet understood.
#[derive(Debug)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn new() -> Self {
        Self { buffer: vec![0; READ_LEN], start: 0, end: 0 }
    }

    fn next(
        &mut self,
        stream: &mut Stream,
        deadline: Instant,
    ) -> Result<Option<(u64, Body)>, Broken> {
        let mut looked = false;
        loop {
            let held = &self.buffer[self.start..self.end];
            let needed = match held.first_chunk::<HEADER_LEN>() {
                None => HEADER_LEN,
                Some(header) => {
                    // Refuses any length over the bound, before the buffer grows to it.
                    let len = reply_len(header)?;
                    if let Some(frame) = held.get(..len) {
                        let reply = decode(frame)?;
                        self.start += len;
                        return Ok(Some(reply));
                    }
                    len
                }
            };
            self.make_room(needed);
            let read = match time_left(deadline) {
                Some(left) => {
                    stream.set_read_timeout(Some(left))?;
                    stream.read(&mut self.buffer[self.end..])
                }
                None if looked => return Ok(None),
                // The caller may have been away for so long that the answer lies here already.
                None => {
                    looked = true;
                    stream.set_nonblocking(true)?;
                    let read = stream.read(&mut self.buffer[self.end..]);
                    stream.set_nonblocking(false)?;
                    read
                }
            };
            match read {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => {
                    self.end += count;
                    looked = false;
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Makes the buffer hold `needed` bytes from `start`, with room behind what is read.
    fn make_room(&mut self, needed: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start + needed > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if needed > self.buffer.len() {
            self.buffer.resize(needed, 0);
        }
    }
}

/// What is left until then, at least the millisecond that a socket's time-out must have; `None`
/// when it has passed.
pub(super) fn time_left(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then(|| left.max(Duration::from_millis(1)))
}
