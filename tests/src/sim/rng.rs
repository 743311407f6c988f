//! The run's only source of chance.

use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore, SeedableRng};

/// Numbers that follow from the seed alone.
#[derive(Debug)]
pub(super) struct Rng(SmallRng);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// A number from `low` up to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.between(0, len as u64 - 1) as usize
    }

    /// `true` in so many of a thousand cases.
    pub fn permille(&mut self, of_thousand: u64) -> bool {
        self.between(0, 999) < of_thousand
    }

    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
}
