//! What `/metrics` shows of the policy that is tried beside the one in force.

use catraca_core::policy::{Cell, Matrix};
use catraca_core::shard::candidate::CandidateTotals;
use catraca_wire::frame::Verdict;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// In the order of a [`Matrix`].
const VERDICTS: [Verdict; 3] = [Verdict::Approve, Verdict::Review, Verdict::Deny];

/// What came of the policy that is tried, as of the last collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CandidateFigures {
    until_ns: u64,
    matrix: Matrix,
    left_out: Cell,
}

impl CandidateFigures {
    /// Of a policy that is tried until a time, nanoseconds since 1970 UTC.
    pub fn new(until_ns: u64, came: &CandidateTotals) -> Self {
        Self { until_ns, matrix: came.totals.matrix, left_out: came.left_out }
    }
}

/// A policy that is tried, or none.
#[derive(Debug)]
pub(super) struct Shown(pub Option<CandidateFigures>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let until = encoder.encode_descriptor(
            "catraca_candidate_until_timestamp_seconds",
            "Until when a policy is tried beside the one in force; 0 while none is.",
            None,
            MetricType::Gauge,
        )?;
        let until_ns = self.0.map_or(0, |figures| figures.until_ns);
        ConstGauge::new(until_ns as f64 / 1e9).encode(until)?;
        let Some(CandidateFigures { matrix, left_out, .. }) = &self.0 else { return Ok(()) };
        // The text format adds the ending of a counter itself.
        for (name, help, value) in [
            (
                "catraca_candidate_payments",
                "Payments that the policy that is tried has seen, by the verdict that was given and its own.",
                count as fn(&Cell) -> u64,
            ),
            ("catraca_candidate_centavos", "What these payments amount to, centavos.", centavos),
        ] {
            let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (in_force, row) in VERDICTS.iter().zip(matrix) {
                for (candidate, cell) in VERDICTS.iter().zip(row) {
                    let labels = [("in_force", in_force.name()), ("candidate", candidate.name())];
                    ConstCounter::new(value(cell)).encode(counter.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, value) in [
            (
                "catraca_candidate_left_out",
                "Payments that the policy that is tried was not shown, because too many waited.",
                count(left_out),
            ),
            (
                "catraca_candidate_left_out_centavos",
                "What the payments that were left out amount to, centavos.",
                centavos(left_out),
            ),
        ] {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }
        Ok(())
    }
}

fn count(cell: &Cell) -> u64 {
    cell.count
}

/// As far as a number on the wire, or in the text format, goes.
pub(super) fn centavos(cell: &Cell) -> u64 {
    u64::try_from(cell.centavos).unwrap_or(u64::MAX)
}
