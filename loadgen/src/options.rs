//! What a run is asked to do: the flags, their bounds, and what they come to once checked.

use crate::scenario::ScenarioOptions;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a node listens for clients unless it is told otherwise.
pub const DEFAULT_ADDR: &str = "127.0.0.1:7400";
/// Most connections of a run: what the node is tested to hold, and below the usual hard limit of
/// descriptors.
pub const MAX_CONNECTIONS: u32 = 10_000;
/// Most transactions unanswered at once over all connections: 64 MiB of slots.
pub const MAX_UNANSWERED: u32 = 1 << 20;
/// Highest rate, transactions per second: a gap of 10 ns, finer than any send.
pub const MAX_RATE: f64 = 100e6;
/// Longest run, seconds: a week.
pub const MAX_SECONDS: f64 = 604_800.0;
/// Documents of the payer and payee population unless it is told otherwise.
pub const DEFAULT_DOCUMENTS: u32 = 100_000;
/// Most documents of the payer and payee population: 64 MiB of wire bytes.
pub const MAX_DOCUMENTS: u32 = 4 << 20;

/// How the intended times of an open loop are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// Evenly.
    Fixed,
    /// With exponential gaps: independent payers.
    Poisson,
}

impl Arrivals {
    /// The name in print and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Poisson => "poisson",
        }
    }
}

/// What the thread does while there is nothing to read or send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Ask again at once: adds no wake-up to what is measured, but keeps the core busy. Whatever
    /// else must run there (the kernel's own threads, a node's log thread) then waits for a
    /// scheduler's tick of some milliseconds, which shows as latency of the node.
    Spin,
    /// Sleep in the kernel until a reply or shortly before the next intended time.
    Epoll,
}

/// The core that the run's thread is pinned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// The highest-numbered one that the process may use.
    Last,
    /// This one.
    Number(usize),
    /// None: the kernel chooses.
    None,
}

impl FromStr for Core {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            "none" => Ok(Self::None),
            number => number
                .parse()
                .map(Self::Number)
                .map_err(|_| "give a core's number, `last` or `none`".to_owned()),
        }
    }
}

impl std::fmt::Display for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Number(number) => number.fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

/// What a run does. [`Default`] has the values of the command line.
#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Where the node listens for clients, `host:port`; with commas, the nodes of a cluster: the
    /// load goes to the primary.
    #[arg(long, value_name = "ADDR[,ADDR]", default_value = DEFAULT_ADDR)]
    pub addr: String,
    /// How long to go on when the primary is lost, seconds: the load generator looks for a primary,
    /// connects again and sends again what is unanswered, with the same bytes. 0: the run ends then
    /// [default: 0 with one address, 30 with several].
    #[arg(long, value_name = "S")]
    pub failover_timeout: Option<f64>,
    /// Connections to open.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub connections: u32,
    /// Closed loop: unanswered transactions to keep on each connection [default: 64 without
    /// --rate].
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub in_flight: Option<u32>,
    /// Open loop: transactions per second over all connections, sent at planned times whatever the
    /// answers do.
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Open loop: how the planned times are spaced.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,
    /// How long to measure, seconds [default: 10 without --transactions].
    #[arg(long, value_name = "S", conflicts_with = "transactions")]
    pub seconds: Option<f64>,
    /// Load before measuring begins, left out of every figure, seconds [default: 1, or 0 with
    /// --transactions].
    #[arg(long, value_name = "S")]
    pub warmup: Option<f64>,
    /// Measure exactly this many transactions instead of a time.
    #[arg(long, value_name = "N")]
    pub transactions: Option<u64>,
    /// Share of the transactions whose payer or payee is taken from the list, 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub listed_share: f64,
    /// The list that the node uses, as CSV with a column `document` (or one document per line).
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// Share of the transactions that repeat an answered one: the node must say so and answer the
    /// same, 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub resend_share: f64,
    /// How many people and companies pay each other.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DOCUMENTS)]
    pub documents: u32,
    /// Makes who pays whom, how much and when reproducible.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Check every verdict: deny exactly where payer or payee is from the list. Violations end in
    /// exit status 3.
    #[arg(long)]
    pub verify: bool,
    /// File that holds the credential, where the node asks for one.
    #[arg(long, value_name = "FILE")]
    pub credential_file: Option<PathBuf>,
    /// Connect over TLS, to a node by whom an authority of this file (PEM) vouches.
    #[arg(long, value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,
    /// Certificate that is shown to the node (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_ca_file", requires = "tls_key_file")]
    pub tls_certificate_file: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate_file")]
    pub tls_key_file: Option<PathBuf>,
    /// Core to pin to: a number, `last` or `none`.
    #[arg(long, value_name = "N", default_value_t = Core::Last)]
    pub core: Core,
    /// What to do while there is nothing to read or send.
    #[arg(long, value_enum, default_value_t = Wait::Epoll)]
    pub wait: Wait,
    /// Without any answer for this long the run ends as stalled, seconds; with a failover to go
    /// through, it looks for another primary after half a second, and leaves the node after 2.5 s
    /// at the latest.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub stall_seconds: f64,
    /// Pix traffic with scenarios.
    #[command(flatten)]
    pub scenario: ScenarioOptions,
    /// Keep every answer in the report, for a comparison with the log: 24 bytes each.
    #[arg(skip)]
    pub keep_answers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: DEFAULT_ADDR.to_owned(),
            failover_timeout: None,
            connections: 1,
            in_flight: None,
            rate: None,
            arrivals: Arrivals::Poisson,
            seconds: None,
            warmup: None,
            transactions: None,
            listed_share: 0.0,
            list: None,
            resend_share: 0.0,
            documents: DEFAULT_DOCUMENTS,
            seed: 1,
            verify: false,
            credential_file: None,
            tls_ca_file: None,
            tls_certificate_file: None,
            tls_key_file: None,
            core: Core::Last,
            wait: Wait::Epoll,
            stall_seconds: 10.0,
            scenario: ScenarioOptions::default(),
            keep_answers: false,
        }
    }
}

/// How transactions are offered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loop {
    /// A new one whenever one is answered.
    Closed {
        /// Unanswered on each connection.
        in_flight: u32,
    },
    /// At planned times.
    Open {
        /// Per second, over all connections.
        rate: f64,
        /// Spacing.
        arrivals: Arrivals,
    },
}

/// When measuring ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After this long, nanoseconds.
    ElapsedNs(u64),
    /// After this many transactions.
    Transactions(u64),
}

/// The options that depend on each other, settled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Connections.
    pub connections: u32,
    /// How transactions are offered.
    pub offer: Loop,
    /// Unmeasured load first, nanoseconds.
    pub warmup_ns: u64,
    /// When measuring ends.
    pub until: Until,
    /// How long to look for a primary when it is lost, nanoseconds; 0 not at all.
    pub failover_ns: u64,
}

/// Why a run could not begin: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The options don't make a run.
    #[error("{0}")]
    Options(String),
    /// A file can't be used.
    #[error("{0}")]
    File(String),
    /// The node can't be reached, or does not let this client in.
    #[error("{0}")]
    Target(String),
    /// The machine refuses something.
    #[error("{0}")]
    Environment(String),
}

impl Options {
    /// The nodes' addresses.
    pub fn addresses(&self) -> Vec<&str> {
        self.addr.split(',').map(str::trim).filter(|address| !address.is_empty()).collect()
    }

    /// Settles and checks what the flags say together.
    ///
    /// # Errors
    /// [`LoadError::Options`] with the flag and its bounds.
    pub fn shape(&self) -> Result<Shape, LoadError> {
        let refuse = |text: String| Err(LoadError::Options(text));
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            return refuse(format!(
                "--connections is {}: give 1 to {MAX_CONNECTIONS}",
                self.connections
            ));
        }
        for (flag, share) in
            [("--listed-share", self.listed_share), ("--resend-share", self.resend_share)]
        {
            if !(0.0..=1.0).contains(&share) {
                return refuse(format!("{flag} is {share}: give a share from 0 to 1"));
            }
        }
        if self.listed_share > 0.0 && self.list.is_none() {
            return refuse(
                "--listed-share needs --list, the file that listed documents are taken from"
                    .to_owned(),
            );
        }
        if !(2..=MAX_DOCUMENTS).contains(&self.documents) {
            return refuse(format!("--documents is {}: give 2 to {MAX_DOCUMENTS}", self.documents));
        }
        if !(self.stall_seconds > 0.0 && self.stall_seconds <= MAX_SECONDS) {
            return refuse(format!(
                "--stall-seconds is {}: give more than 0 and at most {MAX_SECONDS}",
                self.stall_seconds
            ));
        }
        let offer = match (self.rate, self.in_flight) {
            (Some(_), Some(_)) => {
                return refuse(
                    "give --rate (open loop) or --in-flight (closed loop), not both".to_owned(),
                );
            }
            (Some(rate), None) if rate > 0.0 && rate <= MAX_RATE => {
                Loop::Open { rate, arrivals: self.arrivals }
            }
            (Some(rate), None) => {
                return refuse(format!(
                    "--rate is {rate}: give more than 0 and at most {MAX_RATE} a second"
                ));
            }
            (None, in_flight) => Loop::Closed { in_flight: in_flight.unwrap_or(64) },
        };
        if let Loop::Closed { in_flight } = offer {
            let most = MAX_UNANSWERED / self.connections;
            if !(1..=most).contains(&in_flight) {
                let connections = self.connections;
                return refuse(format!(
                    "--in-flight is {in_flight}: with {connections} connections give 1 to {most}"
                ));
            }
        }
        let until = match (self.transactions, self.seconds) {
            (Some(_), Some(_)) => {
                return refuse("give --seconds or --transactions, not both".to_owned());
            }
            (Some(0), None) => return refuse("--transactions is 0: give at least 1".to_owned()),
            (Some(count), None) => Until::Transactions(count),
            (None, seconds) => {
                Until::ElapsedNs(nanoseconds("--seconds", seconds.unwrap_or(10.0), 0.001)?)
            }
        };
        let default_warmup = if self.transactions.is_some() { 0.0 } else { 1.0 };
        let warmup_ns = nanoseconds("--warmup", self.warmup.unwrap_or(default_warmup), 0.0)?;
        let default_failover = match self.addresses().len() {
            0 => return refuse("--addr names no node: give host:port".to_owned()),
            1 => 0.0,
            _ => 30.0,
        };
        let failover_ns = nanoseconds(
            "--failover-timeout",
            self.failover_timeout.unwrap_or(default_failover),
            0.0,
        )?;
        let shape = Shape { connections: self.connections, offer, warmup_ns, until, failover_ns };
        self.scenario.check(self, &shape)?;
        Ok(shape)
    }
}

fn nanoseconds(flag: &str, seconds: f64, least: f64) -> Result<u64, LoadError> {
    if (least..=MAX_SECONDS).contains(&seconds) {
        Ok((seconds * 1e9) as u64)
    } else {
        Err(LoadError::Options(format!(
            "{flag} is {seconds}: give {least} to {MAX_SECONDS} seconds"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_make_a_closed_loop() {
        let shape = Options::default().shape().expect("defaults are sound");
        assert_eq!(shape.offer, Loop::Closed { in_flight: 64 });
        assert_eq!(shape.until, Until::ElapsedNs(10_000_000_000));
        assert_eq!(shape.warmup_ns, 1_000_000_000);
    }

    #[test]
    fn the_command_line_has_the_defaults_of_the_library() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let parsed = <Line as clap::Parser>::parse_from(["loadgen"]).options;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Options::default()));
    }

    #[test]
    fn several_addresses_go_through_a_failover() {
        let of = |addr: &str, failover_timeout| {
            let options = Options { addr: addr.to_owned(), failover_timeout, ..Options::default() };
            (options.addresses().len(), options.shape().expect("sound").failover_ns)
        };
        assert_eq!(of("a:1", None), (1, 0));
        assert_eq!(of("a:1, b:1,", None), (2, 30_000_000_000));
        assert_eq!(of("a:1,b:1", Some(0.0)), (2, 0));
        assert_eq!(of("a:1", Some(0.5)), (1, 500_000_000));
    }

    #[test]
    fn each_bound_is_named() {
        let refused = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.shape().expect_err("out of bounds").to_string()
        };
        assert!(refused(|o| o.connections = 0).contains("--connections"));
        assert!(refused(|o| o.in_flight = Some(0)).contains("--in-flight"));
        assert!(refused(|o| o.in_flight = Some(MAX_UNANSWERED + 1)).contains("1048576"));
        assert!(refused(|o| o.rate = Some(f64::NAN)).contains("--rate"));
        assert!(refused(|o| o.listed_share = 0.5).contains("--list"));
        assert!(refused(|o| o.resend_share = 1.5).contains("--resend-share"));
        assert!(refused(|o| o.seconds = Some(-1.0)).contains("--seconds"));
        assert!(refused(|o| o.warmup = Some(f64::INFINITY)).contains("--warmup"));
        assert!(refused(|o| o.transactions = Some(0)).contains("--transactions"));
        assert!(refused(|o| o.documents = 1).contains("--documents"));
        assert!(refused(|o| o.failover_timeout = Some(-1.0)).contains("--failover-timeout"));
        assert!(refused(|o| o.addr = " , ".to_owned()).contains("--addr"));
    }
}
