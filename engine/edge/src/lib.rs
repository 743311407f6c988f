//! Doors of catraca for those who speak HTTP and JSON.
//!
//! A gateway is stateless: it holds connections to the nodes and requests that wait, and nothing that is
//! lost with it. Every door leads to the same dedupe, so one id through any door gives one decision. It
//! speaks the client protocol and knows nothing of the engine; as many run as are wanted.
//!
//! ```text
//! tls/ → http/ → json/ → link/ → node
//!          ├── auth/: caller.rs, permission.rs
//!          └── problem.rs
//! ```

pub mod auth;
pub mod caller;
pub mod http;
pub mod json;
pub mod link;
pub mod permission;
pub mod problem;
pub mod tls;

use auth::{Auth, Clients, Expected, Source};
use http::{Door, Limits};
use link::{Link, Setup};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::Tls;
use tokio::net::TcpListener;

/// What a gateway needs to know.
#[derive(Debug)]
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
    /// Who may come in; where there is none, everybody may.
    pub clients: Clients,
    /// Whose tokens are taken, and what they are held to.
    pub issuer: Option<(Source, Expected)>,
    /// TLS; none to be spoken to in clear.
    pub tls: Option<Tls>,
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
        let limits = Arc::new(Limits::new(&options.clients));
        let auth = Arc::new(Auth::new(options.clients, options.issuer));
        let tls = options.tls.map(Arc::new);
        if let Some(tls) = &tls {
            tls::watch(Arc::clone(tls));
        }
        let router = http::router(Door { link, timeout: options.timeout, auth, limits });
        tracing::info!(listen = %listener.local_addr()?, "ready");
        http::serve(listener, tls, router, stop).await;
        tracing::info!("stopped");
        Ok(())
    })
}
