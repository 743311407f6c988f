//! Chance that follows from a seed: the same on every machine and with every version of every
//! crate, because a stream of payments is compared over years.
//!
//! Source: SplitMix64, of Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
//! 2014.

/// The odd number that SplitMix64 counts with.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator: small, fast, and fully described by one number.
#[derive(Debug, Clone)]
pub(super) struct Chance {
    state: u64,
}

impl Chance {
    /// The generator of one purpose: two purposes of one seed share nothing.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self { state: keyed(seed, purpose, 0) }
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        scramble(self.state)
    }

    /// A number below `count`.
    pub fn below(&mut self, count: u64) -> u64 {
        scale(self.next(), count)
    }

    /// A number from `low` to `high`, both among them.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, share: u64) -> bool {
        self.below(1_000) < share
    }
}

/// A number that belongs to this thing of this seed, whenever it is asked for; never 0, which would
/// mean unknown in an account or a device.
pub(super) fn keyed(seed: u64, purpose: u64, index: u64) -> u64 {
    let place = scramble(seed ^ scramble(purpose.wrapping_mul(STEP))).wrapping_add(index);
    scramble(place.wrapping_mul(STEP)).max(1)
}

/// The same bits, evenly spread; no two numbers give the same.
pub(super) const fn scramble(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A random 64-bit number as a number below `count`.
pub(super) fn scale(random: u64, count: u64) -> u64 {
    ((u128::from(random) * u128::from(count)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_generator() {
        // The first numbers of SplitMix64 from 1234567, as its authors' C code prints them.
        let mut chance = Chance { state: 1_234_567 };
        let first = [chance.next(), chance.next(), chance.next()];
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut chance = Chance::new(1, 2);
        assert!((0..10_000).all(|_| (5..=7).contains(&chance.between(5, 7))));
        let often = (0..100_000).filter(|_| chance.permille(250)).count();
        assert!((24_000..26_000).contains(&often), "{often}");
        assert_eq!((scale(0, 9), scale(u64::MAX, 9)), (0, 8));
        assert_ne!(keyed(1, 2, 3), keyed(1, 3, 2));
    }
}
