//! What `/metrics` shows of the log's upkeep: full segments packed, and those that can't be.

use super::upkeep::Figures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The figures of the upkeep's thread.
#[derive(Debug)]
pub(super) struct Shown(pub Arc<Figures>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let packing = &self.0.packing;
        for (name, help, value) in [
            (
                "catraca_log_segments_packed",
                "Full log segments packed since the node started.",
                read(&packing.packed),
            ),
            (
                "catraca_log_packing_freed_bytes",
                "Bytes of disk that packing has freed since the node started.",
                read(&packing.freed_len),
            ),
        ] {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }
        let help = "Full log segments that can't be packed, because they are not what was written.";
        let kind = MetricType::Gauge;
        let unsound =
            encoder.encode_descriptor("catraca_log_unsound_segments", help, None, kind)?;
        ConstGauge::new(read(&packing.unsound) as i64).encode(unsound)?;
        Ok(())
    }
}
