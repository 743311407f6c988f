//! The demo of doors: one payment sent through all of them at once, and again while the primary dies. However it comes
//! in, there is one decision and one record.
//!
//! `door.rs` is the client's side of a door and the binary protocol; `http.rs`, `amqp.rs` and `kafka.rs` are the others.

mod amqp;
mod door;
mod http;
#[cfg(feature = "kafka")]
mod kafka;

use super::pair::{self, Layout, Ports};
use super::process::Process;
use super::stage::{self, Interrupt, Say};
use crate::commands::Outcome;
use crate::commands::cluster::promote;
use crate::commands::connect::{Connect, Credential};
use crate::commands::log::verify;
use crate::commands::output::json;
use amqp::Amqp;
use catraca_node::fatal::Failure;
use catraca_wire::client::now_ns;
use catraca_wire::frame::{Transaction, text_of};
use catraca_wire::record::RecordKind;
use comfy_table::{Table, presets};
use door::{Answer, Binary, Door, insist};
use http::Http;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The payments: one while all is well, one while the primary dies.
const IDS: [&str; 2] = ["catraca-demo-doors-1", "catraca-demo-doors-2"];
const PAYER: &str = "529.982.247-25";
const PAYEE: &str = "111.444.777-35";
const AMOUNT_CENTAVOS: i64 = 25_000;
/// How long the doors are left alone with a dead primary before the standby is promoted.
const WITHOUT_PRIMARY: Duration = Duration::from_millis(500);

/// Brokers that were named.
pub struct Brokers<'a> {
    /// Of RabbitMQ; without one that door is not shown.
    pub amqp: Option<&'a str>,
    /// Of Kafka; without one it is played by the client library.
    #[cfg(feature = "kafka")]
    pub kafka: Option<&'a str>,
}

/// Runs it.
pub fn run(data_dir: Option<&Path>, quiet: bool, brokers: &Brokers<'_>) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let folder = stage::folder(data_dir)?;
    let say = Say::new(quiet);
    let shown = show(&folder, &interrupt, &say, brokers);
    stage::end(say, &folder, shown)
}

/// A door, with what leads from it to the nodes.
struct Opened {
    /// The gateway or the intake, which ends first: it uses what the door has made. None of the nodes' own door.
    _process: Option<Process>,
    door: Box<dyn Door>,
}

fn show(
    folder: &Path,
    interrupt: &Interrupt,
    say: &Say,
    brokers: &Brokers<'_>,
) -> Result<(), Failure> {
    say.heading("Two nodes and their doors");
    let layout = Layout::of(std::thread::available_parallelism().map_or(1, usize::from));
    let ports = Ports::find()?;
    let setups = pair::setups(folder, &layout, &ports);
    let pair = pair::start(&setups, say, interrupt)?;
    let nodes = setups.each_ref().map(|setup| setup.listen.clone());
    let mut doors = open(folder, &ports, &nodes, interrupt, say, brokers)?;

    say.heading("One payment through all doors at once");
    let [first, second] = IDS.map(payment);
    let first = first?;
    let together = at_once(&mut doors, &first, interrupt, || Ok(()))?;
    say.text(&table(&together));

    say.heading("Another one, while the primary dies");
    let second = second?;
    let pair::Pair { primary, standby } = pair;
    let pid = primary.pid();
    let killed = primary.kill()?;
    say.command(&format!("kill -KILL {pid}      # the primary"));
    let connect = Connect { addr: standby.setup.listen.clone(), credential: Credential::default() };
    let dying = at_once(&mut doors, &second, interrupt, || {
        std::thread::sleep(WITHOUT_PRIMARY);
        say.command(&format!("catraca promote --addr {}", connect.addr));
        promote::promote(&connect, false).map(drop)
    })?;
    say.text(&table(&dying));

    say.heading("The first one again, which the new primary has decided by its log");
    let again = at_once(&mut doors, &first, interrupt, || Ok(()))?;
    say.text(&table(&again));

    say.heading("The log of the new primary");
    drop(doors);
    let mut standby = standby;
    let stopped = standby.stop()?.success();
    let dir = &standby.setup.data_dir;
    say.command(&format!("catraca log verify {}", dir.display()));
    let mut records = BTreeMap::new();
    let log = verify::check(dir, None, None, |head, _| {
        if head.kind == RecordKind::Decision.to_wire() {
            *records.entry(text_of(&head.transaction.id).to_owned()).or_insert(0) += 1;
        }
    })?;
    say.text(&verify::text(&log));
    let counted = IDS.map(|id| format!("{id}: {} record", records.get(id).unwrap_or(&0)));
    say.text(&counted.join("\n"));

    let mut wrong = wrong(&together, &dying, &again, &records);
    wrong.extend((!stopped).then(|| "a node did not stop in order".to_owned()));
    if say.quiet {
        let result = json!({
            "ok": wrong.is_empty(),
            "wrong": wrong,
            "folder": folder,
            "folder_len": stage::folder_len(folder),
            "killed": killed.data_dir,
            "at_once": together,
            "while_the_primary_dies": dying,
            "again": again,
            "records": records,
            "log": log,
        });
        say.print(&json(&result));
    } else if wrong.is_empty() {
        say.text("All held: one decision and one record for each payment, whichever doors it came through.");
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::failed(format!("not as promised: {}", wrong.join("; ")))),
    }
}

/// Opens all doors that there are.
fn open(
    folder: &Path,
    ports: &Ports,
    nodes: &[String; 2],
    interrupt: &Interrupt,
    say: &Say,
    brokers: &Brokers<'_>,
) -> Result<Vec<Opened>, Failure> {
    let start = |name: &'static str, arguments: &[&str], ready| {
        let nodes = nodes.iter().flat_map(|node| ["--node", node]);
        let arguments: Vec<String> =
            arguments.iter().copied().chain(nodes).map(str::to_owned).collect();
        say.command(&format!("catraca {}", arguments.join(" ")));
        let log_file = folder.join(format!("{name}.log"));
        Process::start(name, &log_file, &arguments, &[], ready, interrupt)
    };
    let binary = Binary::new(nodes.to_vec());
    let mut doors = vec![Opened { door: Box::new(binary), _process: None }];

    let listen = ports.listen(3);
    let gateway = start("gateway", &["gateway", "--listen", &listen], "ready")?;
    let http = Http::new(&listen)?;
    doors.push(Opened { door: Box::new(http), _process: Some(gateway) });

    if let Some(broker) = brokers.amqp {
        let amqp = Amqp::connect(broker)?;
        let [queue, dead] = &amqp.queues;
        let arguments = ["intake", "amqp", "--broker", broker, "--queue", queue];
        let places = ["--reply-key", dead, "--dead-letter-key", dead];
        let intake = start("intake-amqp", &[&arguments[..], &places].concat(), "consuming")?;
        doors.push(Opened { door: Box::new(amqp), _process: Some(intake) });
    } else {
        say.text("AMQP is not shown: name a RabbitMQ with --amqp HOST:PORT, where guest may make queues.");
    }
    #[cfg(feature = "kafka")]
    {
        let kafka = kafka::Kafka::connect(brokers.kafka)?;
        if kafka.is_played {
            say.text("Kafka is played by the client library in the memory of this demo; --kafka HOST:PORT names a real one.");
        }
        let [topic, replies, dead] = &kafka.topics;
        let arguments = ["intake", "kafka", "--broker", &kafka.broker, "--topic", topic];
        let places = ["--group", topic, "--reply-topic", replies, "--dead-letter-topic", dead];
        let intake = start("intake-kafka", &[&arguments[..], &places].concat(), "consuming")?;
        doors.push(Opened { door: Box::new(kafka), _process: Some(intake) });
    }
    Ok(doors)
}

fn payment(id: &str) -> Result<Transaction, Failure> {
    Transaction::pix(id, PAYER, PAYEE, AMOUNT_CENTAVOS, now_ns())
        .map_err(|e| Failure::failed(format!("the payment {id}: {e}")))
}

/// Sends a payment through all doors at the same time, each until it is decided, and does something meanwhile.
fn at_once(
    doors: &mut [Opened],
    payment: &Transaction,
    interrupt: &Interrupt,
    meanwhile: impl FnOnce() -> Result<(), Failure>,
) -> Result<Vec<Answer>, Failure> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = doors
            .iter_mut()
            .map(|opened| scope.spawn(|| insist(&mut *opened.door, payment, interrupt)))
            .collect();
        meanwhile()?;
        let ended = |_| Failure::failed("a door of the demo ended");
        asking.into_iter().map(|one| one.join().map_err(ended)?).collect()
    })
}

fn table(answers: &[Answer]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "door",
        "verdict",
        "shard",
        "LSN",
        "receipt",
        "duplicate",
        "sent",
        "why again",
        "took",
    ]);
    for answer in answers {
        let text = |name: &str| match &answer.decision[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        table.add_row([
            answer.door.to_owned(),
            text("verdict"),
            text("shard"),
            text("lsn"),
            text("receipt"),
            text("duplicate"),
            answer.attempts.to_string(),
            answer.trouble.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{} ms", answer.took_ms),
        ]);
    }
    table.to_string()
}

/// What was not as it must be.
fn wrong(
    together: &[Answer],
    dying: &[Answer],
    again: &[Answer],
    records: &BTreeMap<String, u32>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut hold = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let one_place =
        |answers: &[Answer]| answers.windows(2).all(|two| two[0].place() == two[1].place());
    hold(one_place(together) && one_place(dying), "doors gave different decisions for one payment");
    let firsts =
        |answers: &[Answer]| answers.iter().filter(|answer| !answer.is_duplicate()).count();
    hold(firsts(together) == 1, "not exactly one door was the first");
    // The answer to the very first may have been lost with the primary.
    hold(firsts(dying) <= 1, "more than one door was the first");
    hold(firsts(again) == 0, "what was decided was decided again");
    hold(
        together.iter().chain(again).all(|answer| answer.place() == together[0].place()),
        "the new primary has another decision",
    );
    for id in IDS {
        hold(records.get(id) == Some(&1), &format!("{id} has not exactly one record"));
    }
    wrong
}
