//! How many handshakes go on at once: of one site so many that it stops nobody else.

use crate::auth::attempts::network;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Handshakes at once, a quarter of the connections. Further ones are closed.
const MAX: usize = 1_024;
/// The same for one site.
const MAX_OF_SITE: usize = 64;

/// Counts them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handshakes(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of_sites: HashMap<IpAddr, usize>,
}

/// A place for one; dropped it is free.
#[derive(Debug)]
pub(crate) struct Place {
    counts: Arc<Mutex<Counts>>,
    site: IpAddr,
}

impl Handshakes {
    /// A place for somebody at this address, where there is one.
    pub(crate) fn begin(&self, address: IpAddr) -> Option<Place> {
        let site = network(address);
        let counts = &mut *self.0.lock();
        let of_site = counts.of_sites.get(&site).copied().unwrap_or_default();
        if counts.all >= MAX || of_site >= MAX_OF_SITE {
            return None;
        }
        counts.all += 1;
        counts.of_sites.insert(site, of_site + 1);
        Some(Place { counts: Arc::clone(&self.0), site })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &mut *self.counts.lock();
        counts.all -= 1;
        if let Some(of_site) = counts.of_sites.get_mut(&self.site) {
            *of_site -= 1;
            if *of_site == 0 {
                counts.of_sites.remove(&self.site);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_site_takes_its_share_and_no_more() {
        let handshakes = Handshakes::default();
        let address = |site: u8| IpAddr::from([127, 0, site, 1]);
        let places: Vec<Place> = (0..1_000).filter_map(|_| handshakes.begin(address(1))).collect();
        assert_eq!(places.len(), MAX_OF_SITE);
        assert!(handshakes.begin(address(2)).is_some());
        let more: Vec<Place> = (2..u8::MAX)
            .flat_map(|site| (0..100).map(move |_| address(site)))
            .filter_map(|address| handshakes.begin(address))
            .collect();
        assert_eq!(places.len() + more.len(), MAX);
        drop((places, more));
        assert!(handshakes.0.lock().of_sites.is_empty() && handshakes.0.lock().all == 0);
    }
}
