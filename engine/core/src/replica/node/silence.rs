//! How long somebody was not heard.

/// Since when somebody is silent, or something has not happened. Counts only while this node
/// listens: one that stood still heard nobody meanwhile, and what was said waits still to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silence {
    since_ns: u64,
    /// It was begun anew because this node stood still.
    excused: bool,
}

impl Silence {
    /// From now on.
    pub fn begin(now_ns: u64) -> Self {
        Self { since_ns: now_ns, excused: false }
    }

    /// This node stood still: the silence begins anew, once. A node that stands still again and
    /// again would never learn that nobody is there.
    pub fn excuse(&mut self, now_ns: u64) {
        if !std::mem::replace(&mut self.excused, true) {
            self.since_ns = now_ns;
        }
    }

    /// How long it lasts, nanoseconds.
    pub fn lasts(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns)
    }
}
