//! What can happen, and when: the queue of a run.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A message is due, sent from this end of a connection.
    Deliver { conn: usize, from: usize },
    /// Something is due in a run of a node's process.
    Node { node: usize, incarnation: u64, wake: Wake },
    /// A disk ends what it does.
    Disk { node: usize, stream: usize, id: u64 },
    /// A client looks around.
    Client(usize),
    /// The next fault.
    Fault,
    /// A fault ends.
    Mend(Mend),
    /// The operator looks around.
    Operator,
    /// Another policy is wanted.
    Policy,
    /// A change of a named list is wanted.
    List,
}

/// What is due in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Booted,
    Tick,
    Heartbeat,
    Mail {
        core: usize,
    },
    Control,
    Mesh,
    /// The process sees that a write has ended.
    Written {
        stream: usize,
        failed: bool,
    },
    /// A block was held back for long enough.
    Held {
        core: usize,
    },
    Persisted,
    CutStep,
    /// A stream's sender goes on.
    Feed {
        stream: usize,
    },
    SegmentsMade {
        core: usize,
    },
    /// A record of a policy is to be logged again.
    PolicyAgain,
    /// A stream is to be looked at again for windows.
    WindowsAgain,
    /// An attempt at asking a validator comes to something.
    Attempt {
        number: u64,
    },
    /// A look into the shared cache comes to something.
    Looked {
        number: u64,
    },
    /// It is time to look at what asks validators.
    Validators,
    /// A standby looks whether it has the windows of the policy in force.
    StandbyWindows,
}

/// A task of a process that the runtime does not poll for long, whatever it waits for: others of
/// its core go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// A core's deadlines and time-outs.
    Tick,
    /// What the control thread tells the cores.
    Mail,
    /// What cores tell each other.
    Mesh,
    /// What cores tell the control thread.
    Control,
    /// Preparing segments.
    Segments,
    /// Sending a stream's blocks.
    Feed,
    /// The node's own thread: its timers.
    Node,
    /// Seeing that a write has ended.
    Written,
}

impl Task {
    pub const ALL: [Self; 8] = [
        Self::Tick,
        Self::Mail,
        Self::Mesh,
        Self::Control,
        Self::Segments,
        Self::Written,
        Self::Feed,
        Self::Node,
    ];

    /// Whether this is what the task would do.
    pub fn does(self, wake: Wake) -> bool {
        match wake {
            Wake::Tick => self == Self::Tick,
            Wake::Mail { .. } => self == Self::Mail,
            Wake::Mesh => self == Self::Mesh,
            Wake::Control | Wake::PolicyAgain | Wake::WindowsAgain => self == Self::Control,
            Wake::SegmentsMade { .. } => self == Self::Segments,
            Wake::Written { .. } | Wake::Held { .. } => self == Self::Written,
            Wake::Feed { .. } => self == Self::Feed,
            Wake::Heartbeat => self == Self::Node,
            Wake::Booted
            | Wake::Persisted
            | Wake::CutStep
            | Wake::StandbyWindows
            | Wake::Attempt { .. }
            | Wake::Looked { .. }
            | Wake::Validators => false,
        }
    }
}

/// How a fault ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    Start(usize),
    Kill(usize),
    Resume(usize),
    Line {
        from: usize,
        to: usize,
    },
    SlowDisk(usize),
    SlowNetwork,
    Room(usize),
    Clock(usize),
    /// A clock that was set back by an hour is set forth by two.
    ClockForth(usize),
    /// A flapping line changes; so often still.
    Flap {
        from: usize,
        to: usize,
        times: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    at_ns: u64,
    /// Of what is due at once, what was asked for first comes first.
    order: u64,
    pub event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest: the earliest.
        (other.at_ns, other.order).cmp(&(self.at_ns, self.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Everything that is going to happen.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: std::collections::BinaryHeap<Due>,
    order: u64,
}

impl Queue {
    pub fn push(&mut self, at_ns: u64, event: Event) {
        self.order += 1;
        self.heap.push(Due { at_ns, order: self.order, event });
    }

    /// The next thing to happen, and when, up to a time.
    pub fn pop(&mut self, until_ns: u64) -> Option<(u64, Event)> {
        if self.heap.peek()?.at_ns > until_ns {
            return None;
        }
        self.heap.pop().map(|due| (due.at_ns, due.event))
    }
}

/// What waits for a stopped process.
pub(super) type Deferred = VecDeque<Event>;
