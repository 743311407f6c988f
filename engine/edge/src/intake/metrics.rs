//! What an intake counts, as OpenMetrics.

use super::desk::Receipt;
use crate::http::BOUNDS_S;
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    code: &'static str,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    messages: Family<OfQueue, Counter>,
    /// Those of `messages`, by the queue's index.
    queues: RwLock<Vec<Counter>>,
    redelivered: Counter,
    answers: Family<OfCode, Counter>,
    seconds: Histogram,
    dead: Counter,
    returned: Counter,
    refused: Counter,
    in_flight: Gauge,
    is_connected: Gauge,
    is_blocked: Gauge,
    failures: Counter,
}

impl Metrics {
    /// All of them at 0.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("catraca_intake");
        let messages: Family<OfQueue, Counter> = Family::default();
        let own = &mut registry;
        own.register("messages", "Messages taken, by queue or partition", messages.clone());
        let counter = |own: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            own.register(name, help, counter.clone());
            counter
        };
        let redelivered =
            counter(own, "redelivered", "Those of them that had been delivered before");
        let answers = Family::default();
        own.register(
            "answers",
            "Answers that the broker confirmed, by code: DECIDED, or a problem of GATEWAY.md",
            Family::clone(&answers),
        );
        let seconds = Histogram::new(BOUNDS_S);
        own.register_with_unit(
            "answer_duration",
            "Time from the queue to the confirmed answer",
            Unit::Seconds,
            seconds.clone(),
        );
        let dead = counter(own, "dead_letters", "Messages that nobody can decide on");
        let returned = counter(own, "returned", "Letters that no queue took by their route");
        let refused = counter(own, "refused", "Letters that the broker refused");
        let failures = counter(own, "broker_failures", "Connections lost or not made");
        let gauge = |own: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            own.register(name, help, gauge.clone());
            gauge
        };
        let in_flight = gauge(own, "messages_in_flight", "Messages taken and not answered");
        let is_connected = gauge(own, "broker_connected", "1 while messages are consumed");
        let is_blocked = gauge(own, "broker_blocked", "1 while the broker takes no replies");
        Self {
            registry,
            messages,
            queues: RwLock::default(),
            redelivered,
            answers,
            seconds,
            dead,
            returned,
            refused,
            in_flight,
            is_connected,
            is_blocked,
            failures,
        }
    }

    /// Knows another queue; its index is the next one.
    pub(super) fn open(&self, queue: &str) {
        let of_queue = OfQueue { queue: queue.to_owned() };
        self.queues.write().push(self.messages.get_or_create(&of_queue).clone());
    }

    pub(super) fn taken(&self, queue: usize, redelivered: bool) {
        self.queues.read()[queue].inc();
        self.redelivered.inc_by(u64::from(redelivered));
    }

    pub(super) fn answered(&self, code: Option<&'static str>, took: Duration) {
        self.answers.get_or_create(&OfCode { code: code.unwrap_or("DECIDED") }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn dead(&self) {
        self.dead.inc();
    }

    pub(super) fn astray(&self, receipt: Receipt) {
        match receipt {
            Receipt::Returned => self.returned.inc(),
            Receipt::Refused | Receipt::Taken => self.refused.inc(),
        };
    }

    pub(super) fn in_flight(&self, count: usize) {
        self.in_flight.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn connected(&self, is: bool) {
        self.is_connected.set(i64::from(is));
    }

    pub(super) fn blocked(&self, is: bool) {
        self.is_blocked.set(i64::from(is));
    }

    pub(super) fn broker_failed(&self) {
        self.failures.inc();
    }

    /// Whether messages are consumed, and replies taken.
    pub(super) fn is_ready(&self) -> bool {
        self.is_connected.get() == 1 && self.is_blocked.get() == 0
    }

    /// As text.
    pub(super) fn shown(&self) -> Option<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).ok()?;
        Some(text)
    }
}
