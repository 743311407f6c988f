//! Transactions that are judged together. Its memory is taken once: judging allocates nothing.

use super::facts::{self, Facts, LocalTime};
use super::language::{Field, Machine, ROWS, RowSet, Rows};
use super::rules::{EVERY_DAY, ListsDecide, RuleVerdict, Rules};
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
    /// What windows say of each row, one row behind the other.
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

    /// Takes a transaction, behind the others, with what the policy's windows say of it. Where no rules
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
            },
        };
        self.rows.push(Row {
            local,
            rail: facts.transaction.rail,
            payer_is_cnpj: facts.payer.document.cnpj_root().is_some(),
            came: Came::default(),
            judged,
        });
    }

    /// A field of a transaction; `None` where it lacks it, or where no rules look at it.
    pub fn field(&self, row: usize, field: Field) -> Option<i64> {
        self.fields.get(row, field)
    }

    /// What windows say of a transaction.
    pub fn seen(&self, row: usize) -> &[WindowValue] {
        let values = self.seen.len() / self.rows.len();
        &self.seen[row * values..][..values]
    }

    /// What was judged of a transaction.
    pub fn judgement(&self, row: usize) -> &Judgement {
        &self.rows[row].judged
    }

    /// Runs every rule on all rows.
    pub(super) fn match_rules(&mut self, rules: &Rules) {
        assert_eq!(self.fields.len(), self.rows.len(), "rules look at every row");
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
                    if !rule.effect.shadow {
                        row.came.take(number as u16, rule.effect.score, rule.effect.verdict);
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
        for row in &mut self.rows {
            let Row { came, judged, .. } = row;
            judged.rules.score_sum = came.score as i32;
            judged.decision.matched_rules |= judged.rules.matched[0] << LIST_RULES;
            let listed = !matches!(judged.decision.verdict, Verdict::Approve);
            if listed && rules.listed == ListsDecide::Deny {
                continue;
            }
            let score = came.score.clamp(0, MAX_SCORE) as u16;
            let thresholds = rules.thresholds_of(row.rail, row.payer_is_cnpj);
            let by_score = thresholds.verdict(score);
            let (verdict, reason, settled_by) = match *came {
                Came { overridden_by: Some(rule), .. } => {
                    (Verdict::Approve, Reason::Rule, Some(rule))
                }
                Came { deny_by: Some(rule), .. } => (Verdict::Deny, Reason::Rule, Some(rule)),
                _ if by_score == Verdict::Deny => (Verdict::Deny, Reason::Score, None),
                Came { review_by: Some(rule), .. } => (Verdict::Review, Reason::Rule, Some(rule)),
                _ if by_score == Verdict::Review => (Verdict::Review, Reason::Score, None),
                // A listed party that the rules let through is no reason to be told.
                _ if listed => (Verdict::Approve, Reason::Clear, None),
                _ => (Verdict::Approve, judged.decision.reason, None),
            };
            judged.rules.settled_by = settled_by;
            judged.decision = Decision { verdict, reason, score, ..judged.decision };
        }
    }
}

impl Came {
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
