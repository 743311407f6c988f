//! What `/metrics` shows: the cores' counters, latencies by stage, the node's part in its cluster,
//! its build and its process.

use super::{Control, candidate_metrics, list_metrics, log_metrics, stats, validator_metrics};
use crate::replication::ReplicationStatus;
use crate::wall_clock::wall_ns;
use catraca_core::observe::Counters;
use catraca_tls::Renewable as _;
use catraca_wire::block::FORMAT_VERSION;
use catraca_wire::frame::{Durability, PROTOCOL_VERSION, Role, Stage};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use procfs::process::LimitValue;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;

/// Bounds of the latency buckets, nanoseconds: close together where a healthy node answers, and
/// with the promise of 2 s among them.
const BUCKETS_NS: [u64; 20] = [
    50_000,
    100_000,
    200_000,
    300_000,
    500_000,
    750_000,
    1_000_000,
    1_500_000,
    2_000_000,
    3_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    2_500_000_000,
];

/// All metrics as of now, as OpenMetrics has them.
pub(super) async fn gather(
    control: &Control,
    stats: &stats::Handle,
) -> Result<String, std::fmt::Error> {
    let mut counters: Vec<Counters> = control.channels.counters.iter().map(|c| c.read()).collect();
    // A standby's cores write nothing: its log grows by what it follows.
    for (counters, durable) in
        counters.iter_mut().zip(control.replication.followed().into_iter().flatten())
    {
        counters.durable_lsn = durable;
    }
    let histograms = stats.collect(None).await;
    let mut registry = Registry::default();
    let uptime_s = control.started.elapsed().as_secs_f64();
    let process = Process::read();
    registry.register_collector(Box::new(Shown {
        counters,
        histograms,
        replication: control.replication.status(),
        uptime_s,
        process,
    }));
    let of_nodes = control.replication.setup().tls.as_ref().and_then(|tls| tls.ends());
    registry.register_collector(Box::new(CertificateEnds([
        ("clients", control.tls.as_ref().and_then(|tls| tls.ends())),
        ("replication", of_nodes),
    ])));
    registry.register_collector(Box::new(RefusedHeaders(control.balancers.closed())));
    registry.register_collector(Box::new(control.policy_figures.get()));
    registry
        .register_collector(Box::new(candidate_metrics::Shown(control.candidate_figures.get())));
    let validators = validator_metrics::Shown(control.validators.figures());
    registry.register_collector(Box::new(validators));
    registry.register_collector(Box::new(list_metrics::Shown {
        figures: control.list_figures.get(),
        wall_ns: wall_ns(),
    }));
    registry.register_collector(Box::new(log_metrics::Shown {
        figures: Arc::clone(&control.upkeep.figures),
        disk: control.disk.get(),
    }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// When certificates end, by who sees them; none where there is none.
#[derive(Debug)]
struct CertificateEnds([(&'static str, Option<Timestamp>); 2]);

impl prometheus_client::collector::Collector for CertificateEnds {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.0.iter().all(|(_, ends)| ends.is_none()) {
            return Ok(());
        }
        let name = "catraca_tls_certificate_expiry_timestamp_seconds";
        let help =
            "When the certificate ends that clients, or other nodes, see over TLS, since 1970 UTC.";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (certificate, ends) in &self.0 {
            if let Some(ends) = ends {
                let family = [("certificate", *certificate)];
                ConstGauge::new(ends.as_second()).encode(metric.encode_family(&family)?)?;
            }
        }
        Ok(())
    }
}

/// Connections of load balancers that were closed for their PROXY header, by reason.
#[derive(Debug)]
struct RefusedHeaders<const N: usize>([(&'static str, u64); N]);

impl<const N: usize> prometheus_client::collector::Collector for RefusedHeaders<N> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = "catraca_proxy_connections_refused";
        let help = "Connections of load balancers that were closed for their PROXY header, or for having none, by reason.";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, connections) in self.0 {
            let family = [("reason", reason)];
            ConstCounter::new(connections).encode(metric.encode_family(&family)?)?;
        }
        Ok(())
    }
}

/// One scrape's worth of values.
struct Shown {
    counters: Vec<Counters>,
    histograms: Option<catraca_core::observe::StageHistograms>,
    replication: ReplicationStatus,
    uptime_s: f64,
    process: Option<Process>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl prometheus_client::collector::Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let shards: Vec<Vec<_>> = self.counters.iter().map(|c| c.each().collect()).collect();
        for (index, &(name, help, _)) in
            shards.first().map_or(&[][..], |first| first).iter().enumerate()
        {
            // The text format adds the ending of a counter itself.
            let counter = name.strip_suffix("_total");
            let kind = if counter.is_some() { MetricType::Counter } else { MetricType::Gauge };
            let mut metric =
                encoder.encode_descriptor(counter.unwrap_or(name), help, None, kind)?;
            for (shard, values) in shards.iter().enumerate() {
                let labels = [("shard", shard.to_string())];
                let family = metric.encode_family(&labels)?;
                if counter.is_some() {
                    ConstCounter::new(values[index].2).encode(family)?;
                } else if name.ends_with("_timestamp_seconds") {
                    ConstGauge::new(values[index].2 as f64 / 1e9).encode(family)?;
                } else {
                    ConstGauge::new(values[index].2 as i64).encode(family)?;
                }
            }
        }
        if let Some(histograms) = &self.histograms {
            let help = "Latency by stage of a decision.";
            let mut metric = encoder.encode_descriptor(
                "catraca_stage_latency",
                help,
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?;
            for &stage in Stage::ALL {
                let labels = [("stage", stage.name())];
                Latencies(histograms.stage(stage)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let kind = MetricType::Gauge;
        for (name, help, value) in place(&self.replication) {
            let metric = encoder.encode_descriptor(name, help, None, kind)?;
            ConstGauge::new(value as i64).encode(metric)?;
        }
        let uptime = encoder.encode_descriptor(
            "catraca_uptime",
            "Time since the node started.",
            Some(&Unit::Seconds),
            kind,
        )?;
        ConstGauge::new(self.uptime_s).encode(uptime)?;
        let help =
            "Always 1; the labels say which program runs, and which formats it speaks and writes.";
        let mut build = encoder.encode_descriptor("catraca_build_info", help, None, kind)?;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("protocol", PROTOCOL_VERSION.to_string()),
            ("log_format", FORMAT_VERSION.to_string()),
        ];
        ConstGauge::new(1i64).encode(build.encode_family(&labels)?)?;
        if let Some(process) = &self.process {
            process.encode(&mut encoder)?;
        }
        Ok(())
    }
}

/// A latency histogram with classic buckets.
#[derive(Debug)]
struct Latencies<'a>(&'a Histogram<u64>);

impl EncodeMetric for Latencies<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut buckets = [(0.0, 0); BUCKETS_NS.len() + 1];
        for (bucket, bound_ns) in buckets.iter_mut().zip(BUCKETS_NS) {
            bucket.0 = bound_ns as f64 / 1e9;
        }
        buckets[BUCKETS_NS.len()].0 = f64::INFINITY;
        let mut sum_s = 0.0;
        for step in self.0.iter_recorded() {
            // The lowest of the values that are not told apart: a bound counts what is as long as
            // it.
            let value_ns = self.0.lowest_equivalent(step.value_iterated_to());
            buckets[BUCKETS_NS.partition_point(|&bound_ns| bound_ns < value_ns)].1 +=
                step.count_at_value();
            sum_s += self.0.median_equivalent(value_ns) as f64 / 1e9 * step.count_at_value() as f64;
        }
        encoder.encode_histogram::<NoLabelSet>(sum_s, self.0.len(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// What every Prometheus client shows of its process, under the customary names.
#[derive(Debug)]
struct Process {
    cpu_s: f64,
    start_s: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_descriptors: i64,
    max_descriptors: i64,
    threads: i64,
}

impl Process {
    /// Out of `/proc`; `None` where that can't be read.
    fn read() -> Option<Self> {
        let process = procfs::process::Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks_per_s = procfs::ticks_per_second() as f64;
        let booted_s = procfs::boot_time_secs().ok()? as f64;
        let max_descriptors = match process.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(most) => most as i64,
            LimitValue::Unlimited => i64::MAX,
        };
        Some(Self {
            cpu_s: (stat.utime + stat.stime) as f64 / ticks_per_s,
            start_s: booted_s + stat.starttime as f64 / ticks_per_s,
            resident_bytes: (stat.rss * procfs::page_size()) as i64,
            virtual_bytes: stat.vsize as i64,
            open_descriptors: process.fd_count().ok()? as i64,
            max_descriptors,
            threads: stat.num_threads,
        })
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Processor time of the process.";
        let cpu = encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        ConstCounter::new(self.cpu_s).encode(cpu)?;
        let kind = MetricType::Gauge;
        let help = "When the process started, since 1970 UTC.";
        let start =
            encoder.encode_descriptor("process_start_time", help, Some(&Unit::Seconds), kind)?;
        ConstGauge::new(self.start_s).encode(start)?;
        for (name, help, unit, value) in [
            (
                "process_resident_memory",
                "Memory that the process holds.",
                Some(&Unit::Bytes),
                self.resident_bytes,
            ),
            (
                "process_virtual_memory",
                "Address space that the process holds.",
                Some(&Unit::Bytes),
                self.virtual_bytes,
            ),
            ("process_open_fds", "Open descriptors.", None, self.open_descriptors),
            ("process_max_fds", "Descriptors that may be open.", None, self.max_descriptors),
            ("process_threads", "Threads.", None, self.threads),
        ] {
            let metric = encoder.encode_descriptor(name, help, unit, kind)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}

/// The node's place in its cluster: name, help text and value of each gauge.
fn place(replication: &ReplicationStatus) -> [(&'static str, &'static str, u64); 6] {
    let primary = replication.state.role == Role::Primary;
    let alone = primary && replication.state.durability == Durability::Solo;
    [
        (
            "catraca_epoch",
            "Epoch that the node decides in or follows.",
            u64::from(replication.state.epoch),
        ),
        ("catraca_primary", "1 if the node decides, 0 if it follows.", u64::from(primary)),
        (
            "catraca_solo",
            "1 while answers wait for this node's disk only although there should be a standby.",
            u64::from(alone),
        ),
        (
            "catraca_peer_connected",
            "1 while the other node is connected.",
            u64::from(replication.connected),
        ),
        (
            "catraca_in_sync",
            "1 while the standby may be promoted without loss.",
            u64::from(replication.in_sync),
        ),
        (
            "catraca_standby_behind_records",
            "Records that the standby lacks, as far as this node knows.",
            replication.behind_records,
        ),
    ]
}
