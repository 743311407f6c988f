//! Doors of catraca for those who speak HTTP and JSON, and for those who put JSON into RabbitMQ's queues.
//!
//! A gateway is stateless: it holds connections to the nodes and requests that wait, and nothing that is
//! lost with it. Every door leads to the same dedupe, so one id through any door gives one decision. It
//! speaks the client protocol and knows nothing of the engine; as many run as are wanted.
//!
//! ```text
//! tls/ → http/ → json/ → link/ → node
//!          ├── auth/: caller.rs, permission.rs
//!          ├── receipt.rs
//!          └── problem.rs
//! intake/ → json/ → link/ → node
//! ```

pub mod auth;
pub mod caller;
pub mod http;
pub mod intake;
pub mod json;
pub mod link;
pub mod permission;
pub mod problem;
pub mod receipt;

use auth::{Auth, Clients, Expected, Source};
use catraca_tls::proxied::Networks;
use catraca_tls::{Authorities, Tls};
use http::{Door, Metrics, Proxies, Rates};
use link::{Link, Setup};
use receipt::Receipts;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What a gateway needs to know.
#[derive(Debug)]
pub struct Options {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// `host:port` of each node, at least one.
    pub nodes: Vec<String>,
    /// Token that the operator gave the gateway; empty where the nodes ask for none.
    pub credential: String,
    /// By whom nodes are vouched for; none where they are spoken to in clear.
    pub authorities: Option<Authorities>,
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
    /// Whose PROXY headers are believed, and must be there: networks of load balancers.
    pub proxy_from: Networks,
    /// TLS; none to be spoken to in clear.
    pub tls: Option<Tls>,
    /// Signs receipts; none where there are none.
    pub receipts: Option<Receipts>,
    /// Where metrics are; none where they are not wanted.
    pub metrics_listen: Option<SocketAddr>,
}

/// Why a gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It can't be listened there.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The system gives no runtime, or nothing of chance.
    #[error("{0}")]
    System(io::Error),
}

/// A number of chance.
fn seed() -> Result<u64, Fault> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| Fault::System(io::Error::other(error)))?;
    Ok(u64::from_le_bytes(seed))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|error| Fault::Listen(address, error))
}

/// Serves on this thread until `stop` resolves; what was taken is answered first.
///
/// # Errors
/// An address can't be listened on, or the runtime can't start.
///
/// # Panics
/// Without a node.
pub fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Fault::System)?;
    runtime.block_on(async {
        let listener = listen(options.listen).await?;
        let link = Link::start(Setup {
            nodes: options.nodes,
            credential: options.credential,
            authorities: options.authorities,
            connections: options.connections,
            max_in_flight: options.max_in_flight,
            speaks_for: None,
            seed: seed()?,
        });
        let rates = Arc::new(Rates::new(&options.clients));
        let auth = Arc::new(Auth::new(options.clients, options.issuer));
        let tls = options.tls.map(Arc::new);
        if let Some(tls) = &tls {
            catraca_tls::watch(Arc::clone(tls));
        }
        let metrics = Arc::new(Metrics::new(tls.is_some()));
        if let Some(address) = options.metrics_listen {
            let listener = listen(address).await?;
            let router = http::metrics_router(Arc::clone(&metrics), tls.clone());
            drop(tokio::spawn(http::serve(listener, None, None, router, std::future::pending())));
        }
        let proxies = Proxies::new(options.proxy_from, metrics.refusals());
        let (timeout, receipts) = (options.timeout, options.receipts.map(Arc::new));
        let (stops, stopping) = watch::channel(false);
        let router = http::router(Door { link, timeout, auth, rates, metrics, receipts, stopping });
        let stop = async {
            stop.await;
            stops.send_replace(true);
        };
        let address = listener.local_addr().unwrap_or(options.listen);
        tracing::info!(listen = %address, "ready");
        http::serve(listener, tls, proxies, router, stop).await;
        tracing::info!("stopped");
        Ok(())
    })
}
