//! Waking a task from another task of the same core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A flag that one task waits for and others set. Set before the wait, it is not lost; set twice,
/// it counts once.
#[derive(Default)]
pub(super) struct Event {
    set: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Event {
    /// Sets the flag, and wakes who waits.
    #[inline]
    pub fn set(&self) {
        if !self.set.replace(true)
            && let Some(waker) = self.waiter.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Waits for the flag and takes it down. One task only.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.set.replace(false) {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
