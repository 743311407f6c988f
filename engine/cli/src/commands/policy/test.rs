//! `catraca policy test`: payments of one's own and what a policy is to do with them.

use super::diff::effect;
use super::made_up::MadeUp;
use super::made_up_lists::MadeUpLists;
use super::{file, warnings};
use crate::commands::Outcome;
use crate::commands::output::{counted, json, print};
use catraca_core::policy::{Judgement, Policy, RuleWords};
use catraca_node::fatal::{Failure, Status};
use catraca_node::policy_file::PolicyFile;
use catraca_wire::frame::Verdict;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy test pix.toml pix-tests.toml
  catraca policy test pix.toml pix-tests.toml --json

A file of cases (TOML); of a payment whatever is left out is what an ordinary one has:
  [[case]]
  name = \"a high Pix at night is reviewed\"
  payment = { amount_centavos = 150000, time = \"2026-11-24T22:30:00\" }
  verdict = \"review\"
  matches = [\"night-high-amount\"]
  matches_not = [\"listed\"]

Of a case that is wrong the verdict and the score that came are told, and the rules that matched; --json tells them of every case.

Exit status: 0 all are as they are to be, 3 one is not, or something is wrong with the policy.";

/// Longest file of cases, bytes.
const MAX_CASES_LEN: u64 = 1024 * 1024;

/// Arguments of `catraca policy test`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Policy (TOML)
    file: PathBuf,
    /// Cases (TOML)
    cases: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    /// What is in lists, of all payments that say nothing of them.
    #[serde(default)]
    lists: MadeUpLists,
    #[serde(default)]
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    payment: MadeUp,
    verdict: Option<Wanted>,
    score: Option<u16>,
    #[serde(default)]
    matches: Vec<String>,
    #[serde(default)]
    matches_not: Vec<String>,
}

/// A verdict that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Approve,
    Review,
    Deny,
}

impl Wanted {
    const fn verdict(self) -> Verdict {
        match self {
            Self::Approve => Verdict::Approve,
            Self::Review => Verdict::Review,
            Self::Deny => Verdict::Deny,
        }
    }
}

/// What came of a case.
struct Came<'c> {
    case: &'c Case,
    /// In what it is not as it is to be.
    faults: Vec<String>,
    /// `None` where the payment makes no sense.
    judged: Option<Judgement>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let policy = file::sound(&args.file)?;
    let failed = |why: String| Failure::failed(format!("{}: {why}", args.cases.display()));
    let text = file::read_up_to(&args.cases, MAX_CASES_LEN)?;
    let cases: Cases = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
    if cases.case.is_empty() {
        return Err(failed("it holds no case: begin one with [[case]]".to_owned()));
    }
    warnings::say(&args.file, &policy);
    let ready = Policy::new(1, policy.zone.clone(), policy.rules.clone());
    let came: Vec<Came<'_>> =
        cases.case.iter().map(|case| case.run(&policy, &ready, &cases.lists)).collect();
    let wrong = came.iter().filter(|came| !came.faults.is_empty()).count();
    let status = if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    if args.json {
        let cases: Vec<_> = came.iter().map(|came| came.json(&policy)).collect();
        return print(&json(&json!({ "cases": cases, "wrong": wrong })), status);
    }
    let mut text = String::new();
    for came in &came {
        let mark = if came.faults.is_empty() { "ok   " } else { "WRONG" };
        writeln!(text, "{mark} {}", came.case.name).expect("writing to a string can't fail");
        for line in came.lines(&policy) {
            writeln!(text, "      {line}").expect("writing to a string can't fail");
        }
    }
    let cases = counted(came.len(), "case", "cases");
    writeln!(text, "{cases}, {wrong} wrong").expect("writing to a string can't fail");
    print(&text, status)
}

/// Ids of the rules of these bits.
fn ids<'p>(policy: &'p PolicyFile, words: &RuleWords) -> Vec<&'p str> {
    let rules = policy.rules.rules.iter().enumerate();
    let set = rules.filter(|(number, _)| words[number / 64] >> (number % 64) & 1 == 1);
    set.map(|(_, rule)| &rule.id[..]).collect()
}

impl Came<'_> {
    /// What a person is told behind the name: of a case that is as it is to be, nothing.
    fn lines(&self, policy: &PolicyFile) -> Vec<String> {
        let mut lines = self.faults.clone();
        let Some(judged) = self.judged.filter(|_| !self.faults.is_empty()) else { return lines };
        let decision = &judged.decision;
        let because = match judged.rules.settled_by {
            Some(rule) => format!("rule {}", policy.rules.rules[usize::from(rule)].id),
            None => decision.reason.name().to_owned(),
        };
        let score = decision.score;
        lines.push(format!("it came to {}, because of {because}; score {score}", decision.verdict));
        let matched = ids(policy, &judged.rules.matched);
        if matched.is_empty() {
            lines.push("no rule matches".to_owned());
        }
        let [exempt, failed] = [&judged.rules.exempt, &judged.rules.failed];
        let (exempt, failed) = (ids(policy, exempt), ids(policy, failed));
        for rule in policy.rules.rules.iter().filter(|rule| matched.contains(&&rule.id[..])) {
            let marks = [(&failed, ", without a result, and so counts"), (&exempt, ", exempt")];
            let marks = marks.iter().filter(|(ids, _)| ids.contains(&&rule.id[..]));
            let marks: String = marks.map(|(_, mark)| *mark).collect();
            lines.push(format!("matches {}: {}{marks}", rule.id, effect(rule)));
        }
        lines
    }

    fn json(&self, policy: &PolicyFile) -> Value {
        let Self { case, faults, judged } = self;
        let came = judged.map(|Judgement { decision, rules, .. }| {
            json!({
                "verdict": decision.verdict.name(),
                "reason": decision.reason.name(),
                "score": decision.score,
                "score_sum": rules.score_sum,
                "settled_by": rules.settled_by.map(|rule| &policy.rules.rules[usize::from(rule)].id),
                "matched": ids(policy, &rules.matched),
                "without_result": ids(policy, &rules.failed),
                "exempt": ids(policy, &rules.exempt),
            })
        });
        json!({
            "name": case.name,
            "ok": faults.is_empty(),
            "faults": faults,
            "wanted": {
                "verdict": case.verdict.map(|wanted| wanted.verdict().name()),
                "score": case.score,
                "matches": case.matches,
                "matches_not": case.matches_not,
            },
            "came": came,
        })
    }
}

impl Case {
    fn run(&self, policy: &PolicyFile, ready: &Policy, lists: &MadeUpLists) -> Came<'_> {
        let expects = self.verdict.is_some()
            || self.score.is_some()
            || !(self.matches.is_empty() && self.matches_not.is_empty());
        let judged = self.payment.judge(ready, lists).map(|(_, judged)| judged);
        let faults = match &judged {
            Ok(_) if !expects => vec![
                "it wants nothing: give it a verdict, a score, matches or matches_not".to_owned(),
            ],
            Ok(judged) => self.faults(policy, judged),
            Err(why) => vec![why.clone()],
        };
        Came { case: self, faults, judged: judged.ok() }
    }

    fn faults(&self, policy: &PolicyFile, judged: &Judgement) -> Vec<String> {
        let decision = &judged.decision;
        let mut faults = Vec::new();
        let verdict = decision.verdict;
        let wanted = self.verdict.map(Wanted::verdict);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != verdict) {
            faults.push(format!("verdict {verdict}, and {wanted} is wanted"));
        }
        if let Some(wanted) = self.score.filter(|wanted| *wanted != decision.score) {
            faults.push(format!("score {}, and {wanted} is wanted", decision.score));
        }
        let wanted = self.matches.iter().map(|id| (id, true));
        for (id, wanted) in wanted.chain(self.matches_not.iter().map(|id| (id, false))) {
            match policy.rules.rules.iter().position(|rule| rule.id == *id) {
                None => faults.push(format!("the policy has no rule {id}")),
                Some(rule) => {
                    let matches = judged.rules.matched[rule / 64] >> (rule % 64) & 1 == 1;
                    if matches != wanted {
                        let does = if matches { "matches" } else { "does not match" };
                        faults.push(format!("the rule {id} {does}"));
                    }
                }
            }
        }
        faults
    }
}
