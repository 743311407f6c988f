//! What a node tells of itself: latency histograms by stage, and counters. Written by the data
//! cores, read off them.

mod counters;
mod histograms;

pub use counters::{Counters, SharedCounters};
pub use histograms::StageHistograms;
