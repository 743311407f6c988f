//! `catraca policy explain`: what a policy does with one payment, rule by rule, with the values that each
//! rule saw.

use super::check::share_text;
use super::file;
use super::made_up::MadeUp;
use super::made_up_lists::MadeUpLists;
use crate::commands::Outcome;
use crate::commands::log::{chain_key, open};
use crate::commands::matched_rules::NotApplied;
use crate::commands::output::{json, print};
use catraca_core::policy::language::Field;
use catraca_core::policy::replay::{push, recorded_parties, recorded_values};
use catraca_core::policy::windows::WindowsKey;
use catraca_core::policy::{Batch, Judgement, Policy, RuleVerdict, RuleWords};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::lookup::{self, Query, StoredRecord};
use catraca_node::policy_file::PolicyFile;
use catraca_node::replay::{History, looked_up, take_answers, windows_at};
use catraca_wire::extension::{MAX_WINDOW_VALUES, RulesSeen, WindowValue};
use catraca_wire::frame::transaction_id;
use catraca_wire::record::Reason;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy explain pix.toml --transaction payment.json
  catraca policy explain --log /var/lib/catraca --id E1234567820261124233012345678901
  catraca policy explain pix.toml --log ./copy --id order-1 --json      # what this policy makes of a stored payment

A payment of one's own is JSON, and whatever is left out is what an ordinary one has:
  {\"amount_centavos\": 150000, \"rail\": \"pix\", \"time\": \"2026-11-24T22:30:00\", \"payee_listed\": \"ceis\"}
With --log and no FILE the policy is the one that decided, out of the log. Documents are masked. Exit status: 0 explained, 1 there is no
such payment, 3 something is wrong with the policy.";

/// Longest file of a payment, bytes.
const MAX_TRANSACTION_LEN: u64 = 64 * 1024;

/// Arguments of `catraca policy explain`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Policy (TOML) [default: the one that decided]
    #[arg(required_unless_present = "log")]
    file: Option<PathBuf>,
    /// A payment of one's own (JSON)
    #[arg(long, value_name = "FILE", required_unless_present = "log", conflicts_with = "log")]
    transaction: Option<PathBuf>,
    /// Data directory of a node, or a copy of it, that holds the payment
    #[arg(long, value_name = "DIR", requires = "id")]
    log: Option<PathBuf>,
    /// Id of the payment's transaction in the log
    #[arg(long, requires = "log")]
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A payment, judged by a policy.
struct Explained<'p> {
    file: &'p PolicyFile,
    batch: Batch,
    judged: Judgement,
    /// The place of the payer among a thousand, by which rules with a share are applied; `None` where nobody
    /// knows.
    place: Option<u16>,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let file = args.file.as_deref().map(file::sound).transpose()?;
    if let (Some(path), Some(file)) = (&args.transaction, &file) {
        let made_up = read_made_up(path)?;
        let policy = Policy::new(1, file.zone.clone(), file.rules.clone());
        let (batch, judged) = made_up
            .judge(&policy, &MadeUpLists::new())
            .map_err(|why| Failure::new(Status::Usage, format!("{}: {why}", path.display())))?;
        // It is inside of every share.
        return show(args, &[Explained { file, batch, judged, place: Some(0) }]);
    }
    let (Some(dir), Some(id)) = (&args.log, &args.id) else {
        return Err(Failure::new(
            Status::Usage,
            "name a payment: --transaction, or --log and --id",
        ));
    };
    stored(args, dir, id, file.as_ref())
}

fn read_made_up(path: &Path) -> Result<MadeUp, Failure> {
    let failed = |why: String| Failure::failed(format!("{}: {why}", path.display()));
    let text = file::read_up_to(path, MAX_TRANSACTION_LEN)?;
    serde_json::from_str(&text).map_err(|error| failed(format!("no payment: {error}")))
}

fn stored(args: &Args, dir: &Path, id: &str, named: Option<&PolicyFile>) -> Outcome {
    let key = chain_key(dir, None)?;
    let log = open(dir, key)?;
    let query = Query {
        id: transaction_id(id).ok_or_else(|| {
            Failure::new(Status::Usage, "--id: 1 to 32 printable ASCII characters without spaces")
        })?,
        payer: None,
        institution: None,
    };
    let found = lookup::find(&log, &query, 8)?;
    if found.records.is_empty() {
        return Err(Failure::failed(format!(
            "no stored decision has the id {id} (in {})",
            dir.display()
        )));
    }
    let history = History::read(&log, dir)?;
    let mut explained = Vec::new();
    for record in &found.records {
        let file = match named {
            Some(file) => file,
            None => decided_by(&history, record)?,
        };
        let policy = Arc::new(Policy::new(1, file.zone.clone(), file.rules.clone()));
        let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        let (seen, exempt) = match named {
            None => {
                let exempt = RulesSeen::read(&record.extension).map(|seen| seen.exempt);
                let seen = recorded_values(&policy, &record.extension, &mut values).to_vec();
                (seen, exempt.unwrap_or_default())
            }
            Some(_) => {
                let key = key.as_ref().map_or_else(WindowsKey::without_secret, WindowsKey::of);
                let place = (record.place.shard, record.head.lsn.to_native());
                let mut seen = windows_at(&log, &policy, key, place).map_err(Failure::failed)?;
                let (looked_up, exempt) = looked_up(&history, &policy, &record.head);
                seen.extend(looked_up);
                seen.resize(policy.values(), WindowValue::Missing);
                take_answers(&policy, &history, &record.head, &record.extension, &mut seen);
                (seen, exempt)
            }
        };
        let mut of = explain(file, &policy, record, named.is_none(), (&seen, &exempt))?;
        of.place = recorded_parties(&record.head)
            .and_then(|(payer, _)| history.share_key().place(payer.document));
        explained.push(of);
    }
    show(args, &explained)
}

/// The policy that decided.
fn decided_by<'h>(history: &'h History, record: &StoredRecord) -> Result<&'h PolicyFile, Failure> {
    let version = record.head.policy_version.to_native();
    history.file_of(version).ok_or_else(|| {
        Failure::failed(match version {
            0 => "the lists alone decided: there was no policy".to_owned(),
            _ => format!(
                "the log does not hold the policy of version {version}, or this build can't read it"
            ),
        })
    })
}

/// `decided`: it is the policy that decided, and what the clocks said then is recorded.
fn explain<'p>(
    file: &'p PolicyFile,
    policy: &Policy,
    record: &StoredRecord,
    decided: bool,
    (seen, exempt): (&[WindowValue], &RuleWords),
) -> Result<Explained<'p>, Failure> {
    let head = &record.head;
    let parties = recorded_parties(head)
        .ok_or_else(|| Failure::failed("the record's documents can't be read"))?;
    let event_time_ns = head.transaction.event_time_ns.to_native();
    let offset_minutes = RulesSeen::read(&record.extension)
        .filter(|_| decided)
        .map_or_else(|| policy.zone().offset_at(event_time_ns).minutes, |seen| seen.offset_minutes);
    let mut batch = Batch::new();
    push(&mut batch, policy, head, offset_minutes, parties, seen, exempt);
    policy.judge(&mut batch);
    let judged = *batch.judgement(0);
    Ok(Explained { file, batch, judged, place: None })
}

fn show(args: &Args, explained: &[Explained<'_>]) -> Outcome {
    if args.json {
        let all: Vec<_> = explained.iter().map(Explained::json).collect();
        return print(&json(&json!({ "explained": all })), ExitCode::SUCCESS);
    }
    let text: String = explained.iter().map(Explained::text).collect();
    print(&text, ExitCode::SUCCESS)
}

impl Explained<'_> {
    fn is_in(words: &[u64], rule: usize) -> bool {
        words[rule / 64] >> (rule % 64) & 1 == 1
    }

    /// Why a rule that matches is not applied, where it is not.
    fn not_applied(&self, rule: usize) -> Option<NotApplied> {
        let Judgement { rules, .. } = &self.judged;
        let is = Self::is_in(&rules.matched, rule) && Self::is_in(&rules.exempt, rule);
        is.then(|| NotApplied::why(&self.file.rules.rules[rule], self.place))
    }

    /// How a rule came out, in a word.
    fn outcome(&self, rule: usize) -> &'static str {
        let rules = &self.judged.rules;
        match (Self::is_in(&rules.matched, rule), Self::is_in(&rules.failed, rule)) {
            (true, _) if Self::is_in(&rules.exempt, rule) => {
                self.not_applied(rule).map_or("exempt", NotApplied::text)
            }
            (true, false) => "matches",
            (true, true) => "has no result, and so counts",
            (false, true) => "has no result",
            (false, false) => "-",
        }
    }

    /// The fields, the windows and the lists that a rule reads or asks for, with what stands in them.
    fn values(&self, rule: usize) -> Vec<(String, String)> {
        let when = &self.file.rules.rules[rule].when;
        let fields = when.mentions().into_iter();
        let text = |field: Field| {
            self.batch
                .field(0, field)
                .map_or_else(|| "missing".to_owned(), |value| field.text(value))
        };
        let window = |&place: &u8| {
            let place = usize::from(place);
            let rules = &self.file.rules;
            let value = match self.batch.seen(0)[place] {
                WindowValue::Present(value) => rules.value_text(place, value),
                WindowValue::Saturated(value) => {
                    format!("at least {}", rules.value_text(place, value))
                }
                WindowValue::Estimated(value) => {
                    format!("about {}", rules.value_text(place, value))
                }
                WindowValue::Missing => "missing".to_owned(),
                WindowValue::Evicted => "not known".to_owned(),
            };
            (rules.value_name(place), value)
        };
        let fields = fields.map(|field| (field.name().to_owned(), text(field)));
        fields.chain(when.windows().iter().map(window)).collect()
    }

    fn json(&self) -> Value {
        let decision = &self.judged.decision;
        let rules = self.file.rules.rules.iter().enumerate().map(|(number, rule)| {
            let values: serde_json::Map<_, _> = self
                .values(number)
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect();
            json!({
                "id": rule.id,
                "matched": Self::is_in(&self.judged.rules.matched, number),
                "not_applied": self.not_applied(number),
                "without_result": Self::is_in(&self.judged.rules.failed, number),
                "score": rule.effect.score,
                "verdict": rule.effect.verdict.map(RuleVerdict::name),
                "shadow": rule.effect.shadow,
                "share_permille": rule.share_permille,
                "when": self.file.notes[number].when,
                "values": values,
            })
        });
        json!({
            "policy_id": self.file.id.to_string(),
            "verdict": decision.verdict.name(),
            "reason": decision.reason.name(),
            "score": decision.score,
            "score_sum": self.judged.rules.score_sum,
            "settled_by": self.settled_by(),
            "shadow_disagrees": decision.shadow_disagrees,
            "reason_texts": self.reason_texts(),
            "rules": rules.collect::<Vec<_>>(),
        })
    }

    fn settled_by(&self) -> Option<&str> {
        let rule = self.judged.rules.settled_by?;
        Some(&self.file.rules.rules[usize::from(rule)].id)
    }

    /// What is said to who asks why: the texts of the rule that settled it, or of the rules that add to the
    /// score where that did, in their order.
    fn reason_texts(&self) -> Vec<Value> {
        let rules = &self.judged.rules;
        let tells = |&number: &usize| match (rules.settled_by, self.judged.decision.reason) {
            (Some(rule), _) => usize::from(rule) == number,
            (None, Reason::Score) => {
                let effect = &self.file.rules.rules[number].effect;
                Self::is_in(&rules.matched, number)
                    && !Self::is_in(&rules.exempt, number)
                    && !effect.shadow
                    && effect.score > 0
            }
            (None, _) => false,
        };
        let numbers = (0..self.file.notes.len()).filter(tells);
        let reasons = numbers.filter_map(|number| self.file.notes[number].reason.as_ref());
        reasons.map(|of| json!({ "code": of.code, "pt": of.pt, "en": of.en })).collect()
    }

    fn text(&self) -> String {
        let decision = &self.judged.decision;
        let mut text = String::new();
        let because = match self.settled_by() {
            Some(rule) => format!("rule {rule}"),
            None => decision.reason.name().to_owned(),
        };
        let mut line = |what: std::fmt::Arguments<'_>| {
            text.write_fmt(what).expect("writing to a string can't fail");
            text.push('\n');
        };
        line(format_args!(
            "{}, because of {because}; score {}",
            decision.verdict.name().to_uppercase(),
            decision.score
        ));
        for reason in self.reason_texts() {
            let text = |key: &str| reason[key].as_str().unwrap_or("").to_owned();
            line(format_args!("  {}: {} / {}", text("code"), text("pt"), text("en")));
        }
        if decision.shadow_disagrees {
            line(format_args!("  with the rules in shadow the verdict would be another one"));
        }
        for (number, rule) in self.file.rules.rules.iter().enumerate() {
            let verdict = rule.effect.verdict.map_or("", RuleVerdict::name);
            let shadow = if rule.effect.shadow { " (shadow)" } else { "" };
            line(format_args!(
                "\n{:<12} {}  {:+} {verdict}{shadow}{}",
                self.outcome(number),
                rule.id,
                rule.effect.score,
                share_text(rule)
            ));
            line(format_args!("             {}", self.file.notes[number].when));
            for (name, value) in self.values(number) {
                line(format_args!("             {name} = {value}"));
            }
        }
        text.push('\n');
        text
    }
}
