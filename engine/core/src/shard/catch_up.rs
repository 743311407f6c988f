//! Windows for a coming policy, on a shard that goes on deciding: all payments so far are read from the log
//! into them, and those that came meanwhile are kept by the shard and added at last. Pure: whoever moves it does
//! each step and says what came of it.

use super::messages::CaughtUp;

/// How often payments are kept anew because more came than are kept, before it is given up.
const ATTEMPTS: u32 = 20;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUpStep {
    /// Have the shard keep payments, and say behind which record it does ([`CatchUp::keeps`]).
    Keep,
    /// Read the shard's stream up to this record at least, and say how far it was read
    /// ([`CatchUp::has_read`]).
    Read {
        /// A record that is read.
        up_to_lsn: u64,
    },
    /// Hand the windows to the shard, and say what it says ([`CatchUp::told`]).
    HandOver {
        /// The last record that they have.
        has_lsn: u64,
    },
    /// Have the shard add more of what it kept; likewise.
    GoOn,
    /// The windows lack nothing.
    Done,
    /// The shard decides faster than the log is read.
    GaveUp,
}

/// The windows of one shard on their way.
#[derive(Debug, Default)]
pub struct CatchUp {
    attempts: u32,
}

impl CatchUp {
    /// Once all has been read that there was at first.
    pub const fn begin(&self) -> CatchUpStep {
        CatchUpStep::Keep
    }

    /// The shard keeps payments behind this record.
    pub const fn keeps(&self, lsn: u64) -> CatchUpStep {
        CatchUpStep::Read { up_to_lsn: lsn }
    }

    /// All up to this record has been read.
    pub const fn has_read(&self, lsn: u64) -> CatchUpStep {
        CatchUpStep::HandOver { has_lsn: lsn }
    }

    /// The shard has added some of what it kept.
    pub const fn told(&mut self, caught_up: &CaughtUp) -> CatchUpStep {
        match caught_up {
            CaughtUp::Level(_) => CatchUpStep::Done,
            CaughtUp::Behind => CatchUpStep::GoOn,
            CaughtUp::TooFarBehind(..) => {
                self.attempts += 1;
                if self.attempts < ATTEMPTS { CatchUpStep::Keep } else { CatchUpStep::GaveUp }
            }
        }
    }
}
