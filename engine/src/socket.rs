//! Sockets to listen with, bound and not listening yet: until [`listen`] connections are refused. Knows no runtime.

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A socket bound to an address. With `shared` others of this user may be bound to it as well, each getting its share of connections.
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
