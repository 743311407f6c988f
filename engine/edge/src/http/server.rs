//! Connections over HTTP/1: so many at once, none for ever, and a stop that answers what was taken.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Most connections at once; more wait to be taken. Each costs a descriptor and some 30 KiB.
const MAX_CONNECTIONS: usize = 4_096;
/// How long a request's head may take, from the end of the one before: slow senders and forgotten
/// connections make room.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// The longest head of a request, bytes. Hyper answers a longer one with 431.
const MAX_HEAD_LEN: usize = 16 * 1024;
/// Pause when no connection can be taken: others have to close first.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long a stop waits for answers: longer than any takes.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Serves until `stop` resolves, and then answers what was taken.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(MAX_HEAD_LEN);
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = &mut stop => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                // An answer that waits for a fuller packet comes late; without it, it still comes.
                let _ = stream.set_nodelay(true);
                let service = TowerToHyperService::new(router.clone());
                let connection = http.serve_connection(TokioIo::new(stream), service);
                let connection = graceful.watch(connection);
                drop(tokio::spawn(async move {
                    // However it ended: the other side has closed it, or broke a rule of HTTP.
                    let _ = connection.await;
                    drop(place);
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken; it waits");
                sleep(BACK_OFF).await;
            }
        }
    }
    drop(listener);
    if timeout(STOP_PATIENCE, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections that did not end were closed");
    }
}
