//! A provider that misbehaves, a client that asks it, and how much memory that takes.

use catraca_cli::commands::provider::{Provider, Script, TlsSetup};
use catraca_node::policy_file::{self, PolicyFile};
use catraca_node::validators::http::{Attempt, Client, Payment};
use catraca_wire::DocumentKey;
use catraca_wire::frame::TransactionFields;
use std::fs;
use std::time::Duration;

/// A time within which whatever ends by itself has ended, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Memory that attempts may take on top, however much they are sent, KiB.
pub const MORE_MEMORY_KIB: u64 = 64 * 1024;
/// Who pays: regular by [`ANSWERS`].
pub const PAYER: &str = "52998224725";
/// What the provider knows.
pub const ANSWERS: &str = r#"
[answer.52998224725]
body = { status = "regular", number = 7, fraction = 7.5, text = "7" }

[answer.11144477735]
body = { status = "suspended" }

"#;

/// A provider with [`ANSWERS`] and what else its script says.
pub fn provider(script: &str) -> Provider {
    provider_with(script, None)
}

pub fn provider_with(script: &str, tls: Option<&TlsSetup>) -> Provider {
    // Keys of the script stand before its tables.
    let is_table = |line: &&str| line.starts_with('[');
    let keys: Vec<_> = script.lines().take_while(|line| !is_table(line)).collect();
    let tables: Vec<_> = script.lines().skip_while(|line| !is_table(line)).collect();
    let script = format!("{}\n{ANSWERS}\n{}\n", keys.join("\n"), tables.join("\n"));
    let script = Script::parse(&script).expect("a sound script");
    Provider::start("127.0.0.1:0".parse().expect("an address"), script, tls).expect("it listens")
}

/// A policy with one validator, `person`, at this place; `more` are keys of it. An attempt has as long as it may have,
/// unless they say otherwise: machines are busy.
pub fn policy_text(place: &str, more: &str) -> String {
    let answer = match more.contains("answer =") {
        true => "",
        false => "answer = \"/status\"\nanswers = [\"regular\", \"suspended\", \"not-found\"]\n",
    };
    let url = match more.contains("url =") {
        true => String::new(),
        false => format!("url = \"{place}/people/{{payer.document}}\"\n"),
    };
    let time = match more.contains("timeout_ms") {
        true => "",
        false => "timeout_ms = 1500\nwait_ms = 1500\n",
    };
    format!(
        "thresholds = {{ review = 400, deny = 900 }}\n\n[[validator]]\nid = \"person\"\n{url}\
         when = \"tx.amount > reais(500)\"\ndocuments = \"full\"\n{answer}no_answer = \"review\"\n{time}{more}\n\n\
         [[rule]]\nid = \"suspended\"\nwhen = 'has(validator(\"person\")) && validator(\"person\") == {}'\n\
         verdict = \"deny\"\n",
        if answer.is_empty() { "1" } else { "\"suspended\"" }
    )
}

pub fn policy(place: &str, more: &str) -> PolicyFile {
    let text = policy_text(place, more);
    policy_file::parse(&text).unwrap_or_else(|faults| panic!("{text}\n{faults:?}"))
}

/// A client of the validator of [`policy_text`].
pub fn client(place: &str, more: &str) -> Client {
    Client::new(&policy(place, more).services[0], &[7; 32]).expect("it can be asked")
}

pub fn payment(payer: &str) -> Payment {
    let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
    transaction.amount_centavos = 150_000.into();
    let document = |text| DocumentKey::parse(text).expect("a document");
    Payment { transaction, payer: document(payer), payee: document("11222333000181") }
}

/// Runs on a runtime of one thread.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let came = runtime.block_on(future);
    runtime.shutdown_background();
    came
}

/// One attempt about [`PAYER`], within [`PATIENCE`].
pub async fn ask(client: &Client) -> Attempt {
    let attempt = client.attempt(&payment(PAYER)).await;
    assert!(attempt.took < PATIENCE, "{attempt:?}");
    attempt
}

/// Most memory that the process ever had, KiB.
pub fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it has the peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
