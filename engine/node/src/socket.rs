//! Sockets to listen with, bound and not listening yet: until [`listen`] connections are refused;
//! and what all connections of clients are set to. Knows no runtime.

use catraca_core::limits::{KEEP_ALIVE_IDLE, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_PROBES};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A socket bound to an address. With `shared` others of this user may be bound to it as well, each
/// getting its share of connections.
///
/// # Errors
/// What the system says: the address is in use, or not this machine's.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // What an earlier run left in TIME_WAIT is no reason not to start.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// The address that a socket is bound to, with its port.
///
/// # Errors
/// What the system says.
pub fn address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(rustix::net::getsockname(socket)?.try_into()?)
}

/// Begins to listen.
///
/// # Errors
/// What the system says: somebody else listens on the address, say.
pub fn listen(socket: &OwnedFd) -> io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

/// Has the kernel notice a peer that vanished without a word, within
/// [`DEAD_PEER_AFTER`](catraca_core::limits::DEAD_PEER_AFTER).
///
/// # Errors
/// What the system says.
pub fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_tcp_keepidle(socket, KEEP_ALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEP_ALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEP_ALIVE_PROBES)?;
    Ok(sockopt::set_socket_keepalive(socket, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_vanished_is_asked_for_within_a_minute() {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)), false).expect("a socket");
        assert!(!sockopt::socket_keepalive(&socket).expect("known"));
        keep_alive(&socket).expect("set");
        assert!(sockopt::socket_keepalive(&socket).expect("known"));
        let times = (
            sockopt::tcp_keepidle(&socket),
            sockopt::tcp_keepintvl(&socket),
            sockopt::tcp_keepcnt(&socket),
        );
        assert_eq!(times, (Ok(KEEP_ALIVE_IDLE), Ok(KEEP_ALIVE_INTERVAL), Ok(KEEP_ALIVE_PROBES)));
        assert!(catraca_core::limits::DEAD_PEER_AFTER.as_secs() <= 60);
    }
}
