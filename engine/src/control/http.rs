//! HTTP: `/metrics` in the Prometheus text format, `/livez`, `/readyz`.

use super::{Control, stats};
use crate::link::LinkStatus;
use crate::observe::Counters;
use crate::shard::messages::Admission;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use catraca_wire::frame::{Durability, Role, Stage};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::rc::Rc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Quantiles of each stage that a scrape shows.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];
/// Requests that may wait for the control thread.
const QUEUE_LEN: usize = 64;

/// A request for the control thread's task, which owns what is not shared between threads.
struct Ask {
    path: String,
    reply: oneshot::Sender<Response>,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, control: Rc<Control>, stats: stats::Handle) {
    let (asks, mut waiting) = mpsc::channel::<Ask>(QUEUE_LEN);
    tokio::task::spawn_local(async move {
        while let Some(Ask { path, reply }) = waiting.recv().await {
            let response = answer(&path, &control, &stats).await;
            let _ = reply.send(response);
        }
    });
    // Axum wants handlers that could move between threads; they only pass the path on.
    let handler = move |request: Request| {
        let asks = asks.clone();
        async move {
            let (reply, answered) = oneshot::channel();
            let ask = Ask { path: request.uri().path().to_owned(), reply };
            match asks.send(ask).await {
                Ok(()) => answered.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
                Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    };
    if let Err(error) = axum::serve(listener, Router::new().fallback(handler)).await {
        tracing::error!(%error, "HTTP is no longer served");
    }
}

async fn answer(path: &str, control: &Control, stats: &stats::Handle) -> Response {
    match path {
        "/livez" if control.live.get() => (StatusCode::OK, "ok\n").into_response(),
        "/livez" => (StatusCode::SERVICE_UNAVAILABLE, "a data core stands still\n").into_response(),
        "/readyz" if control.link.status().state.role == Role::Standby => {
            (StatusCode::SERVICE_UNAVAILABLE, "a standby: it answers look-ups, and decides nothing\n").into_response()
        }
        "/readyz" if control.link.waits_for_standby() => {
            (StatusCode::SERVICE_UNAVAILABLE, "the standby is gone: answers wait for it, or for `catraca solo`\n").into_response()
        }
        "/readyz" => match control.admission.get() {
            Admission::Open => (StatusCode::OK, "ready\n").into_response(),
            Admission::DiskFull if control.link.standby_disk_full() => {
                (StatusCode::SERVICE_UNAVAILABLE, "the standby's disk is nearly full\n").into_response()
            }
            Admission::DiskFull => (StatusCode::SERVICE_UNAVAILABLE, "the disk is nearly full\n").into_response(),
            Admission::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
        },
        "/metrics" => match metrics(control, stats).await {
            Ok(text) => ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        },
        _ => (StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n").into_response(),
    }
}

async fn metrics(control: &Control, stats: &stats::Handle) -> Result<String, std::fmt::Error> {
    let mut counters: Vec<Counters> = control.links.counters.iter().map(|c| c.read()).collect();
    // A standby's cores write nothing: its log grows by what it follows.
    for (counters, durable) in counters.iter_mut().zip(control.link.followed().into_iter().flatten()) {
        counters.durable_lsn = durable;
    }
    let histograms = stats.collect(None).await;
    let mut registry = Registry::default();
    let uptime_s = control.started.elapsed().as_secs_f64();
    registry.register_collector(Box::new(Shown { counters, histograms, link: control.link.status(), uptime_s }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One scrape's worth of values.
struct Shown {
    counters: Vec<Counters>,
    histograms: Option<crate::observe::StageHistograms>,
    link: LinkStatus,
    uptime_s: f64,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl prometheus_client::collector::Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let shards: Vec<Vec<_>> = self.counters.iter().map(|c| c.each().collect()).collect();
        for (index, &(name, help, _)) in shards.first().map_or(&[][..], |first| first).iter().enumerate() {
            // The text format adds the ending of a counter itself.
            let counter = name.strip_suffix("_total");
            let kind = if counter.is_some() {
                prometheus_client::metrics::MetricType::Counter
            } else {
                prometheus_client::metrics::MetricType::Gauge
            };
            let mut metric = encoder.encode_descriptor(counter.unwrap_or(name), help, None, kind)?;
            for (shard, values) in shards.iter().enumerate() {
                let labels = [("shard", shard.to_string())];
                let family = metric.encode_family(&labels)?;
                if counter.is_some() {
                    ConstCounter::new(values[index].2).encode(family)?;
                } else {
                    ConstGauge::new(values[index].2 as i64).encode(family)?;
                }
            }
        }
        if let Some(histograms) = &self.histograms {
            let help = "Latency by stage of a decision, over the node's life.";
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut metric = encoder.encode_descriptor("catraca_stage_latency", help, Some(&Unit::Seconds), kind)?;
            for &stage in Stage::ALL {
                for quantile in QUANTILES {
                    let labels = [("stage", stage.name().to_owned()), ("quantile", quantile.to_string())];
                    let seconds = histograms.stage(stage).value_at_quantile(quantile) as f64 / 1e9;
                    ConstGauge::new(seconds).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        let kind = prometheus_client::metrics::MetricType::Gauge;
        for (name, help, value) in place(&self.link) {
            let metric = encoder.encode_descriptor(name, help, None, kind)?;
            ConstGauge::new(value as i64).encode(metric)?;
        }
        let uptime = encoder.encode_descriptor("catraca_uptime", "Time since the node started.", Some(&Unit::Seconds), kind)?;
        ConstGauge::new(self.uptime_s).encode(uptime)
    }
}

/// The node's place in its cluster: name, help text and value of each gauge.
fn place(link: &LinkStatus) -> [(&'static str, &'static str, u64); 6] {
    let primary = link.state.role == Role::Primary;
    let alone = primary && link.state.durability == Durability::Solo;
    [
        ("catraca_epoch", "Epoch that the node decides in or follows.", u64::from(link.state.epoch)),
        ("catraca_primary", "1 if the node decides, 0 if it follows.", u64::from(primary)),
        ("catraca_solo", "1 while answers wait for this node's disk only although there should be a standby.", u64::from(alone)),
        ("catraca_peer_connected", "1 while the other node is connected.", u64::from(link.connected)),
        ("catraca_in_sync", "1 while the standby may be promoted without loss.", u64::from(link.in_sync)),
        ("catraca_standby_behind_records", "Records that the standby lacks, as far as this node knows.", link.behind_records),
    ]
}
