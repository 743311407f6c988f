//! Windows for a coming policy, on a shard that goes on deciding: all payments so far are read from the log
//! into them, and those that came meanwhile are kept by the shard and added at last. Pure: whoever moves it does
//! each step and says what came of it.
//!
//! Where the windows are of more than the payer, the shard keeps what its siblings decide, too, and their
//! streams are read. It keeps before they are asked from where on they tell it: so what is not kept is read, and
//! what is both is taken once, by its record.

use super::messages::CaughtUp;

/// How often payments are kept anew because more came than are kept, before it is given up.
const ATTEMPTS: u32 = 20;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatchUpStep {
    /// Have the shard keep payments, and say behind which record it does ([`CatchUp::keeps`]).
    Keep,
    /// Have every shard tell its siblings what it decides, and say behind which record of its stream it does
    /// ([`CatchUp::broadcasts`]).
    Broadcast,
    /// Read the streams up to these records at least, by stream, into the windows that are not handed over
    /// ([`CatchUp::has_read`]).
    Read {
        /// The last record of each that is needed; 0: none is.
        up_to_lsns: Box<[u64]>,
    },
    /// Hand the windows to the shard, and say what it says ([`CatchUp::told`]).
    HandOver,
    /// Have the shard add more of what it kept; likewise.
    GoOn,
    /// The windows lack nothing.
    Done,
    /// The shard decides faster than the log is read.
    GaveUp,
}

/// The windows of one shard on their way.
#[derive(Debug)]
pub struct CatchUp {
    shard: u16,
    is_shared: bool,
    attempts: u32,
    /// By stream: the last record that is needed, as far as it is known.
    up_to_lsns: Box<[Option<u64>]>,
}

impl CatchUp {
    /// Of one of so many shards; shared, if payments that its siblings decide belong to them.
    pub fn new(shard: u16, shards: u16, is_shared: bool) -> Self {
        assert!(shard < shards, "shard {shard} of {shards}");
        Self {
            shard,
            is_shared: is_shared && shards > 1,
            attempts: 0,
            up_to_lsns: vec![None; usize::from(shards)].into(),
        }
    }

    /// Once all has been read that there was at first.
    pub const fn begin(&self) -> CatchUpStep {
        CatchUpStep::Keep
    }

    /// The shard keeps payments of its own behind this record.
    pub fn keeps(&mut self, lsn: u64) -> CatchUpStep {
        if self.is_shared {
            self.up_to_lsns.fill(None);
            return CatchUpStep::Broadcast;
        }
        self.up_to_lsns.fill(Some(0));
        self.up_to_lsns[usize::from(self.shard)] = Some(lsn);
        self.read()
    }

    /// A shard tells its siblings what it decides behind this record of its stream. `None`: others are to say
    /// so yet.
    pub fn broadcasts(&mut self, shard: u16, lsn: u64) -> Option<CatchUpStep> {
        self.up_to_lsns[usize::from(shard)] = Some(lsn);
        self.up_to_lsns.iter().all(Option::is_some).then(|| self.read())
    }

    fn read(&self) -> CatchUpStep {
        let up_to_lsns = self.up_to_lsns.iter().map(|lsn| lsn.unwrap_or(0)).collect();
        CatchUpStep::Read { up_to_lsns }
    }

    /// All up to these records has been read.
    pub const fn has_read(&self) -> CatchUpStep {
        CatchUpStep::HandOver
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
