//! Transactions that are judged together. Its memory is taken once: judging allocates nothing.

use super::facts::{self, Facts, LocalTime};
use super::language::{Field, Machine, ROWS, RowSet, Rows};
use super::rules::{EVERY_DAY, ListsDecide, RuleEffect, RuleVerdict, RuleWords, Rules, Thresholds};
use super::validators::{AnswerState, Answered, VALUES_EACH, Validator};
use super::{Decision, LIST_RULES, MAX_SCORE, by_lists};
use catraca_wire::extension::{MAX_RULE_WORDS, MAX_WINDOW_VALUES, RulesSeen, WindowValue};
use catraca_wire::frame::{ListSource, Verdict};
use catraca_wire::record::Reason;

/// What was judged of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The decision.
    pub decision: Decision,
    /// The list that names the payer, unless something allows it.
    pub payer_listed: Option<ListSource>,
    /// The list that names the payee, unless something allows it.
    pub payee_listed: Option<ListSource>,
    /// What the rules came to; nothing where there are none.
    pub rules: RulesSeen,
}

/// What is known of a row besides its fields.
#[derive(Debug, Clone, Copy)]
struct Row {
    local: LocalTime,
    rail: u8,
    payer_is_cnpj: bool,
    /// What rules do to it, so far.
    came: Came,
    /// What they would do if none were in shadow.
    with_shadow: Came,
    judged: Judgement,
}

/// What the rules that matched amount to.
#[derive(Debug, Clone, Copy, Default)]
struct Came {
    score: i64,
    review_by: Option<u16>,
    deny_by: Option<u16>,
    overridden_by: Option<u16>,
}

/// Transactions that are judged together.
#[derive(Debug, Default)]
pub struct Batch {
    fields: Rows,
    rows: Vec<Row>,
    /// What windows and lists say of each row, one row behind the other.
    seen: Vec<WindowValue>,
    machine: Machine,
}

impl Batch {
    /// A batch with its memory.
    pub fn new() -> Self {
        Self {
            rows: Vec::with_capacity(ROWS),
            seen: Vec::with_capacity(ROWS * MAX_WINDOW_VALUES),
            ..Self::default()
        }
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.rows.clear();
        self.seen.clear();
    }

    /// How many transactions it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes a transaction, behind the others, with what the policy's windows and lists say of it. Where no rules
    /// look at it its fields are left out.
    ///
    /// # Panics
    /// When it has [`ROWS`] already.
    pub fn push(&mut self, facts: &Facts<'_>, for_rules: bool, seen: &[WindowValue]) {
        assert!(self.rows.len() < ROWS, "a batch has {ROWS} rows");
        let local = if for_rules {
            let local = facts::push(&mut self.fields, facts);
            self.fields.see(seen);
            self.seen.extend_from_slice(seen);
            local
        } else {
            LocalTime { day: 0, minute: 0 }
        };
        let judged = Judgement {
            decision: by_lists(facts.payer, facts.payee),
            payer_listed: facts.payer.listed,
            payee_listed: facts.payee.listed,
            rules: RulesSeen {
                offset_minutes: facts.offset_minutes,
                settled_by: None,
                score_sum: 0,
                matched: [0; MAX_RULE_WORDS],
                failed: [0; MAX_RULE_WORDS],
                exempt: [0; MAX_RULE_WORDS],
            },
        };
        self.rows.push(Row {
            local,
            rail: facts.transaction.rail,
            payer_is_cnpj: facts.payer.document.cnpj_root().is_some(),
            came: Came::default(),
            with_shadow: Came::default(),
            judged,
        });
    }

    /// These rules are not applied to the transaction that was taken last: where they match, they do nothing.
    #[inline]
    pub fn exempt(&mut self, rules: &RuleWords) {
        let row = self.rows.last_mut().expect("a transaction was taken");
        row.judged.rules.exempt = *rules;
    }

    /// A field of a transaction; `None` where it lacks it, or where no rules look at it.
    pub fn field(&self, row: usize, field: Field) -> Option<i64> {
        self.fields.get(row, field)
    }

    /// What windows and lists say of a transaction.
    pub fn seen(&self, row: usize) -> &[WindowValue] {
        let values = self.seen.len() / self.rows.len();
        &self.seen[row * values..][..values]
    }

    /// The transactions that a validator is to be asked about. Where that has no result, it is.
    pub fn asks(&mut self, validator: &Validator) -> RowSet {
        let came = self.machine.run(&validator.when, &self.fields);
        came.holds | came.failed()
    }

    /// The transactions of which it is said as it must be which validators were asked.
    pub fn asked_as_told(&mut self, rules: &Rules) -> RowSet {
        // Where the lists alone decide, transactions have no fields, and nobody is asked.
        let mut agree = RowSet::MAX;
        for (number, validator) in rules.validators.iter().enumerate() {
            let asks = self.asks(validator);
            let first = rules.answers_from() + VALUES_EACH * number;
            for row in 0..self.rows.len() {
                let told = Answered::of(&self.seen(row)[first..][..VALUES_EACH]);
                let was_asked = told.map(|told| told.state != AnswerState::NotAsked);
                if was_asked != Some(asks >> row & 1 == 1) {
                    agree &= !(1 << row);
                }
            }
        }
        agree
    }

    /// What a validator of the policy, by its place, answered of a transaction that was taken.
    pub fn answer(&mut self, rules: &Rules, row: usize, validator: usize, answered: Answered) {
        let first = rules.answers_from() + VALUES_EACH * validator;
        let from_row = row * rules.values();
        for (place, value) in (first..).zip(answered.values()) {
            self.fields.see_again(row, place, value);
            self.seen[from_row + place] = value;
        }
    }

    /// What was judged of a transaction.
    pub fn judgement(&self, row: usize) -> &Judgement {
        &self.rows[row].judged
    }

    /// Runs every rule on all rows.
    pub(super) fn match_rules(&mut self, rules: &Rules) {
        assert_eq!(self.fields.len(), self.rows.len(), "rules look at every row");
        let has_shadow = rules.has_shadow();
        for (number, rule) in rules.rules.iter().enumerate() {
            let came = self.machine.run(&rule.when, &self.fields);
            let mut matched = came.holds;
            if rule.effect.is_against() {
                matched |= came.failed();
            }
            let mut touched = matched | came.failed();
            if rule.days != EVERY_DAY {
                let valid = self.valid(&rule.days);
                (matched, touched) = (matched & valid, touched & valid);
            }
            while touched != 0 {
                let row = &mut self.rows[touched.trailing_zeros() as usize];
                let bit = touched & touched.wrapping_neg();
                touched &= touched - 1;
                if came.failed() & bit != 0 {
                    row.judged.rules.failed[number / 64] |= 1 << (number % 64);
                }
                if matched & bit != 0 {
                    row.judged.rules.matched[number / 64] |= 1 << (number % 64);
                    let is_exempt = row.judged.rules.exempt[number / 64] >> (number % 64) & 1 == 1;
                    let RuleEffect { score, verdict, shadow } = rule.effect;
                    if !shadow && !is_exempt {
                        row.came.take(number as u16, score, verdict);
                    }
                    if has_shadow && !is_exempt {
                        row.with_shadow.take(number as u16, score, verdict);
                    }
                }
            }
        }
    }

    #[cold]
    fn valid(&self, days: &std::ops::RangeInclusive<u16>) -> RowSet {
        let days = i64::from(*days.start())..=i64::from(*days.end());
        self.rows
            .iter()
            .enumerate()
            .fold(0, |set, (row, of)| set | RowSet::from(days.contains(&of.local.day)) << row)
    }

    /// Decides on every row.
    pub(super) fn decide(&mut self, rules: &Rules) {
        if rules.rules.is_empty() {
            return;
        }
        let has_shadow = rules.has_shadow();
        let values = rules.values();
        for (number, row) in self.rows.iter_mut().enumerate() {
            let Row { came, judged, .. } = row;
            let degraded = !rules.validators.is_empty()
                && rules.is_degraded(&self.seen[number * values..][..values]);
            judged.decision.degraded = degraded;
            // What did not match has nothing that was not applied.
            for (exempt, matched) in judged.rules.exempt.iter_mut().zip(&judged.rules.matched) {
                *exempt &= matched;
            }
            judged.rules.score_sum = came.score as i32;
            judged.decision.matched_rules |= judged.rules.matched[0] << LIST_RULES;
            let listed = !matches!(judged.decision.verdict, Verdict::Approve);
            if listed && rules.listed == ListsDecide::Deny {
                continue;
            }
            let thresholds = rules.thresholds_of(row.rail, row.payer_is_cnpj);
            let (verdict, settled) = came.settle(thresholds);
            // A listed party that the rules let through is no reason to be told.
            let nothing = if listed { Reason::Clear } else { judged.decision.reason };
            let (reason, settled_by) = settled.unwrap_or((nothing, None));
            let shadow_disagrees = has_shadow && row.with_shadow.settle(thresholds).0 != verdict;
            judged.rules.settled_by = settled_by;
            let Decision { matched_rules, .. } = judged.decision;
            let score = came.score();
            judged.decision =
                Decision { verdict, reason, score, matched_rules, shadow_disagrees, degraded };
        }
    }
}

impl Came {
    /// The sum of the scores, 0 to [`MAX_SCORE`].
    fn score(&self) -> u16 {
        self.score.clamp(0, MAX_SCORE) as u16
    }

    /// The verdict, and what settled it: a reason, and the rule if it was one. Nothing where nothing speaks
    /// against the payment.
    fn settle(&self, thresholds: Thresholds) -> (Verdict, Option<(Reason, Option<u16>)>) {
        let by_score = thresholds.verdict(self.score());
        let by = |verdict, rule| (verdict, Some((Reason::Rule, Some(rule))));
        match *self {
            Self { overridden_by: Some(rule), .. } => by(Verdict::Approve, rule),
            Self { deny_by: Some(rule), .. } => by(Verdict::Deny, rule),
            _ if by_score == Verdict::Deny => (by_score, Some((Reason::Score, None))),
            Self { review_by: Some(rule), .. } => by(Verdict::Review, rule),
            _ if by_score == Verdict::Review => (by_score, Some((Reason::Score, None))),
            _ => (Verdict::Approve, None),
        }
    }

    fn take(&mut self, rule: u16, score: i64, verdict: Option<RuleVerdict>) {
        self.score += score;
        let first = match verdict {
            Some(RuleVerdict::Allow { overrides: true }) => &mut self.overridden_by,
            Some(RuleVerdict::Review) => &mut self.review_by,
            Some(RuleVerdict::Deny) => &mut self.deny_by,
            Some(RuleVerdict::Allow { overrides: false }) | None => return,
        };
        first.get_or_insert(rule);
    }
}
