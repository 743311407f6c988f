//! What the page of a replay is told: what was compared, and what is to be kept in mind.

use super::replay::Replayed;
use crate::commands::output::counted;
use crate::commands::report::{Examples, Fact, Report, Rule, Was, count, moment};
use crate::commands::totals::percent_changed;
use catraca_node::policy_file::PolicyFile;
use catraca_node::replay::{Truth, WhatIf};

/// What the command was asked for.
#[derive(Debug)]
pub struct Asked {
    /// Name of the policy's file.
    pub policy: String,
    /// The log's data directory.
    pub log: String,
    /// Only decisions made at this time or later, nanoseconds since 1970 UTC.
    pub from_ns: Option<u64>,
    /// Only decisions made before this time, nanoseconds since 1970 UTC.
    pub to_ns: Option<u64>,
    /// The largest share of verdicts that may change.
    pub max_changed_percent: Option<f64>,
}

/// What came of a replay with another policy.
pub struct Compared<'a> {
    /// Of the recorded decisions.
    pub replayed: &'a Replayed<'a>,
    /// The policy.
    pub file: &'a PolicyFile,
    /// What it would have done.
    pub what_if: &'a WhatIf,
    /// Both held to what became known.
    pub truth: Option<&'a Truth>,
}

impl<'a> Compared<'a> {
    /// The same at any time, but for when it was made (nanoseconds since 1970 UTC).
    pub fn report(&self, asked: &Asked, made_at_ns: u64) -> Report<'a> {
        let what_if = self.what_if;
        Report {
            was: Was::Recorded,
            name: asked.policy.clone(),
            facts: self.facts(asked),
            totals: &what_if.totals,
            payers_affected: Some(what_if.payers_affected()),
            rules: Rule::all(Some(self.file), &what_if.totals),
            examples: Examples::First(&what_if.examples),
            truth: self.truth,
            remarks: self.remarks(),
            made_at_ns,
        }
    }

    fn facts(&self, asked: &Asked) -> Vec<(&'static str, Fact)> {
        let what_if = self.what_if;
        let decisions = match &what_if.decided_at_ns {
            None => "none".to_owned(),
            Some(times) => format!(
                "{}, made from {} to {}",
                count(what_if.totals.payments()),
                moment(*times.start()),
                moment(*times.end())
            ),
        };
        let mut facts = vec![
            ("Policy", Fact::Given(asked.policy.clone())),
            ("Its id", Fact::Own(self.file.id.to_string())),
            ("Log", Fact::Given(asked.log.clone())),
            ("Decisions", Fact::Own(decisions)),
        ];
        for (&version, &decisions) in &what_if.by_version {
            facts.push(("Decided by", Fact::Own(self.decided_by(version, decisions))));
        }
        let times = [("from", asked.from_ns), ("before", asked.to_ns)];
        let times =
            times.into_iter().filter_map(|(word, ns)| Some(format!("{word} {}", moment(ns?))));
        let times = times.collect::<Vec<_>>().join(", ");
        if !times.is_empty() {
            facts.push(("Asked for", Fact::Own(format!("decisions {times}"))));
        }
        if let Some(most) = asked.max_changed_percent {
            let is_kept = percent_changed(&what_if.totals) <= most;
            let came = if is_kept { "kept" } else { "exceeded" };
            facts.push(("Limit", Fact::Own(format!("{came}: at most {most} % may change"))));
        }
        facts
    }

    fn decided_by(&self, version: u32, decisions: u64) -> String {
        let of_log = self.replayed.history.policies().find(|policy| policy.text.version == version);
        let policy = match of_log {
            Some(policy) => format!("policy version {version}, id {}", policy.text.id),
            None if version == 0 => "the lists alone, without a policy".to_owned(),
            None => format!("policy version {version}, whose text is not in the log"),
        };
        let decided = if decisions == 1 { "decision" } else { "decisions" };
        format!("{policy}: {} {decided}", count(decisions))
    }

    fn remarks(&self) -> Vec<String> {
        let unreadable = self.replayed.found.unreadable;
        let without_verdict = self.what_if.unreadable;
        let mut remarks = vec![self.replayed.outcome()];
        remarks.extend(self.replayed.warnings(Some(self.what_if)));
        remarks.extend(self.replayed.remarks());
        if unreadable > 0 {
            let decisions = counted(unreadable, "decision", "decisions");
            remarks.push(format!("{decisions} could not be read: not compared"));
        }
        if without_verdict > 0 {
            remarks.push(format!(
                "{} a verdict that this build does not know: not compared",
                counted(without_verdict, "decision has", "decisions have")
            ));
        }
        remarks.push(
            "The payments are those that came: what people would have done after another verdict is not known."
                .to_owned(),
        );
        remarks
    }
}
