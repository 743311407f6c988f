//! A configuration of TLS from files.

use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities whose certificates clients may show, PEM; none where they are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// What the protocol above is called in a handshake (ALPN); none where clients name none.
    pub protocol: Option<&'static [u8]>,
}

/// Why files are no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// One can't be read.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// Together they make no sense.
    #[error("{0}")]
    Together(String),
}

impl TlsFault {
    pub(super) fn file(path: &Path, why: impl ToString) -> Self {
        Self::File(path.to_owned(), why.to_string())
    }

    fn pem(path: &Path, error: pem::Error) -> Self {
        match error {
            // Of all other errors the text may hold what is in the file.
            pem::Error::Io(error) => Self::file(path, error),
            _ => Self::file(path, "it is no PEM"),
        }
    }
}

/// By what a file is known to be another one: its age, its length, and its place on the disk.
pub(super) type Mark = (Option<SystemTime>, u64, u64);

impl Files {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca)
    }

    /// What they are known by now; of one that can't be looked at, nothing.
    pub(super) fn marks(&self) -> Vec<Option<Mark>> {
        use std::os::unix::fs::MetadataExt as _;
        let mark = |path: &PathBuf| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok(), data.len(), data.ino()))
        };
        self.all().map(mark).collect()
    }

    /// What is in them, for a server.
    pub(super) fn load(&self) -> Result<Arc<ServerConfig>, TlsFault> {
        let verifier = match &self.client_ca {
            None => None,
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let provider = Arc::new(aws_lc_rs::default_provider());
                // Whether one has to be shown is decided with the request, because probes of health have none.
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = builder.allow_unauthenticated().build();
                Some(verifier.map_err(|error| TlsFault::file(path, error))?)
            }
        };
        self.server(verifier)
    }

    /// The same, with this verifier of what clients show; none where they are not asked.
    pub(super) fn server(
        &self,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Arc<ServerConfig>, TlsFault> {
        let (chain, key) = self.own()?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has it");
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| self.together(error))?;
        config.alpn_protocols = self.protocol.iter().map(|name| name.to_vec()).collect();
        // Each connection shows its certificate anew: one that was taken back must not live on in a ticket.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The certificate with those between it and its authority, and its key.
    pub(super) fn own(&self) -> Result<Own, TlsFault> {
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|error| TlsFault::pem(&self.key, error))?;
        Ok((certificates(&self.certificate)?, key))
    }

    /// What is wrong with certificate and key together.
    pub(super) fn together(&self, error: impl std::fmt::Display) -> TlsFault {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        TlsFault::Together(format!("{certificate} with {key}: {error}"))
    }
}

/// A certificate with those between it and its authority, and its key.
pub(super) type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// When the first certificate of a file ends; `None` where that can't be read.
pub(super) fn expiry(path: &Path) -> Option<Timestamp> {
    let chain = certificates(path).ok()?;
    let (_, first) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    Timestamp::from_second(first.validity().not_after.timestamp()).ok()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| TlsFault::pem(path, error))?;
    if chain.is_empty() {
        return Err(TlsFault::file(path, "it has no certificate"));
    }
    Ok(chain)
}

/// The authorities of a file.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsFault::file(path, error))?;
    }
    Ok(roots)
}

/// How others are asked, by whom these authorities vouch for.
pub fn client(roots: &RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions")
        .with_root_certificates(roots.clone())
        .with_no_client_auth()
}

/// The same, showing a certificate.
///
/// # Errors
/// A file can't be read, or they make no sense together.
pub(crate) fn client_with(
    roots: &RootCertStore,
    certificate: &Path,
    key: &Path,
) -> Result<ClientConfig, TlsFault> {
    let chain = certificates(certificate)?;
    let read = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsFault::pem(key, error))?;
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions")
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain, read)
        .map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            TlsFault::Together(format!("{certificate} with {key}: {error}"))
        })
}
