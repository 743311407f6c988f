//! The invented provider itself: a thread that listens, and behaves as its script says.

use super::respond;
use super::script::{Fail, Script};
use catraca_node::fatal::Failure;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Most connections at once: more wait.
const MAX_CONNECTIONS: usize = 1_024;
/// How long it is waited before listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_millis(20);
/// What is no HTTP.
const NOT_HTTP: &[u8] = b"\x00\x01\x02 220 mail.example ESMTP\r\n";

/// Files for TLS.
#[derive(Debug, Clone)]
pub struct TlsSetup {
    /// Certificate with its chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Authorities of clients, PEM; a client without a certificate of theirs is turned away.
    pub client_ca: Option<PathBuf>,
}

/// A provider that runs; it stops when this is dropped.
#[derive(Debug)]
pub struct Provider {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Provider {
    /// Starts one.
    ///
    /// # Errors
    /// It can't listen there, or a file for TLS can't be used.
    pub fn start(
        listen: SocketAddr,
        script: Script,
        tls: Option<&TlsSetup>,
    ) -> Result<Self, Failure> {
        let tls = tls.map(acceptor).transpose()?;
        let failed = |error: io::Error| {
            Failure::failed(format!("the provider can't listen on {listen}: {error}"))
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let counts = Arc::new(Counts::default());
        let served = Served {
            script: Arc::new(script),
            began: Instant::now(),
            counts: Arc::clone(&counts),
            tls,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        };
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = served.listen(listener, address) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("provider".to_owned()).spawn(run);
        Ok(Self { address, counts, stop: Some(stop), thread: Some(thread.map_err(failed)?) })
    }

    /// Connections that it took so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Requests that it got so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panicked, and has said so.
            let _ = thread.join();
        }
    }
}

/// What connections share.
#[derive(Clone)]
struct Served {
    script: Arc<Script>,
    began: Instant,
    counts: Arc<Counts>,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
}

impl Served {
    /// What fails now.
    fn fail(&self) -> Option<Fail> {
        self.script.at(self.began.elapsed()).and_then(|phase| phase.fail)
    }

    /// Waits for the next phase; for ever in the last.
    async fn next_phase(&self) {
        match self.script.next_change(self.began.elapsed()) {
            Some(after) => sleep_until(self.began + after).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until connections fail.
    async fn connections_fail(&self) {
        while !self.fail().is_some_and(Fail::is_of_connection) {
            self.next_phase().await;
        }
    }

    async fn listen(&self, listener: TcpListener, address: SocketAddr) {
        let mut listener = Some(listener);
        loop {
            if self.fail() == Some(Fail::Refuse) {
                drop(listener.take());
                self.next_phase().await;
                continue;
            }
            let Some(open) = &listener else {
                match TcpListener::bind(address).await {
                    Ok(bound) => listener = Some(bound),
                    Err(_) => sleep(LISTEN_AGAIN).await,
                }
                continue;
            };
            tokio::select! {
                accepted = open.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.counts.connections.fetch_add(1, Ordering::Relaxed);
                        drop(tokio::spawn(self.clone().connection(stream)));
                    }
                    Err(_) => sleep(LISTEN_AGAIN).await,
                },
                () = self.next_phase() => {}
            }
        }
    }

    async fn connection(self, mut stream: TcpStream) {
        let Ok(_place) = Arc::clone(&self.places).acquire_owned().await else { return };
        match self.fail() {
            Some(Fail::Reset) => {
                let _ = stream.read(&mut [0; 1]).await;
                let _ = stream.set_zero_linger();
                return;
            }
            Some(Fail::NotHttp) => {
                let _ = stream.read(&mut [0; 1]).await;
                let _ = stream.write_all(NOT_HTTP).await;
                return;
            }
            _ => {}
        }
        tokio::select! {
            () = self.serve(stream) => {}
            () = self.connections_fail() => {}
        }
    }

    /// Answers until the other end leaves, or breaks a rule: whatever it is ends the connection.
    async fn serve(&self, stream: TcpStream) {
        let served = self.clone();
        let service = service_fn(move |request| {
            let served = served.clone();
            async move {
                served.counts.requests.fetch_add(1, Ordering::Relaxed);
                let phase = served.script.at(served.began.elapsed());
                Ok::<_, io::Error>(respond::respond(&served.script, phase, request).await)
            }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        match &self.tls {
            None => drop(server.serve_connection(TokioIo::new(stream), service).await),
            Some(tls) => {
                let Ok(stream) = tls.accept(stream).await else { return };
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}

fn acceptor(setup: &TlsSetup) -> Result<TlsAcceptor, Failure> {
    let failed = |what: &PathBuf, why: &dyn std::fmt::Display| {
        Failure::failed(format!("{}: can't be used for TLS: {why}", what.display()))
    };
    let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, Failure> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        read.map_err(|error| failed(path, &error))
    };
    let key =
        PrivateKeyDer::from_pem_file(&setup.key).map_err(|error| failed(&setup.key, &error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&setup.cert, &error))?;
    let config = match &setup.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| failed(path, &error))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.map_err(|error| failed(path, &error))?)
        }
    };
    let mut config = config
        .with_single_cert(certificates(&setup.cert)?, key)
        .map_err(|error| failed(&setup.cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
