//! The beginning of one stream of a session, on the primary: the standby asks for boundaries until
//! it has found the last one that both logs have, and then for what lies behind it.
//!
//! A question waits until all that had been handed to the disk when it came is durable. The standby
//! may hold such a block, and have acknowledged it in the session before this one: were it told
//! that the block is not here, it would cut it off, while here the old acknowledgement still
//! counted, and answered from the block as soon as the disk was done.

use super::feeder::{FeedFault, Feeder};
use catraca_wire::block::Chain;

/// What a standby asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// PROBE: whether this boundary is here.
    Probe {
        /// Last record before it.
        lsn: u64,
        /// Chain value of the block before it.
        chain: Chain,
    },
    /// FOLLOW: what lies behind this boundary.
    Follow {
        /// Last record before it.
        lsn: u64,
        /// Chain value of the block before it.
        chain: Chain,
    },
}

/// What it is told.
#[derive(Debug, Clone)]
pub enum Reply {
    /// MATCH.
    Match {
        /// The boundary is here.
        matches: bool,
        /// The last durable record here.
        tail: u64,
    },
    /// Blocks, from here on.
    Feed(Feeder),
    /// Where this stream begins: what the standby asks of was removed.
    CutOff,
}

/// A stream that has not begun.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// What the standby asked, and what had been handed to the disk then, up to a record.
    asked: Option<(Question, u64)>,
}

impl Opening {
    /// The standby asks; all blocks up to the record `handed` have been handed to the disk.
    ///
    /// # Errors
    /// [`FeedFault::Impatient`] when it has not been told yet what it asked before.
    pub fn asks(&mut self, question: Question, handed: u64) -> Result<(), FeedFault> {
        if self.asked.is_some() {
            return Err(FeedFault::Impatient);
        }
        self.asked = Some((question, handed));
        Ok(())
    }

    /// The record whose boundary is to be looked for now, where the stream is durable up to a
    /// record; `None` while nothing was asked, or must be waited for.
    pub fn due(&self, durable: u64) -> Option<u64> {
        let (question, handed) = self.asked?;
        let (Question::Probe { lsn, .. } | Question::Follow { lsn, .. }) = question;
        (durable >= handed).then_some(lsn)
    }

    /// What to tell the standby. `found` is the chain value at the end of the block that ends with
    /// the record that was [`due`](Self::due), where there is such a block; what lies behind the
    /// record `durable` does not count.
    ///
    /// Everything up to the record `cut_off` was removed here. Whoever asks of that is not told that it
    /// is not here, for it would cut it off.
    ///
    /// # Errors
    /// [`FeedFault::NotHere`] when it wants what follows a boundary that is not here.
    pub fn tell(
        &mut self,
        durable: u64,
        cut_off: u64,
        found: Option<Chain>,
    ) -> Result<Reply, FeedFault> {
        let (question, _) = self.asked.take().expect("somebody has asked");
        let (Question::Probe { lsn, .. } | Question::Follow { lsn, .. }) = question;
        if lsn < cut_off {
            return Ok(Reply::CutOff);
        }
        let is_here = |lsn: u64, chain: Chain| lsn <= durable && found == Some(chain);
        match question {
            Question::Probe { lsn, chain } => {
                Ok(Reply::Match { matches: is_here(lsn, chain), tail: durable })
            }
            Question::Follow { lsn, chain } if is_here(lsn, chain) => {
                Ok(Reply::Feed(Feeder::new(lsn, chain)))
            }
            Question::Follow { lsn, .. } => Err(FeedFault::NotHere(lsn)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: Chain = [7; 32];

    #[test]
    fn a_question_waits_for_what_was_handed_to_the_disk() {
        let mut opening = Opening::default();
        assert_eq!(opening.due(100), None, "nobody asks");
        opening.asks(Question::Probe { lsn: 4, chain: CHAIN }, 9).expect("the first");
        assert_eq!(opening.due(8), None);
        assert_eq!(
            opening.asks(Question::Probe { lsn: 3, chain: CHAIN }, 9),
            Err(FeedFault::Impatient)
        );
        assert_eq!(opening.due(9), Some(4));
        let told = opening.tell(9, 0, Some(CHAIN)).expect("it is here");
        assert!(matches!(told, Reply::Match { matches: true, tail: 9 }), "{told:?}");
        assert_eq!(opening.due(9), None, "it was told");
    }

    #[test]
    fn what_is_not_durable_or_another_block_is_not_here() {
        for (durable, found) in [(9, None), (9, Some([8; 32])), (3, Some(CHAIN))] {
            let mut opening = Opening::default();
            opening.asks(Question::Probe { lsn: 4, chain: CHAIN }, 0).expect("the first");
            let told = opening.tell(durable, 0, found).expect("a probe is told");
            assert!(matches!(told, Reply::Match { matches: false, .. }), "{durable} {found:?}");
            opening.asks(Question::Follow { lsn: 4, chain: CHAIN }, 0).expect("the next");
            assert_eq!(opening.tell(durable, 0, found).err(), Some(FeedFault::NotHere(4)));
        }
        let mut opening = Opening::default();
        opening.asks(Question::Follow { lsn: 4, chain: CHAIN }, 0).expect("the first");
        let Ok(Reply::Feed(feeder)) = opening.tell(4, 0, Some(CHAIN)) else { panic!("it is here") };
        assert_eq!((feeder.next_lsn(), feeder.acknowledged()), (5, 4));
    }

    #[test]
    fn who_asks_of_what_was_cut_off_is_not_told_that_it_is_not_here() {
        for question in
            [Question::Probe { lsn: 4, chain: CHAIN }, Question::Follow { lsn: 4, chain: CHAIN }]
        {
            let mut opening = Opening::default();
            opening.asks(question, 0).expect("the first");
            let told = opening.tell(9, 5, None);
            assert!(matches!(told, Ok(Reply::CutOff)), "{told:?}");
            opening.asks(question, 0).expect("the next");
            let told = opening.tell(9, 4, Some(CHAIN)).expect("the log's start is a boundary");
            assert!(!matches!(told, Reply::CutOff), "{told:?}");
        }
    }
}
