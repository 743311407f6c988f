//! Latency histograms, one for each stage of a decision.

use catraca_wire::frame::Stage;
use hdrhistogram::Histogram;

/// Longest latency told apart, nanoseconds: a minute. Longer ones count as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// Decimal digits that are kept: values are right to 0.1 %.
const PRECISION_DIGITS: u8 = 3;

/// The histograms of a shard. Values are nanoseconds.
#[derive(Clone)]
pub struct StageHistograms {
    stages: [Histogram<u64>; Stage::ALL.len()],
}

impl StageHistograms {
    /// Empty ones. All memory is taken here; recording allocates nothing.
    pub fn new() -> Self {
        let empty = Histogram::new_with_bounds(1, LONGEST_NS, PRECISION_DIGITS)
            .expect("constant bounds, which the crate accepts");
        Self { stages: [empty.clone(), empty.clone(), empty.clone(), empty] }
    }

    /// Counts `count` transactions that took `ns`.
    #[inline]
    pub fn record(&mut self, stage: Stage, ns: u64, count: u64) {
        self.stages[usize::from(stage.to_wire()) - 1].saturating_record_n(ns.max(1), count);
    }

    /// The histogram of a stage.
    pub fn stage(&self, stage: Stage) -> &Histogram<u64> {
        &self.stages[usize::from(stage.to_wire()) - 1]
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            mine.add(theirs).expect("both have the same bounds");
        }
    }
}

impl Default for StageHistograms {
    fn default() -> Self {
        Self::new()
    }
}
