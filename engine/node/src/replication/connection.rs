//! One connection between two nodes: whole frames over a blocking socket, and the handshake that
//! says who is who.

use super::frames::Frames;
use super::node_socket::{NodeSocket, Side, begins_record};
use catraca_core::replica::node::{Accepted, NodeMessage};
use catraca_tls::NodeTls;
use catraca_wire::block::ChainKey;
use catraca_wire::frame::{Role, text_of};
use catraca_wire::replication::{
    AcceptFrame, HeartbeatFrame, JoinFrame, LINK_HEAD_LEN, LinkError, LinkFrame, LinkHeadFields,
    LinkKind, ProofFrame, Prover, RefuseFrame, RefuseReason, WelcomeFrame, proof, view,
};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Time for a connection to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for the whole handshake, that of TLS included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time that the other side may take nothing.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits before its thread looks around.
pub const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a caller waits before it asks whether it should.
const LOOK_AROUND: Duration = Duration::from_millis(10);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionFailure {
    /// The socket.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side closed it.
    #[error("the other node closed the connection")]
    Closed,
    /// It does not speak the protocol.
    #[error("the other side broke the protocol: {0}")]
    Frame(#[from] LinkError),
    /// A frame that does not belong here.
    #[error("the other side sent {0} where it does not belong")]
    Unexpected(LinkKind),
    /// It was refused.
    #[error("refused: {text}")]
    Refused {
        /// Why.
        reason: RefuseReason,
        /// The same for a person.
        text: String,
        /// Where the primary takes other nodes, where the other side knows.
        primary: Option<String>,
    },
    /// It can't prove that it has the chain's key.
    #[error(
        "the other node has another chain key: the file chain.key of both data directories must be the same"
    )]
    Key,
    /// Hands were not shaken over TLS, or what came over it is broken.
    #[error("{0}")]
    Tls(String),
    /// It speaks TLS, and this node has none.
    #[error(
        "the other side speaks TLS, and this node does not: set replication_tls_certificate_file and what belongs to it on both nodes, or on none"
    )]
    SpeaksTls,
    /// It does not speak TLS, and this node wants it.
    #[error(
        "the other side does not speak TLS, which replication_tls_certificate_file asks for: set it and what belongs to it on both nodes, or on none"
    )]
    SpeaksPlain,
    /// It was gone before hands were shaken.
    #[error(
        "the other side closed the connection before the handshake of TLS was over: does it have replication_tls_certificate_file, too?"
    )]
    HungUp,
    /// It did not shake hands in time.
    #[error("the handshake of TLS was not over within {} ms", HANDSHAKE_TIMEOUT.as_millis())]
    NoHandshake,
    /// It said nothing for too long.
    #[error("the other node was silent for {0} ms")]
    Silent(u128),
    /// The log or the state machine says no.
    #[error("{0}")]
    Fault(String),
}

impl ConnectionFailure {
    /// Whether it is of TLS: who calls is no node of this cluster, or both are not set up alike.
    pub fn is_of_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::SpeaksTls | Self::SpeaksPlain | Self::NoHandshake)
    }
}

/// What a node proves itself with, and wants of the other one.
#[derive(Debug, Clone)]
pub struct LinkKeys {
    /// Key of the chain.
    pub chain: ChainKey,
    /// What hands are shaken with over TLS; none where nodes speak in clear.
    pub tls: Option<Arc<NodeTls>>,
}

/// The writing half of a connection.
#[derive(Debug)]
pub struct Writer(Arc<NodeSocket>);

impl Writer {
    /// Sends a frame.
    ///
    /// # Errors
    /// [`ConnectionFailure::Io`].
    pub fn send<F: LinkFrame>(&self, frame: &F) -> Result<(), ConnectionFailure> {
        Ok(self.0.write(&mut [IoSlice::new(bytemuck::bytes_of(frame))])?)
    }

    /// Sends a frame in parts.
    ///
    /// # Errors
    /// [`ConnectionFailure::Io`].
    pub fn send_parts(&self, head: &[u8], rest: &[u8]) -> Result<(), ConnectionFailure> {
        Ok(self.0.write(&mut [IoSlice::new(head), IoSlice::new(rest)])?)
    }

    /// Ends the connection.
    pub fn end(&self) {
        self.0.end();
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: Arc<NodeSocket>,
    frames: Frames,
    /// Until when the handshake must be whole, while it is not.
    handshake_until: Option<Instant>,
}

impl Connection {
    /// Over a socket; the whole handshake ends by this time.
    ///
    /// # Errors
    /// When the socket can't be set up, or hands are not shaken.
    fn new(
        stream: TcpStream,
        tls: Option<&NodeTls>,
        side: Side,
        until: Instant,
    ) -> Result<Self, ConnectionFailure> {
        let socket = Arc::new(NodeSocket::new(stream, tls, side, until)?);
        Ok(Self { socket, frames: Frames::default(), handshake_until: Some(until) })
    }

    /// The socket, to end it.
    pub fn socket(&self) -> Arc<NodeSocket> {
        Arc::clone(&self.socket)
    }

    /// Its writing half, for whoever looks at frames of the reading half meanwhile, or is another
    /// thread.
    pub fn writer(&self) -> Writer {
        Writer(self.socket())
    }

    /// The address of the other side.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.socket.peer_address()
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`ConnectionFailure::Io`].
    pub fn send<F: LinkFrame>(&self, frame: &F) -> Result<(), ConnectionFailure> {
        self.writer().send(frame)
    }

    /// The next whole frame; `None` when none came for [`READ_TIMEOUT`].
    ///
    /// # Errors
    /// [`ConnectionFailure`]; the connection is of no use then.
    pub fn next(&mut self) -> Result<Option<(LinkKind, &[u8])>, ConnectionFailure> {
        self.next_into(Frames::room)
    }

    /// The same, and reads nothing of the frames behind it: a block that comes so lies aligned, at
    /// the price of a second system call.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_alone(&mut self) -> Result<Option<(LinkKind, &[u8])>, ConnectionFailure> {
        self.next_into(Frames::room_for_one)
    }

    fn next_into(
        &mut self,
        room: fn(&mut Frames) -> &mut [u8],
    ) -> Result<Option<(LinkKind, &[u8])>, ConnectionFailure> {
        let found = loop {
            match self.frames.find() {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(error) => return Err(self.broken(error.into())),
            }
            match self.socket.read(room(&mut self.frames)) {
                Ok(0) => return Err(self.broken(ConnectionFailure::Closed)),
                // A byte now and then does not make a handshake.
                Ok(_) if self.handshake_until.is_some_and(|until| Instant::now() >= until) => {
                    return Err(ConnectionFailure::Silent(HANDSHAKE_TIMEOUT.as_millis()));
                }
                Ok(read) => self.frames.filled(read),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Some((found.kind, self.frames.bytes(&found))))
    }

    /// What a failure is, where what came before hands were shaken is no frame at all, but TLS.
    fn broken(&self, failure: ConnectionFailure) -> ConnectionFailure {
        match self.handshake_until.is_some() && begins_record(self.frames.rest()) {
            true => ConnectionFailure::SpeaksTls,
            false => failure,
        }
    }

    /// The frame that [`Self::next`] will give, if it has come already; nothing is read for it.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn ready(&mut self) -> Result<Option<(LinkKind, &[u8])>, ConnectionFailure> {
        let found = self.frames.peek()?;
        Ok(found.map(|found| (found.kind, self.frames.bytes(&found))))
    }

    /// Waits for a frame of this kind until a time.
    fn expect<F: LinkFrame>(&mut self, until: Instant) -> Result<F, ConnectionFailure> {
        loop {
            if let Some((kind, frame)) = self.next()? {
                if let Some(refuse) = view::<RefuseFrame>(frame) {
                    return Err(refused(refuse));
                }
                return view::<F>(frame).copied().ok_or(ConnectionFailure::Unexpected(kind));
            }
            if Instant::now() >= until {
                return Err(ConnectionFailure::Silent(HANDSHAKE_TIMEOUT.as_millis()));
            }
        }
    }
}

fn refused(frame: &RefuseFrame) -> ConnectionFailure {
    let primary = Some(text_of(&frame.primary).to_owned()).filter(|address| !address.is_empty());
    match RefuseReason::from_wire(frame.reason) {
        Some(reason) => {
            ConnectionFailure::Refused { reason, text: text_of(&frame.text).to_owned(), primary }
        }
        None => ConnectionFailure::Fault(
            "refused for a reason that this build does not know".to_owned(),
        ),
    }
}

/// A refusal as a frame.
pub fn refusal(epoch: u32, reason: RefuseReason, text: &str, primary: &str) -> RefuseFrame {
    let mut frame = RefuseFrame::empty(0, epoch);
    frame.reason = reason.to_wire();
    catraca_wire::frame::fill(&mut frame.primary, primary);
    let mut len = text.len().min(frame.text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    catraca_wire::frame::fill(&mut frame.text, &text[..len]);
    frame
}

/// Calls a node and says who we are; gives the connection and who answered, once both have proved
/// that they have the chain's key.
///
/// # Errors
/// [`ConnectionFailure`].
pub fn dial(
    address: &str,
    join: &JoinFrame,
    keys: &LinkKeys,
) -> Result<(Connection, AcceptFrame), ConnectionFailure> {
    call(address, join, keys, &AtomicBool::new(false))
}

/// The same, for whoever may give up. After that nothing is said any more that could make the other
/// node believe in this call: a JOIN may be old by then, and the one of a newer call is what
/// counts.
fn call(
    address: &str,
    join: &JoinFrame,
    keys: &LinkKeys,
    given_up: &AtomicBool,
) -> Result<(Connection, AcceptFrame), ConnectionFailure> {
    let go_on = || match given_up.load(Ordering::SeqCst) {
        true => Err(ConnectionFailure::Closed),
        false => Ok(()),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut stream = None;
    for socket in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, CONNECT_TIMEOUT) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = error,
        }
    }
    let (stream, until) = (stream.ok_or(last)?, Instant::now() + HANDSHAKE_TIMEOUT);
    let mut connection = Connection::new(stream, keys.tls.as_deref(), Side::Dialer, until)?;
    go_on()?;
    connection.send(join)?;
    let accept: AcceptFrame = match connection.expect(until) {
        // Who says so has not proved to be of the cluster yet, and a primary does not say it so
        // early.
        Err(ConnectionFailure::Refused {
            reason: RefuseReason::Taken | RefuseReason::Twin,
            text,
            ..
        }) => {
            return Err(ConnectionFailure::Fault(text));
        }
        other => other?,
    };
    if proof(&keys.chain, Prover::Listener, join, &accept) != accept.proof {
        return Err(ConnectionFailure::Key);
    }
    let mut own = ProofFrame::empty(0, join.head.epoch.to_native());
    own.proof = proof(&keys.chain, Prover::Dialer, join, &accept);
    go_on()?;
    connection.send(&own)?;
    connection.expect::<WelcomeFrame>(until)?;
    connection.handshake_until = None;
    Ok((connection, accept))
}

/// The same, given up as soon as `go_on` says no: whoever has to wait for this end must not wait
/// for a node that hangs. What was begun then ends by itself within the time of a handshake.
///
/// # Errors
/// [`ConnectionFailure`].
pub fn dial_while(
    go_on: impl Fn() -> bool,
    address: &str,
    join: &JoinFrame,
    keys: &LinkKeys,
) -> Result<(Connection, AcceptFrame), ConnectionFailure> {
    let (outcome, dialed) = std::sync::mpsc::sync_channel(1);
    let (to, join, keys) = (address.to_owned(), *join, keys.clone());
    let given_up = Arc::new(AtomicBool::new(false));
    let is_given_up = Arc::clone(&given_up);
    let body = move || drop(outcome.send(call(&to, &join, &keys, &is_given_up)));
    std::thread::Builder::new().name("dial".to_owned()).spawn(body)?;
    loop {
        match dialed.recv_timeout(LOOK_AROUND) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) if go_on() => {}
            Err(_) => {
                given_up.store(true, Ordering::SeqCst);
                return Err(ConnectionFailure::Closed);
            }
        }
    }
}

/// Answers a call up to the point where the caller is known: what it wants, and who it has proved
/// to be. WELCOME or REFUSE is to follow.
///
/// # Errors
/// [`ConnectionFailure`].
pub fn answer(
    stream: TcpStream,
    keys: &LinkKeys,
    accept: impl FnOnce(&JoinFrame) -> Result<AcceptFrame, Box<RefuseFrame>>,
) -> Result<(Connection, JoinFrame, AcceptFrame), ConnectionFailure> {
    let until = Instant::now() + HANDSHAKE_TIMEOUT;
    let mut connection = Connection::new(stream, keys.tls.as_deref(), Side::Listener, until)?;
    let join: JoinFrame = connection.expect(until)?;
    let mut accept = match accept(&join) {
        Ok(accept) => accept,
        Err(refuse) => {
            connection.send(&*refuse)?;
            return Err(refused(&refuse));
        }
    };
    accept.proof = proof(&keys.chain, Prover::Listener, &join, &accept);
    connection.send(&accept)?;
    let theirs: ProofFrame = connection.expect(until)?;
    if theirs.proof != proof(&keys.chain, Prover::Dialer, &join, &accept) {
        connection.send(&refusal(
            accept.head.epoch.to_native(),
            RefuseReason::Key,
            "the proof is wrong: another chain key",
            "",
        ))?;
        return Err(ConnectionFailure::Key);
    }
    connection.handshake_until = None;
    Ok((connection, join, accept))
}

/// The head of a frame.
pub fn head_of(frame: &[u8]) -> &LinkHeadFields {
    bytemuck::from_bytes(&frame[..LINK_HEAD_LEN])
}

/// What another node said about where it is found, made good with the address that it calls from
/// where it named none.
pub fn reachable(advertised: &str, from: Option<SocketAddr>) -> String {
    match (advertised.parse::<SocketAddr>(), from) {
        (Ok(own), Some(from)) if own.ip().is_unspecified() => {
            SocketAddr::new(from.ip(), own.port()).to_string()
        }
        _ => advertised.to_owned(),
    }
}

/// What a node that was called says of itself.
pub fn dialed(accept: &AcceptFrame, connection: &Connection) -> Accepted {
    Accepted {
        node_id: accept.node_id,
        client_address: reachable(text_of(&accept.client_address), connection.peer_address()),
        epoch: accept.head.epoch.to_native(),
        role: Role::from_wire(accept.role).unwrap_or(Role::Standby),
        odd_epochs: accept.odd_epochs == 1,
        may_leave: accept.solo_after_ms.to_native() > 0,
        shards: accept.shards.to_native(),
        streams: accept.streams.to_native(),
        session: accept.session.to_native(),
    }
}

/// A message on a connection from node to node; `None` for a frame that is none.
pub fn message_of(kind: LinkKind, frame: &[u8]) -> Option<NodeMessage> {
    let epoch = head_of(frame).epoch.to_native();
    Some(match kind {
        LinkKind::Heartbeat => NodeMessage::Heartbeat {
            disk_full: view::<HeartbeatFrame>(frame)
                .is_some_and(|heartbeat| heartbeat.disk_full == 1),
        },
        LinkKind::Grant => NodeMessage::Grant { epoch },
        LinkKind::Granted => NodeMessage::Granted,
        LinkKind::Revoke => NodeMessage::Revoke { epoch },
        LinkKind::Revoked => NodeMessage::Revoked,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_call_that_was_given_up_proves_nothing_any_more() {
        let (key, listener): (ChainKey, _) =
            ([7; 32], TcpListener::bind("127.0.0.1:0").expect("free"));
        let address = listener.local_addr().expect("bound").to_string();
        let (join, keys) = (JoinFrame::empty(0, 1), LinkKeys { chain: key, tls: None });
        let caller = std::thread::spawn(move || {
            let began = Instant::now();
            let go_on = || began.elapsed() < Duration::from_millis(50);
            dial_while(go_on, &address, &join, &keys).map(drop)
        });
        let (socket, _) = listener.accept().expect("it calls");
        let until = Instant::now() + Duration::from_secs(30);
        let called = Connection::new(socket, None, Side::Listener, until);
        let mut called = called.expect("a socket");
        let join: JoinFrame = called.expect(until).expect("it says who it is");
        let outcome = caller.join().expect("no panic");
        assert!(matches!(outcome, Err(ConnectionFailure::Closed)), "{outcome:?}");
        // Only now it hears that it is let in.
        let mut accept = AcceptFrame::empty(0, 1);
        accept.proof = proof(&key, Prover::Listener, &join, &accept);
        called.send(&accept).expect("the connection stands");
        let proved = called.expect::<ProofFrame>(until);
        assert!(matches!(proved, Err(ConnectionFailure::Closed)), "{proved:?}");
    }
}
