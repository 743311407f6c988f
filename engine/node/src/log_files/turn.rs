//! Who may replace or remove whole segment files: one at a time, and a cut of the log before anybody
//! else. Packing takes seconds, and a standby that is to follow must not wait for it.

use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU32, Ordering};

/// The turn.
#[derive(Debug, Default)]
pub struct Turn {
    held: Mutex<()>,
    /// Cuts that wait for it.
    waiting: AtomicU32,
}

impl Turn {
    /// The turn for work that can wait; whoever has it asks [`Self::is_wanted`] between two pieces of
    /// work, and gives up where it is. `None` where a cut has it, or wants it.
    pub fn if_free(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is_wanted() { None } else { self.held.try_lock() }
    }

    /// Whether a cut waits.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The turn for a cut, as soon as the work under way has given up.
    pub fn for_cut(&self) -> MutexGuard<'_, ()> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = self.held.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_cut_goes_before_work_that_can_wait() {
        let turn = Turn::default();
        let working = turn.if_free().expect("nobody else is there");
        assert!(turn.if_free().is_none(), "one at a time");
        assert!(!turn.is_wanted());
        std::thread::scope(|scope| {
            let cut = scope.spawn(|| drop(turn.for_cut()));
            while !turn.is_wanted() {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(!cut.is_finished(), "what is under way gives up first");
            drop(working);
            cut.join().expect("it got its turn");
        });
        assert!(turn.if_free().is_some());
    }
}
