//! Doors of catraca for those who speak HTTP and JSON.
//!
//! A gateway is stateless: it holds connections to the nodes and requests that wait, and nothing that is
//! lost with it. Every door leads to the same dedupe, so one id through any door gives one decision. It
//! speaks the client protocol and knows nothing of the engine; as many run as are wanted.
//!
//! ```text
//! HTTP → http/ → json/ → link/ → node
//!          └── problem.rs ──┘
//! ```

pub mod http;
pub mod json;
pub mod link;
pub mod problem;

use http::Door;
use link::{Link, Setup};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// What a gateway needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// `host:port` of each node, at least one.
    pub nodes: Vec<String>,
    /// Token that the operator gave the gateway; empty where the nodes ask for none.
    pub credential: String,
    /// Connections to the primary, at least 1.
    pub connections: usize,
    /// Requests that wait for their answers at once, at least 1.
    pub max_in_flight: usize,
    /// The longest budget of a payment.
    pub timeout: Duration,
}

/// Serves on this thread until `stop` resolves; what was taken is answered first.
///
/// # Errors
/// The address can't be listened on, or the runtime can't start.
///
/// # Panics
/// Without a node.
pub fn run(options: Options, stop: impl Future<Output = ()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let link = Link::start(Setup {
            nodes: options.nodes,
            credential: options.credential,
            connections: options.connections,
            max_in_flight: options.max_in_flight,
            seed: u64::from_le_bytes(seed),
        });
        tracing::info!(listen = %listener.local_addr()?, "ready");
        let router = http::router(Door { link, timeout: options.timeout });
        http::serve(listener, router, stop).await;
        tracing::info!("stopped");
        Ok(())
    })
}
