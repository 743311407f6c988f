//! The simulator: the real shards, journals, recovery and replication of two nodes under a seeded
//! scheduler, with fake disks, a fake network, fake clocks, and clients that send again what was
//! not answered. One seed is one run, bit for bit.
//!
//! ```text
//! faults, operator ──→ world (queue of events, one source of chance)
//!                        ├─ node: start, recovery, end      ├─ driver: moves the shards
//!                        ├─ replication: moves the node's   ├─ primary, standby: move its streams
//!                        ├─ disk, network, clock            └─ client
//!                        └─ checks: what must hold          trace: what happened
//! ```
//!
//! What a node does about the other one is decided by the state machine that ships,
//! [`catraca_core::replica::node`]; `replication` only carries out what it says. What
//! `engine/node/src/driver` does around a shard, and the threads of `engine/node/src/replication` around a
//! stream, is done here in the same order.

mod broadcast;
mod candidates;
mod checks;
mod client;
mod clock;
mod disk;
mod driver;
mod event;
mod faults;
mod found;
mod frames;
mod lists;
mod network;
mod node;
mod operator;
mod policies;
mod primary;
mod replication;
mod rng;
mod scenario;
mod setup;
mod shared_cache;
mod standby;
mod tally;
mod trace;
mod validators;
mod windows;
mod world;

pub use checks::Checks;
pub use disk::DiskFault;
pub use scenario::PromotionStep;
pub use tally::{FAULTS, OUTCOMES, Tally};
pub use trace::Trace;
pub use world::Sim;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// A promise broken on purpose, to see that the simulator notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Answers before the record is durable here.
    AckBeforeSync,
    /// Answers before the standby has the record.
    AckBeforeStandby,
    /// Keeps the epoch in memory only.
    EpochInMemory,
    /// Takes messages of a lower epoch, and tells nobody it calls how high its own is.
    LowerEpoch,
    /// Cuts the log at damage in its middle.
    TruncatedDamage,
    /// Starts with an empty dedupe table.
    EmptyDedupe,
    /// Takes a used segment for a new one.
    ReusedSegment,
    /// Tells the standby that a block is not here while it is on its way to the disk.
    EarlyMatch,
    /// A standby writes several blocks at once although it holds the grant.
    BlocksWithGrant,
    /// A standby takes the grant while it still writes several blocks at once.
    GrantDuringBlocks,
    /// What a state allows is sent before the state is durable.
    SendBeforePersist,
    /// A replica that has only begun to catch up is counted as holding what the primary holds.
    CountsBeginner,
    /// A policy comes into force on the first shard only.
    PolicyOnOneShard,
    /// A start and a promotion forget the policy in force.
    PolicyForgotten,
    /// A change of a named list reaches the first shard only.
    ListOnOneShard,
    /// A start and a promotion forget the named lists.
    ListsForgotten,
    /// A promotion has windows without a payment.
    WindowsLost,
    /// A standby counts a block's payments twice in its windows.
    WindowsCountedTwice,
    /// A core decides before it takes what its siblings have decided.
    BroadcastNotTaken,
    /// What finds no room in the queue to a sibling is not told.
    BroadcastLost,
    /// A policy is tried with windows without a payment.
    CandidateForgets,
    /// What a validator answers reaches another payment.
    AnswersMixedUp,
}

impl Broken {
    /// All of them, each with its name on the command line.
    pub const ALL: [(&str, Self); 22] = [
        ("ack-before-sync", Self::AckBeforeSync),
        ("ack-before-standby", Self::AckBeforeStandby),
        ("epoch-in-memory", Self::EpochInMemory),
        ("lower-epoch", Self::LowerEpoch),
        ("truncated-damage", Self::TruncatedDamage),
        ("empty-dedupe", Self::EmptyDedupe),
        ("reused-segment", Self::ReusedSegment),
        ("early-match", Self::EarlyMatch),
        ("blocks-with-grant", Self::BlocksWithGrant),
        ("grant-during-blocks", Self::GrantDuringBlocks),
        ("send-before-persist", Self::SendBeforePersist),
        ("counts-beginner", Self::CountsBeginner),
        ("policy-on-one-shard", Self::PolicyOnOneShard),
        ("policy-forgotten", Self::PolicyForgotten),
        ("list-on-one-shard", Self::ListOnOneShard),
        ("lists-forgotten", Self::ListsForgotten),
        ("windows-lost", Self::WindowsLost),
        ("windows-counted-twice", Self::WindowsCountedTwice),
        ("broadcast-not-taken", Self::BroadcastNotTaken),
        ("broadcast-lost", Self::BroadcastLost),
        ("candidate-forgets", Self::CandidateForgets),
        ("answers-mixed-up", Self::AnswersMixedUp),
    ];
}

/// What kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// All chance follows from it.
    pub seed: u64,
    /// Shards of each node.
    pub shards: u16,
    /// Clients.
    pub clients: usize,
    /// How eager they are, of a thousand.
    pub pace_permille: u64,
    /// Block buffers of each shard.
    pub buffers: usize,
    /// Faults are drawn.
    pub faults: bool,
    /// An operator acts by itself.
    pub operator: bool,
    /// Policies come into force, and named lists are changed.
    pub policies: bool,
    /// The operator may use force, and so lose what was answered: the checks of that are not made
    /// once it has.
    pub force: bool,
    /// After this time without its standby a primary goes on alone by itself, milliseconds; 0
    /// never.
    pub solo_after_ms: u64,
    /// How long it is disturbed, milliseconds.
    pub time_ms: u64,
    /// What is broken on purpose.
    pub broken: Option<Broken>,
    /// A node, and the step of its input and output at which it is killed, counted from 1.
    pub kill_at: Option<(usize, u64)>,
}

impl Plan {
    /// The run of a seed: everything may happen.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            shards: [1, 1, 1, 2, 1, 1, 1, 3][(seed % 8) as usize],
            clients: 3 + (seed % 3) as usize,
            pace_permille: 150 + seed % 7 * 60,
            buffers: [4, 4, 4, 1, 2][(seed / 3 % 5) as usize],
            faults: true,
            operator: true,
            policies: seed.is_multiple_of(3),
            force: seed % 10 == 9,
            solo_after_ms: if seed % 9 == 4 { 200 + seed % 8 * 200 } else { 0 },
            time_ms: 3_000 + seed % 5 * 1_500,
            broken: None,
            kill_at: None,
        }
    }

    /// A run in which only happens what a test asks for.
    pub fn directed(seed: u64) -> Self {
        Self {
            faults: false,
            operator: false,
            policies: false,
            force: false,
            solo_after_ms: 0,
            buffers: 4,
            shards: 1,
            clients: 3,
            pace_permille: 300,
            ..Self::of_seed(seed)
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// What was broken, if anything was.
    pub failure: Option<String>,
    /// Stands for everything that happened.
    pub hash: u64,
    /// The last lines of the trace.
    pub trace: Vec<String>,
    /// Transactions that were answered.
    pub answers: usize,
    /// How often what happened.
    pub tally: Tally,
}

/// Runs a plan to its end. A panic of the code under test is a failure like any other.
pub fn run(plan: Plan, echo: bool) -> Report {
    let trace = Rc::new(RefCell::new(Trace::new(echo)));
    let kept = Rc::clone(&trace);
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        let mut sim = Sim::new(plan, kept);
        sim.run_for_ms(plan.time_ms);
        if sim.checks.failure().is_none() {
            sim.finish();
        }
        sim.checks
    }));
    let (checks, panicked) = match outcome {
        Ok(checks) => (checks, None),
        Err(payload) => {
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(payload.downcast_ref::<&str>().copied());
            (Checks::default(), Some(format!("panicked: {}", text.unwrap_or("without a word"))))
        }
    };
    let trace = trace.borrow();
    Report {
        failure: panicked.or_else(|| checks.failure().map(str::to_owned)),
        hash: trace.hash(),
        trace: trace.lines().map(str::to_owned).collect(),
        answers: checks.answers(),
        tally: checks.tally,
    }
}
