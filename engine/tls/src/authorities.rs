//! TLS from the other side: connections to servers by whom certain authorities vouch.

use crate::files::{client, client_with, roots};
use crate::{TlsEnd, TlsFault};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

/// Connects to servers by whom these authorities vouch.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<ClientConfig>);

impl Authorities {
    /// The authorities of a file, PEM; and the certificate and key, PEM, that are shown to the server.
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

    /// Shakes hands with this host, a name or an address without brackets.
    ///
    /// # Errors
    /// The host can't be one, or hands were not shaken.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.0)).connect(server(host)?, stream).await
    }

    /// This end of a connection to this host, which has yet to shake hands: for who moves the bytes itself.
    ///
    /// # Errors
    /// The host can't be one.
    pub fn end(&self, host: &str) -> io::Result<TlsEnd> {
        let connection = ClientConnection::new(Arc::clone(&self.0), server(host)?);
        Ok(TlsEnd::new(connection.map_err(io::Error::other)?))
    }
}

fn server(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no name of a server"))
}

/// For the blocking client of the protocol.
#[cfg(feature = "client")]
impl catraca_wire::client::Secure for Authorities {
    fn secure(
        &self,
        host: &str,
        stream: std::net::TcpStream,
    ) -> io::Result<Box<dyn catraca_wire::client::SecuredStream>> {
        use tokio_rustls::rustls::StreamOwned;
        let connection = ClientConnection::new(Arc::clone(&self.0), server(host)?);
        Ok(Box::new(StreamOwned::new(connection.map_err(io::Error::other)?, stream)))
    }
}
