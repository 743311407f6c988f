//! What `/metrics` shows of the policy in force.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// The policy in force; version 0 is the one that every node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PolicyFigures {
    /// Version that decisions record.
    pub version: u32,
    /// Number of its rules.
    pub rules: u32,
    /// When it was taken into use, nanoseconds since 1970 UTC; 0 never.
    pub activated_at_ns: u64,
    /// Named lists.
    pub named_lists: u32,
    /// Their entries.
    pub named_list_entries: u32,
    /// Exemptions from rules.
    pub exemptions: u32,
}

impl Collector for PolicyFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let activated_s = self.activated_at_ns as f64 / 1e9;
        for (name, help, value) in [
            (
                "catraca_policy_version",
                "Version of the policy in force, which decisions record; 0 while the lists alone decide.",
                f64::from(self.version),
            ),
            ("catraca_policy_rules", "Rules of the policy in force.", f64::from(self.rules)),
            (
                "catraca_policy_activated_timestamp_seconds",
                "When the policy in force was taken into use; 0 never.",
                activated_s,
            ),
            (
                "catraca_named_lists",
                "Named lists that policies look things up in.",
                f64::from(self.named_lists),
            ),
            (
                "catraca_named_list_entries",
                "Entries of all named lists, those whose time is over included.",
                f64::from(self.named_list_entries),
            ),
            (
                "catraca_rule_exemptions",
                "Exemptions of keys from rules, those whose time is over included.",
                f64::from(self.exemptions),
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}
