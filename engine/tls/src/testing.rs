//! Invented authorities and certificates, as files of a folder.

use crate::{Digest, Files, NodeFiles, sha256};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, SupportedProtocolVersion};

/// The names of both authorities.
const AUTHORITIES: [&str; 2] = ["ca", "foreign"];

/// An authority with certificates of `server`, `client` and `other`, and one of `stranger` by
/// another authority, as files of a folder.
pub struct Certificates {
    folder: TempDir,
    issuers: [Issuer<'static, KeyPair>; 2],
}

impl Certificates {
    /// Made anew.
    #[allow(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let issuers = AUTHORITIES.map(|authority| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, authority);
            let certificate = params.self_signed(&key).expect("signed");
            let path = folder.path().join(format!("{authority}.pem"));
            fs::write(path, certificate.pem()).expect("written");
            Issuer::new(params, key)
        });
        let certificates = Self { folder, issuers };
        for (authority, names) in
            AUTHORITIES.into_iter().zip([&["server", "client", "other"][..], &["stranger"]])
        {
            for name in names {
                certificates.issue(authority, name, "localhost", None);
            }
        }
        certificates
    }

    /// A certificate of this name by an authority, for a host; `ended`: one that ended in this
    /// year. In place of the one that there was.
    pub fn issue(&self, authority: &str, name: &str, host: &str, ended: Option<i32>) {
        let found = AUTHORITIES.into_iter().zip(&self.issuers).find(|(name, _)| *name == authority);
        let (_, issuer) = found.expect("one of both authorities");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        if let Some(year) = ended {
            params.not_after = date_time_ymd(year, 1, 1);
        }
        let certificate = params.signed_by(&key, issuer).expect("signed");
        self.write(name, &certificate.pem());
        self.write(&format!("{name}-key"), &key.serialize_pem());
    }

    /// Puts a file beside them.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Where the file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pem"))
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

    /// What a node shows to other nodes, and takes of them: its certificate of this name, by this
    /// authority.
    pub fn of_node(&self, name: &str, authority: &str) -> NodeFiles {
        let (certificate, key) = (self.path(name), self.path(&format!("{name}-key")));
        NodeFiles { certificate, key, authorities: self.path(authority) }
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
