//! Connections to a service: so many at once and no more, each made within the time of an attempt.

use super::names::Names;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// What HTTP/2 is called in the handshake of TLS.
const ALPN_H2: &[u8] = b"h2";

/// Makes connections to one service.
#[derive(Clone)]
pub(super) struct Connector {
    pub names: Arc<Names>,
    /// A place for each connection that may be open.
    pub places: Arc<Semaphore>,
    /// TLS, and whom its certificate must name; none for plain http.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectFault {
    #[error("{0}")]
    Name(String),
    #[error("{0}: {1}")]
    Tcp(SocketAddr, io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl tower_service::Service<Uri> for Connector {
    type Response = Open;
    type Error = ConnectFault;
    type Future = Pin<Box<dyn Future<Output = Result<Open, ConnectFault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFault>> {
        Poll::Ready(Ok(()))
    }

    // All requests of a client go to the host that its policy names.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let within = connector.timeout;
            let opened = timeout(within, connector.open()).await;
            opened.unwrap_or(Err(ConnectFault::TimedOut(within)))
        })
    }
}

impl Connector {
    async fn open(self) -> Result<Open, ConnectFault> {
        let deadline = Instant::now() + self.timeout;
        let place = self.places.acquire_owned().await.expect("it is never closed");
        let addresses = self.names.addresses().await.map_err(ConnectFault::Name)?;
        let stream = match tcp(&addresses, deadline).await {
            Ok(stream) => stream,
            Err(fault) => {
                self.names.were_no_good();
                return Err(fault);
            }
        };
        // A request is one packet; where that can't be set, it is only slower.
        let _ = stream.set_nodelay(true);
        let Some((config, name)) = self.tls else {
            let stream = Box::pin(TokioIo::new(stream));
            return Ok(Open { stream, is_h2: false, _place: place });
        };
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(ConnectFault::Tls)?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        Ok(Open { stream: Box::pin(TokioIo::new(stream)), is_h2, _place: place })
    }
}

/// A connection to the first address that takes one; each gets its part of the time that is left.
async fn tcp(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectFault> {
    let mut fault = ConnectFault::Name("the name has no address".to_owned());
    for (place, &address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - place) as u32;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => fault = ConnectFault::Tcp(address, error),
            Err(_) => fault = ConnectFault::Tcp(address, io::ErrorKind::TimedOut.into()),
        }
    }
    Err(fault)
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// An open connection, with the place that it takes.
pub(super) struct Open {
    stream: Pin<Box<dyn Stream>>,
    is_h2: bool,
    _place: OwnedSemaphorePermit,
}

impl Connection for Open {
    fn connected(&self) -> Connected {
        if self.is_h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Open {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl Write for Open {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, slices)
    }
}
