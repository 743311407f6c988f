//! What another thread sees of a run, and how it ends one early.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Reading the list, making documents, connecting.
    Preparing = 0,
    /// Load that is not measured.
    WarmUp = 1,
    /// Load that is measured.
    Measuring = 2,
    /// No more sends: waiting for answers.
    Draining = 3,
    /// Over.
    Done = 4,
}

/// Shared between the run's thread, which stores, and any other, which reads. Relaxed throughout:
/// these are figures for a person.
#[derive(Debug, Default)]
pub struct Monitor {
    phase: AtomicU8,
    answered: AtomicU64,
    measured_sends: AtomicU64,
    elapsed_ns: AtomicU64,
    stop: AtomicBool,
}

impl Monitor {
    /// For a run that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to send no more, take the answers that are still out, and report.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Where the run is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Preparing,
            1 => Phase::WarmUp,
            2 => Phase::Measuring,
            3 => Phase::Draining,
            _ => Phase::Done,
        }
    }

    /// Transactions answered so far, those of the warm-up included.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Transactions sent so far that are measured.
    pub fn measured_sends(&self) -> u64 {
        self.measured_sends.load(Ordering::Relaxed)
    }

    /// Time since the first send, nanoseconds.
    pub fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn publish(
        &self,
        phase: Phase,
        answered: u64,
        measured_sends: u64,
        elapsed_ns: u64,
    ) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.answered.store(answered, Ordering::Relaxed);
        self.measured_sends.store(measured_sends, Ordering::Relaxed);
        self.elapsed_ns.store(elapsed_ns, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) {
        self.phase.store(Phase::Done as u8, Ordering::Relaxed);
    }
}
