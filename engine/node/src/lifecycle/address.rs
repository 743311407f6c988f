//! Addresses to listen on: taken before anything else, so that one in use is told at once; listened
//! on last of all, so that nobody's connection is taken before there is somebody to answer it.

use crate::fatal::{Failure, Status};
use crate::socket;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// How long a connection to somebody else's listener may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// How long an address may take to come free. The sockets of an earlier run outlive it by the time
/// that the kernel needs to end its rings, and one that starts anew comes back within milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An address that is this process's, where nobody listens yet: connections are refused.
pub(super) struct Reserved {
    socket: OwnedFd,
    /// The address, with its port.
    pub address: SocketAddr,
    option: &'static str,
    /// Held while the address is shared by the sockets of this process: a name that one process can
    /// have.
    _alone: Option<UnixDatagram>,
}

impl Reserved {
    /// Takes the address that `option` of the command line gives; port 0 becomes a free one. With
    /// `shared` the cores may listen on it with sockets of their own.
    pub fn take(address: SocketAddr, shared: bool, option: &'static str) -> Result<Self, Failure> {
        let taken = socket::bind(address, shared)
            .and_then(|socket| Ok((socket::address(&socket)?, socket)));
        let (address, socket) =
            taken.map_err(|error| refusal(address, option, &error.to_string()))?;
        Ok(Self { socket, address, option, _alone: None })
    }

    /// Begins to listen.
    pub fn listen(self) -> Result<TcpListener, Failure> {
        socket::listen(&self.socket)
            .map_err(|error| refusal(self.address, self.option, &error.to_string()))?;
        Ok(self.socket.into())
    }
}

fn refusal(address: SocketAddr, option: &str, why: &str) -> Failure {
    let message = format!(
        "can't listen on {address}: {why}; stop the other process, or choose another with --{option}"
    );
    Failure::new(Status::Config, message)
}

/// The address of the clients' port. The cores' own sockets would share it silently with another
/// process's, because `SO_REUSEPORT` is how they share it with each other: asking for a connection
/// tells of one that listens, and a name in the network's own name space of one that starts at this
/// moment.
pub(super) fn take_shared(listen: SocketAddr, option: &'static str) -> Result<Reserved, Failure> {
    let mut reachable = listen;
    if listen.ip().is_unspecified() {
        reachable.set_ip(if listen.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let began = Instant::now();
    while listen.port() != 0 && TcpStream::connect_timeout(&reachable, PROBE_TIMEOUT).is_ok() {
        if began.elapsed() > PATIENCE {
            return Err(refusal(listen, option, "somebody answers there already"));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let alone = if listen.port() == 0 {
        None
    } else {
        Some(alone_on(listen).map_err(|why| refusal(listen, option, &why))?)
    };
    Ok(Reserved { _alone: alone, ..Reserved::take(listen, true, option)? })
}

/// A name for the address that one process of this network can have at a time; it ends with the
/// process.
fn alone_on(address: SocketAddr) -> Result<UnixDatagram, String> {
    let name = UnixAddr::from_abstract_name(format!("catraca listens on {address}"))
        .map_err(|error| error.to_string())?;
    UnixDatagram::bind_addr(&name).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => "another node is starting there".to_owned(),
        _ => error.to_string(),
    })
}
