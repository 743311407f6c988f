//! https: authorities, certificates of clients, and files that change.

use crate::support::{
    MORE_MEMORY_KIB, ask, client, payment, peak_memory_kib, policy, provider_with, run,
};
use catraca_cli::commands::provider::TlsSetup;
use catraca_node::validators::http::{Client, ClientFault, Outcome};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// An authority, a server and a client, as files of a folder.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let certificates = Self { dir };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("signed");
        fs::write(certificates.path("ca.pem"), authority.pem()).expect("written");
        let issuer = Issuer::new(params, key);
        for (name, of) in [("server", "localhost"), ("client", "node-1")] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![of.to_owned()]).expect("a name");
            let certificate = params.signed_by(&key, &issuer).expect("signed");
            fs::write(certificates.path(&format!("{name}.pem")), certificate.pem())
                .expect("written");
            fs::write(certificates.path(&format!("{name}.key")), key.serialize_pem())
                .expect("written");
        }
        certificates
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn server(&self, wants_clients: bool) -> TlsSetup {
        TlsSetup {
            cert: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: wants_clients.then(|| self.path("ca.pem")),
        }
    }

    /// Keys of a validator that trusts this authority alone.
    fn trust(&self) -> String {
        format!("tls.ca_file = {:?}\n", self.path("ca.pem"))
    }

    fn identity(&self) -> String {
        format!(
            "{}tls.cert_file = {:?}\ntls.key_file = {:?}\n",
            self.trust(),
            self.path("client.pem"),
            self.path("client.key")
        )
    }
}

/// Keys of a validator that trusts an authority that nobody has a certificate of.
pub fn any_ca() -> String {
    static ANY: OnceLock<Certificates> = OnceLock::new();
    ANY.get_or_init(Certificates::new).trust()
}

fn copy(from: &Path, to: &Path) {
    fs::write(to, fs::read(from).expect("there")).expect("written");
}

#[test]
fn many_questions_share_a_connection_over_tls() {
    let certificates = Certificates::new();
    let provider = provider_with("[[phase]]\ndelay_ms = 20\n", Some(&certificates.server(false)));
    let place = format!("https://localhost:{}", provider.address.port());
    run(async {
        let client = client(&place, &certificates.trust());
        assert_eq!(ask(&client).await.outcome, Outcome::Answer(0));
        let all = (0..20).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client).await })
        });
        for one in all.collect::<Vec<_>>() {
            assert_eq!(one.await.expect("it does not panic").outcome, Outcome::Answer(0));
        }
    });
    assert_eq!((provider.connections(), provider.requests()), (1, 21), "it is HTTP/2");
}

#[test]
fn failures_over_http_2_keep_their_time_and_memory_too() {
    let certificates = Certificates::new();
    let retry = Outcome::Retryable { retry_after: None };
    let before_kib = peak_memory_kib();
    for (fail, outcome, status) in [
        ("hang", retry, None),
        ("drip", retry, Some(200)),
        ("truncate", retry, Some(200)),
        ("huge", Outcome::Final, Some(200)),
        ("gzip-bomb", Outcome::Final, Some(200)),
        ("redirect", Outcome::Final, Some(302)),
    ] {
        let script = format!("[[phase]]\nfail = '{fail}'\n");
        let provider = provider_with(&script, Some(&certificates.server(false)));
        let place = format!("https://localhost:{}", provider.address.port());
        let client = client(&place, &certificates.trust());
        let attempt = run(ask(&client));
        assert_eq!((attempt.outcome, attempt.status), (outcome, status), "{fail}: {attempt:?}");
    }
    let more_kib = peak_memory_kib() - before_kib;
    assert!(more_kib < MORE_MEMORY_KIB, "{more_kib} KiB");
}

#[test]
fn who_is_not_trusted_gets_no_question() {
    let certificates = Certificates::new();
    let provider = provider_with("", Some(&certificates.server(false)));
    let port = provider.address.port();
    for (place, more, detail) in [
        (format!("https://localhost:{port}"), any_ca(), "invalid peer certificate"),
        (format!("https://127.0.0.1:{port}"), certificates.trust(), "not valid for name"),
        (format!("http://localhost:{port}"), String::new(), ""),
    ] {
        let attempt = run(ask(&client(&place, &more)));
        let retry = Outcome::Retryable { retry_after: None };
        assert_eq!((attempt.outcome, attempt.status), (retry, None), "{attempt:?}");
        assert!(attempt.detail.contains(detail), "{attempt:?}");
    }
    assert_eq!(provider.requests(), 0);
}

#[test]
fn a_certificate_of_the_node_is_shown_where_it_is_wanted() {
    let certificates = Certificates::new();
    let provider = provider_with("", Some(&certificates.server(true)));
    let place = format!("https://localhost:{}", provider.address.port());
    let attempt = run(ask(&client(&place, &certificates.trust())));
    assert_eq!(attempt.outcome, Outcome::Retryable { retry_after: None }, "{attempt:?}");
    let attempt = run(ask(&client(&place, &certificates.identity())));
    assert_eq!(attempt.outcome, Outcome::Answer(0), "{attempt:?}");
}

#[test]
fn certificates_that_change_are_read_anew_and_a_broken_one_changes_nothing() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let provider = provider_with("", Some(&new.server(true)));
    let place = format!("https://localhost:{}", provider.address.port());
    run(async {
        let client = client(&place, &old.identity());
        assert!(matches!(ask(&client).await.outcome, Outcome::Retryable { .. }));
        for name in ["ca.pem", "client.pem", "client.key"] {
            copy(&new.path(name), &old.path(name));
        }
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let attempt = ask(&client).await;
        assert_eq!(attempt.outcome, Outcome::Answer(0), "{attempt:?}");
        fs::write(old.path("client.pem"), "half a cert").expect("written");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let attempt = ask(&client).await;
        assert_eq!(attempt.outcome, Outcome::Answer(0), "{attempt:?}");
    });
}

#[test]
fn files_that_make_no_sense_are_told_before_anything_is_asked() {
    let (certificates, other) = (Certificates::new(), Certificates::new());
    let fault = |more: &str| {
        let file = policy("https://localhost", more);
        Client::new(&file.services[0], &[7; 32]).expect_err("refused")
    };
    let key = certificates.path("client.key");
    let as_ca = fault(&format!("tls.ca_file = {key:?}"));
    assert_eq!(as_ca, ClientFault::Pem(key, "no certificate"));
    let missing = fault("tls.ca_file = \"/no/such/file\"");
    assert!(matches!(&missing, ClientFault::File(..)), "{missing}");
    copy(&other.path("client.key"), &certificates.path("client.key"));
    let mixed = fault(&certificates.identity());
    assert!(matches!(&mixed, ClientFault::Tls(_)), "{mixed}");
    // Of a place that is asked without TLS they are not read.
    let file = policy("http://localhost", "tls.ca_file = \"/no/such/file\"");
    let client = Client::new(&file.services[0], &[7; 32]).expect("sound");
    assert_eq!(client.shown(&payment("52998224725"), false).method, "GET");
}
