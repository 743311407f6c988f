//! One GET of a JWKS: bounded in bytes and time, and no redirect is followed.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long one may take, from the look-up of the name to the last byte.
pub(super) const FETCH_TIME: Duration = Duration::from_secs(3);
/// The longest JWKS, bytes: a key has less than 2 KiB, with its certificates 8 KiB.
const MAX_BODY_LEN: usize = 256 * 1024;
/// The longest head of the answer, bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// Where an issuer has its keys.
pub struct Source {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why nothing can be fetched there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// It is no such URL.
    #[error("{0:?} is no URL that can be asked: https://host/path, or http:// on this machine")]
    Url(String),
    /// Nobody is trusted.
    #[error("{0}")]
    Authorities(String),
}

/// What came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Bytes,
    /// How long it is good, by its Cache-Control.
    pub(super) max_age: Option<Duration>,
}

impl Source {
    /// Keys at this URL. `ca_file`: the authorities that are trusted, PEM; none for those of the system.
    ///
    /// # Errors
    /// The URL can't be asked, or no authority can be read.
    pub fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, SourceFault> {
        let wrong = || SourceFault::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (port, tls) = match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                let config = catraca_tls::client(&authorities(ca_file)?);
                (443, Some((TlsConnector::from(Arc::new(config)), name)))
            }
            // In clear, whoever is on the way could hand in keys of its own.
            Some("http") if is_this_machine(&host) => (80, None),
            _ => return Err(wrong()),
        };
        let port = authority.port_u16().unwrap_or(port);
        Ok(Self { uri, host, port, tls })
    }

    /// Fetches it. The text of a fault is for a person, and holds nothing that was sent.
    pub(super) async fn fetch(&self) -> Result<Fetched, String> {
        let fetched = timeout(FETCH_TIME, self.fetch_at_leisure()).await;
        fetched.unwrap_or_else(|_| Err(format!("no answer within {} s", FETCH_TIME.as_secs())))
    }

    async fn fetch_at_leisure(&self) -> Result<Fetched, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        match &self.tls {
            None => self.exchange(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                self.exchange(stream.map_err(|error| format!("TLS: {error}"))?).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<Fetched, String> {
        let mut http = http1::Builder::new();
        let handshake = http.max_buf_size(MAX_HEAD_LEN).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
        let asked = async {
            let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
            let authority = self.uri.authority().map_or("", |authority| authority.as_str());
            let request = Request::get(path)
                .header(HOST, authority)
                .header(ACCEPT, "application/jwk-set+json, application/json")
                .header(USER_AGENT, concat!("catraca/", env!("CARGO_PKG_VERSION")))
                .body(Empty::<Bytes>::new())
                .map_err(|error| error.to_string())?;
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            if response.status() != 200 {
                return Err(format!("status {}", response.status().as_u16()));
            }
            let max_age = max_age(response.headers());
            let body = Limited::new(response.into_body(), MAX_BODY_LEN).collect().await;
            let body = body.map_err(|_| format!("no whole body within {MAX_BODY_LEN} bytes"))?;
            Ok(Fetched { body: body.to_bytes(), max_age })
        };
        // The connection moves while it is asked, and ends with it.
        let mut connection = std::pin::pin!(connection);
        let mut asked = std::pin::pin!(asked);
        tokio::select! {
            biased;
            fetched = &mut asked => fetched,
            // It has ended; what it read before is still answered.
            _ = &mut connection => asked.await,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.uri, f)
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, SourceFault> {
    if let Some(path) = ca_file {
        return catraca_tls::roots(path)
            .map_err(|fault| SourceFault::Authorities(fault.to_string()));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let why = "the system has no certificates of authorities: name some in oauth_ca_file";
        return Err(SourceFault::Authorities(why.to_owned()));
    }
    Ok(roots)
}

/// `max-age` of a Cache-Control; `no-store` and `no-cache` mean 0.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            if directive == "no-store" || directive == "no-cache" {
                return Some(Duration::ZERO);
            }
            let seconds = directive.strip_prefix("max-age=").map(|text| text.trim_matches('"'));
            age = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs).or(age);
        }
    }
    age
}
