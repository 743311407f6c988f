//! What a run found: the figures, as a struct and as JSON.

use crate::answers::Answers;
use crate::list::List;
use crate::options::{Loop, Options, Shape, Until};
use crate::record::{LATE_SEND_THRESHOLD_NS, Recorder, Violations};
use crate::scenario::{ScenarioReport, Tally};
use catraca_wire::frame::{ErrorCode, Verdict};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// As asked.
    Completed,
    /// Early, because it was told to; everything sent was answered.
    Interrupted,
    /// Answers stopped coming.
    Stalled {
        /// Transactions without an answer.
        unanswered: u64,
        /// How long none came, seconds.
        seconds: f64,
    },
    /// A connection could not go on.
    Broken {
        /// Which one, from 0.
        connection: usize,
        /// What happened to it.
        what: String,
        /// Transactions without an answer, over all connections.
        unanswered: u64,
    },
}

/// What a run went through besides its transactions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failovers {
    pub count: u64,
    pub longest_gap_ns: u64,
}

/// Percentiles of a histogram, microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// 9 in 10 are below.
    pub p90: f64,
    /// 99 in 100 are below.
    pub p99: f64,
    /// 999 in 1,000 are below.
    pub p99_9: f64,
    /// 9,999 in 10,000 are below.
    pub p99_99: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds; zeros if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let quantile = |q: f64| {
            if histogram.is_empty() { 0.0 } else { histogram.value_at_quantile(q) as f64 / 1e3 }
        };
        Self {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            p99_99: quantile(0.9999),
            max: if histogram.is_empty() { 0.0 } else { histogram.max() as f64 / 1e3 },
            mean: histogram.mean() / 1e3,
        }
    }
}

/// The result of a run. Serialised, it is the JSON of `--json`: names are stable, new ones may be
/// added. Warm-up is in none of the figures but the violations.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where the load went.
    pub target: String,
    /// Connections.
    pub connections: u32,
    /// Closed loop: unanswered transactions kept on each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Open loop: transactions per second asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Open loop: `fixed` or `poisson`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<&'static str>,
    /// Measured time: from the end of the warm-up until sending ended, or until the last answer
    /// when that is later, seconds.
    pub seconds: f64,
    /// Unmeasured load before, seconds.
    pub warmup_seconds: f64,
    /// Core that the load came from, if it was pinned.
    pub core: Option<usize>,
    /// Seed of documents, amounts and planned times.
    pub seed: u64,
    /// Unlisted documents drawn from; payments of scenarios are not.
    pub documents: u32,
    /// Documents of the list that are in force.
    pub listed_documents: usize,
    /// Rows of the list whose document can't be read.
    pub refused_list_rows: u64,
    /// Transactions sent.
    pub sent: u64,
    /// Of these, repetitions of an answered one.
    pub resent: u64,
    /// Times that the run went on after the primary was lost, stopped or was replaced.
    pub failovers: u64,
    /// The longest time without any answer, milliseconds.
    pub longest_gap_ms: f64,
    /// Transactions sent again with the same bytes, because the primary was lost before it
    /// answered, or answered UNCONFIRMED.
    pub resent_after_failover: u64,
    /// Answered transactions asked for again after a failover, where verdicts are verified: in no
    /// other figure but the violations.
    pub rechecked_after_failover: u64,
    /// Verdicts with the duplicate flag.
    pub duplicates: u64,
    /// Transactions answered, by a verdict or an error.
    pub answered: u64,
    /// Transactions without an answer when the run ended, those of the warm-up included.
    pub unanswered: u64,
    /// Errors by code; only those that occurred.
    pub errors: BTreeMap<&'static str, u64>,
    /// Verdicts by kind.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Verdicts per second of measured time.
    pub throughput_per_s: f64,
    /// From the intended send to the verdict.
    pub latency_us: Percentiles,
    /// From the actual send to the verdict: the time handed to the socket, just before the batch it
    /// was in was written.
    pub service_us: Percentiles,
    /// Sends later than `late_threshold_us` after their intended time.
    pub late_sends: u64,
    /// What counts as late, microseconds.
    pub late_threshold_us: f64,
    /// How late the latest send was, microseconds.
    pub max_lateness_us: f64,
    /// Open loop: transactions whose intended time was measured: [`Report::sent`] and
    /// [`Report::unsent`] together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intended: Option<u64>,
    /// Open loop: planned for the measured time and never sent, because the node held too many
    /// unanswered.
    pub unsent: u64,
    /// What became of each scenario, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<ScenarioReport>,
    /// Whether verdicts were checked against the list.
    pub verified: bool,
    /// Broken promises by kind.
    pub violations: Violations,
    /// The first of them in words, documents masked.
    pub violation_examples: Vec<String>,
    /// Whether the run was told to end early.
    pub interrupted: bool,
    /// Why the run could not be ended as asked, for a person.
    pub failure: Option<String>,
    /// Latency, nanoseconds.
    #[serde(skip)]
    pub latency: Histogram<u64>,
    /// Service time, nanoseconds.
    #[serde(skip)]
    pub service: Histogram<u64>,
    /// Every answer, those of the warm-up too, where [`Options::keep_answers`] asked for them.
    #[serde(skip)]
    pub answers: Option<Answers>,
}

impl Report {
    #[allow(
        clippy::too_many_arguments,
        reason = "each part of the run hands in what it knows, once"
    )]
    pub(crate) fn new(
        options: &Options,
        shape: &Shape,
        core: Option<usize>,
        list: &List,
        mut recorder: Recorder,
        ended: Ended,
        sending_ended_ns: u64,
        intended: Option<u64>,
        unsent: u64,
        failovers: Failovers,
    ) -> Self {
        let (latency, service) = recorder.histograms();
        if let Some(intended) = intended {
            assert_eq!(
                recorder.sent + unsent,
                intended,
                "each planned transaction was sent, or counts as unsent"
            );
        }
        // A number of transactions is measured up to its last answer; a time is measured whole, and
        // past its end while answers come.
        let end_ns = match shape.until {
            Until::ElapsedNs(_) => sending_ended_ns.max(recorder.last_answer_ns),
            Until::Transactions(_) => recorder.last_answer_ns,
        };
        let seconds = end_ns.saturating_sub(shape.warmup_ns) as f64 / 1e9;
        let (in_flight, rate, arrivals) = match shape.offer {
            Loop::Closed { in_flight } => (Some(in_flight), None, None),
            Loop::Open { rate, arrivals } => (None, Some(rate), Some(arrivals.name())),
        };
        let (unanswered, failure) = ended.describe(&options.addr);
        let mut verdicts: BTreeMap<&'static str, u64> = Verdict::ALL
            .iter()
            .map(|&verdict| (verdict.name(), recorder.verdicts[usize::from(verdict.to_wire())]))
            .collect();
        verdicts.extend((recorder.verdicts[0] > 0).then_some(("unknown", recorder.verdicts[0])));
        let mut errors: BTreeMap<&'static str, u64> = ErrorCode::ALL
            .iter()
            .map(|&code| (code.name(), recorder.errors[usize::from(code.to_wire())]))
            .collect();
        errors.insert("UNKNOWN", recorder.errors[0]);
        errors.retain(|_, &mut count| count > 0);
        Self {
            target: options.addr.clone(),
            connections: shape.connections,
            in_flight,
            rate,
            arrivals,
            seconds,
            warmup_seconds: shape.warmup_ns as f64 / 1e9,
            core,
            seed: options.seed,
            documents: options.documents,
            listed_documents: list.listed().len(),
            refused_list_rows: list.refused_rows,
            sent: recorder.sent,
            resent: recorder.resent,
            failovers: failovers.count,
            longest_gap_ms: failovers.longest_gap_ns as f64 / 1e6,
            resent_after_failover: recorder.sent_again,
            rechecked_after_failover: recorder.rechecked,
            duplicates: recorder.duplicates,
            answered: recorder.answered,
            unanswered,
            errors,
            throughput_per_s: if seconds > 0.0 {
                verdicts.values().sum::<u64>() as f64 / seconds
            } else {
                0.0
            },
            verdicts,
            latency_us: Percentiles::of(&latency),
            service_us: Percentiles::of(&service),
            late_sends: recorder.late_sends,
            late_threshold_us: LATE_SEND_THRESHOLD_NS as f64 / 1e3,
            max_lateness_us: recorder.max_lateness_ns as f64 / 1e3,
            intended,
            unsent,
            scenarios: recorder.tally.as_ref().map(Tally::report),
            verified: options.verify,
            violations: recorder.violations,
            violation_examples: recorder.examples,
            interrupted: ended == Ended::Interrupted,
            failure,
            latency,
            service,
            answers: recorder.answers,
        }
    }

    /// The run in a few words, without the target: `closed loop, 4 connections × 512 in flight`.
    pub fn shape_text(&self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = match (self.in_flight, self.rate) {
            (Some(in_flight), _) => {
                write!(
                    text,
                    "closed loop, {} connection{plural} × {in_flight} in flight",
                    self.connections
                )
            }
            (None, rate) => write!(
                text,
                "open loop, {} a second ({}), {} connection{plural}",
                crate::table::grouped(rate.unwrap_or(0.0).round() as u64),
                self.arrivals.unwrap_or("planned"),
                self.connections
            ),
        };
        text
    }

    /// The JSON document of `--json`, indented, with a newline at its end.
    pub fn to_json(&self) -> String {
        // Numbers, texts and maps keyed by text: serialising them does not fail.
        let mut text = serde_json::to_string_pretty(self)
            .expect("a report has no map with other keys than text");
        text.push('\n');
        text
    }
}

impl Ended {
    fn describe(&self, target: &str) -> (u64, Option<String>) {
        match self {
            Self::Completed | Self::Interrupted => (0, None),
            Self::Stalled { unanswered, seconds } => (
                *unanswered,
                Some(format!(
                    "the node at {target} left {unanswered} transactions unanswered and answered none for {seconds} s: look at its \
                     log and its disk"
                )),
            ),
            Self::Broken { connection, what, unanswered } => (
                *unanswered,
                Some(format!(
                    "connection {connection} to {target} ended with {unanswered} transactions unanswered: {what}. What was answered \
                     until then is reported"
                )),
            ),
        }
    }
}
