//! HTTP: `/metrics` for Prometheus (`metrics.rs` has what is in it, `exposition.rs` in which form),
//! `/livez`, `/readyz`, `/validators`.

use super::exposition::Format;
use super::scrapes::Scrapes;
use super::{Control, metrics, stats, validator_metrics};
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use catraca_core::shard::messages::Admission;
use catraca_wire::frame::Role;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Where metrics are.
const METRICS: &str = "/metrics";
/// Where it stands how the policy's validators are.
const VALIDATORS: &str = "/validators";
/// Scrapes answered at once. Each may wait for a core.
const MAX_AT_ONCE: usize = 64;

/// A request for the control thread, which owns what is not shared between threads.
struct Ask {
    path: String,
    format: Format,
    reply: oneshot::Sender<Response>,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, control: Rc<Control>, stats: stats::Handle) {
    let (asks, mut waiting) = mpsc::channel::<Ask>(MAX_AT_ONCE);
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    tokio::task::spawn_local(async move {
        while let Some(Ask { path, format, reply }) = waiting.recv().await {
            let (control, stats) = (Rc::clone(&control), stats.clone());
            if path != METRICS {
                let _ = reply.send(health(&path, &control));
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                let _ = reply.send(
                    (StatusCode::SERVICE_UNAVAILABLE, "too many scrapes wait for a core\n")
                        .into_response(),
                );
                continue;
            };
            // A task each: a scrape that waits for a core must not keep `/livez` waiting.
            tokio::task::spawn_local(async move {
                let _ = reply.send(scrape(format, &control, &stats).await);
                drop(place);
            });
        }
    });
    // Axum wants handlers that could move between threads; they only pass the request on.
    let handler = move |request: Request| {
        let asks = asks.clone();
        async move {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                let allow = [(header::ALLOW, "GET, HEAD")];
                return (
                    StatusCode::METHOD_NOT_ALLOWED,
                    allow,
                    "only GET and HEAD are answered here\n",
                )
                    .into_response();
            }
            let format = Format::wanted(
                request
                    .headers()
                    .get_all(header::ACCEPT)
                    .iter()
                    .filter_map(|accept| accept.to_str().ok()),
            );
            let (reply, answered) = oneshot::channel();
            let ask = Ask { path: request.uri().path().to_owned(), format, reply };
            match asks.send(ask).await {
                Ok(()) => answered
                    .await
                    .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
                Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    };
    if let Err(error) = axum::serve(Scrapes::new(listener), Router::new().fallback(handler)).await {
        tracing::error!(%error, "HTTP is no longer served");
    }
}

async fn scrape(format: Format, control: &Control, stats: &stats::Handle) -> Response {
    match metrics::gather(control, stats).await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, format.content_type())], format.of(text)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Whether the node is well, and its validators are. Waits for nothing: neither a core, nor a disk, nor other requests.
fn health(path: &str, control: &Control) -> Response {
    match path {
        "/livez" if control.live.get() => (StatusCode::OK, "ok\n").into_response(),
        "/livez" => (StatusCode::SERVICE_UNAVAILABLE, "a data core stands still\n").into_response(),
        "/readyz" if control.replication.status().state.role == Role::Standby => (
            StatusCode::SERVICE_UNAVAILABLE,
            "a standby: it answers look-ups, and decides nothing\n",
        )
            .into_response(),
        "/readyz" if control.replication.waits_for_standby() => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the standby is gone: answers wait for it, or for `catraca solo`\n",
        )
            .into_response(),
        "/readyz" => match control.admission.get() {
            Admission::Open => (StatusCode::OK, "ready\n").into_response(),
            Admission::DiskFull if control.replication.standby_disk_full() => {
                (StatusCode::SERVICE_UNAVAILABLE, "the standby's disk is nearly full\n")
                    .into_response()
            }
            Admission::DiskFull => {
                (StatusCode::SERVICE_UNAVAILABLE, "the disk is nearly full\n").into_response()
            }
            Admission::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
        },
        VALIDATORS => {
            let all = validator_metrics::as_json(&control.validators.figures());
            ([(header::CONTENT_TYPE, "application/json")], format!("{all}\n")).into_response()
        }
        _ => (StatusCode::NOT_FOUND, "there are /metrics, /livez, /readyz and /validators\n")
            .into_response(),
    }
}
