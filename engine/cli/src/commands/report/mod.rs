//! The comparison of two policies for people who were not there: an HTML page and a picture, each one file that
//! needs nothing else.
//!
//! ```text
//!   Report ──► words ──► page (HTML) ──► files
//!     │                   ▲    ▲
//!     │                   │    └─ tables
//!     └────────────────► picture (SVG) ──► files
//! ```
//!
//! `files` alone does I/O, and nothing here reads a clock: the same report gives the same bytes. Rule ids,
//! descriptions, transaction ids and file names are somebody's input, and go through `escape::Shown`; our own
//! text goes through `escape::Escaped`.

mod escape;
mod files;
mod page;
mod picture;
mod tables;
#[cfg(test)]
mod testing;
mod words;

pub use files::Files;
pub use words::{count, moment};

use super::policy::effect;
use catraca_core::policy::{RuleTotals, Totals};
use catraca_node::policy_file::PolicyFile;
use catraca_node::replay::{Changed, Truth};

/// What gave the verdicts from which changes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// The records of a log.
    Recorded,
    /// The policy in force on a running node.
    InForce,
}

/// A rule of the policy that is compared, and what came of it.
#[derive(Debug)]
pub struct Rule<'a> {
    /// Its id, or its number where the policy's file is not at hand.
    pub id: String,
    /// What it is for; empty where nobody said.
    pub description: &'a str,
    /// What it does where it matches; empty where the policy's file is not at hand.
    pub effect: String,
    /// What came of it.
    pub totals: RuleTotals,
}

impl<'a> Rule<'a> {
    /// The rules of a policy, in its order; where its file is not at hand, by their numbers.
    pub fn all(file: Option<&'a PolicyFile>, totals: &Totals) -> Vec<Self> {
        let numbered = |number: usize| (format!("rule {}", number + 1), "", String::new());
        let named = |file: &'a PolicyFile, at: usize| {
            let (rule, notes) = (&file.rules.rules[at], &file.notes[at]);
            (rule.id.clone(), &notes.description[..], effect(rule))
        };
        let rules = totals.rules.iter().enumerate();
        rules
            .map(|(at, &totals)| {
                let (id, description, effect) =
                    file.map_or_else(|| numbered(at), |file| named(file, at));
                Self { id, description, effect, totals }
            })
            .collect()
    }
}

/// The examples of changed payments that a comparison kept.
#[derive(Debug, Clone, Copy)]
pub enum Examples<'a> {
    /// The first of them, in the order of the log.
    First(&'a [Changed]),
    /// A node counts, and keeps none.
    NotKept,
}

/// Something that was compared.
#[derive(Debug)]
pub enum Fact {
    /// In our words.
    Own(String),
    /// Somebody's text.
    Given(String),
}

/// What is told. Nothing in it is escaped.
#[derive(Debug)]
pub struct Report<'a> {
    /// What is compared with.
    pub was: Was,
    /// The policy: the name of its file, or its id.
    pub name: String,
    /// What was compared, by name: the policy's id, times, versions.
    pub facts: Vec<(&'static str, Fact)>,
    /// Verdicts from and to, and by rule.
    pub totals: &'a Totals,
    /// Payers of payments that get another verdict; `None` where they were not counted.
    pub payers_affected: Option<usize>,
    /// The rules, in the policy's order.
    pub rules: Vec<Rule<'a>>,
    /// Payments that get another verdict.
    pub examples: Examples<'a>,
    /// What became known of the payments.
    pub truth: Option<&'a Truth>,
    /// Whether the recorded decisions came out again, and what was left out; a sentence each.
    pub remarks: Vec<String>,
    /// When this was made, nanoseconds since 1970 UTC.
    pub made_at_ns: u64,
}
