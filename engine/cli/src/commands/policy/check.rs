//! `catraca policy check`: what a policy's file holds, or everything that is wrong with it.

use super::{file, warnings};
use crate::commands::Outcome;
use crate::commands::output::{counted, json, print};
use catraca_core::policy::{EVERY_PAYER, Rule, RuleVerdict};
use catraca_node::fatal::Status;
use catraca_node::policy_file::{self, PolicyFault, PolicyFile};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy check pix.toml
  catraca policy check pix.toml --json

A policy is taken whole or not at all. What a condition may hold is in engine/POLICY.md. What is sound and yet does nothing, scores that no
threshold makes a verdict of, is told as a warning. Exit status: 0 sound, 3 something is wrong with it.";

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
    /// BLAKE3 of the text: what names the policy.
    id: Option<String>,
    time_zone: Option<String>,
    rules: Vec<RuleReport>,
    /// Memory that windows need for each payer, bytes.
    window_bytes_per_payer: usize,
    /// Memory that windows need at most on a node of one shard, bytes.
    window_bytes: u64,
    faults: Vec<FaultReport>,
    /// What of a sound policy does nothing.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct RuleReport {
    id: String,
    description: String,
    group: String,
    owner: String,
    tags: Vec<String>,
    score: i64,
    verdict: Option<&'static str>,
    shadow: bool,
    /// Of a thousand payers those that it is applied to.
    share_permille: u16,
    /// Steps that its condition takes, for every batch of transactions.
    steps: usize,
    /// Fields that its condition reads.
    fields: Vec<&'static str>,
    /// Values of windows and lists that its condition reads or asks for.
    windows: Vec<String>,
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
    let text = file::read(&args.file)?;
    let parsed = policy_file::parse(&text);
    let sound = parsed.is_ok();
    let status = if sound { ExitCode::SUCCESS } else { ExitCode::from(Status::Found as u8) };
    if args.json {
        let (policy, faults) = match &parsed {
            Ok(policy) => (Some(policy), Vec::new()),
            Err(faults) => (None, faults.iter().map(fault_report).collect()),
        };
        let bytes = policy.map_or((0, 0), |policy| policy.rules.windows.bytes(1));
        let report = Report {
            file: args.file.display().to_string(),
            sound,
            id: policy.map(|policy| policy.id.to_string()),
            time_zone: policy.map(|policy| policy.zone.to_string()),
            rules: policy.map(rule_reports).unwrap_or_default(),
            window_bytes_per_payer: bytes.1,
            window_bytes: bytes.0,
            faults,
            warnings: policy.map(warnings::of).unwrap_or_default(),
        };
        return print(&json(&report), status);
    }
    let text = match &parsed {
        Ok(policy) => rules_text(&args.file, policy),
        Err(faults) => file::faults_text(&args.file, faults),
    };
    print(&text, status)
}

fn rule_reports(policy: &PolicyFile) -> Vec<RuleReport> {
    let rules = policy.rules.rules.iter().zip(&policy.notes);
    rules
        .map(|(rule, notes)| RuleReport {
            id: rule.id.clone(),
            description: notes.description.clone(),
            group: notes.group.clone(),
            owner: notes.owner.clone(),
            tags: notes.tags.clone(),
            score: rule.effect.score,
            verdict: rule.effect.verdict.map(RuleVerdict::name),
            shadow: rule.effect.shadow,
            share_permille: rule.share_permille,
            steps: rule.when.steps(),
            fields: rule.when.fields().iter().map(|field| field.name()).collect(),
            windows: windows_of(policy, rule),
        })
        .collect()
}

/// The values of windows and lists that a rule reads or asks for.
fn windows_of(policy: &PolicyFile, rule: &Rule) -> Vec<String> {
    let places = rule.when.windows().iter();
    places.map(|&place| policy.rules.value_name(usize::from(place))).collect()
}

/// Behind what a rule does: that it does so to a share of all payers.
pub fn share_text(rule: &Rule) -> String {
    match rule.share_permille {
        EVERY_PAYER => String::new(),
        share => format!(" (share {share})"),
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

fn rules_text(path: &Path, policy: &PolicyFile) -> String {
    let rules = &policy.rules.rules;
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["rule", "score", "verdict", "steps", "reads"]);
    for rule in rules {
        let fields = rule.when.fields().iter().map(|field| field.name().to_owned());
        let reads: Vec<_> = fields.chain(windows_of(policy, rule)).collect();
        let verdict = rule.effect.verdict.map_or("-", RuleVerdict::name);
        let shadow = if rule.effect.shadow { " (shadow)" } else { "" };
        table.add_row([
            rule.id.clone(),
            rule.effect.score.to_string(),
            format!("{verdict}{shadow}{}", share_text(rule)),
            rule.when.steps().to_string(),
            reads.join(", "),
        ]);
    }
    for column in [1, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let steps: usize = rules.iter().map(|rule| rule.when.steps()).sum();
    let mut text = format!(
        "{table}\n{}: sound, {}, {}, hours and days of {}\n",
        path.display(),
        counted(rules.len(), "rule", "rules"),
        counted(steps, "step", "steps"),
        policy.zone,
    );
    let windows = &policy.rules.windows;
    if !windows.asked.is_empty() {
        let (bytes, bytes_of_payer) = windows.bytes(1);
        text.push_str(&format!(
            "{}, {bytes_of_payer} bytes for each payer, at most {} MiB for {} keys of each subject\n",
            counted(windows.asked.len(), "value of windows", "values of windows"),
            bytes.div_ceil(1 << 20),
            windows.keys,
        ));
    }
    if !policy.rules.lists.is_empty() {
        let mut lists: Vec<_> =
            policy.rules.lists.iter().map(|asked| (asked.list, asked.key.kind())).collect();
        lists.sort_unstable();
        lists.dedup();
        let lists: Vec<_> = lists.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        text.push_str(&format!("it looks things up in these lists: {}\n", lists.join(", ")));
    }
    if !policy.services.is_empty() {
        let ids: Vec<_> = policy.services.iter().map(|service| service.id.as_str()).collect();
        text.push_str(&format!("it asks these validators: {}\n", ids.join(", ")));
    }
    text.push_str(&format!("id {}\n", policy.id));
    for warning in warnings::of(policy) {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}
