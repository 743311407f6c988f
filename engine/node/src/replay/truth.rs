//! Verdicts held to what became known: how much fraud was found, and how much of what was taken for fraud was.
//!
//! Only decisions count that are old enough. A chargeback or a claim takes weeks to come, so among young
//! decisions the fraud that was missed is not known yet, and recall would look better than it is.

use super::Labels;
use catraca_core::log::SoundBlock;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::{LabelKind, TRANSACTION_ID_LEN, Verdict};
use catraca_wire::record::RecordHead;
use std::collections::HashMap;

/// From so many days on a decision is mature: claims of fraud by Pix (MED) may be made for 80 days, and take up
/// to 11 to be settled; most chargebacks have come by then too.
pub const MATURE_AFTER_DAYS: u64 = 90;

const MATURE_AFTER_NS: u64 = MATURE_AFTER_DAYS * 86_400 * 1_000_000_000;

/// Mature decisions, by what was made of them and what was true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Fraud that was taken for fraud.
    pub true_positives: u64,
    /// Good payments that were taken for fraud.
    pub false_positives: u64,
    /// Fraud that passed.
    pub false_negatives: u64,
    /// Good payments that passed.
    pub true_negatives: u64,
    /// Taken for fraud, without a label: nobody knows what a payment would have become that was not made.
    pub unknown_taken: u64,
    /// Passed, without a label.
    pub unknown_passed: u64,
}

impl Score {
    fn add(&mut self, is_taken: bool, truth: Option<LabelKind>) {
        let cell = match (is_taken, truth.map(LabelKind::is_fraud)) {
            (true, Some(true)) => &mut self.true_positives,
            (true, Some(false)) => &mut self.false_positives,
            (false, Some(true)) => &mut self.false_negatives,
            (false, Some(false)) => &mut self.true_negatives,
            (true, None) => &mut self.unknown_taken,
            (false, None) => &mut self.unknown_passed,
        };
        *cell += 1;
    }

    /// Of what was taken for fraud and is labelled, how much was, per mille; `None` where nothing was.
    pub fn precision_permille(&self) -> Option<u64> {
        permille(self.true_positives, self.false_positives)
    }

    /// Of the labelled fraud, how much was taken for it, per mille; `None` where there is none.
    pub fn recall_permille(&self) -> Option<u64> {
        permille(self.true_positives, self.false_negatives)
    }
}

fn permille(part: u64, rest: u64) -> Option<u64> {
    (part * 1_000).checked_div(part + rest)
}

/// What a policy came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scores {
    /// Where review and deny count as taking a payment for fraud.
    pub reviewed_or_denied: Score,
    /// Where deny alone does.
    pub denied: Score,
}

impl Scores {
    pub(super) fn add(&mut self, verdict: Verdict, truth: Option<LabelKind>) {
        self.reviewed_or_denied.add(verdict != Verdict::Approve, truth);
        self.denied.add(verdict == Verdict::Deny, truth);
    }
}

/// Labels that do not count, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    /// A label of the same decision was known later.
    pub superseded: u64,
    /// It became known after the time of which the truth is asked.
    pub known_later: u64,
    /// The decision is younger than [`MATURE_AFTER_DAYS`].
    pub not_mature: u64,
    /// The decision is outside the times that are replayed.
    pub outside_times: u64,
    /// The decision is not in the log: cut off, lost by force, or behind damage.
    pub decision_not_in_log: u64,
    /// This build can't read the label, or the decision.
    pub unreadable: u64,
    /// There are more labels than are held.
    pub too_many: u64,
}

impl Skipped {
    /// By name.
    pub const fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("superseded", self.superseded),
            ("known_later", self.known_later),
            ("not_mature", self.not_mature),
            ("outside_times", self.outside_times),
            ("decision_not_in_log", self.decision_not_in_log),
            ("unreadable", self.unreadable),
            ("too_many", self.too_many),
        ]
    }
}

/// The label of a decision that counts.
#[derive(Debug, Clone, Copy)]
struct Counting {
    kind: LabelKind,
    id: [u8; TRANSACTION_ID_LEN],
    payer: [u8; DOCUMENT_LEN],
    age: (u64, u64),
}

/// What a decision is to the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is too young.
    Young,
    /// It is old enough: its label, if it has one.
    Mature(Option<LabelKind>),
}

/// What became known of the decisions of a log.
#[derive(Debug, Clone)]
pub struct Truth {
    /// As of this time, nanoseconds since 1970 UTC.
    pub as_of_ns: u64,
    /// Labels in the log.
    pub labels: u64,
    /// Labels that count.
    pub counted: u64,
    /// Labels that do not.
    pub skipped: Skipped,
    /// What was recorded.
    pub recorded: Scores,
    /// What another policy would have done, where one is asked.
    pub candidate: Scores,
    /// By stream and sequence number; taken out when the decision comes.
    waiting: HashMap<(u16, u64), Counting>,
}

impl Truth {
    /// As of a time, nanoseconds since 1970 UTC, or of the newest label: who labels has come so far. `None`
    /// where there are no labels.
    pub fn new(labels: &Labels, as_of_ns: Option<u64>) -> Option<Self> {
        let newest = labels.kept.iter().map(|label| label.label.known_at_ns).max();
        let as_of_ns = as_of_ns.or(newest).unwrap_or(0);
        let skipped = Skipped {
            unreadable: labels.unreadable,
            too_many: labels.not_kept,
            ..Skipped::default()
        };
        let mut truth = Self {
            as_of_ns,
            labels: labels.count(),
            counted: 0,
            skipped,
            recorded: Scores::default(),
            candidate: Scores::default(),
            waiting: HashMap::new(),
        };
        for label in &labels.kept {
            if label.label.known_at_ns > as_of_ns {
                truth.skipped.known_later += 1;
                continue;
            }
            let counting = Counting {
                kind: label.label.kind,
                id: label.id,
                payer: label.payer,
                age: label.age(),
            };
            let place = (label.label.shard, label.label.lsn);
            let held = truth.waiting.entry(place).or_insert(counting);
            // The first of a decision supersedes nothing.
            truth.skipped.superseded += u64::from(held.age != counting.age);
            if held.age < counting.age {
                *held = counting;
            }
        }
        (truth.labels > 0).then_some(truth)
    }

    /// Takes the next decision of the log.
    pub(super) fn standing(
        &mut self,
        block: &SoundBlock<'_>,
        head: &RecordHead,
        is_asked: bool,
    ) -> Standing {
        let place = (block.place.shard, head.lsn.to_native());
        let transaction = &head.transaction;
        // Another decision may have the place, where the labelled one was lost.
        let is_of = |of: &Counting| of.id == transaction.id && of.payer == transaction.payer;
        let label = match self.waiting.get(&place).is_some_and(is_of) {
            true => self.waiting.remove(&place).map(|label| label.kind),
            false => None,
        };
        let is_mature =
            head.decided_at_ns.to_native().saturating_add(MATURE_AFTER_NS) <= self.as_of_ns;
        if label.is_some() {
            match (is_asked, is_mature) {
                (false, _) => self.skipped.outside_times += 1,
                (true, false) => self.skipped.not_mature += 1,
                (true, true) if Verdict::from_wire(head.verdict).is_none() => {
                    self.skipped.unreadable += 1;
                }
                (true, true) => self.counted += 1,
            }
        }
        if !is_mature {
            return Standing::Young;
        }
        if is_asked && let Some(verdict) = Verdict::from_wire(head.verdict) {
            self.recorded.add(verdict, label);
        }
        Standing::Mature(label)
    }

    /// The log is read: what was not met is not in it.
    pub(super) fn finish(&mut self) {
        self.skipped.decision_not_in_log += self.waiting.len() as u64;
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_files::lookup::StoredLabel;
    use catraca_wire::extension::{Label, LabelSource};

    #[test]
    fn what_a_verdict_is_to_the_truth() {
        let mut scores = Scores::default();
        for (verdict, truth) in [
            (Verdict::Deny, Some(LabelKind::Chargeback)),
            (Verdict::Review, Some(LabelKind::MedAccepted)),
            (Verdict::Approve, Some(LabelKind::MedAccepted)),
            (Verdict::Review, Some(LabelKind::FalsePositive)),
            (Verdict::Approve, Some(LabelKind::ConfirmedGood)),
            (Verdict::Approve, Some(LabelKind::MedRejected)),
            (Verdict::Deny, None),
            (Verdict::Review, None),
            (Verdict::Approve, None),
        ] {
            scores.add(verdict, truth);
        }
        let Scores { reviewed_or_denied: both, denied } = scores;
        assert_eq!(
            both,
            Score {
                true_positives: 2,
                false_positives: 1,
                false_negatives: 1,
                true_negatives: 2,
                unknown_taken: 2,
                unknown_passed: 1
            }
        );
        assert_eq!((both.precision_permille(), both.recall_permille()), (Some(666), Some(666)));
        assert_eq!((denied.true_positives, denied.false_negatives), (1, 2));
        assert_eq!(
            (denied.precision_permille(), denied.recall_permille()),
            (Some(1000), Some(333))
        );
        assert_eq!((denied.unknown_taken, denied.unknown_passed), (1, 2));
        assert_eq!(Score::default().precision_permille(), None);
    }

    #[test]
    fn of_several_labels_the_one_that_was_known_last_counts() {
        let label = |lsn, known_at_ns, kind, decision| StoredLabel {
            label: Label {
                kind,
                known_at_ns,
                source: LabelSource::parse("bank").expect("sound"),
                shard: 0,
                lsn: decision,
            },
            lsn,
            logged_at_ns: 0,
            id: [b'a'; 32],
            payer: [b'1'; 14],
        };
        use LabelKind::{Chargeback, FalsePositive, MedRejected};
        let kept = vec![
            label(10, 500, Chargeback, 1),
            // Known before, logged after; then known at the same time, logged after.
            label(11, 400, FalsePositive, 1),
            label(12, 500, MedRejected, 1),
            label(13, 700, Chargeback, 1),
            label(14, 100, Chargeback, 2),
        ];
        let labels = Labels { kept, ..Labels::default() };
        let truth = Truth::new(&labels, Some(600)).expect("there are labels");
        assert_eq!(truth.waiting[&(0, 1)].kind, MedRejected);
        assert_eq!((truth.skipped.superseded, truth.skipped.known_later), (2, 1));
        let mut truth = Truth::new(&labels, None).expect("there are labels");
        assert_eq!((truth.as_of_ns, truth.waiting[&(0, 1)].kind), (700, Chargeback));
        truth.finish();
        let skipped: u64 = truth.skipped.named().iter().map(|(_, count)| count).sum();
        assert_eq!((truth.labels, skipped, truth.skipped.decision_not_in_log), (5, 5, 2));
        assert!(Truth::new(&Labels::default(), Some(1)).is_none());
    }
}
