//! The demo of validators: one node, a policy that asks an invented service about each payer, and that service failing
//! half-way. Payments are decided all the while, degraded and within their budgets; the breaker opens and closes.

use super::node::{Node, Setup};
use super::pair::Ports;
use super::stage::{self, Interrupt, Say};
use crate::commands::Outcome;
use crate::commands::output::json;
use crate::commands::provider::{Provider, Script};
use crate::commands::validators::last_error;
use catraca_node::fatal::Failure;
use catraca_wire::DocumentKey;
use catraca_wire::client::{Client, ClientOptions, now_ns};
use catraca_wire::frame::{Transaction, VERDICT_DEGRADED, Verdict};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Clients that send one payment after the other.
const CLIENTS: u64 = 8;
/// What each of them rests between two.
const REST: Duration = Duration::from_millis(10);
/// Seconds of payments: the service is well for a third, then hangs, then is well again.
const SECONDS: usize = 12;
/// When the service begins to hang, and when it is well again, seconds.
const HANGS: (usize, usize) = (4, 8);
/// The payer of whom the service says that he is suspended, and one in so many payments is his.
const SUSPENDED: &str = "529.982.247-25";
const ONE_IN: u64 = 10;
const PAYEE: &str = "111.444.777-35";
const AMOUNT_CENTAVOS: i64 = 25_000;

const POLICY: &str = r#"# Whoever is suspended is denied. Without an answer a person looks.
[[validator]]
id = "cpf-status"
url = "http://PROVIDER/people/{payer.document}"
documents = "full"
when = "tx.amount > reais(50)"
answer = "/status"
answers = ["regular", "suspended"]
no_answer = "review"
timeout_ms = 200
wait_ms = 500
attempts = 2
cache = { good_s = 0 }
breaker = { least_attempts = 5, window_s = 2, open_ms = 500, most_open_ms = 1000 }

[[rule]]
id = "suspended"
when = 'has(validator("cpf-status")) && validator("cpf-status") == "suspended"'
verdict = "deny"
"#;

/// A payment that was decided.
struct Paid {
    /// Since the first one, seconds.
    second: usize,
    verdict: Verdict,
    is_degraded: bool,
    took: Duration,
    id: String,
}

/// Runs it.
pub fn run(data_dir: Option<&Path>, quiet: bool) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let folder = stage::folder(data_dir)?;
    let say = Say::new(quiet);
    let shown = show(&folder, &interrupt, &say);
    stage::end(say, &folder, shown)
}

fn show(folder: &Path, interrupt: &Interrupt, say: &Say) -> Result<(), Failure> {
    let ports = Ports::find()?;
    let setup = Setup::alone(folder, &ports);
    say.heading("A node, a service that knows people, and a policy that asks it");
    say.command(&setup.command_line());
    let mut node = Node::start(&setup, interrupt)?;
    let (from, to) = HANGS;
    let suspended = DocumentKey::parse(SUSPENDED).map(|key| key.to_canonical());
    let suspended = suspended.map_err(|e| Failure::failed(e.to_string()))?;
    let script = Script::parse(&format!(
        "otherwise = {{ body = {{ status = \"regular\" }} }}\n\
         [answer.{suspended}]\nbody = {{ status = \"suspended\" }}\n\
         [[phase]]\nafter_ms = 0\ndelay_ms = 5\n\
         [[phase]]\nafter_ms = {}\nfail = \"hang\"\n\
         [[phase]]\nafter_ms = {}\ndelay_ms = 5\n",
        from * 1_000,
        to * 1_000,
    ))?;
    // Its time begins when it does: with the payments.
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let provider = Provider::start(loopback, script, None)?;
    let text = POLICY.replace("PROVIDER", &provider.address.to_string());
    let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", folder.display()));
    std::fs::write(folder.join("people.toml"), &text).map_err(failed)?;
    say.text(&text);
    let run = |args: &[&str]| command(say, folder, args);
    run(&["policy", "activate", "people.toml", "--addr", &setup.listen])?;

    say.heading("Payments, and a service that hangs for some seconds");
    say.text(&format!(
        "{CLIENTS} clients pay R$ 250, one payment after the other, for {SECONDS} s. One in {ONE_IN} is of somebody who is suspended. \
         Answers are not kept here, so that each payment asks. The service answers after 5 ms; from second {from} to second {to} it takes \
         connections and never answers."
    ));
    let mut seen = Vec::new();
    let paid = std::thread::scope(|scope| -> Result<Vec<Paid>, Failure> {
        let began = Instant::now();
        let listen = &setup.listen;
        let clients: Vec<_> =
            (0..CLIENTS).map(|n| scope.spawn(move || pay(listen, n, began, interrupt))).collect();
        for second in [from, to - 1, SECONDS - 1] {
            let at = Duration::from_millis(second as u64 * 1_000 + 500);
            std::thread::sleep(at.saturating_sub(began.elapsed()));
            let args = ["validators", "--json", "--http", &setup.http];
            let shown: Value = serde_json::from_str(&stage::output(folder, &args, None)?)
                .map_err(|e| Failure::failed(e.to_string()))?;
            seen.push((second, shown["validators"][0].clone()));
        }
        let mut all = Vec::new();
        for client in clients {
            let paid = client.join().map_err(|_| Failure::failed("a client of the demo ended"))?;
            all.extend(paid?);
        }
        Ok(all)
    })?;
    interrupt.check()?;
    let rows = seconds(&paid);
    say.text(&table(&rows));
    for (second, shown) in &seen {
        let status = &shown["status"];
        say.text(&format!(
            "second {second}.5: breaker {}, opened {} times, {} questions, {} attempts of which {} failed or took too long; last error: {}",
            status["breaker"].as_str().unwrap_or("-"),
            status["opened"],
            status["questions"],
            status["attempts"],
            status["failures"].as_u64().unwrap_or(0) + status["timeouts"].as_u64().unwrap_or(0),
            last_error(shown),
        ));
    }

    say.heading("The same to who looks");
    run(&["validators", "--http", &setup.http])?;
    let degraded = paid.iter().find(|paid| paid.is_degraded);
    if let Some(degraded) = degraded {
        run(&["lookup", &degraded.id, "--mask", "--addr", &setup.listen])?;
    }

    say.heading("Every decision, computed anew from the log, which asks nobody");
    node.stop()?;
    drop(provider);
    let dir = setup.data_dir.display().to_string();
    run(&["log", "replay", &dir])?;
    let wrong = wrong(&paid, &rows, &seen);
    if say.quiet {
        let replayed: Value =
            serde_json::from_str(&stage::output(folder, &["log", "replay", &dir, "--json"], None)?)
                .map_err(|e| Failure::failed(e.to_string()))?;
        let result = json!({
            "ok": wrong.is_empty(),
            "wrong": wrong,
            "folder": folder,
            "folder_len": stage::folder_len(folder),
            "payments": paid.len(),
            "by_second": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "validators": seen.iter().map(|(_, shown)| shown).collect::<Vec<_>>(),
            "replayed": replayed,
        });
        say.print(&json(&result));
    } else if wrong.is_empty() {
        say.text("All held: no payment waited beyond its budget, none was let through unasked, and the breaker opened and closed.");
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::failed(format!("not as promised: {}", wrong.join("; ")))),
    }
}

/// Pays until the time is over.
fn pay(
    listen: &str,
    client: u64,
    began: Instant,
    interrupt: &Interrupt,
) -> Result<Vec<Paid>, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("a payment: {e}"));
    let mut connection = Client::connect(ClientOptions::new(listen)).map_err(|e| failed(&e))?;
    let mut paid = Vec::new();
    for n in client.. {
        let second = began.elapsed().as_secs() as usize;
        if second >= SECONDS || interrupt.is_set() {
            break;
        }
        let id = format!("demo-{client}-{n}");
        let payer = match n % ONE_IN {
            0 => SUSPENDED.to_owned(),
            // Some thousand people.
            _ => person(1 + n * 7 % 5_000),
        };
        let payment = Transaction::pix(&id, &payer, PAYEE, AMOUNT_CENTAVOS, now_ns());
        let payment = payment.map_err(|e| failed(&e))?;
        let sent = Instant::now();
        let decision = connection.decide(&payment).map_err(|e| failed(&e))?;
        paid.push(Paid {
            second,
            verdict: decision.verdict,
            is_degraded: decision.answer.flags & VERDICT_DEGRADED != 0,
            took: sent.elapsed(),
            id,
        });
        std::thread::sleep(REST);
    }
    Ok(paid)
}

/// The CPF of an invented person: nine digits, and those that check them.
fn person(number: u64) -> String {
    let mut digits: Vec<u64> =
        format!("{number:09}").bytes().map(|byte| u64::from(byte - b'0')).collect();
    for weight in [10, 11] {
        let sum: u64 = digits.iter().zip((2..=weight).rev()).map(|(digit, of)| digit * of).sum();
        digits.push(match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        });
    }
    digits.iter().map(u64::to_string).collect()
}

/// What became of the payments of a second.
#[derive(Default)]
struct Row {
    second: usize,
    approved: u64,
    reviewed: u64,
    denied: u64,
    degraded: u64,
    slowest: Duration,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "second": self.second,
            "approved": self.approved,
            "reviewed": self.reviewed,
            "denied": self.denied,
            "degraded": self.degraded,
            "slowest_ms": self.slowest.as_millis() as u64,
        })
    }
}

fn seconds(paid: &[Paid]) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..SECONDS).map(|second| Row { second, ..Row::default() }).collect();
    for one in paid {
        let row = &mut rows[one.second];
        match one.verdict {
            Verdict::Approve => row.approved += 1,
            Verdict::Review => row.reviewed += 1,
            Verdict::Deny => row.denied += 1,
        }
        row.degraded += u64::from(one.is_degraded);
        row.slowest = row.slowest.max(one.took);
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["second", "approved", "reviewed", "denied", "degraded", "slowest answer"]);
    for row in rows {
        table.add_row([
            row.second.to_string(),
            row.approved.to_string(),
            row.reviewed.to_string(),
            row.denied.to_string(),
            row.degraded.to_string(),
            format!("{} ms", row.slowest.as_millis()),
        ]);
    }
    table.to_string()
}

/// What was not as it must be. A machine that is busy may make a service look slow when it is not, so nothing is asked of
/// single seconds.
fn wrong(paid: &[Paid], rows: &[Row], seen: &[(usize, Value)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut hold = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let slowest = rows.iter().map(|row| row.slowest).max().unwrap_or_default();
    hold(slowest < Duration::from_secs(2), "a payment was answered after 2 s");
    let unasked =
        paid.iter().filter(|paid| paid.is_degraded && paid.verdict == Verdict::Approve).count();
    hold(unasked == 0, "a payment was approved without an answer");
    hold(
        rows.iter().all(|row| row.reviewed <= row.degraded),
        "one was reviewed in spite of its answer",
    );
    let while_it_hangs = rows[HANGS.0 + 1..HANGS.1].iter().map(|row| row.degraded).sum::<u64>();
    hold(while_it_hangs > 0, "no payment was degraded while the service hung");
    let of_last = |what: &str| seen.last().map(|(_, shown)| shown["status"][what].clone());
    let opened = of_last("opened").and_then(|opened| opened.as_u64());
    hold(opened >= Some(1), "the breaker never opened");
    let denied_again = rows[HANGS.1 + 1..].iter().any(|row| row.denied > 0);
    hold(denied_again, "nobody was denied once the service was well again");
    wrong
}

/// Runs a command of this program in the demo's folder, and shows what it prints.
fn command(say: &Say, folder: &Path, args: &[&str]) -> Result<(), Failure> {
    say.command(&format!("catraca {}", args.join(" ")));
    let text = stage::output(folder, args, None)?;
    say.text(&text);
    Ok(())
}
