//! From what is known of a transaction to a decision. Pure: no I/O, no clock.
//!
//! The one rule so far is the blacklist. Rules of risk, windows and external answers join as
//! further facts and further rules behind [`Policy::decide`], which stays the only place where a
//! verdict is chosen.

pub mod language;

use crate::blacklist::Listing;
use catraca_wire::frame::{TransactionFields, Verdict};
use catraca_wire::record::Reason;

/// Bit of `matched_rules`: the payer is listed.
pub const RULE_PAYER_LISTED: u64 = 1 << 0;
/// Bit of `matched_rules`: the payee is listed.
pub const RULE_PAYEE_LISTED: u64 = 1 << 1;
/// Bit of `matched_rules`: the payer is listed, and allowed all the same.
pub const RULE_PAYER_ALLOWED: u64 = 1 << 2;
/// Bit of `matched_rules`: the payee is listed, and allowed all the same.
pub const RULE_PAYEE_ALLOWED: u64 = 1 << 3;

/// What a decision may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The transaction as submitted; validated.
    pub transaction: &'a TransactionFields,
    /// What the blacklist knows of the payer.
    pub payer: Listing,
    /// What the blacklist knows of the payee.
    pub payee: Listing,
}

/// What was decided, and what settled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The first thing that settled it.
    pub reason: Reason,
    /// Risk score, 0 to 1000.
    pub score: u16,
    /// One bit for each rule that matched.
    pub matched_rules: u64,
}

/// Score of a listed party: the top of the scale.
const LISTED_SCORE: u16 = 1000;

/// The rules in force.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    version: u32,
}

impl Policy {
    /// The policy that every node has: a listed payer or payee is denied, everything else approved.
    /// Version 0.
    pub const fn blacklist_only() -> Self {
        Self { version: 0 }
    }

    /// Version that decisions record.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Decides. The same facts and version always give the same decision.
    #[inline]
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let rule = |listing, listed, allowed| match listing {
            Listing::Free => 0,
            Listing::Listed(_) => listed,
            Listing::Allowed(_) => allowed,
        };
        let matched_rules = rule(facts.payer, RULE_PAYER_LISTED, RULE_PAYER_ALLOWED)
            | rule(facts.payee, RULE_PAYEE_LISTED, RULE_PAYEE_ALLOWED);
        let (verdict, reason, score) = match (facts.payer.counts(), facts.payee.counts()) {
            (None, None) if matched_rules == 0 => (Verdict::Approve, Reason::Clear, 0),
            (None, None) => (Verdict::Approve, Reason::Allowed, 0),
            (Some(_), None) => (Verdict::Deny, Reason::PayerListed, LISTED_SCORE),
            (None, Some(_)) => (Verdict::Deny, Reason::PayeeListed, LISTED_SCORE),
            (Some(_), Some(_)) => (Verdict::Deny, Reason::BothListed, LISTED_SCORE),
        };
        Decision { verdict, reason, score, matched_rules }
    }
}
