//! A bounded queue to one reader on another thread, with a waker for when that reader sleeps. Knows
//! no runtime.
//!
//! The queue is lock-free; the waker is one long-lived `AtomicWaker`, set anew each time the reader
//! finds nothing. A reader that spins pays a load per poll, a parked one is woken once per batch.

use crossbeam::queue::ArrayQueue;
use futures::task::AtomicWaker;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Pause before a queue that was full is tried again.
pub const FULL_RETRY: Duration = Duration::from_millis(1);

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

    /// Queues a message and wakes the reader; waits while the queue is full. For threads that may
    /// wait: no data core, and nobody whom the reader waits for.
    pub fn put(&self, mut message: T) {
        while let Err(back) = self.push(message) {
            message = back;
            self.wake();
            std::thread::sleep(FULL_RETRY);
        }
        self.wake();
    }

    /// Wakes the reader if it sleeps.
    pub fn wake(&self) {
        self.reader.wake();
    }

    /// Has `waker` woken by the next [`Self::wake`]. Look for messages again after this: one that
    /// came before it woke nobody.
    pub fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// The next message.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether at least half of the room is taken.
    pub fn is_half_full(&self) -> bool {
        self.queue.len() * 2 >= self.queue.capacity()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Takes at most `most` messages out of the mailboxes, each with its place among them: in the order
/// of each, one of each in turn, beginning with the `first`th. So one that is always full keeps
/// nobody out.
pub fn take_fairly<T>(
    mailboxes: &[&Mailbox<T>],
    first: usize,
    most: usize,
    mut take: impl FnMut(usize, T),
) {
    let (mut taken, mut empty) = (0, 0);
    for at in (0..mailboxes.len()).cycle().skip(first % mailboxes.len().max(1)) {
        match mailboxes[at].pop() {
            Some(message) => {
                take(at, message);
                (taken, empty) = (taken + 1, 0);
            }
            None => empty += 1,
        }
        if taken == most || empty == mailboxes.len() {
            return;
        }
    }
}

/// Waits until one of the mailboxes holds a message. Only their one reader may call this.
pub async fn any_message<T, U>(first: &Mailbox<T>, others: &[&Mailbox<U>]) {
    let filling: [&Mailbox<()>; 0] = [];
    any_message_or_filling(first, others, &filling).await;
}

/// Waits until one of the mailboxes holds a message, or one of the last ones is half full.
pub async fn any_message_or_filling<T, U, V>(
    first: &Mailbox<T>,
    others: &[&Mailbox<U>],
    filling: &[&Mailbox<V>],
) {
    poll_fn(|context| {
        let some = || {
            !first.is_empty()
                || others.iter().any(|m| !m.is_empty())
                || filling.iter().any(|m| m.is_half_full())
        };
        if some() {
            return Poll::Ready(());
        }
        first.register(context.waker());
        others.iter().for_each(|other| other.register(context.waker()));
        filling.iter().for_each(|other| other.register(context.waker()));
        // A message that came between the look and the registration woke nobody: look again.
        if some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_in_turn_and_no_more_than_asked_for() {
        let mailboxes: Vec<_> = (0..3).map(|_| Mailbox::new(1_000)).collect();
        for mailbox in &mailboxes[..2] {
            (0..1_000).for_each(|n| mailbox.push(n).expect("room"));
        }
        mailboxes[2].push(7).expect("room");
        let all: Vec<_> = mailboxes.iter().collect();
        let mut next = [0, 0, 7];
        let mut took = |first: usize, most: usize| {
            let mut count = [0; 3];
            take_fairly(&all, first, most, |from, message| {
                assert_eq!(message, next[from], "in order");
                next[from] += 1;
                count[from] += 1;
            });
            count
        };
        assert_eq!(took(2, 256), [128, 127, 1]);
        assert_eq!(took(4, 1), [0, 1, 0], "beginning with the one whose turn it is");
        assert_eq!(took(0, 10_000), [872, 872, 0]);
        assert_eq!(took(1, 1), [0, 0, 0]);
        take_fairly(&[] as &[&Mailbox<u8>], 5, 5, |_, _| unreachable!("there is none"));
    }
}
