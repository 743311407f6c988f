//! Payments out of RabbitMQ's queues: each is asked for, answered, and acknowledged, in this order.
//!
//! ```text
//! queue → broker → driver → Desk (pure) → driver → link → node
//! reply ←────────── publish, confirm ←───────┘
//! ```
//!
//! `desk.rs`, `acks.rs`, `letter.rs` and `message.rs` decide what becomes of each delivery; they do no I/O and read no
//! clock. `broker.rs` has the connections to RabbitMQ, and `driver.rs` moves all of it.

mod acks;
mod broker;
mod desk;
mod driver;
mod letter;
mod message;
mod metrics;
mod quiet;
#[cfg(test)]
mod tests;

pub use acks::Ack;
pub use desk::{Desk, Effect, Now, Receipt, Rules};
pub use letter::{Kind, Letter, Route, UNROUTABLE};
pub use message::Message;

use crate::http;
use crate::link::{Link, Setup as LinkSetup};
use crate::{Fault, seed};
use catraca_tls::Authorities;
use driver::Driver;
use metrics::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How the broker is reached, and what is consumed of it.
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
    /// Unacknowledged messages of each queue at once, at least 1.
    pub prefetch: u16,
    /// Seed of the jitter between attempts to connect.
    pub seed: u64,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the password.
        let Self { brokers, vhost, user, queues, prefetch, .. } = self;
        f.debug_tuple("Setup").field(&(brokers, vhost, user, queues, prefetch)).finish()
    }
}

/// What an intake needs to know.
#[derive(Debug)]
pub struct Options {
    /// The broker. Its seed is chosen at the start.
    pub setup: Setup,
    /// Where replies go that name no queue of their own.
    pub reply: Route,
    /// Where messages go that nobody can decide on.
    pub dead_letter: Route,
    /// The longest budget of a payment.
    pub timeout: Duration,
    /// The nodes. Its seed is chosen at the start.
    pub link: LinkSetup,
    /// Where metrics and health are; none where they are not wanted.
    pub metrics_listen: Option<SocketAddr>,
}

/// Takes payments on this thread until `stop` resolves; what was taken is answered first.
///
/// # Errors
/// An address can't be listened on, or the runtime can't start.
///
/// # Panics
/// Without a node.
pub fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Fault::System)?.block_on(async {
        let Options { setup, reply, dead_letter, timeout, link, metrics_listen } = options;
        let rules = Rules {
            queues: setup.queues.clone(),
            prefetch: setup.prefetch,
            timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            reply,
            dead_letter,
        };
        let link = Link::start(LinkSetup { seed: seed()?, ..link });
        let metrics = Arc::new(Metrics::new(&setup.queues));
        if let Some(address) = metrics_listen {
            let listener = crate::listen(address).await?;
            let (shown, ready, nodes) = (Arc::clone(&metrics), Arc::clone(&metrics), link.clone());
            let is_ready = move || ready.is_ready() && nodes.trouble().is_none();
            let router = http::watch_router(move || shown.shown(), is_ready);
            drop(tokio::spawn(http::serve(listener, None, None, router, std::future::pending())));
        }
        let setup = Setup { seed: seed()?, ..setup };
        tracing::info!(queues = ?setup.queues, "ready");
        Driver::new(setup, rules, link, metrics).run(stop).await;
        tracing::info!("stopped");
        Ok(())
    })
}
