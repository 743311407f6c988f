//! `catraca demo`: the whole system on loopback, with load and a picture of the latencies.
//!
//! `list.rs` makes the list, `node.rs` runs the node; here is the order of events and what a person reads of them.

mod list;
mod node;

use super::Outcome;
use super::log::{RecordView, explain, verify};
use super::{lookup, stats};
use crate::fatal::{Failure, Status};
use catraca_loadgen::options::Core;
use catraca_loadgen::{Monitor, Options, Report, plot, progress, table};
use catraca_wire::client::{Client, ClientOptions, now_ns};
use catraca_wire::frame::{BlacklistChange, Transaction, Verdict};
use list::DemoList;
use node::Node;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Connections and transactions in flight on each: enough that commits are shared, few enough that nobody waits for many others.
const CONNECTIONS: u32 = 4;
const IN_FLIGHT: u32 = 64;
/// Share of the transactions whose payer or payee is listed, and of those sent again.
const LISTED_SHARE: f64 = 0.02;
const RESEND_SHARE: f64 = 0.01;
/// Unmeasured load first, seconds.
const WARMUP_S: f64 = 1.0;
/// How often Ctrl-C is looked for.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(20);
/// Amount of the explained payment, centavos.
const AMOUNT_CENTAVOS: i64 = 123_456;
/// Who receives the explained payment: the CPF that every example uses.
const PAYEE: &str = "123.456.789-09";
/// `f_type` of tmpfs (linux/magic.h), where a log would not survive a restart.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Arguments of `catraca demo`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Starts a node of its own on free ports of this machine, gives it the bundled list of invented sanctions, puts load on it, checks every
verdict, explains one, stops the node and verifies its log. Everything is left in one folder, which it names: delete it when you have
seen enough. Exit status: 0 all held, 3 a verdict or the log was wrong, 1 something failed.

Examples:
  catraca demo
  catraca demo --seconds 30 --data-dir ./demo
  catraca demo --json | jq .load.latency_us")]
pub struct Args {
    /// How long to measure, after a second of warm-up
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    seconds: f64,
    /// Folder for everything; must not exist or be empty [default: a new one in the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let interrupted = listen_for_signals()?;
    let folder = folder(args.data_dir.as_deref())?;
    let data_dir = folder.join("node");
    let say = Say { quiet: args.json };

    say.heading("A list");
    let list = list::build(&folder)?;
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

    say.heading("A node");
    let mut node = Node::start(&data_dir, folder.join("node.log"))?;
    let mut client = connect(&node)?;
    load_list(&mut client, &list)?;
    say.text(&format!(
        "Process {} listens on {}; shards: {}; metrics on http://{}/metrics. Its data is in {}. It has loaded the list.",
        node.pid(),
        node.addr,
        node.layout,
        node.http,
        data_dir.display(),
    ));

    say.heading("Load");
    say.text(&format!(
        "{CONNECTIONS} connections keep {IN_FLIGHT} payments each unanswered for {} s. One in {:.0} has a listed payer or payee and must be \
         denied, one in {:.0} is sent again and must get its first answer. Each answer comes after its record is on the disk.",
        args.seconds,
        1.0 / LISTED_SHARE,
        1.0 / RESEND_SHARE,
    ));
    let (report, plot_file) = put_load(args, &node, &list, &folder, &interrupted, say.quiet)?;
    say.text(&table::render(&report));

    say.heading("Where the time goes, in the node");
    let stages = stats::fetch(&mut client, None)?;
    say.text("From its own histograms, since it started: from a request's arrival to the decision (ingress, decide), to the record on the disk (log_write), to the answer (total).");
    say.text(&stats::table(&stages, stages.uptime));

    say.heading("One decision, explained");
    let example = explained(&mut client, &list)?;
    say.text("A payment by somebody on the list, looked up in the log of the running node:");
    say.text(&example.text);

    say.heading("The log");
    drop(client);
    let ended = node.stop()?;
    let log = verify::check(&data_dir, None, None)?;
    say.text(&verify::text(&log));

    let wrong = wrongs(&report, &example, ended.success(), &log);
    let bytes = folder_len(&folder);
    if say.quiet {
        let result = serde_json::json!({
            "ok": wrong.is_empty(),
            "wrong": wrong,
            "interrupted": report.interrupted,
            "folder": folder,
            "plot": plot_file,
            "node_log": node.log_file,
            "list": { "rows": list.tally.rows, "active_rows": list.tally.active, "documents": list.documents, "snapshot": list.snapshot },
            "load": report,
            "node": stats::json(&stages, stages.uptime),
            "explained": example.json,
            "log": log,
        });
        println!("{result:#}");
    } else {
        say.heading("Summary");
        if wrong.is_empty() {
            say.text("Every verdict was right, the node stopped in order, and its log is sound.");
        } else {
            say.text(&format!("NOT as it should be:\n  {}", wrong.join("\n  ")));
        }
        say.text(&format!("Picture of the latencies (open it in a browser): {}", plot_file.display()));
        say.text(&format!(
            "Everything is left in {} ({} MiB); delete it when you have seen enough.",
            folder.display(),
            bytes >> 20
        ));
        let program = std::env::current_exe().map_or_else(|_| "catraca".to_owned(), |path| path.display().to_string());
        say.text(&format!("To look further: {program} log export {} --format csv | head", data_dir.display()));
    }
    let failed = report.failure.is_some() || !ended.success();
    Ok(match (wrong.is_empty(), failed) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(Status::Found as u8),
    })
}

/// What a person reads; nothing where a program does.
struct Say {
    quiet: bool,
}

impl Say {
    fn heading(&self, text: &str) {
        if !self.quiet {
            println!("\n== {text}");
        }
    }

    fn text(&self, text: &str) {
        if !self.quiet {
            println!("{}", text.trim_end());
        }
    }
}

fn listen_for_signals() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|e| Failure::failed(format!("can't listen for signal {signal}: {e}")))?;
    }
    Ok(interrupted)
}

/// The folder asked for, or a new one on a disk that outlasts the power.
fn folder(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let create = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|e| Failure::failed(format!("{}: the folder can't be made: {e}", path.display())))
    };
    if let Some(path) = asked {
        create(path)?;
        if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::failed(format!("{} is not empty: name another folder with --data-dir", path.display())));
        }
        return std::path::absolute(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())));
    }
    let volatile = |path: &Path| rustix::fs::statfs(path).is_ok_and(|s| s.f_type & 0xffff_ffff == TMPFS_MAGIC);
    let current = std::env::current_dir().unwrap_or_default();
    let parent =
        [std::env::temp_dir(), PathBuf::from("/var/tmp"), current].into_iter().find(|path| path.is_dir() && !volatile(path));
    let parent = parent.ok_or_else(|| Failure::failed("no folder for temporary files is on a disk: name one with --data-dir"))?;
    let name = format!("catraca-demo-{}-{}", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"), std::process::id());
    let path = parent.join(name);
    create(&path)?;
    Ok(path)
}

fn connect(node: &Node) -> Result<Client, Failure> {
    let mut options = ClientOptions::new(node.addr.clone());
    options.client_name = "catraca demo".to_owned();
    options.answer_timeout_ms = 60_000;
    Client::connect(options).map_err(|e| Failure::failed(format!("the node at {}: {e}", node.addr)))
}

fn load_list(client: &mut Client, list: &DemoList) -> Result<(), Failure> {
    let path = list.snapshot.to_str().ok_or_else(|| Failure::failed("the folder's path must be UTF-8"))?;
    let change = BlacklistChange::load(path, false).map_err(|e| Failure::failed(e.to_string()))?;
    client.blacklist(&change).map_err(|e| Failure::failed(format!("the node did not take the list: {e}")))?;
    Ok(())
}

fn put_load(
    args: &Args,
    node: &Node,
    list: &DemoList,
    folder: &Path,
    interrupted: &AtomicBool,
    quiet: bool,
) -> Result<(Report, PathBuf), Failure> {
    let alone = std::thread::available_parallelism().map_or(1, usize::from) < 2;
    let options = Options {
        addr: node.addr.clone(),
        connections: CONNECTIONS,
        in_flight: Some(IN_FLIGHT),
        seconds: Some(args.seconds),
        warmup: Some(WARMUP_S),
        listed_share: LISTED_SHARE,
        list: Some(list.listed.clone()),
        resend_share: RESEND_SHARE,
        verify: true,
        core: if alone { Core::None } else { Core::Last },
        ..Options::default()
    };
    let monitor = Monitor::new();
    let report = std::thread::scope(|scope| {
        let run = scope.spawn(|| catraca_loadgen::run(&options, &monitor));
        if std::io::stderr().is_terminal() && !quiet {
            scope.spawn(|| progress::show(&options, &monitor));
        }
        while !run.is_finished() {
            if interrupted.load(Ordering::Relaxed) {
                monitor.stop();
            }
            std::thread::sleep(SIGNAL_INTERVAL);
        }
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let report = report.map_err(|e| Failure::failed(e.to_string()))?;
    let plot_file = folder.join("latency.svg");
    plot::draw(&report, &plot_file).map_err(|e| Failure::failed(e.to_string()))?;
    Ok((report, plot_file))
}

struct Explained {
    text: String,
    json: serde_json::Value,
    denied: bool,
}

/// Sends a payment by somebody listed, and looks its record up.
fn explained(client: &mut Client, list: &DemoList) -> Result<Explained, Failure> {
    let failed = |what: &str, e: &dyn std::fmt::Display| Failure::failed(format!("{what}: {e}"));
    let transaction = Transaction::new("catraca-demo-1", &list.example, PAYEE, AMOUNT_CENTAVOS, now_ns())
        .map_err(|e| failed("the explained payment", &e))?;
    let decision = client.decide(&transaction).map_err(|e| failed("the explained payment was not decided", &e))?;
    let found = client.lookup("catraca-demo-1", None).map_err(|e| failed("the explained payment was not found again", &e))?;
    let record = lookup::stored(&found);
    let view = RecordView::new(&record.head, &record.extension, &record.place, false);
    let mut text = String::new();
    explain(&mut text, &record, &view, &format!("segment {} offset {}", record.place.segment, record.place.block_offset));
    let json = serde_json::to_value(&view).map_err(|e| failed("the explained payment", &e))?;
    Ok(Explained { text, json, denied: decision.verdict == Verdict::Deny })
}

/// What did not come out as it should, in words.
fn wrongs(report: &Report, example: &Explained, stopped_well: bool, log: &verify::Report) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(report.failure.clone());
    if report.violations.total() > 0 {
        wrong.push(format!("{} answers broke a promise", report.violations.total()));
    }
    if !report.errors.is_empty() {
        wrong.push(format!("{} payments were answered with an error", report.errors.values().sum::<u64>()));
    }
    if !example.denied {
        wrong.push("a payment by somebody listed was not denied".to_owned());
    }
    if !stopped_well {
        wrong.push("the node did not stop in order".to_owned());
    }
    if !log.sound {
        wrong.push("the log is damaged".to_owned());
    }
    // A payment that is sent again makes no second record.
    let decided = report.verdicts.values().sum::<u64>() - report.resent.min(report.answered);
    if log.records < decided {
        wrong.push(format!("{decided} payments were decided, and the log holds {} records", log.records));
    }
    wrong
}

/// Bytes that the files below a folder take.
fn folder_len(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_len(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
