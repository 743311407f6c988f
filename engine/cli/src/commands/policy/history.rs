//! `catraca policy history`: the policies that a log took into force, and their texts.

use crate::commands::Outcome;
use crate::commands::log::{chain_key, open, utc};
use crate::commands::output::{json, print};
use catraca_node::fatal::Failure;
use catraca_node::replay::{History, LoggedPolicy};
use catraca_wire::extension::ActivatedBy;
use catraca_wire::list::Author;
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy history /var/lib/catraca
  catraca policy history /var/lib/catraca --text 3 > version-3.toml

Exit status: 0, or 1 where there is no such version.";

/// Arguments of `catraca policy history`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    data_dir: PathBuf,
    /// Print the text of the policy of this version, as it was taken into force
    #[arg(long, value_name = "VERSION", conflicts_with = "json")]
    text: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The name of who took a policy into force, or approved it, where the log says.
fn name(policy: &LoggedPolicy, of: impl Fn(&ActivatedBy) -> Author) -> Option<String> {
    policy.by.as_ref().map(of).filter(|name| !name.is_empty()).map(|name| name.to_string())
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let log = open(&args.data_dir, chain_key(&args.data_dir, None)?)?;
    let history = History::read(&log, &args.data_dir)?;
    if let Some(version) = args.text {
        let policy = history.policies().find(|policy| policy.text.version == version);
        let text = policy.and_then(|policy| std::str::from_utf8(&policy.text.text).ok());
        let text = text.ok_or_else(|| {
            Failure::failed(format!("the log holds no policy of version {version}"))
        })?;
        return print(text, ExitCode::SUCCESS);
    }
    let rules =
        |policy: &LoggedPolicy| policy.read.as_ref().map(|(file, _)| file.rules.rules.len()).ok();
    if args.json {
        let policies: Vec<_> = history
            .policies()
            .map(|policy| {
                json!({
                    "version": policy.text.version,
                    "id": policy.text.id.to_string(),
                    "activated_at": utc(policy.text.activated_at_ns),
                    "activated_at_ns": policy.text.activated_at_ns,
                    "rules": rules(policy),
                    "text_len": policy.text.text.len(),
                    "author": name(policy, |by| by.author),
                    "approver": name(policy, |by| by.approver),
                    "fault": policy.read.as_ref().err(),
                })
            })
            .collect();
        return print(&json(&json!({ "policies": policies })), ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["version", "in force since", "rules", "by", "approved by", "id"]);
    let mut count = 0;
    for policy in history.policies() {
        table.add_row([
            policy.text.version.to_string(),
            utc(policy.text.activated_at_ns),
            rules(policy).map_or("unreadable".to_owned(), |rules| rules.to_string()),
            name(policy, |by| by.author).unwrap_or_else(|| "-".to_owned()),
            name(policy, |by| by.approver).unwrap_or_else(|| "-".to_owned()),
            policy.text.id.to_string(),
        ]);
        count += 1;
    }
    let text = match count {
        0 => "no policy was ever taken into force: the lists alone decide\n".to_owned(),
        _ => format!("{table}\n"),
    };
    print(&text, ExitCode::SUCCESS)
}
