//! A bounded queue to one reader on another thread, with a waker for when that reader sleeps. Knows no runtime.
//!
//! The queue is lock-free; the waker is one long-lived `AtomicWaker`, set anew each time the reader finds nothing. A reader that
//! spins pays a load per poll, a parked one is woken once per batch.

use crossbeam::queue::ArrayQueue;
use futures::task::AtomicWaker;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A queue with many writers and one sleeping reader.
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    reader: AtomicWaker,
}

impl<T> Mailbox<T> {
    /// A queue of at most `len` messages.
    pub fn new(len: usize) -> Self {
        Self { queue: ArrayQueue::new(len), reader: AtomicWaker::new() }
    }

    /// Queues a message without waking the reader; call [`Self::wake`] after the last of a batch.
    ///
    /// # Errors
    /// The message, when the queue is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.queue.push(message)
    }

    /// Wakes the reader if it sleeps.
    pub fn wake(&self) {
        self.reader.wake();
    }

    /// Has `waker` woken by the next [`Self::wake`]. Look for messages again after this: one that came before it woke nobody.
    pub fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// The next message.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Waits until one of the mailboxes holds a message. Only their one reader may call this.
pub async fn any_message<T, U>(first: &Mailbox<T>, others: &[&Mailbox<U>]) {
    poll_fn(|context| {
        let some = || !first.is_empty() || others.iter().any(|m| !m.is_empty());
        if some() {
            return Poll::Ready(());
        }
        first.register(context.waker());
        for other in others {
            other.register(context.waker());
        }
        // A message that came between the look and the registration woke nobody: look again.
        if some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
