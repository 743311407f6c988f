//! Invented authorities and certificates, as files of a folder.

use crate::{Digest, Files, sha256};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, SupportedProtocolVersion};

/// An authority with certificates of `server`, `client` and `other`, and one of `stranger` by another authority, as
/// files of a folder.
pub struct Certificates(TempDir);

impl Certificates {
    /// Made anew.
    #[allow(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let certificates = Self(tempfile::tempdir().expect("a folder"));
        for (authority, names) in
            [("ca", &["server", "client", "other"][..]), ("foreign", &["stranger"])]
        {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            certificates.write(authority, &params.self_signed(&key).expect("signed").pem());
            let issuer = Issuer::new(params, key);
            for name in names {
                let key = KeyPair::generate().expect("a key");
                let params = CertificateParams::new(vec!["localhost".to_owned()]);
                let certificate = params.expect("a name").signed_by(&key, &issuer);
                certificates.write(name, &certificate.expect("signed").pem());
                certificates.write(&format!("{name}-key"), &key.serialize_pem());
            }
        }
        certificates
    }

    /// Puts a file beside them.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Where the file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.pem"))
    }

    /// What a server is started with; `asks`: for certificates of clients.
    pub fn files(&self, asks: bool) -> Files {
        Files {
            certificate: self.path("server"),
            key: self.path("server-key"),
            client_ca: asks.then(|| self.path("ca")),
            protocol: None,
        }
    }

    /// SHA-256 of the certificate of this name.
    pub fn thumbprint(&self, name: &str) -> Digest {
        sha256(&CertificateDer::from_pem_file(self.path(name)).expect("a certificate"))
    }

    /// A client that speaks this version, and shows the certificate of that name.
    pub fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        shows: Option<&str>,
    ) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .expect("the provider has it")
            .with_root_certificates(crate::roots(&self.path("ca")).expect("authorities"));
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.path(name)).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}-key")));
                let config = builder.with_client_auth_cert(vec![chain], key.expect("a key"));
                config.expect("they belong together")
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}
