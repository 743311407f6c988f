//! What came of the transactions: counts, histograms of latency and service time, and every promise
//! that an answer broke.

use crate::answers::{Answers, Kept};
use crate::connection::masked_parties;
use crate::scenario::Tally;
use crate::slots::{Mismatch, Sent};
use crate::transactions::{Answered, Transactions};
use catraca_wire::frame::{ErrorCode, ErrorFrame, VERDICT_DUPLICATE, Verdict, VerdictFrame};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that the histograms tell apart, nanoseconds: two minutes, far past the longest
/// budget. Longer ones count as this.
const MAX_VALUE_NS: u64 = 120_000_000_000;
/// Decimal digits that the histograms keep.
pub const SIGNIFICANT_DIGITS: u8 = 3;
/// A send later than this after its intended time is reported, nanoseconds: a tenth of it is what a
/// batch may take, all of it is what a scheduler's tick on a shared core costs, so that later ones
/// say that the load generator was held up.
pub const LATE_SEND_THRESHOLD_NS: u64 = 1_000_000;
/// Violations described in words; the others are only counted.
const MAX_EXAMPLES: usize = 10;

/// Answers that break a promise, by kind. Those of the warm-up count too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// Denied an unlisted one, or did not deny a listed one (only where verdicts are verified).
    pub wrong_verdict: u64,
    /// A correlation answered again.
    pub answered_twice: u64,
    /// An answer to a correlation that was never sent.
    pub unknown_correlation: u64,
    /// A repeated transaction without the duplicate flag, or one sent for the first time with it.
    pub wrong_duplicate_flag: u64,
    /// A repeated transaction with another verdict, stream or sequence number than before.
    pub changed_answer: u64,
    /// A verdict code that the protocol does not have.
    pub unknown_verdict: u64,
}

impl Violations {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self {
            wrong_verdict,
            answered_twice,
            unknown_correlation,
            wrong_duplicate_flag,
            changed_answer,
            unknown_verdict,
        } = self;
        wrong_verdict
            + answered_twice
            + unknown_correlation
            + wrong_duplicate_flag
            + changed_answer
            + unknown_verdict
    }
}

/// A histogram that takes equal values in a row as one: replies of a batch share their time of
/// arrival, and often of sending.
#[derive(Debug)]
struct Recording {
    histogram: Histogram<u64>,
    value_ns: u64,
    count: u64,
}

impl Recording {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_VALUE_NS, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants in range");
        Self { histogram, value_ns: 0, count: 0 }
    }

    #[inline]
    fn record(&mut self, value_ns: u64) {
        if value_ns != self.value_ns {
            self.settle();
            self.value_ns = value_ns;
        }
        self.count += 1;
    }

    #[inline]
    fn settle(&mut self) {
        if self.count > 0 {
            self.histogram.saturating_record_n(self.value_ns, self.count);
            self.count = 0;
        }
    }
}

/// Everything counted in a run.
#[derive(Debug)]
pub struct Recorder {
    verify: bool,
    /// In a closed loop both times are the same, and only one is kept.
    open_loop: bool,
    latency: Recording,
    service: Recording,
    /// Measured transactions sent.
    pub sent: u64,
    /// Measured transactions answered, by a verdict or an error.
    pub answered: u64,
    /// All transactions answered, those of the warm-up included.
    pub answered_ever: u64,
    /// Measured verdicts by code; 0 holds unknown ones.
    pub verdicts: [u64; Verdict::ALL.len() + 1],
    /// Measured errors by code; 0 holds unknown ones.
    pub errors: [u64; ErrorCode::ALL.len() + 1],
    /// Measured transactions that repeated an earlier one.
    pub resent: u64,
    /// Measured verdicts with the duplicate flag.
    pub duplicates: u64,
    /// Measured sends of what had been sent before and was not answered, or only with UNCONFIRMED.
    pub sent_again: u64,
    /// Sends of answered ones after a failover, to see whether the answers stand.
    pub rechecked: u64,
    /// Measured sends over [`LATE_SEND_THRESHOLD_NS`] late.
    pub late_sends: u64,
    /// The latest of all measured sends, nanoseconds.
    pub max_lateness_ns: u64,
    /// When the last measured answer came, nanoseconds since the run's start.
    pub last_answer_ns: u64,
    /// Broken promises.
    pub violations: Violations,
    /// The first broken promises in words.
    pub examples: Vec<String>,
    /// What the node last said that concerned no transaction.
    pub notice: Option<String>,
    /// The answers themselves, where they are asked for.
    pub answers: Option<Answers>,
    /// What became of each scenario, where there are some.
    pub tally: Option<Tally>,
}

impl Recorder {
    /// Nothing yet.
    pub fn new(verify: bool, open_loop: bool, answers: Option<Answers>) -> Self {
        Self {
            verify,
            open_loop,
            latency: Recording::new(),
            service: Recording::new(),
            sent: 0,
            answered: 0,
            answered_ever: 0,
            verdicts: [0; Verdict::ALL.len() + 1],
            errors: [0; ErrorCode::ALL.len() + 1],
            resent: 0,
            duplicates: 0,
            sent_again: 0,
            rechecked: 0,
            late_sends: 0,
            max_lateness_ns: 0,
            last_answer_ns: 0,
            violations: Violations::default(),
            examples: Vec::new(),
            notice: None,
            answers,
            tally: None,
        }
    }

    /// Counts a send.
    #[inline]
    pub fn sent(&mut self, sent: &Sent) {
        if sent.measured {
            self.sent += 1;
            self.resent += u64::from(sent.transaction.answered.is_some());
            let lateness_ns = sent.sent_ns.saturating_sub(sent.intended_ns);
            self.late_sends += u64::from(lateness_ns > LATE_SEND_THRESHOLD_NS);
            self.max_lateness_ns = self.max_lateness_ns.max(lateness_ns);
            if let (Some(label), Some(tally)) = (sent.transaction.label, &mut self.tally) {
                tally.sent(label);
            }
        }
    }

    /// Counts and checks a verdict that came at `now_ns`.
    #[inline]
    pub fn verdict(
        &mut self,
        connection: usize,
        sent: &Sent,
        frame: &VerdictFrame,
        source: &mut Transactions,
        now_ns: u64,
    ) {
        let answer = &frame.answer;
        let verdict = Verdict::from_wire(answer.verdict);
        let duplicate = answer.flags & VERDICT_DUPLICATE != 0;
        self.answered_ever += 1;
        if sent.measured {
            self.answered += 1;
            self.last_answer_ns = now_ns;
            self.duplicates += u64::from(duplicate);
            self.verdicts[verdict.map_or(0, |_| usize::from(answer.verdict))] += 1;
            self.latency.record(now_ns.saturating_sub(sent.intended_ns));
            if self.open_loop {
                self.service.record(now_ns.saturating_sub(sent.sent_ns));
            }
        }
        if let (Some(label), Some(tally)) = (sent.transaction.label, &mut self.tally)
            && let Some(verdict) = verdict
        {
            tally.verdict(label, verdict);
        }
        if verdict.is_none() {
            self.violations.unknown_verdict += 1;
            self.describe(
                connection,
                sent,
                source,
                format_args!("verdict code {}", answer.verdict),
            );
        }
        if self.verify && source.is_listed(&sent.transaction) != (verdict == Some(Verdict::Deny)) {
            self.violations.wrong_verdict += 1;
            self.describe(
                connection,
                sent,
                source,
                format_args!("{}", verdict.map_or("unknown", Verdict::name)),
            );
        }
        let told = Answered {
            lsn: answer.lsn.to_native(),
            shard: answer.shard.to_native(),
            verdict: answer.verdict,
        };
        // One that went out twice without an answer is a duplicate or not, as the first sending
        // fared.
        if duplicate != sent.transaction.answered.is_some() && !(duplicate && sent.again) {
            self.violations.wrong_duplicate_flag += 1;
            let what = if duplicate {
                "a new one came back as a duplicate"
            } else {
                "a repeated one came back as new"
            };
            self.describe(connection, sent, source, format_args!("{what}"));
        }
        match sent.transaction.answered {
            None => {
                source.remember(&sent.transaction, told);
                if let Some(answers) = &mut self.answers {
                    let receipt = answer.receipt.to_native();
                    let kept =
                        Kept { lsn: told.lsn, receipt, shard: told.shard, verdict: told.verdict };
                    answers.keep(sent.transaction.number, kept, duplicate);
                }
            }
            Some(before) if before == told => {}
            Some(before) => {
                self.violations.changed_answer += 1;
                self.describe(
                    connection,
                    sent,
                    source,
                    format_args!("first {before:?}, then {told:?}"),
                );
            }
        }
    }

    /// Counts an error that answers a transaction.
    pub fn error(&mut self, sent: &Sent, frame: &ErrorFrame, now_ns: u64) {
        self.answered_ever += 1;
        if sent.measured {
            self.answered += 1;
            self.last_answer_ns = now_ns;
            let code = frame.code.to_native();
            self.errors[ErrorCode::from_wire(code).map_or(0, |_| usize::from(code))] += 1;
        }
    }

    /// Keeps an error that answers none.
    pub fn notice(&mut self, frame: &ErrorFrame) {
        let code = ErrorCode::from_wire(frame.code.to_native());
        let code = code.map_or_else(|| format!("error {}", frame.code), |code| code.to_string());
        self.notice = Some(format!("{code}: {}", frame.detail_text()));
    }

    /// Counts an answer that matches nothing unanswered.
    pub fn mismatch(&mut self, connection: usize, correlation: u64, mismatch: Mismatch) {
        let what = match mismatch {
            Mismatch::Twice => {
                self.violations.answered_twice += 1;
                "answered again"
            }
            Mismatch::Unknown => {
                self.violations.unknown_correlation += 1;
                "answered but never sent"
            }
        };
        if self.examples.len() < MAX_EXAMPLES {
            self.examples
                .push(format!("connection {connection}: correlation {correlation:#x} {what}"));
        }
    }

    #[cold]
    fn describe(
        &mut self,
        connection: usize,
        sent: &Sent,
        source: &Transactions,
        what: std::fmt::Arguments<'_>,
    ) {
        if self.examples.len() < MAX_EXAMPLES {
            let number = sent.transaction.number;
            let parties = masked_parties(source, sent);
            self.examples
                .push(format!("connection {connection}, transaction {number} ({parties}): {what}"));
        }
    }

    /// Latency and service time, complete.
    pub fn histograms(&mut self) -> (Histogram<u64>, Histogram<u64>) {
        self.latency.settle();
        self.service.settle();
        let service = if self.open_loop { &self.service } else { &self.latency };
        (self.latency.histogram.clone(), service.histogram.clone())
    }
}

const _: () = assert!(
    Verdict::ALL.len() == Verdict::Deny as usize,
    "codes run from 1 without gaps, so they index the counts"
);
const _: () = assert!(
    ErrorCode::ALL.len() == ErrorCode::Late as usize,
    "codes run from 1 without gaps, so they index the counts"
);
