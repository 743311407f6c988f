//! `catraca policy ask`: asks a validator of a policy once, from the shell, and tells what its answer means.

use super::file;
use super::made_up::MadeUp;
use super::made_up_lists::{Entries, MadeUpLists};
use crate::commands::Outcome;
use crate::commands::output::{json, lines, note, print};
use catraca_core::policy::validators::Validator;
use catraca_core::policy::{Judgement, Policy};
use catraca_node::fatal::{Failure, Status};
use catraca_node::log_files::key;
use catraca_node::policy_file::PolicyFile;
use catraca_node::validators::http::{Attempt, Client, Outcome as Came, Shown};
use catraca_node::validators::spec::Service;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy ask pix.toml --validator cpf-status --payer 529.982.247-25
  catraca policy ask pix.toml --validator device-risk --device 1f2e3d --amount 150000 --json
  catraca policy ask pix.toml --validator cpf-status --payment payment.json --key-file /var/lib/catraca/chain.key

The payment is one that is made up, as that of policy explain; flags go before what its file says, and lists of which it says nothing
are empty. One attempt is made, whether or not the validator would be asked about such a payment. Documents that are sent as hashes
are hashed with the key of the cluster (--key-file), else with one that no node has. Exit status: 0 it answered, 1 it did not, 3
something is wrong with the policy.";

/// Longest file of a payment, bytes.
const MAX_PAYMENT_LEN: u64 = 64 * 1024;
/// What documents are hashed with where no key is named.
const NO_KEY: [u8; 32] = [0; 32];

/// Arguments of `catraca policy ask`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Policy (TOML)
    file: PathBuf,
    /// The validator's id
    #[arg(long, value_name = "ID")]
    validator: String,
    /// A payment of one's own (JSON), as that of policy explain
    #[arg(long, value_name = "FILE", alias = "transaction")]
    payment: Option<PathBuf>,
    /// Who pays
    #[arg(long, value_name = "DOC")]
    payer: Option<String>,
    /// Who is paid
    #[arg(long, value_name = "DOC")]
    payee: Option<String>,
    /// Amount
    #[arg(long, value_name = "CENTAVOS")]
    amount: Option<i64>,
    /// Keyed hash of the device; 0 for none
    #[arg(long, value_name = "HEX", value_parser = hash)]
    device: Option<u64>,
    /// Keyed hash of the payer's account; 0 for none
    #[arg(long, value_name = "HEX", value_parser = hash)]
    payer_account: Option<u64>,
    /// Keyed hash of the payee's account; 0 for none
    #[arg(long, value_name = "HEX", value_parser = hash)]
    payee_account: Option<u64>,
    /// The payer's institution
    #[arg(long, value_name = "ISPB")]
    payer_ispb: Option<String>,
    /// The payee's institution
    #[arg(long, value_name = "ISPB")]
    payee_ispb: Option<String>,
    /// Address that the payment comes from
    #[arg(long)]
    ip: Option<String>,
    /// Key of the cluster, with which a node hashes documents
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Show documents in full where they are sent in full
    #[arg(long)]
    show_documents: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn hash(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| "1 to 16 hex digits".to_owned())
}

/// What was asked, and what came of it.
struct Asked<'a> {
    service: &'a Service,
    validator: &'a Validator,
    is_asked: bool,
    request: Shown,
    attempt: Attempt,
    no_answer: String,
    /// The verdict with the answer, where the payment is one that it is asked about.
    with: Option<Verdict>,
    /// The verdict without it.
    without: Verdict,
}

/// A verdict and why.
struct Verdict {
    verdict: &'static str,
    because: String,
    score: u16,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let file = file::sound(&args.file)?;
    let number = file.services.iter().position(|service| service.id == args.validator);
    let number = number.ok_or_else(|| {
        let ids: Vec<_> = file.services.iter().map(|service| service.id.as_str()).collect();
        let ids = if ids.is_empty() { "it has none".to_owned() } else { ids.join(", ") };
        usage(format!("the policy has no validator {}; {ids}", args.validator))
    })?;
    let (service, validator) = (&file.services[number], &file.rules.validators[number]);
    let policy = Policy::new(1, file.zone.clone(), file.rules.clone());
    let mut members = members(args)?;
    let made_up = made_up(&members)?;
    let payment = made_up.payment(policy.zone()).map_err(usage)?;
    let lists = unsaid_lists(&policy);
    let (mut batch, judged) = made_up.judge(&policy, &lists).map_err(usage)?;
    let is_asked = batch.asks(validator) != 0;
    let without = Verdict::of(&file, &judged);
    let hash_key = match &args.key_file {
        Some(path) => key::load(path).map_err(|error| Failure::failed(error.to_string()))?,
        None => NO_KEY,
    };
    let sends_documents = service.request.sent().iter().any(|sent| {
        let name = sent.name();
        name.ends_with(".document") || name.ends_with(".root")
    });
    if args.key_file.is_none() && sends_documents && !service.request.documents_in_full {
        note("documents are hashed with a key that no node has: name the cluster's, --key-file");
    }
    let client = Client::new(service, &hash_key)
        .map_err(|fault| Failure::failed(format!("{}: {fault}", service.id)))?;
    let attempt = client
        .attempt_alone(&payment)
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    let with = match attempt.outcome {
        Came::Answer(answer) if is_asked => {
            let given = given(validator, answer);
            members.insert("answers".to_owned(), json!({ validator.id.as_str(): given }));
            let judged = self::made_up(&members)?.judge(&policy, &lists);
            Some(Verdict::of(&file, &judged.map_err(usage)?.1))
        }
        _ => None,
    };
    let asked = Asked {
        service,
        validator,
        is_asked,
        request: client.shown(&payment, args.show_documents),
        no_answer: no_answer(&file, &service.id),
        attempt,
        with,
        without,
    };
    let status = match asked.attempt.outcome {
        Came::Answer(_) => ExitCode::SUCCESS,
        _ => ExitCode::from(Status::Failed as u8),
    };
    let text = if args.json { json(&asked.json()) } else { asked.text() };
    print(&text, status)
}

fn usage(why: String) -> Failure {
    Failure::new(Status::Usage, why)
}

/// The members of the payment: those of its file, and those of flags in their places.
fn members(args: &Args) -> Result<Map<String, Value>, Failure> {
    let mut members = args.payment.as_deref().map(read).transpose()?.unwrap_or_default();
    // What it would be answered is what is asked.
    members.remove("answers");
    let flags = [
        ("payer", args.payer.clone().map(Value::from)),
        ("payee", args.payee.clone().map(Value::from)),
        ("amount_centavos", args.amount.map(Value::from)),
        ("device", args.device.map(Value::from)),
        ("payer_account", args.payer_account.map(Value::from)),
        ("payee_account", args.payee_account.map(Value::from)),
        ("payer_ispb", args.payer_ispb.clone().map(Value::from)),
        ("payee_ispb", args.payee_ispb.clone().map(Value::from)),
        ("ip", args.ip.clone().map(Value::from)),
    ];
    let given = flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    members.extend(given);
    Ok(members)
}

fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = file::read_up_to(path, MAX_PAYMENT_LEN)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::failed(format!("{}: no payment: {error}", path.display())))
}

fn made_up(members: &Map<String, Value>) -> Result<MadeUp, Failure> {
    let members = Value::Object(members.clone());
    serde_json::from_value(members).map_err(|error| usage(format!("no payment: {error}")))
}

/// Every list that the policy looks things up in, empty.
fn unsaid_lists(policy: &Policy) -> MadeUpLists {
    let lists = policy.rules().lists.iter();
    lists.map(|asked| (asked.list.to_string(), Entries::Keys(Vec::new()))).collect()
}

/// An answer as a payment that is made up has it: a word, or a number.
fn given(validator: &Validator, answer: i64) -> Value {
    let word = usize::try_from(answer).ok().and_then(|place| validator.words.get(place));
    word.map_or_else(|| answer.into(), |word| word.as_str().into())
}

/// What the policy says of no answer.
fn no_answer(file: &PolicyFile, id: &str) -> String {
    let id = format!("{id}-no-answer");
    let rule = file.rules.rules.iter().find(|rule| rule.id == id);
    match rule.map(|rule| (rule.effect.verdict, rule.effect.score)) {
        None => "rules that read the answer see none, and nothing else happens".to_owned(),
        Some((Some(verdict), _)) => format!("the payment is for {}", verdict.name()),
        Some((None, score)) => format!("{score:+} to the score"),
    }
}

impl Verdict {
    fn of(file: &PolicyFile, judged: &Judgement) -> Self {
        let decision = &judged.decision;
        let because = match judged.rules.settled_by {
            Some(rule) => format!("rule {}", file.rules.rules[usize::from(rule)].id),
            None => decision.reason.name().to_owned(),
        };
        Self { verdict: decision.verdict.name(), because, score: decision.score }
    }

    fn text(&self) -> String {
        let verdict = self.verdict.to_uppercase();
        format!("{verdict}, because of {}; score {}", self.because, self.score)
    }

    fn json(&self) -> Value {
        json!({ "verdict": self.verdict, "because": self.because, "score": self.score })
    }
}

impl Asked<'_> {
    /// The answer and what is known of it, or why there is none.
    fn meaning(&self) -> String {
        let detail = &self.attempt.detail;
        match self.attempt.outcome {
            Came::Answer(answer) => {
                let negative =
                    if self.service.meaning.negative.contains(&answer) { ", negative" } else { "" };
                format!("{}{negative} ({detail})", self.validator.text(answer))
            }
            Came::Retryable { .. } => format!("none; a node would ask again: {detail}"),
            Came::Final => format!("none, and a node would not ask again: {detail}"),
        }
    }

    fn text(&self) -> String {
        let line = |name: &str, value: String| (name.to_owned(), value);
        let asks = if self.is_asked { "yes" } else { "no: its when does not hold" };
        let mut all = vec![
            line("validator", self.service.id.clone()),
            line("asks about such a payment", asks.to_owned()),
        ];
        let url = self.request.url.as_ref().unwrap_or_else(|fault| fault);
        all.push(line("request", format!("{} {url}", self.request.method)));
        let headers = self.request.headers.iter();
        all.extend(headers.map(|(name, value)| line("", format!("{name}: {value}"))));
        all.extend(self.request.body.iter().map(|body| line("", body.clone())));
        let status = self.attempt.status.map_or_else(|| "none".to_owned(), |code| code.to_string());
        all.push(line("status", status));
        all.push(line("answer", self.meaning()));
        let took_ms = self.attempt.took.as_secs_f64() * 1e3;
        let most = self.service.timeout_ms;
        all.push(line("time", format!("{took_ms:.1} ms of {most} ms for an attempt")));
        if let Some(with) = &self.with {
            all.push(line("verdict with it", with.text()));
        }
        match self.is_asked {
            true => {
                all.push(line("no answer means", self.no_answer.clone()));
                all.push(line("verdict without it", self.without.text()));
            }
            false => all.push(line("verdict, not asked", self.without.text())),
        }
        lines(&all)
    }

    fn json(&self) -> Value {
        let Attempt { outcome, status, took, detail } = &self.attempt;
        let (name, answer, retry_after) = match *outcome {
            Came::Answer(answer) => ("answer", Some(answer), None),
            Came::Retryable { retry_after } => ("retryable", None, retry_after),
            Came::Final => ("final", None, None),
        };
        let headers: Map<String, Value> = self
            .request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        json!({
            "validator": self.service.id,
            "asks_about_it": self.is_asked,
            "request": {
                "method": self.request.method,
                "url": self.request.url.as_ref().ok(),
                "headers": headers,
                "body": self.request.body,
            },
            "status": status,
            "outcome": name,
            "answer": answer.map(|answer| given(self.validator, answer)),
            "is_negative": answer.is_some_and(|answer| self.service.meaning.negative.contains(&answer)),
            "detail": detail,
            "retry_after_ms": retry_after.map(|after| after.as_millis() as u64),
            "took_us": took.as_micros() as u64,
            "no_answer": self.no_answer,
            "with_answer": self.with.as_ref().map(Verdict::json),
            "without_answer": self.without.json(),
        })
    }
}
