//! The PROXY protocol, versions 1 and 2: whom a load balancer says a connection is from. It stands before TLS, and before
//! whatever else is spoken at a door.
//!
//! [`read`] is pure: bytes in, a header out, for who has sockets of another kind. [`take`] takes one from a connection of
//! tokio's. Who is believed is the configuration's to say: [`Networks`].
//!
//! Source: the PROXY protocol, HAProxy Technologies, revision of 2020-03-05.

use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The most addresses and networks: each new connection is compared with all.
pub const MAX_NETWORKS: usize = 64;
/// How long a header may take. A balancer sends it as the first thing, in one piece.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The longest header of version 1, as the protocol has it.
const MAX_V1_LEN: usize = 107;
/// What stands before the addresses in version 2: signature, command, family, length.
const V2_HEAD_LEN: usize = 16;
/// The longest rest of version 2: addresses of every kind take 216 bytes, and what balancers add (names, a certificate's
/// subject, a unique id) some hundred. The protocol allows 65,535.
const MAX_V2_REST_LEN: usize = 4_096;
/// The longest header that is taken. Whoever holds so many bytes has a header, or a connection to close.
pub const MAX_HEADER_LEN: usize = V2_HEAD_LEN + MAX_V2_REST_LEN;
/// Bytes that are looked at at once: more than most headers have.
const PIECE_LEN: usize = 256;
const V1_BEGINS: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// So many bytes tell a header from everything else that is spoken at a door.
pub const TELLING_LEN: usize = V2_SIGNATURE.len();

/// Why a connection was closed for its PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A header of somebody whose address is not configured.
    #[error("a PROXY header of somebody whose address is not configured")]
    Stranger,
    /// The connection ended within the header, or before it.
    #[error("the connection ended within its PROXY header, or before it")]
    Torn,
    /// The header did not come in time.
    #[error("the PROXY header did not come in time")]
    Slow,
    /// The header is longer than [`MAX_HEADER_LEN`], or a line is longer than version 1 has any.
    #[error("the PROXY header is too long")]
    Oversized,
    /// There is no header, or what looks like one makes no sense.
    #[error("there is no PROXY header, or it makes no sense")]
    Malformed,
    /// Too many are waited for.
    #[error("too many PROXY headers are waited for")]
    TooMany,
}

impl Refused {
    /// As metrics and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Torn => "torn",
            Self::Slow => "slow",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::TooMany => "too_many",
        }
    }
}

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its length, bytes: what follows is no part of it. At most [`MAX_HEADER_LEN`].
    pub len: usize,
    /// Whom the connection is from, IPv4 as such; none where it is the balancer's own (LOCAL), or nobody's that it names
    /// (UNKNOWN, a socket of its machine).
    pub source: Option<IpAddr>,
}

/// Reads the header that these bytes begin with; `None` where they are all of it, and are not the whole yet.
///
/// The first bytes decide: more of them never change a header or an error that was given.
///
/// # Errors
/// [`Refused::Malformed`] and [`Refused::Oversized`].
pub fn read(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, with)| byte == with);
    let len = if begins(V2_SIGNATURE) {
        v2_len(bytes)?
    } else if begins(V1_BEGINS) {
        v1_len(bytes)?
    } else {
        return Err(Refused::Malformed);
    };
    len.and_then(|len| bytes.get(..len)).map(whole).transpose()
}

/// Length of the line, once its end is there.
fn v1_len(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    let line = &bytes[..bytes.len().min(MAX_V1_LEN)];
    match line.iter().position(|byte| *byte == b'\n') {
        None if line.len() == MAX_V1_LEN => Err(Refused::Oversized),
        end => Ok(end.map(|end| end + 1)),
    }
}

/// Length of a header of version 2, once it is told.
fn v2_len(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    let Some(len) = bytes.get(V2_HEAD_LEN - 2..V2_HEAD_LEN) else { return Ok(None) };
    match usize::from(u16::from_be_bytes([len[0], len[1]])) {
        rest if rest > MAX_V2_REST_LEN => Err(Refused::Oversized),
        rest => Ok(Some(V2_HEAD_LEN + rest)),
    }
}

fn whole(bytes: &[u8]) -> Result<Header, Refused> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, len) = ProxyHeader::parse(bytes, config).map_err(|error| match error {
        Error::HeaderTooBig => Refused::Oversized,
        _ => Refused::Malformed,
    })?;
    if len != bytes.len() {
        return Err(Refused::Malformed);
    }
    let source = match header.proxied_address() {
        None => None,
        Some(named) if named.protocol == Protocol::Stream => Some(named.source.ip().to_canonical()),
        Some(_) => return Err(Refused::Malformed),
    };
    Ok(Header { len, source })
}

/// Whether somebody begins with a header; [`TELLING_LEN`] bytes are enough to say so.
pub fn is_header(begins: &[u8]) -> bool {
    begins.starts_with(V1_BEGINS) || begins.starts_with(V2_SIGNATURE)
}

/// Takes the header of a connection, within [`PATIENCE`], and not a byte more: its [`Header::source`]. Holds at most
/// [`MAX_HEADER_LEN`] bytes meanwhile.
///
/// # Errors
/// [`Refused`]; the connection is to be closed.
pub async fn take(stream: &mut TcpStream) -> Result<Option<IpAddr>, Refused> {
    timeout(PATIENCE, header(stream)).await.unwrap_or(Err(Refused::Slow))
}

async fn header(stream: &mut TcpStream) -> Result<Option<IpAddr>, Refused> {
    let mut bytes = Vec::new();
    loop {
        let held = bytes.len();
        bytes.resize((held + PIECE_LEN).min(MAX_HEADER_LEN), 0);
        let seen = stream.peek(&mut bytes[held..]).await.unwrap_or(0);
        if seen == 0 {
            return Err(Refused::Torn);
        }
        bytes.truncate(held + seen);
        let header = read(&bytes)?;
        // Until it is whole, all of it is the header's.
        let end = header.map_or(bytes.len(), |header| header.len);
        let taken = stream.read_exact(&mut bytes[held..end]).await;
        taken.map_err(|_| Refused::Torn)?;
        if let Some(header) = header {
            return Ok(header.source);
        }
    }
}

/// Where the load balancers are whose headers are believed, and must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// What is wrong with the text of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// There are more than [`MAX_NETWORKS`].
    #[error("there are more than {MAX_NETWORKS}")]
    TooMany,
    /// One that can't be used.
    #[error("{text:?}: {why}")]
    Unusable {
        /// As it was given.
        text: String,
        /// What is wrong with it, and what belongs there.
        why: &'static str,
    },
}

impl Networks {
    /// Reads addresses, and networks as `10.0.0.0/24`: at most [`MAX_NETWORKS`].
    ///
    /// # Errors
    /// [`NetworkFault`]. That everybody is believed is one.
    pub fn parse(texts: &[String]) -> Result<Self, NetworkFault> {
        if texts.len() > MAX_NETWORKS {
            return Err(NetworkFault::TooMany);
        }
        let networks = texts.iter().map(|text| {
            network(text).map_err(|why| NetworkFault::Unusable { text: text.clone(), why })
        });
        networks.collect::<Result<_, _>>().map(Self)
    }

    /// Whether somebody at this address is believed, and must say for whom a connection is.
    pub fn believes(&self, address: IpAddr) -> bool {
        // Nobody is, mostly.
        !self.0.is_empty() && {
            let address = address.to_canonical();
            self.0.iter().any(|network| network.contains(&address))
        }
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse());
    let network = network.map_err(|_| "an address or a network belongs there, as 10.0.0.0/24")?;
    if network.prefix_len() == 0 {
        return Err("that is everybody, and whoever is believed may come from anywhere");
    }
    if network.trunc() != network {
        return Err("the address has bits behind the network's length");
    }
    if network.addr().to_canonical() != network.addr() {
        return Err("write it as IPv4");
    }
    Ok(network)
}
