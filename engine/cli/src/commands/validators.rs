//! `catraca validators`: how the services outside are that the policy in force asks, from the running node; and their
//! breakers, forced by a person.

mod force;
mod history;

use super::Outcome;
use super::output::print;
use catraca_node::fatal::{Failure, Status};
use comfy_table::{Table, presets};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// How long the node may take to answer: it waits for nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer: eight validators are some 10 KiB.
const MAX_LEN: usize = 1 << 20;

/// Arguments of `catraca validators`.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Asks the node's HTTP port, where /metrics is too. Figures are of this run of the node, half a second old at most.

Examples:
  catraca validators
  catraca validators --http 10.0.0.5:7402
  catraca validators --json | jq '.validators[] | select(.status.breaker != \"closed\")'
  catraca validators force cpf-status open --reason \"maintenance until 18:00\" --author ana"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where the node serves HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7402")]
    http: SocketAddr,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Have a validator left alone, or asked whatever happens, or leave that to its breaker again
    #[command(after_help = force::EXAMPLES)]
    Force(Box<force::Args>),
    /// The breakers that were forced, by whom and why, out of a log
    #[command(after_help = history::EXAMPLES)]
    History(history::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Some(Command::Force(args)) => return force::run(args),
        Some(Command::History(args)) => return history::run(args),
        None => {}
    }
    let text = ask(args.http)?;
    let unreadable = |what: String| {
        Failure::failed(format!("{} answers otherwise than a node: {what}", args.http))
    };
    let answer: Value = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
    let all = answer["validators"].as_array().ok_or_else(|| unreadable("no list".to_owned()))?;
    if args.json {
        return print(&format!("{answer}\n"), ExitCode::SUCCESS);
    }
    if all.is_empty() {
        return print("the policy in force asks no validator\n", ExitCode::SUCCESS);
    }
    print(&format!("{}{}", table(all), shared_cache(&answer)), ExitCode::SUCCESS)
}

fn ask(http: SocketAddr) -> Result<String, Failure> {
    let unreachable = |why: String| {
        Failure::new(
            Status::Failed,
            format!("{http} can't be asked: {why}; does a node run there?"),
        )
    };
    let url = format!("http://{http}/validators");
    let asked = async {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let url = url.parse().map_err(|e: hyper::http::uri::InvalidUri| e.to_string())?;
        let response = client.get(url).await.map_err(|e| causes(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_LEN).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        String::from_utf8(body.into()).map_err(|e| e.to_string())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| unreachable(e.to_string()))?;
    let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    let late = || unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
    answered.map_err(|_| late())?.map_err(unreachable)
}

/// An error with what led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

fn table(all: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "validator",
        "breaker",
        "waiting",
        "questions",
        "answers",
        "of them kept",
        "no answer",
        "attempts",
        "failed",
        "most take",
        "last error",
    ]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let sum = |value: &Value| -> u64 {
        value.as_object().into_iter().flat_map(|of| of.values()).map(number).sum()
    };
    for one in all {
        let status = &one["status"];
        let last = last_error(one);
        if status.is_null() {
            let mut row = vec![text(&one["id"]), "can't be asked".to_owned()];
            row.resize(10, "-".to_owned());
            row.push(last);
            table.add_row(row);
            continue;
        }
        let breaker = match status["open_for_ms"].as_u64() {
            Some(ms) => format!("{}, {ms} ms more", text(&status["breaker"])),
            None => text(&status["breaker"]),
        };
        let of = |source: &str| number(&status["answers"][source]);
        let kept = of("cache") + of("stale") + of("shared");
        table.add_row([
            text(&one["id"]),
            breaker,
            number(&status["waiting"]).to_string(),
            number(&status["questions"]).to_string(),
            sum(&status["answers"]).to_string(),
            kept.to_string(),
            sum(&status["no_answer"]).to_string(),
            number(&status["attempts"]).to_string(),
            (number(&status["failures"]) + number(&status["timeouts"])).to_string(),
            format!("{:.1} ms", number(&status["most_take_us"]) as f64 / 1_000.0),
            last,
        ]);
    }
    format!("{table}\n")
}

/// A line about the cache that nodes share, where there is one.
fn shared_cache(answer: &Value) -> String {
    let shared = &answer["shared_cache"];
    let Some(place) = shared["place"].as_str() else { return String::new() };
    let all = answer["validators"].as_array().into_iter().flatten();
    let of = |name: &str| -> u64 {
        let counts = all.clone().map(|one| one["status"]["shared"][name].as_u64());
        counts.map(|count| count.unwrap_or(0)).sum()
    };
    let left_alone = all.clone().any(|one| one["status"]["shared"]["breaker"] == "open");
    let error = all.clone().find_map(|one| one["shared_error"].as_str());
    let error = error.or(shared["last_error"].as_str());
    let number = |name: &str| shared[name].as_u64().unwrap_or(0);
    format!(
        "shared cache {place}: {} looks, {} found, {} failed or too late; {} answers put, {} not taken{}{}\n",
        of("looks"),
        of("found"),
        of("failures") + of("timeouts"),
        number("put"),
        number("failed") + number("dropped"),
        if left_alone { "; left alone for a while" } else { "" },
        error.map(|error| format!("; last error: {error}")).unwrap_or_default(),
    )
}

/// What went wrong last of a validator, for people.
pub(super) fn last_error(validator: &Value) -> String {
    let said = validator["fault"].as_str().or(validator["last_error"].as_str());
    let failure = &validator["status"]["last_failure"];
    match (said, failure["reason"].as_str()) {
        (Some(said), _) => said.to_owned(),
        // An attempt that took too long says nothing.
        (None, Some(reason)) => {
            format!("{reason}, {:.1} s ago", failure["ago_ms"].as_u64().unwrap_or(0) as f64 / 1e3)
        }
        (None, None) => "-".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}
