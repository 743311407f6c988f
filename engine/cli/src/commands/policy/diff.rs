//! `catraca policy diff`: what changes from one policy to another, rule by rule.

use super::file;
use crate::commands::Outcome;
use crate::commands::output::{json, print};
use catraca_core::policy::{EVERY_PAYER, ListsDecide, Rule, RuleVerdict, Rules};
use catraca_node::fatal::Status;
use catraca_node::policy_file::{PolicyFile, RuleNotes};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy diff pix.toml pix-new.toml
  catraca policy history /var/lib/catraca --text 3 > before.toml && catraca policy diff before.toml pix.toml

Rules are told apart by their ids. Exit status: 0 both do the same, 3 they differ, or something is wrong with one.";

/// Arguments of `catraca policy diff`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Policy (TOML)
    from: PathBuf,
    /// The other one
    to: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A difference: what of the policy, and what it was and is.
struct Difference {
    /// The rule, or `None` for what concerns all.
    rule: Option<String>,
    what: &'static str,
    from: Option<String>,
    to: Option<String>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (from, to) = (file::sound(&args.from)?, file::sound(&args.to)?);
    let differences = differences(&from, &to);
    let status = match differences.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(Status::Found as u8),
    };
    if args.json {
        let all: Vec<_> = differences
            .iter()
            .map(|of| json!({ "rule": of.rule, "what": of.what, "from": of.from, "to": of.to }))
            .collect();
        let report = json!({
            "same": differences.is_empty(),
            "from_id": from.id.to_string(),
            "to_id": to.id.to_string(),
            "differences": all,
        });
        return print(&json(&report), status);
    }
    let mut text = String::new();
    for Difference { rule, what, from, to } in &differences {
        let of = rule.as_deref().unwrap_or("policy");
        writeln!(text, "{of}: {what}").expect("writing to a string can't fail");
        for (mark, side) in [('-', from), ('+', to)] {
            if let Some(side) = side {
                writeln!(text, "  {mark} {side}").expect("writing to a string can't fail");
            }
        }
    }
    if differences.is_empty() {
        text.push_str("both do the same\n");
    }
    print(&text, status)
}

fn differences(from: &PolicyFile, to: &PolicyFile) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut hold = |rule: Option<&str>, what, from: Option<String>, to: Option<String>| {
        if from != to {
            found.push(Difference { rule: rule.map(str::to_owned), what, from, to });
        }
    };
    for (name, of) in ABOUT_ALL {
        hold(None, name, Some(of(from)), Some(of(to)));
    }
    let in_to = |id: &str| to.rules.rules.iter().position(|rule| rule.id == id);
    for (rule, notes) in from.rules.rules.iter().zip(&from.notes) {
        let id = Some(rule.id.as_str());
        let Some(other) = in_to(&rule.id) else {
            hold(id, "removed", Some(notes.when.clone()), None);
            continue;
        };
        let (rule_to, notes_to) = (&to.rules.rules[other], &to.notes[other]);
        hold(id, "when", Some(notes.when.clone()), Some(notes_to.when.clone()));
        hold(id, "effect", Some(effect(rule)), Some(effect(rule_to)));
        hold(id, "days", Some(format!("{:?}", rule.days)), Some(format!("{:?}", rule_to.days)));
        hold(id, "notes", Some(about(notes)), Some(about(notes_to)));
    }
    let in_from = |id: &str| from.rules.rules.iter().any(|rule| rule.id == id);
    for (rule, notes) in to.rules.rules.iter().zip(&to.notes) {
        if !in_from(&rule.id) {
            hold(Some(&rule.id), "added", None, Some(format!("{} ({})", notes.when, effect(rule))));
        }
    }
    // The first of several that decide settles: their order is part of what is recorded.
    let order = |rules: &Rules| {
        let ids: Vec<_> = rules.rules.iter().map(|rule| rule.id.clone()).collect();
        ids.join(", ")
    };
    if found.is_empty() && order(&from.rules) != order(&to.rules) {
        found.push(Difference {
            rule: None,
            what: "order of the rules",
            from: Some(order(&from.rules)),
            to: Some(order(&to.rules)),
        });
    }
    found
}

type About = (&'static str, fn(&PolicyFile) -> String);

/// What concerns all rules.
const ABOUT_ALL: [About; 4] = [
    ("time zone", |file| file.zone.to_string()),
    ("thresholds", |file| format!("{:?}", file.rules.thresholds)),
    ("segments", |file| format!("{:?}", file.rules.segments)),
    ("listed", |file| match file.rules.listed {
        ListsDecide::Deny => "deny".to_owned(),
        ListsDecide::Rules => "rules".to_owned(),
    }),
];

/// What a rule does where it matches, for a person.
pub(in crate::commands) fn effect(rule: &Rule) -> String {
    let mut text = format!("score {:+}", rule.effect.score);
    if let Some(verdict) = rule.effect.verdict {
        text.push_str(", ");
        text.push_str(verdict.name());
        if verdict == (RuleVerdict::Allow { overrides: true }) {
            text.push_str(" and overrides");
        }
    }
    if rule.effect.shadow {
        text.push_str(", in shadow");
    }
    if rule.share_permille < EVERY_PAYER {
        text.push_str(&format!(", for {} of 1,000 payers", rule.share_permille));
    }
    text
}

fn about(notes: &RuleNotes) -> String {
    let RuleNotes { description, group, owner, tags, reason, .. } = notes;
    let reason = reason.as_ref().map_or_else(String::new, |reason| {
        format!("{} / {} / {}", reason.code, reason.pt, reason.en)
    });
    format!("{description}; group {group}; owner {owner}; tags {}; reason {reason}", tags.join(" "))
}
