//! What `/metrics` shows of the log's upkeep and of its disk: full segments packed, archived, removed,
//! and how long the free space lasts.

use super::upkeep::Figures;
use super::watch::DiskFigures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The figures at one moment.
#[derive(Debug)]
pub(super) struct Shown {
    /// Of the upkeep's thread.
    pub figures: Arc<Figures>,
    /// Of the data directory's filesystem.
    pub disk: DiskFigures,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Figures { packing, retention } = &*self.figures;
        for (name, help, value) in [
            (
                "catraca_log_segments_packed",
                "Full log segments packed since the node started.",
                &packing.packed,
            ),
            (
                "catraca_log_packing_freed_bytes",
                "Bytes of disk that packing has freed since the node started.",
                &packing.freed_len,
            ),
            (
                "catraca_log_segments_archived",
                "Log segments copied into the archive since the node started.",
                &retention.archived,
            ),
            (
                "catraca_log_segments_removed",
                "Log segments cut off and removed since the node started.",
                &retention.removed,
            ),
        ] {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value.load(Ordering::Relaxed)).encode(counter)?;
        }
        let unsound = packing.unsound.load(Ordering::Relaxed);
        let disk = &self.disk;
        for (name, help, value) in [
            (
                "catraca_log_unsound_segments",
                "Full log segments that can't be packed, because they are not what was written.",
                Some(unsound as f64),
            ),
            (
                "catraca_disk_size_bytes",
                "Size of the filesystem of the data directory.",
                Some(disk.size_len as f64),
            ),
            (
                "catraca_disk_free_bytes",
                "Free space of the filesystem of the data directory.",
                Some(disk.free_len as f64),
            ),
            (
                "catraca_disk_lasts_seconds",
                "Time until only the reserve is free, at the rate of the last hour or day, whichever is faster. Missing while the disk does not fill.",
                disk.lasts.map(|lasts| lasts.as_secs_f64()),
            ),
        ] {
            let Some(value) = value else { continue };
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}
