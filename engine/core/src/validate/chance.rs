//! Chance out of a seed, so that a simulation is repeated by its seed (SplitMix64).

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of 0 up to and including `most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        ((u128::from(self.next()) * (u128::from(most) + 1)) >> 64) as u64
    }

    /// A time, shortened by up to so many percent of it.
    pub fn shortened(&mut self, time_ns: u64, percent: u64) -> u64 {
        debug_assert!(percent <= 100);
        time_ns - self.up_to(time_ns / 100 * percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chance_keeps_to_its_bounds(seed: u64, most: u64, percent in 0..=100u64) {
            let mut chance = Chance::new(seed);
            for _ in 0..20 {
                prop_assert!(chance.up_to(most) <= most);
                let shortened = chance.shortened(most, percent);
                prop_assert!(shortened <= most && shortened >= most - most / 100 * percent);
            }
        }
    }

    #[test]
    fn every_number_comes_by_and_by() {
        let mut chance = Chance::new(7);
        let mut seen = [0u32; 5];
        for _ in 0..1_000 {
            seen[chance.up_to(4) as usize] += 1;
        }
        assert!(seen.iter().all(|times| (100..350).contains(times)), "{seen:?}");
    }
}
