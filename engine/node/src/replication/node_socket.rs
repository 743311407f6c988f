//! A socket between two nodes, in clear or over TLS, for all threads that hold it: one reads,
//! others write, and each may end it. What one of them sends together is sealed together and goes
//! out in one call; nobody who only wants to seal or to open waits for the network.
//!
//! Threads of their own wait here, and no data core does: so hands are shaken where the connection
//! is served.

use super::connection::{ConnectionFailure, READ_TIMEOUT, WRITE_TIMEOUT};
use catraca_tls::{Ended, NodeTls, TlsEnd, TlsFault};
use parking_lot::Mutex;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

/// Sealed bytes that are read at once: several records of the largest size, 16 KiB.
const SEALED_LEN: usize = 128 * 1024;
/// First bytes that a record of TLS may have: its kind. JOIN, ACCEPT and REFUSE, by which a
/// connection in clear begins, have a length of 256, and so a first byte of 0.
const RECORD_KINDS: std::ops::RangeInclusive<u8> = 20..=23;
/// The second byte of any record of TLS.
const RECORD_VERSION: u8 = 3;

/// Whether bytes are the beginning of a record of TLS.
pub fn begins_record(bytes: &[u8]) -> bool {
    matches!(bytes, [kind, RECORD_VERSION, ..] if RECORD_KINDS.contains(kind))
}

/// Which side of a connection this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It dialed.
    Dialer,
    /// It was dialed.
    Listener,
}

/// A socket between two nodes.
#[derive(Debug)]
pub struct NodeSocket {
    stream: TcpStream,
    sealing: Option<Sealing>,
}

/// TLS on a socket. Who takes two of the locks takes them in this order.
#[derive(Debug)]
struct Sealing {
    /// Sealed bytes on their way out, held while they go: so that they go in order.
    outgoing: Mutex<Vec<u8>>,
    /// Sealed bytes that have come, for the thread that reads.
    incoming: Mutex<Incoming>,
    /// Held for a moment, never over a call of the system.
    end: Mutex<TlsEnd>,
}

/// Sealed bytes that have come and are not opened yet.
#[derive(Debug)]
struct Incoming {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Incoming {
    fn new() -> Self {
        Self { buffer: vec![0; SEALED_LEN].into(), start: 0, end: 0 }
    }

    /// Has something done with what there is; what it leaves stays.
    fn with<T>(&mut self, body: impl FnOnce(&mut &[u8]) -> T) -> T {
        let mut rest = &self.buffer[self.start..self.end];
        let outcome = body(&mut rest);
        self.start = self.end - rest.len();
        outcome
    }

    /// Reads more, once all that there was is gone; gives how many bytes came.
    fn fill(&mut self, mut stream: &TcpStream) -> io::Result<usize> {
        let len = stream.read(&mut self.buffer)?;
        (self.start, self.end) = (0, len);
        Ok(len)
    }
}

impl NodeSocket {
    /// Over a connection, in clear; where there is `tls`, over TLS only: hands are shaken until
    /// this time.
    ///
    /// # Errors
    /// [`ConnectionFailure::Tls`] and its like when the other side is no node of this cluster, or
    /// does not speak TLS.
    pub fn new(
        stream: TcpStream,
        tls: Option<&NodeTls>,
        side: Side,
        until: Instant,
    ) -> Result<Self, ConnectionFailure> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let Some(tls) = tls else { return Ok(Self { stream, sealing: None }) };
        let end = match side {
            Side::Dialer => tls.dialer(),
            Side::Listener => tls.listener(),
        };
        let mut end = end.map_err(|fault: TlsFault| ConnectionFailure::Tls(fault.to_string()))?;
        let mut incoming = Incoming::new();
        if let Err(failure) = shake(&stream, &mut end, &mut incoming, until) {
            linger(&stream, &mut incoming, until);
            return Err(failure);
        }
        let sealing = Sealing {
            outgoing: Mutex::new(Vec::new()),
            incoming: Mutex::new(incoming),
            end: Mutex::new(end),
        };
        Ok(Self { stream, sealing: Some(sealing) })
    }

    /// The address of the other side.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Reads into a buffer that is not empty; 0 at the end. For one thread at a time.
    ///
    /// # Errors
    /// As a socket; [`ErrorKind::WouldBlock`] also when bytes came of which nothing can be opened
    /// yet.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(sealing) = &self.sealing else { return (&self.stream).read(buffer) };
        let mut incoming = sealing.incoming.lock();
        let opened = match sealing.open(&mut incoming, buffer) {
            Ok(None) if incoming.fill(&self.stream)? == 0 => return Ok(0),
            Ok(None) => sealing.open(&mut incoming, buffer),
            opened => opened,
        };
        if opened.is_err() {
            // What is wrong, for the other side; it may be gone.
            let _ = self.write(&mut []);
        }
        opened?.ok_or_else(|| ErrorKind::WouldBlock.into())
    }

    /// Sends parts of one frame, in one call where the socket takes them. After an error nothing
    /// more goes either way: what followed half of a frame would mean nothing.
    ///
    /// # Errors
    /// As a socket.
    pub fn write(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let written = match &self.sealing {
            None => write_whole(&self.stream, parts),
            Some(sealing) => {
                let mut outgoing = sealing.outgoing.lock();
                outgoing.clear();
                sealing.end.lock().seal(parts, &mut outgoing);
                (&self.stream).write_all(&outgoing)
            }
        };
        if written.is_err() {
            self.end();
        }
        written
    }

    /// Ends it for all threads that hold it.
    pub fn end(&self) {
        // An error means that the other side was faster.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Sealing {
    fn open(&self, incoming: &mut Incoming, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut end = self.end.lock();
        match incoming.with(|sealed| end.open_into(sealed, buffer)) {
            Err(Ended::Said) => Ok(Some(0)),
            Err(broken @ Ended::Broken(_)) => Err(io::Error::new(ErrorKind::InvalidData, broken)),
            Ok(len) => Ok(len),
        }
    }
}

/// All of it, in as few calls as the socket allows.
fn write_whole(mut stream: &TcpStream, mut rest: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty parts alone would look like a socket that takes nothing.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match stream.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Shakes hands.
fn shake(
    mut stream: &TcpStream,
    end: &mut TlsEnd,
    incoming: &mut Incoming,
    until: Instant,
) -> Result<(), ConnectionFailure> {
    let mut sealed = Vec::new();
    let mut is_first = true;
    loop {
        sealed.clear();
        end.seal(&[], &mut sealed);
        stream.write_all(&sealed)?;
        if !end.is_shaking_hands() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(ConnectionFailure::NoHandshake);
        }
        match incoming.fill(stream) {
            Ok(0) => return Err(ConnectionFailure::HungUp),
            Ok(_) => {
                let begins_plain = std::mem::take(&mut is_first)
                    && !incoming.with(|sealed| RECORD_KINDS.contains(&sealed[0]));
                if let Err(ended) = incoming.with(|sealed| end.shake(sealed)) {
                    sealed.clear();
                    end.seal(&[], &mut sealed);
                    // What is wrong, for the other side; it may be gone.
                    let _ = stream.write_all(&sealed);
                    return Err(match begins_plain {
                        true => ConnectionFailure::SpeaksPlain,
                        false => ConnectionFailure::Tls(ended.to_string()),
                    });
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes what the other side still has to say, until it hangs up or time is over: a socket that is
/// closed with bytes in it takes back what was said last, and with it why hands were not shaken.
fn linger(stream: &TcpStream, incoming: &mut Incoming, until: Instant) {
    let _ = stream.shutdown(Shutdown::Write);
    while Instant::now() < until {
        match incoming.fill(stream) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_tls::testing::Certificates;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    /// Sent each way: more than sockets hold, so that both sides wait for each other now and then.
    const LEN: usize = 8 << 20;
    const NAME: &str = "node.pair.example";
    /// Longest wait for what must come.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn tls() -> NodeTls {
        let certificates = Certificates::new();
        certificates.issue("ca", "node", NAME, None);
        NodeTls::new(certificates.of_node("node", "ca"), NAME).expect("sound")
    }

    /// Two ends of a connection in this machine.
    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free");
        let dialed = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        (dialed, listener.accept().expect("it calls").0)
    }

    /// Byte `index` of what this side sends.
    fn byte(side: Side, index: usize) -> u8 {
        (index % 251) as u8 ^ u8::from(side == Side::Dialer)
    }

    /// Sends in frames of two parts and lengths of all kinds, while another thread reads what the
    /// other side sends.
    fn converse(socket: &Arc<NodeSocket>, side: Side, other: Side) {
        let reading = Arc::clone(socket);
        let reader = std::thread::spawn(move || {
            let (mut buffer, mut have) = (vec![0; 300_000], 0);
            while have < LEN {
                match reading.read(&mut buffer) {
                    Ok(0) => panic!("closed after {have} bytes"),
                    Ok(len) => {
                        let came = buffer[..len].iter().enumerate();
                        came.for_each(|(at, came)| assert_eq!(*came, byte(other, have + at)));
                        have += len;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
            }
        });
        let (mut sent, mut len) = (0, 1);
        while sent < LEN {
            let end = LEN.min(sent + len);
            let frame: Vec<u8> = (sent..end).map(|index| byte(side, index)).collect();
            let (head, rest) = frame.split_at(frame.len().min(32));
            socket.write(&mut [IoSlice::new(head), IoSlice::new(rest)]).expect("it is taken");
            (sent, len) = (end, len * 3 % 1_000_003 + 1);
        }
        reader.join().expect("all of it came");
    }

    #[test]
    fn both_sides_send_at_once_and_all_of_it_comes() {
        let tls = tls();
        for tls in [None, Some(&tls)] {
            let (dialed, taken) = connected();
            let until = Instant::now() + PATIENCE;
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let socket = NodeSocket::new(dialed, tls, Side::Dialer, until);
                    converse(&Arc::new(socket.expect("a node")), Side::Dialer, Side::Listener);
                });
                let socket = NodeSocket::new(taken, tls, Side::Listener, until);
                converse(&Arc::new(socket.expect("a node")), Side::Listener, Side::Dialer);
            });
        }
    }

    #[test]
    fn a_byte_now_and_then_does_not_make_a_handshake() {
        let (mut dialed, taken) = connected();
        let until = Instant::now() + Duration::from_millis(300);
        let listener = std::thread::spawn(move || {
            NodeSocket::new(taken, Some(&tls()), Side::Listener, until).map(drop)
        });
        // The head of a long record, and then nothing that ends it.
        let mut next = [22, 3, 1, 0x40, 0].into_iter().chain(std::iter::repeat(0));
        while !listener.is_finished() {
            let _ = dialed.write_all(&[next.next().expect("endless")]);
            std::thread::sleep(Duration::from_millis(20));
        }
        let outcome = listener.join().expect("no panic");
        assert!(matches!(outcome, Err(ConnectionFailure::NoHandshake)), "{outcome:?}");
    }

    #[test]
    fn a_write_that_failed_ends_the_socket() {
        let (dialed, taken) = connected();
        let socket = NodeSocket::new(dialed, None, Side::Dialer, Instant::now() + PATIENCE);
        let socket = socket.expect("in clear nothing is asked");
        drop(taken);
        let frame = [7; 4096];
        while socket.write(&mut [IoSlice::new(&frame), IoSlice::new(&[])]).is_ok() {}
        assert!(!matches!(socket.read(&mut [0; 16]), Ok(1..)));
    }
}
