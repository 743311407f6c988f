//! TLS on a connection: its end is fed and emptied by the two tasks of the connection. Hands were
//! shaken before it came here, off the data cores.

use catraca_tls::{Ended, TlsEnd};
use std::cell::RefCell;
use std::io::IoSlice;

/// Bytes that sealing adds to what is sent, at most, for each record and for one that has begun: so
/// many more are read.
pub(super) const OVERHEAD_LEN: usize = 1024;

/// One end of a conversation over TLS, for both tasks.
pub(super) struct Tls(RefCell<TlsEnd>);

impl Tls {
    /// Of a connection whose handshake is over.
    pub fn new(end: TlsEnd) -> Self {
        Self(RefCell::new(end))
    }

    /// Opens what was read from the socket, and shows what is in it piece by piece, through this
    /// buffer.
    ///
    /// # Errors
    /// [`Ended`]; what is to be told of that is among what is sent next.
    pub fn open(
        &self,
        sealed: &[u8],
        buffer: &mut [u8],
        show: impl FnMut(&[u8]),
    ) -> Result<(), Ended> {
        self.0.borrow_mut().open(sealed, buffer, show)
    }

    /// Seals what is to be sent, together with what TLS itself has to say.
    pub fn seal(&self, plain: &[u8], sealed: &mut Vec<u8>) {
        self.0.borrow_mut().seal(&[IoSlice::new(plain)], sealed);
    }

    /// Seals the last word.
    pub fn seal_end(&self, sealed: &mut Vec<u8>) {
        self.0.borrow_mut().seal_end(sealed);
    }

    /// Whether TLS itself has something to say.
    pub fn has_output(&self) -> bool {
        self.0.borrow().has_output()
    }
}
