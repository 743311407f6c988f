//! `catraca policy diff`: what changes from one policy to another, rule by rule.

use super::file;
use crate::commands::Outcome;
use crate::commands::output::{json, print};
use catraca_core::calendar::day_of;
use catraca_core::policy::language::DEFAULT_NIGHT;
use catraca_core::policy::windows::Span;
use catraca_core::policy::{
    DEFAULT_WINDOW_KEYS, EVERY_DAY, EVERY_PAYER, ListsDecide, Rule, RuleVerdict, Rules, Segment,
    Thresholds,
};
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

Rules are told apart by their ids; values are printed as a policy has them. Exit status: 0 both do the same, 3 they differ, or something is wrong with one.";

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
        hold(None, name, of(from, to), of(to, from));
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
        hold(id, "effect", Some(effect_toml(rule)), Some(effect_toml(rule_to)));
        hold(id, "days", days(rule), days(rule_to));
        hold(id, "notes", about(notes), about(notes_to));
    }
    let in_from = |id: &str| from.rules.rules.iter().any(|rule| rule.id == id);
    for (rule, notes) in to.rules.rules.iter().zip(&to.notes) {
        if !in_from(&rule.id) {
            let added = format!("{} ({})", notes.when, effect_toml(rule));
            hold(Some(&rule.id), "added", None, Some(added));
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

/// How something of a policy is written, beside the other policy.
type About = (&'static str, fn(&PolicyFile, &PolicyFile) -> Option<String>);

/// What concerns all rules; `None` where a policy may leave it out, and this one does.
const ABOUT_ALL: [About; 5] = [
    ("time zone", |file, _| Some(text(&file.zone.to_string()))),
    ("thresholds", |file, _| thresholds(file.rules.thresholds)),
    ("segments", |file, _| {
        let segments: Vec<_> = file.rules.segments.iter().map(segment).collect();
        (!segments.is_empty()).then(|| format!("[{}]", segments.join(", ")))
    }),
    ("windows", |file, other| windows(&file.rules, &other.rules)),
    ("listed", |file, _| {
        Some(text(match file.rules.listed {
            ListsDecide::Deny => "deny",
            ListsDecide::Rules => "rules",
        }))
    }),
];

/// A text in its quotes.
fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Keys and what stands behind them, as they stand in a table of one line.
fn keys(keys: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let keys = keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
    keys.collect::<Vec<_>>().join(", ")
}

fn threshold_keys(of: Thresholds) -> [(&'static str, Option<String>); 2] {
    let score = |score: u16, never: u16| (score != never).then(|| score.to_string());
    let never = Thresholds::NEVER;
    [("review", score(of.review, never.review)), ("deny", score(of.deny, never.deny))]
}

fn thresholds(of: Thresholds) -> Option<String> {
    (of != Thresholds::NEVER).then(|| format!("{{ {} }}", keys(threshold_keys(of))))
}

/// With the thresholds that it takes from the policy.
fn segment(of: &Segment) -> String {
    let kind = of.payer_is_cnpj.map(|is_cnpj| text(if is_cnpj { "cnpj" } else { "cpf" }));
    let payments = [("rail", of.rail.map(|rail| text(rail.name()))), ("payer_kind", kind)];
    format!("{{ {} }}", keys(payments.into_iter().chain(threshold_keys(of.thresholds))))
}

/// What nights are is known of a policy only where a rule asks for one: it is told where rules of both do.
fn windows(rules: &Rules, other: &Rules) -> Option<String> {
    let of_keys = rules.windows.keys;
    let night = |rules: &Rules| {
        rules.windows.asked.iter().find_map(|asked| match asked.window.span {
            Span::Night { from_hour, to_hour } => Some((from_hour, to_hour)),
            Span::Sliding { .. } | Span::Today => None,
        })
    };
    let (from, to) = night(rules).filter(|_| night(other).is_some()).unwrap_or(DEFAULT_NIGHT);
    let hour = |hour: u8, otherwise: u8| (hour != otherwise).then(|| hour.to_string());
    let written = keys([
        ("keys", (of_keys != DEFAULT_WINDOW_KEYS).then(|| of_keys.to_string())),
        ("night_from_hour", hour(from, DEFAULT_NIGHT.0)),
        ("night_to_hour", hour(to, DEFAULT_NIGHT.1)),
    ]);
    (!written.is_empty()).then(|| format!("{{ {written} }}"))
}

fn effect_toml(rule: &Rule) -> String {
    let is = |is: bool| is.then(|| true.to_string());
    let effect = rule.effect;
    let overrides = effect.verdict == Some(RuleVerdict::Allow { overrides: true });
    let share = rule.share_permille;
    keys([
        (
            "score",
            (effect.score != 0 || effect.verdict.is_none()).then(|| effect.score.to_string()),
        ),
        ("verdict", effect.verdict.map(|verdict| text(verdict.name()))),
        ("overrides", is(overrides)),
        ("shadow", is(effect.shadow)),
        ("share", (share < EVERY_PAYER).then(|| share.to_string())),
    ])
}

fn days(rule: &Rule) -> Option<String> {
    let day = |day: u16, open: u16| (day != open).then(|| day_of(day).to_string());
    let written = keys([
        ("valid_from", day(*rule.days.start(), *EVERY_DAY.start())),
        ("valid_until", day(*rule.days.end(), *EVERY_DAY.end())),
    ]);
    (!written.is_empty()).then_some(written)
}

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

fn about(notes: &RuleNotes) -> Option<String> {
    let RuleNotes { description, group, owner, tags, reason, .. } = notes;
    let said = |what: &str| (!what.is_empty()).then(|| text(what));
    let tags = (!tags.is_empty()).then(|| toml::Value::from(tags.clone()).to_string());
    let reason = reason.as_ref().map(|of| {
        let texts = [("code", Some(text(&of.code))), ("pt", said(&of.pt)), ("en", said(&of.en))];
        format!("{{ {} }}", keys(texts))
    });
    let written = keys([
        ("description", said(description)),
        ("group", said(group)),
        ("owner", said(owner)),
        ("tags", tags),
        ("reason", reason),
    ]);
    (!written.is_empty()).then_some(written)
}
