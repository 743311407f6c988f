//! One end of a connection over TLS, without I/O: fed with what was read, emptied of what is to be
//! sent.
//!
//! What is sent together is sealed together: records of up to 16 KiB, never one for each frame.

use std::io::{ErrorKind, IoSlice, Read, Write};
use tokio_rustls::rustls::Connection;

/// One end of a connection over TLS.
#[derive(Debug)]
pub struct TlsEnd(Connection);

/// Nothing more comes over a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The other end has said all that it will.
    #[error("the other end said over TLS that this is the end")]
    Said,
    /// A rule of TLS was broken, or the other end says that one was: what is to be told of that is
    /// among what is sent next.
    #[error("TLS: {0}")]
    Broken(String),
}

impl TlsEnd {
    /// Of a connection, whether its handshake is over or not.
    pub fn new(connection: impl Into<Connection>) -> Self {
        let mut connection = connection.into();
        // What is sent is bounded by who sends it; here it only passes.
        connection.set_buffer_limit(None);
        Self(connection)
    }

    /// Whether the handshake is not over yet.
    pub fn is_shaking_hands(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes sealed bytes for as long as the handshake is not over; those behind it are left.
    ///
    /// # Errors
    /// [`Ended::Broken`], also where the other end's certificate is refused.
    pub fn shake(&mut self, sealed: &mut &[u8]) -> Result<(), Ended> {
        while !sealed.is_empty() && self.is_shaking_hands() {
            self.take(sealed)?;
        }
        Ok(())
    }

    /// Opens sealed bytes into a buffer that is not empty, and gives how many came of them; `None`
    /// when all were taken and nothing came of them.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn open_into(
        &mut self,
        sealed: &mut &[u8],
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Ended> {
        loop {
            match self.0.reader().read(buffer) {
                Ok(0) => return Err(Ended::Said),
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(Ended::Broken(error.to_string())),
            }
            if sealed.is_empty() {
                return Ok(None);
            }
            self.take(sealed)?;
        }
    }

    /// Opens sealed bytes, and shows what is in them piece by piece, through this buffer.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn open(
        &mut self,
        mut sealed: &[u8],
        buffer: &mut [u8],
        mut show: impl FnMut(&[u8]),
    ) -> Result<(), Ended> {
        while let Some(len) = self.open_into(&mut sealed, buffer)? {
            show(&buffer[..len]);
        }
        Ok(())
    }

    /// Takes some of it. All that was in it is read before the next call, so that there is room.
    fn take(&mut self, sealed: &mut &[u8]) -> Result<(), Ended> {
        self.0.read_tls(sealed).map_err(|error| Ended::Broken(error.to_string()))?;
        self.0.process_new_packets().map_err(|error| Ended::Broken(error.to_string()))?;
        Ok(())
    }

    /// Seals what is to be sent, together with what TLS itself has to say.
    pub fn seal(&mut self, plain: &[IoSlice<'_>], sealed: &mut Vec<u8>) {
        // A record without anything in it would be one too many.
        if plain.iter().any(|part| !part.is_empty()) {
            // Takes everything, without a limit.
            let _ = self.0.writer().write_vectored(plain);
        }
        while self.0.wants_write() {
            let _ = self.0.write_tls(sealed);
        }
    }

    /// Seals the last word.
    pub fn seal_end(&mut self, sealed: &mut Vec<u8>) {
        self.0.send_close_notify();
        self.seal(&[], sealed);
    }

    /// Whether TLS itself has something to say.
    pub fn has_output(&self) -> bool {
        self.0.wants_write()
    }
}
