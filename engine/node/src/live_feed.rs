//! Blocks on their way from a data core to the thread that sends them to the standby: copies,
//! because the core's own buffer belongs to the disk meanwhile. Knows no runtime.
//!
//! Bounded, and never waited for: a block that does not fit is left out, and the sender finds it on
//! the disk.

use crossbeam::queue::ArrayQueue;
use crossbeam::sync::{Parker, Unparker};
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// Most blocks that wait.
const MAX_BLOCKS: usize = 256;
/// Most bytes of them: a standby that falls further behind is fed from the disk.
const MAX_LEN: usize = 16 * 1024 * 1024;

/// The feed of one shard.
#[derive(Debug)]
pub struct LiveFeed {
    attached: AtomicBool,
    queue: ArrayQueue<Vec<u8>>,
    /// Memory to use again, so that a warm feed allocates nothing.
    spare: ArrayQueue<Vec<u8>>,
    waiting_len: AtomicUsize,
    /// Bytes of the memory to use again, so that what grew once for large blocks does not stay by
    /// the hundred.
    spare_len: AtomicUsize,
    handed_lsn: AtomicU64,
    durable_lsn: AtomicU64,
    wake: Unparker,
    parker: Mutex<Parker>,
}

impl Default for LiveFeed {
    fn default() -> Self {
        let parker = Parker::new();
        Self {
            attached: AtomicBool::new(false),
            queue: ArrayQueue::new(MAX_BLOCKS),
            spare: ArrayQueue::new(MAX_BLOCKS),
            waiting_len: AtomicUsize::new(0),
            spare_len: AtomicUsize::new(0),
            handed_lsn: AtomicU64::new(0),
            durable_lsn: AtomicU64::new(0),
            wake: parker.unparker().clone(),
            parker: Mutex::new(parker),
        }
    }
}

impl LiveFeed {
    /// A block that ends with this record goes to the disk; on the data core.
    #[inline]
    pub fn push(&self, block: &[u8], last_lsn: u64) {
        self.handed_lsn.store(last_lsn, Ordering::Release);
        // With that of `attach`: either this sees that it is attached, or the sender sees what was
        // handed over and fetches it from the disk.
        fence(Ordering::SeqCst);
        if !self.attached.load(Ordering::Relaxed)
            || self.waiting_len.load(Ordering::Relaxed) + block.len() > MAX_LEN
        {
            return;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        self.spare_len.fetch_sub(copy.capacity(), Ordering::Relaxed);
        copy.clear();
        copy.extend_from_slice(block);
        self.waiting_len.fetch_add(block.len(), Ordering::Relaxed);
        if self.queue.push(copy).is_err() {
            self.waiting_len.fetch_sub(block.len(), Ordering::Relaxed);
        }
        self.wake.unpark();
    }

    /// Everything up to this record is durable; on the data core.
    #[inline]
    pub fn set_durable(&self, lsn: u64) {
        self.durable_lsn.store(lsn, Ordering::Release);
    }

    /// The last durable record: what may be read from the disk.
    pub fn durable_lsn(&self) -> u64 {
        self.durable_lsn.load(Ordering::Acquire)
    }

    /// The last record handed to the disk in this run; 0 before the first.
    pub fn handed_lsn(&self) -> u64 {
        self.handed_lsn.load(Ordering::Acquire)
    }

    /// Begins to copy blocks, or ends it and drops what waits.
    pub fn attach(&self, attached: bool) {
        self.attached.store(attached, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !attached {
            while let Some(block) = self.pop() {
                drop(block);
            }
        }
    }

    /// Whether blocks are copied.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Relaxed)
    }

    /// The next block.
    pub fn pop(&self) -> Option<Vec<u8>> {
        let block = self.queue.pop()?;
        self.waiting_len.fetch_sub(block.len(), Ordering::Relaxed);
        Some(block)
    }

    /// Gives a block's memory back.
    pub fn recycle(&self, block: Vec<u8>) {
        // Enough: it is freed, which costs the sender and not the core.
        let len = block.capacity();
        if self.spare_len.load(Ordering::Relaxed) + len <= MAX_LEN {
            self.spare_len.fetch_add(len, Ordering::Relaxed);
            if self.spare.push(block).is_err() {
                self.spare_len.fetch_sub(len, Ordering::Relaxed);
            }
        }
    }

    /// Wakes the sender.
    pub fn wake(&self) {
        self.wake.unpark();
    }

    /// For the one sender: what it sleeps on, woken by the next block or [`Self::wake`].
    pub fn parker(&self) -> MutexGuard<'_, Parker> {
        self.parker.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out() {
        let feed = LiveFeed::default();
        feed.push(&[1; 4096], 1);
        assert_eq!(feed.handed_lsn(), 1);
        assert!(feed.pop().is_none(), "nobody is attached");
        feed.attach(true);
        let block = vec![7; 1 << 20];
        (0..100).for_each(|lsn| feed.push(&block, 2 + lsn));
        let mut count = 0;
        while let Some(copy) = feed.pop() {
            assert_eq!(copy, block);
            feed.recycle(copy);
            count += 1;
        }
        assert_eq!(count, 16);
        feed.push(&block, 102);
        feed.attach(false);
        assert!(feed.pop().is_none());
    }
}
