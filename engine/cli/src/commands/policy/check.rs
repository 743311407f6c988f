//! `catraca policy check`: everything that is wrong with a policy's file, each with its place and what to
//! write instead.

use crate::commands::Outcome;
use crate::commands::output::{json, print};
use catraca_node::fatal::{Failure, Status};
use catraca_node::policy_file::{self, MAX_POLICY_LEN, PolicyFault, Rule, RuleVerdict};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy check pix.toml
  catraca policy check pix.toml --json

A policy is taken whole or not at all. What a condition may hold is in engine/POLICY.md. Exit status: 0 sound, 3 something is wrong with it.";

/// Arguments of `catraca policy check`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Policy to check (TOML)
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    file: String,
    sound: bool,
    rules: Vec<RuleReport>,
    faults: Vec<FaultReport>,
}

#[derive(Serialize)]
struct RuleReport {
    id: String,
    description: String,
    score: i64,
    verdict: Option<&'static str>,
    /// Steps that its condition takes, for every transaction.
    steps: usize,
    /// Fields that its condition reads.
    fields: Vec<&'static str>,
}

#[derive(Serialize)]
struct FaultReport {
    line: usize,
    /// In characters.
    column: usize,
    message: String,
    help: String,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let text = read(&args.file)?;
    let parsed = policy_file::parse(&text);
    let sound = parsed.is_ok();
    let status = if sound { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    if args.json {
        let (rules, faults) = match &parsed {
            Ok(rules) => (rules.iter().map(rule_report).collect(), Vec::new()),
            Err(faults) => (Vec::new(), faults.iter().map(fault_report).collect()),
        };
        let file = args.file.display().to_string();
        return print(&json(&Report { file, sound, rules, faults }), status);
    }
    let text = match &parsed {
        Ok(rules) => rules_text(&args.file, rules),
        Err(faults) => faults_text(&args.file, faults),
    };
    print(&text, status)
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let most = MAX_POLICY_LEN as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|e| Failure::failed(format!("{}: could not be read: {e}", path.display())))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::failed(format!("{}: byte {at} is no UTF-8: save it as UTF-8", path.display()))
    })
}

fn verdict(rule: &Rule) -> Option<&'static str> {
    rule.verdict.map(|verdict| match verdict {
        RuleVerdict::Allow => "allow",
        RuleVerdict::Review => "review",
        RuleVerdict::Deny => "deny",
    })
}

fn rule_report(rule: &Rule) -> RuleReport {
    RuleReport {
        id: rule.id.clone(),
        description: rule.description.clone(),
        score: rule.score,
        verdict: verdict(rule),
        steps: rule.when.steps(),
        fields: rule.when.fields().iter().map(|field| field.name()).collect(),
    }
}

fn fault_report(fault: &PolicyFault) -> FaultReport {
    FaultReport {
        line: fault.line,
        column: fault.column,
        message: fault.message.clone(),
        help: fault.help.clone(),
    }
}

fn rules_text(path: &Path, rules: &[Rule]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["rule", "score", "verdict", "steps", "reads"]);
    for rule in rules {
        let fields: Vec<_> = rule.when.fields().iter().map(|field| field.name()).collect();
        table.add_row([
            rule.id.clone(),
            rule.score.to_string(),
            verdict(rule).unwrap_or("-").to_owned(),
            rule.when.steps().to_string(),
            fields.join(", "),
        ]);
    }
    for column in [1, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let steps: usize = rules.iter().map(|rule| rule.when.steps()).sum();
    format!(
        "{table}\n{}: sound, {} rules, {steps} steps a transaction\n",
        path.display(),
        rules.len()
    )
}

fn faults_text(path: &Path, faults: &[PolicyFault]) -> String {
    let mut text = String::new();
    for fault in faults {
        let PolicyFault { line, column, width, text: source, message, help } = fault;
        // Tabs stay, so that the mark stands below its place.
        let indent: String =
            source.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let margin = line.to_string().len();
        writeln!(
            text,
            "{}:{line}:{column}: {message}\n{line} | {source}\n{:margin$} | {indent}{}\n{:margin$} = {help}\n",
            path.display(),
            "",
            "^".repeat(*width),
            "",
        )
        .expect("writing to a string can't fail");
    }
    let count = faults.len();
    writeln!(
        text,
        "{}: refused, {count} fault{}",
        path.display(),
        if count == 1 { "" } else { "s" }
    )
    .expect("writing to a string can't fail");
    text
}
