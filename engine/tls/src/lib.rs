//! TLS 1.3 at the doors of catraca and between its nodes: certificates from files, read anew when
//! they change. Earlier versions are not offered.
//!
//! `files.rs` makes a configuration of files, `nodes.rs` one for the connections between nodes,
//! `watch.rs` when. `end.rs` seals and opens without I/O, for who has sockets of another kind.
//! `proxied.rs` reads what a load balancer says before all that.

mod authorities;
mod end;
mod files;
#[cfg(test)]
mod node_tests;
mod nodes;
pub mod proxied;
#[cfg(test)]
mod proxied_tests;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod watch;

pub use authorities::Authorities;
pub use end::{Ended, TlsEnd};
use files::expiry;
pub use files::{Files, TlsFault};
pub use files::{client, roots};
pub use nodes::{NodeFiles, NodeTls};
pub use watch::{Renewable, read_anew, watch, watch_files};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// SHA-256 of a certificate in DER, or of something else.
pub type Digest = [u8; 32];

/// SHA-256 of something.
pub fn sha256(bytes: &[u8]) -> Digest {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// How long a handshake may take: three trips around the world, with every packet sent twice.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// What connections are taken with.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    config: Mutex<Arc<ServerConfig>>,
    ends: Mutex<Option<Timestamp>>,
}

impl Tls {
    /// Reads the files, which are read anew when they change.
    ///
    /// # Errors
    /// They hold no certificate, key and authorities that belong together.
    pub fn new(files: Files) -> Result<Self, TlsFault> {
        let config = Mutex::new(files.load()?);
        let ends = Mutex::new(expiry(&files.certificate));
        Ok(Self { files, config, ends })
    }

    /// Shakes hands: the stream, and the certificate that the other end has shown. `None` where that failed.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> Option<(TlsStream<TcpStream>, Option<Digest>)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config.lock()));
        let stream = match timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a handshake failed");
                return None;
            }
            Err(_) => return None,
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(|certificate| sha256(certificate));
        Some((stream, certificate))
    }
}

impl Renewable for Tls {
    fn files(&self) -> &Files {
        &self.files
    }

    fn renew(&self) -> Result<(), TlsFault> {
        let config = self.files.load()?;
        *self.config.lock() = config;
        *self.ends.lock() = expiry(&self.files.certificate);
        Ok(())
    }

    fn ends(&self) -> Option<Timestamp> {
        *self.ends.lock()
    }
}
