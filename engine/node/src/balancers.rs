//! Load balancers before the doors of clients: whose PROXY headers are believed, and which connections were closed for
//! theirs. Cores and control thread share it.

use crate::descriptors::Seldom;
use catraca_tls::proxied::{Networks, Refused};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a connection is closed for, in the order of the counts.
const REASONS: [Refused; 5] =
    [Refused::Malformed, Refused::Torn, Refused::Slow, Refused::Oversized, Refused::TooMany];

/// Load balancers, and what was closed of theirs.
#[derive(Debug, Default)]
pub struct Balancers {
    networks: Networks,
    closed: [AtomicU64; REASONS.len()],
    told: Seldom,
}

impl Balancers {
    /// Those at these addresses.
    pub fn new(networks: Networks) -> Self {
        Self { networks, ..Self::default() }
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether a connection from this address begins with a header, which is believed.
    pub fn believes(&self, address: IpAddr) -> bool {
        self.networks.believes(address)
    }

    /// A connection of the balancer at this address is closed for its header; counts, and tells it now and then.
    pub fn refuse(&self, balancer: IpAddr, why: Refused) {
        if let Some(place) = REASONS.iter().position(|reason| *reason == why) {
            self.closed[place].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(connections) = self.told.count() {
            tracing::warn!(
                %balancer, reason = why.name(), connections,
                "a connection was closed for its PROXY header, or for having none: proxy_from names where it comes from"
            );
        }
    }

    /// Connections closed so far, by reason.
    pub fn closed(&self) -> [(&'static str, u64); REASONS.len()] {
        let mut closed = REASONS.map(|reason| (reason.name(), 0));
        for ((_, count), counted) in closed.iter_mut().zip(&self.closed) {
            *count = counted.load(Ordering::Relaxed);
        }
        closed
    }
}

/// An address as records have it: IPv6, or IPv4 mapped into one.
pub fn recorded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let networks = Networks::parse(&["10.0.0.5".to_owned()]).expect("sound");
        let balancers = Balancers::new(networks);
        let balancer = IpAddr::from([10, 0, 0, 5]);
        assert!(balancers.believes(balancer) && !balancers.is_empty());
        assert!(!balancers.believes([10, 0, 0, 6].into()));
        for why in [Refused::Torn, Refused::Slow, Refused::Torn] {
            balancers.refuse(balancer, why);
        }
        let closed = balancers.closed();
        assert_eq!(
            closed,
            [("malformed", 0), ("torn", 2), ("slow", 1), ("oversized", 0), ("too_many", 0)]
        );
        assert!(Balancers::default().is_empty());
    }
}
