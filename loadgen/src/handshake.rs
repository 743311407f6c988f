//! From an address to a connection that may send: connect, HELLO, WELCOME, and a clear sentence
//! where one of them fails.

use crate::link::Link;
use crate::options::LoadError;
use catraca_tls::Authorities;
use catraca_wire::address::host_and_port;
use catraca_wire::frame::{
    AuthFrame, ErrorCode, ErrorFrame, FLAG_AUTH, FrameKind, HEADER_LEN, HeaderFields, HelloFrame,
    MAX_CREDENTIAL_LEN, MAX_TOKEN_LEN, PROTOCOL_VERSION, Role, WelcomeFrame, fill, text_of, view,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// The name that the node's log shows.
const CLIENT_NAME: &str = "catraca-loadgen";
/// The longest frame that answers a HELLO.
const MAX_HANDSHAKE_REPLY: usize = size_of::<ErrorFrame>();

const _: () = assert!(size_of::<WelcomeFrame>() <= MAX_HANDSHAKE_REPLY);

/// Why a node was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It follows; the primary that it names, or nothing, and the sentence.
    Standby(String, LoadError),
    /// Anything else.
    Failed(LoadError),
}

/// Where to connect, and as whom.
#[derive(Debug)]
pub struct Target {
    /// As it was given.
    pub addr: String,
    resolved: Vec<SocketAddr>,
    credential: Vec<u8>,
    authorities: Option<Authorities>,
}

impl Target {
    /// Resolves the address. Over TLS where there are authorities.
    pub fn new(
        addr: &str,
        credential: &[u8],
        authorities: Option<&Authorities>,
    ) -> Result<Self, LoadError> {
        let resolved: Vec<SocketAddr> = addr
            .to_socket_addrs()
            .map_err(|e| {
                LoadError::Target(format!(
                    "`{addr}` is no address to connect to ({e}): give --addr host:port"
                ))
            })?
            .collect();
        let (credential, authorities) = (credential.to_vec(), authorities.cloned());
        Ok(Self { addr: addr.to_owned(), resolved, credential, authorities })
    }

    /// Opens a connection to a primary that may hold `in_flight` unanswered frames (0: as many as
    /// the node gives). Connecting, and each wait of the handshake, may take `timeout`. The socket
    /// comes back blocking.
    pub fn open(
        &self,
        in_flight: u32,
        timeout: Duration,
    ) -> Result<(Link, WelcomeFrame), NotTaken> {
        let socket = self.connect(timeout).map_err(NotTaken::Failed)?;
        let mut stream = self.secure(socket).map_err(NotTaken::Failed)?;
        let welcome = self.greet(&mut stream, in_flight, timeout).map_err(NotTaken::Failed)?;
        let granted = welcome.in_flight.to_native();
        if Role::from_wire(welcome.role) != Some(Role::Primary) {
            let primary = text_of(&welcome.primary);
            let advice = match primary {
                "" => "it does not know where the primary is".to_owned(),
                primary => format!("the primary is at {primary}: give --addr {primary}"),
            };
            let what =
                format!("the node at {} does not decide, it is a standby; {advice}", self.addr);
            return Err(NotTaken::Standby(primary.to_owned(), LoadError::Target(what)));
        }
        if granted < in_flight.max(1) {
            return Err(NotTaken::Failed(LoadError::Target(format!(
                "--in-flight is {in_flight} and the node at {} allows {granted} on a connection: ask for less, or open more connections",
                self.addr
            ))));
        }
        Ok((stream, welcome))
    }

    fn connect(&self, timeout: Duration) -> Result<TcpStream, LoadError> {
        let mut refused = None;
        for address in &self.resolved {
            match TcpStream::connect_timeout(address, timeout) {
                Ok(stream) => return self.prepare(stream, timeout),
                Err(e) => refused = Some(e),
            }
        }
        let why = refused.map_or_else(|| "the name has no address".to_owned(), |e| e.to_string());
        Err(LoadError::Target(format!(
            "cannot connect to {}: {why}. Is a node listening there? Start one with `catraca serve`, or give --addr",
            self.addr
        )))
    }

    fn prepare(&self, stream: TcpStream, timeout: Duration) -> Result<TcpStream, LoadError> {
        let set_up = || {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))
        };
        match set_up() {
            Ok(()) => Ok(stream),
            Err(e) => Err(LoadError::Environment(format!(
                "cannot set up the socket to {}: {e}",
                self.addr
            ))),
        }
    }

    fn secure(&self, socket: TcpStream) -> Result<Link, LoadError> {
        let Some(authorities) = &self.authorities else { return Ok(Link::plain(socket)) };
        let (host, _) = host_and_port(&self.addr)
            .map_err(|why| LoadError::Target(format!("`{}`: {why}", self.addr)))?;
        Link::secured(socket, &host.bare(), authorities).map_err(|e| {
            LoadError::Target(format!(
                "no TLS with {}: {e}. Is it a node's listen_tls, with a certificate for this name by the authorities of --tls-ca-file?",
                self.addr
            ))
        })
    }

    fn greet(
        &self,
        stream: &mut Link,
        in_flight: u32,
        timeout: Duration,
    ) -> Result<WelcomeFrame, LoadError> {
        let mut hello = HelloFrame::empty(0);
        hello.version_min = PROTOCOL_VERSION;
        hello.version_max = PROTOCOL_VERSION;
        let is_token = self.credential.len() > MAX_CREDENTIAL_LEN;
        let token = if is_token {
            hello.header.flags = FLAG_AUTH.into();
            AuthFrame::of_token(&self.credential, 0)
        } else {
            hello.credential_len = self.credential.len() as u8;
            hello.credential[..self.credential.len()].copy_from_slice(&self.credential);
            None
        };
        hello.client_name_len = CLIENT_NAME.len() as u8;
        fill(&mut hello.client_name, CLIENT_NAME);
        hello.in_flight = in_flight.into();
        let mut greeting = bytemuck::bytes_of(&hello).to_vec();
        for part in token.into_iter().flatten() {
            greeting.extend_from_slice(bytemuck::bytes_of(&part));
        }
        let (mut reply, mut state) = ([0; MAX_HANDSHAKE_REPLY], [0; MAX_HANDSHAKE_REPLY]);
        let exchange = stream.write_all(&greeting).and_then(|()| {
            let answer = read_frame(stream, &mut reply)?;
            // AUTH_STATE is no longer than any of them, and says nothing that is needed here.
            if is_token && answer.0 == Some(FrameKind::Welcome) {
                read_frame(stream, &mut state)?;
            }
            Ok(answer)
        });
        let (kind, len) = exchange.map_err(|e| {
            let why = match e.kind() {
                ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    format!("no answer within {} s", timeout.as_secs())
                }
                _ => e.to_string(),
            };
            LoadError::Target(format!(
                "the server at {} did not answer HELLO: {why}. Is it a catraca node's client port?",
                self.addr
            ))
        })?;
        match kind {
            Some(FrameKind::Welcome) => view::<WelcomeFrame>(&reply[..len]).copied(),
            Some(FrameKind::Error) => match view::<ErrorFrame>(&reply[..len]) {
                Some(error) => return Err(self.refused(error)),
                None => None,
            },
            _ => None,
        }
        .ok_or_else(|| {
            LoadError::Target(format!(
                "what listens at {} is no catraca node of this version",
                self.addr
            ))
        })
    }

    fn refused(&self, error: &ErrorFrame) -> LoadError {
        let code = ErrorCode::from_wire(error.code.to_native());
        let advice = match code {
            Some(ErrorCode::Unauthenticated) => "; give the credential with --credential-file",
            Some(ErrorCode::UnsupportedVersion) => "; use the load generator of the node's version",
            _ => "",
        };
        let code = code.map_or_else(|| format!("error {}", error.code), |code| code.to_string());
        LoadError::Target(format!(
            "the node at {} refuses this client: {code}: {}{advice}",
            self.addr,
            error.detail_text()
        ))
    }
}

/// Reads one frame; a length that no answer to HELLO has is `InvalidData`.
fn read_frame(
    stream: &mut Link,
    reply: &mut [u8; MAX_HANDSHAKE_REPLY],
) -> std::io::Result<(Option<FrameKind>, usize)> {
    stream.read_exact(&mut reply[..HEADER_LEN])?;
    let header: HeaderFields = bytemuck::pod_read_unaligned(&reply[..HEADER_LEN]);
    let len = header.length.to_native() as usize;
    if !(HEADER_LEN..=MAX_HANDSHAKE_REPLY).contains(&len) {
        return Err(std::io::Error::new(ErrorKind::InvalidData, format!("a frame of {len} bytes")));
    }
    stream.read_exact(&mut reply[HEADER_LEN..len])?;
    Ok((FrameKind::from_wire(header.kind), len))
}

/// Reads a credential file, without the white space around what it holds.
pub fn read_credential(path: &Path) -> Result<Vec<u8>, LoadError> {
    let refuse = |what: String| LoadError::File(format!("credential {}: {what}", path.display()));
    let bytes = std::fs::read(path)
        .map_err(|e| refuse(format!("{e}; give a readable file with --credential-file")))?;
    let credential = bytes.trim_ascii();
    if credential.is_empty() || credential.len() > MAX_TOKEN_LEN {
        return Err(refuse(format!(
            "it holds {} bytes, a credential has 1 to {MAX_TOKEN_LEN}",
            credential.len()
        )));
    }
    Ok(credential.to_vec())
}
