//! TLS from the client's side, blocking.

use crate::gateway::{Http, tcp};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// HTTP over TLS to `localhost` at this address, whose authority's certificate is in a file. `shows`: files of a
/// certificate and its key.
///
/// # Errors
/// Those of the connection, also where the other end's certificate is not by that authority.
///
/// # Panics
/// When files are no good.
pub fn connect(address: SocketAddr, ca: &Path, shows: Option<(&Path, &Path)>) -> io::Result<Http> {
    Ok(Http::over(shake(tcp(address)?, ca, shows)?))
}

/// Shakes hands with `localhost` on a connection, as [`connect`] does.
///
/// # Errors
/// Those of the connection, also where the other end's certificate is not by that authority.
///
/// # Panics
/// When files are no good.
pub fn shake(
    stream: TcpStream,
    ca: &Path,
    shows: Option<(&Path, &Path)>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("PEM")).expect("a certificate");
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match shows {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).expect("PEM")];
            let key = PrivateKeyDer::from_pem_file(key).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    let name = "localhost".try_into().expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("a sound configuration");
    let mut stream = StreamOwned::new(tls, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
