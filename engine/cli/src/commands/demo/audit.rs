//! Every answer that the load got, looked for in a log.

use catraca_core::log::BlockLocation;
use catraca_loadgen::Answers;
use catraca_wire::block::receipt;
use catraca_wire::record::{RecordHead, RecordKind};

/// What became of the answers in one log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// In the log as they were told: stream, sequence number, verdict and receipt.
    pub found: u64,
    /// Not in the log.
    pub lost: u64,
    /// In the log in another way than they were told.
    pub different: u64,
    /// Transactions that were decided more than once.
    pub double: u64,
}

/// Compares a log with the answers, record by record.
pub struct Auditor<'a> {
    answers: &'a Answers,
    /// One bit for each transaction of the load: it has a record.
    seen: Vec<u64>,
    audit: Audit,
}

impl<'a> Auditor<'a> {
    /// Before the first record.
    pub fn new(answers: &'a Answers) -> Self {
        let words = answers.end().div_ceil(64) as usize;
        Self { answers, seen: vec![0; words], audit: Audit::default() }
    }

    /// A record of the log. What is not of this load does not count.
    pub fn record(&mut self, head: &RecordHead, place: &BlockLocation) {
        if head.kind != RecordKind::Decision.to_wire() {
            return;
        }
        let Some(number) = self.answers.number_of(&head.transaction.id) else { return };
        let Some(word) = self.seen.get_mut((number / 64) as usize) else { return };
        let bit = 1 << (number % 64);
        self.audit.double += u64::from(*word & bit != 0);
        if *word & bit != 0 {
            return;
        }
        *word |= bit;
        let Some(told) = self.answers.get(number) else { return };
        let same = told.lsn == head.lsn.to_native()
            && told.shard == place.shard
            && told.verdict == head.verdict
            && told.receipt == receipt(&place.chain);
        if same {
            self.audit.found += 1;
        } else {
            self.audit.different += 1;
        }
    }

    /// After the last record.
    pub fn finish(mut self) -> Audit {
        self.audit.lost = self.answers.count - self.audit.found - self.audit.different;
        self.audit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use catraca_loadgen::answers::Kept;

    const RUN: u64 = 0xfeed;
    const CHAIN: [u8; 32] = [7; 32];

    fn record(number: u64, lsn: u64, verdict: u8) -> RecordHead {
        let mut head = RecordHead::zeroed();
        head.kind = RecordKind::Decision.to_wire();
        head.verdict = verdict;
        head.lsn = lsn.into();
        head.transaction.id.copy_from_slice(format!("{RUN:016x}{number:016x}").as_bytes());
        head
    }

    fn audit(records: &[RecordHead], chain: [u8; 32]) -> Audit {
        let mut answers = Answers::new(RUN);
        for number in 0..3 {
            let kept = Kept { lsn: 10 + number, receipt: receipt(&CHAIN), shard: 0, verdict: 1 };
            answers.keep(number, kept, false);
        }
        let mut auditor = Auditor::new(&answers);
        let place = BlockLocation { shard: 0, segment: 0, block_offset: 0, epoch: 1, chain };
        records.iter().for_each(|record| auditor.record(record, &place));
        auditor.finish()
    }

    #[test]
    fn what_is_not_as_it_was_told_is_counted() {
        let told = [0, 1, 2].map(|number| record(number, 10 + number, 1));
        let whole = Audit { found: 3, ..Audit::default() };
        assert_eq!(audit(&told, CHAIN), whole);
        assert_eq!(audit(&told[1..], CHAIN), Audit { found: 2, lost: 1, ..whole });
        assert_eq!(
            audit(&[told[0], told[1], record(2, 12, 3)], CHAIN),
            Audit { found: 2, different: 1, ..whole }
        );
        assert_eq!(
            audit(&[told[0], told[1], record(2, 13, 1)], CHAIN),
            Audit { found: 2, different: 1, ..whole }
        );
        assert_eq!(audit(&told, [8; 32]), Audit { found: 0, different: 3, ..whole });
        assert_eq!(
            audit(&[told[0], told[1], told[2], record(0, 13, 1)], CHAIN),
            Audit { double: 1, ..whole }
        );
        // Recorded and never answered, and nothing of this load.
        let mut foreign = record(0, 14, 1);
        foreign.transaction.id[0] = b'x';
        assert_eq!(audit(&[told[0], told[1], told[2], record(9, 13, 1), foreign], CHAIN), whole);
    }
}
