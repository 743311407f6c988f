//! How much goes on at once, of one site and of all: one site takes its share, and stops nobody else.

use catraca_tokens::network;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Counts what goes on.
#[derive(Debug, Clone)]
pub(super) struct Sites(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    most: usize,
    most_of_site: usize,
    all: usize,
    of_sites: HashMap<IpAddr, usize>,
}

/// A place among them; dropped it is free.
#[derive(Debug)]
pub(super) struct Place {
    counts: Arc<Mutex<Counts>>,
    site: IpAddr,
}

impl Sites {
    /// So many at once, and so many of one site.
    pub(super) fn new(most: usize, most_of_site: usize) -> Self {
        let counts = Counts { most, most_of_site, all: 0, of_sites: HashMap::new() };
        Self(Arc::new(Mutex::new(counts)))
    }

    /// A place for somebody at this address, where there is one.
    pub(super) fn begin(&self, address: IpAddr) -> Option<Place> {
        let site = network(address);
        let counts = &mut *self.0.lock();
        let of_site = counts.of_sites.get(&site).copied().unwrap_or_default();
        if counts.all >= counts.most || of_site >= counts.most_of_site {
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
        let sites = Sites::new(1_024, 64);
        let address = |site: u8| IpAddr::from([127, 0, site, 1]);
        let places: Vec<Place> = (0..1_000).filter_map(|_| sites.begin(address(1))).collect();
        assert_eq!(places.len(), 64);
        assert!(sites.begin(address(2)).is_some());
        let more: Vec<Place> = (2..u8::MAX)
            .flat_map(|site| (0..100).map(move |_| address(site)))
            .filter_map(|address| sites.begin(address))
            .collect();
        assert_eq!(places.len() + more.len(), 1_024);
        drop((places, more));
        assert!(sites.0.lock().of_sites.is_empty() && sites.0.lock().all == 0);
    }
}
