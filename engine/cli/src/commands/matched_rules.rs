//! The rules that matched a stored decision, by their ids and with their reasons, out of the text of the policy
//! that decided. The node tells whether a text is that: it keeps the policy in force and the one before.

use catraca_core::log::policies::PolicyId;
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
    /// It was not applied.
    exempt: bool,
    /// Its condition had no result, and so counted.
    without_result: bool,
    /// It settled the verdict.
    settled: bool,
    /// What is said to who asks why.
    reason: Option<Reason>,
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
            exempt: is_in(&seen.exempt, number),
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
            (rule.settled, ", which settled it"),
            (rule.without_result, ", without a result, and so counted"),
            (rule.exempt, ", exempt"),
        ];
        let marks: String = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
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
