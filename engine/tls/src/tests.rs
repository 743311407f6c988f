//! Handshakes that are taken, and those that are not.

use super::testing::Certificates;
use super::{Digest, Files, Tls, expiry};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// What a server makes of a client: `None` where no handshake comes to an end, else its certificate.
async fn shaken(tls: &Arc<Tls>, client: TlsConnector, name: &str) -> Option<Option<Digest>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    let tls = Arc::clone(tls);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("taken");
        let (mut stream, certificate) = tls.accept(stream).await?;
        stream.write_all(b"!").await.ok()?;
        Some(certificate)
    });
    let stream = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    if let Ok(mut stream) = client.connect(name, stream).await {
        // In TLS 1.3 a certificate is refused behind the handshake.
        let _ = stream.read_exact(&mut [0]).await;
    }
    server.await.expect("it does not panic")
}

#[test]
fn tls_1_3_is_taken_and_nothing_older() {
    let certificates = Certificates::new();
    let tls = Arc::new(Tls::new(certificates.files(false)).expect("sound"));
    block_on(async {
        assert_eq!(shaken(&tls, certificates.client(&TLS13, None), "localhost").await, Some(None));
        assert_eq!(shaken(&tls, certificates.client(&TLS12, None), "localhost").await, None);
        // A name that is not known is no reason to refuse; whether it is the right one, the client knows.
        let other = shaken(&tls, certificates.client(&TLS13, None), "other.example").await;
        assert_eq!(other, None, "the client refuses it");
        let shows = certificates.client(&TLS13, Some("client"));
        assert_eq!(shaken(&tls, shows, "localhost").await, Some(None), "it was not asked");
    });
}

#[test]
fn a_certificate_of_a_client_is_known_by_its_thumbprint_and_one_of_strangers_is_refused() {
    let certificates = Certificates::new();
    let tls = Arc::new(Tls::new(certificates.files(true)).expect("sound"));
    block_on(async {
        for (shows, expected) in [
            (None, Some(None)),
            (Some("client"), Some(Some(certificates.thumbprint("client")))),
            (Some("other"), Some(Some(certificates.thumbprint("other")))),
            (Some("stranger"), None),
        ] {
            let client = certificates.client(&TLS13, shows);
            assert_eq!(shaken(&tls, client, "localhost").await, expected, "{shows:?}");
        }
    });
}

#[test]
fn files_that_are_no_good_are_named_and_nothing_of_them_is_shown() {
    let certificates = Certificates::new();
    certificates.write("garbage", "sesame");
    certificates
        .write("broken", "-----BEGIN PRIVATE KEY-----\nsesame\n-----END PRIVATE KEY-----\n");
    let sound = certificates.files(true);
    for (files, expected) in [
        (Files { certificate: certificates.path("missing"), ..sound.clone() }, "missing.pem"),
        (Files { certificate: certificates.path("garbage"), ..sound.clone() }, "no certificate"),
        (Files { key: certificates.path("garbage"), ..sound.clone() }, "garbage.pem"),
        (Files { key: certificates.path("broken"), ..sound.clone() }, "broken.pem"),
        (Files { key: certificates.path("client-key"), ..sound.clone() }, "client-key"),
        (Files { client_ca: Some(certificates.path("server-key")), ..sound.clone() }, "server-key"),
    ] {
        let fault = Tls::new(files).expect_err(expected).to_string();
        assert!(fault.contains(expected) && !fault.contains("sesame"), "{fault}");
    }
    let ends = expiry(&certificates.path("server")).expect("it has an end");
    assert!(ends > jiff::Timestamp::now(), "{ends}");
    assert_eq!(expiry(&certificates.path("server-key")), None);
}
