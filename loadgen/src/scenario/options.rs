//! The flags of scenarios, what they go together with, and the plan that they come to.

use super::rhythm::{DAY_S, SECOND_NS};
use super::{MAX_DAYS, MAX_PAYMENTS, MIN_PAYMENTS, Scenarios, TrafficPlan};
use crate::options::{DEFAULT_DOCUMENTS, LoadError, Loop, Options, Shape, Until};
use clap::Args;
use jiff::Timestamp;
use std::path::PathBuf;

/// What traffic with scenarios is asked for. [`Default`] asks for none.
#[derive(Args, Debug, Clone)]
pub struct ScenarioOptions {
    /// Sends Pix payments of known scenarios instead of uniform ones, and reports what the node made
    /// of each: `all`, or names with commas between them. Honest are households and shops; frauds,
    /// two in a hundred payments, are night-drain, mule-fan-in, new-device, structuring and
    /// account-testing. Needs --transactions, 1,000 to 10,000,000.
    ///
    /// One connection sends them in order of event time, so each payer's are decided in order. With
    /// `--in-flight 1` each is decided before the next is sent, which keeps the exact order of all.
    ///
    /// The same --seed, --transactions, --scenario-days and --scenario-end are the same payments
    /// under the same ids. A node that decided them before answers them as duplicates, and the run
    /// ends with status 3. To try another policy begin with an empty data directory, or use
    /// `catraca log replay --policy`.
    ///
    /// Example: `catraca-loadgen --scenario all --transactions 100000 --truth truth.csv`
    #[arg(
        id = "scenario",
        long = "scenario",
        value_name = "NAME[,NAME]",
        help_heading = "Scenarios"
    )]
    pub chosen: Option<Scenarios>,
    /// Days that the payments are spread over, 1 to 90, less ten minutes. A node takes a day unless
    /// its `event_max_age_s` says more: for 7 days 604800.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "scenario",
        help_heading = "Scenarios"
    )]
    pub scenario_days: u32,
    /// When the payments end, as 2026-11-26T12:00:00-03:00; not later than now [default: now]. The
    /// further back, the larger the node's `event_max_age_s` must be.
    #[arg(long, value_name = "TIME", requires = "scenario", help_heading = "Scenarios")]
    pub scenario_end: Option<Timestamp>,
    /// Writes the truth of each payment as CSV before the run begins: id, event_time, scenario,
    /// is_fraud, is_hard (a fraud that looks honest). No documents.
    #[arg(long, value_name = "FILE", requires = "scenario", help_heading = "Scenarios")]
    pub truth: Option<PathBuf>,
}

impl Default for ScenarioOptions {
    fn default() -> Self {
        Self { chosen: None, scenario_days: 1, scenario_end: None, truth: None }
    }
}

impl ScenarioOptions {
    /// Refuses what does not go together with scenarios.
    pub(crate) fn check(&self, options: &Options, shape: &Shape) -> Result<(), LoadError> {
        let refuse = |text: String| Err(LoadError::Options(text));
        if self.chosen.is_none() {
            return Ok(());
        }
        match shape.until {
            Until::Transactions(count) if (MIN_PAYMENTS..=MAX_PAYMENTS).contains(&count) => {}
            Until::Transactions(count) => {
                return refuse(format!(
                    "--transactions is {count}: with --scenario give {MIN_PAYMENTS} to {MAX_PAYMENTS}"
                ));
            }
            Until::ElapsedNs(_) => {
                return refuse(
                    "--scenario needs --transactions: so many payments are spread over its days"
                        .to_owned(),
                );
            }
        }
        let reasons = [
            (
                matches!(shape.offer, Loop::Open { .. }),
                "--rate: payments go out in a closed loop, in the order in which they happened",
            ),
            (
                shape.connections != 1,
                "more than 1 of --connections: two would mix up the order of a payer's payments",
            ),
            (shape.warmup_ns > 0, "--warmup: the truth of every payment is counted"),
            (
                options.listed_share > 0.0 || options.list.is_some(),
                "--list or --listed-share: nobody in it is taken from a list",
            ),
            (options.resend_share > 0.0, "--resend-share: each payment is sent once"),
            (
                options.verify,
                "--verify: verdicts are held to the truth, which is in the report, and to no list",
            ),
            (
                options.documents != DEFAULT_DOCUMENTS,
                "--documents: how many people there are follows from --transactions",
            ),
            (
                shape.failover_ns > 0,
                "a failover: give one --addr, or --failover-timeout 0 with several",
            ),
            (options.keep_answers, "answers that are kept: ids do not count from 0"),
        ];
        if let Some((_, what)) = reasons.into_iter().find(|(is_given, _)| *is_given) {
            return refuse(format!("--scenario does not go with {what}"));
        }
        if !(1..=MAX_DAYS).contains(&self.scenario_days) {
            return refuse(format!(
                "--scenario-days is {}: give 1 to {MAX_DAYS}",
                self.scenario_days
            ));
        }
        Ok(())
    }

    /// The plan of options that were checked; `None` where no scenario is asked for.
    pub(crate) fn plan(
        &self,
        seed: u64,
        shape: &Shape,
        now_ns: u64,
    ) -> Result<Option<TrafficPlan>, LoadError> {
        let (Some(scenarios), Until::Transactions(payments)) = (self.chosen, shape.until) else {
            return Ok(None);
        };
        let end_ns = match self.scenario_end {
            Some(end) => u64::try_from(end.as_nanosecond()).unwrap_or(0),
            None => now_ns,
        };
        let days = self.scenario_days;
        let earliest_ns = u64::from(days) * DAY_S * SECOND_NS;
        if !(earliest_ns..=now_ns).contains(&end_ns) {
            let end = self.scenario_end.map_or_else(|| "now".to_owned(), |end| end.to_string());
            return Err(LoadError::Options(format!(
                "--scenario-end is {end}: give a time after 1970 that is not later than now"
            )));
        }
        Ok(Some(TrafficPlan { seed, payments, days, end_ns, scenarios }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Arrivals;

    const NOW_NS: u64 = 1_795_705_445 * SECOND_NS;

    fn options() -> Options {
        Options {
            transactions: Some(5_000),
            scenario: ScenarioOptions {
                chosen: Some(Scenarios::ALL),
                ..ScenarioOptions::default()
            },
            ..Options::default()
        }
    }

    #[test]
    fn what_does_not_go_with_scenarios_is_refused_by_name() {
        let refused = |change: fn(&mut Options)| {
            let mut options = options();
            change(&mut options);
            options.shape().expect_err("does not go together").to_string()
        };
        type Change = fn(&mut Options);
        let cases: [(Change, &str); 14] = [
            (|o| (o.rate, o.arrivals) = (Some(5.0), Arrivals::Fixed), "--rate"),
            (|o| o.connections = 2, "--connections"),
            (|o| o.warmup = Some(1.0), "--warmup"),
            (|o| o.list = Some("list.csv".into()), "--list"),
            (|o| o.resend_share = 0.1, "--resend-share"),
            (|o| o.verify = true, "--verify"),
            (|o| o.documents = 500, "--documents"),
            (|o| o.addr = "a:1,b:1".to_owned(), "--failover-timeout 0"),
            (|o| o.failover_timeout = Some(1.0), "a failover"),
            (|o| o.keep_answers = true, "kept"),
            (|o| o.transactions = None, "needs --transactions"),
            (|o| o.transactions = Some(999), "--transactions is 999"),
            (|o| o.scenario.scenario_days = 0, "--scenario-days"),
            (|o| o.scenario.scenario_days = MAX_DAYS + 1, "give 1 to 90"),
        ];
        for (change, named) in cases {
            let text = refused(change);
            assert!(text.contains(named), "{named}: {text}");
        }
        let several = Options {
            addr: "a:1,b:1".to_owned(),
            failover_timeout: Some(0.0),
            in_flight: Some(1),
            ..options()
        };
        several.shape().expect("goes together");
    }

    #[test]
    fn payments_end_now_or_at_a_time_gone_by() {
        let plan = |end: Option<&str>| {
            let mut options = options();
            options.scenario.scenario_end = end.map(|end| end.parse().expect("a time"));
            let shape = options.shape().expect("sound");
            options.scenario.plan(7, &shape, NOW_NS)
        };
        let now = plan(None).expect("sound").expect("asked for");
        assert_eq!((now.seed, now.payments, now.days, now.end_ns), (7, 5_000, 1, NOW_NS));
        assert_eq!(now.start_ns(), NOW_NS - (DAY_S - 600) * SECOND_NS);
        let before = plan(Some("2026-11-20T12:00:00-03:00")).expect("sound").expect("asked for");
        assert_eq!(before.end_ns % (DAY_S * SECOND_NS), 15 * 3_600 * SECOND_NS);
        for wrong in ["2026-11-27T12:00:00Z", "1970-01-01T00:00:00Z", "1960-01-01T00:00:00Z"] {
            let refused = plan(Some(wrong)).expect_err("out of range").to_string();
            assert!(refused.contains("--scenario-end is"), "{refused}");
        }
        let none = Options { transactions: Some(5_000), ..Options::default() };
        let shape = none.shape().expect("sound");
        assert_eq!(none.scenario.plan(1, &shape, NOW_NS), Ok(None));
    }
}
