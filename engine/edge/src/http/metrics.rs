//! What a gateway counts, as OpenMetrics on an address of its own. No document, client or partition is a label.

use crate::problem::{Problem, Row};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use catraca_tls::{Renewable as _, Tls};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Instant;

/// Bounds of the latencies that are counted, seconds: close where most are, and about the longest budget.
pub(crate) const BOUNDS_S: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 1.5, 1.9, 2.0, 2.5,
];
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counts connections that were closed for their PROXY header.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Family<Reason, Counter>);

impl Refusals {
    /// One more for this reason; gives how many there were.
    pub(super) fn count(&self, reason: &'static str) -> u64 {
        self.0.get_or_create(&Reason { reason }).inc() + 1
    }
}

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    problems: Family<Code, Counter>,
    seconds: Family<Route, Histogram>,
    in_flight: Gauge,
    batch_transactions: Counter,
    batches: Gauge,
    refusals: Refusals,
    certificate: Gauge,
}

/// A request that is being answered; dropped it is no more.
pub(super) struct Begun<'a> {
    metrics: &'a Metrics,
    route: &'static str,
    at: Instant,
}

/// A batch that is being answered.
#[derive(Debug)]
pub(super) struct BatchRuns(Arc<Metrics>);

impl Metrics {
    /// All of them at 0. `has_tls`: there is a certificate.
    pub fn new(has_tls: bool) -> Self {
        let mut registry = Registry::with_prefix("catraca_gateway");
        let (requests, problems) = (Family::default(), Family::default());
        let seconds: Family<Route, Histogram> =
            Family::new_with_constructor(|| Histogram::new(BOUNDS_S));
        let (in_flight, certificate) = (Gauge::default(), Gauge::default());
        let (batch_transactions, batches) = (Counter::default(), Gauge::default());
        let own: &mut Registry = &mut registry;
        own.register("requests", "Requests answered, by path and status", Family::clone(&requests));
        own.register(
            "problems",
            "Problems answered, by code: GATEWAY.md has the list",
            Family::clone(&problems),
        );
        own.register_with_unit(
            "request_duration",
            "Time from the head of a request to its answer, by path",
            Unit::Seconds,
            seconds.clone(),
        );
        own.register("requests_in_flight", "Requests being answered", in_flight.clone());
        own.register(
            "batch_transactions",
            "Transactions of batches that were answered, by a decision or a problem",
            batch_transactions.clone(),
        );
        own.register("batches_running", "Batches being answered", batches.clone());
        let refusals = Refusals::default();
        own.register(
            "proxy_connections_refused",
            "Connections that were closed for their PROXY header, by reason",
            Family::clone(&refusals.0),
        );
        if has_tls {
            own.register_with_unit(
                "certificate_expiry_timestamp",
                "When the certificate that is used ends, seconds since 1970",
                Unit::Seconds,
                certificate.clone(),
            );
        }
        Self {
            registry,
            requests,
            problems,
            seconds,
            in_flight,
            batch_transactions,
            batches,
            refusals,
            certificate,
        }
    }

    /// Where refused PROXY headers are counted.
    pub fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// A batch begins; dropped it has ended.
    pub(super) fn begin_batch(self: &Arc<Self>) -> BatchRuns {
        self.batches.inc();
        BatchRuns(Arc::clone(self))
    }

    /// A request begins.
    pub(super) fn begin(&self, route: &'static str) -> Begun<'_> {
        self.in_flight.inc();
        Begun { metrics: self, route, at: Instant::now() }
    }

    /// As text.
    pub(super) fn shown(&self, tls: Option<&Tls>) -> Result<String, std::fmt::Error> {
        if let Some(ends) = tls.and_then(|tls| tls.ends()) {
            self.certificate.set(ends.as_second());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl BatchRuns {
    /// One of its transactions was answered so.
    pub(super) fn answered(&self, problem: Option<&Problem>) {
        self.0.batch_transactions.inc();
        if let Some(problem) = problem {
            self.0.problems.get_or_create(&Code { code: problem.row().code }).inc();
        }
    }
}

impl Drop for BatchRuns {
    fn drop(&mut self) {
        self.0.batches.dec();
    }
}

impl Begun<'_> {
    /// It was answered so.
    pub(super) fn answered(self, response: &Response) {
        let Self { metrics, route, at } = &self;
        let answered = Answered { route, status: response.status().as_u16() };
        metrics.requests.get_or_create(&answered).inc();
        metrics.seconds.get_or_create(&Route { route }).observe(at.elapsed().as_secs_f64());
        if let Some(Row { code, .. }) = response.extensions().get() {
            metrics.problems.get_or_create(&Code { code }).inc();
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

/// `/metrics`, for the address that only those who watch reach.
pub fn metrics_router(metrics: Arc<Metrics>, tls: Option<Arc<Tls>>) -> Router {
    Router::new().route("/metrics", get(show)).with_state((metrics, tls))
}

/// `/metrics`, `/livez` and `/readyz` of something that serves nothing else.
pub(crate) fn watch_router(
    shown: impl Fn() -> Option<String> + Clone + Send + Sync + 'static,
    is_ready: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Router {
    let text = |text: String| ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response();
    let metrics = async move || {
        shown().map_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response(), text)
    };
    let ready = async move || match is_ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

async fn show(State((metrics, tls)): State<(Arc<Metrics>, Option<Arc<Tls>>)>) -> Response {
    match metrics.shown(tls.as_deref()) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
