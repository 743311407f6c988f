//! TLS between the nodes of a cluster: both ends show a certificate, by the cluster's authority and
//! for the one name that all its nodes have, whoever dials.
//!
//! The name is a configured one and not the host that is dialed: who is dialed can't know by what
//! name the dialer is called, and addresses of nodes come and go with machines. With one name both
//! ends check the same thing.

use crate::files::{Own, expiry, roots};
use crate::{Files, Renewable, TlsEnd, TlsFault};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::{Resumption, verify_server_name};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    ServerConnection, SignatureScheme,
};

/// Where a node's certificates for other nodes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFiles {
    /// The node's certificate, and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities of the cluster, PEM.
    pub authorities: PathBuf,
}

/// What nodes shake hands with, on both sides.
#[derive(Debug)]
pub struct NodeTls {
    files: Files,
    authorities: PathBuf,
    name: ServerName<'static>,
    sides: Mutex<Arc<Sides>>,
    ends: Mutex<Option<Timestamp>>,
}

#[derive(Debug)]
struct Sides {
    listener: Arc<ServerConfig>,
    dialer: Arc<ClientConfig>,
}

impl NodeTls {
    /// Reads the files, which are read anew when they change. `name` is the DNS name that the
    /// certificate of each node has.
    ///
    /// # Errors
    /// They hold no certificate for this name, key and authorities that belong together.
    pub fn new(files: NodeFiles, name: &str) -> Result<Self, TlsFault> {
        let name = match ServerName::try_from(name.to_owned()) {
            Ok(name @ ServerName::DnsName(_)) => name,
            _ => return Err(TlsFault::Together(format!("{name:?} is no name of the DNS"))),
        };
        let NodeFiles { certificate, key, authorities } = files;
        let client_ca = Some(authorities.clone());
        let files = Files { certificate, key, client_ca, protocol: None };
        let sides = Mutex::new(Arc::new(sides(&files, &authorities, &name)?));
        let ends = Mutex::new(expiry(&files.certificate));
        Ok(Self { files, authorities, name, sides, ends })
    }

    /// An end for a connection that this node dials.
    ///
    /// # Errors
    /// What the engine of TLS has against it.
    pub fn dialer(&self) -> Result<TlsEnd, TlsFault> {
        let config = Arc::clone(&self.sides.lock().dialer);
        ClientConnection::new(config, self.name.clone())
            .map(TlsEnd::new)
            .map_err(|error| TlsFault::Together(error.to_string()))
    }

    /// An end for a connection that another node dials.
    ///
    /// # Errors
    /// What the engine of TLS has against it.
    pub fn listener(&self) -> Result<TlsEnd, TlsFault> {
        let config = Arc::clone(&self.sides.lock().listener);
        ServerConnection::new(config)
            .map(TlsEnd::new)
            .map_err(|error| TlsFault::Together(error.to_string()))
    }
}

impl Renewable for NodeTls {
    fn files(&self) -> &Files {
        &self.files
    }

    fn renew(&self) -> Result<(), TlsFault> {
        let sides = Arc::new(sides(&self.files, &self.authorities, &self.name)?);
        *self.sides.lock() = sides;
        *self.ends.lock() = expiry(&self.files.certificate);
        Ok(())
    }

    fn ends(&self) -> Option<Timestamp> {
        *self.ends.lock()
    }
}

/// Both sides by what is in the files.
fn sides(files: &Files, authorities: &Path, name: &ServerName<'static>) -> Result<Sides, TlsFault> {
    let (chain, key): Own = files.own()?;
    let first = chain.first().expect("files without a certificate are no good");
    is_for(first, name).map_err(|error| {
        // The other node would say it too, but not to who put the file there.
        TlsFault::file(
            &files.certificate,
            format!("a certificate for {} belongs there: {error}", name.to_str()),
        )
    })?;
    let roots = Arc::new(roots(authorities)?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let by_authority =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| TlsFault::file(authorities, error))?;
    let verifier = NodeVerifier { by_authority, name: name.clone() };
    let listener = files.server(Some(Arc::new(verifier)))?;
    let mut dialer = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has it")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| files.together(error))?;
    // Each connection shows its certificate anew.
    dialer.resumption = Resumption::disabled();
    Ok(Sides { listener, dialer: Arc::new(dialer) })
}

fn is_for(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}

/// Holds the certificate of a dialer to the authority, and to the name.
#[derive(Debug)]
struct NodeVerifier {
    by_authority: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.by_authority.verify_client_cert(end_entity, intermediates, now)?;
        is_for(end_entity, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}
