//! A socket to a node, in clear or over TLS. Once it does not block, all that it has to give comes with one call of
//! `read`: who waits for the socket alone misses nothing.

use catraca_tls::{Authorities, Ended, TlsEnd};
use std::io::{Error, ErrorKind, IoSlice, Read, Result, Write};
use std::net::TcpStream;

/// Sealed bytes that are read at once. What is in them fits into the receive buffer of a run, so that nothing is left
/// here that the socket would not tell of.
const SEALED_LEN: usize = 64 * 1024;
const _: () = assert!(2 * SEALED_LEN <= crate::connection::RECEIVE_BUFFER_LEN);
/// Bytes that are opened at once: what one record of TLS has at most.
const OPENED_LEN: usize = 16 * 1024;

/// A socket to a node.
#[derive(Debug)]
pub struct Link {
    socket: TcpStream,
    tls: Option<Box<Sealed>>,
}

/// What TLS needs beside a socket.
#[derive(Debug)]
struct Sealed {
    end: TlsEnd,
    incoming: Box<[u8]>,
    opened: Vec<u8>,
    taken: usize,
    outgoing: Vec<u8>,
    written: usize,
}

impl Link {
    /// In clear.
    pub fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    /// Shakes hands with this host over a socket that blocks.
    pub fn secured(socket: TcpStream, host: &str, by: &Authorities) -> Result<Self> {
        let mut sealed = Sealed {
            end: by.end(host)?,
            incoming: vec![0; SEALED_LEN].into_boxed_slice(),
            opened: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            written: 0,
        };
        loop {
            sealed.push(&socket)?;
            if !sealed.end.is_shaking_hands() {
                return Ok(Self { socket, tls: Some(Box::new(sealed)) });
            }
            let len = (&socket).read(&mut sealed.incoming)?;
            if len == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let mut rest = &sealed.incoming[..len];
            if let Err(ended) = sealed.end.shake(&mut rest) {
                // Tells the other end why.
                let _ = sealed.push(&socket);
                return Err(Error::new(ErrorKind::InvalidData, ended));
            }
            let rest_at = len - rest.len();
            sealed.open(rest_at..len)?;
        }
    }

    /// The socket, to wait on.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the socket has yet to take something that was written.
    #[inline]
    pub fn has_unwritten(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.written < tls.outgoing.len())
    }
}

impl Sealed {
    /// Hands the socket what is sealed, and what TLS itself has to say; what it does not take stays.
    fn push(&mut self, mut socket: &TcpStream) -> Result<()> {
        if self.end.has_output() {
            self.end.seal(&[], &mut self.outgoing);
        }
        while self.written < self.outgoing.len() {
            match socket.write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }

    /// Opens these bytes of what came in.
    fn open(&mut self, which: std::ops::Range<usize>) -> Result<()> {
        let mut rest = &self.incoming[which];
        loop {
            let from = self.opened.len();
            self.opened.resize(from + OPENED_LEN, 0);
            let opened = self.end.open_into(&mut rest, &mut self.opened[from..]);
            self.opened.truncate(from + opened.as_ref().ok().copied().flatten().unwrap_or(0));
            match opened {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                // What it said before is given first; the socket tells of the end then.
                Err(Ended::Said) => return Ok(()),
                Err(ended) => return Err(Error::new(ErrorKind::InvalidData, ended)),
            }
        }
    }

    fn read(&mut self, mut socket: &TcpStream, buffer: &mut [u8]) -> Result<usize> {
        while self.taken == self.opened.len() {
            self.opened.clear();
            self.taken = 0;
            let len = socket.read(&mut self.incoming)?;
            if len == 0 {
                return Ok(0);
            }
            self.open(0..len)?;
        }
        let rest = &self.opened[self.taken..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.taken += len;
        Ok(len)
    }

    fn write(&mut self, socket: &TcpStream, bytes: &[u8]) -> Result<usize> {
        // What was sealed before goes first: so no more is kept here than one call brings.
        self.push(socket)?;
        self.end.seal(&[IoSlice::new(bytes)], &mut self.outgoing);
        match self.push(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            // Sealed it is as good as sent: it can't be sealed twice.
            _ => Ok(bytes.len()),
        }
    }
}

impl Read for Link {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => tls.read(&self.socket, buffer),
        }
    }
}

impl Write for Link {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => tls.write(&self.socket, bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => tls.push(&self.socket),
        }
    }
}
