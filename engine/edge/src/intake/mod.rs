//! Payments out of RabbitMQ's queues and Kafka's topics: each is asked for, answered, and acknowledged, in this order.
//!
//! ```text
//! queue → broker → driver → Desk (pure) → payments → link → node
//! reply ←────────── publish, confirm ←───────┘
//! ```
//!
//! `desk.rs`, `acks.rs`, `letter.rs` and `message.rs` decide what becomes of each delivery; they do no I/O and read no
//! clock. `payments.rs` moves them between the nodes and a driver; `amqp` and `kafka` have a driver each, and what knows
//! the broker.

mod acks;
pub mod amqp;
mod desk;
#[cfg(feature = "kafka")]
pub mod kafka;
mod letter;
mod message;
mod metrics;
mod payments;
mod quiet;
#[cfg(test)]
mod tests;

pub use acks::{Ack, Behind};
pub use desk::{Desk, Effect, Now, Receipt, Rules};
pub use letter::{Kind, Letter, UNROUTABLE};
pub use message::Message;
pub use payments::Submitters;

use crate::http;
use crate::link::{Link, Setup as LinkSetup};
use crate::{Fault, seed};
use metrics::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What an intake needs to know besides its broker.
#[derive(Debug)]
pub struct Options {
    /// The longest budget of a payment.
    pub timeout: Duration,
    /// The nodes. Its seed is chosen at the start.
    pub link: LinkSetup,
    /// Where metrics and health are; none where they are not wanted.
    pub metrics_listen: Option<SocketAddr>,
}

impl Options {
    fn timeout_ns(&self) -> u64 {
        u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Moves an intake on this thread: `drive` gets the way to the nodes and the metrics, which are shown from then on.
fn run<F: Future<Output = Result<(), Fault>>>(
    options: Options,
    submitters: &Submitters,
    drive: impl FnOnce(Link, Arc<Metrics>) -> F,
) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Fault::System)?.block_on(async {
        let link = Link::start(LinkSetup {
            // Whoever it is: a node lets a program speak for all others, or for none.
            speaks_for: submitters.values().next().copied(),
            seed: seed()?,
            ..options.link
        });
        let metrics = Arc::new(Metrics::new());
        if let Some(address) = options.metrics_listen {
            let listener = crate::listen(address).await?;
            let (shown, ready, nodes) = (Arc::clone(&metrics), Arc::clone(&metrics), link.clone());
            let is_ready = move || ready.is_ready() && nodes.trouble().is_none();
            let router = http::watch_router(move || shown.shown(), is_ready);
            drop(tokio::spawn(http::serve(listener, None, None, router, std::future::pending())));
        }
        drive(link, metrics).await?;
        tracing::info!("stopped");
        Ok(())
    })
}
