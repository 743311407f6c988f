//! `catraca demo`: the whole system on loopback, with load, the death of its primary, and a picture
//! of the latencies.
//!
//! `list.rs` makes the list, `node.rs` runs a node and `pair.rs` two, `load.rs` puts load on them
//! while `failover.rs` kills and promotes, `audit.rs` looks for every answer in the logs,
//! `summary.rs` says what came of it; `policies.rs` is the demo of policies,
//! `validators.rs` that of validators, `doors/` that of gateways and intakes; `stage.rs` has what all use. Here is the order of events and
//! what a person reads of them.

mod audit;
mod doors;
mod failover;
mod list;
mod load;
mod node;
mod pair;
mod policies;
mod process;
mod stage;
mod summary;
mod validators;

use super::log::{RecordView, explain, verify};
use super::output::json;
use super::{Outcome, lookup, stats};
use audit::{Audit, Auditor};
use catraca_loadgen::{Answers, plot, table};
use catraca_node::fatal::Failure;
use catraca_wire::client::{Client, now_ns};
use catraca_wire::frame::{BlacklistChange, Transaction, Verdict};
use list::DemoList;
use load::{CONNECTIONS, IN_FLIGHT, LISTED_SHARE, RESEND_SHARE};
use pair::{Layout, Ports};
use stage::{Interrupt, Say};
use std::path::{Path, PathBuf};
use summary::Summary;

/// The explained payment: its id, its amount in centavos, and who receives it: the CPF that every
/// example uses.
const EXPLAINED: &str = "catraca-demo-1";
const AMOUNT_CENTAVOS: i64 = 123_456;
const PAYEE: &str = "123.456.789-09";
/// Bounds of `--seconds`: enough for each part to be seen, little enough that the answers of a fast
/// machine can be kept.
const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=60.0;

/// Arguments of `catraca demo`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Starts a primary and its standby on free ports of this machine, gives them the bundled list of invented sanctions, puts load on them
and checks every verdict. In the middle it kills the primary (SIGKILL), promotes the standby, and starts the killed node again, which
comes back as the standby. In the end it stops both, verifies their logs, and looks for every answer that was given in both.
Everything is left in one folder, some GiB for a run of some seconds: in the end it says how large it is, and how to remove it. Ctrl-C stops the nodes in order.
Exit status: 0 all held; 1 an answer was lost, changed or wrong, a log is damaged, or something failed.

Examples:
  catraca demo
  catraca demo --policies
  catraca demo --validators
  catraca demo --doors --amqp 127.0.0.1:5672
  catraca demo --seconds 30 --data-dir ./demo
  catraca demo --json | jq .failover")]
pub struct Args {
    /// How long to measure, 0.1 to 60, after a second of warm-up: half before the primary is
    /// killed, half after; the killed node's return comes on top
    #[arg(long, value_name = "N", default_value_t = 6.0, value_parser = seconds)]
    seconds: f64,
    /// Folder for everything; must not exist or be empty [default: a new one in the folder for
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Show policies at work instead: Pix traffic with known frauds on one node, a stricter policy tried
    /// beside the default one, taken into force and rolled back, and every decision computed anew
    #[arg(long, conflicts_with = "seconds")]
    policies: bool,
    /// Show validators at work instead: a policy that asks an invented service about payers, which hangs half-way and is
    /// well again, while every payment is decided within its budget
    #[arg(long, conflicts_with_all = ["seconds", "policies"])]
    validators: bool,
    /// Show doors at work instead: one payment through the binary protocol, a gateway and intakes at once, and another one
    /// while the primary dies: one decision and one record for each
    #[arg(long, conflicts_with_all = ["seconds", "policies", "validators"])]
    doors: bool,
    /// A RabbitMQ for the doors, where guest may make queues [default: none, and that door is not shown]
    #[arg(long, value_name = "HOST:PORT", requires = "doors")]
    amqp: Option<String>,
    /// A broker of Kafka for the doors; topics are made there, and deleted in the end [default: one that the client
    /// library plays]
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "HOST:PORT", requires = "doors")]
    kafka: Option<String>,
    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| SECONDS.contains(seconds));
    seconds.ok_or_else(|| format!("give {} to {} seconds", SECONDS.start(), SECONDS.end()))
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    if args.doors {
        let brokers = doors::Brokers {
            amqp: args.amqp.as_deref(),
            #[cfg(feature = "kafka")]
            kafka: args.kafka.as_deref(),
        };
        return doors::run(args.data_dir.as_deref(), args.json, &brokers);
    }
    if args.validators {
        return validators::run(args.data_dir.as_deref(), args.json);
    }
    if args.policies {
        return policies::run(args.data_dir.as_deref(), args.json);
    }
    let interrupt = Interrupt::listen()?;
    let folder = stage::folder(args.data_dir.as_deref())?;
    let say = Say::new(args.json);
    let shown = show(args, &folder, &interrupt, &say);
    stage::end(say, &folder, shown)
}

fn show(args: &Args, folder: &Path, interrupt: &Interrupt, say: &Say) -> Result<(), Failure> {
    say.heading("A list");
    let list = list::build(folder)?;
    say.text(&format!(
        "The bundled sample has the layout of the Brazilian sanctions list CEIS; its people and companies are invented. Of its {} rows, {} \
         count today, {} have expired or not begun, {} hold no usable document. They name {} documents, built into {}.",
        list.tally.rows,
        list.tally.active,
        list.tally.expired + list.tally.future,
        list.tally.invalid_document() + list.tally.masked_document,
        list.documents,
        list.snapshot.display(),
    ));

    say.heading("Two nodes");
    let layout = Layout::of(std::thread::available_parallelism().map_or(1, usize::from));
    say.text(&layout.text());
    let ports = Ports::find()?;
    let setups = pair::setups(folder, &layout, &ports);
    let pair = pair::start(&setups, say, interrupt)?;
    pair.show_status(say)?;
    let mut client = failover::connect(&pair.primary)?;
    say.command(&format!(
        "catraca blacklist load {} --addr {}",
        list.snapshot.display(),
        setups[0].listen
    ));
    load_list(&mut client, &list)?;
    say.text(&format!(
        "The primary, process {}, has loaded the list; the standby takes it from there.",
        pair.primary.pid()
    ));

    say.heading("One decision, explained");
    let first = Explained::decide(&mut client, &list)?;
    say.text("A payment by somebody on the list, looked up in the log of the running primary:");
    say.text(&first.text);
    drop(client);

    say.heading("Load, and a death in the middle");
    say.text(&format!(
        "{CONNECTIONS} connections keep {IN_FLIGHT} payments each unanswered, for {} s and as long as the killed node takes to come back. \
         One in {:.0} has a listed payer or payee and must be denied, one in {:.0} is sent again and must get its first answer. Each answer \
         comes after its record is on both disks, while there are two nodes.",
        args.seconds,
        1.0 / LISTED_SHARE,
        1.0 / RESEND_SHARE,
    ));
    let (mut pair, drill, mut report) =
        load::put(args.seconds, pair, &layout, &list, interrupt, say)?;
    let answers =
        report.answers.take().ok_or_else(|| Failure::failed("the load kept no answers"))?;
    say.text(&table::render(&report));
    let plot_file = folder.join("latency.svg");
    plot::draw(&report, &plot_file).map_err(|e| Failure::failed(e.to_string()))?;
    pair.show_status(say)?;

    say.heading("Where the time went, in the primary until it died");
    say.text(
        "From its own histograms, since it started: from a request's arrival to the decision (ingress, decide), to the record on both \
         disks (log_write), to the answer (total).",
    );
    say.text(&stats::table(&drill.stages, drill.stages.uptime));

    say.heading("The explained payment, asked of the node that was promoted");
    say.command(&format!("catraca lookup {EXPLAINED} --addr {}", pair.primary.setup.listen));
    let second = Explained::look_up(&mut failover::connect(&pair.primary)?)?;
    let unchanged = second == first;
    say.text(if unchanged {
        "The same record, in the same place of the chain."
    } else {
        &second.text
    });

    say.heading("Both logs");
    let stopped = pair.stop()?;
    let mut logs = Vec::with_capacity(setups.len());
    for setup in &setups {
        say.command(&format!("catraca log verify {}", setup.data_dir.display()));
        let (log, audit) = check(&setup.data_dir, &answers)?;
        say.text(&verify::text(&log));
        logs.push((log, audit));
    }

    let summary = Summary::new(&answers, &drill, &report, &logs);
    let mut wrong = summary.wrong(&answers, &report, &logs);
    wrong.extend(
        (first.verdict != Verdict::Deny.name())
            .then(|| "a payment by somebody listed was not denied".to_owned()),
    );
    wrong.extend(
        (!unchanged)
            .then(|| "the promoted node has the explained payment in another way".to_owned()),
    );
    wrong.extend((!stopped).then(|| "a node did not stop in order".to_owned()));
    if say.quiet {
        let result = serde_json::json!({
            "ok": wrong.is_empty(),
            "wrong": wrong,
            "folder": folder,
            "folder_len": stage::folder_len(folder),
            "plot": plot_file,
            "node_logs": setups.each_ref().map(|setup| &setup.log_file),
            "list": { "rows": list.tally.rows, "active_rows": list.tally.active, "documents": list.documents, "snapshot": list.snapshot },
            "load": report,
            "failover": summary,
            "node": stats::json(&drill.stages, drill.stages.uptime),
            "explained": first.json,
            "logs": logs.iter().map(|(log, _)| log).collect::<Vec<_>>(),
        });
        say.print(&json(&result));
    } else {
        say.heading("Summary");
        say.text(&summary.table());
        say.text(&format!(
            "Picture of the latencies (open it in a browser): {}",
            plot_file.display()
        ));
        let program = std::env::current_exe()
            .map_or_else(|_| "catraca".to_owned(), |path| path.display().to_string());
        say.text(&format!(
            "To look further: {program} log export {} --format csv | head",
            setups[1].data_dir.display()
        ));
        if wrong.is_empty() {
            say.text("All held: every answer is in both logs as it was given, both are sound, and they are equal.");
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!("not as promised: {}", wrong.join("; "))))
    }
}

fn load_list(client: &mut Client, list: &DemoList) -> Result<(), Failure> {
    let path =
        list.snapshot.to_str().ok_or_else(|| Failure::failed("the folder's path must be UTF-8"))?;
    let change = BlacklistChange::load(path, false).map_err(|e| Failure::failed(e.to_string()))?;
    client
        .blacklist(&change)
        .map_err(|e| Failure::failed(format!("the node did not take the list: {e}")))?;
    Ok(())
}

/// Verifies a log, and looks for every answer in it.
fn check(data_dir: &Path, answers: &Answers) -> Result<(verify::Report, Audit), Failure> {
    let mut auditor = Auditor::new(answers);
    let log = verify::check(data_dir, None, None, |head, place| auditor.record(head, place))?;
    Ok((log, auditor.finish()))
}

/// A stored decision, as a person reads it.
#[derive(PartialEq)]
struct Explained {
    text: String,
    json: serde_json::Value,
    verdict: &'static str,
}

impl Explained {
    /// Sends a payment by somebody listed, and looks its record up.
    fn decide(client: &mut Client, list: &DemoList) -> Result<Self, Failure> {
        let failed =
            |what: &str, e: &dyn std::fmt::Display| Failure::failed(format!("{what}: {e}"));
        let transaction =
            Transaction::new(EXPLAINED, &list.example, PAYEE, AMOUNT_CENTAVOS, now_ns())
                .map_err(|e| failed("the explained payment", &e))?;
        client
            .decide(&transaction)
            .map_err(|e| failed("the explained payment was not decided", &e))?;
        Self::look_up(client)
    }

    fn look_up(client: &mut Client) -> Result<Self, Failure> {
        let found = client.lookup(EXPLAINED, None).map_err(|e| {
            Failure::failed(format!("the explained payment was not found again: {e}"))
        })?;
        let record = lookup::stored(&found);
        let view = RecordView::new(&record.head, &record.extension, &record.place, false);
        let mut text = String::new();
        explain(
            &mut text,
            &record,
            &view,
            None,
            &format!("segment {} offset {}", record.place.segment, record.place.block_offset),
        );
        let json = serde_json::to_value(&view)
            .map_err(|e| Failure::failed(format!("the explained payment: {e}")))?;
        Ok(Self {
            text,
            json,
            verdict: Verdict::from_wire(record.head.verdict).map_or("unknown", Verdict::name),
        })
    }
}
