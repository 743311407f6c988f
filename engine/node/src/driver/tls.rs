//! TLS on a connection: the engine of rustls, fed and emptied by the two tasks of the connection. Hands were shaken
//! before it came here, off the data cores.
//!
//! What is sent together is sealed together: records of up to 16 KiB, never one for each frame.

use catraca_tls::ServerConnection;
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};

/// Bytes that sealing adds to what is sent, at most, for each record and for one that has begun: so many more are read.
pub(super) const OVERHEAD_LEN: usize = 1024;

/// One end of a conversation over TLS.
pub(super) struct Tls(RefCell<ServerConnection>);

/// The other end has said all that it will, or broke a rule of TLS.
#[derive(Debug)]
pub(super) struct Ended;

impl Tls {
    /// Of a connection whose handshake is over.
    pub fn new(mut connection: ServerConnection) -> Self {
        // Answers are bounded by the shard; here they only pass.
        connection.set_buffer_limit(None);
        Self(RefCell::new(connection))
    }

    /// Opens what was read from the socket, and shows what is in it piece by piece, through this buffer.
    ///
    /// # Errors
    /// [`Ended`]; what is to be told of that is among what is sent next.
    pub fn open(
        &self,
        mut sealed: &[u8],
        buffer: &mut [u8],
        mut show: impl FnMut(&[u8]),
    ) -> Result<(), Ended> {
        let mut connection = self.0.borrow_mut();
        loop {
            loop {
                match connection.reader().read(buffer) {
                    Ok(0) => return Err(Ended),
                    Ok(len) => show(&buffer[..len]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return Err(Ended),
                }
            }
            if sealed.is_empty() {
                return Ok(());
            }
            // Takes some of it; all that is in it was read above, so that there is room.
            connection.read_tls(&mut sealed).map_err(|_| Ended)?;
            connection.process_new_packets().map_err(|_| Ended)?;
        }
    }

    /// Seals what is to be sent, together with what TLS itself has to say.
    pub fn seal(&self, plain: &[u8], sealed: &mut Vec<u8>) {
        let mut connection = self.0.borrow_mut();
        // A Vec takes everything, and so does the engine without a limit.
        let _ = connection.writer().write_all(plain);
        while connection.wants_write() {
            let _ = connection.write_tls(sealed);
        }
    }

    /// Seals the last word.
    pub fn seal_end(&self, sealed: &mut Vec<u8>) {
        self.0.borrow_mut().send_close_notify();
        self.seal(&[], sealed);
    }

    /// Whether TLS itself has something to say.
    pub fn has_output(&self) -> bool {
        self.0.borrow().wants_write()
    }
}
