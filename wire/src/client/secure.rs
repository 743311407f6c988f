//! A connection that is made secure before anything is said over it. What does that (TLS) is handed in: this crate knows
//! no cryptography of connections.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Makes connections secure.
pub trait Secure: Debug + Send + Sync {
    /// Wraps a connection to this host (a name, or an address without brackets). Hands may be shaken with the first bytes
    /// that are written; time-outs of the socket hold for that.
    ///
    /// # Errors
    /// The host can't be one, or hands were not shaken.
    fn secure(&self, host: &str, stream: TcpStream) -> io::Result<Box<dyn SecuredStream>>;
}

/// A connection that was made secure.
pub trait SecuredStream: Debug + Read + Write + Send {}

impl<T: Debug + Read + Write + Send> SecuredStream for T {}

/// A connection, secure or not.
#[derive(Debug)]
pub(super) struct Stream {
    /// The socket, for its time-outs; and for all else where it is not secure.
    socket: TcpStream,
    secured: Option<Box<dyn SecuredStream>>,
}

impl Stream {
    /// Over this socket, made secure for this host where `by` is given.
    pub fn new(socket: TcpStream, host: &str, by: Option<&dyn Secure>) -> io::Result<Self> {
        let secured = match by {
            None => None,
            Some(by) => Some(by.secure(host, socket.try_clone()?)?),
        };
        Ok(Self { socket, secured })
    }

    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secured {
            None => self.socket.read(buffer),
            Some(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.secured {
            None => self.socket.write(bytes),
            Some(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.secured {
            None => self.socket.flush(),
            Some(stream) => stream.flush(),
        }
    }
}
