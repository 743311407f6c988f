//! The cache of validators' answers that processes share: it answers soon, late, never, wrongly read, and is emptied now and
//! then. It outlives processes.

use super::event::Wake;
use super::world::{MS, Sim};
use catraca_core::validate::{LookId, Looked, SharedAnswer};
use std::collections::BTreeMap;

/// How long a look may take, milliseconds.
pub(super) const LOOK_MS: u64 = 5;
/// Most answers: the first one goes where there are more.
const MOST: usize = 256;

/// What lies there, by key.
#[derive(Default)]
pub(super) struct SharedCache(BTreeMap<u128, Entry>);

struct Entry {
    answer: i64,
    put_ns: u64,
    good_for_ns: u64,
    stale_for_ns: u64,
}

impl Sim {
    /// A look begins.
    pub(super) fn look(&mut self, node: usize, asker: usize, look: LookId, key: u128) {
        let now_ns = self.now_ns;
        let found = self.shared_cache.0.get(&key).map(|entry| {
            let age_ns = now_ns - entry.put_ns;
            let end_ns = entry.good_for_ns + entry.stale_for_ns;
            let good_for_ns = entry.good_for_ns.saturating_sub(age_ns);
            let stale_for_ns = end_ns.saturating_sub(age_ns) - good_for_ns;
            Looked::Found(SharedAnswer { answer: entry.answer, age_ns, good_for_ns, stale_for_ns })
        });
        let found = found.unwrap_or(Looked::Nothing);
        let rng = &mut self.validator_rng;
        let (after_ns, looked) = match rng.between(0, 99) {
            0..=74 => (rng.between(1, 3_000_000), found),
            75..=84 => (rng.between(1, 30) * MS, found),
            85..=92 => (rng.between(1, 3_000_000), Looked::Failed),
            // Nothing comes, and what lies there is lost.
            93 => {
                self.shared_cache.0.clear();
                (100 * MS, Looked::Nothing)
            }
            _ => (100 * MS, found),
        };
        if matches!(looked, Looked::Failed) || after_ns >= LOOK_MS * MS {
            self.checks.count("looks into the shared cache that failed or came late");
        }
        let of_validators = &mut self.process(node).validators;
        let number = of_validators.next_attempt;
        of_validators.next_attempt += 1;
        of_validators.looks.insert(number, (asker, look, looked));
        self.wake_in(node, after_ns, Wake::Looked { number });
    }

    /// A look has come to something.
    pub(super) fn looked(&mut self, node: usize, number: u64) {
        let now_ns = self.clock(node).mono_ns;
        let of_validators = &mut self.process(node).validators;
        let Some((asker, look, looked)) = of_validators.looks.remove(&number) else { return };
        let mut effects = Vec::new();
        of_validators.askers[asker].looked(look, looked, now_ns, &mut effects);
        self.carry_out_asking(node, asker, effects);
    }

    /// An answer is put, mostly.
    pub(super) fn share(&mut self, key: u128, answer: i64, good_and_stale_ns: (u64, u64)) {
        if self.validator_rng.permille(100) {
            return;
        }
        let (good_for_ns, stale_for_ns) = good_and_stale_ns;
        let entry = Entry { answer, put_ns: self.now_ns, good_for_ns, stale_for_ns };
        self.shared_cache.0.insert(key, entry);
        if self.shared_cache.0.len() > MOST {
            self.shared_cache.0.pop_first();
        }
    }
}
