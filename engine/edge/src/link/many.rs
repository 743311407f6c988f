//! Many requests of one batch: their outcomes come together, and of what may wait at once each batch has a
//! share, so that single requests always find room.

use super::driver::Link;
use super::request::{Outcome, Request};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Of the requests that may wait at once, batches have at most one in so many together.
const PART_OF_ALL: usize = 2;
/// The most of one batch: what a node answers in some milliseconds, and 300 KiB.
const MOST_OF_ONE: usize = 1_024;

/// Where an outcome goes.
#[derive(Debug)]
pub(super) enum Reply {
    /// To who asked for nothing else.
    One(oneshot::Sender<Outcome>),
    /// To a batch, with the number that it gave the request.
    Numbered(Arc<Batch>, u64),
}

/// One batch, until the last of its requests has ended: who goes away keeps the share as long.
#[derive(Debug)]
pub(super) struct Batch {
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
    batches: Arc<AtomicUsize>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.batches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reply {
    /// Who has gone away is not told.
    pub(super) fn tell(self, outcome: Outcome) {
        match self {
            Self::One(reply) => drop(reply.send(outcome)),
            Self::Numbered(batch, number) => drop(batch.outcomes.send((number, outcome))),
        }
    }
}

/// Asks for many, and has what came of them.
#[derive(Debug)]
pub struct Many {
    link: Link,
    batch: Arc<Batch>,
    /// Not longer than what [`Self::share`] let wait.
    outcomes: mpsc::UnboundedReceiver<(u64, Outcome)>,
}

impl Many {
    /// Over this link, which has so many batches besides.
    pub(super) fn of(link: Link, batches: &Arc<AtomicUsize>) -> Self {
        let (to, outcomes) = mpsc::unbounded_channel();
        batches.fetch_add(1, Ordering::Relaxed);
        let batch = Arc::new(Batch { outcomes: to, batches: Arc::clone(batches) });
        Self { link, batch, outcomes }
    }

    /// How many of this batch may wait at once, at least 1. Less when another batch begins: it asks for no more until
    /// enough have ended.
    pub fn share(&self) -> usize {
        share(self.link.max_in_flight(), self.batch.batches.load(Ordering::Relaxed))
    }

    /// Asks; the outcome comes with this number.
    ///
    /// # Errors
    /// [`Outcome::Full`] and [`Outcome::Closed`], where it was not taken.
    pub fn ask(&self, number: u64, request: Request, deadline: Instant) -> Result<(), Outcome> {
        self.link.begin(request, deadline, Reply::Numbered(Arc::clone(&self.batch), number))
    }

    /// The next outcome, where one has come.
    pub fn ended(&mut self) -> Option<(u64, Outcome)> {
        self.outcomes.try_recv().ok()
    }

    /// Waits for the next outcome. Given up, none is lost.
    pub async fn next(&mut self) -> Option<(u64, Outcome)> {
        self.outcomes.recv().await
    }
}

fn share(max_in_flight: usize, batches: usize) -> usize {
    (max_in_flight / PART_OF_ALL / batches.max(1)).clamp(1, MOST_OF_ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_share_a_part_and_leave_the_rest() {
        assert_eq!(share(4_096, 1), 1_024);
        assert_eq!(share(4_096, 4), 512);
        assert_eq!((share(4, 1), share(4, 2), share(1, 64)), (2, 1, 1));
        for batches in 1..64 {
            assert!(share(4_096, batches) * batches <= 2_048);
        }
    }
}
