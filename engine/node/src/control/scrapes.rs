//! Connections over HTTP: so many at once, none for ever, and what happens when there is no
//! descriptor for the next one.

use crate::descriptors::Seldom;
use axum::serve::Listener;
use catraca_core::limits::MAX_HTTP_CONNECTIONS;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A connection on which nothing has moved for so long is closed: longer than any answer takes, and
/// short enough that connections which somebody forgot make room. Who scrapes less often connects
/// again.
const IDLE: Duration = Duration::from_secs(30);
/// Pause when no connection can be taken: others have to close first.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Takes connections.
pub(super) struct Scrapes {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// Told now and then: connections that could not be taken, or were too many.
    failed: Seldom,
    too_many: Seldom,
}

impl Scrapes {
    pub fn new(listener: TcpListener) -> Self {
        let places = Arc::new(Semaphore::new(MAX_HTTP_CONNECTIONS));
        Self { listener, places, failed: Seldom::default(), too_many: Seldom::default() }
    }
}

impl Listener for Scrapes {
    type Io = Scrape;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Scrape, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => {
                        return (
                            Scrape { stream, idle: Box::pin(sleep(IDLE)), _place: place },
                            address,
                        );
                    }
                    Err(_) => {
                        if let Some(connections) = self.too_many.count() {
                            tracing::warn!(
                                connections,
                                most = MAX_HTTP_CONNECTIONS,
                                "too many connections over HTTP: these were closed"
                            );
                        }
                    }
                },
                Err(error) => {
                    if let Some(attempts) = self.failed.count() {
                        tracing::warn!(%error, attempts, "a connection over HTTP could not be taken; it waits");
                    }
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, which has a place for as long as something moves on it.
pub(super) struct Scrape {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Scrape {
    /// Puts the end off when something has moved; ends the connection when nothing has for too
    /// long.
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        moved: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return moved;
        }
        self.idle.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Scrape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watched(context, read)
    }
}

impl AsyncWrite for Scrape {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
