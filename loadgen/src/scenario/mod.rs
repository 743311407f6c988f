//! Pix traffic with scenarios: a seeded stream of payments in order of event time, and beside each
//! the truth, which no one who decides gets to see.
//!
//! ```text
//! honest   households, shops        drawn one by one at the times of rhythm
//!                                       │ merged by time
//! frauds   cases, planned ahead ────────┴──→ Traffic ──→ Payment ──→ SUBMIT
//!                                                          └ Label ──→ truth, tally
//! ```
//!
//! Everything follows from a [`TrafficPlan`] alone: no clock, no file, no float, no table of time
//! zones, except in what shows a time to a person. Only the frauds are held in memory, two in a hundred payments; people are computed from
//! their numbers.

mod chance;
mod frauds;
mod honest;
mod options;
mod payment;
mod people;
mod rhythm;
pub(crate) mod table;
mod tally;
pub mod truth;

use chance::keyed;
use honest::{Honest, World};
use payment::{Draft, Writer};
use people::purpose;
use rhythm::{DAY_S, SECOND_NS};
use std::str::FromStr;

pub use frauds::{HARD_ONE_IN, share_of_10_000};
pub use options::ScenarioOptions;
pub use payment::{Payment, write};
pub use people::Party;
pub use rhythm::{is_night, local_hour};
pub use tally::{Detection, ScenarioReport, ScenarioRow, Tally};

/// Fewest payments of a stream: with one case of each fraud, a tenth of them are.
pub const MIN_PAYMENTS: u64 = 1_000;
/// Most payments of a stream: of these, frauds take 20 MB while they are put in order, and nothing
/// else grows with them.
pub const MAX_PAYMENTS: u64 = 10_000_000;
/// Most days of a stream: as far as fraud marks and windows of rules look back.
pub const MAX_DAYS: u32 = 90;
/// A stream is shorter than its days by this much, seconds: a node that takes a day by default
/// still takes the first payment when the run has begun, and with a clock that differs a little.
pub const MARGIN_S: u64 = 600;

/// What a payment is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scenario {
    /// People who pay people whom they know, get wages and pay rents.
    Households,
    /// Shops that many people pay.
    Shops,
    /// An account emptied at night.
    NightDrain,
    /// Many pay one, who passes it on.
    MuleFanIn,
    /// An account taken over on a new device.
    NewDevice,
    /// Many payments just below a limit.
    Structuring,
    /// Tiny payments, then a large one.
    AccountTesting,
}

impl Scenario {
    /// All, honest ones first.
    pub const ALL: [Self; 7] = [
        Self::Households,
        Self::Shops,
        Self::NightDrain,
        Self::MuleFanIn,
        Self::NewDevice,
        Self::Structuring,
        Self::AccountTesting,
    ];

    /// The name on the command line and in print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Households => "households",
            Self::Shops => "shops",
            Self::NightDrain => "night-drain",
            Self::MuleFanIn => "mule-fan-in",
            Self::NewDevice => "new-device",
            Self::Structuring => "structuring",
            Self::AccountTesting => "account-testing",
        }
    }

    /// Whether its payments are fraud.
    pub const fn is_fraud(self) -> bool {
        !matches!(self, Self::Households | Self::Shops)
    }
}

/// The scenarios that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenarios {
    bits: u8,
}

impl Scenarios {
    /// All of them.
    pub const ALL: Self = Self { bits: (1 << Scenario::ALL.len()) - 1 };

    /// Whether this one is among them.
    pub const fn contains(self, scenario: Scenario) -> bool {
        self.bits & 1 << scenario as u8 != 0
    }
}

/// `all`, or names with commas between them.
impl FromStr for Scenarios {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::ALL);
        }
        let mut bits = 0;
        for name in text.split(',').map(str::trim) {
            let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
            let Some(scenario) = found else {
                let names = Scenario::ALL.map(Scenario::name).join(", ");
                return Err(format!("`{name}` is no scenario: give `all`, or some of {names}"));
            };
            bits |= 1 << scenario as u8;
        }
        let chosen = Self { bits };
        if Scenario::ALL.into_iter().all(|s| s.is_fraud() || !chosen.contains(s)) {
            return Err(
                "frauds alone say nothing of false alarms: add `households`, `shops` or both"
                    .to_owned(),
            );
        }
        Ok(chosen)
    }
}

impl std::fmt::Display for Scenarios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let chosen = Scenario::ALL.into_iter().filter(|&scenario| self.contains(scenario));
        f.write_str(&chosen.map(Scenario::name).collect::<Vec<_>>().join(","))
    }
}

/// The truth of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// What it is part of.
    pub scenario: Scenario,
    /// Whether it is a fraud that looks honest.
    pub is_hard: bool,
}

impl Label {
    const fn of(scenario: Scenario) -> Self {
        Self { scenario, is_hard: false }
    }

    /// Whether it is fraud.
    pub const fn is_fraud(self) -> bool {
        self.scenario.is_fraud()
    }
}

/// All that a stream follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrafficPlan {
    /// The seed.
    pub seed: u64,
    /// Payments, [`MIN_PAYMENTS`] to [`MAX_PAYMENTS`].
    pub payments: u64,
    /// Days that they are spread over, 1 to [`MAX_DAYS`].
    pub days: u32,
    /// When they end, nanoseconds since 1970 UTC: at least that many days after it.
    pub end_ns: u64,
    /// What is among them.
    pub scenarios: Scenarios,
}

impl TrafficPlan {
    /// From when on payments are, nanoseconds since 1970 UTC.
    pub fn start_ns(&self) -> u64 {
        self.end_ns - (u64::from(self.days) * DAY_S - MARGIN_S) * SECOND_NS
    }

    /// Tells the ids of this stream from those of any other.
    fn salt(&self) -> u64 {
        let parts =
            [self.payments, u64::from(self.days), self.end_ns, u64::from(self.scenarios.bits)];
        parts.into_iter().fold(self.seed, |salt, part| keyed(salt, purpose::ID, part))
    }
}

/// The stream of a plan: as many payments as it says, in order of event time.
#[derive(Debug, Clone)]
pub struct Traffic {
    honest: Honest,
    next_honest: Option<Draft>,
    frauds: std::vec::IntoIter<Draft>,
    writer: Writer,
    next_number: u64,
    count: u64,
}

impl Traffic {
    /// Begins the stream of a plan whose values are within their bounds.
    pub fn new(plan: &TrafficPlan) -> Self {
        let world = World::new(plan);
        let frauds = frauds::plan_all(plan, world);
        let mut honest = Honest::new(plan, world, plan.payments - frauds.len() as u64);
        Self {
            next_honest: honest.next(),
            honest,
            frauds: frauds.into_iter(),
            writer: Writer::new(world.people(), plan.salt()),
            next_number: 0,
            count: plan.payments,
        }
    }
}

impl Iterator for Traffic {
    type Item = Payment;

    fn next(&mut self) -> Option<Payment> {
        let fraud_ns = self.frauds.as_slice().first().map(|fraud| fraud.event_time_ns);
        let draft = match self.next_honest {
            Some(honest) if fraud_ns.is_none_or(|fraud_ns| honest.event_time_ns <= fraud_ns) => {
                self.next_honest = self.honest.next();
                honest
            }
            _ => self.frauds.next()?,
        };
        let payment = self.writer.payment(self.next_number, &draft);
        self.next_number += 1;
        Some(payment)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.count - self.next_number) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Traffic {}

#[cfg(test)]
mod tests;
