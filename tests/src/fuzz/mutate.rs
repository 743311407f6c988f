//! Inputs made out of others, the same ones with each run: what the suite has instead of a fuzzer.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Longest input that is made, bytes.
const MAX_LEN: usize = 16 * 1024;
/// Bytes at the edges of ranges.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// Makes inputs out of a corpus.
#[derive(Debug)]
pub struct Mutator<'c> {
    corpus: &'c [Vec<u8>],
    random: SmallRng,
}

impl<'c> Mutator<'c> {
    /// Over a corpus of one input at least.
    pub fn new(corpus: &'c [Vec<u8>], seed: u64) -> Self {
        assert!(!corpus.is_empty(), "nothing to make inputs of");
        Self { corpus, random: SmallRng::seed_from_u64(seed) }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let mut bytes = self.corpus[random.random_range(0..self.corpus.len())].clone();
        for _ in 0..random.random_range(1..=8) {
            let at = random.random_range(0..=bytes.len());
            let len = random.random_range(1..=32).min(bytes.len() - at);
            match random.random_range(0..6) {
                0 if len > 0 => bytes[at] ^= 1 << random.random_range(0..8),
                1 if len > 0 => bytes[at] = EDGES[random.random_range(0..EDGES.len())],
                2 => drop(bytes.drain(at..at + len)),
                3 => {
                    let again = bytes[at..at + len].to_vec();
                    drop(bytes.splice(at..at, again));
                }
                4 => {
                    let other = &self.corpus[random.random_range(0..self.corpus.len())];
                    let from = random.random_range(0..=other.len());
                    let len = random.random_range(0..=128).min(other.len() - from);
                    drop(bytes.splice(at..at, other[from..from + len].iter().copied()));
                }
                _ => drop(bytes.splice(
                    at..at,
                    (0..random.random_range(1..=8)).map(|_| random.random()).collect::<Vec<u8>>(),
                )),
            }
        }
        bytes.truncate(MAX_LEN);
        bytes
    }
}
