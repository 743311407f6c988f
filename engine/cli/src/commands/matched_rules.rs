//! The rules that matched a stored decision, by their ids and with their reasons, out of the text of the policy
//! that decided. The node tells whether a text is that: it keeps the policy in force and the one before.

use catraca_core::log::policies::PolicyId;
use catraca_core::policy::{EVERY_PAYER, Rule};
use catraca_node::fatal::Failure;
use catraca_node::policy_file::{PolicyFile, ReasonNotes};
use catraca_wire::client::Client;
use catraca_wire::extension::RulesSeen;
use catraca_wire::frame::PolicyChange;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// A rule that matched.
#[derive(Debug, Serialize)]
pub struct MatchedRule {
    id: String,
    /// Why it was not applied, where it was not.
    not_applied: Option<NotApplied>,
    /// Its condition had no result, and so counted.
    without_result: bool,
    /// It settled the verdict.
    settled: bool,
    /// What is said to who asks why.
    reason: Option<Reason>,
}

/// Why a rule that matched was not applied, as far as that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotApplied {
    /// By an exemption.
    Exempt,
    /// It is applied to a share of all payers, and this one is outside of it.
    OutsideShare,
    /// The one or the other: the key by which payers are spread is not at hand.
    ExemptOrOutsideShare,
}

impl NotApplied {
    /// Of a rule that was not applied, where a payer has this place among a thousand, or nobody knows which.
    pub const fn why(rule: &Rule, place: Option<u16>) -> Self {
        match place {
            _ if rule.share_permille == EVERY_PAYER => Self::Exempt,
            None => Self::ExemptOrOutsideShare,
            Some(place) if place >= rule.share_permille => Self::OutsideShare,
            Some(_) => Self::Exempt,
        }
    }

    /// For a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::OutsideShare => "outside of its share",
            Self::ExemptOrOutsideShare => "not applied (exempt or outside of its share)",
        }
    }
}

#[derive(Debug, Serialize)]
struct Reason {
    code: String,
    pt: String,
    en: String,
}

/// Holds a policy's text to the one that decided, of which a decision has the version.
///
/// # Errors
/// When it is another text, or the node does not tell; one sentence.
pub fn check_decided(
    client: &mut Client,
    path: &Path,
    policy: &PolicyFile,
    version: u32,
) -> Result<(), Failure> {
    let failed = |why: String| Failure::failed(format!("{}: {why}", path.display()));
    let elsewhere = "`catraca policy explain --log` has each one";
    if version == 0 {
        return Err(failed("the lists alone decided: there was no policy".to_owned()));
    }
    let state = client
        .policy(&PolicyChange::describe())
        .map_err(|error| failed(format!("the node does not tell which policy it is: {error}")))?;
    let id = match version {
        version if version == state.version => PolicyId(state.policy_id),
        version if version == state.previous_version => PolicyId(state.previous_policy_id),
        _ => {
            return Err(failed(format!(
                "version {version} decided, which is neither in force nor the one before; {elsewhere}"
            )));
        }
    };
    if id == policy.id {
        return Ok(());
    }
    Err(failed(format!("it is not the policy that decided: version {version} has the id {id}")))
}

/// The rules that matched, in the policy's order.
pub fn matched(policy: &PolicyFile, extension: &[u8]) -> Vec<MatchedRule> {
    let Some(seen) = RulesSeen::read(extension) else { return Vec::new() };
    let is_in = |words: &[u64], rule: usize| words[rule / 64] >> (rule % 64) & 1 == 1;
    let rules = policy.rules.rules.iter().zip(&policy.notes).enumerate();
    rules
        .filter(|&(number, _)| is_in(&seen.matched, number))
        .map(|(number, (rule, notes))| MatchedRule {
            id: rule.id.clone(),
            // A node does not hand out the key of shares.
            not_applied: is_in(&seen.exempt, number).then(|| NotApplied::why(rule, None)),
            without_result: is_in(&seen.failed, number),
            settled: seen.settled_by.is_some_and(|settled| usize::from(settled) == number),
            reason: notes.reason.as_ref().map(Reason::of),
        })
        .collect()
}

impl Reason {
    fn of(ReasonNotes { code, pt, en }: &ReasonNotes) -> Self {
        Self { code: code.clone(), pt: pt.clone(), en: en.clone() }
    }
}

/// Writes them for a person, into the block of lines that a decision ends with.
pub fn tell(text: &mut String, rules: &[MatchedRule]) {
    text.truncate(text.trim_end_matches('\n').len() + 1);
    for rule in rules {
        let marks = [
            rule.settled.then_some("which settled it"),
            rule.without_result.then_some("without a result, and so counted"),
            rule.not_applied.map(NotApplied::text),
        ];
        let marks: String = marks.iter().flatten().map(|mark| format!(", {mark}")).collect();
        let mut line = |name: &str, value: std::fmt::Arguments<'_>| {
            writeln!(text, "  {name:<14} {value}").expect("writing to a string can't fail");
        };
        line("rule", format_args!("{}{marks}", rule.id));
        if let Some(Reason { code, pt, en }) = &rule.reason {
            line("", format_args!("{code}: {pt} / {en}"));
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::extension::{MAX_RULE_WORDS, MAX_RULES_SECTION_LEN};

    #[test]
    fn an_exemption_and_a_share_are_told_apart_where_that_can_be() {
        let text = "[[rule]]\nid = 'all'\nwhen = 'tx.hour > 1'\nverdict = 'deny'\n\
            [[rule]]\nid = 'some'\nwhen = 'tx.hour > 2'\nscore = 5\nshare = 10\n";
        let policy = catraca_node::policy_file::parse(text).expect("sound");
        let [all, some] = [0, 1].map(|number| &policy.rules.rules[number]);
        for (rule, place, why) in [
            (all, None, NotApplied::Exempt),
            (all, Some(999), NotApplied::Exempt),
            (some, Some(9), NotApplied::Exempt),
            (some, Some(10), NotApplied::OutsideShare),
            (some, None, NotApplied::ExemptOrOutsideShare),
        ] {
            assert_eq!(NotApplied::why(rule, place), why, "{} {place:?}", rule.id);
        }
        let mut words = [0; MAX_RULE_WORDS];
        words[0] = 0b11;
        let seen = RulesSeen {
            offset_minutes: 0,
            settled_by: None,
            score_sum: 0,
            matched: words,
            failed: [0; MAX_RULE_WORDS],
            exempt: words,
        };
        let mut buffer = [0; MAX_RULES_SECTION_LEN];
        let rules = matched(&policy, seen.write(1, &mut buffer));
        let mut told = String::from("\n\n");
        tell(&mut told, &rules);
        assert!(told.contains("  all, exempt\n"), "{told}");
        assert!(told.contains("  some, not applied (exempt or outside of its share)\n"), "{told}");
        let json = serde_json::to_value(&rules).expect("JSON");
        assert_eq!(json[1]["not_applied"], "exempt_or_outside_share");
    }
}
