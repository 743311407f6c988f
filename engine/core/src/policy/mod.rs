//! From what is known of a transaction to a decision. Pure: no I/O, no clock.
//!
//! ```text
//! Facts, values of windows → Batch (a column for each) → rules, each over all rows → Judgement: verdict, score, matched rules
//! ```
//!
//! [`Policy::judge`] is the only place where a verdict is chosen. The lists come first: whoever is listed
//! is denied, whatever the rules say, unless the policy leaves lists to its rules.

mod batch;
mod facts;
pub mod language;
pub mod lists;
pub mod replay;
mod rules;
pub mod share;
mod totals;
pub mod validators;
pub mod windows;

pub use batch::{Batch, Judgement};
pub use facts::{Facts, Party};
pub use language::RowSet;
pub use rules::{
    DEFAULT_WINDOW_KEYS, EVERY_DAY, EVERY_PAYER, ListsDecide, MAX_RULES, MAX_SCORE, MAX_SEGMENTS,
    Rule, RuleEffect, RuleVerdict, RuleWords, Rules, Segment, Thresholds, WindowsAsked,
};

pub use totals::{Cell, Matrix, RuleTotals, Totals, place};

use crate::calendar::Zone;
use catraca_wire::frame::{VERDICT_DEGRADED, VERDICT_SHADOW_DISAGREES, Verdict};
use catraca_wire::record::Reason;

/// Bit of `matched_rules`: the payer is listed.
pub const RULE_PAYER_LISTED: u64 = 1 << 0;
/// Bit of `matched_rules`: the payee is listed.
pub const RULE_PAYEE_LISTED: u64 = 1 << 1;
/// Bit of `matched_rules`: the payer is listed, and allowed all the same.
pub const RULE_PAYER_ALLOWED: u64 = 1 << 2;
/// Bit of `matched_rules`: the payee is listed, and allowed all the same.
pub const RULE_PAYEE_ALLOWED: u64 = 1 << 3;
/// Bits of `matched_rules` that are the lists'. The policy's rules follow in their order, as far as there
/// is room; all of them are in the record's extension.
pub const LIST_RULES: u32 = 4;

/// What was decided, and what settled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The first thing that settled it.
    pub reason: Reason,
    /// Risk score, 0 to 1000.
    pub score: u16,
    /// One bit for each rule that matched, the lists' first.
    pub matched_rules: u64,
    /// With the rules in shadow the verdict would be another one.
    pub shadow_disagrees: bool,
    /// An answer of a validator was missing, or old.
    pub degraded: bool,
}

impl Decision {
    /// Flags that its record and its answer have.
    pub fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.shadow_disagrees, VERDICT_SHADOW_DISAGREES)
            | flag(self.degraded, VERDICT_DEGRADED)
    }
}

/// Score of a listed party: the top of the scale.
const LISTED_SCORE: u16 = 1000;

/// What decides: the lists, and the rules in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    version: u32,
    zone: Zone,
    rules: Rules,
}

impl Policy {
    /// The policy that every node has: a listed payer or payee is denied, everything else approved.
    /// Version 0.
    pub fn blacklist_only() -> Self {
        Self { version: 0, zone: Zone::default(), rules: Rules::default() }
    }

    /// Rules, in force under a version above 0. Their hours and days are those of a zone.
    pub fn new(version: u32, zone: Zone, rules: Rules) -> Self {
        assert!(version > 0, "version 0 is the policy that every node has");
        Self { version, zone, rules }
    }

    /// Version that decisions record.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Zone of its hours and days.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Its rules.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How many values of windows it reads.
    pub fn window_values(&self) -> usize {
        self.rules.windows.asked.len()
    }

    /// Whether it reads windows to which the payments of all shards belong.
    pub fn reads_siblings(&self) -> bool {
        self.rules().windows.across_shards().is_some()
    }

    /// How many values it reads: of windows, behind them of lists, and behind them of validators.
    pub const fn values(&self) -> usize {
        self.rules.values()
    }

    /// Whether another policy reads the same windows: asks for the same values, of the same days.
    pub fn reads_windows_of(&self, other: &Self) -> bool {
        self.rules.windows == other.rules.windows && self.zone == other.zone
    }

    /// Judges all rows of a batch. The same facts and version always give the same decision.
    #[inline]
    pub fn judge(&self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        if self.version > 0 {
            batch.match_rules(&self.rules);
        }
        batch.decide(&self.rules);
    }
}

/// What the lists alone come to.
const fn by_lists(payer: Party, payee: Party) -> Decision {
    let matched_rules = payer.bits(RULE_PAYER_LISTED, RULE_PAYER_ALLOWED)
        | payee.bits(RULE_PAYEE_LISTED, RULE_PAYEE_ALLOWED);
    let (verdict, reason, score) = match (payer.is_listed(), payee.is_listed()) {
        (false, false) if matched_rules == 0 => (Verdict::Approve, Reason::Clear, 0),
        (false, false) => (Verdict::Approve, Reason::Allowed, 0),
        (true, false) => (Verdict::Deny, Reason::PayerListed, LISTED_SCORE),
        (false, true) => (Verdict::Deny, Reason::PayeeListed, LISTED_SCORE),
        (true, true) => (Verdict::Deny, Reason::BothListed, LISTED_SCORE),
    };
    Decision { verdict, reason, score, matched_rules, shadow_disagrees: false, degraded: false }
}

#[cfg(test)]
mod tests;
