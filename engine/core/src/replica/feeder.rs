//! The primary's side of one stream: which block goes next, how much may be under way, what an
//! acknowledgement means.

use catraca_wire::block::{BlockHead, Chain, receipt};
use std::collections::VecDeque;

/// Bytes of blocks sent and not acknowledged, at most: several of the largest blocks, so that the
/// line never runs dry, and little enough that a standby which fell silent is noticed before much
/// piles up.
pub const MAX_UNACKNOWLEDGED_LEN: usize = 8 * 1024 * 1024;
/// The same in blocks.
pub const MAX_UNACKNOWLEDGED: usize = 1024;

/// The standby said what can't be; the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedFault {
    /// An acknowledgement of something that was not sent.
    #[error("the standby acknowledged record {0}, the end of no block that was sent")]
    UnknownAck(u64),
    /// The standby holds another block in this place.
    #[error("the standby holds another block that ends with record {0}")]
    OtherBlock(u64),
    /// A block that does not follow the one sent before.
    #[error("the block that begins with record {found} does not follow record {expected}")]
    Gap {
        /// Where the block should begin.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// It asks again before it was told.
    #[error("the standby asks for another boundary before it was told of the last")]
    Impatient,
    /// It wants what lies behind a boundary that is not here.
    #[error("the standby wants what follows record {0}, which is not here")]
    NotHere(u64),
}

/// Where a stream's blocks are, as whoever sends them sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedView {
    /// Nothing goes out until the standby holds the first stream
    /// ([`Session::begins_to_feed_all`](super::Session::begins_to_feed_all)).
    pub held: bool,
    /// The last durable record: up to it blocks can be read from the disk.
    pub durable: u64,
    /// The last record that was handed to the disk.
    pub handed: u64,
    /// Blocks are copied into the live feed as they are handed to the disk. True of a stream that
    /// nobody writes any more, which has none.
    pub attached: bool,
    /// First record of the block at the head of the live feed, where there is one.
    pub live: Option<u64>,
}

/// What whoever sends a stream's blocks does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedStep {
    /// Send the block at the head of the live feed.
    SendLive,
    /// Pass over the block at the head of the live feed: it went out from the disk.
    DropLive,
    /// Send the next block from the disk.
    SendFromDisk,
    /// Have blocks copied into the live feed from now on.
    Attach,
    /// Look again in a moment: the next block is on its way to the disk, and was left out of the
    /// live feed.
    Soon,
    /// Nothing to do until a block is handed over, or an acknowledgement comes.
    Rest,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    last_lsn: u64,
    receipt: u64,
    len: usize,
}

/// The feeding of one stream, from the boundary that both sides hold.
#[derive(Debug, Clone)]
pub struct Feeder {
    next_lsn: u64,
    chain: Chain,
    acknowledged: u64,
    under_way: VecDeque<Sent>,
    under_way_len: usize,
}

impl Feeder {
    /// From behind the record `lsn`, at the end of the block with this chain value.
    pub fn new(lsn: u64, chain: Chain) -> Self {
        Self {
            next_lsn: lsn + 1,
            chain,
            acknowledged: lsn,
            under_way: VecDeque::new(),
            under_way_len: 0,
        }
    }

    /// First record of the block that is to be sent next.
    pub fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// Chain value of the block sent last.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The last record that is durable at the standby.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether another block may be sent now.
    pub fn has_room(&self) -> bool {
        self.under_way.len() < MAX_UNACKNOWLEDGED && self.under_way_len < MAX_UNACKNOWLEDGED_LEN
    }

    /// What comes next. The live feed is bounded and leaves out what does not fit, and it is
    /// attached only when all before it went out from the disk: so a block may be in both, or in
    /// none until it is durable.
    pub fn step(&self, view: FeedView) -> FeedStep {
        if view.held || !self.has_room() {
            return FeedStep::Rest;
        }
        match view.live {
            Some(first) if first == self.next_lsn => return FeedStep::SendLive,
            Some(first) if first < self.next_lsn => return FeedStep::DropLive,
            // Blocks were left out before it: they come from the disk first.
            Some(_) | None => {}
        }
        if view.durable >= self.next_lsn {
            FeedStep::SendFromDisk
        } else if !view.attached {
            FeedStep::Attach
        } else if view.live.is_some() || view.handed >= self.next_lsn {
            FeedStep::Soon
        } else {
            FeedStep::Rest
        }
    }

    /// What the standby may be told to be committed: what both disks have, whatever answers wait
    /// for, and what the shard has said, which knows of more where they wait for nobody.
    pub fn committed(&self, durable: u64, said: u64) -> u64 {
        said.max(durable.min(self.acknowledged))
    }

    /// A block goes out.
    ///
    /// # Errors
    /// [`FeedFault::Gap`] when it is not the next; nothing changed.
    pub fn sent(&mut self, head: &BlockHead) -> Result<(), FeedFault> {
        let first_lsn = head.first_lsn.to_native();
        if first_lsn != self.next_lsn || head.previous_chain != self.chain {
            return Err(FeedFault::Gap { expected: self.next_lsn, found: first_lsn });
        }
        let last_lsn = first_lsn + u64::from(head.record_count.to_native()) - 1;
        let len = head.padded_len();
        self.under_way.push_back(Sent { last_lsn, receipt: receipt(&head.chain), len });
        self.under_way_len += len;
        self.next_lsn = last_lsn + 1;
        self.chain = head.chain;
        Ok(())
    }

    /// The standby says that its log is durable up to the end of a block; gives that. One that was
    /// acknowledged before tells nothing new.
    ///
    /// # Errors
    /// [`FeedFault`]: what it holds is not what was sent.
    pub fn acknowledge(&mut self, lsn: u64, its_receipt: u64) -> Result<u64, FeedFault> {
        if lsn <= self.acknowledged {
            return Ok(self.acknowledged);
        }
        let place = self
            .under_way
            .iter()
            .position(|sent| sent.last_lsn == lsn)
            .ok_or(FeedFault::UnknownAck(lsn))?;
        if self.under_way[place].receipt != its_receipt {
            return Err(FeedFault::OtherBlock(lsn));
        }
        for sent in self.under_way.drain(..=place) {
            self.under_way_len -= sent.len;
        }
        self.acknowledged = lsn;
        Ok(lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn head(first_lsn: u64, records: u32, previous: Chain, chain: Chain) -> BlockHead {
        let mut head = BlockHead::zeroed();
        head.first_lsn = first_lsn.into();
        head.record_count = records.into();
        head.payload_len = (records * 256).into();
        head.previous_chain = previous;
        head.chain = chain;
        head
    }

    #[test]
    fn blocks_go_out_in_order_and_come_back_as_sent() {
        let mut feeder = Feeder::new(4, [4; 32]);
        assert_eq!(
            feeder.sent(&head(6, 1, [4; 32], [5; 32])),
            Err(FeedFault::Gap { expected: 5, found: 6 })
        );
        assert_eq!(
            feeder.sent(&head(5, 1, [9; 32], [5; 32])),
            Err(FeedFault::Gap { expected: 5, found: 5 })
        );
        feeder.sent(&head(5, 2, [4; 32], [5; 32])).expect("next");
        feeder.sent(&head(7, 1, [5; 32], [6; 32])).expect("next");
        assert_eq!(
            feeder.acknowledge(5, 0),
            Err(FeedFault::UnknownAck(5)),
            "the middle of a block"
        );
        assert_eq!(feeder.acknowledge(6, receipt(&[7; 32])), Err(FeedFault::OtherBlock(6)));
        assert_eq!(feeder.acknowledge(7, receipt(&[6; 32])), Ok(7), "all before it as well");
        assert_eq!(feeder.acknowledge(6, receipt(&[5; 32])), Ok(7), "said twice, or late");
        assert_eq!(feeder.acknowledge(8, 0), Err(FeedFault::UnknownAck(8)));
    }

    #[test]
    fn each_block_goes_out_once_from_wherever_it_is_first() {
        let feeder = Feeder::new(4, [4; 32]);
        let view = FeedView { held: false, durable: 4, handed: 4, attached: true, live: None };
        for (view, step) in [
            (FeedView { held: true, durable: 9, attached: false, ..view }, FeedStep::Rest),
            (FeedView { attached: false, ..view }, FeedStep::Attach),
            (FeedView { durable: 9, attached: false, ..view }, FeedStep::SendFromDisk),
            (view, FeedStep::Rest),
            (FeedView { live: Some(5), ..view }, FeedStep::SendLive),
            (FeedView { live: Some(5), durable: 9, ..view }, FeedStep::SendLive),
            (FeedView { live: Some(4), ..view }, FeedStep::DropLive),
            (FeedView { live: Some(7), handed: 8, ..view }, FeedStep::Soon),
            (FeedView { live: Some(7), durable: 6, ..view }, FeedStep::SendFromDisk),
            // Handed over before the feed was attached.
            (FeedView { handed: 6, ..view }, FeedStep::Soon),
        ] {
            assert_eq!(feeder.step(view), step, "{view:?}");
        }
        assert_eq!(
            (feeder.committed(9, 3), feeder.committed(2, 3), feeder.committed(9, 8)),
            (4, 3, 8)
        );
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut feeder = Feeder::new(0, [0; 32]);
        let mut count = 0;
        while feeder.has_room() {
            count += 1;
            feeder.sent(&head(count, 1, *feeder.chain(), [count as u8; 32])).expect("next");
        }
        let view =
            FeedView { held: false, durable: 9_999, handed: 9_999, attached: true, live: None };
        assert_eq!(feeder.step(view), FeedStep::Rest);
        assert_eq!(count as usize, MAX_UNACKNOWLEDGED);
        feeder.acknowledge(1, receipt(&[1; 32])).expect("the first");
        assert!(feeder.has_room());
    }
}
