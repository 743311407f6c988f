//! Every answer of a run, for whoever wants to hold a log to them.

use crate::transactions::number_of;

/// Answers of one piece of memory: growing moves nothing, so that no answer waits for it.
const CHUNK: usize = 1 << 16;
/// Most transactions of a run that keeps its answers: 1.6 GB.
pub const MAX_KEPT: u64 = 1 << 26;

/// What a transaction was answered first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Log sequence number; 0 where there is no answer, because streams begin at 1.
    pub lsn: u64,
    /// Receipt of the block.
    pub receipt: u64,
    /// Log stream.
    pub shard: u16,
    /// The verdict's code.
    pub verdict: u8,
}

/// The answers of a run, by its transactions' numbers.
#[derive(Debug, Clone)]
pub struct Answers {
    run_id: u64,
    chunks: Vec<Box<[Kept]>>,
    /// Transactions that were answered with a verdict, each counted once.
    pub count: u64,
    /// Of these, those answered before the primary was lost for the first time; `None` if it never
    /// was.
    pub before_failover: Option<u64>,
    /// Transactions that got the duplicate flag although they were never answered before: the node
    /// knew them from a sending whose answer was lost.
    pub recognised: u64,
    /// Answers past [`MAX_KEPT`], which are not here.
    pub not_kept: u64,
}

impl Answers {
    /// Of a run whose transactions' ids begin with this number.
    pub fn new(run_id: u64) -> Self {
        Self {
            run_id,
            chunks: Vec::new(),
            count: 0,
            before_failover: None,
            recognised: 0,
            not_kept: 0,
        }
    }

    /// Keeps the first answer to a transaction.
    pub fn keep(&mut self, number: u64, kept: Kept, duplicate: bool) {
        if number >= MAX_KEPT {
            self.not_kept += 1;
            return;
        }
        let (chunk, place) = (number as usize / CHUNK, number as usize % CHUNK);
        while self.chunks.len() <= chunk {
            self.chunks.push(vec![Kept::default(); CHUNK].into_boxed_slice());
        }
        self.chunks[chunk][place] = kept;
        self.count += 1;
        self.recognised += u64::from(duplicate);
    }

    pub(crate) fn primary_was_lost(&mut self) {
        self.before_failover.get_or_insert(self.count);
    }

    /// Which transaction of this run has this id.
    pub fn number_of(&self, id: &[u8]) -> Option<u64> {
        number_of(self.run_id, id)
    }

    /// What the transaction of this number was answered.
    pub fn get(&self, number: u64) -> Option<&Kept> {
        let number = usize::try_from(number).ok()?;
        self.chunks
            .get(number / CHUNK)
            .map(|chunk| &chunk[number % CHUNK])
            .filter(|kept| kept.lsn > 0)
    }

    /// Below which all numbers of answered transactions are.
    pub fn end(&self) -> u64 {
        (self.chunks.len() * CHUNK) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transactions::id_of;

    #[test]
    fn answers_are_found_by_the_ids_of_their_run() {
        let mut answers = Answers::new(0xfeed);
        let kept = Kept { lsn: 7, receipt: 9, shard: 1, verdict: 3 };
        answers.keep(CHUNK as u64 + 1, kept, true);
        answers.primary_was_lost();
        answers.keep(0, Kept { lsn: 8, ..kept }, false);
        answers.primary_was_lost();
        let number = answers.number_of(&id_of(0xfeed, CHUNK as u64 + 1)).expect("of this run");
        assert_eq!(answers.get(number), Some(&kept));
        assert_eq!(answers.get(1), None);
        assert_eq!(answers.get(u64::MAX), None);
        for other in [id_of(0xfeee, 0), *b"00000000000fffed000000000000000x"] {
            assert_eq!(answers.number_of(&other), None);
        }
        assert_eq!((answers.count, answers.before_failover, answers.recognised), (2, Some(1), 1));
        answers.keep(MAX_KEPT, kept, false);
        assert_eq!((answers.count, answers.not_kept, answers.end()), (2, 1, 2 * CHUNK as u64));
    }
}
