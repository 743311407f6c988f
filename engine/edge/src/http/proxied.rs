//! Whom a load balancer says a connection comes from (the PROXY protocol). It is believed where the configuration names the
//! balancer's address, and nobody else is.

use super::metrics::Refusals;
use catraca_tls::proxied::{self, Networks, PATIENCE, Refused, TELLING_LEN};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Headers that are waited for at once; further connections of balancers are closed. A header comes with the
/// first packet, so they are few, and those that hang leave most places to others.
const MAX_WAITING: usize = 1_024;
/// How often the log tells of refused connections: a balancer that is set up wrongly makes them all the time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Load balancers that are believed.
#[derive(Debug)]
pub struct Proxies {
    networks: Networks,
    waiting: Semaphore,
    refusals: Refusals,
    next_warning: Mutex<Option<Instant>>,
}

impl Proxies {
    /// Those at these addresses; none where there are none. Counts whom it refuses.
    pub fn new(networks: Networks, refusals: Refusals) -> Option<Arc<Self>> {
        Self::with_room(networks, refusals, MAX_WAITING)
    }

    /// The same, waiting for at most so many headers at once.
    pub(super) fn with_room(
        networks: Networks,
        refusals: Refusals,
        most: usize,
    ) -> Option<Arc<Self>> {
        (!networks.is_empty()).then(|| {
            let waiting = Semaphore::new(most);
            Arc::new(Self { networks, waiting, refusals, next_warning: Mutex::new(None) })
        })
    }

    /// Whether somebody at this address is believed, and must say for whom the connection is.
    pub(super) fn believes(&self, address: IpAddr) -> bool {
        self.networks.believes(address)
    }

    /// Reads the header of a connection from an address that is believed: whom the connection is from, and none where
    /// it is the balancer's own, or nobody's that it names. What stands behind the header is left to be read.
    pub(super) async fn source(
        &self,
        stream: &mut TcpStream,
        address: IpAddr,
    ) -> Option<Option<IpAddr>> {
        let read = async {
            let _waits = self.waiting.try_acquire().map_err(|_| Refused::TooMany)?;
            proxied::take(stream).await
        };
        read.await.map_err(|why| self.refuse(address, why)).ok()
    }

    /// Whether somebody else may go on: who sends a header is told apart from who sends nonsense, because the cause is
    /// mostly an address that is missing in the configuration.
    pub(super) async fn admits(&self, stream: &TcpStream, address: IpAddr) -> bool {
        let mut begins = [0; TELLING_LEN];
        // Whoever is slow is HTTP's, or TLS's, to wait for.
        let Ok(Ok(len)) = timeout(PATIENCE, stream.peek(&mut begins)).await else {
            return true;
        };
        let is_header = proxied::is_header(&begins[..len]);
        if is_header {
            self.refuse(address, Refused::Stranger);
        }
        !is_header
    }

    fn refuse(&self, address: IpAddr, why: Refused) {
        let (reason, all) = (why.name(), self.refusals.count(why.name()));
        let (now, mut next) = (Instant::now(), self.next_warning.lock());
        if next.is_none_or(|next| now >= next) {
            *next = Some(now + WARN_EVERY);
            tracing::warn!(
                %address, reason, all,
                "a connection was closed for its PROXY header, or for having none"
            );
        }
    }
}
