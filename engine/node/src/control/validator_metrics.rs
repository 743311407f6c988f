//! What `/metrics` and `/validators` show of the validators of the policy in force.

use crate::validators::line::{AllFigures, Figures};
use catraca_core::validate::{BreakerState, SharedStatus, Source, Status, Why};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};

/// The validators, as of the last look.
#[derive(Debug)]
pub(super) struct Shown(pub AllFigures);

/// A number of a validator: its name, what it is, and where it is found.
type Number<T, S = Status> = (&'static str, &'static str, fn(&S) -> T);

// The text format adds the ending of a counter itself.
const COUNTERS: [Number<u64>; 6] = [
    ("catraca_validator_questions", "Questions that the cores' own caches did not answer.", |s| {
        s.counters.questions
    }),
    ("catraca_validator_attempts", "Attempts at asking the service.", |s| s.counters.attempts),
    ("catraca_validator_retries", "Attempts that were retries.", |s| s.counters.retries),
    ("catraca_validator_failures", "Attempts that failed.", |s| s.counters.failures),
    ("catraca_validator_timeouts", "Attempts that were over their time.", |s| s.counters.timeouts),
    ("catraca_validator_breaker_opened", "Times that the breaker has opened.", |s| {
        s.counters.opened
    }),
];

const GAUGES: [Number<i64>; 5] = [
    ("catraca_validator_in_flight", "Attempts under way.", |s| s.in_flight as i64),
    ("catraca_validator_waiting", "Questions that wait for an answer.", |s| s.waiting as i64),
    ("catraca_validator_cached", "Answers that are kept.", |s| s.cached as i64),
    (
        "catraca_validator_breaker_open",
        "1 while the service is left alone, 2 while it is tried.",
        |s| open_of(s.breaker),
    ),
    (
        "catraca_validator_breaker_forced",
        "1 while a person has the breaker forced open, 2 while closed, else 0.",
        |s| match s.breaker {
            BreakerState::Closed | BreakerState::Open | BreakerState::HalfOpen => 0,
            BreakerState::ForcedOpen => 1,
            BreakerState::ForcedClosed => 2,
        },
    ),
];

const SHARED_COUNTERS: [Number<u64, SharedStatus>; 4] = [
    ("catraca_validator_shared_looks", "Looks into the cache that nodes share.", |s| {
        s.counters.looks
    }),
    ("catraca_validator_shared_found", "Looks that found an answer.", |s| s.counters.found),
    ("catraca_validator_shared_failures", "Looks that failed.", |s| s.counters.failures),
    ("catraca_validator_shared_timeouts", "Looks that were over their time.", |s| {
        s.counters.timeouts
    }),
];

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.encode_shared(&mut encoder)?;
        let all = &self.0.validators;
        let known = || all.iter().filter_map(|of| Some((of.id.as_str(), of.status.as_ref()?)));
        if all.is_empty() {
            return Ok(());
        }
        let help = "1 of a validator that this node can ask, 0 of one that it can't.";
        let mut usable =
            encoder.encode_descriptor("catraca_validator_usable", help, None, MetricType::Gauge)?;
        for of in all {
            let labels = [("validator", of.id.as_str())];
            ConstGauge::new(i64::from(of.status.is_some()))
                .encode(usable.encode_family(&labels)?)?;
        }
        for (name, help, number) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (id, status) in known() {
                let labels = [("validator", id)];
                ConstCounter::new(number(status)).encode(metric.encode_family(&labels)?)?;
            }
        }
        for (name, help, number) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, status) in known() {
                let labels = [("validator", id)];
                ConstGauge::new(number(status)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Answers, by where they came from.";
        let mut answers = encoder.encode_descriptor(
            "catraca_validator_answers",
            help,
            None,
            MetricType::Counter,
        )?;
        for (id, status) in known() {
            for (source, count) in Source::ALL.iter().zip(status.counters.answered) {
                let labels = [("validator", id), ("source", source.name())];
                ConstCounter::new(count).encode(answers.encode_family(&labels)?)?;
            }
        }
        let help = "Questions without an answer, by why.";
        let mut without = encoder.encode_descriptor(
            "catraca_validator_no_answer",
            help,
            None,
            MetricType::Counter,
        )?;
        for (id, status) in known() {
            for (why, count) in Why::ALL.iter().zip(status.counters.unanswered) {
                let labels = [("validator", id), ("reason", why.name())];
                ConstCounter::new(count).encode(without.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Shown {
    /// What there is of the cache that nodes share.
    fn encode_shared(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(shared) = &self.0.shared else { return Ok(()) };
        let help =
            "Answers that were to be put into the cache that nodes share, by what came of it.";
        let mut puts = encoder.encode_descriptor(
            "catraca_validator_shared_puts",
            help,
            None,
            MetricType::Counter,
        )?;
        let counts = [
            ("put", shared.puts.put),
            ("failed", shared.puts.failed),
            ("dropped", shared.puts.dropped),
        ];
        for (outcome, count) in counts {
            let labels = [("outcome", outcome)];
            ConstCounter::new(count).encode(puts.encode_family(&labels)?)?;
        }
        let known = || {
            let all = self.0.validators.iter();
            all.filter_map(|of| Some((of.id.as_str(), of.status.as_ref()?.shared.as_ref()?)))
        };
        if known().next().is_none() {
            return Ok(());
        }
        let help = "1 while the cache that nodes share is left alone, 2 while it is tried.";
        let name = "catraca_validator_shared_breaker_open";
        let mut open = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (id, status) in known() {
            let labels = [("validator", id)];
            ConstGauge::new(open_of(status.breaker)).encode(open.encode_family(&labels)?)?;
        }
        for (name, help, number) in SHARED_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (id, status) in known() {
                let labels = [("validator", id)];
                ConstCounter::new(number(status)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A breaker as a number.
const fn open_of(breaker: BreakerState) -> i64 {
    match breaker {
        BreakerState::Closed | BreakerState::ForcedClosed => 0,
        BreakerState::Open | BreakerState::ForcedOpen => 1,
        BreakerState::HalfOpen => 2,
    }
}

/// The validators for programs.
pub(super) fn as_json(all: &AllFigures) -> Value {
    let one = |of: &Figures| {
        let status = of.status.as_ref().map(|status| of_status(status, of.at_ns));
        json!({
            "id": of.id,
            "fault": of.fault,
            "last_error": of.last_error,
            "shared_error": of.shared_error,
            "status": status,
        })
    };
    let shared = all.shared.as_ref().map(|shared| {
        json!({
            "place": shared.place,
            "put": shared.puts.put,
            "failed": shared.puts.failed,
            "dropped": shared.puts.dropped,
            "last_error": shared.puts.last_error,
        })
    });
    json!({
        "validators": all.validators.iter().map(one).collect::<Vec<_>>(),
        "shared_cache": shared,
    })
}

fn of_status(status: &Status, now_ns: u64) -> Value {
    let named = |names: &mut dyn Iterator<Item = (&'static str, u64)>| -> Value {
        names
            .map(|(name, count)| (name.to_owned(), json!(count)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let counters = &status.counters;
    let sources = Source::ALL.iter().map(|source| source.name()).zip(counters.answered);
    let reasons = Why::ALL.iter().map(|why| why.name()).zip(counters.unanswered);
    let last_error = status.last_error.map(|(why, at_ns)| {
        json!({ "reason": why.name(), "ago_ms": now_ns.saturating_sub(at_ns) / 1_000_000 })
    });
    let open_for = status.open_until_ns.map(|until| until.saturating_sub(now_ns) / 1_000_000);
    json!({
        "breaker": status.breaker.name(),
        "open_for_ms": open_for,
        "opened": counters.opened,
        "tokens": status.tokens,
        "in_flight": status.in_flight,
        "queued": status.queued,
        "retrying": status.retrying,
        "waiting": status.waiting,
        "cached": status.cached,
        "errors_cached": status.errors,
        "most_take_us": status.most_take_ns / 1_000,
        "questions": counters.questions,
        "attempts": counters.attempts,
        "retries": counters.retries,
        "failures": counters.failures,
        "timeouts": counters.timeouts,
        "late": counters.late,
        "answers": named(&mut sources.into_iter()),
        "no_answer": named(&mut reasons.into_iter()),
        "last_failure": last_error,
        "shared": status.shared.as_ref().map(|shared| json!({
            "breaker": shared.breaker.name(),
            "looking": shared.looking,
            "looks": shared.counters.looks,
            "found": shared.counters.found,
            "failures": shared.counters.failures,
            "timeouts": shared.counters.timeouts,
            "opened": shared.counters.opened,
        })),
    })
}
