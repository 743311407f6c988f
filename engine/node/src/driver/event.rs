//! Waking a task from another task of the same core.

use glommio::timer::Timer;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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
        poll_fn(|context| self.poll(context)).await;
    }

    /// The same, and no longer than this.
    pub async fn wait_at_most(&self, time: Duration) {
        let mut timer = pin!(Timer::new(time));
        poll_fn(|context| match self.poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => timer.as_mut().poll(context).map(drop),
        })
        .await;
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.set.replace(false) {
            return Poll::Ready(());
        }
        *self.waiter.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}
