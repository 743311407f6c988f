//! Which sockets are ready: epoll, for runs with many connections or a thread that should sleep.

use crate::connection::Connection;
use crate::options::Wait;
use rustix::event::{Timespec, epoll};
use std::num::NonZeroU64;

/// Ready connections taken from epoll at once.
const READY_BATCH: usize = 256;

/// Which connections have something to read.
pub struct Poller {
    epoll: rustix::fd::OwnedFd,
    ready: Vec<epoll::Event>,
    /// Per connection, whether it waits for its socket to take more.
    wants_write: Vec<bool>,
    sleeps: bool,
}

impl Poller {
    /// Watches all connections; `wait` says whether [`Self::wait`] may sleep.
    pub fn new(connections: &[Connection], wait: Wait) -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, connection) in connections.iter().enumerate() {
            epoll::add(
                &epoll,
                connection.socket(),
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
        }
        if wait == Wait::Epoll {
            // The kernel may end a sleep 50 us late to save wake-ups, unless it is told otherwise;
            // that would show as latency. Where it refuses, sleeps are that much longer and late
            // sends say so.
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        }
        let wants_write = vec![false; connections.len()];
        Ok(Self {
            epoll,
            ready: Vec::with_capacity(READY_BATCH),
            wants_write,
            sleeps: wait == Wait::Epoll,
        })
    }

    /// Asks which connections are ready, sleeping up to `sleep_ns` until one is.
    pub fn wait(&mut self, sleep_ns: u64) -> rustix::io::Result<()> {
        let sleep_ns = if self.sleeps { sleep_ns } else { 0 };
        let timeout = Timespec {
            tv_sec: (sleep_ns / 1_000_000_000) as i64,
            tv_nsec: (sleep_ns % 1_000_000_000) as i64,
        };
        self.ready.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.ready),
            Some(&timeout),
        ) {
            // A signal: the loop looks at the monitor and comes back.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Also waits for a connection's socket to take more, while it holds something unwritten.
    pub fn want_write(&mut self, index: usize, connection: &Connection) -> rustix::io::Result<()> {
        let wanted = connection.has_unwritten();
        if self.wants_write[index] != wanted {
            self.wants_write[index] = wanted;
            let flags = if wanted {
                epoll::EventFlags::IN | epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            epoll::modify(
                &self.epoll,
                connection.socket(),
                epoll::EventData::new_u64(index as u64),
                flags,
            )?;
        }
        Ok(())
    }

    /// The ready connection at this position of what the last [`Self::wait`] found, and whether its
    /// socket takes more.
    #[inline]
    pub fn ready(&self, position: usize) -> Option<(usize, bool)> {
        let event = self.ready.get(position)?;
        // Copied out, because the kernel's struct is packed.
        let (flags, data) = (event.flags, event.data);
        Some((data.u64() as usize, flags.contains(epoll::EventFlags::OUT)))
    }
}
