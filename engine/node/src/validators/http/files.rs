//! Secrets and certificates: read when a client is made, and anew when their files change.

use super::ClientFault;
use crate::validators::spec::{Secret, TlsFiles};
use hyper::header::{HeaderName, HeaderValue};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longest file that is read, bytes: a bundle of all public authorities is a quarter of it.
const MAX_FILE_LEN: u64 = 1024 * 1024;
/// Longest secret, bytes: services refuse longer headers.
const MAX_SECRET_LEN: usize = 8 * 1024;
/// Protocols of HTTP as TLS names them, the better one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a file was when it was read. A change of any of it is a change of the file; where a name is moved to
/// another file, as in a volume of secrets, its inode is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    modified_ns: i128,
    len: u64,
    inode: u64,
}

/// Files and what they were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    /// As they stand now. Taken before they are read: what changes meanwhile is seen next time.
    pub(super) fn of<'p>(paths: impl Iterator<Item = &'p Path>) -> Result<Self, ClientFault> {
        let mark = |path: &Path| {
            let metadata = path.metadata().map_err(|error| ClientFault::file(path, &error))?;
            Ok(Mark {
                path: path.to_owned(),
                modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
                    + i128::from(metadata.mtime_nsec()),
                len: metadata.len(),
                inode: metadata.ino(),
            })
        };
        paths.map(mark).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The files of secrets.
pub(super) fn of_secrets(secrets: &[(String, Secret)]) -> impl Iterator<Item = &Path> {
    secrets.iter().filter_map(|(_, secret)| match secret {
        Secret::File(path) => Some(path.as_path()),
        Secret::Env(_) => None,
    })
}

/// The files of TLS.
pub(super) fn of_tls(tls: &TlsFiles) -> impl Iterator<Item = &Path> {
    let identity = tls.identity.iter().flat_map(|(cert, key)| [cert, key]);
    tls.ca.iter().chain(identity).map(PathBuf::as_path)
}

/// Headers whose values are secrets.
pub(super) fn secrets(
    secrets: &[(String, Secret)],
) -> Result<Vec<(HeaderName, HeaderValue)>, ClientFault> {
    let header = |(name, secret): &(String, Secret)| {
        let (place, mut text) = match secret {
            Secret::File(path) => (path.display().to_string(), read(path)?),
            Secret::Env(variable) => {
                let value = std::env::var_os(variable).ok_or_else(|| {
                    ClientFault::Secret(format!("the variable {variable}"), "it is not set")
                })?;
                (format!("the variable {variable}"), value.into_encoded_bytes())
            }
        };
        let fault = |why| ClientFault::Secret(place.clone(), why);
        if text.last() == Some(&b'\n') {
            text.pop();
            text.pop_if(|last| *last == b'\r');
        }
        if text.is_empty() || text.len() > MAX_SECRET_LEN {
            return Err(fault("it is empty, or has more than 8192 bytes"));
        }
        let mut value = HeaderValue::from_bytes(&text)
            .map_err(|_| fault("it has a control character, such as a line break within"))?;
        // Neither printed by Debug nor kept in HTTP/2's table of headers.
        value.set_sensitive(true);
        let name = HeaderName::try_from(name)
            .map_err(|_| fault("the header that it is for has no sound name"))?;
        Ok((name, value))
    };
    secrets.iter().map(header).collect()
}

/// How TLS is done with the service.
pub(super) fn tls(files: &TlsFiles) -> Result<Arc<ClientConfig>, ClientFault> {
    let roots = match &files.ca {
        Some(path) => authorities(path)?,
        None => system_authorities()?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientFault::Tls(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let key_read = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|_| ClientFault::Pem(key.clone(), "no private key"))?;
            config.with_client_auth_cert(certificates(cert)?, key_read).map_err(|error| {
                ClientFault::Tls(format!(
                    "{} with the key of {}: {error}",
                    cert.display(),
                    key.display()
                ))
            })?
        }
    };
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

pub fn authorities(path: &Path) -> Result<RootCertStore, ClientFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| ClientFault::Tls(format!("{}: {error}", path.display())))?;
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, ClientFault> {
    let mut roots = RootCertStore::empty();
    // One that can't be read is none; the others are trusted all the same.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(ClientFault::NoAuthorities) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientFault> {
    let certificates = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| ClientFault::Pem(path.to_owned(), "a certificate that can't be read"))?;
    if certificates.is_empty() {
        return Err(ClientFault::Pem(path.to_owned(), "no certificate"));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, ClientFault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes))
        .map_err(|error| ClientFault::file(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(ClientFault::Pem(path.to_owned(), "more than a MiB"));
    }
    Ok(bytes)
}
