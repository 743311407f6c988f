//! Payments out of Kafka's topics, by `librdkafka`: one consumer group takes them, and decisions go to a topic.
//!
//! An offset is committed once everything before it is answered, and the broker has the answers.

mod client;
mod driver;
mod headers;
mod record;

use super::{Options, Submitters};
use crate::{Fault, seed};
use driver::Driver;
use std::fmt;
use std::path::PathBuf;

/// A user of the broker.
#[derive(Clone)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// How it is told, as Kafka names it: `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: &'static str,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the password.
        f.debug_tuple("Login").field(&self.user).field(&self.mechanism).finish()
    }
}

/// Whom TLS believes, and what it shows. Files, because the library reads them itself.
#[derive(Debug, Clone)]
pub struct Secured {
    /// Authorities that vouch for the brokers, PEM.
    pub ca_file: PathBuf,
    /// Certificate and private key that are shown, PEM.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How the brokers are reached, what is consumed of them, and where answers go.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `host:port` of some brokers of the cluster, at least one.
    pub brokers: Vec<String>,
    /// TLS; none where the brokers are spoken to in clear.
    pub secured: Option<Secured>,
    /// Who the intake is to the brokers; none where they ask for nobody.
    pub login: Option<Login>,
    /// The topics, at least one.
    pub topics: Vec<String>,
    /// For whom payments are decided, by their topic: for all topics or for none.
    pub submitters: Submitters,
    /// The consumer group. One that has committed nothing begins with what is oldest: what comes while nobody has
    /// committed anything is else left out after a death.
    pub group: String,
    /// The topic of replies.
    pub reply_topic: String,
    /// The topic of messages that nobody can decide on.
    pub dead_letter_topic: String,
    /// Messages that are taken and not answered at once, at least 1.
    pub max_in_flight: usize,
}

/// Takes payments on this thread until `stop` resolves; what was taken is answered first.
///
/// # Errors
/// An address can't be listened on, the runtime can't start, or the library refuses a setting.
///
/// # Panics
/// Without a node.
pub fn run(setup: Setup, options: Options, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    let timeout_ns = options.timeout_ns();
    let submitters = setup.submitters.clone();
    super::run(options, &submitters, async move |link, metrics| {
        tracing::info!(topics = ?setup.topics, group = setup.group, "ready");
        Driver::new(setup, seed()?, timeout_ns, link, metrics).run(stop).await
    })
}
