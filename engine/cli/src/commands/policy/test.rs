//! `catraca policy test`: payments of one's own and what a policy is to do with them.

use super::file;
use super::made_up::MadeUp;
use super::made_up_lists::MadeUpLists;
use crate::commands::Outcome;
use crate::commands::output::{counted, json, print};
use catraca_core::policy::{Judgement, Policy};
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
struct Came {
    name: String,
    /// In what it is not as it is to be.
    faults: Vec<String>,
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
    let ready = Policy::new(1, policy.zone.clone(), policy.rules.clone());
    let came: Vec<Came> =
        cases.case.iter().map(|case| case.run(&policy, &ready, &cases.lists)).collect();
    let wrong = came.iter().filter(|came| !came.faults.is_empty()).count();
    let status = if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    if args.json {
        return print(&json(&report(&came, wrong)), status);
    }
    let mut text = String::new();
    for came in &came {
        let mark = if came.faults.is_empty() { "ok   " } else { "WRONG" };
        writeln!(text, "{mark} {}", came.name).expect("writing to a string can't fail");
        for fault in &came.faults {
            writeln!(text, "      {fault}").expect("writing to a string can't fail");
        }
    }
    let cases = counted(came.len(), "case", "cases");
    writeln!(text, "{cases}, {wrong} wrong").expect("writing to a string can't fail");
    print(&text, status)
}

fn report(came: &[Came], wrong: usize) -> Value {
    let cases: Vec<_> = came
        .iter()
        .map(|came| {
            json!({ "name": came.name, "ok": came.faults.is_empty(), "faults": came.faults })
        })
        .collect();
    json!({ "cases": cases, "wrong": wrong })
}

impl Case {
    fn run(&self, policy: &PolicyFile, ready: &Policy, lists: &MadeUpLists) -> Came {
        let expects = self.verdict.is_some()
            || self.score.is_some()
            || !(self.matches.is_empty() && self.matches_not.is_empty());
        let faults = match self.payment.judge(ready, lists) {
            Ok(_) if !expects => vec![
                "it wants nothing: give it a verdict, a score, matches or matches_not".to_owned(),
            ],
            Ok((_, judged)) => self.faults(policy, &judged),
            Err(why) => vec![why],
        };
        Came { name: self.name.clone(), faults }
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
