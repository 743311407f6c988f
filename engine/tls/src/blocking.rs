//! TLS for the blocking client of the protocol.

use crate::{TlsFault, client, client_with, roots};
use catraca_wire::client::{Secure, SecuredStream};
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Connects to nodes by whom these authorities vouch for.
#[derive(Debug)]
pub struct Authorities(Arc<ClientConfig>);

impl Authorities {
    /// The authorities of a file, PEM; and the certificate and key, PEM, that are shown to the node.
    ///
    /// # Errors
    /// A file can't be read, or holds nothing of that kind.
    pub fn new(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Self, TlsFault> {
        let roots = roots(ca)?;
        let config = match own {
            None => client(&roots),
            Some((certificate, key)) => client_with(&roots, certificate, key)?,
        };
        Ok(Self(Arc::new(config)))
    }
}

impl Secure for Authorities {
    fn secure(&self, host: &str, stream: TcpStream) -> io::Result<Box<dyn SecuredStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no name of a server"))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}
