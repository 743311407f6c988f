//! Payments out of RabbitMQ's queues, by `lapin`.

mod broker;
mod driver;

use super::letter::Kind;
use super::{Options, Submitters};
use crate::{Fault, seed};
use catraca_tls::Authorities;
use driver::Driver;
use std::fmt;

/// Where something is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The exchange; empty for the default one, which knows each queue by its name.
    pub exchange: String,
    /// The routing key.
    pub key: String,
}

impl Route {
    /// Where a letter goes.
    fn of(kind: &Kind, reply: &Self, dead_letter: &Self) -> Self {
        match kind {
            Kind::ToAsker(queue) => Self { exchange: String::new(), key: queue.clone() },
            Kind::ToAll => reply.clone(),
            Kind::Dead => dead_letter.clone(),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exchange {:?}, key {:?}", self.exchange, self.key)
    }
}

/// How the broker is reached, what is consumed of it, and where answers go.
#[derive(Clone)]
pub struct Setup {
    /// Host and port of each broker of a cluster, at least one; they are tried in turn.
    pub brokers: Vec<(String, u16)>,
    /// The virtual host.
    pub vhost: String,
    /// Who the intake is to the broker.
    pub user: String,
    /// Its password.
    pub password: String,
    /// By whom the broker is vouched for, and what it is shown; none where it is spoken to in clear.
    pub authorities: Option<Authorities>,
    /// The queues, at least one.
    pub queues: Vec<String>,
    /// For whom payments are decided, by their queue: for all queues or for none.
    pub submitters: Submitters,
    /// Unacknowledged messages of each queue at once, at least 1.
    pub prefetch: u16,
    /// Where replies go that name no queue of their own.
    pub reply: Route,
    /// Where messages go that nobody can decide on.
    pub dead_letter: Route,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the password.
        let Self { brokers, vhost, user, queues, prefetch, reply, dead_letter, .. } = self;
        let shown = (brokers, vhost, user, queues, prefetch, reply, dead_letter);
        f.debug_tuple("Setup").field(&shown).finish()
    }
}

/// Takes payments on this thread until `stop` resolves; what was taken is answered first.
///
/// # Errors
/// An address can't be listened on, or the runtime can't start.
///
/// # Panics
/// Without a node.
pub fn run(setup: Setup, options: Options, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    let timeout_ns = options.timeout_ns();
    let submitters = setup.submitters.clone();
    super::run(options, &submitters, async move |link, metrics| {
        tracing::info!(queues = ?setup.queues, "ready");
        Driver::new(setup, seed()?, timeout_ns, link, metrics).run(stop).await;
        Ok(())
    })
}
