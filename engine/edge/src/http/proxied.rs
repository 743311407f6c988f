//! The PROXY protocol, versions 1 and 2: whom a load balancer says a connection comes from. It is believed where the
//! configuration names the balancer's address, and nobody else is.

use super::metrics::Refusals;
use ipnet::IpNet;
use parking_lot::Mutex;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// The most addresses and networks: each new connection is compared with all.
const MAX_NETWORKS: usize = 64;
/// How long a header may take. A balancer sends it as the first thing, in one piece.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
/// Headers that are waited for at once; further connections of balancers are closed. A header comes with the
/// first packet, so they are few, and those that hang leave most places to others.
const MAX_WAITING: usize = 1_024;
/// The shortest header: `PROXY UNKNOWN\r\n`. So many bytes tell the version, and none of them is behind the header.
const MIN_LEN: usize = 15;
/// The longest header of version 1, as the protocol has it.
const MAX_V1_LEN: usize = 107;
/// What stands before the addresses in version 2: signature, command, family, length.
const V2_HEAD_LEN: usize = 16;
/// The longest rest of version 2: addresses of every kind take 216 bytes, and what balancers add (names, a certificate's
/// subject, a unique id) some hundred. The protocol allows 65,535.
const MAX_V2_REST_LEN: usize = 4_096;
const V1_BEGINS: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How often the log tells of refused connections: a balancer that is set up wrongly makes them all the time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Why a connection was closed before anything was read behind its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A header of somebody whose address is not configured.
    Stranger,
    /// The connection ended within the header, or before it.
    Torn,
    /// The header did not come in time.
    Slow,
    /// The header is longer than this gateway takes.
    Oversized,
    /// There is no header, or what looks like one makes no sense.
    Malformed,
    /// Too many are waited for.
    TooMany,
}

impl Refused {
    /// As the metric and the log have it.
    pub(super) fn name(self) -> &'static str {
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

/// Load balancers that are believed.
#[derive(Debug)]
pub struct Proxies {
    networks: Vec<IpNet>,
    waiting: Semaphore,
    refusals: Refusals,
    next_warning: Mutex<Option<Instant>>,
}

/// Reads `proxy_from`: addresses, and networks as `10.0.0.0/24`.
///
/// # Errors
/// What is wrong with one, or that there are too many.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    if texts.len() > MAX_NETWORKS {
        return Err(format!("there are more than {MAX_NETWORKS}"));
    }
    texts.iter().map(|text| network(text).map_err(|why| format!("{text:?}: {why}"))).collect()
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

impl Proxies {
    /// Those at these addresses; none where there are none. Counts whom it refuses.
    pub fn new(networks: Vec<IpNet>, refusals: Refusals) -> Option<Arc<Self>> {
        Self::with_room(networks, refusals, MAX_WAITING)
    }

    /// The same, waiting for at most so many headers at once.
    pub(super) fn with_room(
        networks: Vec<IpNet>,
        refusals: Refusals,
        most: usize,
    ) -> Option<Arc<Self>> {
        (!networks.is_empty()).then(|| {
            let waiting = Semaphore::new(most);
            Arc::new(Self { networks, waiting, refusals, next_warning: Mutex::new(None) })
        })
    }

    /// Whether somebody at this address is believed, and must say for whom the connection is.
    pub(super) fn believes(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Reads the header of a connection from an address that is believed: whom the connection is from, and none where
    /// it is the balancer's own, or nobody's that it names. What stands behind the header is left to be read.
    pub(super) async fn source(
        &self,
        stream: &mut TcpStream,
        address: IpAddr,
    ) -> Option<Option<IpAddr>> {
        let read = async {
            let _waits = self.waiting.try_acquire().map_err(|_| Refused::TooMany)?;
            timeout(HEADER_PATIENCE, header(stream)).await.unwrap_or(Err(Refused::Slow))
        };
        read.await.map_err(|why| self.refuse(address, why)).ok()
    }

    /// Whether somebody else may go on: who sends a header is told apart from who sends nonsense, because the cause is
    /// mostly an address that is missing in the configuration.
    pub(super) async fn admits(&self, stream: &TcpStream, address: IpAddr) -> bool {
        let mut begins = [0; V2_SIGNATURE.len()];
        // Whoever is slow is HTTP's, or TLS's, to wait for.
        let Ok(Ok(len)) = timeout(HEADER_PATIENCE, stream.peek(&mut begins)).await else {
            return true;
        };
        let is_header = begins[..len].starts_with(V1_BEGINS) || begins[..len] == V2_SIGNATURE[..];
        if is_header {
            self.refuse(address, Refused::Stranger);
        }
        !is_header
    }

    fn refuse(&self, address: IpAddr, why: Refused) {
        let (reason, all) = (why.name(), self.refusals.count(why.name()));
        let (now, mut next) = (Instant::now(), self.next_warning.lock());
        if next.is_none_or(|next| now >= next) {
            *next = Some(now + WARN_EVERY);
            tracing::warn!(
                %address, reason, all,
                "a connection was closed for its PROXY header, or for having none"
            );
        }
    }
}

/// Reads a header and not a byte more.
async fn header(stream: &mut TcpStream) -> Result<Option<IpAddr>, Refused> {
    let mut bytes = Vec::with_capacity(MAX_V1_LEN);
    fill(stream, &mut bytes, MIN_LEN).await?;
    if bytes.starts_with(V2_SIGNATURE) {
        fill(stream, &mut bytes, V2_HEAD_LEN).await?;
        let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        if rest > MAX_V2_REST_LEN {
            return Err(Refused::Oversized);
        }
        fill(stream, &mut bytes, V2_HEAD_LEN + rest).await?;
    } else if bytes.starts_with(V1_BEGINS) {
        to_end_of_line(stream, &mut bytes).await?;
    } else {
        return Err(Refused::Malformed);
    }
    parsed(&bytes)
}

/// The source that a whole header names.
fn parsed(bytes: &[u8]) -> Result<Option<IpAddr>, Refused> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, len) = ProxyHeader::parse(bytes, config).map_err(|error| match error {
        Error::HeaderTooBig => Refused::Oversized,
        _ => Refused::Malformed,
    })?;
    if len != bytes.len() {
        return Err(Refused::Malformed);
    }
    match header.proxied_address() {
        None => Ok(None),
        Some(named) if named.protocol == Protocol::Stream => {
            Ok(Some(named.source.ip().to_canonical()))
        }
        Some(_) => Err(Refused::Malformed),
    }
}

/// Reads until there are so many bytes.
async fn fill(stream: &mut TcpStream, bytes: &mut Vec<u8>, len: usize) -> Result<(), Refused> {
    let from = bytes.len();
    bytes.resize(len.max(from), 0);
    stream.read_exact(&mut bytes[from..]).await.map(drop).map_err(|_| Refused::Torn)
}

/// Reads up to the end of the line that has begun.
async fn to_end_of_line(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), Refused> {
    while bytes.last() != Some(&b'\n') {
        let mut next = [0; MAX_V1_LEN];
        let room = MAX_V1_LEN - bytes.len();
        if room == 0 {
            return Err(Refused::Oversized);
        }
        let seen = stream.peek(&mut next[..room]).await.and_then(|len| match len {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => Ok(len),
        });
        let seen = &next[..seen.map_err(|_| Refused::Torn)?];
        let of_line = seen.iter().position(|byte| *byte == b'\n').map_or(seen.len(), |at| at + 1);
        fill(stream, bytes, bytes.len() + of_line).await?;
    }
    Ok(())
}
