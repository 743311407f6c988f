//! `catraca log replay`: every decision recomputed from the log, and held to what was recorded; with
//! `--policy`, what another policy would have done; where the log has labels, how much fraud either found.

use super::export::time;
use super::replay_report::{Asked, Compared};
use super::truth;
use super::view::reais;
use super::{chain_key, open};
use crate::commands::Outcome;
use crate::commands::output::{counted, json, print};
use crate::commands::policy::{say_warnings, sound};
use crate::commands::report::Files;
use crate::commands::totals::{matrix_json, percent_changed, rules_json, tables};
use catraca_core::log::policies::PolicyId;
use catraca_core::policy::windows::WindowsKey;
use catraca_core::policy::{EVERY_PAYER, Rules};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::read::End;
use catraca_node::replay::{Differing, Found, History, MAX_WINDOW_SETS, Replay, WhatIf};
use catraca_wire::client::now_ns;
use catraca_wire::frame::Verdict;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca log replay /var/lib/catraca
  catraca log replay ./copy --from 2026-11-01 --to 2026-12-01 --json
  catraca log replay ./copy --policy candidate.toml --max-changed-percent 2   # a gate before activation
  catraca log replay ./copy --policy candidate.toml --html comparison.html --svg comparison.svg   # to be read by others
  catraca log replay ./archive --policy candidate.toml --labels-as-of 2027-06-01   # with the truth of that day

Each decision is computed anew from what the log holds: the transaction, the policy of its version, whose text is in the log, the list
file and the changes of the blacklist that it saw. Verdict, reason, score, lists and rules must be what was recorded, bit by bit. With
--policy the recorded verdicts are compared with those of another policy; decisions that do not recompute are told all the same. Lists that were
not there are told first: what a rule looks up in them is not known, and counts against the payment.

Where the log has labels (`catraca label`) a table says how much fraud was found, of decisions that were 90 days old when the newest label
became known, or at --labels-as-of. TP: fraud that was taken for fraud; FP: good payments that were; FN: fraud that passed; TN: good payments
that passed. Unknown is what has no label: of a payment that was not made nobody knows what it would have become. Of what another policy
would take for fraud and passed without a label most was good, so its precision is a highest one.

The page of --html shows ids and amounts of the payments that are examples, and no documents. A file appears when it is complete.

Times: RFC 3339, or a date or date and time in this machine's zone; --to is not included.

Exit status: 0 all are what was recorded (with --policy: and no more changes than --max-changed-percent allows); 3 something differs, the
log is damaged, a policy or list that decided is not there, or more would change.";

/// Arguments of `catraca log replay`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data directory of a node, or a copy of it
    data_dir: PathBuf,
    /// Compare with what this policy would have done (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// With --policy: exit status 3 if more than this share of the verdicts would change
    #[arg(long, value_name = "PERCENT", requires = "policy", value_parser = percent)]
    max_changed_percent: Option<f64>,
    /// With --policy: write the comparison as a page, one file of HTML that needs nothing else
    #[arg(long, value_name = "FILE", requires = "policy")]
    html: Option<PathBuf>,
    /// With --policy: write the page's picture alone, as SVG
    #[arg(long, value_name = "FILE", requires = "policy")]
    svg: Option<PathBuf>,
    /// Only decisions made at this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<u64>,
    /// Only decisions made before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<u64>,
    /// Hold the verdicts to what was known at this time [default: when the newest label became known]
    #[arg(long, value_name = "TIME", value_parser = time)]
    labels_as_of: Option<u64>,
    /// The chain's key [default: chain.key in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn asked(args: &Args) -> Asked {
    let name = args.policy.as_deref().and_then(Path::file_name).unwrap_or_default();
    Asked {
        policy: name.to_string_lossy().into_owned(),
        log: args.data_dir.display().to_string(),
        from_ns: args.from,
        to_ns: args.to,
        max_changed_percent: args.max_changed_percent,
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "a share from 0 to 100".to_owned())
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    if from > to {
        return Err(Failure::new(Status::Usage, "--from lies after --to"));
    }
    let candidate = args.policy.as_deref().map(sound).transpose()?;
    if let (Some(path), Some(policy)) = (&args.policy, &candidate) {
        say_warnings(path, policy);
    }
    let files = Files::begin(args.html.as_deref(), args.svg.as_deref(), args.policy.as_deref())?;
    let key = chain_key(&args.data_dir, args.key_file.as_ref())?;
    let log = open(&args.data_dir, key)?;
    let history = History::read(&log, &args.data_dir)?;
    let streams = log.shards().len() as u16;
    let what_if = candidate.as_ref().map(WhatIf::new);
    let windows_key = key.as_ref().map_or_else(WindowsKey::without_secret, WindowsKey::of);
    let mut replay = Replay::new(&history, from..to, what_if, (streams, windows_key))
        .held_to_labels(args.labels_as_of);
    let bar = super::progress(&log, true)?;
    let mut damaged = Vec::new();
    for &shard in log.shards() {
        let start = log.start(shard)?;
        replay
            .next_stream(&log, shard, &start)
            .map_err(|error| Failure::failed(error.to_string()))?;
        let read = log.blocks(shard, start.tail, |block| {
            bar.inc(block.head.padded_len() as u64);
            replay.block(block);
            ControlFlow::Continue(())
        })?;
        if let End::Damaged(damage) = read.end {
            damaged.push(super::located(&log, shard, &damage));
        }
    }
    bar.finish_and_clear();
    let (found, what_if, truth) = replay.finish();
    let changed_too_many = what_if.as_ref().is_some_and(|what_if| {
        args.max_changed_percent.is_some_and(|most| percent_changed(&what_if.totals) > most)
    });
    let equal = found.differing == 0
        && found.without_policy.is_empty()
        && found.without_list == 0
        && found.unreadable == 0
        && damaged.is_empty()
        && !history.is_unreadable();
    let status = if equal && !changed_too_many {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Status::Found as u8)
    };
    let has_share = |rules: &Rules| rules.rules.iter().any(|r| r.share_permille < EVERY_PAYER);
    let of_log = history.policies().filter_map(|policy| policy.read.as_ref().ok());
    let mut rules = of_log.map(|(file, _)| file).chain(&candidate).map(|file| &file.rules);
    let shares_known = history.share_key().is_known() || !rules.any(has_share);
    let replayed = Replayed { history: &history, found, damaged, shares_known, equal };
    if let (Some(file), Some(what_if), false) = (&candidate, &what_if, files.is_empty()) {
        let compared = Compared { replayed: &replayed, file, what_if, truth: truth.as_ref() };
        files.write(&compared.report(&asked(args), now_ns()))?;
    }
    let text = if args.json {
        let candidate = candidate.as_ref().zip(what_if.as_ref());
        let would = candidate.map(|(file, what_if)| what_if_json(&file.id, what_if));
        let labels = truth.as_ref().map(|truth| truth::json_of(truth, what_if.is_some()));
        json(&replayed.json(what_if.as_ref(), would, labels))
    } else {
        let mut text = replayed.text(what_if.as_ref());
        if let Some(what_if) = &what_if {
            text.push_str(&what_if_text(what_if));
        }
        if let Some(truth) = &truth {
            text.push_str(&truth::text_of(truth, what_if.is_some()));
        }
        text
    };
    print(&text, status)
}

/// What came of it.
pub(super) struct Replayed<'h> {
    pub history: &'h History,
    pub found: Found,
    /// Places of damage.
    pub damaged: Vec<String>,
    /// It is known whom rules with a share are applied to, or there are none.
    pub shares_known: bool,
    /// All is what was recorded.
    pub equal: bool,
}

impl Replayed<'_> {
    fn json(&self, what_if: Option<&WhatIf>, would: Option<Value>, labels: Option<Value>) -> Value {
        let found = &self.found;
        let differing = |differing: &Differing| {
            json!({
                "shard": differing.shard,
                "lsn": differing.lsn,
                "transaction_id": differing.transaction_id,
                "policy_version": differing.policy_version,
                "in_what": differing.in_what.iter().map(|what| what.name()).collect::<Vec<_>>(),
                "recorded": verdict_name(differing.recorded),
                "recomputed": differing.judged.decision.verdict.name(),
            })
        };
        json!({
            "equal": self.equal,
            "decisions": found.decisions,
            "differing": found.differing,
            "by_difference": found.by_difference.iter()
                .map(|(what, count)| (what.name().to_owned(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
            "first": found.first.iter().map(differing).collect::<Vec<_>>(),
            "without_policy": found.without_policy.iter()
                .map(|(version, count)| json!({ "policy_version": version, "decisions": count }))
                .collect::<Vec<_>>(),
            "warnings": self.warnings(what_if),
            "without_list": found.without_list,
            "missing_lists": found.missing_lists.iter().map(|id| format!("{id:016x}")).collect::<Vec<_>>(),
            "without_named_lists": found.without_named_lists,
            "without_list_day": found.without_list_day,
            "unreadable": found.unreadable,
            "windows_recomputed": found.windows_recomputed,
            "windows_as_recorded": found.windows_as_recorded,
            "windows_concurrent": found.windows_concurrent,
            "damaged": self.damaged,
            "shares_known": self.shares_known,
            "policies": self.history.policies().map(|policy| json!({
                "version": policy.text.version,
                "id": policy.text.id.to_string(),
                "activated_at_ns": policy.text.activated_at_ns,
                "fault": policy.read.as_ref().err(),
            })).collect::<Vec<_>>(),
            "what_if": would,
            "labels": labels,
        })
    }

    fn text(&self, what_if: Option<&WhatIf>) -> String {
        let found = &self.found;
        let mut text = String::new();
        for warning in self.warnings(what_if) {
            line(&mut text, &format!("warning: {warning}"));
        }
        for differing in &found.first {
            let what: Vec<_> = differing.in_what.iter().map(|what| what.name()).collect();
            line(
                &mut text,
                &format!(
                    "stream {} lsn {} {}: recorded {}, recomputed {}: differs in {}",
                    differing.shard,
                    differing.lsn,
                    differing.transaction_id,
                    verdict_name(differing.recorded),
                    differing.judged.decision.verdict,
                    what.join(", "),
                ),
            );
        }
        for remark in self.remarks() {
            line(&mut text, &remark);
        }
        line(&mut text, &self.outcome());
        text
    }

    /// Lists that are not there, and what follows from it; a sentence each. A policy that counts what it does not
    /// know against payments denies nearly all of them then.
    pub fn warnings(&self, what_if: Option<&WhatIf>) -> Vec<String> {
        let found = &self.found;
        let mut warnings = Vec::new();
        if let Some(what_if) = what_if {
            let all = what_if.totals.payments();
            warnings.extend(what_if.lists_not_known.iter().map(|(list, decisions)| {
                format!(
                    "of {} {decisions} saw no list {list}, which the policy names: what it looks up there is not known, and the rules that ask count against the payment",
                    counted(all, "decision", "decisions")
                )
            }));
        }
        if let Some(not_known) = what_if.map(|what_if| what_if.answers_not_known).filter(|n| *n > 0)
        {
            warnings.push(format!(
                "the policy would have asked validators {} that nobody asked then: these count as having no answer",
                counted(not_known, "question", "questions")
            ));
        }
        if found.without_list > 0 {
            let ids: Vec<_> = found.missing_lists.iter().map(|id| format!("{id:016x}")).collect();
            warnings.push(format!(
                "{} not recomputed whole: the list of that time ({}) is not in the folder lists/, or another one is there, so payer and payee were taken as recorded",
                counted(found.without_list, "decision was", "decisions were"),
                ids.join(", ")
            ));
        }
        if found.without_named_lists > 0 {
            warnings.push(format!(
                "{} not recomputed whole: the log does not say what the lists of the policy were then, so what was looked up was taken as recorded",
                counted(found.without_named_lists, "decision was", "decisions were")
            ));
        }
        warnings
    }

    /// What was left out, or taken as recorded; a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let found = &self.found;
        let mut remarks: Vec<String> = self
            .history
            .policies()
            .filter_map(|policy| policy.read.as_ref().err().cloned())
            .collect();
        remarks.extend(found.without_policy.iter().map(|(version, count)| {
            format!(
                "{} of policy version {version} {} not recomputed: its text is not there",
                counted(*count, "decision", "decisions"),
                if *count == 1 { "was" } else { "were" },
            )
        }));
        if self.history.is_unreadable() {
            remarks
                .push("the log takes a policy into force whose text it does not hold".to_owned());
        }
        remarks.extend(self.damaged.iter().map(|place| format!("damaged: {place}")));
        if found.windows_as_recorded > 0 {
            remarks.push(format!(
                "the windows of {} were taken as recorded: the log was written by several numbers of shards, or its policies read more than {MAX_WINDOW_SETS} different sets of windows",
                counted(found.windows_as_recorded, "decision", "decisions")
            ));
        }
        if !self.shares_known {
            remarks.push(
                "rules with a share are not held to whom they were applied to, and another policy's are applied to every payer: the log's key is not there"
                    .to_owned(),
            );
        }
        if found.windows_concurrent > 0 {
            remarks.push(format!(
                "{} saw others of the payments that other cores decided within a second of it than the times say: a log does not hold which of them was first",
                counted(found.windows_concurrent, "decision", "decisions")
            ));
        }
        if found.without_list_day > 0 {
            remarks.push(format!(
                "{} from before records held the day of the lists: payer and payee were taken as recorded",
                counted(found.without_list_day, "decision is", "decisions are")
            ));
        }
        remarks
    }

    /// How the recorded decisions came out.
    pub fn outcome(&self) -> String {
        format!(
            "{} recomputed, {}: {}",
            counted(self.found.decisions, "decision", "decisions"),
            counted(self.history.policies().count(), "policy", "policies"),
            match (self.equal, self.found.differing) {
                (true, _) => "all are what was recorded".to_owned(),
                (false, 0) => "not all could be recomputed".to_owned(),
                (false, differing) => format!("{differing} differ"),
            },
        )
    }
}

fn line(text: &mut String, what: &str) {
    writeln!(text, "{what}").expect("writing to a string can't fail");
}

fn verdict_name(code: u8) -> &'static str {
    Verdict::from_wire(code).map_or("unknown", Verdict::name)
}

fn ids(what_if: &WhatIf) -> impl Iterator<Item = &str> {
    what_if.policy().rules().rules.iter().map(|rule| &rule.id[..])
}

fn what_if_json(id: &PolicyId, what_if: &WhatIf) -> Value {
    json!({
        "policy_id": id.to_string(),
        "decisions": what_if.totals.payments(),
        "changed": what_if.totals.changed(),
        "changed_percent": percent_changed(&what_if.totals),
        "payers_affected": what_if.payers_affected(),
        "unreadable": what_if.unreadable,
        "answers_not_known": what_if.answers_not_known,
        "lists_not_known": what_if.lists_not_known.iter()
            .map(|(list, decisions)| json!({ "list": list.to_string(), "decisions": decisions }))
            .collect::<Vec<_>>(),
        "matrix": matrix_json(&what_if.totals.matrix),
        "rules": rules_json(ids(what_if), &what_if.totals),
        "examples": what_if.examples.iter().map(|changed| json!({
            "transaction_id": changed.transaction_id,
            "amount_centavos": changed.amount_centavos,
            "from": changed.from.name(),
            "to": changed.to.name(),
            "rules": changed.rules,
        })).collect::<Vec<_>>(),
    })
}

fn what_if_text(what_if: &WhatIf) -> String {
    let mut text = tables("recorded", ids(what_if), &what_if.totals);
    line(&mut text, &format!(", {}", counted(what_if.payers_affected(), "payer", "payers")));
    for changed in &what_if.examples {
        line(
            &mut text,
            &format!(
                "  {} {}: {} → {} ({})",
                changed.transaction_id,
                reais(changed.amount_centavos),
                changed.from,
                changed.to,
                changed.rules.join(", "),
            ),
        );
    }
    text
}
