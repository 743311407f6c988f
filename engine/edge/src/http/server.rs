//! Connections over HTTP/1: so many at once, none for ever, and a stop that answers what was taken.

use super::linger::Lingering;
use super::proxied::Proxies;
use super::sites::{Place, Sites};
use crate::caller::Peer;
use axum::{Extension, Router};
use catraca_tls::Tls;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::server::TlsStream;

/// Most connections at once; more wait to be taken. Each costs a descriptor and some 30 KiB.
const MAX_CONNECTIONS: usize = 4_096;
/// The same of one site, where it is known: with TLS, and where a proxy says whom a connection is from. Others may come
/// through a proxy that would be one site.
const MAX_OF_SITE: usize = 1_024;
/// Handshakes of TLS at once, and those of one site; further ones are closed.
const MAX_HANDSHAKES: usize = 1_024;
const MAX_HANDSHAKES_OF_SITE: usize = 64;
/// How long a request's head may take, from the end of the one before: slow senders and forgotten
/// connections make room.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// The longest head of a request, bytes. Hyper answers a longer one with 431.
const MAX_HEAD_LEN: usize = 16 * 1024;
/// How long a client may take none of what is written, before its connection is closed.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Pause when no connection can be taken: others have to close first.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long a stop waits for answers: longer than any payment takes.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A connection that is ready for HTTP.
type Ready = (Stream, Peer, Places);

/// The places that a connection takes: among all, and among those of its site.
type Places = (OwnedSemaphorePermit, Option<Place>);

/// With TLS or in clear.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a connection passes before HTTP is spoken on it.
struct Entry {
    tls: Option<Arc<Tls>>,
    proxies: Option<Arc<Proxies>>,
    sites: Sites,
    handshakes: Sites,
}

impl Entry {
    /// Whether there is anything to pass.
    fn is_open(&self) -> bool {
        self.tls.is_none() && self.proxies.is_none()
    }

    /// A connection behind it; none where it ends here.
    async fn pass(
        &self,
        mut stream: TcpStream,
        address: IpAddr,
        place: OwnedSemaphorePermit,
    ) -> Option<Ready> {
        let balancer = self.proxies.as_ref().filter(|proxies| proxies.believes(address));
        let (address, is_told) = match balancer {
            None => (address, false),
            Some(balancer) => match balancer.source(&mut stream, address).await? {
                None => (address, false),
                Some(source) => (source, true),
            },
        };
        let has_site = self.tls.is_some() || is_told;
        // Before anything else is waited for, so that one site does not wait in all places.
        let site = if has_site { Some(self.sites.begin(address)?) } else { None };
        if balancer.is_none()
            && let Some(proxies) = &self.proxies
            && !proxies.admits(&stream, address).await
        {
            return None;
        }
        let Some(tls) = &self.tls else {
            let peer = Peer { address, certificate: None };
            return Some((Stream::Plain(stream), peer, (place, site)));
        };
        let shake = self.handshakes.begin(address)?;
        let accepted = tls.accept(stream).await;
        drop(shake);
        let (stream, certificate) = accepted?;
        let peer = Peer { address, certificate };
        Some((Stream::Tls(Box::new(stream)), peer, (place, site)))
    }
}

/// Serves until `stop` resolves, and then answers what was taken. With `tls`, nothing else is spoken. Connections of
/// `proxies` begin with a PROXY header.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    proxies: Option<Arc<Proxies>>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(MAX_HEAD_LEN);
    let entry = Arc::new(Entry {
        tls,
        proxies,
        sites: Sites::new(MAX_CONNECTIONS, MAX_OF_SITE),
        handshakes: Sites::new(MAX_HANDSHAKES, MAX_HANDSHAKES_OF_SITE),
    });
    // Those on their way through it; a stop ends them.
    let mut entering: JoinSet<Option<Ready>> = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = &mut stop => break,
            // One that panicked is told where it happened.
            Some(entered) = entering.join_next() => {
                if let Ok(Some(ready)) = entered {
                    begin(&http, &graceful, &router, ready);
                }
                continue;
            }
            next = next => next,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken; it waits");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        // An answer that waits for a fuller packet comes late; without it, it still comes.
        let _ = stream.set_nodelay(true);
        let address = address.ip().to_canonical();
        if entry.is_open() {
            let peer = Peer { address, certificate: None };
            begin(&http, &graceful, &router, (Stream::Plain(stream), peer, (place, None)));
        } else {
            let entry = Arc::clone(&entry);
            entering.spawn(async move { entry.pass(stream, address, place).await });
        }
    }
    drop((listener, entering));
    if timeout(STOP_PATIENCE, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections that did not end were closed");
    }
}

/// Speaks HTTP on a connection; every request on it knows the other end.
fn begin(http: &http1::Builder, graceful: &GracefulShutdown, router: &Router, ready: Ready) {
    let (stream, peer, places) = ready;
    match stream {
        Stream::Plain(stream) => speak(http, graceful, router, stream, peer, places),
        Stream::Tls(stream) => speak(http, graceful, router, stream, peer, places),
    }
}

fn speak(
    http: &http1::Builder,
    graceful: &GracefulShutdown,
    router: &Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    places: Places,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    let stream = TokioIo::new(Lingering::new(Box::pin(stream)));
    let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
    let connection = graceful.watch(http.serve_connection(stream, service));
    drop(tokio::spawn(async move {
        // However it ended: the other side has closed it, or broke a rule of HTTP.
        let _ = connection.await;
        drop(places);
    }));
}
