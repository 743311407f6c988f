//! The standby's side of one stream: finds where it parts from the primary's, then takes block
//! after block.
//!
//! ```text
//! Next::Probe ⇄ MATCH …  →  Next::Cut (the unshared tail goes into quarantine, the node starts anew)
//!                   →  Next::Follow  →  BLOCK, BLOCK, …
//! ```
//!
//! Blocks are written one at a time, each durable before the next is begun. A standby without the
//! grant may have several that lie one behind the other in one write ([`Follower::join`]): it has
//! far to go, and a durable write takes much longer than its bytes do.

use super::boundaries::Boundaries;
use super::state::Fenced;
use crate::log::{BlockFault, BlockLocation, SoundBlock, Tail, received_block};
use catraca_wire::block::{
    self, BLOCK_HEAD_LEN, BlockHead, Chain, ChainKey, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN, receipt,
};

/// What the search for the common boundary wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask the primary for this boundary.
    Probe {
        /// Last record before it.
        lsn: u64,
        /// Chain value of the block before it.
        chain: Chain,
    },
    /// What lies behind this boundary is not the primary's. Put it into quarantine, clear it, and
    /// start the node anew: what was cut has been applied to its tables, and only the log tells how
    /// they were without it.
    Cut {
        /// Where the log is to end.
        to: Tail,
    },
    /// Ask for what comes behind this boundary.
    Follow {
        /// Last record before it.
        lsn: u64,
        /// Chain value of the block before it.
        chain: Chain,
    },
}

/// Where a block goes, or several that lie one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Segment.
    pub segment: u32,
    /// Where in it, bytes.
    pub offset: u64,
    /// Length, padding included, bytes.
    pub len: usize,
}

/// What became of a block that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Write it there, durably, alone or with what [`Follower::join`] lets in, then call
    /// [`Follower::written`].
    Write(Placed),
    /// It is durable here already: acknowledge it again.
    Known {
        /// Its last record.
        lsn: u64,
        /// Its receipt.
        receipt: u64,
    },
    /// Older than what is remembered: no answer is needed.
    Old,
}

/// Why the session must end. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FollowFault {
    /// The sender's epoch is over.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The block is not sound, or does not continue this log.
    #[error("a block that does not continue this log: {0}")]
    Block(#[from] BlockFault),
    /// Another block in the place of one that is durable here.
    #[error("another block than the one held here ends with record {0}")]
    OtherBlock(u64),
    /// A message that does not belong here.
    #[error("a message out of order")]
    OutOfOrder,
    /// The primary has removed what this log needs next.
    #[error(
        "the primary's log begins behind record {theirs}, and this node's ends with record {ours}: build this node anew behind its primary \
         (LOG.md, Building a node anew)"
    )]
    Removed {
        /// The last record here.
        ours: u64,
        /// The last one that was removed there.
        theirs: u64,
    },
    /// The primary's log has none of this log's boundaries.
    #[error(
        "the primary's log has no block of this node's, whose log begins behind record {start}. Nothing was cut here: bring a copy of the \
         primary's log, or promote this node instead"
    )]
    NothingShared {
        /// The last record that was cut off here.
        start: u64,
    },
    /// The primary lacks what it called committed.
    #[error(
        "the primary's log ends before record {committed}, which it had called committed: its disk was set back. Nothing was cut here; \
         promote this node instead"
    )]
    LostCommitted {
        /// What it had called committed.
        committed: u64,
    },
}

/// The search for the last common boundary: by doubling steps from the end back, then by halving.
#[derive(Debug, Clone, Copy)]
struct Search {
    /// The highest place known to match.
    low: usize,
    /// The lowest place known not to.
    high: usize,
    step: usize,
    /// A match was found by asking.
    found: bool,
}

impl Search {
    fn candidate(&self) -> Option<usize> {
        if self.high - self.low <= 1 {
            return None;
        }
        Some(if self.found {
            usize::midpoint(self.low, self.high)
        } else {
            self.high.saturating_sub(self.step).max(self.low + 1)
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Searching(Search),
    /// Nothing more is taken until the node has started anew.
    Cutting,
    Following,
}

/// The following of one stream.
#[derive(Debug, Clone)]
pub struct Follower {
    shard: u16,
    cluster_id: [u8; 16],
    key: ChainKey,
    segment_len: u64,
    boundaries: Boundaries,
    epoch: u32,
    committed: u64,
    phase: Phase,
    /// What is being written: one block, or several that lie one behind the other.
    writing: Option<Placed>,
    /// Where the log will end behind each of them.
    ends: Vec<Tail>,
}

impl Follower {
    /// Of a stream whose recovery found these boundaries.
    pub fn new(
        shard: u16,
        cluster_id: [u8; 16],
        key: ChainKey,
        segment_len: u64,
        boundaries: Boundaries,
    ) -> Self {
        let (phase, writing, ends) = (Phase::Following, None, Vec::new());
        Self {
            shard,
            cluster_id,
            key,
            segment_len,
            boundaries,
            epoch: 0,
            committed: 0,
            phase,
            writing,
            ends,
        }
    }

    /// A session with the primary of this epoch begins; the node's state has let it in. What the
    /// last one left unwritten is forgotten.
    pub fn begin(&mut self, epoch: u32) -> Next {
        assert!(epoch >= self.epoch, "the node's state refuses lower epochs");
        assert!(self.writing.is_none(), "a session ends after the write under way");
        self.epoch = epoch;
        let search = Search { low: 0, high: self.boundaries.len(), step: 1, found: false };
        self.phase = Phase::Searching(search);
        self.go_on(search)
    }

    fn go_on(&mut self, search: Search) -> Next {
        if let Some(place) = search.candidate() {
            self.phase = Phase::Searching(search);
            let boundary = self.boundaries.at(place);
            return Next::Probe { lsn: boundary.next_lsn - 1, chain: boundary.previous_chain };
        }
        if search.low + 1 == self.boundaries.len() {
            self.phase = Phase::Following;
            let last = self.boundaries.last();
            return Next::Follow { lsn: last.next_lsn - 1, chain: last.previous_chain };
        }
        self.phase = Phase::Cutting;
        Next::Cut { to: self.boundaries.at(search.low) }
    }

    /// The primary's answer to the last probe. `primary_tail` is the last durable record of its
    /// stream.
    ///
    /// # Errors
    /// [`FollowFault::OutOfOrder`], [`FollowFault::NothingShared`], [`FollowFault::LostCommitted`].
    pub fn matched(&mut self, matches: bool, primary_tail: u64) -> Result<Next, FollowFault> {
        let Phase::Searching(mut search) = self.phase else { return Err(FollowFault::OutOfOrder) };
        let place = search.candidate().ok_or(FollowFault::OutOfOrder)?;
        if matches {
            search.low = place;
            search.found = true;
        } else {
            search.high = place.min(self.boundaries.up_to(primary_tail)).max(search.low + 1);
            search.step *= 2;
        }
        self.checked(search)
    }

    /// Goes on, unless that would cut off what must not be.
    fn checked(&mut self, search: Search) -> Result<Next, FollowFault> {
        let next = self.go_on(search);
        // That a whole stream's start is shared needs no asking. What was cut off is of the log.
        let start = self.boundaries.at(0).next_lsn - 1;
        if let Next::Cut { to } = next
            && to.next_lsn == start + 1
            && start > 0
        {
            return Err(FollowFault::NothingShared { start });
        }
        if let Next::Cut { to } = next
            && to.next_lsn <= self.committed
        {
            return Err(FollowFault::LostCommitted { committed: self.committed });
        }
        Ok(next)
    }

    /// The primary's log begins behind a record, at the end of a block with this chain value, and has
    /// nothing of what was asked. Gives what to do next; `None` for a stream without a block, which may
    /// begin there, too.
    ///
    /// # Errors
    /// [`FollowFault::Removed`], and those of [`Self::matched`].
    pub fn removed(&mut self, theirs: u64, chain: &Chain) -> Result<Option<Next>, FollowFault> {
        let ours = self.boundaries.last().next_lsn - 1;
        if self.boundaries.len() == 1 && theirs > ours {
            return Ok(None);
        }
        // The search stepped over the last boundary that the primary can tell of: it is that one.
        if let Phase::Searching(mut search) = self.phase
            && let Some(shared) = self.boundaries.behind(theirs)
            && shared.previous_chain == *chain
            && let Some(asked) = search.candidate()
            && self.boundaries.at(asked).next_lsn < shared.next_lsn
        {
            search.low = self.boundaries.up_to(theirs) - 1;
            search.found = true;
            return self.checked(search).map(Some);
        }
        Err(FollowFault::Removed { ours, theirs })
    }

    /// A block came from the primary of an epoch, which had committed everything up to a record.
    ///
    /// # Errors
    /// [`FollowFault`].
    pub fn take(&mut self, epoch: u32, committed: u64, bytes: &[u8]) -> Result<Taken, FollowFault> {
        if epoch < self.epoch {
            return Err(Fenced { theirs: epoch, ours: self.epoch }.into());
        }
        if !matches!(self.phase, Phase::Following) || self.writing.is_some() || epoch > self.epoch {
            return Err(FollowFault::OutOfOrder);
        }
        let tail = self.boundaries.last();
        if let Some(head) = block::sound_head(bytes)
            && let Some(known) = self.known(head, &tail)
        {
            return known;
        }
        let block = self.check(bytes, &tail)?;
        let place = Placed {
            segment: block.place.segment,
            offset: block.place.block_offset,
            len: block.head.padded_len(),
        };
        self.committed = self.committed.max(committed);
        let end = Tail::after(&block);
        self.writing = Some(place);
        self.ends.push(end);
        Ok(Taken::Write(place))
    }

    /// The block that came behind the one to be written goes into the same write: gives how long
    /// that is now. `None` where it must come by itself, through [`Self::take`], which also tells
    /// what is wrong with it.
    ///
    /// Only for a node whose durable place says that it catches up: after a crash there may be a
    /// hole in what was written.
    pub fn join(&mut self, epoch: u32, committed: u64, bytes: &[u8]) -> Option<usize> {
        let Placed { segment, offset, len } = self.writing?;
        let tail = *self.ends.last()?;
        if epoch != self.epoch || len + bytes.len() > MAX_BLOCK_LEN {
            return None;
        }
        let block = self.check(bytes, &tail).ok()?;
        if (block.place.segment, block.place.block_offset) != (segment, offset + len as u64) {
            return None;
        }
        let end = Tail::after(&block);
        self.committed = self.committed.max(committed);
        self.ends.push(end);
        let len = len + bytes.len();
        self.writing = Some(Placed { segment, offset, len });
        Some(len)
    }

    /// What an earlier run was told to be committed in an epoch, which is about to be followed.
    /// What was known of an epoch before it does not count any more: its end may have been lost
    /// with its primary.
    pub fn remember(&mut self, epoch: u32, committed: u64) {
        let known = if epoch == self.epoch { self.committed } else { 0 };
        self.committed = known.max(committed);
    }

    /// The write that was asked for, with all that joined it, was not begun, and will not be.
    pub fn not_written(&mut self) {
        assert!(self.writing.take().is_some(), "nothing is to be written");
        self.ends.clear();
    }

    /// The blocks being written, oldest first, whose records are to be applied once they are
    /// durable. `bytes` are those that [`Self::take`] and [`Self::join`] have checked, one behind
    /// the other.
    pub fn blocks_of<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = SoundBlock<'b>> + use<'b> {
        let Placed { segment, offset, len } = self.writing.expect("take has asked for a write");
        assert_eq!(len, bytes.len(), "other bytes than those that were checked");
        let (shard, mut at) = (self.shard, 0);
        std::iter::from_fn(move || {
            let bytes = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let head = block::sound_head(bytes).expect("these bytes were checked");
            let place = BlockLocation {
                shard,
                segment,
                block_offset: offset + at as u64,
                epoch: head.epoch.to_native(),
                chain: head.chain,
            };
            at += head.padded_len();
            let payload =
                &bytes[BLOCK_HEAD_LEN..BLOCK_HEAD_LEN + head.payload_len.to_native() as usize];
            Some(SoundBlock { head, payload, place })
        })
    }

    fn check<'b>(&self, bytes: &'b [u8], tail: &Tail) -> Result<SoundBlock<'b>, BlockFault> {
        let len = bytes.len() as u64;
        let fits = tail.offset + len <= self.segment_len;
        let (segment, offset) = if fits {
            (tail.segment, tail.offset)
        } else {
            (tail.segment + 1, SEGMENT_HEAD_LEN as u64)
        };
        received_block(bytes, self.cluster_id, self.shard, tail, &self.key, segment, offset)
    }

    /// A block whose records were numbered before: sent twice, or from a connection that is gone.
    fn known(&self, head: &BlockHead, tail: &Tail) -> Option<Result<Taken, FollowFault>> {
        let last_lsn =
            head.first_lsn.to_native().checked_add(u64::from(head.record_count.to_native()))? - 1;
        if last_lsn >= tail.next_lsn {
            return None;
        }
        Some(match self.boundaries.behind(last_lsn) {
            Some(boundary) if boundary.previous_chain == head.chain => {
                Ok(Taken::Known { lsn: last_lsn, receipt: receipt(&head.chain) })
            }
            Some(_) => Err(FollowFault::OtherBlock(last_lsn)),
            None => Ok(Taken::Old),
        })
    }

    /// The write is durable: gives what to acknowledge, the last record and the receipt of its
    /// block.
    pub fn written(&mut self) -> (u64, u64) {
        assert!(self.writing.take().is_some(), "one report for each write that was asked for");
        for end in self.ends.drain(..) {
            self.boundaries.push(end);
        }
        let end = self.boundaries.last();
        (end.next_lsn - 1, receipt(&end.previous_chain))
    }

    /// Where the stream ends, durably.
    pub fn tail(&self) -> Tail {
        self.boundaries.last()
    }

    /// Length of the stream's segments, bytes.
    pub fn segment_len(&self) -> u64 {
        self.segment_len
    }

    /// Last record that the primary is known to have committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(lsn: u64) -> Tail {
        Tail { next_lsn: lsn + 1, previous_chain: [lsn as u8; 32], ..Tail::START }
    }

    /// Of a stream with blocks of ten records.
    fn follower(start: u64, blocks: u64) -> Follower {
        let mut boundaries =
            Boundaries::from_start(if start == 0 { Tail::START } else { boundary(start) });
        (1..=blocks).for_each(|block| boundaries.push(boundary(start + 10 * block)));
        Follower::new(0, [1; 16], [2; 32], 1 << 20, boundaries)
    }

    #[test]
    fn a_stream_without_a_block_begins_where_the_primarys_does() {
        let mut follower = follower(0, 0);
        assert_eq!(follower.begin(1), Next::Follow { lsn: 0, chain: [0; 32] });
        assert_eq!(follower.removed(50, &[50; 32]), Ok(None));
        // Also one that began there before, and is behind again.
        let mut follower = super::tests::follower(50, 0);
        assert_eq!(follower.begin(1), Next::Follow { lsn: 50, chain: [50; 32] });
        assert_eq!(follower.removed(90, &[90; 32]), Ok(None));
        let refused = Err(FollowFault::Removed { ours: 50, theirs: 50 });
        assert_eq!(follower.removed(50, &[50; 32]), refused, "it is not ahead");
    }

    #[test]
    fn a_search_that_steps_over_what_was_removed_goes_on_from_there() {
        // The primary has removed everything up to 80, and parts from this log behind 90.
        let mut follower = follower(0, 12);
        let mut next = follower.begin(1);
        let mut asked = Vec::new();
        let cut = loop {
            let Next::Probe { lsn, .. } = next else { break next };
            asked.push(lsn);
            assert!(asked.len() < 20, "{asked:?}");
            next = if lsn < 80 {
                follower
                    .removed(80, &[80; 32])
                    .expect("it holds that block")
                    .expect("it has blocks")
            } else {
                follower.matched(lsn <= 90, 1_000).expect("in order")
            };
        };
        assert!(asked.iter().any(|&lsn| lsn < 80), "{asked:?}");
        assert_eq!(cut, Next::Cut { to: boundary(90) }, "{asked:?}");
        // Another block there, or none: it has to be built anew, and nothing is cut.
        for (theirs, chain) in [(50, [9; 32]), (55, [55; 32]), (500, [1; 32])] {
            let mut follower = super::tests::follower(0, 12);
            follower.begin(1);
            let refused = Err(FollowFault::Removed { ours: 120, theirs });
            assert_eq!(follower.removed(theirs, &chain), refused);
        }
    }

    #[test]
    fn a_log_that_begins_later_is_never_cut_off_whole() {
        let mut follower = follower(50, 5);
        let mut next = Ok(follower.begin(1));
        while let Ok(Next::Probe { .. }) = next {
            next = follower.matched(false, 1_000);
        }
        assert_eq!(next, Err(FollowFault::NothingShared { start: 50 }));
    }
}
