//! How often what is not known yet is checked: a flood of bad tokens costs bounded work, and stops nobody
//! whose token or key is known.

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Checks each second for one address, and as many at once as come in two seconds. One takes 30 µs (PS256) to 60 µs
/// (ES256), so an address takes half a percent of a processor; a caller that keeps its token needs one in its life.
const PER_ADDRESS: NonZeroU32 = NonZeroU32::new(100).expect("not 0");
const BURST: NonZeroU32 = NonZeroU32::new(200).expect("not 0");
/// The same for all addresses together: at most a quarter of a processor.
const FOR_ALL: NonZeroU32 = NonZeroU32::new(4_000).expect("not 0");
/// Addresses that are remembered; past it those that were silent are forgotten, and where there are none,
/// further ones share one quota.
const MAX_ADDRESSES: usize = 16 * 1024;
/// How often those that were silent are looked for: it passes over all of them.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Counts checks.
pub struct Attempts {
    of_address: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    of_all: DefaultDirectRateLimiter,
    clock: DefaultClock,
    next_forget: Mutex<Instant>,
}

impl Attempts {
    /// None were made yet.
    pub fn new() -> Self {
        let quota = Quota::per_second(PER_ADDRESS).allow_burst(BURST);
        Self {
            of_address: RateLimiter::hashmap(quota),
            of_all: RateLimiter::direct(Quota::per_second(FOR_ALL)),
            clock: DefaultClock::default(),
            next_forget: Mutex::new(Instant::now()),
        }
    }

    /// Takes one check for this address.
    ///
    /// # Errors
    /// How long to wait for one.
    pub fn take(&self, address: IpAddr) -> Result<(), Duration> {
        if self.of_address.len() >= MAX_ADDRESSES {
            let (now, mut next) = (Instant::now(), self.next_forget.lock());
            if now >= *next {
                *next = now + FORGET_EVERY;
                self.of_address.retain_recent();
            }
        }
        let is_full = self.of_address.len() >= MAX_ADDRESSES;
        let key = if is_full { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { network(address) };
        let now = self.clock.now();
        self.of_address.check_key(&key).map_err(|until| until.wait_time_from(now))?;
        self.of_all.check().map_err(|until| until.wait_time_from(now))
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}

/// What one site has: an IPv4 address, or 64 bits of an IPv6 address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_site_ends_and_another_site_goes_on() {
        let attempts = Attempts::new();
        let site = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host));
        let mut refused = None;
        // Were this machine slower than the quota, it would never end: no number is asserted.
        for host in 0..u16::MAX {
            refused = attempts.take(site(host)).err();
            if refused.is_some() {
                break;
            }
        }
        let wait = refused.expect("one site has one quota");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(attempts.take(IpAddr::V4(Ipv4Addr::LOCALHOST)), Ok(()));
        assert_eq!(network("::ffff:1.2.3.4".parse().expect("it is one")).to_string(), "1.2.3.4");
    }

    #[test]
    fn the_memory_of_addresses_is_bounded() {
        let attempts = Attempts::new();
        for number in 0..3 * MAX_ADDRESSES as u32 {
            let _ = attempts.take(IpAddr::V4(Ipv4Addr::from_bits(number)));
        }
        assert!(attempts.of_address.len() <= MAX_ADDRESSES + 1);
    }
}
